//! Choosing a worker: the best priority that has a usable one, and inside it by weight (RFC 2782) and by what
//! `workers.balance` says.
//!
//! A [`Picker`] belongs to one shard and one service; it shares nothing with the others but the [`Workers`]
//! themselves. Who may be used stands in `table.rs`, how turns are laid out in `order.rs`, how keys find workers in
//! `ring.rs`; how a worker is, in `workers/health.rs`. Nothing here knows callers or requests.

mod order;
pub mod ring;
mod table;
mod wheel;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Moment;
use crate::config::{Balance, Endpoint};
use crate::workers::health::{FULL_SHARE, Outlook};
use crate::workers::seat::{Seat, Seating};
use crate::workers::{Member, Terms, WorkerSet, Workers};
use order::Order;
use ring::Circle;
use table::{Rank, Table};
use wheel::Wheel;

pub use order::ZERO_WEIGHT_TURNS;

/// How far around its turns each new table begins after the last: the part of 2^64 that is the square root of 2 less
/// 1. However often tables are made, and however few turns each is good for, their beginnings spread evenly.
const NEXT_PHASE: u64 = 0x6A09_E667_F3BC_C908;

/// So many turns are taken until one is at a worker that has room; only then all workers are looked at.
const DRAWS: usize = 4;

/// The priority whose workers are all used, the ejected too, since more than `health.max_ejected` of them are out and
/// nobody else is well (the panic threshold). None: there is no need. For people: it looks at all workers.
pub fn panicked(workers: &Workers, now: Moment) -> Option<u16> {
    let set = Arc::clone(&workers.load());
    let outlooks: Vec<Outlook> = set.members.iter().map(|member| member.worker.outlook(now)).collect();
    let table = Table::of(&set, &outlooks, &workers.terms());
    let first = table.first().filter(|_| table.panic)?;
    Some(set.members[first].priority)
}

/// Chooses workers for one shard of one service.
#[derive(Debug)]
pub struct Picker {
    method: Method,
    set: Arc<WorkerSet>,
    /// The way to places at them, once one was asked for.
    seating: OnceCell<Rc<Seating>>,
    table: Table,
    /// The members that take turns now, as places in the set.
    turns: Vec<u32>,
    layout: Layout,
    /// The version of the workers at the last look. None: never looked.
    version: Option<u64>,
    /// Where the next table of turns begins.
    phase: u64,
    random: fastrand::Rng,
}

/// `workers.balance`.
#[derive(Clone, Copy, Debug)]
enum Method {
    Weighted,
    LeastRequests,
    Ring,
}

/// How those that take turns are laid out for the first choice; nothing if nobody may be used.
#[derive(Debug)]
enum Layout {
    Turns(Option<Order>),
    Pairs(Option<Wheel>),
    Circle(Option<Circle>),
}

/// What came of a choice.
#[derive(Debug)]
pub enum Picked {
    /// This one gets the request.
    One(Pick),
    /// Every worker that this request should go to has all its places taken (`workers.concurrent_per_worker`): wait
    /// in [`Workers::freed`], and choose anew.
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

/// Why a worker could not be taken.
enum Missed {
    Full,
    /// Another shard was quicker: its claim is a new version, so the next pick looks again.
    TrialLost,
}

impl Picker {
    /// A picker that has not looked at any workers. Pickers with different seeds do not move in step.
    pub fn new(seed: u64, balance: &Balance) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let method = match balance {
            Balance::Weighted => Method::Weighted,
            Balance::LeastRequests => Method::LeastRequests,
            Balance::Ring(_) => Method::Ring,
        };
        Self {
            method,
            set: Arc::default(),
            seating: OnceCell::new(),
            table: Table::default(),
            turns: Vec::new(),
            layout: Layout::Turns(None),
            version: None,
            phase: random.u64(..),
            random,
        }
    }

    /// The snapshot to which the last pick refers.
    pub fn set(&self) -> &Arc<WorkerSet> {
        &self.set
    }

