//! One worker: its address, its counts, its health behind a lock, its places. What changes its health goes through
//! [`Workers`], so that every shard hears of it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::check::CheckCounts;
use super::health::{FULL_SHARE, Health, Outlook, Standing, Use, WorkerHealth};
use super::{Workers, held};
use crate::clock::Moment;
use crate::config::Endpoint;
use crate::shard::{Count, PerShard};

/// One worker. What a good request looks at stands first, on one cache line with the count of whoever holds the worker:
/// of ten thousand workers each request meets another one, and waits for each line of it.
#[derive(Debug)]
#[repr(C)]
pub struct Worker {
    /// What it did, per shard.
    pub counts: PerShard<WorkerCounts>,
    /// Places taken, while there is a bound.
    pub(super) seats: AtomicU32,
    /// Whether what may be sent to it is anything but its whole share.
    pub(super) troubled: AtomicBool,
    /// Whether it is left alone because of its connections: a good connection reads only this.
    pub(super) away: AtomicBool,
    /// Its address.
    pub address: Endpoint,
    /// The address as text, for logs and metrics.
    pub name: Arc<str>,
    /// Its checks.
    pub checks: CheckCounts,
    /// Behind a lock that only failures, recoveries, the judge and people looking take: never the path of a good
    /// request. The two flags above are written only while it is held.
    pub(super) health: Mutex<Health>,
}

/// What a worker did, on one shard. The counts of a good request, up to answers 2xx, are one cache line.
#[derive(Debug, Default)]
#[repr(C)]
pub struct WorkerCounts {
    /// Attempts sent to it.
    pub attempts: Count,
    /// Attempts in progress.
    pub active: Count,
    /// Attempts that ended well, as `score` judges.
    pub good: Count,
    /// Attempts whose whole request is at the worker and that wait for the head of its answer.
    pub waiting: Count,
    /// Nanoseconds that those attempts waited which then got an answer or were given up as too late; not those whose
    /// client left.
    pub waited_nanos: Count,
    /// The number of attempts in `waited_nanos`.
    pub waited: Count,
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
    /// Attempts that say that the worker is ill.
    pub bad: Count,
}

/// A claimed trial. A request that drops it before the worker showed how it is, since its client left or its own time
/// was over, gives the trial back; after `connected` or `connect_failed` that changes nothing.
#[derive(Debug)]
pub struct Trial {
    pub(super) workers: Arc<Workers>,
    pub(super) worker: Arc<Worker>,
    pub(super) begun: Moment,
}

impl Drop for Trial {
    fn drop(&mut self) {
        if held(&self.worker.health).give_up_trial(self.begun) {
            self.workers.changed();
        }
    }
}

impl Worker {
    pub(super) fn new(address: Endpoint, shards: usize, health: Health) -> Self {
        Self {
            name: address.to_string().into(),
            address,
            counts: PerShard::new(shards),
            checks: CheckCounts::default(),
            // The first judgement looks whether it is not.
            troubled: AtomicBool::new(true),
            away: AtomicBool::new(false),
            health: Mutex::new(health),
            seats: AtomicU32::new(0),
        }
    }

    /// What may be sent to it at `now`.
    pub fn outlook(&self, now: Moment) -> Outlook {
        if self.troubled.load(Ordering::Acquire) {
            return held(&self.health).outlook(now);
        }
        Outlook { usable: Use::Share(FULL_SHARE), changes_at: u64::MAX }
    }

    /// The first half of [`Self::outlook`].
    pub fn usable(&self, now: Moment) -> Use {
        self.outlook(now).usable
    }

    /// Attempts in progress, over all shards.
    pub fn active(&self) -> u64 {
        self.counts.sum(|shard| &shard.active)
    }

    /// How it stands at `now`, with numbers, for people.
    pub fn reading(&self, now: Moment) -> WorkerHealth {
        held(&self.health).reading(now)
    }

    /// How it stands at `now`, for people.
    pub fn standing(&self, now: Moment) -> Standing {
        held(&self.health).standing(now)
    }
}
