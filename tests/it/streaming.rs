//! Bodies: any size, both ways, as they come, without being gathered; and what a message without a body looks like.

use std::time::Duration;

use crate::world::{End, Raw, Step, World, eventually, get, request, steady};

const MIB: u64 = 1024 * 1024;

/// What two sockets on each side may hold at most; a body over it cannot all be "on the way".
const BUFFERS: u64 = 40 * MIB;

#[test]
fn a_big_body_arrives_whole_in_both_directions() {
    let world = World::new();
    let worker = world.worker("a");
    let size = 12 * MIB;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    worker.always(&[Step::TakeBody, Step::send(&head), Step::Fill(size)]);
    let buckler = world.one_service("");
    let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    let answer = buckler.answer(request("POST", "/").body(body.clone())).is(200);
    assert_eq!(answer.body.len() as u64, size);
    assert!(worker.last().body == body, "the body changed on its way");
}

#[test]
fn a_slow_reader_slows_the_worker() {
    let world = World::new();
    let worker = world.worker("a");
    let size = 64 * MIB;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    worker.always(&[Step::send(&head), Step::Fill(size)]);
    let buckler = world.one_service("");
    let mut raw = Raw::connect_narrow(buckler.port());
    raw.send(get("/").bytes()).read_head();
    eventually("the first bytes", || worker.filled() > 0);
    let taken = steady("the worker to be held up", Duration::from_millis(400), || worker.filled());
    assert!(taken < BUFFERS, "Buckler took {taken} bytes that nobody reads");
    drop(raw);
}

#[test]
fn a_slow_worker_slows_the_client() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::Gate, Step::TakeBody, Step::Echo]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    let size = 64 * MIB;
    raw.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n"));
    let sent = raw.send_until_blocked(size, Duration::from_millis(400));
    assert!(sent < BUFFERS, "Buckler took {sent} bytes that the worker does not read");
    worker.open_gate();
    let rest = raw.send_until_blocked(size - sent, Duration::from_secs(10));
    assert_eq!(sent + rest, size);
    let answer = raw.read_response().is(200);
    assert_eq!(answer.json()["body_bytes"], size);
}

#[test]
fn pieces_are_passed_on_as_they_come() {
    let world = World::new();
    let worker = world.worker("a");
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    worker.always(&[Step::TakeBody, Step::send(head), Step::Gate, Step::send("6\r\nsecond\r\n0\r\n\r\n")]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(get("/").bytes()).read_head();
    raw.read_until(b"first");
    worker.open_gate();
    raw.read_until(b"second");
}

/// A worker that sends `head`, and then each event only when it is told that the one before has arrived.
fn events(head: &str, event: impl Fn(u32) -> String, last: &str) -> Vec<Step> {
    let mut script = vec![Step::TakeBody, Step::send(head)];
    for number in 0..5 {
        script.extend([Step::Gate, Step::send(&event(number))]);
    }
    script.extend([Step::send(last), Step::Close]);
    script
}

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let to_the_close = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let old = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let plain = |number| format!("data: {number}\n\n");
    let chunk = |number| format!("9\r\ndata: {number}\n\n\r\n");
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for (script, version) in [
        (events(chunked, chunk, "0\r\n\r\n"), "1.1"),
        (events(to_the_close, plain, ""), "1.1"),
        (events(old, plain, ""), "1.1"),
        (events(chunked, chunk, "0\r\n\r\n"), "1.0"),
    ] {
        worker.once(&script);
        let mut raw = buckler.connect();
        raw.send(format!("GET /events HTTP/{version}\r\nhost: a\r\naccept: text/event-stream\r\n\r\n"));
        // The head comes before the first event (a page waits for it to know that it is connected).
        raw.read_until(b"\r\n\r\n");
        for number in 0..5 {
            worker.let_one_pass();
            raw.read_until(format!("data: {number}\n\n").as_bytes());
        }
    }
}

#[test]
fn a_long_poll_is_answered_when_the_worker_has_something_to_say() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for number in 0..3 {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
        worker.once(&[Step::TakeBody, Step::Gate, Step::send(&answer)]);
        raw.send(get("/poll").bytes());
        worker.let_one_pass();
        assert_eq!(raw.read_response().is(200).text(), number.to_string());
    }
}

