//! Requests at a fixed rate, and how long each took from the time when it was due. A request that had to wait for the
//! one before it on its connection counts that wait, as its user would: no coordinated omission.

use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;
use serde_json::{Value, json};

use super::wire::{Link, request};
use super::{Failure, Target, on_each};

/// Nanoseconds by which the kernel may wake a thread late to save a wake-up; its default is 50 us.
const TIMER_SLACK: NonZeroU64 = NonZeroU64::MIN;
/// Latencies are kept one by one, so a run has a bound.
const MOST_REQUESTS: f64 = 20e6;

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// Requests in all, with those of the warm-up.
    sent: u64,
    /// From the time when each was due to the last byte of its answer.
    took: Vec<Duration>,
    /// How late each was sent: because of the one before it, or because this program was not woken in time.
    late: Vec<Duration>,
}

/// When one connection sends.
struct Schedule {
    first: Instant,
    interval: Duration,
    /// From here on requests count.
    warm: Instant,
    end: Instant,
}

/// Asks for `target`, `rate` times a second.
pub(crate) fn run(target: &Target, rate: f64, warm_up: f64) -> Result<Value, Failure> {
    if !(rate >= 1.0 && rate * (target.seconds + warm_up) < MOST_REQUESTS) {
        return Err(format!("--rate {rate}: wants at least 1, and {MOST_REQUESTS} requests at most").into());
    }
    let begin = Instant::now();
    let warm = begin + Duration::from_secs_f64(warm_up);
    let interval = Duration::from_secs_f64(f64::from(target.connections) / rate);
    let seen = on_each(target.connections, |number| {
        let first = begin + interval.mul_f64(f64::from(number) / f64::from(target.connections));
        ask(target, &Schedule { first, interval, warm, end: warm + target.length() })
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let sent: u64 = seen.iter().map(|own| own.sent).sum();
    let (mut took, mut late) = (Vec::new(), Vec::new());
    for own in seen {
        took.extend(own.took);
        late.extend(own.late);
    }
    took.sort_unstable();
    late.sort_unstable();
    Ok(json!({
        "requests": sent,
        "seconds": seconds,
        "counted": took.len(),
        "p50_us": quantile(&took, 0.5),
        "p99_us": quantile(&took, 0.99),
        "p999_us": quantile(&took, 0.999),
        "most_us": quantile(&took, 1.0),
        "late_p50_us": quantile(&late, 0.5),
        "late_p99_us": quantile(&late, 0.99),
    }))
}

/// One connection, to the end of its schedule.
fn ask(target: &Target, schedule: &Schedule) -> Result<Seen, Failure> {
    set_current_timer_slack(Some(TIMER_SLACK))?;
    let mut link = Link::connect(target.address)?;
    let request = request("GET", &target.path, &target.key, None);
    let mut seen = Seen::default();
    let mut due = schedule.first;
    while due < schedule.end {
        sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        link.send(&request)?;
        let answer = link.answer()?;
        link.skip(answer.length)?;
        if answer.status != 200 {
            return Err(format!("{} was answered with {}", target.path, answer.status).into());
        }
        seen.sent += 1;
        if due >= schedule.warm {
            seen.took.push(due.elapsed());
            seen.late.push(sent - due);
        }
        due += schedule.interval;
    }
    Ok(seen)
}

/// In microseconds; of what is sorted.
fn quantile(sorted: &[Duration], share: f64) -> Option<f64> {
    let place = (sorted.len() as f64 * share) as usize;
    Some(sorted.get(place.min(sorted.len().checked_sub(1)?))?.as_secs_f64() * 1e6)
}
