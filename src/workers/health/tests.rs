//! What connections, checks, score and slow start say together. Each of them by itself is tested in its own file.

use std::sync::Arc;

use super::*;
use crate::shard::ShardId;
use crate::workers::{Wanted, Worker, Workers};

const SLOW_START: Duration = Duration::from_secs(16);
/// The longest first back-off, jitter included.
const PAST_BACK_OFF: u64 = 200;
const MIDDLE: f64 = 0.5;

fn at(millis: u64) -> Moment {
    Moment::at(1_000_000_000 + millis * 1_000_000)
}

/// Two checks in a row decide.
fn terms() -> Terms {
    Terms { checked: true, slow_start: SLOW_START, healthy_after: 2, unhealthy_after: 2, ..Terms::default() }
}

fn healthy() -> Health {
    Health::new(at(0), false, None)
}

fn sick() -> Result<(), String> {
    Err("status 503".to_owned())
}

/// Two checks with this result, at this time.
fn two_checks(health: &mut Health, result: &Result<(), String>, now: Moment) {
    for _ in 0..2 {
        health.checked(&terms(), result.clone(), now);
    }
}

#[test]
fn nothing_known_is_the_whole_share() {
    let health = healthy();
    assert_eq!(health.outlook(at(0)), Outlook { usable: Use::Share(FULL_SHARE), changes_at: u64::MAX });
    let reading = health.reading(at(5));
    assert_eq!((reading.state, reading.share, reading.why.as_str()), (State::Healthy, 1.0, ""));
    assert_eq!((reading.ejections, reading.slow_start, reading.last_check), (0, None, None));
}

#[test]
fn one_refused_connection_is_forgiven_at_once() {
    let mut health = healthy();
    health.refused(&terms(), at(0), MIDDLE);
    assert!(matches!(health.usable(at(1)), Use::NotBefore(_)));
    assert_eq!(health.state(at(1)), State::Ejected);
    assert_eq!(health.usable(at(PAST_BACK_OFF)), Use::Trial);
    assert!(health.begin_trial(at(PAST_BACK_OFF)));
    assert!(!health.begin_trial(at(PAST_BACK_OFF)), "one at a time");
    health.connected(&terms(), at(PAST_BACK_OFF + 1));
    assert_eq!(health.usable(at(PAST_BACK_OFF + 1)), Use::Share(FULL_SHARE), "no slow start for so little");
}

#[test]
fn a_worker_that_refused_more_than_once_returns_slowly() {
    let mut health = healthy();
    health.refused(&terms(), at(0), MIDDLE);
    health.refused(&terms(), at(1_000), MIDDLE);
    assert_eq!(health.reading(at(1_000)).ejections, 1, "it was out all the time");
    let back = at(5_000);
    health.connected(&terms(), back);
    assert_eq!(health.usable(back), Use::Share(TRICKLE));
    assert_eq!(health.standing(back).state, State::Returning);
    assert_eq!(health.state(back), State::Returning);
    assert_eq!(health.standing(back).until, Some(back.plus(SLOW_START)));
    let half = back.plus(SLOW_START / 2);
    assert_eq!(health.usable(half), Use::Share(FULL_SHARE / 2));
    assert_eq!(health.reading(half).slow_start, Some(0.5));
    let end = back.plus(SLOW_START);
    assert_eq!(health.usable(end), Use::Share(FULL_SHARE));
    assert_eq!((health.state(end), health.standing(end).since), (State::Healthy, end));
}

#[test]
fn a_ramp_says_when_it_goes_on() {
    let mut health = healthy();
    two_checks(&mut health, &sick(), at(0));
    two_checks(&mut health, &Ok(()), at(10));
    let mut now = at(10);
    let mut shares = Vec::new();
    while let Outlook { usable: Use::Share(share), changes_at } = health.outlook(now) {
        shares.push(share);
        if changes_at == u64::MAX {
            break;
        }
        assert_eq!(health.usable(Moment::at(changes_at - 1)), Use::Share(share));
        now = Moment::at(changes_at);
    }
    assert_eq!((shares.first(), shares.last()), (Some(&TRICKLE), Some(&FULL_SHARE)));
    assert!(shares.is_sorted() && shares.len() > 8, "{shares:?}");
}

