//! What requests to HTTP/2 workers promise, with workers of h2 in the same process. The same through the whole of
//! Buckler, with real workers, is tested in `tests/it/http2_workers.rs`.

mod worker;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use tokio::task::JoinSet;

use self::worker::{Asked, Worker};
use super::super::Reserved;
use super::*;
use crate::clock::ShardClock;
use crate::config::{self, WorkerProtocol};
use crate::forward::early::Early;
use crate::forward::pace::Patience;
use crate::forward::proxy_header::Spoken;
use crate::forward::source::{Http2Source, Interrupted, Source, StreamBody};
use crate::forward::upload::Upload;
use crate::message::{RequestHead, Target};
use crate::record::Scribe;
use crate::record::counts::ServiceCounts;
use crate::refusal::Reason;
use crate::shard::ShardId;
use crate::workers::{CallerGroup, Wanted, Workers};

const PATIENCE: Patience = Patience { gap: Duration::from_secs(30), rate: None };
const CALL: Call<'static> = Call {
    until: None,
    haste: None,
    key: 0,
    group: CallerGroup::of(0),
    early: None,
    spoken: Spoken::ForNobody,
    upgrade: None,
};

/// A route to some workers, and what a request needs beside it.
struct Way {
    route: Rc<Route>,
    workers: Arc<Workers>,
    scribe: Rc<Scribe>,
    clock: Rc<ShardClock>,
}

fn way(workers: &[SocketAddr], change: impl FnOnce(&mut config::Service)) -> Way {
    let clock = ShardClock::new();
    let mut service = config::plain_service();
    service.worker_protocol = WorkerProtocol::Http2;
    change(&mut service);
    let set = Workers::new(1);
    let wanted = workers.iter().zip(0..).map(|(address, priority)| Wanted {
        address: (*address).into(),
        priority,
        weight: 1,
    });
    set.replace(wanted.collect(), None, clock.now());
    let place = (ShardId(0), Rc::clone(&clock));
    let route = Route::new(Arc::clone(&set), Arc::default(), &service, place, None);
    let text = "services: {a: {listen: 127.0.0.1:4070, workers: {addresses: [127.0.0.1:9001]}}}";
    let loaded = config::load_str("t.yaml", text, &config::NoFiles, Moment::at(1), &|_| None);
    let callers = loaded.config.unwrap().callers;
    let scribe = Scribe::new(&service.name, ServiceCounts::new(1), ShardId(0), &callers, None);
    Way { route: Rc::new(route), workers: set, scribe, clock }
}

impl Way {
    async fn send(&self, order: Order) -> Result<Response<Answer>, Refusal> {
        self.call(order, CALL).await
    }

    async fn call(&self, mut order: Order, call: Call<'_>) -> Result<Response<Answer>, Refusal> {
        let mut outcome = self.scribe.begin(self.clock.refresh(), SocketAddr::from(([127, 0, 0, 1], 1)));
        self.route.send(&mut order, Reserved::default(), &call, &mut outcome).await
    }

    /// How often the workers were tried, and how many connections they have.
    fn counted(&self) -> (u64, u64) {
        let set = self.workers.load();
        let sum = |count: fn(&crate::workers::WorkerCounts) -> &crate::shard::Count| {
            set.members.iter().map(|member| member.worker.counts.sum(count)).sum()
        };
        (sum(|counts| &counts.attempts), sum(|counts| &counts.connections))
    }

    fn active(&self) -> u64 {
        let set = self.workers.load();
        set.members.iter().map(|member| member.worker.counts.sum(|counts| &counts.active)).sum()
    }
}

fn get(path: &'static str) -> Order {
    order(Method::GET, path, Upload::none())
}

fn order(method: Method, path: &'static str, body: Upload) -> Order {
    let mut head = RequestHead::new(method, Target::new("", "", path));
    head.fields.add("host", b"api.test");
    Order { head, body }
}

/// A client's body over HTTP/2: what is written into the one end comes out of the other.
async fn body() -> (SendStream<Bytes>, Upload) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let client = tokio::task::spawn_local(async move {
        let (sender, connection) = h2::client::handshake(near).await.unwrap();
        tokio::task::spawn_local(connection);
        let mut sender = sender.ready().await.unwrap();
        let (response, stream) = sender.send_request(http::Request::new(()), false).unwrap();
        tokio::task::spawn_local(response);
        stream
    });
    let mut server = h2::server::handshake(far).await.unwrap();
    let (request, respond) = server.accept().await.unwrap().unwrap();
    tokio::task::spawn_local(async move {
        let _respond = respond;
        while server.accept().await.is_some() {}
    });
    let source = Http2Source::new(Box::new(Received(request.into_body())), None, PATIENCE, None);
    (client.await.unwrap(), Upload::new(Source::Http2(Box::new(source)), u64::MAX, false))
}

