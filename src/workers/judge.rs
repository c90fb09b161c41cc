//! The judge of a service's workers: looks at the counts of all of them from time to time, and decides. It runs on the
//! way of whichever request finds that it is time, so that an idle service costs nothing. How the service as a whole
//! does is judged each time; of workers, if they are many, more rarely, since that takes each one's lock twice,
//! uncontended. What it decides by stands in `score.rs` and `throttle.rs`.

use std::sync::TryLockError;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use std::time::Duration;

use super::tally::{Look, Reference, Tally};
use super::throttle::{CallerGroup, Throttle, ThrottleReading};
use super::{Member, Worker, WorkerSet, Workers, held};
use crate::clock::Moment;

/// The time between two judgements; soon enough for a reaction within a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// Workers are left alone for so long for each of them: of thousands, whose counts are in no cache, a judgement costs
/// about a hundredth of that for each. Up to a thousand are judged each time, 10,000 about twice a second.
const REST: Duration = Duration::from_micros(40);

/// And for each shard of each worker, whose counts lie in another processor's cache.
const REST_BY_SHARD: Duration = Duration::from_micros(1);

/// Fewer siblings that are known well enough have no middle to compare with.
const FEWEST_SIBLINGS: usize = 2;

/// What is remembered between judgements.
#[derive(Debug, Default)]
pub(super) struct Judge {
    last: Option<Moment>,
    /// When the workers were looked at last.
    looked: Option<Moment>,
    /// What all workers have done since the first judgement.
    total: Tally,
    /// By priority, as the set had them at the last look: workers of another priority may be far away.
    references: Vec<(u16, Reference)>,
    throttle: Throttle,
    /// Kept for their room.
    successes: Vec<f64>,
    latencies: Vec<f64>,
}

impl Workers {
    /// Judges the newest outcomes, if it is time and no other shard does it. One load if not.
    #[inline]
    pub fn judge_if_due(&self, now: Moment) {
        let due = self.judge_due.load(Relaxed);
        if now.nanos >= due {
            self.judge_for_all(due, now);
        }
    }

    /// Apart from the question whether it is time, which every request asks three times.
    #[cold]
    fn judge_for_all(&self, due: u64, now: Moment) {
        let next = now.plus(INTERVAL).nanos;
        if self.judge_due.compare_exchange(due, next, AcqRel, Relaxed).is_err() {
            return;
        }
        let mut judge = match self.judge.try_lock() {
            Ok(judge) => judge,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // One that began an interval ago is still at it.
            Err(TryLockError::WouldBlock) => return,
        };
        // Nothing but new terms, and the start, makes it due at once.
        let anew = due == 0;
        judge.judge(self, now, anew);
    }

    /// How long its workers are left alone after each look.
    fn rest(&self, set: &WorkerSet) -> Duration {
        let count = u32::try_from(set.members.len()).unwrap_or(u32::MAX);
        let shards = u32::try_from(self.shards).unwrap_or(u32::MAX);
        REST.saturating_add(REST_BY_SHARD.saturating_mul(shards)).saturating_mul(count)
    }

    /// The part of requests that may go on to the workers now, 0.01 to 1: less than 1 while most of them fail, but for
    /// the callers who fail most. What the service's places go by; what becomes of requests is
    /// [`Self::acceptance_of`], and for people [`Self::throttle_reading`]. Judges the newest outcomes first, if it is
    /// time.
    pub fn acceptance(&self, now: Moment) -> f64 {
        self.judge_if_due(now);
        f64::from_bits(self.accepted.load(Relaxed))
    }

    /// The same for the callers of one group: less again while most requests of theirs fail, and of others do not.
    pub fn acceptance_of(&self, group: CallerGroup, now: Moment) -> f64 {
        self.judge_if_due(now);
        f64::from_bits(self.accepted_of[group.index()].load(Relaxed))
    }

    /// How the newest requests went, and what follows, for people. Judges them first, if it is time.
    pub fn throttle_reading(&self, now: Moment) -> ThrottleReading {
        self.judge_if_due(now);
        let of_group = |group: CallerGroup| f64::from_bits(self.accepted_of[group.index()].load(Relaxed));
        held(&self.judge).throttle.reading(of_group)
    }
}

