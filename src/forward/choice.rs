//! Which worker gets the next attempt, and by which lane: `balance` chooses among the workers of now, and the lanes
//! follow their set.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Route;
use super::pool::{Lane, Lanes};
use crate::clock::Moment;
use crate::config::Endpoint;
use crate::workers::{Trial, Worker, WorkerSet};

impl Route {
    /// Chooses a worker that was not tried yet, with its priority, and the trial that this is for it, if it is one.
    pub(super) fn choose(&self, now: Moment, tried: &[Endpoint]) -> Option<(Rc<Lane>, u16, Option<Trial>)> {
        let mut picker = self.picker.borrow_mut();
        let pick = picker.pick(&self.workers, now, tried)?;
        let set = picker.set();
        let member = set.members.get(pick.index)?;
        let trial = pick.trial.then(|| self.workers.trial(&member.worker, now));
        let mut lanes = self.lanes.borrow_mut();
        if !Arc::ptr_eq(&lanes.0, set) {
            *lanes = (Arc::clone(set), self.lanes_for(set, &lanes.1));
        }
        Some((Rc::clone(lanes.1.get(pick.index)?), member.priority, trial))
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
