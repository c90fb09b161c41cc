//! What a client is told when no connection to a worker could be had.

use std::time::Duration;

use super::pool::ConnectFailure;
use crate::refusal::{Reason, Refusal};

pub(super) const BOUND: &str = "`bounds.worker_connections` are all in use";
pub(super) const NO_DESCRIPTOR: &str = "no file descriptor or memory is left for a connection to a worker";

pub(super) fn no_workers() -> Refusal {
    Refusal::new(Reason::NoWorkers, "neither the configuration nor DNS names a worker")
        .after(Duration::from_secs(1))
}

pub(super) fn overload(detail: &'static str) -> Refusal {
    Refusal::new(Reason::Overload, detail).after(Duration::from_secs(1))
}

pub(super) const fn not_connected(failure: &ConnectFailure) -> Refusal {
    match failure {
        ConnectFailure::TimedOut => {
            Refusal::new(Reason::WorkerTimeout, "no worker took the connection in time")
        }
        _ => Refusal::new(Reason::WorkerConnect, "every worker that was tried refused the connection"),
    }
}
