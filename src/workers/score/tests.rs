//! Shares: what holds for any outcomes.

use proptest::prelude::*;

use super::*;

fn sums(good: u64, bad: u64, waited: u64, nanos: u64, waiting: u64) -> Sums {
    let mut sums = Sums::NONE;
    let outcomes = Tally { good, bad };
    let look = Look { outcomes, waiting, waited, waited_nanos: nanos };
    sums.look(look, Duration::from_secs(1), &Reference::default());
    sums
}

const fn siblings(success: f64, latency: f64) -> Reference {
    Reference { success: Some(success), latency: Some(latency) }
}

#[test]
fn only_what_tells_of_illness_is_bad() {
    let bad: Vec<u16> =
        (200..600).filter(|code| verdict(StatusCode::from_u16(*code).unwrap()) == Verdict::Bad).collect();
    assert_eq!(bad, [500, 502, 503, 504]);
}

#[test]
fn more_failures_than_the_siblings_cost_share_in_proportion() {
    let of = |good, bad| share(&sums(good, bad, 0, 0, 0), &siblings(1.0, 0.01));
    assert_eq!(of(500, 0), 64);
    assert_eq!(of(498, 2), 64, "chance");
    assert!((38..=46).contains(&of(450, 50)), "{}", of(450, 50));
    assert!((12..=18).contains(&of(350, 150)), "{}", of(350, 150));
    assert_eq!(of(0, 500), TRICKLE);
}

#[test]
fn ten_times_the_time_of_the_siblings_leaves_a_small_share_and_twice_costs_nothing() {
    let of = |millis: u64| share(&sums(500, 0, 500, 500 * millis * 1_000_000, 0), &siblings(1.0, 0.010));
    assert_eq!((of(10), of(20)), (64, 64));
    assert!((3..=6).contains(&of(100)), "{}", of(100));
}

#[test]
fn people_are_told_what_is_worse_than_with_its_siblings() {
    let failing = sums(37, 63, 100, 1_000_000_000, 0);
    assert_eq!(failing.told(&siblings(0.98, 0.010)), "fails 63 % of its requests, its siblings 2 %");
    let slow = sums(1_000_000, 0, 1_000_000, 412_000_000_000_000, 0);
    assert_eq!(slow.told(&siblings(1.0, 0.011)), "412 ms to an answer, its siblings 11 ms");
}

prop_compose! {
    fn reference()(
        success in prop::option::of(0.0_f64..=1.0),
        latency in prop::option::of(0.0_f64..100.0),
    ) -> Reference {
        Reference { success, latency }
    }
}

proptest! {
    #[test]
    fn a_share_is_always_a_share(
        looks in prop::collection::vec((any::<[u64; 5]>(), 0_u64..u64::MAX), 1..20),
        reference in reference(),
    ) {
        let mut sums = Sums::NONE;
        for ([good, bad, waiting, waited, nanos], passed) in looks {
            let look = Look { outcomes: Tally { good, bad }, waiting, waited, waited_nanos: nanos };
            sums.look(look, Duration::from_nanos(passed), &reference);
            prop_assert!((TRICKLE..=FULL_SHARE).contains(&share(&sums, &reference)));
            prop_assert!(sums.success().is_none_or(|part| (0.0..=1.0).contains(&part)));
            prop_assert!(sums.latency().is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0));
            let speed = sums.speed(&reference);
            prop_assert!((0.0..=1.0).contains(&speed));
        }
    }

    #[test]
    fn more_failures_never_mean_more_share(
        good in 0_u64..2_000, bad in 0_u64..2_000, more in 1_u64..500, reference in reference(),
    ) {
        let (less, worse) = (sums(good, bad, 0, 0, 0), sums(good, bad + more, 0, 0, 0));
        prop_assert!(share(&worse, &reference) <= share(&less, &reference));
    }

    #[test]
    fn who_fails_as_much_as_its_siblings_keeps_its_share(
        good in 0_u64..5_000, bad in 0_u64..5_000, waited in 0_u64..5_000, nanos in 0_u64..1_000_000_000,
    ) {
        prop_assume!(good + bad > 0);
        let one = sums(good, bad, waited, waited * nanos, 0);
        let reference = Reference { success: one.success(), latency: one.latency() };
        prop_assert_eq!(share(&one, &reference), FULL_SHARE);
    }

    #[test]
    fn losing_the_same_part_of_all_successes_gives_nobody_less(
        own in 0.0_f64..=1.0, others in 0.0_f64..=1.0, kept in 0.05_f64..=1.0,
    ) {
        let of = |success: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
            let good = (10_000.0 * success) as u64;
            sums(good, 10_000 - good, 0, 0, 0)
        };
        let before = share(&of(own), &siblings(others, 0.01));
        let after = share(&of(own * kept), &siblings(others * kept, 0.01));
        // Less is known of fewer successes, so that there is more doubt.
        prop_assert!(after + 1 >= before, "{} {}", before, after);
    }
}

#[test]
fn what_siblings_do_after_a_run_of_failures_makes_it_no_more_unlikely() {
    let reference = Reference::default();
    let tally = |good, bad| Tally { good, bad };
    let looks_at = |score: &mut Score, before, after| {
        let look = Look { outcomes: tally(0, 12), ..Look::default() };
        score.look(look, Duration::from_millis(50), (&reference, before), Moment::at(1));
        score.judge(&reference, after, Moment::at(1));
        score.is_out()
    };
    let mut failed_with_all = Score::new(Moment::at(0));
    assert!(!looks_at(&mut failed_with_all, tally(0, 0), tally(0, 40)));
    // It is asked no more, and the others are well again.
    assert!(!looks_at(&mut failed_with_all, tally(0, 40), tally(1_000, 40)));
    let mut failed_alone = Score::new(Moment::at(0));
    assert!(looks_at(&mut failed_alone, tally(0, 0), tally(40, 12)));
}
