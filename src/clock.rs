//! Time as the logic sees it: a [`Moment`] read once at an edge and handed down as `now`.
//!
//! Only listeners, timers, probes and the command line call [`Moment::read`]; everything below takes the value.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds of the monotonic clock since this process first read it; never goes back.
    pub nanos: u64,
    /// Microseconds since 1970-01-01 UTC, for dates (`until`) and log lines only.
    pub unix_micros: u64,
}

impl Moment {
    /// Reads the clocks (about 40 ns). For edges only.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn read() -> Self {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = ORIGIN.get_or_init(Instant::now);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            // One second is added so that "a little before now" never underflows in the first second of a process.
            nanos: as_u64(origin.elapsed().as_nanos()) + 1_000_000_000,
            unix_micros: as_u64(unix.as_micros()),
        }
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

fn as_u64(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}
