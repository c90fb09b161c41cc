//! The demo's arithmetic: counts at two moments, what happened between them, what each worker's share should be, and
//! the summary of the whole run. Pure: nothing here reads a clock or a socket.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::refusal::Reason;

/// Kinds of answers that are not 2xx: one for each reason of Buckler's own, and one for everything else.
pub(super) const WHYS: usize = Reason::COUNT + 1;
const OTHER: usize = Reason::COUNT;

/// What one caller has seen so far, or in one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallerCount {
    /// Answers of 2xx.
    pub(super) allowed: u64,
    /// No answer: refused connections, broken answers, more than the client's patience.
    pub(super) failed: u64,
    /// Time from sending to the whole answer, summed over the allowed ones, in microseconds.
    pub(super) allowed_micros: u64,
    /// All other answers, by reason.
    pub(super) refused: [u64; WHYS],
}

impl Default for CallerCount {
    fn default() -> Self {
        Self { allowed: 0, failed: 0, allowed_micros: 0, refused: [0; WHYS] }
    }
}

impl CallerCount {
    /// What was added since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            allowed: self.allowed.saturating_sub(earlier.allowed),
            failed: self.failed.saturating_sub(earlier.failed),
            allowed_micros: self.allowed_micros.saturating_sub(earlier.allowed_micros),
            refused: std::array::from_fn(|why| self.refused[why].saturating_sub(earlier.refused[why])),
        }
    }

    /// All answers that were not 2xx.
    pub(super) fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Everything that was sent.
    pub(super) fn sent(&self) -> u64 {
        self.allowed + self.failed + self.refused_in_all()
    }

    /// Mean time of the allowed ones in milliseconds; none if there were none.
    pub(super) fn mean_millis(&self) -> Option<f64> {
        (self.allowed > 0).then(|| as_f64(self.allowed_micros) / as_f64(self.allowed) / 1000.0)
    }

    /// The reasons that occurred, the commonest first: `429 caller_rate`.
    pub(super) fn whys(&self) -> Vec<(String, u64)> {
        let mut whys: Vec<_> = (0..WHYS)
            .filter(|why| self.refused[*why] > 0)
            .map(|why| (why_text(why), self.refused[why]))
            .collect();
        whys.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        whys
    }
}

/// The place in [`CallerCount::refused`] of the reason word in an answer's body.
pub(super) fn why_of(word: Option<&str>) -> usize {
    Reason::all().find(|reason| Some(reason.word()) == word).map_or(OTHER, Reason::index)
}

fn why_text(why: usize) -> String {
    Reason::all()
        .find(|reason| reason.index() == why)
        .map_or_else(|| "other answer".into(), |reason| format!("{} {}", reason.status(), reason.word()))
}

/// A worker's place among the others at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its name.
    pub(super) name: &'static str,
    /// SRV priority: lower is tried first.
    pub(super) priority: u16,
    /// SRV weight.
    pub(super) weight: u16,
    /// Whether it runs.
    pub(super) up: bool,
}

/// The shares that SRV asks for (RFC 2782): all traffic to the lowest priority with a running worker, there by weight.
pub(super) fn due_shares(places: &[Place]) -> Vec<f64> {
    let best = places.iter().filter(|place| place.up).map(|place| place.priority).min();
    let serving = |place: &&Place| place.up && Some(place.priority) == best;
    let weights: u64 = places.iter().filter(serving).map(|place| u64::from(place.weight)).sum();
    places
        .iter()
        .map(|place| match weights {
            0 => 0.0,
            _ if !serving(&place) => 0.0,
            _ => f64::from(place.weight) / as_f64(weights),
        })
        .collect()
}

/// Each count as a share of their sum; zero if nothing happened.
pub(super) fn shares(counts: &[u64]) -> Vec<f64> {
    let sum: u64 = counts.iter().sum();
    counts.iter().map(|count| if sum == 0 { 0.0 } else { as_f64(*count) / as_f64(sum) }).collect()
}

/// All counters at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// Milliseconds since the traffic began.
    pub(super) millis: u64,
    /// Callers, in the order of the cast.
    pub(super) callers: Vec<CallerCount>,
    /// Requests that each worker has answered.
    pub(super) served: Vec<u64>,
}

/// What happened between two readings.
#[derive(Clone, Debug)]
pub(super) struct Interval {
    /// Its length, in seconds.
    pub(super) seconds: f64,
    /// Callers, in the order of the cast.
    pub(super) callers: Vec<CallerCount>,
    /// Requests that each worker answered.
    pub(super) served: Vec<u64>,
}

impl Reading {
    /// What happened since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Interval {
        let callers = self.callers.iter().zip(&earlier.callers).map(|(now, then)| now.since(then));
        let served = self.served.iter().zip(&earlier.served).map(|(now, then)| now.saturating_sub(*then));
        Interval {
            seconds: as_f64(self.millis.saturating_sub(earlier.millis)) / 1000.0,
            callers: callers.collect(),
            served: served.collect(),
        }
    }
}

impl Interval {
    /// A count as a rate, rounded to whole requests each second.
    pub(super) fn per_second(&self, count: u64) -> String {
        let rate = if self.seconds > 0.0 { as_f64(count) / self.seconds } else { 0.0 };
        format!("{rate:.0}")
    }
}

/// Adds up, interval by interval, what the workers should have served, because that changes as they stop and return.
#[derive(Debug, Default)]
pub(super) struct Due {
    requests: Vec<f64>,
}

impl Due {
    /// Adds one interval, in which the workers stood as in `places`.
    pub(super) fn add(&mut self, interval: &Interval, places: &[Place]) {
        self.requests.resize(places.len(), 0.0);
        let sum = as_f64(interval.served.iter().sum());
        for (due, share) in self.requests.iter_mut().zip(due_shares(places)) {
            *due += sum * share;
        }
    }

