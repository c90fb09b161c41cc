//! Places at a worker (`workers.concurrent_per_worker`): so many requests at once over all shards, each until its last
//! byte. Who finds all workers full waits in [`Workers::freed`].

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::{Worker, Workers};

/// The way of one shard to the places at a service's workers. Seats hold on to this: the count of who holds the workers
/// lies beside what every request of every shard reads of them.
#[derive(Debug)]
pub struct Seating(Arc<Workers>);

/// A place at a worker, given back on drop. Where there is no bound it is nothing.
#[derive(Debug, Default)]
pub struct Seat(Option<(Rc<Seating>, Arc<Worker>)>);

impl Seating {
    /// A shard's way to the places at these workers.
    pub fn new(workers: &Arc<Workers>) -> Rc<Self> {
        Rc::new(Self(Arc::clone(workers)))
    }

    /// Whether it leads to the places at these workers.
    pub fn is_at(&self, workers: &Arc<Workers>) -> bool {
        Arc::ptr_eq(&self.0, workers)
    }

    /// Takes a place at `worker`, of which there are `concurrent_per_worker`, and `part` if its part of the service's
    /// places is bounded. None: it is full.
    pub fn seat(self: &Rc<Self>, worker: &Arc<Worker>, part: Option<u32>) -> Option<Seat> {
        let Some(most) = self.0.seats_each().into_iter().chain(part).min() else { return Some(Seat(None)) };
        let more = |taken| (taken < most).then_some(taken + 1);
        worker.seats.fetch_update(SeqCst, SeqCst, more).ok()?;
        // Who holds the worker is counted on the same cache line as its places.
        Some(Seat(Some((Rc::clone(self), Arc::clone(worker)))))
    }
}

impl Workers {
    /// Places at each worker. None: no bound.
    pub fn seats_each(&self) -> Option<u32> {
        Some(self.seats_each.load(Relaxed)).filter(|most| *most > 0)
    }
}

impl Worker {
    /// Places that are taken. Who waits looks here first, so it is ordered as the queue asks for ([`crate::queue`]).
    pub fn seats_taken(&self) -> u32 {
        self.seats.load(SeqCst)
    }
}

impl Drop for Seat {
    #[inline]
    fn drop(&mut self) {
        if let Some((seating, worker)) = &self.0 {
            worker.seats.fetch_sub(1, SeqCst);
            seating.0.freed.wake();
        }
    }
}
