//! Active checks (`health.check`): when each worker of a service is asked how it is, and who follows the set while
//! workers come and go. One check of one worker stands in `check/probe.rs`; what its outcome does to the worker, in
//! `health.rs`.

pub mod grpc;
mod http;
mod probe;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::health::Use;
use super::{Worker, Workers};
use crate::clock::Moment;
use crate::config::{self, Endpoint, ServiceName, WorkerProtocol};
use crate::shard::Count;

/// So many workers of one service are asked at the same time; the others wait, so that the checks of a large service
/// that hangs hold no more connections than this. Then their interval grows.
pub const CHECKS_AT_ONCE: usize = 100;

/// So many workers that are new together are asked at once; of more, the first checks are spread.
pub const FIRST_AT_ONCE: usize = 16;

/// The first checks of many new workers are spread over the interval, and over this at most: a start waits for them.
pub const FIRST_SPREAD: Duration = Duration::from_secs(1);

/// A worker that gets nothing before its first good check is asked at least so often, whatever the interval: it may
/// have started a moment after Buckler.
pub const UNREADY_INTERVAL: Duration = Duration::from_secs(1);

/// Each interval is longer or shorter by up to this share, so that checks which fell together do not stay together.
const JITTER: f64 = 0.1;

/// What is asked of the workers of a service, and how. Two that are equal are the same task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checking {
    /// `health.check`.
    pub check: Arc<config::Check>,
    /// `workers.protocol`.
    pub protocol: WorkerProtocol,
    /// `workers.send_proxy_protocol`.
    pub proxy_header: bool,
    /// The service, which names workers that have no address of the network.
    pub service: ServiceName,
}

/// The checks of one worker by their result. Only the thread that checks writes it.
#[derive(Debug, Default)]
pub struct CheckCounts {
    /// Checks that the worker passed.
    pub good: Count,
    /// Checks that it did not.
    pub bad: Count,
}

impl Checking {
    /// What `service` wants. None: no checks.
    pub fn of(service: &config::Service) -> Option<Self> {
        Some(Self {
            check: Arc::clone(service.health.check.as_ref()?),
            protocol: service.worker_protocol,
            proxy_header: service.send_proxy_protocol,
            service: service.name.clone(),
        })
    }

    /// The `Host` of a check of this worker.
    fn host(&self, worker: &Endpoint, wanted: Option<&str>) -> String {
        match (wanted, worker) {
            (Some(host), _) => host.to_owned(),
            (None, Endpoint::Tcp(address)) => address.to_string(),
            (None, Endpoint::Unix(_)) => self.service.as_str().to_owned(),
        }
    }
}

/// Checks `workers`, those of now and those to come, for as long as it is polled. Never ends by itself; when it is
/// dropped, so are the checks under way. Wants a runtime for tasks of its own thread (`spawn_local`), and to be the
/// only one for these workers.
pub async fn run(checking: Checking, workers: Arc<Workers>) {
    let terms = Rc::new((checking, Semaphore::new(CHECKS_AT_ONCE)));
    let mut beats = HashMap::new();
    loop {
        follow(&mut beats, &workers, &terms);
        workers.replaced.notified().await;
    }
}

/// The checks of one worker; no further one begins when it is dropped, and the one under way is given up.
struct Beat {
    worker: Arc<Worker>,
    task: AbortHandle,
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins the checks of workers that are new, and ends those of workers that have left.
fn follow(beats: &mut HashMap<Endpoint, Beat>, workers: &Arc<Workers>, terms: &Rc<(Checking, Semaphore)>) {
    let set = Arc::clone(&workers.load());
    let members: HashMap<&Endpoint, &Arc<Worker>> =
        set.members.iter().map(|member| (&member.worker.address, &member.worker)).collect();
    // A worker that left and came back meanwhile is another one.
    beats
        .retain(|address, beat| members.get(address).is_some_and(|worker| Arc::ptr_eq(worker, &beat.worker)));
    let new: Vec<_> =
        set.members.iter().filter(|member| !beats.contains_key(&member.worker.address)).collect();
    let waits = first_waits(new.len(), terms.0.check.interval);
    for (member, wait) in new.into_iter().zip(waits) {
        let worker = Arc::clone(&member.worker);
        let checks = check_again_and_again(Arc::clone(&worker), Arc::clone(workers), Rc::clone(terms), wait);
        let task = tokio::task::spawn_local(checks).abort_handle();
        beats.insert(worker.address.clone(), Beat { worker, task });
    }
}

#[allow(clippy::disallowed_methods, reason = "timers are an edge")]
async fn check_again_and_again(
    worker: Arc<Worker>,
    workers: Arc<Workers>,
    terms: Rc<(Checking, Semaphore)>,
    first: Duration,
) {
    let (checking, places) = &*terms;
    let mut due = Instant::now() + first;
    loop {
        tokio::time::sleep_until(due).await;
        // The semaphore lives as long as its users and is never closed.
        let place = places.acquire().await;
        let begun = Instant::now();
        let outcome = probe::probe(checking, &worker.address).await;
        drop(place);
        let count = if outcome.is_ok() { &worker.checks.good } else { &worker.checks.bad };
        count.add(1);
        let now = Moment::read();
        workers.checked(&worker, outcome, now);
        let interval = interval_of(&checking.check, worker.usable(now));
        due = begun + jittered(interval, fastrand::f64());
    }
}

/// How soon a worker that may be used so is asked again, before jitter.
fn interval_of(check: &config::Check, usable: Use) -> Duration {
    match usable {
        // It still stands that one check ends before the next begins.
        Use::Unready => check.interval.min(UNREADY_INTERVAL.max(check.timeout)),
        _ => check.interval,
    }
}

/// How long each of `new` workers waits for its first check.
fn first_waits(new: usize, interval: Duration) -> impl Iterator<Item = Duration> {
    let spread = if new > FIRST_AT_ONCE { interval.min(FIRST_SPREAD) } else { Duration::ZERO };
    (0..new).map(move |nth| spread.mul_f64(nth as f64 / new as f64))
}

fn jittered(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
