//! What `/metrics` tells of the room for a service's requests: places, waits for them, how many may go on to the
//! workers, what was tried again, what was answered instead.

use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Scrape;
use crate::record::page::Page;

/// What is read of the room for a service's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoomReading {
    /// Its places (`capacity.concurrent`). None: there is no bound.
    pub capacity: Option<CapacityReading>,
    /// Requests that wait for a place, the service's or a worker's.
    pub waiting: u64,
    /// The part of requests, of all callers together, that may go on to the workers, 0 to 1.
    pub acceptance: f64,
    /// All workers of a priority are used, since too many of them are ejected.
    pub panic: bool,
}

/// The places of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapacityReading {
    /// As many as configured.
    pub limit: u64,
    /// As many as may be used now: fewer while the workers fail.
    pub effective: u64,
    /// Those in use.
    pub in_use: u64,
}

impl Scrape {
    pub(super) fn room(&self, page: &mut Page<'_>) -> fmt::Result {
        self.capacity(page)?;
        let mut family = page.gauge("buckler_capacity_waiting", "Requests that wait for a place")?;
        for service in &self.services {
            family.gauge(&[("service", service.name())], service.room.waiting)?;
        }
        let mut family = page.family(
            "buckler_queue_duration",
            "How long requests waited for a place, of those that did",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for service in &self.services {
            family.histogram(&[("service", service.name())], &service.counts.queued())?;
        }
        let help = "The part of requests, of all callers together, that may go on to the workers, 0 to 1";
        let mut family = page.gauge("buckler_acceptance_ratio", help)?;
        for service in &self.services {
            family.gauge_f64(&[("service", service.name())], service.room.acceptance)?;
        }
        let help = "1 while all workers of a priority are used, since too many of them are ejected";
        let mut family = page.gauge("buckler_panic", help)?;
        for service in &self.services {
            family.gauge(&[("service", service.name())], u64::from(service.room.panic))?;
        }
        self.sums(page, "buckler_retries", "Attempts after a request's first", |shard| &shard.retries)?;
        self.sums(page, "buckler_retries_denied", "Attempts that the budget did not allow", |shard| {
            &shard.retries_denied
        })?;
        let help = "Requests that got the fallback, by what was wrong";
        let mut family = page.counter("buckler_fallbacks", help)?;
        for service in &self.services {
            for (reason, n) in service.counts.fallbacks() {
                family.counter(&[("service", service.name()), ("reason", reason.word())], n)?;
            }
        }
        Ok(())
    }

    fn capacity(&self, page: &mut Page<'_>) -> fmt::Result {
        type Number = fn(&CapacityReading) -> u64;
        let numbers: [(&'static str, &str, Number); 3] = [
            ("buckler_capacity_limit", "Places for requests, as configured", |capacity| capacity.limit),
            ("buckler_capacity_effective", "Places for requests that may be used now", |capacity| {
                capacity.effective
            }),
            ("buckler_capacity_in_use", "Places for requests in use", |capacity| capacity.in_use),
        ];
        for (name, help, number) in numbers {
            let mut family = page.gauge(name, help)?;
            for service in &self.services {
                if let Some(capacity) = &service.room.capacity {
                    family.gauge(&[("service", service.name())], number(capacity))?;
                }
            }
        }
        Ok(())
    }
}
