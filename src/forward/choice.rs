//! Which worker gets the next attempt, and by which lane: `balance` chooses among the workers of now, and the lanes
//! follow their set.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Route;
use super::pool::{Lane, Lanes};
use crate::balance::Picked;
use crate::clock::Moment;
use crate::config::Endpoint;
use crate::workers::seat::Seat;
use crate::workers::{Trial, Worker, WorkerSet};

/// What a request holds at its worker; given back on drop.
#[derive(Debug)]
pub(super) struct Held {
    _trial: Option<Trial>,
    _seat: Seat,
}

impl Route {
    /// Chooses a worker, with its priority and what is held there while the request is under way: the place, and the
    /// trial that this is for it, if it is one.
    pub(super) fn choose(&self, now: Moment, tried: &[Endpoint], key: u64) -> Option<(Rc<Lane>, u16, Held)> {
        let mut picker = self.picker.borrow_mut();
        let Picked::One(pick) = picker.pick(&self.workers, now, tried, key) else { return None };
        let set = picker.set();
        let member = set.members.get(pick.index)?;
        let trial = pick.trial.then(|| self.workers.trial(&member.worker, now));
        let mut lanes = self.lanes.borrow_mut();
        if !Arc::ptr_eq(&lanes.0, set) {
            *lanes = (Arc::clone(set), self.lanes_for(set, &lanes.1));
        }
        Some((Rc::clone(lanes.1.get(pick.index)?), member.priority, Held { _trial: trial, _seat: pick.seat }))
    }

    /// Lanes for a new set of workers: those of workers that stay keep their connections.
    fn lanes_for(&self, set: &WorkerSet, before: &Lanes) -> Lanes {
        let known: HashMap<&Endpoint, &Rc<Lane>> =
            before.iter().map(|lane| (&lane.worker.address, lane)).collect();
        let lane = |worker: &Arc<Worker>| match known.get(&worker.address) {
            Some(lane) if Arc::ptr_eq(&lane.worker, worker) => Rc::clone(lane),
            _ => Rc::new(Lane::new(Arc::clone(worker), self.shard)),
        };
        set.members.iter().map(|member| lane(&member.worker)).collect()
    }
}