#[derive(Debug)]
struct Received(h2::RecvStream);

impl StreamBody for Received {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        self.0.poll_data(cx).map(|data| data.map(|data| data.map_err(|_| Interrupted::Gone)))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Interrupted>> {
        self.0.poll_trailers(cx).map_err(|_| Interrupted::Gone)
    }

    fn release(&mut self, length: usize) {
        self.0.flow_control().release_capacity(length).unwrap();
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn may_send(&self) -> bool {
        true
    }

    fn held_back(&self) -> Duration {
        Duration::ZERO
    }
}

/// Reads an answer to its end.
async fn read(answer: Answer) -> Result<(Vec<u8>, Option<HeaderMap>), Refusal> {
    let mut answer = pin!(answer);
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| answer.as_mut().poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes, trailers))
}

/// Reads one piece of an answer.
async fn piece(answer: &mut Answer) -> Option<Result<Bytes, Refusal>> {
    let frame = poll_fn(|cx| Pin::new(&mut *answer).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Lets everything that can go on go on, until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

fn on_a_shard(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.unwrap() });
}

#[test]
fn requests_at_the_same_time_share_one_connection() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            asked.gate().await;
            asked.answer("hello").await;
        });
        let way = Rc::new(way(&[worker.address()], |_| {}));
        let mut requests = JoinSet::new();
        for _ in 0..50 {
            let way = Rc::clone(&way);
            requests.spawn_local(async move {
                let answer = way.send(get("/")).await.unwrap();
                read(answer.body).await.unwrap().0
            });
        }
        until("fifty streams", || worker.streams() == 50).await;
        worker.open();
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap(), b"hello");
        }
        assert_eq!((worker.connections(), way.counted(), way.active()), (1, (50, 1), 0));
    });
}

#[test]
fn a_full_connection_gets_a_second_one_beside_it_and_a_burst_no_more_than_it_needs() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            asked.gate().await;
            asked.answer("").await;
        });
        let way = Rc::new(way(&[worker.address()], |service| service.bounds.worker_streams = 10));
        let mut requests = JoinSet::new();
        for _ in 0..25 {
            let way = Rc::clone(&way);
            requests.spawn_local(async move { way.send(get("/")).await.map(|answer| answer.head.status) });
        }
        until("25 streams", || worker.streams() == 25).await;
        assert_eq!(worker.connections(), 3);
        worker.open();
        while let Some(status) = requests.join_next().await {
            assert_eq!(status.unwrap().unwrap(), StatusCode::OK);
        }
    });
}

#[test]
fn a_worker_that_allows_few_streams_gets_no_more_than_those_on_a_connection() {
    on_a_shard(async {
        let settings = |server: &mut h2::server::Builder| {
            server.max_concurrent_streams(2);
        };
        let worker = Worker::with(settings, |mut asked: Asked| async move {
            asked.gate().await;
            asked.answer("").await;
        });
        let way = Rc::new(way(&[worker.address()], |_| {}));
        let mut requests = JoinSet::new();
        for _ in 0..4 {
            let way = Rc::clone(&way);
            requests.spawn_local(async move { way.send(get("/")).await.map(|answer| answer.head.status) });
        }
        until("4 streams", || worker.streams() == 4).await;
        assert_eq!(worker.connections(), 2);
        worker.open();
        while let Some(status) = requests.join_next().await {
            assert_eq!(status.unwrap().unwrap(), StatusCode::OK);
        }
    });
}

#[test]
fn more_than_all_worker_connections_hold_is_refused() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.gate().await });
        let way = Rc::new(way(&[worker.address()], |service| {
            (service.bounds.worker_streams, service.bounds.worker_connections) = (1, 1);
        }));
        let first = Rc::clone(&way);
        let first = tokio::task::spawn_local(async move { first.send(get("/")).await.map(drop) });
        until("a stream", || worker.streams() == 1).await;
        let refusal = way.send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::Overload);
        first.abort();
    });
}

#[test]
fn the_head_is_said_as_http2_wants_it() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.answer("").await });
        let way = way(&[worker.address()], |_| {});
        let mut order = get("/a?b=c");
        for (name, value) in [("connection", "te"), ("te", "trailers"), ("x-request-id", "1")] {
            order.head.fields.add(name, value.as_bytes());
        }
        let answer = way.send(order).await.unwrap();
        assert_eq!(answer.head.fields.get("via"), Some(&b"2.0 buckler"[..]));
        let seen = worker.seen().remove(0);
        assert_eq!(seen.uri, "http://api.test/a?b=c");
        assert_eq!(seen.headers["te"], "trailers");
        assert!(!seen.headers.contains_key("connection") && !seen.headers.contains_key("host"), "{seen:?}");
    });
}

