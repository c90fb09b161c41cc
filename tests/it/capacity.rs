//! `capacity` from outside: who gets no place, who waits for one, until when a place is held, and that a refusal for
//! want of room takes nothing from anybody. Also what is told instead (`fallback`) and how much time is left.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::python::{self, Server};
use crate::world::http2::{END_HEADERS, END_STREAM, HEADERS, Http2, RST_STREAM, ask, frame, stream};
use crate::world::{Buckler, Raw, Response, Step, World, eventually, get, one_service, request};

/// One place, and nobody waits for it.
const ONE: &str = "capacity: { concurrent: 1 }";
/// One place, and whoever comes waits for it longer than the test takes.
const ONE_IN_TURN: &str = "capacity: { concurrent: 1, wait: 60s }";

const FALLBACK: &str = "fallback: { status: 200, headers: { content-type: application/json }, body: \"[]\" }";

/// Requests in progress.
fn in_progress(buckler: &Buckler) -> f64 {
    buckler.metrics().sum("buckler_active_requests", &[])
}

#[track_caller]
pub(crate) fn eventually_in_progress(buckler: &Buckler, count: f64) {
    eventually(&format!("{count} in progress"), || in_progress(buckler) == count);
}

#[track_caller]
pub(crate) fn is_overload(answer: Response) -> Response {
    let answer = answer.is(503);
    assert_eq!(answer.reason(), "overload", "{}", answer.head);
    assert_eq!(answer.field("retry-after"), Some("1"), "{}", answer.head);
    answer
}

#[test]
fn without_a_place_it_is_overload_at_once() {
    let world = World::new();
    let buckler = world.one_service(ONE);
    let mut first = world.held(&buckler, "/held");
    let answer = is_overload(buckler.answer(get("/")));
    assert!(answer.field("proxy-status").unwrap().contains("reason=overload"), "{}", answer.head);
    assert_eq!(world.worker("a").count(), 1, "what has no place is not sent");
    world.worker("a").open_gate();
    first.read_response().is(200);
    eventually_in_progress(&buckler, 0.0);
    buckler.answer(get("/")).is(200);
}

#[test]
fn a_request_waits_for_the_next_place() {
    let world = World::new();
    let buckler = world.one_service(ONE_IN_TURN);
    let mut first = world.held(&buckler, "/held");
    let mut second = buckler.connect();
    second.send(get("/second").bytes());
    eventually_in_progress(&buckler, 2.0);
    assert_eq!(world.worker("a").count(), 1);
    world.worker("a").open_gate();
    first.read_response().is(200);
    assert_eq!(second.read_response().is(200).json()["target"], "/second");
    assert_eq!(buckler.refused("overload"), 0.0);
}

#[test]
fn the_wait_for_a_place_has_an_end() {
    let world = World::new();
    let buckler = world.one_service("capacity: { concurrent: 1, wait: 50ms }");
    let _first = world.held(&buckler, "/held");
    let answer = is_overload(buckler.answer(get("/")));
    assert!(answer.text().contains("capacity.wait"), "{}", answer.text());
}

#[test]
fn who_leaves_the_line_is_not_sent() {
    let world = World::new();
    let buckler = world.one_service(ONE_IN_TURN);
    let mut first = world.held(&buckler, "/held");
    let mut second = buckler.connect();
    second.send(get("/second").bytes());
    eventually_in_progress(&buckler, 2.0);
    second.reset();
    eventually_in_progress(&buckler, 1.0);
    world.worker("a").open_gate();
    first.read_response().is(200);
    buckler.answer(get("/third")).is(200);
    let targets: Vec<_> = world.worker("a").seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/held", "/third"]);
}

#[test]
fn a_place_is_held_until_the_last_byte_or_the_abort() {
    let world = World::new();
    let worker = world.worker("a");
    let begun = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf");
    worker.once(&[Step::TakeBody, begun, Step::Gate, Step::send("half")]);
    let buckler = world.one_service(ONE);
    let mut slow_worker = buckler.connect();
    slow_worker.send(get("/").bytes()).read_head().is(200);
    is_overload(buckler.answer(get("/")));
    worker.open_gate();
    slow_worker.read_until(b"halfhalf");
    eventually_in_progress(&buckler, 0.0);
    // More than all buffers on the way hold.
    let size = 256 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    worker.once(&[Step::TakeBody, Step::send(&head), Step::Fill(size)]);
    let mut slow_reader = Raw::connect_narrow(buckler.port());
    slow_reader.send(get("/").bytes()).read_head().is(200);
    is_overload(buckler.answer(get("/")));
    slow_reader.reset();
    eventually_in_progress(&buckler, 0.0);
    buckler.answer(get("/")).is(200);
}

