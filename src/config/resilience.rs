//! The checked configuration of what keeps a service up while its workers or callers misbehave: capacity, health,
//! balance, retries, fallback.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};

/// `capacity`: so many requests at the workers at once, and so long a wait for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// `concurrent`: requests in progress, over all shards, from admission to the last byte of the answer. 1 to
    /// 1,000,000. None: only `concurrent_per_worker` bounds them.
    pub concurrent: Option<NonZeroU32>,
    /// `wait`: how long a request may wait for a place, here or at a worker. 0 to 1 min; default 0, or 1 s (at most
    /// `timeouts.total`) if `concurrent_per_worker` is set and no `capacity` is written.
    pub wait: Duration,
    /// The facts that both were derived from, if they were written instead.
    pub facts: Option<CapacityFacts>,
}

/// `capacity` in facts: concurrent = rps × latency, wait = burst × latency / concurrent (Little's law), both rounded
/// up, wait to a whole millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityFacts {
    /// `rps`: requests a second in the busiest normal second. 1 to 1,000,000.
    pub rps: u32,
    /// `latency` of a normal request. 1 µs to 1 h.
    pub latency: Duration,
    /// `burst`: requests that may come at once on top, and wait. 0 to 1,000,000; default 0.
    pub burst: u32,
}

/// `workers.balance`: who of the workers of one priority gets a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Turns in proportion to weight.
    #[default]
    Weighted,
    /// The one with fewer requests in progress, by weight, of two drawn at random.
    LeastRequests,
    /// Always the same one for the same key, as long as it has room.
    Ring(RingKey),
}

/// What `balance: ring` goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingKey {
    /// The caller's name.
    Caller,
    /// The value of this header; the caller's name if it is missing.
    Header(HeaderName),
}

/// `health`.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// `passive`: outcomes of requests change a worker's share, and a service that fails is asked less. Default true.
    pub passive: bool,
    /// `max_ejected`: if a greater part of the workers of a priority is ejected and no other priority has a usable one,
    /// all of them are used. 0 to 1; default 0.5.
    pub max_ejected: f64,
    /// `check`: workers are asked how they are. None (the default): they are not.
    pub check: Option<Arc<Check>>,
}

/// `health.check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// `interval` between the beginnings of two checks, before jitter. 10 ms to 1 h; default 5 s.
    pub interval: Duration,
    /// `timeout` of a check, all of it. 1 ms to `interval`; default 1 s, or `interval` if that is less.
    pub timeout: Duration,
    /// `healthy_after`: successes in a row until an ejected worker returns. 1 to 100; default 2.
    pub healthy_after: u32,
    /// `unhealthy_after`: failures in a row until a worker is ejected. 1 to 100; default 3.
    pub unhealthy_after: u32,
    /// `required_at_start`: a worker gets nothing before its first success. Default false.
    pub required_at_start: bool,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// GET in the protocol that is spoken with the workers.
    Http {
        /// `path`, with its query. Default `/`.
        path: Arc<str>,
        /// `host`. Default: the worker's address.
        host: Option<Arc<str>>,
        /// `status`: codes that are good. Default 200 to 399.
        status: Vec<RangeInclusive<u16>>,
        /// `body`: a text that the first 64 KiB of the body must hold. None: whatever it holds.
        body: Option<Arc<str>>,
    },
    /// A connection is made.
    Tcp,
    /// `grpc.health.v1.Health/Check` says SERVING, over HTTP/2.
    Grpc {
        /// `service` that is asked for; empty: the server as a whole.
        service: Arc<str>,
    },
}

/// `retries`.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// `attempts`: how often a request may be sent in all. 1 (never again) to 10; default 2. A worker that takes no
    /// connection is passed over, which is no attempt.
    pub attempts: u32,
    /// `budget`: retries as a part of requests. 0 to 1; default 0.2.
    pub budget: f64,
    /// `on`: statuses of a worker, 500 to 599, that are asked of another one instead of passed on. Default none.
    pub on: Vec<StatusCode>,
}

/// `fallback`: what is answered instead of a 502, 503 or 504 of Buckler's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// `status`. 200 to 599; default 200.
    pub status: StatusCode,
    /// `headers`. None that frame or route a message.
    pub headers: HeaderMap,
    /// `body`, at most 64 KiB; default empty.
    pub body: Bytes,
}

impl Default for Health {
    fn default() -> Self {
        Self { passive: true, max_ejected: 0.5, check: None }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, budget: 0.2, on: Vec::new() }
    }
}

impl CapacityFacts {
    /// What the facts mean: never less than one request at once.
    pub fn capacity(self) -> Capacity {
        let nanos = u128::from(self.rps) * self.latency.as_nanos();
        let concurrent = nanos.div_ceil(1_000_000_000).clamp(1, u128::from(u32::MAX));
        let concurrent = u32::try_from(concurrent).unwrap_or(u32::MAX);
        let wait = (u128::from(self.burst) * self.latency.as_nanos()).div_ceil(u128::from(concurrent));
        let wait = Duration::from_millis(u64::try_from(wait.div_ceil(1_000_000)).unwrap_or(u64::MAX));
        Capacity { concurrent: NonZeroU32::new(concurrent), wait, facts: Some(self) }
    }
}
