//! What `/api/v1/status` tells of the room for a service's requests: its places, how many may go on to the workers,
//! what is tried again.

use std::time::Duration;

use serde::Serialize;

use crate::admin::ServiceView;
use crate::admin::readings::waiting;
use crate::clock::Moment;
use crate::config::{Balance, CapacityFacts};

#[derive(Serialize)]
pub(super) struct CapacityStatus {
    /// As configured, or derived. None: only places at workers are bounded.
    concurrent: Option<u64>,
    /// As many as may be used now: fewer while the workers fail.
    effective: Option<u64>,
    in_use: u64,
    /// Requests that wait for a place, the service's or a worker's.
    waiting: u64,
    /// How long one may wait.
    wait_ms: f64,
    /// Requests that got no place of the service.
    refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    derived_from: Option<FactsStatus>,
}

#[derive(Serialize)]
struct FactsStatus {
    rps: u32,
    latency_ms: f64,
    burst: u32,
}

#[derive(Serialize)]
pub(super) struct ThrottleStatus {
    /// The part of requests, of all callers together, that may go on to the workers, 0 to 1.
    acceptance: f64,
    /// Of the newest requests, faded by their age: how many went to workers, and how many of these went well.
    requests: f64,
    good: f64,
}

#[derive(Serialize)]
pub(super) struct RetriesStatus {
    attempts: u32,
    budget: f64,
    /// Attempts after a request's first.
    sent: u64,
    /// Attempts that the budget did not allow.
    denied: u64,
}

pub(super) fn read_capacity(service: &ServiceView, now: Moment) -> Option<CapacityStatus> {
    let config = &service.config;
    if config.capacity.concurrent.is_none() && config.concurrent_per_worker.is_none() {
        return None;
    }
    let reading = service.capacity.reading(service.workers.acceptance(now));
    let facts = config.capacity.facts.map(|CapacityFacts { rps, latency, burst }| FactsStatus {
        rps,
        latency_ms: millis(latency),
        burst,
    });
    Some(CapacityStatus {
        concurrent: reading.concurrent,
        effective: reading.effective,
        in_use: reading.in_use,
        waiting: waiting(service),
        wait_ms: millis(config.capacity.wait),
        refused: reading.refused,
        derived_from: facts,
    })
}

pub(super) fn read_throttle(service: &ServiceView, now: Moment) -> ThrottleStatus {
    let reading = service.workers.throttle_reading(now);
    ThrottleStatus { acceptance: reading.acceptance, requests: reading.requests, good: reading.good }
}

pub(super) fn read_retries(service: &ServiceView) -> RetriesStatus {
    let (retries, shards) = (&service.config.retries, &service.counts.shards);
    RetriesStatus {
        attempts: retries.attempts,
        budget: retries.budget,
        sent: shards.sum(|shard| &shard.retries),
        denied: shards.sum(|shard| &shard.retries_denied),
    }
}

pub(super) const fn balance_word(balance: &Balance) -> &'static str {
    match balance {
        Balance::Weighted => "weighted",
        Balance::LeastRequests => "least_requests",
        Balance::Ring(_) => "ring",
    }
}

/// Milliseconds with what is left of them.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