#[test]
fn a_refusal_for_want_of_room_takes_nothing_from_the_total() {
    let world = World::new();
    let buckler = world.one_service(&format!("{ONE}\nlimits: {{ total: {{ rate: 1/h, burst: 10 }} }}"));
    let mut first = world.held(&buckler, "/held");
    for _ in 0..20 {
        is_overload(buckler.answer(get("/")));
    }
    world.worker("a").open_gate();
    first.read_response().is(200);
    for _ in 0..9 {
        eventually_in_progress(&buckler, 0.0);
        buckler.answer(get("/")).is(200);
    }
    eventually_in_progress(&buckler, 0.0);
    assert_eq!(buckler.answer(get("/")).is(503).reason(), "service_limit");
}

#[test]
fn who_would_be_refused_by_its_limit_does_not_wait() {
    let world = World::new();
    let buckler = world.one_service(&format!("{ONE_IN_TURN}\nlimits: {{ default: {{ concurrent: 1 }} }}"));
    let _first = world.held(&buckler, "/held");
    assert_eq!(buckler.answer(get("/")).is(429).reason(), "caller_concurrency");
}

#[test]
fn streams_of_http2_take_a_place_each() {
    let world = World::new();
    let buckler = world.one_service(ONE);
    let mut first = world.held(&buckler, "/held");
    let mut client = Http2::connect(buckler.port());
    assert!(!client.get("/"), "there is no place");
    assert_eq!(buckler.refused("overload"), 1.0);
    world.worker("a").open_gate();
    first.read_response().is(200);
    eventually_in_progress(&buckler, 0.0);
    assert!(client.get("/"));
}

#[test]
fn a_stream_that_is_reset_gives_its_place_back() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service(ONE);
    let mut client = Http2::connect(buckler.port());
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream(0), &ask("GET", "/")));
    client.used(1);
    eventually("the request at the worker", || worker.count() == 1);
    is_overload(buckler.answer(get("/")));
    client.send(frame(RST_STREAM, 0, stream(0), &8_u32.to_be_bytes()));
    eventually_in_progress(&buckler, 0.0);
    assert!(client.get("/"));
}

#[test]
fn grpc_is_told_unavailable_and_never_a_fallback() {
    let (world, server) = (World::new(), Server::start("grpc_echo.py", &[]));
    let buckler = world.buckler(&format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ addresses: [\"{}\"], protocol: http2 }}\n    {ONE}\n    {FALLBACK}\n",
        server.address()
    ));
    // A call that has sent nothing yet holds the place.
    let head = "POST /test.Echo/Chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
                content-length: 10\r\n\r\n";
    let mut first = buckler.connect();
    first.send(head);
    eventually_in_progress(&buckler, 1.0);
    let address = format!("127.0.0.1:{}", buckler.port());
    let ends: Vec<serde_json::Value> =
        serde_json::from_value(python::run("grpc_call.py", &[&address])).unwrap();
    assert_eq!(ends[0]["code"], "UNAVAILABLE", "{ends:?}");
    assert!(buckler.refused("overload") >= 1.0);
}

#[test]
fn connections_of_tcp_take_a_place_each() {
    let world = World::new();
    world.worker("a").always(&[Step::send("welcome\n"), Step::Mirror]);
    let buckler = world.one_service(&format!("protocol: tcp\n{ONE}"));
    let mut first = buckler.connect();
    first.send("HELLO\r\n\r\n").read_until(b"welcome\n");
    assert!(buckler.connect().read_to_end().0.is_empty());
    assert_eq!(buckler.refused("overload"), 1.0);
    drop(first);
    eventually_in_progress(&buckler, 0.0);
    buckler.connect().send("HELLO\r\n\r\n").read_until(b"welcome\n");
}

#[test]
fn a_reload_changes_the_number_under_load_and_loses_no_place() {
    let world = World::new();
    let numbers = ["concurrent: 3", "concurrent: 1", "concurrent: 8", ""];
    let config = |number: &str| match number {
        "" => one_service(""),
        number => one_service(&format!("capacity: {{ {number}, wait: 60s }}")),
    };
    let buckler = world.buckler(&config(numbers[0]));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut raw = buckler.connect();
                while !stop.load(Ordering::Relaxed) {
                    let answer = raw.answer(&get("/"));
                    if answer.status != 200 {
                        stop.store(true, Ordering::Relaxed);
                        answer.is(200);
                    }
                }
            });
        }
        for round in 1..20 {
            world.reload(&buckler, &config(numbers[round % numbers.len()]));
        }
        stop.store(true, Ordering::Relaxed);
    });
    eventually_in_progress(&buckler, 0.0);
    world.reload(&buckler, &one_service(ONE));
    let _only = world.held(&buckler, "/held");
    is_overload(buckler.answer(get("/")));
}

