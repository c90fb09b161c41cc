//! The workers of a service: who they are, how they are, where they come from. Choosing one is `balance`'s work.
//!
//! A [`Worker`] lives as long as it is in the set, over reloads and DNS changes: its health and counts stay. The set
//! comes from a written list, or from DNS: [`discovery`] asks again and again, [`resolver`] puts one question, [`srv`]
//! knows what an answer means. [`health`] judges a worker by the connections that it takes or refuses; [`check`] asks it
//! how it is.

pub mod check;
pub mod discovery;
pub mod health;
pub mod resolver;
pub mod score;
pub mod seat;
pub mod srv;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use crate::clock::Moment;
use crate::config::{self, Endpoint, WorkerSpec};
use crate::queue::Queue;
use crate::shard::{Count, PerShard};
use check::CheckCounts;
use health::{FULL_SHARE, Health, Outlook, Standing, Use, WorkerHealth};

/// The workers of one service, shared by all shards. One snapshot behind one pointer: list and order never disagree.
#[derive(Debug)]
pub struct Workers {
    set: ArcSwap<WorkerSet>,
    /// Changes whenever the set or the health of any worker does, so that a shard knows when to choose anew.
    version: AtomicU64,
    /// DNS questions without a usable answer, since the start.
    dns_failures: AtomicU64,
    shards: usize,
    /// What the configuration says of them; a reload changes it.
    terms: ArcSwap<Terms>,
    /// `Terms::seats_each` for the way of a request; 0: no bound.
    seats_each: AtomicU32,
    /// Requests that wait for a place at any worker.
    pub freed: Queue,
    /// Told when there are other members than before; for the one who follows them ([`check::run`]).
    replaced: Notify,
    /// What became of the service's requests, whatever attempts they took.
    pub requests: PerShard<RequestCounts>,
    /// Held while a new snapshot is made from the old one; readers never take it.
    replacing: Mutex<()>,
}

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
            checked: check.is_some(),
            required_at_start: check.is_some_and(|check| check.required_at_start),
            healthy_after: check.map_or(1, |check| check.healthy_after),
            unhealthy_after: check.map_or(1, |check| check.unhealthy_after),
        }
    }
}

/// What became of a service's requests, on one shard: those of them that say something of the workers.
#[derive(Debug, Default)]
pub struct RequestCounts {
    /// A worker answered, and that it is overloaded was not the answer.
    pub good: Count,
    /// No worker answered, or with 502, 503 or 504.
    pub bad: Count,
}

/// How the newest requests of a service went, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleReading {
    /// Requests that went to workers, in the window.
    pub requests: f64,
    /// Those of them that went well.
    pub good: f64,
    /// The part of new requests that may go on to the workers, 0.01 to 1.
    pub acceptance: f64,
}

/// One snapshot of the workers.
#[derive(Debug, Default)]
pub struct WorkerSet {
    /// In order of priority, then address.
    pub members: Vec<Member>,
    /// What DNS said last; none for a written list, and before the first question has ended.
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

/// A worker as a list or DNS names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its address.
    pub address: Endpoint,
    /// Lower is tried first.
    pub priority: u16,
    /// Share inside its priority.
    pub weight: u16,
}

/// How the DNS side of a set stands.
#[derive(Clone, Debug)]
pub struct DnsAnswer {
    /// When the answer in use arrived: `now.since(answered_at)` is its age. None: there never was one.
    pub answered_at: Option<Moment>,
    /// How long it was said to be good.
    pub ttl: Duration,
    /// Why the newest question failed, if it did: the answer in use is then stale.
    pub failure: Option<String>,
    /// When the first of the failures in a row happened.
    pub failing_since: Option<Moment>,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Its address.
    pub address: Endpoint,
    /// The address as text, for logs and metrics.
    pub name: Arc<str>,
    /// What it did, per shard.
    pub counts: PerShard<WorkerCounts>,
    /// Its checks.
    pub checks: CheckCounts,
    /// Whether `health` is anything but "gets its whole share": a good connection reads only this.
    troubled: AtomicBool,
    /// Behind a lock that only failures, recoveries and people looking take: never the path of a good request.
    health: Mutex<Health>,
    /// Places taken, while there is a bound.
    seats: AtomicU32,
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
    /// Attempts that ended well, as `score` judges.
    pub good: Count,
    /// Attempts that say that the worker is ill.
    pub bad: Count,
    /// Attempts whose whole request is at the worker and that wait for the head of its answer.
    pub waiting: Count,
    /// Nanoseconds that those attempts waited which then got an answer or were given up as too late; not those whose
    /// client left.
    pub waited_nanos: Count,
    /// The number of attempts in `waited_nanos`.
    pub waited: Count,
}

