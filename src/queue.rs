//! Where requests wait for a place that others give back: in order, for a bounded time, and no more than a bounded
//! number of them. What a place is, the owner of the queue knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// So many requests may wait in one queue: as many as client connections by default. The next one is told at once that
/// there is no place.
pub const WAITING_MAX: usize = 10_000;

/// Requests that wait, over all shards. Only the first in line looks for a place; when it goes, with a place or
/// without, the next one looks. So nobody is overtaken, and one place that is given back wakes no crowd.
#[derive(Debug, Default)]
pub struct Queue {
    /// The length of the line, for those who only want to know whether anybody waits.
    waiting: AtomicUsize,
    /// Taken by those who wait, and by those who see that somebody does.
    line: Mutex<Line>,
}

/// Those who wait, by when they came, each with the bell that tells it to look.
#[derive(Debug, Default)]
struct Line {
    came: u64,
    bells: BTreeMap<u64, Arc<Notify>>,
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
        if self.waiting() > 0 {
            self.held().ring();
        }
    }

    /// Waits until `take` finds a place, at most until `until`. `take` is asked as soon as nobody waits longer, and then
    /// whenever something was given back. One that wants what others would not holds them up, for its own wait at most.
    ///
    /// # Errors
    /// There was none in time, or too many wait already.
    pub async fn wait<T>(&self, until: Instant, mut take: impl FnMut() -> Option<T>) -> Result<T, NoPlace> {
        let turn = Turn::begin(self)?;
        loop {
            // The bell keeps a ring that comes while nobody listens, so none is lost between this look and the wait.
            if turn.is_first()
                && let Some(place) = take()
            {
                return Ok(place);
            }
            if timeout_at(until, turn.bell.notified()).await.is_err() {
                return Err(NoPlace::Late);
            }
        }
    }

    /// A panic elsewhere while the lock was held leaves nothing half-written that matters: the map is whole.
    fn held(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn ring(&self) {
        if let Some((_, bell)) = self.bells.first_key_value() {
            bell.notify_one();
        }
    }
}

/// A place in the line, given up on drop.
struct Turn<'q> {
    queue: &'q Queue,
    number: u64,
    bell: Arc<Notify>,
}

impl<'q> Turn<'q> {
    fn begin(queue: &'q Queue) -> Result<Self, NoPlace> {
        let bell = Arc::new(Notify::new());
        let mut line = queue.held();
        if line.bells.len() >= WAITING_MAX {
            return Err(NoPlace::TooManyWait);
        }
        let number = line.came;
        line.came += 1;
        line.bells.insert(number, Arc::clone(&bell));
        queue.waiting.store(line.bells.len(), SeqCst);
        drop(line);
        Ok(Self { queue, number, bell })
    }

    fn is_first(&self) -> bool {
        self.queue.held().bells.first_key_value().is_some_and(|(first, _)| *first == self.number)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.held();
        let first = line.bells.first_key_value().is_some_and(|(first, _)| *first == self.number);
        line.bells.remove(&self.number);
        self.queue.waiting.store(line.bells.len(), SeqCst);
        if first {
            // Two places given back at once rang one bell, and a ring that came too late was for the next one.
            line.ring();
        }
    }
}
