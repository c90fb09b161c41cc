//! The demo's callers: who they are, and a thread that sends their requests at a steady pace and counts what they
//! themselves saw.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Answer, Client, NoAnswer};
use super::tally::{CallerCount, WHYS, why_of};
use crate::clock::Moment;

/// One caller of the demo.
#[derive(Debug)]
pub(super) struct Caller {
    /// Its name in the configuration and in the table.
    pub(super) name: &'static str,
    /// Its API key. The demo shows it; the configuration file holds only its hash.
    pub(super) key: &'static str,
    /// Requests that it sends each second.
    pub(super) per_second: u32,
    /// Its part in the play.
    pub(super) part: &'static str,
}

/// The default quota of the demo's service, in requests each second.
pub(super) const DEFAULT_RATE: u32 = 20;
/// What was agreed with `batch`, in requests each second.
pub(super) const AGREED_RATE: u32 = 100;

/// The cast, in the order of the table: 117 requests a second in all.
pub(super) const CAST: [Caller; 4] = [
    Caller { name: "quiet", key: "quiet-secret", per_second: 4, part: "default 20/s" },
    Caller { name: "batch", key: "batch-secret", per_second: 50, part: "agreement 100/s" },
    Caller { name: "noisy", key: "noisy-secret", per_second: 60, part: "default 20/s" },
    Caller { name: "forbidden", key: "forbidden-secret", per_second: 3, part: "a rule denies" },
];

/// What every caller asks for.
pub(super) const PATH: &str = "/songs/1";

/// Traffic that flows; dropping it ends its thread after the requests in progress.
pub(super) struct Traffic {
    counters: Vec<Arc<Counters>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    allowed: AtomicU64,
    failed: AtomicU64,
    allowed_micros: AtomicU64,
    refused: [AtomicU64; WHYS],
}

impl Traffic {
    /// Starts all callers of the cast against `address`.
    pub(super) fn start(address: SocketAddr) -> io::Result<Self> {
        let counters: Vec<_> = CAST.iter().map(|_| Arc::new(Counters::default())).collect();
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = counters.clone();
        let thread = std::thread::Builder::new().name("demo-callers".into()).spawn(move || {
            runtime.block_on(async move {
                let mut callers = JoinSet::new();
                for (caller, counters) in CAST.iter().zip(shared) {
                    callers.spawn(call(address, caller, counters, stopped.clone()));
                }
                while callers.join_next().await.is_some() {}
            });
        })?;
        Ok(Self { counters, stop, thread: Some(thread) })
    }

    /// What each caller has seen so far, in the order of the cast.
    pub(super) fn counts(&self) -> Vec<CallerCount> {
        self.counters.iter().map(|counters| counters.read()).collect()
    }

    /// Lets the requests in progress end (each within the client's patience) and joins the thread.
    pub(super) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // The receivers are gone only if the thread has ended already.
        let _ = self.stop.send(true);
        let _ = thread.join();
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Counters {
    fn count(&self, answer: &Result<Answer, NoAnswer>, took: Duration) {
        match answer {
            Ok(answer) if answer.status.is_success() => {
                self.allowed.fetch_add(1, Ordering::Relaxed);
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.allowed_micros.fetch_add(micros, Ordering::Relaxed);
            }
            Ok(answer) => {
                let why = why_of(answer.reason().as_deref());
                self.refused[why].fetch_add(1, Ordering::Relaxed);
            }
            Err(NoAnswer(_)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn read(&self) -> CallerCount {
        CallerCount {
            allowed: self.allowed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            allowed_micros: self.allowed_micros.load(Ordering::Relaxed),
            refused: std::array::from_fn(|why| self.refused[why].load(Ordering::Relaxed)),
        }
    }
}

/// One caller until it is told to stop. A slow answer delays its next request; it never has two in progress.
async fn call(
    address: SocketAddr,
    caller: &'static Caller,
    counters: Arc<Counters>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut client = Client::new(address, Some(caller.key));
    let mut pace = tokio::time::interval(Duration::from_secs(1) / caller.per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = pace.tick() => {}
        }
        let sent = Moment::read();
        let answer = client.get(PATH).await;
        counters.count(&answer, Moment::read().since(sent));
    }
}

#[cfg(test)]
mod tests {
    use super::super::workers::Worker;
    use super::*;

    #[test]
    fn callers_count_the_answers_that_they_see() {
        let worker = Worker::start("a", 10, 1).unwrap();
        let mut traffic = Traffic::start(worker.address()).unwrap();
        let begin = Moment::read();
        while traffic.counts().iter().any(|count| count.allowed == 0)
            && Moment::read().since(begin) < Duration::from_secs(10)
        {
            std::thread::yield_now();
        }
        traffic.stop();
        let counts = traffic.counts();
        assert!(counts.iter().all(|count| count.allowed > 0), "{counts:?}");
        assert_eq!(counts.iter().map(|count| count.allowed).sum::<u64>(), worker.served());
    }

    #[test]
    fn requests_that_find_nobody_are_failures_and_not_refusals() {
        let mut worker = Worker::start("a", 10, 1).unwrap();
        worker.stop();
        let mut traffic = Traffic::start(worker.address()).unwrap();
        let begin = Moment::read();
        while traffic.counts().iter().any(|count| count.failed == 0)
            && Moment::read().since(begin) < Duration::from_secs(10)
        {
            std::thread::yield_now();
        }
        traffic.stop();
        for count in traffic.counts() {
            assert!(count.failed > 0);
            assert_eq!((count.allowed, count.refused_in_all()), (0, 0));
        }
    }

    #[test]
    fn the_cast_stays_modest_and_each_plays_its_part() {
        assert!(CAST.iter().map(|caller| caller.per_second).sum::<u32>() < 300);
        let of = |name: &str| CAST.iter().find(|caller| caller.name == name).unwrap().per_second;
        assert!(of("quiet") < DEFAULT_RATE && of("noisy") > DEFAULT_RATE);
        assert!(of("batch") > DEFAULT_RATE && of("batch") < AGREED_RATE);
    }
}
