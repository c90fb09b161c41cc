//! How many requests of a service may be in progress at once (`capacity.concurrent`): a count over all shards, and the
//! line in which requests wait for a place for a short while. When a place is needed and what is told to those who get
//! none stands in `inbound/room.rs`; how many a single worker takes, in `workers/seat.rs`.
//!
//! ```text
//! newcomer ── nobody waits, room ──▶ one compare-exchange ──▶ Permit ──▶ dropped: one fetch_sub, wake who waits first
//!     └────── somebody waits, or full ──▶ Queue, in order, until a place or the end of the wait
//! ```

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::{NoPlace, Queue};

/// The places of one service, shared by all shards. It lives as long as the service, over reloads. On cache lines of
/// its own (128 bytes, as in `shard.rs`): each request of each shard writes to it twice, and what lies beside it in
/// memory may be read by all.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Capacity {
    /// `capacity.concurrent`; 0: no bound.
    most: AtomicU64,
    /// `capacity.wait`, in nanoseconds.
    wait: AtomicU64,
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
    pub fn adopt(&self, concurrent: Option<NonZeroU32>, wait: Duration) {
        self.wait.store(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), Relaxed);
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

    /// Whether places are bounded, so that one that is taken may be missed by others.
    pub fn is_bounded(&self) -> bool {
        self.0.most.load(Relaxed) > 0
    }

    /// Takes a place if one is free and nobody waits for it. `acceptance`, from 0 to 1, is the part of the places that
    /// are open now: what `Workers::acceptance` says.
    pub fn try_enter(self: &Rc<Self>, acceptance: f64) -> Option<Permit> {
        let capacity = &self.0;
        if self.is_bounded() && capacity.line.waiting() > 0 {
            return None;
        }
        self.take(acceptance)
    }

    /// Waits in line for a place, at most until `until`. `acceptance` is asked whenever a place may be free: that
    /// it rises is seen with the next place that is given back, which is soon, since a waiter means requests in
    /// progress. Dropping the future leaves the line.
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

    /// `capacity.wait`: how long a request may wait in line. It goes with the number, which may be newer than the
    /// configuration that the request came under.
    pub fn longest_wait(&self) -> Duration {
        Duration::from_nanos(self.0.wait.load(Relaxed))
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn capacity(concurrent: u32) -> Arc<Capacity> {
        let capacity = Arc::<Capacity>::default();
        capacity.adopt(NonZeroU32::new(concurrent), Duration::ZERO);
        capacity
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn once<T>(waiting: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        waiting.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_place_is_taken_until_the_permit_goes() {
        let capacity = capacity(2);
        let (one, other) = (Entrance::new(&capacity), Entrance::new(&capacity));
        let held = (one.try_enter(1.0).unwrap(), other.try_enter(1.0).unwrap());
        assert!(one.try_enter(1.0).is_none() && other.try_enter(1.0).is_none());
        drop(held.1);
        assert!(one.try_enter(1.0).is_some());
        drop(held.0);
        assert_eq!(capacity.reading(1.0).in_use, 0);
    }

    #[test]
    fn without_a_number_nothing_is_counted() {
        let capacity = capacity(0);
        let entrance = Entrance::new(&capacity);
        let _all: Vec<_> = (0..1_000).map(|_| entrance.try_enter(0.01).unwrap()).collect();
        let reading = capacity.reading(0.01);
        assert_eq!((reading.in_use, reading.concurrent, reading.effective), (0, None, None));
    }

    #[test]
    fn who_comes_later_does_not_overtake_those_who_wait() {
        runtime().block_on(async {
            let capacity = capacity(1);
            let entrance = Entrance::new(&capacity);
            let held = entrance.try_enter(1.0).unwrap();
            let mut first = pin!(entrance.enter_in_turn(later(), || 1.0));
            assert!(once(first.as_mut()).is_pending());
            drop(held);
            assert_eq!(capacity.reading(1.0).in_use, 0, "the place is free, and not for a newcomer");
            assert!(entrance.try_enter(1.0).is_none());
            let mut second = pin!(entrance.enter_in_turn(later(), || 1.0));
            assert!(once(second.as_mut()).is_pending());
            let Poll::Ready(Ok(permit)) = once(first.as_mut()) else { panic!("the first waits on") };
            assert!(once(second.as_mut()).is_pending());
            drop(permit);
            assert!(once(second.as_mut()).is_ready());
            let reading = capacity.reading(1.0);
            assert_eq!((reading.in_use, reading.waiting, reading.waited), (0, 0, 2));
        });
    }

    #[test]
    fn another_number_holds_at_once_and_turns_nobody_out() {
        runtime().block_on(async {
            let capacity = capacity(4);
            let entrance = Entrance::new(&capacity);
            let mut held: Vec<_> = (0..4).map(|_| entrance.try_enter(1.0).unwrap()).collect();
            capacity.adopt(NonZeroU32::new(2), Duration::ZERO);
            assert_eq!(capacity.reading(1.0).in_use, 4);
            held.truncate(2);
            assert!(entrance.try_enter(1.0).is_none(), "two of two");
            let mut waiting = pin!(entrance.enter_in_turn(later(), || 1.0));
            let mut behind = pin!(entrance.enter_in_turn(later(), || 1.0));
            assert!(once(waiting.as_mut()).is_pending() && once(behind.as_mut()).is_pending());
            capacity.adopt(NonZeroU32::new(4), Duration::ZERO);
            let Poll::Ready(Ok(third)) = once(waiting.as_mut()) else { panic!("there is room") };
            let Poll::Ready(Ok(fourth)) = once(behind.as_mut()) else { panic!("there is room") };
            capacity.adopt(None, Duration::ZERO);
            assert!(entrance.try_enter(1.0).is_some());
            drop((held, third, fourth));
            capacity.adopt(NonZeroU32::new(1), Duration::ZERO);
            assert_eq!(capacity.reading(1.0).in_use, 0, "who came in under a number was counted to the end");
        });
    }

    #[test]
    fn while_workers_fail_a_part_of_the_places_is_open_and_never_none() {
        for (most, acceptance, want) in
            [(60, 1.0, 60), (60, 0.999, 60), (60, 0.5, 30), (60, 0.01, 1), (1, 0.0, 1), (7, 0.3, 3)]
        {
            let reading = capacity(most).reading(acceptance);
            assert_eq!(reading.effective, Some(want), "{most} times {acceptance}");
        }
        let capacity = capacity(10);
        let entrance = Entrance::new(&capacity);
        let held: Vec<_> = std::iter::from_fn(|| entrance.try_enter(0.35)).collect();
        assert_eq!(held.len(), 4);
        assert!(entrance.try_enter(1.0).is_some());
    }

    /// What the threads of a test share.
    #[derive(Default)]
    struct Seen {
        inside: AtomicU64,
        too_many: AtomicBool,
        served: AtomicU64,
    }

    /// One shard: tasks that enter at once or in turn, stay for a few turns of the loop, and some that lose patience.
    async fn shard(capacity: Arc<Capacity>, seen: Arc<Seen>, (most, rounds): (u64, u32), seed: u64) {
        let entrance = Entrance::new(&capacity);
        let one = |seed| {
            let (entrance, seen) = (Rc::clone(&entrance), Arc::clone(&seen));
            async move {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..rounds {
                    let permit = match entrance.try_enter(1.0) {
                        Some(permit) => permit,
                        None if random.u8(..) < 64 => {
                            let mut leaving = pin!(entrance.enter_in_turn(later(), || 1.0));
                            let _ = once(leaving.as_mut());
                            tokio::task::yield_now().await;
                            continue;
                        }
                        None => entrance.enter_in_turn(later(), || 1.0).await.expect("a wake was lost"),
                    };
                    let inside = seen.inside.fetch_add(1, SeqCst) + 1;
                    if inside > most {
                        seen.too_many.store(true, SeqCst);
                    }
                    for _ in 0..random.u8(..3) {
                        tokio::task::yield_now().await;
                    }
                    seen.inside.fetch_sub(1, SeqCst);
                    seen.served.fetch_add(1, Relaxed);
                    drop(permit);
                }
            }
        };
        let tasks = tokio::task::LocalSet::new();
        for task in 0..8 {
            tasks.spawn_local(one(seed * 8 + task));
        }
        tasks.await;
    }

    #[test]
    fn over_threads_there_are_never_too_many_none_leaks_and_no_wake_is_lost() {
        for most in [1_u32, 3, 20] {
            let (capacity, seen) = (capacity(most), Arc::<Seen>::default());
            let seed = fastrand::u64(..1 << 32);
            println!("seed {seed}");
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (capacity, seen) = (Arc::clone(&capacity), Arc::clone(&seen));
                    scope.spawn(move || {
                        runtime().block_on(shard(capacity, seen, (u64::from(most), 2_000), seed + thread));
                    });
                }
            });
            assert!(!seen.too_many.load(SeqCst), "more than {most} at once");
            let reading = capacity.reading(1.0);
            assert_eq!((reading.in_use, reading.waiting), (0, 0));
            assert!(seen.served.load(Relaxed) > 0);
        }
    }
}