#[test]
fn body_and_answer_go_both_ways_at_once_with_trailers() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.echo().await });
        let way = way(&[worker.address()], |_| {});
        let (mut client, upload) = body().await;
        let mut answer = way.send(order(Method::POST, "/echo", upload)).await.unwrap().body;
        for said in ["one", "two", "three"] {
            client.send_data(Bytes::from(said), false).unwrap();
            assert_eq!(piece(&mut answer).await.unwrap().unwrap(), said);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "here".parse().unwrap());
        client.send_trailers(trailers).unwrap();
        let (rest, trailers) = read(answer).await.unwrap();
        let trailers = trailers.unwrap();
        assert!(rest.is_empty() && trailers["x-end"] == "here" && trailers.len() == 1, "{trailers:?}");
        assert_eq!(way.active(), 0);
    });
}

#[test]
fn a_refused_stream_is_tried_again_at_another_worker_with_its_body() {
    on_a_shard(async {
        let refusing = Worker::start(|mut asked: Asked| async move {
            asked.reset(h2::Reason::REFUSED_STREAM).await;
        });
        let taking = Worker::start(|mut asked: Asked| async move { asked.echo().await });
        let way = way(&[refusing.address(), taking.address()], |_| {});
        let (mut client, upload) = body().await;
        client.send_data(Bytes::from("whole"), false).unwrap();
        client.send_data(Bytes::new(), true).unwrap();
        let answer = way.send(order(Method::POST, "/", upload)).await.unwrap();
        assert_eq!(read(answer.body).await.unwrap().0, b"whole");
        assert_eq!((refusing.seen().len(), taking.seen().len()), (1, 1));
    });
}

#[test]
fn a_refused_stream_that_took_more_than_is_kept_is_not_tried_again() {
    on_a_shard(async {
        let refusing = Worker::start(|mut asked: Asked| async move {
            asked.take(128 * 1024).await;
            asked.reset(h2::Reason::REFUSED_STREAM).await;
        });
        let taking = Worker::start(|mut asked: Asked| async move { asked.echo().await });
        let way = way(&[refusing.address(), taking.address()], |_| {});
        let (mut client, upload) = body().await;
        let sending = tokio::task::spawn_local(async move {
            for _ in 0..32 {
                client.reserve_capacity(16 * 1024);
                while client.capacity() < 16 * 1024 {
                    if poll_fn(|cx| client.poll_capacity(cx)).await.is_none_or(|got| got.is_err()) {
                        return client;
                    }
                }
                client.send_data(Bytes::from(vec![b'x'; 16 * 1024]), false).unwrap();
            }
            client
        });
        let refusal = way.send(order(Method::PUT, "/", upload)).await.unwrap_err();
        assert_eq!((refusal.reason, taking.seen().len()), (Reason::WorkerReset, 0));
        sending.abort();
    });
}

#[test]
fn a_goaway_loses_no_request() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            // The twentieth request on a connection is its last.
            if asked.number == 20 {
                asked.leave();
            }
            asked.answer("here").await;
        });
        let way = Rc::new(way(&[worker.address()], |_| {}));
        let mut requests = JoinSet::new();
        for _ in 0..200 {
            let way = Rc::clone(&way);
            requests
                .spawn_local(async move { read(way.send(get("/")).await.unwrap().body).await.unwrap().0 });
        }
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap(), b"here");
        }
        assert!(worker.connections() > 1, "{}", worker.connections());
        until("the old ones gone", || way.counted().1 <= 1).await;
    });
}

#[test]
fn a_worker_that_dies_gets_idempotent_requests_once_more_and_others_not() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            match asked.path() {
                "/die" => asked.die().await,
                _ => asked.answer("alive").await,
            }
        });
        let way = way(&[worker.address()], |_| {});
        assert!(way.send(get("/")).await.is_ok());
        let refusal = way.send(get("/die")).await.unwrap_err();
        assert_eq!((refusal.reason, way.counted().0), (Reason::WorkerReset, 3));
        assert!(way.send(get("/")).await.is_ok());
        let (mut client, upload) = body().await;
        client.send_data(Bytes::from("once"), true).unwrap();
        let refusal = way.send(order(Method::POST, "/die", upload)).await.unwrap_err();
        assert_eq!((refusal.reason, way.counted().0), (Reason::WorkerReset, 5));
    });
}