#[test]
fn without_slow_start_it_has_its_whole_share_at_once() {
    let terms = Terms { slow_start: Duration::ZERO, ..terms() };
    let mut health = healthy();
    for result in [sick(), sick(), Ok(()), Ok(())] {
        health.checked(&terms, result, at(0));
    }
    assert_eq!(health.usable(at(0)), Use::Share(FULL_SHARE));
    assert_eq!(health.reading(at(0)).ejections, 1);
}

#[test]
fn failing_checks_leave_nothing_and_end_by_slow_start() {
    let mut health = healthy();
    health.checked(&terms(), sick(), at(0));
    assert_eq!(health.usable(at(0)), Use::Share(FULL_SHARE), "one is not enough");
    health.checked(&terms(), sick(), at(1));
    assert_eq!(health.outlook(at(1)), Outlook { usable: Use::Ejected(0), changes_at: u64::MAX });
    let standing = health.standing(at(1));
    assert_eq!((standing.state, standing.since, standing.until), (State::Ejected, at(1), None));
    assert!(standing.why.contains("2 checks in a row failed: status 503"), "{}", standing.why);
    assert_eq!(health.reading(at(1)).share, 0.0);
    health.checked(&terms(), Ok(()), at(2));
    assert_eq!(health.usable(at(2)), Use::Ejected(0), "one is not enough either");
    health.checked(&terms(), Ok(()), at(3));
    assert_eq!((health.usable(at(3)), health.state(at(3))), (Use::Share(TRICKLE), State::Returning));
}

#[test]
fn it_returns_when_nothing_speaks_against_it_any_more() {
    let mut health = healthy();
    health.refused(&terms(), at(0), MIDDLE);
    two_checks(&mut health, &sick(), at(1));
    assert_eq!(health.usable(at(PAST_BACK_OFF)), Use::Ejected(0), "a failing check leaves nothing to try");
    assert!(!health.begin_trial(at(PAST_BACK_OFF)));
    health.connected(&terms(), at(PAST_BACK_OFF));
    assert_eq!(health.usable(at(PAST_BACK_OFF)), Use::Ejected(0));
    assert!(health.is_out() && health.reading(at(PAST_BACK_OFF)).slow_start.is_none());
    let back = at(PAST_BACK_OFF + 100);
    two_checks(&mut health, &Ok(()), back);
    assert_eq!(health.usable(back), Use::Share(TRICKLE));
    assert_eq!(health.reading(back).ejections, 1, "it was out once");
    two_checks(&mut health, &sick(), at(9_000));
    assert_eq!(health.reading(at(9_000)).ejections, 2);
    assert_eq!(health.reading(at(9_000)).slow_start, None, "its ramp is over");
}

#[test]
fn a_check_that_passes_is_a_connection_that_was_made() {
    let mut health = healthy();
    health.refused(&terms(), at(0), MIDDLE);
    health.checked(&terms(), Ok(()), at(PAST_BACK_OFF));
    assert!(!health.is_away());
    assert_eq!(health.usable(at(PAST_BACK_OFF)), Use::Share(FULL_SHARE));
}

#[test]
fn a_worker_that_must_pass_a_check_first_begins_its_ramp_then() {
    let joins = Ramp::new(at(0), SLOW_START);
    let mut health = Health::new(at(0), true, joins);
    let late = at(60_000);
    assert_eq!(health.usable(late), Use::Unready, "its ramp would be over");
    assert_eq!((health.state(late), health.reading(late).share), (State::Returning, 0.0));
    health.checked(&terms(), sick(), late);
    assert_eq!(health.usable(late), Use::Unready);
    assert!(health.standing(late).why.contains("status 503"), "{}", health.standing(late).why);
    health.checked(&terms(), Ok(()), late);
    assert_eq!(health.usable(late), Use::Share(TRICKLE), "the first good one is enough, and the ramp is new");
    assert_eq!(health.usable(late.plus(SLOW_START)), Use::Share(FULL_SHARE));
    // At the start there is nobody beside whom it could grow.
    let mut first = Health::new(at(0), true, None);
    first.checked(&terms(), Ok(()), late);
    assert_eq!(first.usable(late), Use::Share(FULL_SHARE));
}

