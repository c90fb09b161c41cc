//! The workers of a service: who they are, how they are, where they come from. Choosing one is `balance`'s work.
//!
//! A [`Worker`] lives as long as it is in the set, over reloads and DNS changes: its health and counts stay. The set
//! comes from a written list, or from DNS: [`discovery`] asks again and again, [`resolver`] puts one question, [`srv`]
//! knows what an answer means.
//!
//! [`health`] says how a worker is, all in all. Four things go into it: connections that it refuses ([`back_off`]), its
//! outcomes and times against its siblings' ([`score`], over the sums of [`tally`]; when, says [`judge`]), the results
//! of active checks ([`checked`]; [`check`] makes them), and [`slow_start`]. [`throttle`] says how much a service that
//! fails is asked, and [`seat`] keeps the places at each worker. The way of a good request only adds to counts, each
//! shard to its own.

pub mod back_off;
pub mod check;
pub mod checked;
pub mod discovery;
pub mod health;
pub mod judge;
pub mod resolver;
pub mod ring;
pub mod score;
pub mod seat;
pub mod slow_start;
pub mod srv;
pub mod tally;
mod terms;
pub mod throttle;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use crate::clock::Moment;
use crate::config::{Endpoint, WorkerSpec};
use crate::queue::Queue;
use crate::shard::PerShard;
use health::{FULL_SHARE, Health, Outlook, State, Use};
use judge::Judge;
use ring::Ring;
use slow_start::Ramp;

pub use terms::Terms;
use throttle::GROUPS;
pub use throttle::{CallerGroup, RequestCounts, ThrottleReading};
pub use worker::{Trial, Worker, WorkerCounts};

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
    /// When the next judgement is due, in monotonic nanoseconds.
    judge_due: AtomicU64,
    /// The part of requests that may go on, as the bits of a float.
    accepted: AtomicU64,
    /// The same by group of callers.
    accepted_of: [AtomicU64; GROUPS],
    judge: Mutex<Judge>,
    /// Held while a new snapshot is made from the old one; readers never take it.
    replacing: Mutex<()>,
}

