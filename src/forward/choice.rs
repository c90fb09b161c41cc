//! Which worker gets the next attempt, and by which lane: `balance` chooses among the workers of now, and the lanes
//! follow their set. Where all places are taken (`workers.concurrent_per_worker`), a request waits for one here.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::Route;
use super::pool::{Lane, Lanes};
use super::refused::{all_full, none_ready};
use super::tries::Tries;
use crate::balance::Picked;
use crate::clock::Moment;
use crate::config::Endpoint;
use crate::record::Outcome;
use crate::refusal::{Reason, Refusal};
use crate::workers::seat::Seat;
use crate::workers::{Trial, Worker, WorkerSet};

/// A worker that was chosen for an attempt.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) lane: Rc<Lane>,
    pub(super) priority: u16,
    /// The request's place there. The attempt takes it along to its last byte.
    pub(super) seat: Seat,
    /// The attempt tries a worker that returns; kept until it has shown how it is.
    _trial: Option<Box<Trial>>,
}

/// A worker and a place there for the first attempt, had before the request was charged; or nothing, where places are
/// not bounded.
#[derive(Debug, Default)]
pub struct Reserved(Option<Box<Chosen>>);

impl Reserved {
    pub(super) fn take(&mut self) -> Option<Chosen> {
        self.0.take().map(|chosen| *chosen)
    }
}

/// What came of a choice.
enum Choice {
    /// This one.
    One(Chosen),
    /// Everybody who could be asked is full.
    Full,
    /// There is nobody.
    Nobody,
}

impl Route {
    /// Chooses the first worker ahead of [`Route::send`] and takes a place there; waits for one if all are taken, for
    /// what is left of `capacity.wait` and no longer than `until`. To be asked before the request is charged, if there
    /// is a bound (`workers.concurrent_per_worker`).
    ///
    /// # Errors
    /// 503 `overload`: no place was free in time.
    pub async fn reserve(
        &self,
        key: u64,
        until: Option<Instant>,
        outcome: &mut Outcome,
    ) -> Result<Reserved, Refusal> {
        let mut tries = Tries::begin(outcome.begun().plus(outcome.has_queued()));
        if let Some(chosen) = self.next(&mut tries, (key, until), outcome).await {
            return Ok(Reserved(Some(Box::new(chosen))));
        }
        let refusal = tries.into_refusal();
        // That there is nobody is found, and told, when it is to be sent.
        if refusal.reason == Reason::Overload { Err(refusal) } else { Ok(Reserved(None)) }
    }

    /// The worker for the next attempt, and a place there; waits for one if all are taken, for what is left of
    /// `capacity.wait` and no longer than `until`. None: `tries` knows what the client is told.
    #[inline]
    pub(super) async fn next(
        &self,
        tries: &mut Tries,
        (key, until): (u64, Option<Instant>),
        outcome: &mut Outcome,
    ) -> Option<Chosen> {
        match self.choose_next(tries, key) {
            Choice::One(chosen) => Some(chosen),
            // In a box: waiting is rare, and its state would make every request's larger.
            Choice::Full => Box::pin(self.wait_for_place(tries, key, until, outcome)).await,
            Choice::Nobody => None,
        }
    }

    /// The worker for the next attempt, without a wait; if there is nobody, `tries` knows what the client is told.
    /// Full: only for a request that was sent to nobody yet.
    ///
    /// One that was sent wants others than those that had it: at the head of the line it would hold up everybody for a
    /// place that only it does not want. So it takes one that is free now, or gives up.
    fn choose_next(&self, tries: &mut Tries, key: u64) -> Choice {
        let first = tries.is_first();
        // Who comes now does not overtake those who wait.
        let choice = match self.workers.freed.waiting() {
            1.. if first => Choice::Full,
            _ => self.choose(tries.now, tries, key),
        };
        match choice {
            Choice::One(_) => choice,
            Choice::Full if tries.sent() == 0 => choice,
            Choice::Full => Choice::Nobody,
            Choice::Nobody => {
                if first && !self.workers.load().members.is_empty() {
                    tries.nobody_yet(none_ready());
                }
                choice
            }
        }
    }

    async fn wait_for_place(
        &self,
        tries: &mut Tries,
        key: u64,
        until: Option<Instant>,
        outcome: &mut Outcome,
    ) -> Option<Chosen> {
        let first = tries.is_first();
        // Whoever took no connection is away for now, and by the time of its turn may be the one that is free.
        tries.forget();
        let begun = self.clock.refresh();
        let wait = self.wait.saturating_sub(outcome.has_queued());
        let end = Instant::from_std(begun.instant()) + wait;
        let end = until.map_or(end, |until| end.min(until));
        let took = self.workers.freed.wait(end, || match self.choose(self.clock.refresh(), tries, key) {
            Choice::Full => None,
            choice => Some(choice),
        });
        let took = took.await;
        tries.now = self.clock.refresh();
        outcome.queued(tries.now.since(begun));
        match took {
            Ok(Choice::One(chosen)) => Some(chosen),
            Ok(Choice::Full | Choice::Nobody) => None,
            Err(_) => {
                if first {
                    tries.nobody_yet(all_full());
                }
                None
            }
        }
    }

    /// Chooses a worker that was not asked yet; one that was, only if no other is free; one that is barred, never.
    fn choose(&self, now: Moment, tries: &Tries, key: u64) -> Choice {
        let choice = self.choose_without(now, tries.not_first(), key, tries);
        match choice {
            Choice::Nobody | Choice::Full if tries.may_come_again() => {
                self.choose_without(now, tries.barred(), key, tries)
            }
            choice => choice,
        }
    }

    fn choose_without(&self, now: Moment, without: &[Endpoint], key: u64, tries: &Tries) -> Choice {
        let mut picker = self.picker.borrow_mut();
        let pick = match picker.pick(&self.workers, now, without, key) {
            Picked::One(pick) => pick,
            Picked::Full => return Choice::Full,
            Picked::Nobody => return Choice::Nobody,
        };
        let set = picker.set();
        let Some(member) = set.members.get(pick.index) else { return Choice::Nobody };
        let trial = pick.trial.then(|| Box::new(self.workers.trial(&member.worker, now)));
        if tries.bars(&member.worker.address) {
            return Choice::Nobody;
        }
        let mut lanes = self.lanes.borrow_mut();
        if !Arc::ptr_eq(&lanes.0, set) {
            *lanes = (Arc::clone(set), self.lanes_for(set, &lanes.1));
        }
        let Some(lane) = lanes.1.get(pick.index) else { return Choice::Nobody };
        let (lane, priority) = (Rc::clone(lane), member.priority);
        Choice::One(Chosen { lane, priority, seat: pick.seat, _trial: trial })
    }

    /// Lanes for a new set of workers: those of workers that stay keep their connections.
    fn lanes_for(&self, set: &WorkerSet, before: &Lanes) -> Lanes {
        let known: HashMap<&Endpoint, &Rc<Lane>> =
            before.iter().map(|lane| (&lane.worker.address, lane)).collect();
        let lane = |worker: &Arc<Worker>| match known.get(&worker.address) {
            Some(lane) if Arc::ptr_eq(&lane.worker, worker) => Rc::clone(lane),
            _ => self.every_lane.add(Lane::new(Arc::clone(&self.workers), Arc::clone(worker), self.shard)),
        };
        set.members.iter().map(|member| lane(&member.worker)).collect()
    }
}
