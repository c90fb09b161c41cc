//! Where requests wait for a place that others give back: in order, for a bounded time, and no more than a bounded
//! number of them. What a place is, the owner of the queue knows.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// So many requests may wait in one queue: as many as client connections by default. The next one is told at once that
/// there is no place.
pub const WAITING_MAX: usize = 10_000;

/// Requests that wait, over all shards.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicUsize,
    freed: Notify,
}

/// Why a wait ended without a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// So many wait already ([`WAITING_MAX`]).
    TooManyWait,
    /// The time was over.
    Late,
}

impl Queue {
    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// A place may be free: whoever waits longest looks. Call it after the place was given back; one load if nobody
    /// waits. The place and the number of those who wait must both be written with `SeqCst`: either the one who comes
    /// sees the place, or the one who goes sees that somebody waits.
    pub fn wake(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Waits until `take` finds a place, at most until `until`. `take` is asked when something was given back, and
    /// once before. Who comes later and looks first may be quicker; who waits then waits on.
    ///
    /// # Errors
    /// There was none in time, or too many wait already.
    pub async fn wait<T>(&self, until: Instant, mut take: impl FnMut() -> Option<T>) -> Result<T, NoPlace> {
        let _waiting = Waiting::begin(self)?;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on a wake is not lost, even if it comes while `take` looks. One that is not used goes on to the
            // next when `freed` is dropped.
            freed.as_mut().enable();
            if let Some(place) = take() {
                return Ok(place);
            }
            if timeout_at(until, freed).await.is_err() {
                return Err(NoPlace::Late);
            }
        }
    }
}

struct Waiting<'q>(&'q Queue);

impl<'q> Waiting<'q> {
    fn begin(queue: &'q Queue) -> Result<Self, NoPlace> {
        let waiting = Self(queue);
        if queue.waiting.fetch_add(1, SeqCst) >= WAITING_MAX {
            return Err(NoPlace::TooManyWait);
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}
