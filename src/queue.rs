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

    /// Waits until `take` finds a place, at most until `until`. `take` is asked as soon as nobody waits longer, and
    /// then whenever something was given back. One that is choosy holds up the others, for its own wait at most.
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    type Wait<'a> = Pin<Box<dyn Future<Output = Result<(), NoPlace>> + 'a>>;

    /// Places that tests give back by hand.
    #[derive(Default)]
    struct Places {
        queue: Queue,
        free: Cell<u32>,
    }

    impl Places {
        /// Somebody who comes and has looked once.
        fn come(&self) -> Wait<'_> {
            let take = || self.free.get().checked_sub(1).map(|left| self.free.set(left));
            let mut wait: Wait<'_> =
                Box::pin(self.queue.wait(Instant::now() + Duration::from_secs(60), take));
            assert!(poll(&mut wait).is_pending());
            wait
        }

        fn give_back(&self) {
            self.free.set(self.free.get() + 1);
            self.queue.wake();
        }
    }

    fn poll(wait: &mut Wait<'_>) -> Poll<Result<(), NoPlace>> {
        wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Who of them has a place now; those who have are taken out.
    fn served(waits: &mut Vec<(char, Wait<'_>)>) -> String {
        let mut served = String::new();
        // Backwards, so that it is not the order of these looks which decides.
        for _ in 0..2 {
            for at in (0..waits.len()).rev() {
                if poll(&mut waits[at].1) == Poll::Ready(Ok(())) {
                    served.push(waits.remove(at).0);
                }
            }
        }
        served
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn with_timers<T>(test: impl FnOnce() -> T) -> T {
        let runtime = runtime();
        let _entered = runtime.enter();
        test()
    }

    #[test]
    fn places_go_to_those_who_wait_in_the_order_in_which_they_came() {
        with_timers(|| {
            let places = Places::default();
            let mut waits: Vec<_> = "abcd".chars().map(|name| (name, places.come())).collect();
            assert_eq!(served(&mut waits), "");
            places.give_back();
            assert_eq!(served(&mut waits), "a");
            places.queue.wake();
            assert_eq!(served(&mut waits), "", "a look in vain");
            places.give_back();
            assert_eq!(served(&mut waits), "b");
            places.give_back();
            places.give_back();
            assert_eq!(served(&mut waits), "cd", "two at once");
            assert_eq!((places.queue.waiting(), places.free.get()), (0, 0));
        });
    }

    #[test]
    fn one_who_leaves_takes_no_place_along() {
        with_timers(|| {
            let places = Places::default();
            let mut waits: Vec<_> = "abc".chars().map(|name| (name, places.come())).collect();
            // The first is called and goes without having looked.
            places.give_back();
            drop(waits.remove(0));
            assert_eq!(served(&mut waits), "b");
            let (_, last) = waits.remove(0);
            drop(last);
            assert_eq!(places.queue.waiting(), 0);
            places.give_back();
            assert_eq!(places.free.get(), 1);
        });
    }

    #[test]
    fn the_line_and_the_wait_have_an_end() {
        let queue = Queue::default();
        let late = async { queue.wait(Instant::now() + Duration::from_millis(1), || None::<()>).await };
        assert_eq!(runtime().block_on(late), Err(NoPlace::Late));
        with_timers(|| {
            let waits = |until| -> Wait<'_> { Box::pin(queue.wait(until, || None)) };
            let turns: Vec<_> = (0..WAITING_MAX).map(|_| Turn::begin(&queue)).collect();
            let later = Instant::now() + Duration::from_secs(60);
            assert_eq!(poll(&mut waits(later)), Poll::Ready(Err(NoPlace::TooManyWait)));
            assert_eq!(queue.waiting(), WAITING_MAX);
            drop(turns);
            assert_eq!(queue.waiting(), 0);
            assert!(poll(&mut waits(later)).is_pending());
        });
    }
}
