//! Workers are not trusted either: what they do wrong becomes a clear answer, an unclean end, or another worker's work.

use std::time::Duration;

use crate::world::{Buckler, Response, Step, World, eventually, get, request, service};

fn two_workers(world: &World) -> Buckler {
    world.buckler(&service(&["a", "b"], "timeouts: { connect: 1s, response: 10s }"))
}

#[track_caller]
fn is_refused(answer: Response, status: u16, reason: &str) {
    let answer = answer.is(status);
    assert_eq!(answer.reason(), reason, "{}", answer.text());
}

/// A service that fails all the time is asked all the same, for tests that want to see each failure.
const ASKED_ON: &str = "health: { passive: false }";

#[test]
fn a_worker_that_refuses_connections_is_passed_over() {
    let world = World::new();
    world.worker("a").refuses();
    let buckler = two_workers(&world);
    for n in 0..20 {
        let method = if n % 2 == 0 { "GET" } else { "POST" };
        let answer = buckler.answer(request(method, "/").body("x")).is(200);
        assert_eq!(answer.worker(), Some("b"));
    }
    assert_eq!(world.worker("b").count(), 20);
}

#[test]
fn a_worker_that_comes_back_is_used_again() {
    let world = World::new();
    let a = world.worker("a");
    a.refuses();
    let buckler = two_workers(&world);
    for _ in 0..4 {
        buckler.answer(get("/")).is(200);
    }
    let told =
        format!("a worker takes no connection; it is left alone and tried again worker=\"{}\"", a.address());
    eventually("the operator's log", || buckler.stderr().contains(&told));
    a.accepts();
    eventually("the worker in use again", || buckler.answer(get("/")).is(200).worker() == Some("a"));
    eventually("the operator's log", || buckler.stderr().contains("a worker takes connections again"));
}

#[test]
fn no_worker_that_takes_a_connection_is_a_502() {
    let world = World::new();
    world.worker("a").refuses();
    let buckler = world.one_service("");
    is_refused(buckler.answer(get("/")), 502, "worker_connect");
    assert!(buckler.refused("worker_connect") >= 1.0);
    let line = buckler.logged("the refusal", |line| line["reason"] == "worker_connect");
    assert_eq!(line["status"], 502);
}

#[test]
fn a_worker_that_does_not_answer_is_a_504() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("timeouts: { response: 300ms }");
    is_refused(buckler.answer(get("/")), 504, "worker_timeout");
    is_refused(buckler.answer(request("POST", "/").body("x")), 504, "worker_timeout");
    assert_eq!(worker.count(), 2, "what may have been done is not asked for again");
}

#[test]
fn a_worker_that_stops_inside_its_head_is_a_504() {
    let world = World::new();
    world.worker("a").always(&[Step::TakeBody, Step::send("HTTP/1.1 200 OK\r\nx: "), Step::Hang]);
    let buckler = world.one_service("timeouts: { response: 300ms }");
    is_refused(buckler.answer(get("/")), 504, "worker_timeout");
}

#[test]
fn the_whole_request_has_one_deadline_if_asked_for() {
    let world = World::new();
    world.worker("a").always(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("timeouts: { total: 300ms, response: 30s }");
    is_refused(buckler.answer(get("/")), 504, "worker_timeout");
}

#[test]
fn a_worker_that_resets_before_its_answer_is_a_502_and_is_not_asked_twice() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for (n, end) in [Step::Reset, Step::Close].into_iter().enumerate() {
        worker.always(&[Step::TakeBody, end]);
        is_refused(buckler.answer(request("POST", "/").body("x")), 502, "worker_reset");
        assert_eq!(worker.count(), n + 1, "a POST was sent twice");
    }
}

#[test]
fn a_post_on_a_used_connection_is_not_repeated_and_a_get_is() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.answer(&get("/warm")).is(200);
    worker.once(&[Step::TakeBody, Step::Reset]);
    raw.answer(&get("/again")).is(200);
    assert_eq!(worker.seen().iter().filter(|seen| seen.target == "/again").count(), 2);
    worker.once(&[Step::TakeBody, Step::Reset]);
    is_refused(raw.answer(&request("POST", "/once").body("x")), 502, "worker_reset");
    assert_eq!(worker.seen().iter().filter(|seen| seen.target == "/once").count(), 1);
}

