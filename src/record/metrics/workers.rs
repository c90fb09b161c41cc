//! What `/metrics` tells of workers: what they did, how they are, what they get.

use std::fmt;
use std::sync::Arc;

use super::{Scrape, ServiceReading};
use crate::record::labels::{CLASSES, STATES};
use crate::record::page::{Family, Page};

/// What is read of a worker.
#[derive(Clone, Debug)]
pub struct WorkerReading {
    /// Its address as text.
    pub name: Arc<str>,
    /// Whether it is used by its share, whatever that is; not while it is ejected or on trial.
    pub up: bool,
    /// Its state, one of [`STATES`].
    pub state: &'static str,
    /// How much of what its weight gives it it gets, 0 to 1.
    pub share: f64,
    /// Its configured weight.
    pub weight: u16,
    /// Attempts in progress.
    pub active: u64,
    /// Open connections.
    pub connections: u64,
    /// Answers by class, 1xx to 5xx.
    pub answers: [u64; 5],
    /// Attempts that ended without a whole answer, by the worker's fault.
    pub failures: u64,
    /// Connections refused, or not made in time.
    pub connect_failures: u64,
    /// How often it was ejected.
    pub ejections: u64,
    /// Checks of it. None: it is not checked.
    pub checks: Option<ChecksReading>,
    /// Places at it. None: there is no bound.
    pub seats: Option<SeatsReading>,
}

/// Checks of a worker that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksReading {
    /// Those that found it well.
    pub ok: u64,
    /// All others.
    pub failed: u64,
}

/// Places at a worker (`workers.concurrent_per_worker`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatsReading {
    /// How many there are.
    pub all: u32,
    /// Those in use.
    pub taken: u32,
}

impl Scrape {
    pub(super) fn workers(&self, page: &mut Page<'_>) -> fmt::Result {
        self.answers(page)?;
        self.each(page.counter("buckler_worker_failures", "Attempts that a worker failed")?, |worker| {
            Some(Value::Counter(worker.failures))
        })?;
        let help = "Connections that a worker refused or that were not made in time";
        self.each(page.counter("buckler_worker_connect_failures", help)?, |worker| {
            Some(Value::Counter(worker.connect_failures))
        })?;
        self.each(page.gauge("buckler_worker_active", "Attempts in progress")?, |worker| {
            Some(Value::Gauge(worker.active))
        })?;
        self.each(page.gauge("buckler_worker_connections", "Open connections to a worker")?, |worker| {
            Some(Value::Gauge(worker.connections))
        })?;
        self.each(page.gauge("buckler_worker_weight", "The weight that is configured")?, |worker| {
            Some(Value::Gauge(u64::from(worker.weight)))
        })?;
        self.health(page)?;
        self.seats(page)
    }

    fn answers(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family =
            page.counter("buckler_worker_requests", "Answers of a worker by class of status code")?;
        for (service, worker) in self.all_workers() {
            for (class, n) in CLASSES.iter().zip(worker.answers) {
                let labels = [("service", service.name()), ("worker", &*worker.name), ("code_class", *class)];
                family.counter(&labels, n)?;
            }
        }
        Ok(())
    }

    fn health(&self, page: &mut Page<'_>) -> fmt::Result {
        self.each(page.gauge("buckler_worker_up", "1 if the worker is used by its share")?, |worker| {
            Some(Value::Gauge(u64::from(worker.up)))
        })?;
        let help = "How much of what its weight gives it a worker gets, 0 to 1";
        self.each(page.gauge("buckler_worker_share", help)?, |worker| Some(Value::Part(worker.share)))?;
        let mut family = page.gauge("buckler_worker_state", "1 for the state in which the worker is")?;
        for (service, worker) in self.all_workers() {
            for state in STATES {
                let labels = [("service", service.name()), ("worker", &*worker.name), ("state", state)];
                family.gauge(&labels, u64::from(worker.state == state))?;
            }
        }
        self.each(page.counter("buckler_worker_ejections", "How often a worker was ejected")?, |worker| {
            Some(Value::Counter(worker.ejections))
        })?;
        let mut family = page.counter("buckler_worker_checks", "Checks of a worker by result")?;
        for (service, worker) in self.all_workers() {
            let Some(checks) = worker.checks else { continue };
            for (result, n) in [("ok", checks.ok), ("failed", checks.failed)] {
                let labels = [("service", service.name()), ("worker", &*worker.name), ("result", result)];
                family.counter(&labels, n)?;
            }
        }
        Ok(())
    }

    fn seats(&self, page: &mut Page<'_>) -> fmt::Result {
        self.each(
            page.gauge("buckler_worker_seats", "Requests that a worker may have at once")?,
            |worker| worker.seats.map(|seats| Value::Gauge(u64::from(seats.all))),
        )?;
        let help = "Requests that have one of a worker's places";
        self.each(page.gauge("buckler_worker_seats_taken", help)?, |worker| {
            worker.seats.map(|seats| Value::Gauge(u64::from(seats.taken)))
        })
    }

    fn all_workers(&self) -> impl Iterator<Item = (&ServiceReading, &WorkerReading)> {
        self.services.iter().flat_map(|service| service.workers.iter().map(move |worker| (service, worker)))
    }

    /// One series for each worker of which there is something to tell.
    fn each(&self, mut family: Family<'_>, value: fn(&WorkerReading) -> Option<Value>) -> fmt::Result {
        for (service, worker) in self.all_workers() {
            let labels = [("service", service.name()), ("worker", &*worker.name)];
            match value(worker) {
                Some(Value::Counter(n)) => family.counter(&labels, n)?,
                Some(Value::Gauge(n)) => family.gauge(&labels, n)?,
                Some(Value::Part(part)) => family.gauge_f64(&labels, part)?,
                None => {}
            }
        }
        Ok(())
    }
}

enum Value {
    Counter(u64),
    Gauge(u64),
    Part(f64),
}
