//! Slow start: a worker that returns, or is new among workers that serve, gets more and more. Pure arithmetic on `now`.

use std::time::Duration;

use super::health::{FULL_SHARE, Standing, State, TRICKLE};
use crate::clock::Moment;

/// A ramp has so many steps: each is a reason for every shard to lay out its turns anew, so there are few.
const STEPS: u64 = 16;

/// The way from a trickle to the whole share.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    began: Moment,
    length: Duration,
}

impl Ramp {
    /// A ramp that begins now. None: there is no slow start (`length` is zero).
    pub fn new(now: Moment, length: Duration) -> Option<Self> {
        (!length.is_zero()).then_some(Self { began: now, length })
    }

    /// When the whole share is reached.
    pub fn end(&self) -> Moment {
        self.began.plus(self.length)
    }

    /// Whether it is reached.
    pub fn is_over(&self, now: Moment) -> bool {
        now.nanos >= self.end().nanos
    }

    /// How far it has gone, 0 to 1.
    pub fn done(&self, now: Moment) -> f64 {
        (now.since(self.began).as_secs_f64() / self.length.as_secs_f64()).min(1.0)
    }

    /// The share at `now`, 1 to [`FULL_SHARE`]: a straight line in steps.
    pub fn share(&self, now: Moment) -> u8 {
        let parts = self.step(now) * u64::from(FULL_SHARE) / STEPS;
        u8::try_from(parts).unwrap_or(FULL_SHARE).clamp(TRICKLE, FULL_SHARE)
    }

    /// When the next step begins, in monotonic nanoseconds.
    pub fn next_step(&self, now: Moment) -> u64 {
        let after = u128::from(self.step(now) + 1) * self.length.as_nanos();
        let after = u64::try_from(after.div_ceil(u128::from(STEPS))).unwrap_or(u64::MAX);
        self.began.nanos.saturating_add(after)
    }

    /// How a worker on it stands.
    pub fn standing(&self) -> Standing {
        let why = format!("slow start: its share grows for {} s", self.length.as_secs_f64());
        Standing { state: State::Returning, since: self.began, why, until: Some(self.end()) }
    }

    fn step(&self, now: Moment) -> u64 {
        let gone = now.since(self.began).min(self.length).as_nanos() * u128::from(STEPS);
        u64::try_from(gone / self.length.as_nanos().max(1)).unwrap_or(STEPS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_length_there_is_no_ramp() {
        assert!(Ramp::new(Moment::at(5), Duration::ZERO).is_none());
    }

    #[test]
    fn it_grows_from_a_trickle_to_the_whole_share() {
        let ramp = Ramp::new(Moment::at(0), Duration::from_secs(16)).unwrap();
        let at = |second: u64| ramp.share(Moment::at(second * 1_000_000_000));
        assert_eq!([at(0), at(1), at(8), at(15), at(16), at(900)], [1, 4, 32, 60, 64, 64]);
        assert_eq!(ramp.next_step(Moment::at(1_500_000_000)), 2_000_000_000);
    }

    proptest! {
        #[test]
        fn the_share_changes_at_the_announced_moments_and_never_falls(
            length in 1_u64..10_000_000_000, part in 0.0_f64..1.0,
        ) {
            let ramp = Ramp::new(Moment::at(7), Duration::from_nanos(length)).unwrap();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within `length`")]
            let now = Moment::at(7 + (length as f64 * part) as u64);
            let next = ramp.next_step(now);
            prop_assert!(next > now.nanos);
            prop_assert_eq!(ramp.share(Moment::at(next - 1)), ramp.share(now));
            prop_assert!(ramp.share(Moment::at(next)) > ramp.share(now) || ramp.share(now) == FULL_SHARE);
        }
    }
}
