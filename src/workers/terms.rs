//! What the configuration says of all workers of a service, for those who judge and choose them.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config;

/// What the configuration says of all workers of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// `health.passive`.
    pub passive: bool,
    /// `health.max_ejected`, 0 to 1.
    pub max_ejected: f64,
    /// `workers.slow_start`.
    pub slow_start: Duration,
    /// `workers.concurrent_per_worker`; 0: no bound.
    pub seats_each: u32,
    /// `capacity.concurrent`; 0: no bound.
    pub concurrent: u32,
    /// `workers.balance` is `ring`.
    pub by_ring: bool,
    /// Whether there is a `health.check`.
    pub checked: bool,
    /// `health.check.required_at_start`.
    pub required_at_start: bool,
    /// `health.check.healthy_after`, at least 1.
    pub healthy_after: u32,
    /// `health.check.unhealthy_after`, at least 1.
    pub unhealthy_after: u32,
}

impl Terms {
    /// What `service` says.
    pub fn of(service: &config::Service) -> Self {
        let check = service.health.check.as_deref();
        Self {
            passive: service.health.passive,
            max_ejected: service.health.max_ejected,
            slow_start: service.slow_start,
            seats_each: service.concurrent_per_worker.map_or(0, NonZeroU32::get),
            concurrent: service.capacity.concurrent.map_or(0, NonZeroU32::get),
            by_ring: matches!(service.balance, config::Balance::Ring(_)),
            checked: check.is_some(),
            required_at_start: check.is_some_and(|check| check.required_at_start),
            healthy_after: check.map_or(1, |check| check.healthy_after),
            unhealthy_after: check.map_or(1, |check| check.unhealthy_after),
        }
    }
}

impl Default for Terms {
    fn default() -> Self {
        let health = config::Health::default();
        Self {
            passive: health.passive,
            max_ejected: health.max_ejected,
            slow_start: Duration::ZERO,
            seats_each: 0,
            concurrent: 0,
            by_ring: false,
            checked: false,
            required_at_start: false,
            healthy_after: 1,
            unhealthy_after: 1,
        }
    }
}