    /// Chooses a worker for a request that was at the workers in `tried` before. `key` is what `balance: ring` goes
    /// by ([`ring::key_of`]); the others do not look at it.
    ///
    /// In this order, and in each step the lowest priority number first. If more than `max_ejected` of those that serve
    /// are ejected and no other priority has a usable worker, all that take connections are used alike: bad workers
    /// are better than none.
    /// 1. An untried worker that is healthy enough to be used. If all of them in a priority are full, that is the
    ///    result: full is not unreachable, so the next priority is not asked (RFC 2782), nor one that was ejected.
    /// 2. One of those again that were tried; never one that takes no connections or is on trial. So a caller that
    ///    reports a refused connection ([`Workers::connect_failed`]) does not get that worker again.
    /// 3. Ejected workers; last of all those that take no connections, if they were not tried.
    ///
    /// Nobody is left when there are no workers, when each has yet to pass its first check, or when all that are left
    /// were tried and take no connections.
    ///
    /// Judges the newest outcomes first, if it is time.
    ///
    /// The first choice of a request (`tried` empty) costs the same for any number of workers, unless `DRAWS` turns
    /// in a row are at full ones; a further one looks at all of them.
    ///
    /// An ejected worker gets its trickle only while it has nothing to do, and one that wants to be tried is tried
    /// though another priority serves.
    pub fn pick(&mut self, workers: &Arc<Workers>, now: Moment, tried: &[Endpoint], key: u64) -> Picked {
        workers.judge_if_due(now);
        let version = workers.version();
        if self.version != Some(version) || now.nanos >= self.table.changes_at {
            self.look(workers, version, now);
        }
        let first = match self.layout {
            _ if tried.is_empty() && !self.table.probes().is_empty() => self.probe(workers, now),
            // A further attempt goes to those of a better priority that are to be tried, first of all.
            Layout::Circle(_) if self.table.probes().is_empty() => {
                self.first_on_circle(workers, now, tried, key)
            }
            _ if tried.is_empty() => (0..DRAWS).find_map(|_| self.first(workers, now)),
            _ => None,
        };
        first.map_or_else(|| self.pick_another(workers, now, tried), Picked::One)
    }

    /// Makes everything from the workers as they are now.
    fn look(&mut self, workers: &Workers, version: u64, now: Moment) {
        // The version was read before the set: a change in between only makes the next pick look once more.
        let set = Arc::clone(&workers.load());
        let outlooks: Vec<Outlook> = set.members.iter().map(|member| member.worker.outlook(now)).collect();
        self.version = Some(version);
        self.lay_out(set, &outlooks, &workers.terms());
    }

    fn lay_out(&mut self, set: Arc<WorkerSet>, outlooks: &[Outlook], terms: &Terms) {
        self.table = Table::of(&set, outlooks, terms);
        self.set = set;
        self.turns = self.table.turns();
        let units = units(&self.set.members, &self.table, self.turns.iter().map(|place| *place as usize));
        self.table.share_out(terms.concurrent, &self.turns, &units);
        self.phase = self.phase.wrapping_add(NEXT_PHASE);
        self.layout = match self.method {
            Method::Weighted => Layout::Turns(Order::new(&units, self.phase)),
            Method::LeastRequests => Layout::Pairs(Wheel::new(&units)),
            Method::Ring => Layout::Circle(Circle::new(&self.set, &self.table, &self.turns, &units)),
        };
    }

    /// One of a priority that was passed over and wants to be tried: otherwise it would never come back.
    fn probe(&self, workers: &Arc<Workers>, now: Moment) -> Option<Pick> {
        self.table.probes().iter().find_map(|place| self.take(workers, *place, true, now).ok())
    }

    /// The one whose turn it is, or the less busy of two. None: it could not be taken.
    fn first(&mut self, workers: &Arc<Workers>, now: Moment) -> Option<Pick> {
        let (mut first, mut second) = match &mut self.layout {
            Layout::Turns(order) => (order.as_mut()?.next(), None),
            Layout::Pairs(wheel) => wheel.as_ref()?.two(&mut self.random),
            Layout::Circle(_) => return None,
        };
        if let (Layout::Pairs(Some(wheel)), Some(other)) = (&self.layout, second) {
            let chance = self.random.u8(..FULL_SHARE);
            if self.is_better(wheel, other, first, chance) {
                (first, second) = (other, Some(first));
            }
        }
        let take = |turn: usize| {
            let place = self.turns[turn] as usize;
            if self.is_probed(place) {
                return None;
            }
            self.take(workers, place, self.table.is_trial(place), now).ok()
        };
        take(first).or_else(|| second.and_then(take))
    }

    /// Whether `other` gets the request instead of `drawn`: if with it, it would be no busier than the drawn one is
    /// without. Among equals that is the one with fewer requests. Compared without the one to come, a worker of small
    /// weight or share would look idle all the time, and one that fails at once would draw nearly everything.
    ///
    /// One that was drawn in spite of a lessened share keeps the request only with the chance of that share, if the
    /// other would be less busy with it: a worker that is slow is often idle all the same, and would show in the
    /// tail. A trickle is kept: it is little enough, and the way back.
    fn is_better(&self, wheel: &Wheel, other: usize, drawn: usize, chance: u8) -> bool {
        let active = |turn: usize| u128::from(self.set.members[self.turns[turn] as usize].worker.active());
        let unit = |turn: usize| u128::from(wheel.unit(turn));
        let with = (active(other) + 1) * unit(drawn);
        if with <= active(drawn) * unit(other) {
            return true;
        }
        let place = self.turns[drawn] as usize;
        with < (active(drawn) + 1) * unit(other)
            && self.table.rank(place) == Rank::Used
            && chance >= self.table.share(place)
    }

