//! What a client is told when no connection to a worker could be had.

use std::time::Duration;

use super::pool::ConnectFailure;
use crate::refusal::{Reason, Refusal};

const BOUND: &str = "`bounds.worker_connections` are all in use";
const NO_DESCRIPTOR: &str = "no file descriptor or memory is left for a connection to a worker";

pub(super) fn no_workers() -> Refusal {
    Refusal::new(Reason::NoWorkers, "neither the configuration nor DNS names a worker")
        .after(Duration::from_secs(1))
}

/// There are workers, and none that may be asked yet.
pub(super) fn none_ready() -> Refusal {
    Refusal::new(Reason::NoWorkers, "no worker has passed its first check (`health.check.required_at_start`)")
        .after(Duration::from_secs(1))
}

fn overload(detail: &'static str) -> Refusal {
    Refusal::new(Reason::Overload, detail).after(Duration::from_secs(1))
}

/// Every worker has as many requests as it may have.
pub(super) fn all_full() -> Refusal {
    overload(
        "all workers have `workers.concurrent_per_worker` requests, and none ended within `capacity.wait`",
    )
}

/// What the client is told if a connection failed for a reason that is not the worker's: then no other worker is tried,
/// and none is left alone for it.
pub(super) fn beside_the_worker(failure: &ConnectFailure) -> Option<Refusal> {
    match failure {
        ConnectFailure::Bound => Some(overload(BOUND)),
        ConnectFailure::NoRoomHere => Some(overload(NO_DESCRIPTOR)),
        ConnectFailure::OutOfTime => {
            let detail = "the request's time was over before a worker was reached";
            Some(Refusal::new(Reason::WorkerTimeout, detail))
        }
        ConnectFailure::Refused | ConnectFailure::TimedOut => None,
    }
}

pub(super) const fn not_connected(failure: &ConnectFailure) -> Refusal {
    match failure {
        ConnectFailure::TimedOut => {
            Refusal::new(Reason::WorkerTimeout, "no worker took the connection in time")
        }
        _ => Refusal::new(Reason::WorkerConnect, "every worker that was tried refused the connection"),
    }
}