    /// What each worker's share of the whole should have been.
    fn shares(&self) -> Vec<f64> {
        let sum: f64 = self.requests.iter().sum();
        self.requests.iter().map(|due| if sum > 0.0 { due / sum } else { 0.0 }).collect()
    }
}

/// The whole run; what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    /// How long traffic ran.
    pub(super) seconds: f64,
    /// One for each caller.
    pub(super) callers: Vec<CallerSummary>,
    /// One for each worker.
    pub(super) workers: Vec<WorkerSummary>,
}

/// One caller over the whole run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CallerSummary {
    pub(super) name: &'static str,
    pub(super) sent: u64,
    pub(super) allowed: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) allowed_per_second: f64,
    /// Reason word with its status, and how often.
    pub(super) reasons: BTreeMap<String, u64>,
}

/// One worker over the whole run. Shares are 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WorkerSummary {
    pub(super) name: &'static str,
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) served: u64,
    pub(super) share: f64,
    /// By priority and weight, with the stops taken into account.
    pub(super) due_share: f64,
}

impl Summary {
    /// Sums up the whole run from its first to its last reading.
    pub(super) fn new(whole: &Interval, names: &[&'static str], places: &[Place], due: &Due) -> Self {
        let per_second = |count: u64| if whole.seconds > 0.0 { as_f64(count) / whole.seconds } else { 0.0 };
        let callers = names.iter().zip(&whole.callers).map(|(name, count)| CallerSummary {
            name,
            sent: count.sent(),
            allowed: count.allowed,
            refused: count.refused_in_all(),
            failed: count.failed,
            allowed_per_second: round(per_second(count.allowed)),
            reasons: count.whys().into_iter().collect(),
        });
        let shares = shares(&whole.served);
        let due = due.shares();
        let workers = places.iter().enumerate().map(|(nth, place)| WorkerSummary {
            name: place.name,
            priority: place.priority,
            weight: place.weight,
            served: whole.served.get(nth).copied().unwrap_or(0),
            share: round(shares.get(nth).copied().unwrap_or(0.0)),
            due_share: round(due.get(nth).copied().unwrap_or(0.0)),
        });
        Self { seconds: round(whole.seconds), callers: callers.collect(), workers: workers.collect() }
    }
}

/// To three places, so that JSON shows figures and not noise.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "counts of a demo are far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_UP: [Place; 3] = [
        Place { name: "a", priority: 10, weight: 3, up: true },
        Place { name: "b", priority: 10, weight: 1, up: true },
        Place { name: "c", priority: 20, weight: 1, up: true },
    ];

    fn with_down(down: &[usize]) -> Vec<Place> {
        ALL_UP.iter().enumerate().map(|(nth, place)| Place { up: !down.contains(&nth), ..*place }).collect()
    }

    #[test]
    fn shares_follow_priority_then_weight_among_the_running() {
        assert_eq!(due_shares(&ALL_UP), [0.75, 0.25, 0.0]);
        assert_eq!(due_shares(&with_down(&[1])), [1.0, 0.0, 0.0]);
        assert_eq!(due_shares(&with_down(&[0, 1])), [0.0, 0.0, 1.0]);
        assert_eq!(due_shares(&with_down(&[0, 1, 2])), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn an_interval_holds_only_what_came_between_two_readings() {
        let mut refused = [0; WHYS];
        refused[why_of(Some("caller_rate"))] = 7;
        let then = CallerCount { allowed: 10, failed: 1, allowed_micros: 5000, refused };
        refused[why_of(Some("caller_rate"))] = 9;
        refused[why_of(Some("no such word"))] = 1;
        let now = CallerCount { allowed: 14, failed: 1, allowed_micros: 13_000, refused };
        let between = now.since(&then);
        assert_eq!((between.sent(), between.allowed, between.refused_in_all()), (7, 4, 3));
        assert_eq!(between.mean_millis(), Some(2.0));
        assert_eq!(between.whys(), [("429 caller_rate".to_string(), 2), ("other answer".to_string(), 1)]);
    }

    #[test]
    fn the_summary_weighs_what_was_due_by_the_time_each_worker_ran() {
        let interval = |served: [u64; 3]| Interval {
            seconds: 1.0,
            callers: vec![CallerCount::default()],
            served: served.to_vec(),
        };
        let mut due = Due::default();
        due.add(&interval([75, 25, 0]), &ALL_UP);
        due.add(&interval([99, 1, 0]), &with_down(&[1]));
        let whole = Interval {
            seconds: 2.0,
            callers: vec![CallerCount { allowed: 200, ..CallerCount::default() }],
            served: vec![174, 26, 0],
        };
        let summary = Summary::new(&whole, &["quiet"], &ALL_UP, &due);
        assert_eq!(summary.workers[0].share, 0.87);
        assert_eq!(summary.workers[0].due_share, 0.875);
        assert_eq!(summary.workers[1].due_share, 0.125);
        assert_eq!(summary.callers[0].allowed_per_second, 100.0);
    }

    #[test]
    fn a_run_without_any_traffic_divides_by_nothing() {
        let whole = Interval { seconds: 0.0, callers: vec![CallerCount::default()], served: vec![0, 0, 0] };
        let summary = Summary::new(&whole, &["quiet"], &ALL_UP, &Due::default());
        assert_eq!(summary.workers[0].share, 0.0);
        assert_eq!(summary.callers[0].allowed_per_second, 0.0);
        assert_eq!(CallerCount::default().mean_millis(), None);
    }
}
