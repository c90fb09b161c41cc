//! Workers that fail: how little they get, when they have their share back, and how many requests are let through while
//! all of them fail.

use super::*;

#[test]
fn one_of_ten_that_fails_is_at_the_trickle_within_a_second_and_comes_back_slowly() {
    for failing_for in [1_000, 30_000] {
        let mut run = Simulation::ten_well_for(10_000);
        run.run(1_000, 1_000.0, first_fails);
        assert_eq!((run.state(0), run.share(0)), (State::Ejected, TRICKLE));
        assert!(run.failed < 50, "{}", run.failed);
        run.run(failing_for, 1_000.0, first_fails);
        assert_eq!((run.state(0), run.share(0)), (State::Ejected, TRICKLE));
        let why = run.worker(0).standing(run.now()).why;
        assert!(why.contains("requests in a row failed; of its siblings' 0 of"), "{why}");
        run.run(5_000, 1_000.0, well);
        assert_eq!(run.state(0), State::Returning);
        assert!(run.share(0) < FULL_SHARE / 2, "slowly");
        run.run(10_000, 1_000.0, well);
        assert_eq!((run.state(0), run.share(0)), (State::Healthy, FULL_SHARE));
        let others: Vec<u8> = (1..10).map(|index| run.share(index)).collect();
        assert_eq!(others, [FULL_SHARE; 9]);
    }
}

#[test]
fn one_of_two_that_fails_is_at_the_trickle_too() {
    let mut run = Simulation::new(2);
    run.run(5_000, 100.0, well);
    run.run(1_000, 100.0, first_fails);
    assert_eq!((run.share(0), run.share(1)), (TRICKLE, FULL_SHARE));
}

#[test]
fn most_workers_may_fail_and_the_others_are_found() {
    let mut run = Simulation::ten_well_for(5_000);
    run.run(3_000, 1_000.0, |_, index| (10, index >= 7));
    let shares: Vec<u8> = (0..10).map(|index| run.share(index)).collect();
    assert_eq!(shares, [1, 1, 1, 1, 1, 1, 1, 64, 64, 64]);
}

#[test]
fn a_third_of_failures_everywhere_changes_no_share_and_rejects_nothing() {
    let mut run = Simulation::ten_well_for(5_000);
    for _ in 0..600 {
        run.run(100, 1_000.0, |random, _| (10, random.f64() >= 0.3));
        assert!((0..10).all(|index| run.share(index) == FULL_SHARE));
        assert!((run.acceptance() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_third_of_failures_at_one_worker_lessens_its_share_without_ejecting_it() {
    let mut run = Simulation::new(10);
    run.run(30_000, 1_000.0, |random, index| (10, index != 0 || random.f64() >= 0.3));
    assert_eq!(run.state(0), State::Suspect);
    assert!((8..28).contains(&run.share(0)), "{}", run.share(0));
}

#[test]
fn all_that_fail_at_once_are_asked_little_and_all_of_it_a_second_after_they_are_back() {
    let mut run = Simulation::ten_well_for(10_000);
    run.run(20_000, 1_000.0, |_, _| (10, false));
    assert!(run.acceptance() < 0.1, "{}", run.acceptance());
    assert!((0..10).all(|index| run.share(index) == FULL_SHARE), "none is worse than its siblings");
    run.run(1_000, 1_000.0, well);
    assert!((run.acceptance() - 1.0).abs() < 1e-9, "{}", run.acceptance());
}

#[test]
fn a_worker_without_siblings_is_never_ejected_by_its_score() {
    let mut run = Simulation::new(1);
    for instant in 0..40 {
        run.run(1_000 + instant, 200.0, well);
        for _ in 0..40 {
            run.run(7, 200.0, |_, _| (10, false));
            assert_eq!(run.share(0), FULL_SHARE, "{instant}");
        }
    }
}

#[test]
fn all_that_fail_from_some_instant_on_are_no_worse_than_each_other() {
    for count in [2, 3] {
        for instant in 0..60 {
            let mut run = Simulation::new(count);
            run.run(1_000 + instant, 200.0, well);
            for _ in 0..100 {
                run.run(10, 200.0, |_, _| (10, false));
                let states = (0..usize::from(count)).map(|index| run.state(index));
                assert!(states.into_iter().all(|state| state != State::Ejected), "{count}, {instant}");
            }
        }
    }
}

#[test]
fn single_failures_and_slow_answers_of_a_quiet_service_change_nothing() {
    let mut run = Simulation::new(3);
    for _ in 0..300 {
        run.run(1_000, 1.0, |random, _| match random.u8(..10) {
            0 => (10, false),
            1 => (1_000, true),
            _ => (10, true),
        });
        assert!((0..3).all(|index| run.share(index) == FULL_SHARE));
        assert!((run.acceptance() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_quiet_service_loses_little_to_a_worker_that_always_fails() {
    let mut run = Simulation::new(10);
    run.run(60_000, 10.0, first_fails);
    (run.failed, run.asked) = (0, 0);
    run.run(600_000, 10.0, first_fails);
    assert!(run.failed * 40 < run.asked, "{} of {}", run.failed, run.asked);
}

#[test]
fn workers_that_flap_never_leave_the_service_without_any() {
    let mut run = Simulation::new(5);
    for round in 0..60 {
        run.run(1_000, 500.0, |random, index| (5, (index + round) % 3 != 0 || random.bool()));
        assert!((0..5).any(|index| run.share(index) > TRICKLE), "round {round}");
    }
    run.run(60_000, 500.0, well);
    assert!((0..5).all(|index| run.share(index) == FULL_SHARE));
}

#[test]
fn people_are_shown_what_most_callers_get_while_places_go_by_the_others() {
    let workers = Workers::new(1);
    let (big, monitor) = (CallerGroup::of(1), CallerGroup::of(2));
    let requests = workers.requests.of(SHARD);
    requests.of(big).bad.add(1_000);
    requests.of(monitor).bad.add(2);
    assert_eq!(workers.acceptance(at(0)), 1.0);
    assert!(workers.acceptance_of(big, at(0)) < 0.02);
    let shown = workers.throttle_reading(at(0));
    assert!(shown.acceptance < 0.02 && shown.requests == 1_002.0, "{shown:?}");
}
