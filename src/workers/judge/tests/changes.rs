//! Other terms, other workers, many of them, many threads: what is kept then, and how often it is judged.

use super::*;

#[test]
fn the_version_stays_while_all_is_well_and_moves_seldom_when_not() {
    let mut run = Simulation::ten_well_for(1_000);
    let before = run.workers.version();
    run.run(10_000, 1_000.0, well);
    assert_eq!(run.workers.version(), before);
    run.run(60_000, 1_000.0, |random, index| (10, index != 0 || random.f64() >= 0.2));
    assert!(run.workers.version() - before < 120, "{}", run.workers.version() - before);
}

#[test]
fn without_passive_health_nothing_follows_from_outcomes() {
    let mut run = Simulation::new(10);
    run.run(2_000, 1_000.0, first_fails);
    assert_eq!(run.share(0), TRICKLE);
    run.workers.adopt(Terms { passive: false, ..Terms::default() });
    run.run(2_000, 1_000.0, |_, _| (10, false));
    assert_eq!(run.share(0), FULL_SHARE);
    assert!((run.acceptance() - 1.0).abs() < 1e-9);
    assert_eq!(run.worker(0).reading(run.now()).failure_share, Some(1.0), "but it is shown");
}

#[test]
fn scores_and_slow_start_survive_a_change_of_the_set_and_a_newcomer_starts_slowly() {
    let mut run = Simulation::new(3);
    run.run(2_000, 1_000.0, first_fails);
    run.workers.replace((1..=4).map(wanted).collect(), None, run.now());
    assert_eq!((run.state(0), run.share(0)), (State::Ejected, TRICKLE));
    assert_eq!((run.state(3), run.share(3)), (State::Returning, TRICKLE));
    run.run(5_000, 1_000.0, first_fails);
    assert_eq!((run.share(1), run.share(3)), (FULL_SHARE, 32));
    let reading = run.worker(3).reading(run.now());
    assert_eq!((reading.share, reading.slow_start), (0.5, Some(0.5)));
    run.workers.replace((1..=4).rev().map(wanted).collect(), None, run.now());
    assert_eq!((run.share(0), run.share(3)), (TRICKLE, 32));
    run.workers.replace((2..=4).map(wanted).collect(), None, run.now());
    run.workers.replace((1..=4).map(wanted).collect(), None, run.now());
    assert_eq!(run.state(0), State::Returning, "who left has lost its past");
}

#[test]
fn a_new_set_starts_at_once() {
    let run = Simulation::new(3);
    assert!((0..3).all(|index| run.share(index) == FULL_SHARE && run.state(index) == State::Healthy));
}

#[test]
fn threads_that_judge_and_change_at_once_leave_everything_well() {
    let workers = Workers::new(4);
    workers.replace((1..=8).map(wanted).collect(), None, at(0));
    std::thread::scope(|scope| {
        for shard in 0..4 {
            let workers = &workers;
            scope.spawn(move || {
                for millis in 0..2_000 {
                    let now = at(millis);
                    let set = Arc::clone(&workers.load());
                    let worker = &set.members[usize::try_from(millis % 8).unwrap()].worker;
                    worker.counts.of(ShardId(shard)).good.add(1);
                    workers.requests.of(ShardId(shard)).of(CallerGroup::default()).good.add(1);
                    workers.acceptance(now);
                    match millis % 97 {
                        0 => workers.connect_failed(worker, now),
                        1 => workers.checked(worker, Err("status 503".to_owned()), now),
                        2 => workers.checked(worker, Ok(()), now),
                        _ => workers.connected(worker, now),
                    }
                }
            });
        }
    });
    assert!(workers.throttle_reading(at(2_000)).requests > 0.0);
    // The longest back-off and its jitter are over: whoever is away is tried, and each in turn is well again.
    let later = at(100_000);
    for member in &workers.load().members {
        workers.checked(&member.worker, Ok(()), later);
        workers.connected(&member.worker, later);
    }
    workers.judge_if_due(at(200_000));
    for member in &workers.load().members {
        assert_eq!(member.worker.usable(at(200_000)), Use::Share(FULL_SHARE));
    }
}

#[test]
fn a_check_that_is_taken_away_holds_nobody_back_from_then_on() {
    let workers = Workers::new(1);
    let checked = Terms { checked: true, required_at_start: true, ..Terms::default() };
    workers.adopt(checked.clone());
    workers.replace(vec![wanted(1), wanted(2)], None, at(0));
    let set = Arc::clone(&workers.load());
    let [waits, fails] = [&set.members[0].worker, &set.members[1].worker];
    workers.checked(fails, Ok(()), at(0));
    workers.checked(fails, Err("status 503".to_owned()), at(0));
    workers.judge_if_due(at(1));
    assert_eq!((waits.usable(at(1)), fails.usable(at(1))), (Use::Unready, Use::Ejected(0)));
    workers.adopt(Terms { required_at_start: false, ..checked });
    workers.judge_if_due(at(1));
    assert_eq!((waits.usable(at(1)), fails.usable(at(1))), (Use::Share(FULL_SHARE), Use::Ejected(0)));
    workers.adopt(Terms::default());
    workers.judge_if_due(at(1));
    assert_eq!(fails.usable(at(1)), Use::Share(FULL_SHARE));
}

#[test]
fn a_service_is_judged_as_often_with_many_workers_and_each_of_them_more_rarely() {
    let workers = Workers::new(1);
    workers.replace((1..=10_000).map(wanted).collect(), None, at(0));
    let set = Arc::clone(&workers.load());
    let worker = &set.members[0].worker;
    workers.judge_if_due(at(0));
    worker.counts.of(SHARD).bad.add(20);
    set.members[1..].iter().for_each(|member| member.worker.counts.of(SHARD).good.add(20));
    workers.requests.of(SHARD).of(CallerGroup::default()).bad.add(1_000);
    assert!(workers.acceptance(at(50)) < 0.02);
    assert_eq!(worker.usable(at(50)), Use::Share(FULL_SHARE), "it was looked at 50 ms ago");
    for millis in (100..=450).step_by(50) {
        workers.judge_if_due(at(millis));
    }
    assert!(matches!(worker.usable(at(450)), Use::Ejected(_)));
    assert_eq!(set.members[1].worker.usable(at(450)), Use::Share(FULL_SHARE));
}
