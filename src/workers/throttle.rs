//! How many requests a service that fails is asked: client-side throttling after "Site Reliability Engineering"
//! (Google, 2016), chapter 21, with one difference. There, requests that were rejected here count like failures; with
//! failures that strike at random that feeds on itself, until 10 % success has become none. Here only requests count
//! that were tried: 30 % failures reject nothing, and a service that is down gets a trickle.

use std::time::Duration;

/// The time constant of the window: short enough that a service which recovers is asked in full within a second,
/// however long it was ill. That takes half the window at worst (an outage of three windows, any rate), and what the
/// first answers and judgements take on top.
const WINDOW: Duration = Duration::from_millis(1_500);

/// So many requests are let through for each that goes well (K of the book): nothing is rejected while at least half
/// of them do.
const TRIED_FOR_EACH_GOOD: f64 = 2.0;

/// So many good requests are imagined (P): a few failures of a service with little traffic mean nothing.
const IMAGINED: f64 = 5.0;

/// Never less than this: somebody has to find out that the service is well again.
const LEAST: f64 = 0.01;

/// How the newest requests of a service went, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleReading {
    /// Requests that went to workers, in the window.
    pub requests: f64,
    /// Those of them that went well.
    pub good: f64,
    /// The part of new requests that may go on to the workers, 0.01 to 1.
    pub acceptance: f64,
}

/// The decayed counts of a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    requests: f64,
    good: f64,
}

impl Throttle {
    /// In the last `passed`, so many requests went well, and so many did not.
    pub fn note(&mut self, good: u64, bad: u64, passed: Duration) {
        let kept = (-passed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        self.good = self.good.mul_add(kept, good as f64);
        self.requests = self.requests.mul_add(kept, good as f64 + bad as f64);
    }

    /// The part of new requests that may go on to the workers, 0.01 to 1.
    pub fn acceptance(&self) -> f64 {
        let acceptance = TRIED_FOR_EACH_GOOD * (self.good + IMAGINED) / (self.requests + IMAGINED);
        acceptance.clamp(LEAST, 1.0)
    }

    /// The counts, for people.
    pub const fn reading(&self, acceptance: f64) -> ThrottleReading {
        ThrottleReading { requests: self.requests, good: self.good, acceptance }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    /// `seconds` at 1000 requests a second offered, of which `failing` of each hundred fail.
    fn run(throttle: &mut Throttle, seconds: f64, failing: f64) {
        let mut owed = (0.0, 0.0);
        let mut gone = 0.0;
        while gone < seconds {
            let tried = 50.0 * throttle.acceptance();
            owed = (owed.0 + tried * (1.0 - failing / 100.0), owed.1 + tried * failing / 100.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, not negative")]
            let whole = (owed.0 as u64, owed.1 as u64);
            owed = (owed.0 - whole.0 as f64, owed.1 - whole.1 as f64);
            throttle.note(whole.0, whole.1, STEP);
            gone += STEP.as_secs_f64();
        }
    }

    #[test]
    fn a_third_of_failures_rejects_nothing() {
        let mut throttle = Throttle::default();
        run(&mut throttle, 60.0, 30.0);
        assert!((throttle.acceptance() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn most_failures_still_let_their_part_through() {
        let mut throttle = Throttle::default();
        run(&mut throttle, 60.0, 90.0);
        assert!((0.15..0.3).contains(&throttle.acceptance()), "{}", throttle.acceptance());
    }

    #[test]
    fn a_service_that_is_down_gets_a_trickle_and_all_of_it_a_second_after_it_is_back() {
        let mut throttle = Throttle::default();
        run(&mut throttle, 10.0, 0.0);
        run(&mut throttle, 60.0, 100.0);
        assert!(throttle.acceptance() < 0.1, "{}", throttle.acceptance());
        run(&mut throttle, 1.0, 0.0);
        assert!((throttle.acceptance() - 1.0).abs() < 1e-9, "{}", throttle.acceptance());
    }

    #[test]
    fn a_few_failures_of_a_quiet_service_reject_nothing() {
        let mut throttle = Throttle::default();
        throttle.note(0, 5, STEP);
        assert!((throttle.acceptance() - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_more_failures_never_let_more_through(
            steps in prop::collection::vec((0_u64..100_000, 0_u64..100_000, 0_u64..u64::MAX), 1..50),
            more in 1_u64..100_000,
        ) {
            let (mut one, mut other) = (Throttle::default(), Throttle::default());
            for (good, bad, nanos) in steps {
                one.note(good, bad, Duration::from_nanos(nanos));
                other.note(good, bad + more, Duration::from_nanos(nanos));
                prop_assert!((LEAST..=1.0).contains(&one.acceptance()));
                prop_assert!(other.acceptance() <= one.acceptance());
            }
        }
    }
}
