//! Simulations in virtual time: traffic that follows the shares, workers that fail, lag and hang.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::super::health::{FULL_SHARE, State, TRICKLE, Use};
use super::super::score::SUSPECT_BELOW;
use super::super::{Terms, Wanted};
use super::*;
use crate::shard::ShardId;

const SHARD: ShardId = ShardId(0);
const SLOW_START: Duration = Duration::from_secs(10);
/// No answer within this time is a failure.
const TIMEOUT: u64 = 2_000;

/// What a request at a worker comes to: the milliseconds that it takes, and whether it goes well.
type Fate = (u64, bool);

struct Simulation {
    workers: Arc<Workers>,
    random: fastrand::Rng,
    millis: u64,
    owed: f64,
    /// When it ends, at which worker, how well, and how long it took.
    running: BinaryHeap<Reverse<(u64, usize, bool, u64)>>,
    failed: u64,
    asked: u64,
}

impl Simulation {
    fn new(count: u16) -> Self {
        let workers = Workers::new(1);
        workers.adopt(Terms { slow_start: SLOW_START, ..Terms::default() });
        workers.replace((1..=count).map(wanted).collect(), None, at(0));
        let random = fastrand::Rng::with_seed(7);
        Self { workers, random, millis: 0, owed: 0.0, running: BinaryHeap::new(), failed: 0, asked: 0 }
    }

    fn worker(&self, index: usize) -> Arc<Worker> {
        Arc::clone(&self.workers.load().members[index].worker)
    }

    fn now(&self) -> Moment {
        at(self.millis)
    }

    fn share(&self, index: usize) -> u8 {
        match self.worker(index).usable(self.now()) {
            Use::Share(parts) | Use::Ejected(parts) => parts,
            Use::Trial | Use::NotBefore(_) | Use::Unready => 0,
        }
    }

    fn state(&self, index: usize) -> State {
        self.worker(index).standing(self.now()).state
    }

    fn acceptance(&self) -> f64 {
        self.workers.acceptance(self.now())
    }

    /// So many milliseconds at `rate` requests a second, each with the fate that its worker gives it.
    fn run(&mut self, millis: u64, rate: f64, mut fate: impl FnMut(&mut fastrand::Rng, usize) -> Fate) {
        for _ in 0..millis {
            self.millis += 1;
            self.end_some();
            self.owed += rate / 1_000.0;
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                self.request(&mut fate);
            }
        }
    }

    fn request(&mut self, fate: &mut impl FnMut(&mut fastrand::Rng, usize) -> Fate) {
        if self.random.f64() >= self.acceptance() {
            return;
        }
        let shares: Vec<u64> =
            (0..self.workers.load().members.len()).map(|i| u64::from(self.share(i))).collect();
        let mut left = self.random.u64(..shares.iter().sum::<u64>());
        let index = shares.iter().position(|parts| {
            let here = left < *parts;
            left = left.saturating_sub(*parts);
            here
        });
        let index = index.unwrap();
        let (takes, good) = fate(&mut self.random, index);
        let takes = takes.clamp(1, TIMEOUT);
        self.asked += 1;
        let worker = self.worker(index);
        let counts = worker.counts.of(SHARD);
        counts.attempts.add(1);
        counts.waiting.add(1);
        self.running.push(Reverse((self.millis + takes, index, good && takes < TIMEOUT, takes)));
    }

    fn end_some(&mut self) {
        while let Some(Reverse((end, index, good, takes))) = self.running.peek().copied()
            && end <= self.millis
        {
            self.running.pop();
            let worker = self.worker(index);
            let counts = worker.counts.of(SHARD);
            counts.waiting.sub(1);
            counts.waited.add(1);
            counts.waited_nanos.add(takes * 1_000_000);
            let requests = self.workers.requests.of(SHARD).of(CallerGroup::default());
            if good {
                counts.good.add(1);
                requests.good.add(1);
            } else {
                counts.bad.add(1);
                requests.bad.add(1);
                self.failed += 1;
            }
        }
    }
}

fn at(millis: u64) -> Moment {
    Moment::at(1_000_000_000 + millis * 1_000_000)
}

fn wanted(port: u16) -> Wanted {
    Wanted { address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(), priority: 0, weight: 1 }
}

fn well(_: &mut fastrand::Rng, _: usize) -> Fate {
    (10, true)
}

fn first_fails(_: &mut fastrand::Rng, index: usize) -> Fate {
    (10, index != 0)
}

#[test]
fn one_of_ten_that_fails_is_at_the_trickle_within_a_second_and_comes_back_slowly() {
    for failing_for in [1_000, 30_000] {
        let mut run = Simulation::new(10);
        run.run(10_000, 1_000.0, well);
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
    let mut run = Simulation::new(10);
    run.run(5_000, 1_000.0, well);
    run.run(3_000, 1_000.0, |_, index| (10, index >= 7));
    let shares: Vec<u8> = (0..10).map(|index| run.share(index)).collect();
    assert_eq!(shares, [1, 1, 1, 1, 1, 1, 1, 64, 64, 64]);
}

#[test]
fn a_third_of_failures_everywhere_changes_no_share_and_rejects_nothing() {
    let mut run = Simulation::new(10);
    run.run(5_000, 1_000.0, well);
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
    let mut run = Simulation::new(10);
    run.run(10_000, 1_000.0, well);
    run.run(20_000, 1_000.0, |_, _| (10, false));
    assert!(run.acceptance() < 0.1, "{}", run.acceptance());
    assert!((0..10).all(|index| run.share(index) == FULL_SHARE), "none is worse than its siblings");
    run.run(1_000, 1_000.0, well);
    assert!((run.acceptance() - 1.0).abs() < 1e-9, "{}", run.acceptance());
}

#[test]
fn one_that_takes_ten_times_as_long_gets_little_and_its_share_again_when_it_is_quick() {
    let mut run = Simulation::new(10);
    run.run(5_000, 1_000.0, well);
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
fn one_that_hangs_is_noticed_before_any_request_has_ended() {
    let mut run = Simulation::new(10);
    run.run(10_000, 1_000.0, well);
    run.run(1_000, 1_000.0, |_, index| (if index == 0 { TIMEOUT } else { 10 }, true));
    assert_eq!(run.failed, 0, "none is too late yet");
    assert!(run.share(0) <= 16, "{}", run.share(0));
    run.run(5_000, 1_000.0, |_, index| (if index == 0 { TIMEOUT } else { 10 }, true));
    assert_eq!((run.state(0), run.share(0)), (State::Ejected, TRICKLE));
    run.run(20_000, 1_000.0, well);
    assert_eq!((run.state(0), run.share(0)), (State::Healthy, FULL_SHARE));
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
fn the_version_stays_while_all_is_well_and_moves_seldom_when_not() {
    let mut run = Simulation::new(10);
    run.run(1_000, 1_000.0, well);
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
