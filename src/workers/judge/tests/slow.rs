//! Workers that lag or hang, beside siblings that do not.

use super::*;
use crate::workers::score::SUSPECT_BELOW;

#[test]
fn one_that_takes_ten_times_as_long_gets_little_and_its_share_again_when_it_is_quick() {
    let mut run = Simulation::ten_well_for(5_000);
    run.run(10_000, 1_000.0, |_, index| (if index == 0 { 100 } else { 10 }, true));
    assert!(run.share(0) <= 12, "{}", run.share(0));
    assert!((1..10).all(|index| run.share(index) == FULL_SHARE));
    run.run(25_000, 1_000.0, well);
    assert_eq!(run.share(0), FULL_SHARE);
}

#[test]
fn workers_of_another_priority_are_no_siblings() {
    let mut run = Simulation::new(4);
    let far = (1..=4).map(|port| Wanted { priority: u16::from(port > 2), ..wanted(port) });
    run.workers.replace(far.collect(), None, at(0));
    for _ in 0..100 {
        run.run(100, 1_000.0, |_, index| (if index < 2 { 2 } else { 45 }, true));
        assert!((0..4).all(|index| run.share(index) == FULL_SHARE));
    }
    run.run(5_000, 1_000.0, |_, index| (if index == 2 { 450 } else { 45 }, true));
    assert!(run.share(2) < FULL_SHARE / 4 && run.share(3) == FULL_SHARE, "but those of its own are");
}

#[test]
fn some_requests_that_wait_long_at_every_worker_make_none_of_them_ill() {
    for (count, rate, long) in [(10, 100.0, 0.01), (3, 30.0, 0.05), (3, 300.0, 0.05), (4, 40.0, 0.2)] {
        let mut run = Simulation::new(count);
        for _ in 0..600 {
            run.run(100, rate, |random, _| (if random.f64() < long { TIMEOUT - 1 } else { 5 }, true));
            let shares: Vec<u8> = (0..usize::from(count)).map(|index| run.share(index)).collect();
            assert!(shares.iter().all(|share| *share >= SUSPECT_BELOW), "{shares:?} of {count}, {long}");
        }
    }
}

#[test]
fn one_that_hangs_with_few_in_progress_is_ejected_within_two_seconds() {
    let mut run = Simulation::new(3);
    run.run(10_000, 1_800.0, |_, _| (5, true));
    // The first is busy enough that nothing more is sent to it; the others go on.
    let stuck = run.worker(0);
    stuck.counts.of(SHARD).waiting.add(2);
    for _ in 0..25 {
        run.millis += 60;
        run.end_some();
        for index in 1..3 {
            let worker = run.worker(index);
            let counts = worker.counts.of(SHARD);
            counts.good.add(36);
            counts.waited.add(36);
            counts.waited_nanos.add(36 * 5_000_000);
        }
        run.acceptance();
    }
    assert_eq!(run.state(0), State::Ejected);
    let why = stuck.standing(run.now()).why;
    assert!(why.starts_with("no answer for 1."), "{why}");
    assert_eq!((run.share(1), run.share(2)), (FULL_SHARE, FULL_SHARE));
}

#[test]
fn one_that_hangs_is_noticed_before_any_request_has_ended() {
    let mut run = Simulation::ten_well_for(10_000);
    run.run(1_000, 1_000.0, |_, index| (if index == 0 { TIMEOUT } else { 10 }, true));
    assert_eq!(run.failed, 0, "none is too late yet");
    assert!(run.share(0) <= 16, "{}", run.share(0));
    run.run(5_000, 1_000.0, |_, index| (if index == 0 { TIMEOUT } else { 10 }, true));
    assert_eq!((run.state(0), run.share(0)), (State::Ejected, TRICKLE));
    run.run(20_000, 1_000.0, well);
    assert_eq!((run.state(0), run.share(0)), (State::Healthy, FULL_SHARE));
}