impl Workers {
    /// No workers yet, for a process with this many shards.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            set: ArcSwap::default(),
            version: AtomicU64::new(0),
            shards,
            terms: ArcSwap::from_pointee(Terms::default()),
            seats_each: AtomicU32::new(0),
            freed: Queue::default(),
            replaced: Notify::new(),
            requests: PerShard::new(shards),
            replacing: Mutex::new(()),
            dns_failures: AtomicU64::new(0),
        })
    }

    /// Takes what the configuration says: at the start and with each reload.
    pub fn adopt(&self, terms: Terms) {
        if **self.terms.load() != terms {
            self.seats_each.store(terms.seats_each, Ordering::Relaxed);
            self.terms.store(Arc::new(terms));
            self.changed();
        }
    }

    /// What the configuration says. Not for the way of a request.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// The part of requests that may go on to the workers now, 0 to 1: less than 1 while most of them fail. Judges the
    /// newest outcomes first, if it is time.
    pub fn acceptance(&self, now: Moment) -> f64 {
        self.judge_if_due(now);
        1.0
    }

    /// Judges the newest outcomes, if it is time and no other shard does it. One load if not.
    pub const fn judge_if_due(&self, _now: Moment) {}

    /// How the newest requests went, and what follows, for people.
    pub const fn throttle_reading(&self) -> ThrottleReading {
        ThrottleReading { requests: 0.0, good: 0.0, acceptance: 1.0 }
    }

    /// An active check of `worker` ended: well, or with what was wrong in words (`status 503`).
    pub fn checked(&self, _worker: &Worker, _result: Result<(), String>, _now: Moment) {}

    /// The snapshot of now. Do not hold it over an `await`; clone the `Arc` inside for that.
    pub fn load(&self) -> Guard<Arc<WorkerSet>> {
        self.set.load()
    }

    /// A number that changes whenever the members or what may be sent to any of them does.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes these the workers. Those that stay, by address, keep their health and counts. Of an address that is
    /// named twice, the entry with the lower priority number stays. Returns whether the members or their places are
    /// not the same as before.
    pub fn replace(&self, mut wanted: Vec<Wanted>, dns: Option<DnsAnswer>, now: Moment) -> bool {
        let _one_at_a_time = held(&self.replacing);
        let old = self.set.load_full();
        let known: HashMap<&Endpoint, &Arc<Worker>> =
            old.members.iter().map(|member| (&member.worker.address, &member.worker)).collect();
        wanted.sort_by(|a, b| (a.priority, &a.address).cmp(&(b.priority, &b.address)));
        let mut seen = HashSet::with_capacity(wanted.len());
        let members: Vec<Member> = wanted
            .into_iter()
            .filter(|one| seen.insert(one.address.clone()))
            .map(|one| Member {
                worker: known.get(&one.address).map_or_else(
                    || Arc::new(Worker::new(one.address.clone(), self.shards, now)),
                    |worker| Arc::clone(worker),
                ),
                priority: one.priority,
                weight: one.weight,
            })
            .collect();
        let same = members.len() == old.members.len()
            && members.iter().zip(&old.members).all(|(new, old)| new.same_place_as(old));
        self.set.store(Arc::new(WorkerSet { members, dns }));
        // An answer that says the same as the last one is no reason for every shard to choose anew.
        if !same {
            self.changed();
            self.replaced.notify_one();
        }
        !same
    }

    /// DNS questions without a usable answer, since the start.
    pub fn dns_failures(&self) -> u64 {
        self.dns_failures.load(Ordering::Relaxed)
    }

    /// DNS gave no usable answer: the workers stay as they are, and the failure is shown.
    pub fn note_dns_failure(&self, failure: &str, now: Moment) {
        self.dns_failures.fetch_add(1, Ordering::Relaxed);
        let _one_at_a_time = held(&self.replacing);
        let old = self.set.load();
        let before = old.dns.as_ref();
        let dns = DnsAnswer {
            answered_at: before.and_then(|dns| dns.answered_at),
            ttl: before.map_or(Duration::ZERO, |dns| dns.ttl),
            failure: Some(failure.to_owned()),
            failing_since: before.and_then(|dns| dns.failing_since).or(Some(now)),
        };
        self.set.store(Arc::new(WorkerSet { members: old.members.clone(), dns: Some(dns) }));
    }

    /// A connection to this worker was refused, or not made in time.
    pub fn connect_failed(&self, worker: &Worker, now: Moment) {
        let mut health = held(&worker.health);
        if health.refused(now, fastrand::f64()) {
            let was_well = !worker.troubled.swap(true, Ordering::AcqRel);
            drop(health);
            self.changed();
            // Once for each time that it goes away, not for each trial.
            if was_well {
                tracing::warn!(
                    worker = &*worker.name,
                    "a worker takes no connection; it is left alone and tried again"
                );
            }
        }
    }

    /// A connection to this worker was made, or an answer came over one that was kept (which ends a trial well too).
    /// One relaxed load if the worker is well.
    pub fn connected(&self, worker: &Worker, now: Moment) {
        if !worker.troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut health = held(&worker.health);
        if health.connected(now) {
            worker.troubled.store(false, Ordering::Release);
            drop(health);
            self.changed();
            tracing::info!(worker = &*worker.name, "a worker takes connections again");
        }
    }

    /// Claims the one trial of a returning worker. False: it is not returning, or somebody else is trying it.
    pub fn begin_trial(&self, worker: &Worker, now: Moment) -> bool {
        let claimed = held(&worker.health).begin_trial(now);
        if claimed {
            self.changed();
        }
        claimed
    }

    /// The trial of this worker that was claimed at `begun`.
    pub fn trial(self: &Arc<Self>, worker: &Arc<Worker>, begun: Moment) -> Trial {
        Trial { workers: Arc::clone(self), worker: Arc::clone(worker), begun }
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
        // Somebody who found all workers full or gone may find another now.
        self.freed.wake();
    }
}