#[test]
fn a_slow_reader_holds_its_worker_back_and_nobody_else() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            match asked.path() {
                "/endless" => asked.pour(64 * 1024 * 1024).await,
                _ => asked.answer("quick").await,
            }
        });
        let way = way(&[worker.address()], |_| {});
        let mut slow = way.send(get("/endless")).await.unwrap().body;
        assert!(piece(&mut slow).await.unwrap().is_ok());
        let mut before = 0;
        until("it stands still", || std::mem::replace(&mut before, worker.poured()) == worker.poured()).await;
        let most = u64::from(connection::STREAM_WINDOW) * 2;
        assert!(worker.poured() <= most, "{} of {most}", worker.poured());
        for _ in 0..20 {
            let quick = way.send(get("/")).await.unwrap().body;
            assert_eq!(read(quick).await.unwrap().0, b"quick");
        }
        drop(slow);
        until("it was told", || worker.cancelled() == 1).await;
        assert_eq!((worker.connections(), way.active()), (1, 0));
    });
}

#[test]
fn a_worker_that_takes_nothing_holds_the_client_back() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.gate().await });
        let way = Rc::new(way(&[worker.address()], |_| {}));
        let (mut client, upload) = body().await;
        let watch = upload.watch();
        let sending = Rc::clone(&way);
        let sending = tokio::task::spawn_local(async move {
            sending.send(order(Method::POST, "/", upload)).await.map(drop)
        });
        client.reserve_capacity(1 << 24);
        client.send_data(Bytes::from(vec![b'x'; 1 << 24]), false).unwrap();
        let mut before = u64::MAX;
        until("it stands still", || {
            std::mem::replace(&mut before, watch.bytes()) == watch.bytes() && before > 0
        })
        .await;
        assert!(watch.bytes() <= 256 * 1024, "{}", watch.bytes());
        sending.abort();
    });
}

#[test]
fn early_hints_reach_the_client_and_are_no_answer() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            asked.hint("</a.css>; rel=preload");
            asked.hint("</b.css>; rel=preload");
            asked.answer("page").await;
        });
        let way = way(&[worker.address()], |_| {});
        let early = Early::default();
        let answer = way.call(get("/"), Call { early: Some(&early), ..CALL }).await.unwrap();
        assert_eq!(answer.head.status, StatusCode::OK);
        let hints = early.take();
        assert_eq!(hints.len(), 2);
        assert_eq!(hints[1].fields.get("link"), Some(&b"</b.css>; rel=preload"[..]));
    });
}

#[test]
fn a_flood_of_interim_answers_is_the_workers_fault() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            for _ in 0..1_000 {
                asked.hint("</a.css>");
            }
            asked.answer("page").await;
        });
        let way = way(&[worker.address()], |_| {});
        let refusal = way.send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerProtocol);
    });
}

#[test]
fn each_wait_has_its_end() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            match asked.path() {
                "/silent" => asked.gate().await,
                "/stops" => asked.stop_after("some").await,
                _ => asked.answer("").await,
            }
        });
        let way = way(&[worker.address()], |service| {
            service.timeouts.response = Duration::from_millis(150);
            service.timeouts.idle = Duration::from_millis(150);
        });
        let refusal = way.send(get("/silent")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerTimeout);
        let mut answer = way.send(get("/stops")).await.unwrap().body;
        assert_eq!(piece(&mut answer).await.unwrap().unwrap(), "some");
        assert_eq!(piece(&mut answer).await.unwrap().unwrap_err().reason, Reason::WorkerTimeout);
        drop(answer);
        let until = Some(tokio::time::Instant::now() + Duration::from_millis(50));
        let refusal = way.call(get("/silent"), Call { until, ..CALL }).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerTimeout);
        self::until("all were cancelled", || worker.cancelled() == 3).await;
        assert_eq!(way.active(), 0);
    });
}

#[test]
fn a_worker_of_http1_or_of_nothing_is_told_apart_and_passed_over() {
    on_a_shard(async {
        let http1 = Worker::raw(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        let silent = Worker::raw(b"");
        let short = |service: &mut config::Service| service.timeouts.connect = Duration::from_millis(150);
        let refusal = way(&[http1.address()], short).send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerProtocol, "{refusal}");
        let refusal = way(&[silent.address()], short).send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerTimeout, "{refusal}");
        let good = Worker::start(|mut asked: Asked| async move { asked.answer("").await });
        let both = way(&[http1.address(), good.address()], short);
        assert!(both.send(get("/")).await.is_ok());
    });
}