#[test]
fn chunks_and_trailers_cross_both_ways() {
    let world = World::new();
    let worker = world.worker("a");
    worker.answers(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n",
    );
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\n",
    );
    raw.send("trailer: x-up\r\n\r\n4\r\nwxyz\r\n0\r\nx-up: 7\r\n\r\n");
    let answer = raw.read_response().is(200);
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "42".to_owned())]);
    let seen = worker.last();
    assert_eq!(seen.body, b"wxyz");
    assert_eq!(seen.trailers, [("x-up".to_owned(), "7".to_owned())]);
}

#[test]
fn answers_without_a_body_have_none() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    worker.once(&[Step::send("HTTP/1.1 204 No Content\r\n\r\n")]);
    raw.answer(&get("/")).is(204);
    worker.once(&[Step::send("HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 5\r\n\r\n")]);
    assert_eq!(raw.answer(&get("/")).is(304).field("etag"), Some("\"1\""));
    worker.once(&[Step::send("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")]);
    let answer = raw.answer(&request("HEAD", "/")).is(200);
    assert_eq!(answer.field("content-length"), Some("1234"));
    worker.once(&[Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]);
    assert_eq!(raw.answer(&get("/")).is(200).field("content-length"), Some("0"));
    raw.answer(&get("/still-in-step")).is(200);
    assert_eq!(worker.count(), 5);
}

#[test]
fn a_body_without_a_length_ends_with_the_workers_connection() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::send("HTTP/1.1 200 OK\r\n\r\nall of it"), Step::Close]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    assert_eq!(raw.answer(&get("/")).is(200).text(), "all of it");
}

#[test]
fn a_client_that_waits_for_100_gets_it_when_the_body_is_wanted() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(raw.read_response().status, 100);
    raw.send("hello");
    raw.read_response().is(200);
    assert_eq!(worker.last().body, b"hello");
    assert_eq!(worker.count(), 1);
}

#[test]
fn a_refusal_spares_the_upload_that_waits_for_100() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("permissions: { default: deny }");
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n");
    assert_eq!(raw.read_response().status, 403);
    assert_eq!(worker.count(), 0);
}

#[test]
fn a_refusal_during_an_upload_is_read_by_the_client() {
    let world = World::new();
    let buckler = world.one_service("permissions: { default: deny }");
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
    raw.send(vec![b'u'; 300_000]);
    raw.read_response().is(403);
    // The rest is drained or the connection is closed; it is never taken for the next request.
    raw.send(vec![b'u'; 700_000]).send(get("/next").bytes());
    let (rest, _) = raw.read_to_end_or_answer();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 403"), "{rest}");
}

#[test]
fn an_early_answer_passes_a_long_upload() {
    let world = World::new();
    let worker = world.worker("a");
    let early = "HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\nconnection: close\r\n\r\nstop";
    worker.always(&[Step::send(early), Step::Hang]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n").send(vec![b'u'; 1000]);
    let answer = raw.read_response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "stop"));
}

#[test]
fn the_connection_of_an_early_answer_is_not_used_again() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly"), Step::TakeBody]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send("POST /first HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n").send(vec![b'u'; 1000]);
    assert_eq!(raw.read_response().text(), "early");
    drop(raw);
    buckler.answer(get("/second")).is(200);
    let seen = worker.seen();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].connection, seen[1].connection, "half a body stood on that connection");
}

#[test]
fn a_client_that_leaves_ends_the_attempt() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(get("/left").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    raw.reset();
    let line = buckler.logged("the client left", |line| line["path"] == "/left");
    assert_eq!((line["reason"].as_str(), line["status"].as_u64()), (Some("client_closed"), Some(499)));
    assert_eq!(line["worker"], worker.address(), "who was waited for is told");
    buckler.answer(get("/")).is(200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    let all: Vec<u8> = (0..10).flat_map(|n| get(&format!("/{n}")).bytes()).collect();
    raw.send(all);
    for n in 0..10 {
        assert_eq!(raw.read_response().is(200).json()["target"], format!("/{n}"));
    }
    assert_eq!(worker.count(), 10);
    raw.finish();
    assert_eq!(raw.closed(), End::Closed);
}

#[test]
fn a_fault_behind_many_pipelined_requests_takes_no_answer_from_them() {
    let world = World::new();
    let buckler = world.one_service("permissions: { default: deny }");
    let mut raw = buckler.connect();
    let mut all: Vec<u8> = (0..60).flat_map(|n| get(&format!("/{n}")).bytes()).collect();
    all.extend_from_slice(b"GET /bad HTTP/1.1\r\nhost : a\r\n\r\n");
    raw.send(all);
    for n in 0..60 {
        let answer = raw.read_response();
        assert_eq!(answer.status, 403, "answer {n}");
    }
    raw.read_response().is(400);
}
