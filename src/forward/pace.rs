//! How slowly a client may send a request's body: the longest silence, and a least rate over all the time that was
//! spent on waiting for it. Time that passes while nobody wants more of the body is not the client's.

use std::time::Duration;

use crate::refusal::{Reason, Refusal};

/// What a client is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `timeouts.body`: without a byte.
    pub gap: Duration,
    /// `bounds.upload_rate`, bytes a second, never 0. None: any rate will do.
    pub rate: Option<u64>,
}

/// How a body has come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    waited: Duration,
    received: u64,
}

/// What is wrong with a body that is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Nothing came for too long.
    Silent,
    /// What came was too little for the time.
    Slow,
}

impl Pace {
    /// The client was waited for, for so long.
    pub fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// So many bytes came.
    pub const fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// How long the client may be waited for now, and what it is if that passes: no longer than the gap, and with all
    /// the waiting before no longer than the gap and the time that the bytes so far take at the least rate.
    pub fn left(&self, patience: Patience) -> (Duration, Late) {
        let Patience { gap, rate } = patience;
        let Some(rate) = rate else { return (gap, Late::Silent) };
        let nanos = u128::from(self.received) * 1_000_000_000 / u128::from(rate.max(1));
        let earned = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let left = gap.saturating_add(earned).saturating_sub(self.waited);
        if left < gap { (left, Late::Slow) } else { (gap, Late::Silent) }
    }
}

impl Late {
    /// What the client is told.
    pub const fn refusal(self) -> Refusal {
        let detail = match self {
            Self::Silent => "nothing of the request's body came within `timeouts.body`",
            Self::Slow => "the request's body came more slowly than `bounds.upload_rate`",
        };
        Refusal::new(Reason::ClientTimeout, detail)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GAP: Duration = Duration::from_secs(30);
    const PATIENCE: Patience = Patience { gap: GAP, rate: Some(240) };

    /// How long a body lasts of which a piece of so many bytes comes every `pause`; none: it may go on.
    fn lasts(patience: Patience, bytes: usize, pause: Duration) -> Option<(Duration, Late)> {
        let (mut pace, mut total) = (Pace::default(), Duration::ZERO);
        for _ in 0..10_000 {
            let (left, late) = pace.left(patience);
            if pause > left {
                return Some((total + left, late));
            }
            pace.waited(pause);
            pace.received(bytes);
            total += pause;
        }
        None
    }

    #[test]
    fn silence_is_judged_as_silence() {
        assert_eq!(Pace::default().left(PATIENCE), (GAP, Late::Silent));
        assert_eq!(lasts(PATIENCE, 1 << 20, 31 * SECOND), Some((GAP, Late::Silent)));
    }

    #[test]
    fn a_byte_at_a_time_does_not_go_on_without_end() {
        let (end, late) = lasts(PATIENCE, 1, 20 * SECOND).unwrap();
        assert_eq!(late, Late::Slow);
        assert!((GAP..GAP + SECOND).contains(&end), "{end:?}");
    }

    #[test]
    fn the_least_rate_is_enough_and_a_little_less_is_not() {
        assert_eq!(lasts(PATIENCE, 240, SECOND), None);
        assert_eq!(lasts(PATIENCE, 2400, 10 * SECOND), None);
        assert_eq!(lasts(PATIENCE, 230, SECOND).unwrap().1, Late::Slow);
    }

    #[test]
    fn without_a_rate_only_silence_counts() {
        let patience = Patience { gap: GAP, rate: None };
        assert_eq!(lasts(patience, 1, 29 * SECOND), None);
        assert_eq!(lasts(patience, 1, 31 * SECOND), Some((GAP, Late::Silent)));
    }

    #[test]
    fn what_nobody_waited_for_does_not_count() {
        let mut pace = Pace::default();
        for _ in 0..1_000 {
            pace.received(1);
        }
        assert_eq!(pace.left(PATIENCE), (GAP, Late::Silent));
    }

    proptest! {
        #[test]
        fn the_time_in_all_is_bounded_by_the_gap_and_the_bytes(
            pieces in prop::collection::vec((0_u64..40_000, 0_usize..100_000), 0..50),
            rate in 1_u64..1_000_000,
        ) {
            let patience = Patience { gap: GAP, rate: Some(rate) };
            let (mut pace, mut waited, mut bytes) = (Pace::default(), Duration::ZERO, 0_u64);
            for (millis, length) in pieces {
                let time = Duration::from_millis(millis);
                let (left, _) = pace.left(patience);
                prop_assert!(left <= GAP);
                let most = GAP.as_secs_f64() + bytes as f64 / rate as f64;
                prop_assert!((waited + left).as_secs_f64() <= most + 1e-6);
                if time > left {
                    break;
                }
                pace.waited(time);
                pace.received(length);
                waited += time;
                bytes += length as u64;
            }
        }
    }
}
