//! How many requests of a service may be in progress at once (`capacity.concurrent`): a count over all shards, and the
//! line in which requests wait for a place for a short while. That a place is needed, for how long one may wait and
//! what is told to those who get none stands in `inbound/room.rs`; how many a single worker takes, in `workers/seat.rs`.
//!
//! ```text
//! newcomer ── nobody waits, room ──▶ one compare-exchange ──▶ Permit ──▶ dropped: one fetch_sub, wake who waits first
//!     └────── somebody waits, or full ──▶ Queue, in order, until a place or the end of the wait
//! ```

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use tokio::time::Instant;

use crate::queue::{NoPlace, Queue};

/// The places of one service, shared by all shards. It lives as long as the service, over reloads.
#[derive(Debug, Default)]
pub struct Capacity {
    /// `capacity.concurrent`; 0: no bound.
    most: AtomicU64,
    in_use: AtomicU64,
    line: Queue,
    /// Requests that waited and got a place.
    waited: AtomicU64,
    /// Requests that got none.
    refused: AtomicU64,
}

/// How a service's places stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `capacity.concurrent`. None: no bound, and nothing is counted.
    pub concurrent: Option<u64>,
    /// What is left of it while workers fail: 1 to `concurrent`.
    pub effective: Option<u64>,
    /// Requests in progress that took a place. More than `concurrent` for a while after a reload that lowered it.
    pub in_use: u64,
    /// Requests that wait for a place now.
    pub waiting: u64,
    /// Requests that waited and got a place, since the start.
    pub waited: u64,
    /// Requests that got no place, at once or after a wait, since the start.
    pub refused: u64,
}

/// One shard's way to the places of a service: permits hold on to it without touching what shards share.
#[derive(Debug)]
pub struct Entrance(Arc<Capacity>);

/// A place, given back on drop: keep it until the last byte of the answer. Where there is no bound it is nothing.
#[derive(Debug, Default)]
pub struct Permit(Option<Rc<Entrance>>);

impl Capacity {
    /// Takes what the configuration says, at the start and with each reload: it holds at once, for all shards. Who is
    /// in stays in, whatever the number; who came in while there was none is not counted.
    pub fn adopt(&self, concurrent: Option<NonZeroU32>) {
        self.most.store(concurrent.map_or(0, |most| u64::from(most.get())), SeqCst);
        // Each one that gets a place lets the next one look.
        self.line.wake();
    }

    /// How it stands. `acceptance` is what `Workers::acceptance` says.
    pub fn reading(&self, acceptance: f64) -> Reading {
        let concurrent = Some(self.most.load(Relaxed)).filter(|most| *most > 0);
        Reading {
            concurrent,
            effective: concurrent.map(|most| effective(most, acceptance)),
            in_use: self.in_use.load(Relaxed),
            waiting: self.line.waiting() as u64,
            waited: self.waited.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}

impl Entrance {
    /// A shard's entrance to these places.
    pub fn new(capacity: &Arc<Capacity>) -> Rc<Self> {
        Rc::new(Self(Arc::clone(capacity)))
    }

    /// Takes a place if one is free and nobody waits for it. `acceptance`, from 0 to 1, is the part of the places that
    /// are open now: what `Workers::acceptance` says.
    pub fn try_enter(self: &Rc<Self>, acceptance: f64) -> Option<Permit> {
        let capacity = &self.0;
        let unbounded = capacity.most.load(Relaxed) == 0;
        if !unbounded && capacity.line.waiting() > 0 {
            return None;
        }
        self.take(acceptance)
    }

    /// Waits in line for a place, at most until `until`. `acceptance` is asked whenever a place may be free. Dropping
    /// the future leaves the line.
    ///
    /// # Errors
    /// There was none in time, or too many wait already.
    pub async fn enter_in_turn(
        self: &Rc<Self>,
        until: Instant,
        acceptance: impl Fn() -> f64,
    ) -> Result<Permit, NoPlace> {
        let permit = self.0.line.wait(until, || self.take(acceptance())).await?;
        self.0.waited.fetch_add(1, Relaxed);
        Ok(permit)
    }

    /// Counts a request that got no place.
    pub fn note_refused(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }

    fn take(self: &Rc<Self>, acceptance: f64) -> Option<Permit> {
        let capacity = &self.0;
        let most = capacity.most.load(SeqCst);
        if most == 0 {
            return Some(Permit(None));
        }
        let most = effective(most, acceptance);
        capacity.in_use.fetch_update(SeqCst, SeqCst, |taken| (taken < most).then_some(taken + 1)).ok()?;
        Some(Permit(Some(Rc::clone(self))))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(entrance) = self.0.take() else { return };
        let capacity = &entrance.0;
        let left = capacity.in_use.fetch_sub(1, SeqCst) - 1;
        let most = capacity.most.load(SeqCst);
        // After a reload to less there may be no place yet although one was given back.
        if most == 0 || left < most {
            capacity.line.wake();
        }
    }
}

/// The places that are open while only a part of all requests is let through: at least one, so that it shows when the
/// workers are well again.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of places has at most 32 bits, and a part of it is not negative"
)]
fn effective(most: u64, acceptance: f64) -> u64 {
    if acceptance >= 1.0 {
        return most;
    }
    ((most as f64 * acceptance).ceil() as u64).clamp(1, most)
}
