//! Choosing a worker: the best priority that has a usable one, and inside it by weight (RFC 2782).
//!
//! A [`Picker`] belongs to one shard and one service; it shares nothing with the others but the [`Workers`]
//! themselves. How turns are laid out stands in `order.rs`; how a worker is, in `workers/health.rs`. Nothing here
//! knows callers or requests.

mod order;

use std::sync::Arc;

use crate::clock::Moment;
use crate::config::{Balance, Endpoint};
use crate::workers::health::Use;
use crate::workers::seat::Seat;
use crate::workers::{Member, WorkerSet, Workers};
use order::Order;

pub use order::ZERO_WEIGHT_TURNS;

/// Chooses workers for one shard of one service.
#[derive(Debug)]
pub struct Picker {
    set: Arc<WorkerSet>,
    /// What may be sent to each member, as of the last look.
    uses: Vec<Use>,
    /// The members that take turns now, as places in the set: those of the best priority that are usable.
    turns: Vec<u32>,
    /// None only if the set is empty.
    order: Option<Order>,
    /// The version of the workers at the last look. None: never looked.
    version: Option<u64>,
    /// From this moment on (monotonic nanoseconds) time alone may have changed what is usable.
    look_again: u64,
    random: fastrand::Rng,
    balance: Balance,
}

/// What came of a choice.
#[derive(Debug)]
pub enum Picked {
    /// This one gets the request.
    One(Pick),
    /// Every worker that may be used has all its places taken (`workers.concurrent_per_worker`): wait in
    /// [`Workers::freed`].
    Full,
    /// There are no workers, or none that may still be used for this request.
    Nobody,
}

/// A chosen worker.
#[derive(Debug)]
pub struct Pick {
    /// Its place in `picker.set().members`, until the next pick.
    pub index: usize,
    /// This request tries a returning worker: report how its connection went, so that the trial ends.
    pub trial: bool,
    /// Its place at the worker: keep it until the last byte of the answer.
    pub seat: Seat,
}

impl Picker {
    /// A picker that has not looked at any workers. Pickers with different seeds do not move in step.
    pub fn new(seed: u64, balance: &Balance) -> Self {
        Self {
            set: Arc::default(),
            uses: Vec::new(),
            turns: Vec::new(),
            order: None,
            version: None,
            look_again: 0,
            random: fastrand::Rng::with_seed(seed),
            balance: balance.clone(),
        }
    }

    /// The snapshot to which the last pick refers.
    pub fn set(&self) -> &Arc<WorkerSet> {
        &self.set
    }

    /// Chooses a worker that is not in `tried`.
    ///
    /// The lowest priority number with a usable worker serves; the next one only when it has none. If no worker
    /// anywhere is usable, all are used as if they were healthy: bad workers are better than none. None only if there
    /// are no workers, or all are in `tried`.
    ///
    /// The first choice of a request (`tried` empty) costs the same for any number of workers; a further one looks at
    /// all of them.
    pub fn pick(&mut self, workers: &Arc<Workers>, now: Moment, tried: &[Endpoint], _key: u64) -> Picked {
        let Some((index, trial)) = self.one(workers, now, tried) else { return Picked::Nobody };
        match workers.seat(&self.set.members[index].worker) {
            Some(seat) => Picked::One(Pick { index, trial, seat }),
            None => Picked::Full,
        }
    }

    fn one(&mut self, workers: &Workers, now: Moment, tried: &[Endpoint]) -> Option<(usize, bool)> {
        let version = workers.version();
        if self.version != Some(version) || now.nanos >= self.look_again {
            self.look(workers, version, now);
        }
        if !tried.is_empty() {
            return self.pick_another(workers, now, tried);
        }
        let index = self.turns[self.order.as_mut()?.next()] as usize;
        match self.uses[index] {
            Use::Trial if workers.begin_trial(&self.set.members[index].worker, now) => Some((index, true)),
            // Another shard was quicker: its claim is a new version, so the next pick looks again.
            Use::Trial => self.pick_another(workers, now, tried),
            Use::Share(_) | Use::Ejected(_) | Use::Unready | Use::NotBefore(_) => Some((index, false)),
        }
    }

    /// Makes the table of turns from the workers as they are now.
    fn look(&mut self, workers: &Workers, version: u64, now: Moment) {
        // The version was read before the set: a change in between only makes the next pick look once more.
        self.set = Arc::clone(&workers.load());
        self.version = Some(version);
        self.uses.clear();
        self.uses.extend(self.set.members.iter().map(|member| member.worker.usable(now)));
        self.look_again = self.uses.iter().filter_map(not_before).min().unwrap_or(u64::MAX);

        let members = &self.set.members;
        let usable = |index: &usize| not_before(&self.uses[*index]).is_none();
        let best = (0..members.len()).find(usable);
        let tier = members.get(best.unwrap_or(0)).map(|member| member.priority);
        self.turns.clear();
        self.turns.extend(
            (0..members.len())
                .filter(|index| Some(members[*index].priority) == tier && (best.is_none() || usable(index)))
                .filter_map(|index| u32::try_from(index).ok()),
        );
        let weights: Vec<u16> = self.turns.iter().map(|index| members[*index as usize].weight).collect();
        self.order = Order::new(&weights, self.random.u64(..));
    }

    /// A further choice for the same request, or one around a trial that another shard has begun.
    fn pick_another(&mut self, workers: &Workers, now: Moment, tried: &[Endpoint]) -> Option<(usize, bool)> {
        let set = Arc::clone(&self.set);
        let untried = |index: &usize| !tried.contains(&set.members[*index].worker.address);
        let usable: Vec<usize> = (0..set.members.len())
            .filter(|index| not_before(&self.uses[*index]).is_none() && untried(index))
            .collect();
        for tier in usable.chunk_by(|a, b| set.members[*a].priority == set.members[*b].priority) {
            let mut tier = tier.to_vec();
            while let Some(place) = self.by_weight(&set.members, &tier) {
                let index = tier[place];
                let trial = self.uses[index] == Use::Trial;
                if !trial || workers.begin_trial(&set.members[index].worker, now) {
                    return Some((index, trial));
                }
                tier.swap_remove(place);
            }
        }
        let all: Vec<usize> = (0..set.members.len()).filter(untried).collect();
        let tier = all.chunk_by(|a, b| set.members[*a].priority == set.members[*b].priority).next()?;
        self.by_weight(&set.members, tier).map(|place| (tier[place], false))
    }

    /// One of these members at random, in proportion to their weights. None if there are none.
    fn by_weight(&mut self, members: &[Member], of: &[usize]) -> Option<usize> {
        let weights: Vec<u16> = of.iter().map(|index| members[*index].weight).collect();
        let units = order::units(&weights);
        let sum: u64 = units.iter().sum();
        let mut left = if sum == 0 { return None } else { self.random.u64(..sum) };
        units.iter().position(|unit| {
            let here = left < *unit;
            left = left.saturating_sub(*unit);
            here
        })
    }
}

fn not_before(usable: &Use) -> Option<u64> {
    match usable {
        Use::NotBefore(moment) => Some(*moment),
        Use::Share(_) | Use::Ejected(_) | Use::Unready | Use::Trial => None,
    }
}

#[cfg(test)]
mod tests;
