//! The workers of a service: who they are, how they are, where they come from. Choosing one is `balance`'s work.
//!
//! A [`Worker`] lives as long as it is in the set, over reloads and DNS changes: its health and counts stay.

pub mod health;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Moment;
use crate::shard::{Count, PerShard};
use health::Health;

/// The workers of one service, shared by all shards. One snapshot behind one pointer: list and order never disagree.
#[derive(Debug)]
pub struct Workers {
    set: ArcSwap<WorkerSet>,
    /// Changes whenever the set or the health of any worker does, so that a shard knows when to choose anew.
    version: AtomicU64,
    shards: usize,
}

/// One snapshot of the workers.
#[derive(Debug, Default)]
pub struct WorkerSet {
    /// In order of priority, then address.
    pub members: Vec<Member>,
    /// What DNS said last; none for a written list.
    pub dns: Option<DnsAnswer>,
}

/// A worker with the place that the list or DNS gives it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The worker.
    pub worker: Arc<Worker>,
    /// Lower is tried first.
    pub priority: u16,
    /// Share inside its priority.
    pub weight: u16,
}

/// How the DNS side of a set stands.
#[derive(Clone, Debug)]
pub struct DnsAnswer {
    /// When the answer in use arrived.
    pub answered_at: Moment,
    /// How long it was said to be good.
    pub ttl: Duration,
    /// Why the newest question failed, if it did: the answer in use is then stale.
    pub failure: Option<String>,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Its address.
    pub address: SocketAddr,
    /// The address as text, for logs and metrics.
    pub name: Arc<str>,
    /// What it did, per shard.
    pub counts: PerShard<WorkerCounts>,
    /// Behind a lock that only failures, recoveries and people looking take: never the path of a good request.
    health: Mutex<Health>,
}

/// What a worker did, on one shard.
#[derive(Debug, Default)]
pub struct WorkerCounts {
    /// Attempts sent to it.
    pub attempts: Count,
    /// Attempts in progress.
    pub active: Count,
    /// Answers by class: 1xx to 5xx at 0 to 4.
    pub answers: [Count; 5],
    /// Connections opened.
    pub connects: Count,
    /// Connections refused, or not made in time.
    pub connect_failures: Count,
    /// Attempts that ended without a whole answer, by the worker's fault.
    pub failures: Count,
    /// Open connections, in use or idle.
    pub connections: Count,
}