/// A claimed trial. A request that drops it before the worker showed how it is, since its client left or its own time
/// was over, gives the trial back; after `connected` or `connect_failed` that changes nothing.
#[derive(Debug)]
pub struct Trial {
    workers: Arc<Workers>,
    worker: Arc<Worker>,
    begun: Moment,
}

impl Drop for Trial {
    fn drop(&mut self) {
        if held(&self.worker.health).give_up_trial(self.begun) {
            self.workers.changed();
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
            checked: false,
            required_at_start: false,
            healthy_after: 1,
            unhealthy_after: 1,
        }
    }
}

impl From<&WorkerSpec> for Wanted {
    fn from(spec: &WorkerSpec) -> Self {
        Self { address: spec.address.clone(), priority: spec.priority, weight: spec.weight }
    }
}

impl Member {
    fn same_place_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.worker, &other.worker)
            && self.priority == other.priority
            && self.weight == other.weight
    }
}

impl Worker {
    fn new(address: Endpoint, shards: usize, now: Moment) -> Self {
        Self {
            name: address.to_string().into(),
            address,
            counts: PerShard::new(shards),
            checks: CheckCounts::default(),
            troubled: AtomicBool::new(false),
            health: Mutex::new(Health::new(now)),
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
        let Standing { state, since, why, until } = self.standing(now);
        WorkerHealth {
            state,
            since,
            why,
            until,
            share: 1.0,
            failure_share: None,
            latency: None,
            last_check: None,
            ejections: 0,
            slow_start: None,
        }
    }

    /// How it stands at `now`, for people.
    pub fn standing(&self, now: Moment) -> Standing {
        held(&self.health).standing(now)
    }
}

/// A panic elsewhere while the lock was held leaves nothing half-written here: each change is one assignment.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::health::State;
    use super::*;

    fn wanted(port: u16, priority: u16, weight: u16) -> Wanted {
        Wanted { address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(), priority, weight }
    }

    fn now(millis: u64) -> Moment {
        Moment::at(1_000_000_000 + millis * 1_000_000)
    }

    fn ports(workers: &Workers) -> Vec<u16> {
        workers.load().members.iter().map(|member| member.worker.address.tcp().unwrap().port()).collect()
    }

    #[test]
    fn the_set_is_in_order_of_priority_then_address() {
        let workers = Workers::new(2);
        workers.replace(vec![wanted(3, 1, 1), wanted(2, 0, 1), wanted(1, 0, 1)], None, now(0));
        assert_eq!(ports(&workers), [1, 2, 3]);
    }

    #[test]
    fn an_address_named_twice_is_one_worker_of_the_better_priority() {
        let workers = Workers::new(1);
        workers.replace(vec![wanted(1, 2, 9), wanted(1, 1, 5)], None, now(0));
        let set = workers.load();
        assert_eq!(set.members.len(), 1);
        assert_eq!((set.members[0].priority, set.members[0].weight), (1, 5));
    }