/// One snapshot of the workers.
#[derive(Debug, Default)]
pub struct WorkerSet {
    /// In order of priority, then address.
    pub members: Vec<Member>,
    /// What DNS said last; none for a written list, and before the first question has ended.
    pub dns: Option<DnsAnswer>,
    /// Made when it is first asked for.
    ring: OnceLock<Arc<Ring>>,
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
            judge_due: AtomicU64::new(0),
            accepted: AtomicU64::new(1.0_f64.to_bits()),
            accepted_of: std::array::from_fn(|_| AtomicU64::new(1.0_f64.to_bits())),
            judge: Mutex::default(),
            replacing: Mutex::new(()),
            dns_failures: AtomicU64::new(0),
        })
    }

    /// Takes what the configuration says: at the start and with each reload.
    pub fn adopt(&self, terms: Terms) {
        if **self.terms.load() != terms {
            self.seats_each.store(terms.seats_each, Ordering::Relaxed);
            if terms.by_ring {
                self.load().ring();
            }
            self.terms.store(Arc::new(terms));
            // Whoever looks next, a request or people, sees what follows for each worker: a check that is gone.
            self.judge_due.store(0, Ordering::Relaxed);
            self.changed();
        }
    }

    /// What the configuration says. Not for the way of a request.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

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
        let terms = self.terms.load();
        // Who joins workers that serve starts slowly. A set that is new as a whole has nobody to take turns with.
        let served = |member: &Member| member.worker.counts.iter().any(|counts| counts.attempts.get() > 0);
        let joins =
            wanted.iter().any(|one| known.contains_key(&one.address)) && old.members.iter().any(served);
        let ramp = if joins { Ramp::new(now, terms.slow_start) } else { None };
        let health = Health::new(now, terms.required_at_start, ramp);
        let mut seen = HashSet::with_capacity(wanted.len());
        let members: Vec<Member> = wanted
            .into_iter()
            .filter(|one| seen.insert(one.address.clone()))
            .map(|one| Member {
                worker: known.get(&one.address).map_or_else(
                    || Arc::new(Worker::new(one.address.clone(), self.shards, health.clone())),
                    |worker| Arc::clone(worker),
                ),
                priority: one.priority,
                weight: one.weight,
            })
            .collect();
        let same = members.len() == old.members.len()
            && members.iter().zip(&old.members).all(|(new, old)| new.same_place_as(old));
        let ring = if same { old.ring.clone() } else { OnceLock::new() };
        let set = Arc::new(WorkerSet { members, dns, ring });
        if terms.by_ring {
            // Made here and not on the way of a request: the ring of thousands takes milliseconds.
            set.ring();
        }
        self.set.store(set);
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
        let (members, ring) = (old.members.clone(), old.ring.clone());
        self.set.store(Arc::new(WorkerSet { members, dns: Some(dns), ring }));
    }

    /// A connection to this worker was refused, or not made in time.
    pub fn connect_failed(&self, worker: &Worker, now: Moment) {
        self.alter(worker, now, |health, terms| health.refused(terms, now, fastrand::f64()));
    }

    /// A connection to this worker was made, or an answer came over one that was kept (which ends a trial well too).
    /// One relaxed load if its connections are well.
    pub fn connected(&self, worker: &Worker, now: Moment) {
        if worker.away.load(Ordering::Relaxed) {
            self.alter(worker, now, |health, terms| health.connected(terms, now));
        }
    }

    /// An active check of `worker` ended: well, or with what was wrong in words (`status 503`).
    pub fn checked(&self, worker: &Worker, result: Result<(), String>, now: Moment) {
        self.alter(worker, now, |health, terms| health.checked(terms, result, now));
    }

    /// Changes the health of a worker; tells every shard and the log if that changes what may be sent to it.
    fn alter(&self, worker: &Worker, now: Moment, change: impl FnOnce(&mut Health, &Terms)) {
        let terms = self.terms.load();
        let mut health = held(&worker.health);
        let before = Brief::of(&health, now);
        change(&mut health, &terms);
        let after = Brief::of(&health, now);
        let well = Outlook { usable: Use::Share(FULL_SHARE), changes_at: u64::MAX };
        mark(&worker.away, after.away);
        mark(&worker.troubled, after.outlook != well);
        let told = (before != after).then(|| health.standing(now).why);
        drop(health);
        if before.outlook != after.outlook {
            self.changed();
        }
        if let Some(why) = told {
            before.tell(&after, &worker.name, &why);
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

/// What matters of a worker's health before and after a change.
#[derive(PartialEq, Eq)]
struct Brief {
    outlook: Outlook,
    state: State,
    out: bool,
    away: bool,
    unready: bool,
}

impl Brief {
    fn of(health: &Health, now: Moment) -> Self {
        Self {
            outlook: health.outlook(now),
            state: health.state(now),
            out: health.is_out(),
            away: health.is_away(),
            unready: health.is_unready(),
        }
    }

    /// Writes to the log what changed: once for each time that a worker goes away or comes back, not for each trial.
    fn tell(&self, after: &Self, worker: &str, why: &str) {
        if !self.out && after.away {
            tracing::warn!(worker, "a worker takes no connection; it is left alone and tried again");
        } else if !self.out && after.out {
            tracing::warn!(worker, why, "a worker is ejected");
        } else if self.away && !after.out {
            tracing::info!(worker, "a worker takes connections again");
        } else if self.out && !after.out {
            tracing::info!(worker, why, "a worker returns");
        } else if self.unready && !after.unready {
            tracing::info!(worker, "a worker passed its first check");
        } else if self.state != after.state && after.state == State::Suspect {
            tracing::info!(worker, why, "a worker gets less");
        } else if self.state == State::Suspect && after.state == State::Healthy {
            tracing::info!(worker, "a worker gets its whole share again");
        }
    }
}

impl From<&WorkerSpec> for Wanted {
    fn from(spec: &WorkerSpec) -> Self {
        Self { address: spec.address.clone(), priority: spec.priority, weight: spec.weight }
    }
}

impl WorkerSet {
    /// Where keys find these workers: made by whoever asks first, then the same for all shards. Some milliseconds for
    /// a thousand workers.
    pub fn ring(&self) -> &Arc<Ring> {
        self.ring.get_or_init(|| Arc::new(Ring::of(&self.members)))
    }
}

impl Member {
    fn same_place_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.worker, &other.worker)
            && self.priority == other.priority
            && self.weight == other.weight
    }
}

/// Written only if it changes: each judgement comes by here, and every shard reads what stands on the same cache line.
fn mark(flag: &AtomicBool, now: bool) {
    if flag.load(Ordering::Relaxed) != now {
        flag.store(now, Ordering::Release);
    }
}

/// A panic elsewhere while the lock was held leaves nothing half-written here: each change is one assignment.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
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