#[test]
fn a_request_that_leaves_gives_its_trial_of_a_returning_worker_back() {
    on_a_shard(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = way(&[silent.local_addr().unwrap()], |_| {});
        let worker = Arc::clone(&way.workers.load().members[0].worker);
        // Long enough ago that its back-off is over.
        let now = Moment::read();
        way.workers.connect_failed(&worker, Moment::at(now.nanos - 1_000_000_000));
        {
            let mut left = pin!(way.send(get("/")));
            assert!(poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_pending())).await);
            assert!(!way.workers.begin_trial(&worker, Moment::read()), "it is being tried");
        }
        assert!(way.workers.begin_trial(&worker, Moment::read()));
    });
}

#[test]
fn a_head_that_is_too_long_is_the_workers_fault() {
    on_a_shard(async {
        let worker =
            Worker::start(|mut asked: Asked| async move { asked.answer_with_head_of(64 * 1024).await });
        let way = way(&[worker.address()], |service| service.bounds.response_head_bytes = 16 * 1024);
        let refusal = way.send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerProtocol);
    });
}

#[test]
fn idle_connections_end_after_their_time_and_make_room_before() {
    on_a_shard(async {
        let answers = |mut asked: Asked| async move { asked.answer("").await };
        let (one, two) = (Worker::start(answers), Worker::start(answers));
        let way = way(&[one.address()], |service| service.bounds.worker_connections = 1);
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(way.counted().1, 1);
        way.route.sweep(way.clock.refresh().plus(pool::IDLE_TIME));
        until("closed", || way.counted().1 == 0 && one.closed() == 1).await;
        assert!(way.send(get("/")).await.is_ok());
        let wanted = [(two.address(), 0), (one.address(), 1)].map(|(address, priority)| Wanted {
            address: address.into(),
            priority,
            weight: 1,
        });
        way.workers.replace(wanted.into(), None, way.clock.now());
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(two.seen().len(), 1);
    });
}

#[test]
fn idle_connections_of_a_worker_that_left_end_in_their_time_while_one_is_in_use() {
    on_a_shard(async {
        let answers = |mut asked: Asked| async move {
            match asked.path() {
                "/held" => asked.stop_after("some").await,
                _ => asked.answer("").await,
            }
        };
        let (one, two) = (Worker::start(answers), Worker::start(answers));
        let way = way(&[one.address()], |service| service.bounds.worker_streams = 1);
        let held = way.send(get("/held")).await.unwrap();
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(one.connections(), 2);
        let wanted = Wanted { address: two.address().into(), priority: 0, weight: 1 };
        way.workers.replace(vec![wanted], None, way.clock.now());
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(two.connections(), 1);
        // By the route of a reload since, as a shard has it.
        let place = (ShardId(0), Rc::clone(&way.clock));
        let workers = Arc::clone(&way.workers);
        let after = Route::new(workers, way.route.bound(), &config::plain_service(), place, Some(&way.route));
        after.sweep(way.clock.refresh().plus(pool::IDLE_TIME));
        until("the idle ones closed", || (one.closed(), two.closed()) == (1, 1)).await;
        assert_eq!(one.cancelled(), 0, "the one in use goes on");
        drop(held);
        after.sweep(way.clock.refresh().plus(pool::IDLE_TIME));
        until("closed", || one.closed() == 2).await;
    });
}

#[test]
fn a_connection_that_went_dead_is_found_out_by_the_next_request_and_ends_all_on_it() {
    on_a_shard(async {
        // Empty SETTINGS, and not a byte after that.
        let frozen = Worker::raw(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let way = Rc::new(way(&[frozen.address()], |_| {}));
        let first = Rc::clone(&way);
        let asked = order(Method::POST, "/", Upload::none());
        let first = tokio::task::spawn_local(async move { first.send(asked).await.map(drop) });
        until("it is sent", || way.counted().0 == 1).await;
        let later = way.clock.refresh().plus(connection::QUIET_TIME);
        let mut outcome = way.scribe.begin(later, SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut second = order(Method::POST, "/", Upload::none());
        let begun = Moment::read();
        let second = way.route.send(&mut second, Reserved::default(), &CALL, &mut outcome).await;
        assert!(Moment::read().since(begun) < connection::PING_WAIT * 3);
        assert_eq!(second.unwrap_err().reason, Reason::WorkerReset);
        assert_eq!(first.await.unwrap().unwrap_err().reason, Reason::WorkerReset);
        assert_eq!((way.counted().1, way.active()), (0, 0));
    });
}
