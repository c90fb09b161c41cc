//! Who is told good, bad or nothing of an attempt, each once; and that its gauges are back at 0 however it ends.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::config::{self, Balance, RingKey};
use crate::forward::answer::{Answer, Silence, Streaming};
use crate::forward::http1::body::{Body, Framing};
use crate::forward::pool::ConnectTerms;
use crate::forward::upload::UploadWatch;
use crate::refusal::Reason;
use crate::workers::{Wanted, Workers};

const SHARD: ShardId = ShardId(0);
const GROUP: CallerGroup = CallerGroup::of(0);

/// A route to one worker.
struct Way {
    route: Route,
    lane: Rc<Lane>,
    workers: Arc<Workers>,
}

/// What is counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    good: u64,
    bad: u64,
    failures: u64,
    /// Of the service.
    served: u64,
    unserved: u64,
}

/// Of the worker and of the service, both good.
const GOOD: Told = Told { good: 1, bad: 0, failures: 0, served: 1, unserved: 0 };
const NOTHING: Told = Told { good: 0, bad: 0, failures: 0, served: 0, unserved: 0 };

impl Way {
    fn new() -> Self {
        Self::balanced(Balance::Weighted)
    }

    fn balanced(balance: Balance) -> Self {
        Self::to(SocketAddr::from(([127, 0, 0, 1], 1)), balance)
    }

    fn to(address: SocketAddr, balance: Balance) -> Self {
        let clock = ShardClock::new();
        let workers = Workers::new(1);
        workers.replace(vec![Wanted { address: address.into(), priority: 0, weight: 1 }], None, clock.now());
        let place = (SHARD, Rc::clone(&clock));
        let service = config::Service { balance, ..config::plain_service() };
        let route = Route::new(Arc::clone(&workers), Arc::default(), &service, place, None);
        let worker = Arc::clone(&workers.load().members[0].worker);
        let lane = Rc::new(Lane::new(Arc::clone(&workers), worker, SHARD));
        Self { route, lane, workers }
    }

    fn begin(&self) -> Active {
        self.begin_by(Fair::default())
    }

    fn begin_by(&self, fair: Fair) -> Active {
        Active::begin(&self.lane, &self.route, Seat::default(), fair)
    }

    fn now(&self) -> Moment {
        self.route.clock.now()
    }

    fn counts(&self) -> &WorkerCounts {
        self.lane.worker.counts.of(SHARD)
    }

    fn told(&self) -> Told {
        let (counts, requests) = (self.counts(), self.workers.requests.of(SHARD).of(GROUP));
        Told {
            good: counts.good.get(),
            bad: counts.bad.get(),
            failures: counts.failures.get(),
            served: requests.good.get(),
            unserved: requests.bad.get(),
        }
    }

    /// Attempts in progress, and those that wait for a head.
    fn gauges(&self) -> (u64, u64) {
        (self.counts().active.get(), self.counts().waiting.get())
    }

    /// What is told of an attempt that goes so far and is dropped then.
    fn after(go: impl FnOnce(&Self, &Active)) -> Told {
        let way = Self::new();
        let active = way.begin();
        assert_eq!(way.gauges(), (1, 0));
        go(&way, &active);
        drop(active);
        assert_eq!(way.gauges(), (0, 0));
        assert_eq!(way.counts().attempts.get(), 1);
        way.told()
    }
}

/// A head of 200 that the client gets.
fn answers(way: &Way, active: &Active) {
    active.sent(way.now());
    active.head(StatusCode::OK, None);
    active.decides(Verdict::Good, GROUP);
}

#[test]
fn a_whole_answer_is_good_once() {
    let told = Way::after(|way, active| {
        answers(way, active);
        active.goes_on();
        assert_eq!(way.told(), NOTHING, "it may still be cut");
        active.complete();
        assert_eq!(way.told(), GOOD);
        active.complete();
    });
    assert_eq!(told, GOOD);
}