    #[test]
    fn a_worker_that_stays_keeps_its_health_and_counts() {
        let workers = Workers::new(1);
        workers.replace(vec![wanted(1, 0, 1), wanted(2, 0, 1)], None, now(0));
        let before = Arc::clone(&workers.load().members[0].worker);
        before.counts.of(crate::shard::ShardId(0)).attempts.add(7);
        workers.connect_failed(&before, now(1));
        workers.replace(vec![wanted(1, 5, 9), wanted(3, 0, 1)], None, now(2));
        assert_eq!(ports(&workers), [3, 1]);
        let after = Arc::clone(&workers.load().members[1].worker);
        assert!(Arc::ptr_eq(&before, &after));
        assert_eq!(after.counts.sum(|counts| &counts.attempts), 7);
        assert_eq!(after.standing(now(2)).state, State::Ejected);
    }

    #[test]
    fn the_version_changes_with_the_members_and_their_health_only() {
        let workers = Workers::new(1);
        let mut last = workers.version();
        let mut changed =
            |workers: &Workers| std::mem::replace(&mut last, workers.version()) != workers.version();
        workers.replace(vec![wanted(1, 0, 1)], None, now(0));
        assert!(changed(&workers));
        workers.replace(vec![wanted(1, 0, 1)], None, now(1));
        assert!(!changed(&workers), "the same answer again");
        workers.replace(vec![wanted(1, 0, 2)], None, now(2));
        assert!(changed(&workers), "another weight");
        let worker = Arc::clone(&workers.load().members[0].worker);
        workers.connected(&worker, now(3));
        assert!(!changed(&workers), "it was well before");
        workers.connect_failed(&worker, now(4));
        assert!(changed(&workers));
        workers.connect_failed(&worker, now(5));
        assert!(!changed(&workers), "an echo");
        workers.connected(&worker, now(500));
        assert!(changed(&workers));
    }

    #[test]
    fn a_dns_failure_keeps_the_workers_and_shows_the_age() {
        let workers = Workers::new(1);
        let answer = DnsAnswer {
            answered_at: Some(now(0)),
            ttl: Duration::from_secs(5),
            failure: None,
            failing_since: None,
        };
        workers.replace(vec![wanted(1, 0, 1)], Some(answer), now(0));
        workers.note_dns_failure("timed out", now(6_000));
        workers.note_dns_failure("refused", now(9_000));
        assert_eq!(ports(&workers), [1]);
        let dns = workers.load().dns.clone().unwrap();
        assert_eq!(dns.answered_at, Some(now(0)));
        assert_eq!(dns.failure.as_deref(), Some("refused"));
        assert_eq!(dns.failing_since, Some(now(6_000)));
    }

    #[test]
    fn a_failure_before_any_answer_has_no_age() {
        let workers = Workers::new(1);
        workers.note_dns_failure("timed out", now(1));
        let set = workers.load();
        assert!(set.members.is_empty());
        assert_eq!(set.dns.as_ref().unwrap().answered_at, None);
    }

    #[test]
    fn a_trial_that_is_dropped_is_given_back_unless_it_had_an_outcome() {
        let workers = Workers::new(1);
        workers.replace(vec![wanted(1, 0, 1)], None, now(0));
        let worker = Arc::clone(&workers.load().members[0].worker);
        workers.connect_failed(&worker, now(0));
        assert!(workers.begin_trial(&worker, now(200)));
        let trial = workers.trial(&worker, now(200));
        assert!(!workers.begin_trial(&worker, now(201)));
        let before = workers.version();
        drop(trial);
        assert_ne!(workers.version(), before, "shards look again");
        assert!(workers.begin_trial(&worker, now(202)));
        // That one fails, and another is under way when it is dropped.
        let failed = workers.trial(&worker, now(202));
        workers.connect_failed(&worker, now(203));
        assert!(workers.begin_trial(&worker, now(900)));
        drop(failed);
        assert!(!workers.begin_trial(&worker, now(901)));
        workers.connected(&worker, now(902));
        drop(workers.trial(&worker, now(900)));
        assert_eq!(worker.usable(now(903)), Use::Share(FULL_SHARE));
    }

    #[test]
    fn only_one_of_many_threads_gets_the_trial() {
        let workers = Workers::new(1);
        workers.replace(vec![wanted(1, 0, 1)], None, now(0));
        let worker = Arc::clone(&workers.load().members[0].worker);
        workers.connect_failed(&worker, now(0));
        let claims: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| usize::from(workers.begin_trial(&worker, now(200))))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(claims, 1);
    }
}