    fn first_on_circle(
        &mut self,
        workers: &Arc<Workers>,
        now: Moment,
        tried: &[Endpoint],
        key: u64,
    ) -> Option<Pick> {
        let Layout::Circle(Some(circle)) = &mut self.layout else { return None };
        circle.read_loads(&self.set, &self.turns);
        let Layout::Circle(Some(circle)) = &self.layout else { return None };
        let mut random = self.random.fork();
        circle.walk((&self.set, &self.table), key, &mut random, |place| {
            let untried = !tried.contains(&self.set.members[place].worker.address);
            // A further attempt is no probe.
            let fit = match self.table.rank(place) {
                Rank::Used => true,
                _ => tried.is_empty() && !self.is_probed(place),
            };
            (untried && fit)
                .then(|| self.take(workers, place, self.table.is_trial(place), now).ok())
                .flatten()
        })
    }

    /// Whether it is ejected and has its trickle already: one request at a time shows whether it is well again. More of
    /// them, each waiting for its whole time at one that hangs, would hold all places of the service.
    fn is_probed(&self, place: usize) -> bool {
        self.table.rank(place) == Rank::Trickle && self.set.members[place].worker.active() > 0
    }

    /// Takes a place at this worker and, if this is to be one, its trial.
    fn take(&self, workers: &Arc<Workers>, place: usize, trial: bool, now: Moment) -> Result<Pick, Missed> {
        let worker = &self.set.members[place].worker;
        let seating = self.seating.get_or_init(|| Seating::new(workers));
        debug_assert!(seating.is_at(workers), "a picker has one service's workers for life");
        let seat = seating.seat(worker, self.table.part(place)).ok_or(Missed::Full)?;
        if trial && !workers.begin_trial(worker, now) {
            return Err(Missed::TrialLost);
        }
        Ok(Pick { index: place, trial, seat })
    }

    /// A further choice for the same request, or one around a worker that is full or that another shard tries.
    fn pick_another(&mut self, workers: &Arc<Workers>, now: Moment, tried: &[Endpoint]) -> Picked {
        const STEPS: [(Rank, bool); 6] = [
            (Rank::Used, false),
            (Rank::Used, true),
            (Rank::Trickle, false),
            (Rank::Trickle, true),
            (Rank::Out, false),
            (Rank::Out, true),
        ];
        let set = Arc::clone(&self.set);
        let was_tried = |place: usize| tried.contains(&set.members[place].worker.address);
        for (rank, again) in STEPS {
            let wanted: Vec<usize> = (0..set.members.len())
                .filter(|place| self.table.rank(*place) == rank && !(again && self.table.is_trial(*place)))
                .filter(|place| was_tried(*place) == again)
                .collect();
            for tier in wanted.chunk_by(|a, b| set.members[*a].priority == set.members[*b].priority) {
                if let Some(picked) = self.one_of(tier, true, workers, now) {
                    return picked;
                }
            }
        }
        let away = |place: &usize| self.table.rank(*place) == Rank::Away || self.table.is_trial(*place);
        let left: Vec<usize> =
            (0..set.members.len()).filter(|place| away(place) && !was_tried(*place)).collect();
        let mut tiers = left.chunk_by(|a, b| set.members[*a].priority == set.members[*b].priority);
        // They take no connections, or somebody else tries just now whether they do.
        tiers.find_map(|tier| self.one_of(tier, false, workers, now)).unwrap_or(Picked::Nobody)
    }

    /// One of these that has a place, by weight; with `tries`, those that want it are tried. None: all of them are
    /// trials that others were quicker to begin.
    fn one_of(
        &mut self,
        places: &[usize],
        tries: bool,
        workers: &Arc<Workers>,
        now: Moment,
    ) -> Option<Picked> {
        let set = Arc::clone(&self.set);
        let each = workers.seats_each();
        let has_room = |place: &usize| {
            let most = each.into_iter().chain(self.table.part(*place)).min();
            most.is_none_or(|most| set.members[*place].worker.seats_taken() < most)
        };
        let mut free: Vec<usize> = places.to_vec();
        free.retain(has_room);
        let mut full = free.len() < places.len();
        while !free.is_empty() {
            let units = units(&set.members, &self.table, free.iter().copied());
            let wheel = Wheel::new(&units)?;
            let at = wheel.at(self.random.u64(..wheel.whole()));
            match self.take(workers, free[at], tries && self.table.is_trial(free[at]), now) {
                Ok(pick) => return Some(Picked::One(pick)),
                Err(missed) => full |= matches!(missed, Missed::Full),
            }
            free.swap_remove(at);
        }
        full.then_some(Picked::Full)
    }
}

fn units(members: &[Member], table: &Table, places: impl Iterator<Item = usize>) -> Vec<u64> {
    let weights: Vec<(u16, u8)> = places.map(|place| (members[place].weight, table.share(place))).collect();
    order::units(&weights)
}

#[cfg(test)]
mod tests;