#[test]
fn a_client_that_leaves_before_the_head_says_nothing() {
    assert_eq!(Way::after(|_, _| {}), NOTHING);
    assert_eq!(Way::after(|way, active| active.sent(way.now())), NOTHING);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_leaves_a_good_one() {
    assert_eq!(Way::after(answers), GOOD);
}

#[test]
fn no_answer_is_bad_for_the_worker_once_and_the_service_is_told_by_others() {
    let told = Way::after(|way, active| {
        active.sent(way.now());
        active.failed();
    });
    assert_eq!(told, Told { bad: 1, failures: 1, ..NOTHING });
}

#[test]
fn an_answer_that_is_cut_is_bad_for_both() {
    let told = Way::after(|way, active| {
        answers(way, active);
        active.failed();
    });
    assert_eq!(told, Told { bad: 1, failures: 1, unserved: 1, ..NOTHING });
}

#[test]
fn a_cut_after_it_was_told_as_good_is_told_in_addition() {
    let told = Way::after(|way, active| {
        answers(way, active);
        active.complete();
        active.failed();
    });
    assert_eq!(told, Told { bad: 1, failures: 1, unserved: 1, ..GOOD });
}

#[test]
fn a_bad_status_is_bad_at_its_head_and_not_again_when_it_is_cut() {
    let told = Way::after(|way, active| {
        active.sent(way.now());
        active.head(StatusCode::SERVICE_UNAVAILABLE, None);
        assert_eq!(way.told(), Told { bad: 1, ..NOTHING });
        active.decides(Verdict::Bad, GROUP);
        active.failed();
    });
    assert_eq!(told, Told { bad: 1, failures: 1, unserved: 1, ..NOTHING });
}

#[test]
fn a_500_is_bad_for_the_worker_and_no_want_of_the_service() {
    let told = Way::after(|way, active| {
        active.sent(way.now());
        active.head(StatusCode::INTERNAL_SERVER_ERROR, None);
        active.decides(Verdict::Good, GROUP);
        active.complete();
    });
    assert_eq!(told, Told { bad: 1, served: 1, ..NOTHING });
}

#[test]
fn so_it_is_with_a_status_of_grpc() {
    let told = Way::after(|way, active| {
        active.sent(way.now());
        active.head(StatusCode::OK, Some(14));
        active.decides(Verdict::Bad, GROUP);
    });
    assert_eq!(told, Told { bad: 1, unserved: 1, ..NOTHING });
}

#[test]
fn what_is_excused_says_nothing() {
    assert_eq!(Way::after(|_, active| active.excused()), NOTHING);
    let told = Way::after(|way, active| {
        answers(way, active);
        active.excused();
    });
    assert_eq!(told, NOTHING);
}

#[test]
fn an_answer_that_another_attempt_replaces_says_nothing_of_the_service() {
    let told = Way::after(|way, active| {
        active.sent(way.now());
        active.head(StatusCode::OK, None);
        active.complete();
    });
    assert_eq!(told, Told { served: 0, ..GOOD });
}

#[test]
fn who_was_waited_for_through_half_of_the_time_is_to_blame_for_its_end() {
    let begun = Moment::at(5_000_000_000);
    let at = |millis| begun.plus(Duration::from_millis(millis));
    let until = Some(Instant::from_std(at(1000).instant()));
    let fair = Fair::new(begun, until, false);
    assert!(!fair.is_over(at(999)) && fair.is_over(at(1000)));
    assert!(fair.excuses(Duration::from_millis(499)) && !fair.excuses(Duration::from_millis(500)));
    let hasty = Fair::new(begun, until, true);
    assert!(hasty.excuses(Duration::from_secs(3600)), "the client chose the time");
    let endless = Fair::new(begun, None, false);
    assert!(!endless.is_over(at(1 << 40)) && !endless.excuses(Duration::ZERO));
}

/// What is told of an attempt that fails when its time is over, if a worker that was waited for less than `least` is
/// not to blame for that.
fn when_time_is_over(least: Duration, go: impl FnOnce(&Active)) -> Told {
    let way = Way::new();
    let active = way.begin_by(Fair { until: Some(Instant::from_std(Moment::at(1).instant())), least });
    active.sent(way.now());
    go(&active);
    let is_blamed = active.failed();
    drop(active);
    assert_eq!((is_blamed, way.gauges()), (way.told().failures == 1, (0, 0)));
    way.told()
}

#[test]
fn a_worker_is_to_blame_for_the_end_of_the_time_only_if_it_took_its_part_of_it() {
    const BLAMED: Told = Told { bad: 1, failures: 1, ..NOTHING };
    let (hour, instant) = (Duration::from_secs(3600), Duration::from_nanos(1));
    assert_eq!(when_time_is_over(hour, |_| {}), NOTHING);
    assert_eq!(when_time_is_over(instant, |_| {}), BLAMED);
    // The client sent the last piece just now.
    assert_eq!(when_time_is_over(instant, |active| active.moved(Moment::read().plus(hour))), NOTHING);
    // After the head only its own silence counts. Clocks begin at one second.
    let head = |active: &Active| active.head(StatusCode::OK, None);
    assert_eq!(when_time_is_over(instant, head), NOTHING);
    let silent = |active: &Active| {
        head(active);
        active.was_silent(Moment::at(1));
    };
    assert_eq!(when_time_is_over(Duration::from_millis(900), silent), BLAMED);
}

#[test]
fn while_there_is_time_left_the_worker_is_to_blame() {
    let way = Way::new();
    let far = Moment::read().plus(Duration::from_secs(600));
    let active = way.begin_by(Fair::new(way.now(), Some(Instant::from_std(far.instant())), true));
    assert!(active.failed());
    assert_eq!(way.told(), Told { bad: 1, failures: 1, ..NOTHING });
}

#[test]
fn on_a_ring_no_answer_speaks_against_the_worker_and_what_breaks_does() {
    let way = Way::balanced(Balance::Ring(RingKey::Caller));
    let active = way.begin();
    active.sent(way.now());
    assert_eq!(way.gauges(), (1, 0), "its time is not looked at");
    active.head(StatusCode::SERVICE_UNAVAILABLE, None);
    active.decides(Verdict::Bad, GROUP);
    active.complete();
    drop(active);
    assert_eq!(way.told(), Told { good: 1, unserved: 1, ..NOTHING });
    let cut = way.begin();
    cut.head(StatusCode::OK, None);
    cut.failed();
    drop(cut);
    assert_eq!((way.told().bad, way.told().failures, way.gauges()), (1, 1, (0, 0)));
}

#[test]
fn a_connection_that_was_taken_is_good_at_once() {
    let told = Way::after(|way, active| {
        active.connected(GROUP);
        assert_eq!(way.told(), GOOD);
    });
    assert_eq!(told, GOOD);
}

#[test]
fn the_time_to_the_head_is_counted_once_and_only_if_it_came_or_was_given_up() {
    let way = Way::new();
    let waits = || (way.counts().waiting.get(), way.counts().waited.get(), way.counts().waited_nanos.get());
    let begun = way.now();
    let active = way.begin();
    active.sent(begun);
    active.sent(begun);
    assert_eq!(waits(), (1, 0, 0), "said twice, it waits once");
    let later = way.route.clock.refresh();
    active.head(StatusCode::OK, None);
    assert_eq!(waits(), (0, 1, later.nanos - begun.nanos));
    active.failed();
    drop(active);
    assert_eq!((waits().0, waits().1), (0, 1));
    let given_up = way.begin();
    given_up.sent(begun);
    given_up.failed();
    assert_eq!((waits().0, waits().1), (0, 2), "a time-out is a time as well");
    let left = way.begin();
    left.sent(begun);
    drop(left);
    assert_eq!((waits().0, waits().1), (0, 2), "who left did not wait for it");
}

/// What becomes of an answer whose head has come, with this body behind it in a segment of its own; and what is told.
async fn after_head(framing: Framing, body: &[u8]) -> (Result<Answer, Reason>, Told) {
    let worker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = Way::to(worker.local_addr().unwrap(), Balance::Weighted);
    let terms = ConnectTerms { timeout: Duration::from_secs(5), most: 1, spoken: None };
    let link = way.lane.connect(&Arc::default(), terms).await.unwrap();
    let (mut theirs, _) = worker.accept().await.unwrap();
    theirs.write_all(body).await.unwrap();
    poll_fn(|cx| link.socket.poll_read_ready(cx)).await.unwrap();
    let active = way.begin();
    answers(&way, &active);
    let silence = Silence::new(Duration::from_secs(5), None);
    let (link, rest) = ((link, true), (None, UploadWatch::default()));
    let mut streaming = Streaming::new(Body::new(framing, 1024), link, rest, active, silence);
    let looked = streaming.look();
    (looked.map(|()| streaming.into_answer()).map_err(|refusal| refusal.reason), way.told())
}

#[tokio::test]
async fn a_body_that_is_here_when_its_head_is_read_is_looked_at_before_the_client_knows() {
    let (answer, told) = after_head(Framing::Chunked, b"zz\r\n").await;
    assert_eq!((answer.err(), told.failures), (Some(Reason::WorkerReset), 1));
    let (answer, told) = after_head(Framing::Length(2), b"hi").await;
    assert!(matches!(answer, Ok(Answer::Own(Some(page))) if page == "hi"));
    assert_eq!(told, GOOD);
    let (answer, told) = after_head(Framing::Length(3), b"hi").await;
    assert!(matches!(answer, Ok(Answer::Worker(_))));
    assert_eq!(told, NOTHING);
}

proptest! {
    #[test]
    fn whatever_happens_each_is_told_at_most_once_and_nothing_is_left(
        sent in any::<bool>(),
        head in proptest::option::of(prop_oneof![Just(200_u16), Just(404), Just(500), Just(503)]),
        decides in any::<bool>(),
        steps in proptest::collection::vec(0..4_u8, 0..6),
    ) {
        let told = Way::after(|way, active| {
            if sent {
                active.sent(way.now());
            }
            if let Some(status) = head.and_then(|status| StatusCode::from_u16(status).ok()) {
                active.head(status, None);
                if decides {
                    active.decides(verdict::of_service(status, None), GROUP);
                }
            }
            for step in &steps {
                match step {
                    0 => active.goes_on(),
                    1 => active.complete(),
                    2 => {
                        active.failed();
                    }
                    _ => active.excused(),
                }
            }
        });
        prop_assert!(told.good <= 1 && told.bad <= 1, "{:?}", told);
        prop_assert!(told.served <= 1 && told.unserved <= 1, "{:?}", told);
        prop_assert!(decides || told.served + told.unserved == 0, "{:?}", told);
        prop_assert!(head.is_some() || told.good == 0, "{:?}", told);
    }
}