/// Two workers of a service, of which the first one does what a test wants.
struct Pair {
    workers: Arc<Workers>,
    millis: u64,
}

impl Pair {
    fn new() -> Self {
        let workers = Workers::new(1);
        workers.adopt(terms());
        let wanted = (1..=2).map(|port| Wanted {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
            priority: 0,
            weight: 1,
        });
        workers.replace(wanted.collect(), None, at(0));
        Self { workers, millis: 0 }
    }

    fn now(&self) -> Moment {
        at(self.millis)
    }

    fn worker(&self, index: usize) -> Arc<Worker> {
        Arc::clone(&self.workers.load().members[index].worker)
    }

    fn usable(&self) -> Use {
        self.worker(0).usable(self.now())
    }

    /// A tenth of a second in which both end so many attempts, the first one as `good` says, and a judgement.
    fn goes_on(&mut self, attempts: u64, good: bool) {
        for (index, good) in [(0, good), (1, true)] {
            let worker = self.worker(index);
            let counts = worker.counts.of(ShardId(0));
            counts.attempts.add(attempts);
            counts.waited.add(attempts);
            counts.waited_nanos.add(attempts * 5_000_000);
            if good { counts.good.add(attempts) } else { counts.bad.add(attempts) }
        }
        self.millis += 100;
        self.workers.judge_if_due(self.now());
    }

    /// Judges with nothing new until this time has passed.
    fn rests(&mut self, time: Duration) {
        let end = self.now().plus(time);
        while self.now().nanos < end.nanos {
            self.goes_on(0, true);
        }
    }

    fn ejected_by_score() -> Self {
        let mut pair = Self::new();
        pair.goes_on(20, true);
        for _ in 0..10 {
            if pair.usable() == Use::Ejected(TRICKLE) {
                break;
            }
            pair.goes_on(20, false);
        }
        assert_eq!(pair.usable(), Use::Ejected(TRICKLE));
        pair
    }
}

#[test]
fn checks_and_score_do_not_overrule_each_other() {
    let mut pair = Pair::ejected_by_score();
    let worker = pair.worker(0);
    let check = |pair: &Pair, result: &Result<(), String>| {
        for _ in 0..2 {
            pair.workers.checked(&pair.worker(0), result.clone(), pair.now());
        }
    };
    check(&pair, &Ok(()));
    assert_eq!(pair.usable(), Use::Ejected(TRICKLE), "a passing check does not mend a score");
    check(&pair, &sick());
    assert_eq!(pair.usable(), Use::Ejected(0), "with failing checks there is no trickle");
    pair.goes_on(5, true);
    pair.goes_on(1, true);
    assert_eq!(pair.usable(), Use::Ejected(0), "good answers do not mend failing checks");
    assert_eq!(worker.reading(pair.now()).ejections, 1, "it was out all the time");
    check(&pair, &Ok(()));
    assert_eq!(pair.usable(), Use::Share(TRICKLE), "nothing speaks against it any more");
    assert_eq!(worker.standing(pair.now()).state, State::Returning);
}

#[test]
fn an_ejection_by_score_says_why_and_ends_by_slow_start() {
    let mut pair = Pair::ejected_by_score();
    let standing = pair.worker(0).standing(pair.now());
    assert_eq!(standing.state, State::Ejected);
    assert!(!standing.why.is_empty());
    pair.goes_on(5, true);
    assert_eq!(pair.usable(), Use::Share(TRICKLE));
    let back = pair.now();
    pair.rests(SLOW_START + Duration::from_secs(1));
    let reading = pair.worker(0).reading(pair.now());
    assert_eq!((reading.state, reading.share), (State::Healthy, 1.0));
    assert_eq!(reading.since, back.plus(SLOW_START), "healthy since slow start ended");
    assert_eq!((reading.slow_start, reading.ejections), (None, 1));
}

#[test]
fn while_scores_do_not_count_nobody_is_out_by_one() {
    let mut pair = Pair::ejected_by_score();
    pair.workers.adopt(Terms { passive: false, ..terms() });
    pair.goes_on(20, false);
    assert_eq!(pair.worker(0).standing(pair.now()).state, State::Returning, "slowly, as after any ejection");
    pair.goes_on(200, false);
    assert!(matches!(pair.usable(), Use::Share(_)));
}