#[test]
fn a_connection_that_the_worker_closed_is_noticed_before_use() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::Echo, Step::Close]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for _ in 0..20 {
        raw.answer(&request("POST", "/").body("x")).is(200);
        // The worker closes after it has answered: what is on its way when the next one is sent, nobody can know.
        eventually("its end", || worker.open() == 0);
    }
    assert_eq!(worker.count(), 20);
}

#[test]
fn worker_connections_are_used_again() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for _ in 0..20 {
        raw.answer(&get("/")).is(200);
    }
    assert_eq!(worker.connections(), 1);
}

#[test]
fn a_connection_that_carried_an_upload_is_used_again() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for _ in 0..5 {
        raw.answer(&request("POST", "/length").body("of known length")).is(200);
        raw.send(
            "POST /chunks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        );
        raw.read_response().is(200);
        raw.send("POST /trailers HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        raw.send("5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
        raw.read_response().is(200);
    }
    assert_eq!((worker.count(), worker.connections()), (15, 1));
}

/// Somebody who takes connections and ends each at once, as a port forwarder with nobody behind it does.
fn turnstile() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    address
}

fn beside(address: std::net::SocketAddr, more: &str) -> String {
    let other = format!("        - {{ address: \"{address}\", priority: 1 }}\n");
    service(&["a, priority: 2"], more).replace("      addresses:\n", &format!("      addresses:\n{other}"))
}

#[test]
fn a_worker_that_ends_each_connection_at_once_is_passed_over_or_a_502() {
    let world = World::new();
    let buckler = world.buckler(&beside(turnstile(), ASKED_ON));
    for n in 0..20 {
        let answer = buckler.answer(get("/")).status;
        assert!(matches!(answer, 200 | 502), "{n}: {answer}");
    }
    world.worker("a").refuses();
    for _ in 0..20 {
        buckler.answer(get("/")).is(502);
    }
}

#[test]
fn a_worker_is_not_blamed_for_time_that_another_used_up() {
    let world = World::new();
    // A full backlog: further connections hang.
    let hole = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    hole.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let _full = std::net::TcpStream::connect(address).unwrap();
    let buckler = world.buckler(&beside(address, "timeouts: { total: 500ms, connect: 5s }"));
    is_refused(buckler.answer(get("/")), 504, "worker_timeout");
    buckler.answer(get("/")).is(200);
    assert_eq!(world.worker("a").connections(), 1, "it was asked when no time was left");
}

#[test]
fn the_deadline_of_the_whole_request_ends_an_answer_that_never_pauses() {
    let world = World::new();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 536870912\r\n\r\n";
    world.worker("a").always(&[Step::TakeBody, Step::send(head), Step::Fill(512 << 20)]);
    let buckler = world.one_service("timeouts: { total: 500ms }");
    let mut raw = buckler.connect();
    raw.send(get("/long").bytes());
    // So slow that the worker always has more to give, and so steady that `timeouts.send` never rings.
    assert!(raw.sip(Duration::from_millis(5), 1000).is_some(), "the answer went on");
    buckler.logged("the cut", |line| line["path"] == "/long" && line["reason"] == "client_timeout");
}

#[test]
fn an_answer_that_is_not_http_is_a_502() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service(&format!("{ASKED_ON}\ntimeouts: {{ response: 2s }}"));
    for bad in [
        "garbage\r\n\r\n",
        "\r\n\r\n\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: 1\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
    ] {
        worker.always(&[Step::TakeBody, Step::send(bad), Step::Close]);
        let answer = buckler.answer(get("/")).is(502);
        let reason = answer.reason();
        assert!(reason == "worker_protocol" || reason == "worker_reset", "{reason} for {bad:?}");
    }
    assert!(buckler.refused("worker_protocol") >= 8.0, "{}", buckler.metrics().text);
}

#[test]
fn an_answer_whose_framing_can_be_read_in_two_ways_is_a_502() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for framing in [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: identity\r\ncontent-length: 5",
        "content-length: 15, 15",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}");
        worker.always(&[Step::TakeBody, Step::send(&head), Step::Close]);
        is_refused(buckler.answer(get("/")), 502, "worker_protocol");
    }
}

