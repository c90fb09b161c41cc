//! Time as the logic sees it: a [`Moment`] read once at an edge and handed down as `now`.
//!
//! Only listeners, timers, probes and the command line call [`Moment::read`]; everything below takes the value.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// How long the calendar clock is trusted to run in step with the monotonic one before it is read again.
const RESYNC: u64 = 1_000_000_000;
/// One second is added to every reading, so that "a little before now" never underflows in a process's first second.
const HEAD_START: u64 = 1_000_000_000;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds of the monotonic clock since this process first read it; never goes back.
    pub nanos: u64,
    /// Microseconds since 1970-01-01 UTC, for dates (`until`) and log lines only.
    pub unix_micros: u64,
}

impl Moment {
    /// Reads the monotonic clock (about 20 ns), and the calendar's once a second: in between it is carried forward, so
    /// that a request pays for one clock only. For edges only.
    pub fn read() -> Self {
        /// What the calendar said, in microseconds, less what the monotonic clock did, when last compared.
        static OFFSET: AtomicU64 = AtomicU64::new(0);
        static COMPARED: AtomicU64 = AtomicU64::new(0);
        let nanos = monotonic_nanos().saturating_sub(Origin::get().nanos) + HEAD_START;
        let compared = COMPARED.load(Acquire);
        if compared == 0 || nanos.saturating_sub(compared) > RESYNC {
            OFFSET.store(calendar_micros().wrapping_sub(nanos / 1_000), Relaxed);
            COMPARED.store(nanos, Release);
        }
        Self { nanos, unix_micros: OFFSET.load(Relaxed).wrapping_add(nanos / 1_000) }
    }

    /// The same moment as timers take it.
    pub fn instant(self) -> Instant {
        Origin::get().instant + Duration::from_nanos(self.nanos.saturating_sub(HEAD_START))
    }

    /// A moment for tests and simulations: `nanos` on the monotonic clock, the same as time since 1970.
    pub const fn at(nanos: u64) -> Self {
        Self { nanos, unix_micros: nanos / 1_000 }
    }

    /// This moment, `by` later, on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self {
            nanos: self.nanos.saturating_add(as_u64(by.as_nanos())),
            unix_micros: self.unix_micros.saturating_add(as_u64(by.as_micros())),
        }
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

/// When this process first read the monotonic clock, in both of its forms: the number is what is counted with, which
/// takes a third of what `Instant` takes for it, and timers want an `Instant`.
#[derive(Clone, Copy)]
struct Origin {
    nanos: u64,
    instant: Instant,
}

impl Origin {
    fn get() -> &'static Self {
        static ORIGIN: OnceLock<Origin> = OnceLock::new();
        ORIGIN.get_or_init(Self::read)
    }

    /// Both show the same clock, a moment one after the other. Several times, since something may come in between: the
    /// closest two are taken.
    #[cold]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    fn read() -> Self {
        let read = || {
            // In this order: so a moment's instant is never before it, and whom a timer woke finds its time come.
            let origin = Self { nanos: monotonic_nanos(), instant: Instant::now() };
            (monotonic_nanos() - origin.nanos, origin)
        };
        let mut closest = read();
        for _ in 0..4 {
            let next = read();
            if next.0 < closest.0 {
                closest = next;
            }
        }
        closest.1
    }
}

/// The monotonic clock, in nanoseconds since some moment before this process began.
fn monotonic_nanos() -> u64 {
    // It cannot fail where `Instant` works, which reads the same clock, and no part is negative (clock_gettime(2)).
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned())
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
fn calendar_micros() -> u64 {
    as_u64(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros())
}

/// A shard's coarse clock: read at each request, each head of an answer and each tick, so that marking the time costs
/// nothing in between.
#[derive(Debug)]
pub struct ShardClock(Cell<Moment>);

impl ShardClock {
    /// A clock that shows the present.
    pub fn new() -> Rc<Self> {
        Rc::new(Self(Cell::new(Moment::read())))
    }

    /// The time when it was last read: at most a tick (100 ms) ago.
    pub const fn now(&self) -> Moment {
        self.0.get()
    }

    /// Reads the clocks.
    pub fn refresh(&self) -> Moment {
        let now = Moment::read();
        self.0.set(now);
        now
    }
}

fn as_u64(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "it is compared with the clock itself")]
    fn a_moment_as_timers_take_it_is_the_present() {
        let (before, moment, after) = (Instant::now(), Moment::read(), Instant::now());
        // The two forms of the clock were first read one after the other.
        let apart = Duration::from_millis(100);
        assert!(before <= moment.instant() + apart && moment.instant() <= after + apart);
        let later = moment.plus(Duration::from_millis(3));
        assert_eq!(later.instant() - moment.instant(), Duration::from_millis(3));
    }

    #[test]
    fn moments_never_go_back() {
        let moments: Vec<_> = (0..1_000).map(|_| Moment::read().nanos).collect();
        assert!(moments.is_sorted());
    }
}