#[test]
fn a_lower_number_turns_nobody_out_and_a_higher_one_lets_in_at_once() {
    let world = World::new();
    let places = |number: u32| one_service(&format!("capacity: {{ concurrent: {number}, wait: 60s }}"));
    let buckler = world.buckler(&places(2));
    let (mut first, mut second) = (world.held(&buckler, "/held"), world.held(&buckler, "/held"));
    world.reload(&buckler, &places(1));
    let mut third = buckler.connect();
    third.send(get("/third").bytes());
    eventually_in_progress(&buckler, 3.0);
    assert_eq!(world.worker("a").count(), 2);
    world.reload(&buckler, &places(3));
    third.read_response().is(200);
    world.worker("a").open_gate();
    first.read_response().is(200);
    second.read_response().is(200);
}

#[test]
fn the_operators_answer_stands_in_for_what_the_service_could_not_do() {
    let world = World::new();
    world.worker("a").refuses();
    let buckler = world.one_service(FALLBACK);
    let mut raw = buckler.connect();
    let answer = raw.answer(&get("/list")).is(200);
    assert_eq!((answer.text().as_str(), answer.field("content-length")), ("[]", Some("2")));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let status = answer.field("proxy-status").unwrap();
    assert!(status.contains("error=connection_refused") && status.contains(" fallback\""), "{status}");
    let id = answer.field("x-request-id").unwrap().to_owned();
    let head = raw.answer(&request("HEAD", "/list")).is(200);
    assert_eq!((head.body.len(), head.field("content-length")), (0, Some("2")));
    raw.answer(&get("/again")).is(200);
    let line = buckler.logged("the answer", |line| line["request_id"] == id);
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"worker_connect".into()), "{line}");
    let labels = [("code", "200"), ("reason", "worker_connect")];
    assert_eq!(buckler.metrics().sum("buckler_requests_total", &labels), 3.0);
}

#[test]
fn what_is_the_callers_doing_or_the_workers_own_word_has_no_fallback() {
    let world = World::new();
    let rules = "permissions: { rules: [ { deny: { paths: [\"/no\"] } } ] }";
    let buckler = world.one_service(&format!("{FALLBACK}\n{rules}"));
    buckler.answer(get("/no")).is(403);
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::send("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")]);
    assert_eq!(buckler.answer(get("/")).is(503).text(), "busy");
    let begun = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf");
    worker.once(&[Step::TakeBody, begun, Step::Gate, Step::Close]);
    let mut raw = buckler.connect();
    raw.send(get("/").bytes()).read_head().is(200);
    worker.open_gate();
    let (rest, _) = raw.read_to_end();
    assert!(b"half".starts_with(&rest), "what has begun is not begun again: {rest:?}");
}

#[test]
fn a_fallback_stands_in_for_every_502_503_and_504() {
    let world = World::new();
    let worker = world.worker("a");
    let more = "limits: { total: { rate: 1/h, burst: 2 } }\ntimeouts: { response: 200ms }";
    let buckler = world.one_service(&format!("fallback: {{ status: 204 }}\n{more}"));
    let mut raw = buckler.connect();
    let mut told = |script: Option<&[Step]>| {
        if let Some(script) = script {
            worker.once(script);
        }
        let answer = raw.answer(&request("POST", "/").body("x")).is(204);
        assert_eq!(answer.field("content-length"), None, "{}", answer.head);
        answer.field("proxy-status").unwrap().to_owned()
    };
    let garbage = told(Some(&[Step::TakeBody, Step::send("good morning\r\n\r\n"), Step::Close]));
    assert!(garbage.contains("reason=worker_protocol"), "{garbage}");
    let late = told(Some(&[Step::TakeBody, Step::Hang]));
    assert!(late.contains("reason=worker_timeout"), "{late}");
    let full = told(None);
    assert!(full.contains("reason=service_limit"), "{full}");
}

#[test]
fn the_worker_is_told_how_much_time_is_left_and_not_by_the_client() {
    let world = World::new();
    let buckler = world.one_service("timeouts: { total: 20s, deadline_header: x-timeout-ms }");
    let asked = get("/").header("x-timeout-ms", "999999").header("X-Timeout-Ms", "5");
    buckler.answer(asked).is(200);
    let told: u64 = world.worker("a").last().field("x-timeout-ms").unwrap().parse().unwrap();
    assert!((1..=20_000).contains(&told), "{told}");
}

#[test]
fn while_all_requests_fail_many_are_refused_and_all_pass_once_the_worker_is_well() {
    let world = World::new();
    let worker = world.worker("a");
    worker.answers("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    let mut refused = |of: usize| {
        let is_ours = |answer: &Response| answer.status == 503 && answer.field("proxy-status").is_some();
        (0..of).filter(|_| is_ours(&raw.answer(&get("/")))).count()
    };
    // How many depends on how fast this machine asks: the fewer a second, the more may go on.
    eventually("many are refused", || refused(100) > 30);
    assert!(buckler.refused("workers_failing") > 30.0);
    worker.always(&[Step::TakeBody, Step::Echo]);
    eventually("all pass again", || refused(100) == 0);
}