#[test]
fn a_worker_that_never_stops_with_interim_answers_is_a_504() {
    let world = World::new();
    let worker = world.worker("a");
    let flood = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n".repeat(1000);
    let mut script = vec![Step::TakeBody];
    // About 90 MB, which takes far longer than the time that there is; then an answer after all.
    script.extend(std::iter::repeat_n(Step::send(&flood), 2_000));
    script.push(Step::Echo);
    worker.once(&script);
    let buckler = world.one_service("timeouts: { response: 100ms }");
    let mut raw = buckler.connect();
    raw.send(get("/").bytes());
    let mut interim = 0;
    let answer = loop {
        match raw.read_response() {
            hint if hint.status == 103 => interim += 1,
            answer => break answer,
        }
    };
    assert_eq!(interim, 16, "so many of them pass, and the rest is dropped");
    is_refused(answer, 504, "worker_timeout");
}

#[test]
fn a_head_over_its_bound_is_a_502() {
    let world = World::new();
    let worker = world.worker("a");
    let big = "b".repeat(10 * 1024);
    worker.always(&[
        Step::TakeBody,
        Step::send(&format!("HTTP/1.1 200 OK\r\nx: {big}\r\ncontent-length: 0\r\n\r\n")),
        Step::Close,
    ]);
    let buckler = world.one_service("bounds: { response_head_bytes: 8KiB }");
    is_refused(buckler.answer(get("/")), 502, "worker_protocol");
}

#[test]
fn a_body_that_is_broken_where_it_begins_is_a_502() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for chunk in ["0x5\r\nhello\r\n0\r\n\r\n", "g\r\n", "-1\r\nhello"] {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        worker.always(&[Step::TakeBody, Step::send(&format!("{head}{chunk}")), Step::Close]);
        is_refused(buckler.answer(get("/")), 502, "worker_reset");
    }
}

#[test]
fn a_body_cut_off_by_the_worker_is_cut_off_for_the_client() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("timeouts: { idle: 500ms }");
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this";
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n";
    let bad_chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\nxyz\r\n\r\n";
    for head in [length, chunks, bad_chunk] {
        for end in [Step::Close, Step::Reset, Step::Hang] {
            worker.always(&[Step::TakeBody, Step::send(head), end.clone()]);
            let mut raw = buckler.connect();
            raw.send(get("/cut").bytes());
            // A reset may take the head with it: then there is no answer at all, or a 502.
            let Some(answer) = raw.response_or_end() else { continue };
            if answer.status != 502 {
                assert!(answer.cut.is_some(), "whole after {end:?} behind {head:?}:\n{answer:?}");
            }
        }
    }
    buckler.logged("the cut", |line| line["path"] == "/cut" && line["reason"] == "worker_reset");
}

#[test]
fn surplus_bytes_never_reach_another_client() {
    let world = World::new();
    let worker = world.worker("a");
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    worker.once(&[
        Step::TakeBody,
        Step::send(&format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi{poison}")),
    ]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    assert_eq!(raw.answer(&get("/")).is(200).text(), "hi");
    for n in 0..10 {
        let answer = raw.answer(&get(&format!("/{n}"))).is(200);
        assert_eq!(answer.json()["target"], format!("/{n}"));
    }
}

#[test]
fn an_answer_to_nothing_is_thrown_away() {
    let world = World::new();
    let worker = world.worker("a");
    let poison = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
    worker.once(&[Step::TakeBody, Step::Echo, Step::Gate, poison, Step::Fill(1)]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.answer(&get("/")).is(200);
    worker.open_gate();
    eventually("the poison on its way", || worker.filled() == 1);
    for n in 0..10 {
        let answer = raw.answer(&get(&format!("/{n}"))).is(200);
        assert_eq!(answer.json()["target"], format!("/{n}"));
    }
}

#[test]
fn interim_answers_do_not_take_the_place_of_the_answer() {
    let world = World::new();
    let worker = world.worker("a");
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    worker.answers(&format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"));
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for _ in 0..3 {
        raw.send(get("/").bytes());
        let answer =
            std::iter::repeat_with(|| raw.read_response()).find(|answer| answer.status >= 200).unwrap();
        assert_eq!(answer.is(200).text(), "hi");
    }
}

#[test]
fn the_errors_of_a_worker_pass_unchanged() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for status in [400, 404, 418, 429, 500, 503, 599] {
        worker.answers(&format!("HTTP/1.1 {status} Mine\r\ncontent-length: 4\r\n\r\nmine"));
        assert_eq!(buckler.answer(get("/")).is(status).text(), "mine");
        let line = buckler.logged("the error", |line| line["status"] == status);
        assert!(line["reason"].is_null(), "{line}");
    }
}