impl Judge {
    /// `anew`: workers are not left alone, however short ago they were looked at.
    fn judge(&mut self, workers: &Workers, now: Moment, anew: bool) {
        // Shards read the clock each for itself: this one may be a little behind.
        let passed = self.last.map_or(Duration::ZERO, |last| now.since(last));
        let now = self.last.filter(|last| last.nanos > now.nanos).unwrap_or(now);
        self.last = Some(now);
        let terms = workers.terms.load();
        self.throttle(workers, terms.passive, passed);
        let passed = self.looked.map_or(Duration::ZERO, |looked| now.since(looked));
        let set = workers.load();
        if passed < workers.rest(&set) && !anew {
            return;
        }
        self.looked = Some(now);
        self.look(&set, passed, now);
        for (siblings, (_, reference)) in siblings(&set).zip(&self.references) {
            for member in siblings {
                workers.alter(&member.worker, now, |health, terms| {
                    health.judge(terms, reference, self.total, now);
                });
            }
        }
    }

    /// Takes what became of requests, and says how many may go on.
    fn throttle(&mut self, workers: &Workers, passive: bool, passed: Duration) {
        self.throttle.look(&workers.requests, passed);
        let of_group = |group: CallerGroup, acceptance: f64| {
            let acceptance = if passive { acceptance } else { 1.0 };
            publish(&workers.accepted_of[group.index()], acceptance);
        };
        let acceptance = self.throttle.decide(of_group);
        let acceptance = if passive { acceptance } else { 1.0 };
        // More places may be open than a moment ago. Who waits in the line of the capacity is not told, which is meant:
        // the line is not known here, whoever gives a place back wakes it, and nobody joins it while this is below 1.
        publish(&workers.accepted, acceptance);
    }

    /// Takes the counts of all workers, and finds the middle of those of each priority.
    fn look(&mut self, set: &WorkerSet, passed: Duration, now: Moment) {
        let before = std::mem::take(&mut self.references);
        let mut all = Tally::default();
        for siblings in siblings(set) {
            let priority = siblings[0].priority;
            let known = before.binary_search_by_key(&priority, |(priority, _)| *priority);
            let reference = known.map_or_else(|_| Reference::default(), |at| before[at].1);
            self.successes.clear();
            self.latencies.clear();
            for member in siblings {
                let look = Look::at(&member.worker);
                let mut health = held(&member.worker.health);
                all = all.plus(health.score.look(look, passed, (&reference, self.total), now));
                let (success, latency) = health.score.evidence(&reference);
                drop(health);
                self.successes.extend(success);
                self.latencies.extend(latency);
            }
            let reference = self.middle();
            self.references.push((priority, reference));
        }
        self.total = self.total.plus(all);
    }

    /// The middle of the workers that were just looked at. Of an even number, the better of the two in the middle.
    fn middle(&mut self) -> Reference {
        let better_half = self.successes.len() / 2;
        let quicker_half = self.latencies.len().saturating_sub(1) / 2;
        Reference {
            success: nth(&mut self.successes, better_half),
            latency: nth(&mut self.latencies, quicker_half),
        }
    }
}

/// Written only if it changes, which is rare: every request of every shard reads it.
fn publish(part: &AtomicU64, acceptance: f64) {
    let bits = acceptance.to_bits();
    if part.load(Relaxed) != bits {
        part.store(bits, Relaxed);
    }
}

impl Look {
    fn at(worker: &Worker) -> Self {
        let mut look = Self::default();
        for counts in worker.counts.iter() {
            look.outcomes.good = look.outcomes.good.wrapping_add(counts.good.get());
            look.outcomes.bad = look.outcomes.bad.wrapping_add(counts.bad.get());
            look.waiting = look.waiting.wrapping_add(counts.waiting.get());
            look.waited = look.waited.wrapping_add(counts.waited.get());
            look.waited_nanos = look.waited_nanos.wrapping_add(counts.waited_nanos.get());
        }
        if look.waiting > u64::MAX / 2 {
            // A gauge that was read while it moved from shard to shard.
            look.waiting = 0;
        }
        look
    }
}

/// The workers of each priority.
fn siblings(set: &WorkerSet) -> impl Iterator<Item = &[Member]> {
    set.members.chunk_by(|a, b| a.priority == b.priority)
}

/// The value at this place in order. None: there are too few.
fn nth(values: &mut [f64], place: usize) -> Option<f64> {
    (values.len() >= FEWEST_SIBLINGS).then(|| *values.select_nth_unstable_by(place, f64::total_cmp).1)
}

#[cfg(test)]
mod tests;
