//! Every wait for a client has an end: silence, dripping heads, stalled bodies, slow readers, idle connections.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::world::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, ask, frame};
use crate::world::{Buckler, End, PARKED, Raw, Step, World, eventually, get, linger, request};

const SHORT: &str = "timeouts: { head: 500ms, body: 500ms, send: 500ms, keep_alive: 500ms }";
const TICK: Duration = Duration::from_millis(25);

#[test]
fn a_silent_connection_is_ended() {
    let world = World::new();
    let buckler = world.one_service(SHORT);
    let begin = Instant::now();
    let (bytes, _) = buckler.connect().read_to_end();
    assert!(begin.elapsed() > Duration::from_millis(300), "too early: {:?}", begin.elapsed());
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    eventually("no open connection", || buckler.metrics().sum("buckler_connections", &[]) < 0.5);
}

#[test]
fn a_dripping_head_is_a_408_however_steadily_it_drips() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service(SHORT);
    let mut raw = buckler.connect();
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(100));
    raw.drip(head.as_bytes(), TICK);
    let answer = raw.read_response().is(408);
    assert_eq!(answer.reason(), "client_timeout");
    raw.read_to_end();
    assert_eq!(worker.count(), 0);
    assert!(buckler.refused("client_timeout") >= 1.0);
}

#[test]
fn the_next_head_on_a_connection_has_its_time_too() {
    let world = World::new();
    let buckler = world.one_service(SHORT);
    let mut raw = buckler.connect();
    raw.answer(&get("/")).is(200);
    raw.send("GET /half HTTP/1.1\r\nhost: ");
    assert_eq!(raw.read_response().is(408).reason(), "client_timeout");
    raw.read_to_end();
}

#[test]
fn a_connection_that_was_idle_for_a_while_goes_on_and_is_ended_in_its_time() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("timeouts: { keep_alive: 2500ms }");
    let mut raw = buckler.connect();
    raw.answer(&get("/1")).is(200);
    linger(PARKED);
    // In pieces, and the next one pipelined.
    raw.send("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-le").send("ngth: 2\r\n\r\nhi").send(get("/3").bytes());
    raw.read_response().is(200);
    raw.read_response().is(200);
    let begin = Instant::now();
    assert_eq!(raw.closed(), End::Closed);
    assert!(begin.elapsed() > Duration::from_millis(2200), "too early: {:?}", begin.elapsed());
    assert_eq!(worker.count(), 3);
}

#[test]
fn a_stalled_body_is_a_408() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service(SHORT);
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!(raw.read_response().is(408).reason(), "client_timeout");
    raw.read_to_end();
    assert!(worker.seen().iter().all(|seen| !seen.whole), "half a body passed as a whole one");
    let line = buckler.logged("the timeout", |line| line["reason"] == "client_timeout");
    assert_eq!(line["status"], 408);
}

#[test]
fn a_body_that_comes_slowly_but_comes_is_taken() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service(&format!("{SHORT}\nbounds: {{ upload_rate: none }}"));
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\n\r\n");
    raw.drip(&[b'b'; 30], TICK);
    raw.read_response().is(200);
    assert_eq!(worker.last().body.len(), 30);
}

#[test]
fn a_dripping_body_is_a_408_however_steadily_it_drips() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service(SHORT);
    for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut raw = buckler.connect();
        raw.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"));
        let begin = Instant::now();
        let piece: &[u8] = if framing.ends_with("chunked") { b"1\r\nb\r\n" } else { b"b" };
        // Enough for a chunk of a byte each 100 ms, which is 60 bytes a second.
        let mut twin = raw.twin();
        let (answered, is_answered) = mpsc::channel::<()>();
        let dripping = std::thread::spawn(move || {
            while is_answered.recv_timeout(4 * TICK) == Err(RecvTimeoutError::Timeout) {
                twin.send(piece);
            }
        });
        let answer = raw.read_response().is(408);
        assert!(begin.elapsed() > Duration::from_millis(400), "too early: {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(3), "too late: {:?}", begin.elapsed());
        assert_eq!(answer.reason(), "client_timeout");
        assert!(answer.text().contains("bounds.upload_rate"), "{}", answer.text());
        drop(answered);
        dripping.join().unwrap();
    }
    assert!(worker.seen().iter().all(|seen| !seen.whole), "half a body passed as a whole one");
}

#[test]
fn a_dripping_body_over_http2_is_a_408_too() {
    let world = World::new();
    let buckler = world.one_service(SHORT);
    let mut client = Http2::connect(buckler.port());
    client.send(frame(HEADERS, END_HEADERS, 1, &ask("POST", "/drip")));
    let mut drops = 0;
    eventually("the refusal", || {
        client.send(frame(DATA, 0, 1, b"b"));
        drops += 1;
        // The pace of a drip is what is refused.
        linger(2 * TICK);
        String::from_utf8_lossy(&client.body(1)).contains("bounds.upload_rate")
    });
    assert!(drops > 5, "{drops}");
    let line = buckler.logged("the timeout", |line| line["path"] == "/drip");
    assert_eq!((&line["reason"], &line["status"]), (&"client_timeout".into(), &408.into()));
    client.used(1);
    assert!(client.get("/next"), "the connection goes on");
}

#[test]
fn a_body_that_keeps_the_rate_may_last() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service(SHORT);
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4000\r\n\r\n");
    // Twice as long as `timeouts.body`: what is sent meanwhile, at this pace, is what makes it last.
    for _ in 0..40 {
        raw.send([b'b'; 100]);
        linger(TICK);
    }
    raw.read_response().is(200);
    let mut client = Http2::connect(buckler.port());
    client.send(frame(HEADERS, END_HEADERS, 1, &ask("POST", "/")));
    for n in 1..=40 {
        client.send(frame(DATA, if n == 40 { END_STREAM } else { 0 }, 1, &[b'b'; 100]));
        linger(TICK);
    }
    assert!(client.answered(1));
    assert_eq!(worker.last().body.len(), 4000);
}

#[test]
fn a_slow_worker_is_no_slow_client() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::Pause(Duration::from_millis(1500)), Step::TakeBody, Step::Echo]);
    // At this rate the bytes earn no time worth mentioning.
    let buckler = world.one_service(&format!("{SHORT}\nbounds: {{ upload_rate: 1GiB }}"));
    buckler.answer(request("POST", "/").body(vec![b'b'; 16 << 20])).is(200);
    assert_eq!(worker.last().body.len(), 16 << 20);
}

#[test]
fn once_the_answer_has_begun_a_body_may_drip() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        Step::TakeBody,
        Step::send("hi"),
    ]);
    let buckler = world.one_service(SHORT);
    let mut raw = buckler.connect();
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\n\r\n");
    raw.drip(&[b'b'; 40], 2 * TICK);
    assert_eq!(raw.read_response().is(200).text(), "hi");
    assert_eq!(worker.last().body.len(), 40);
}

#[test]
fn a_reader_that_takes_nothing_is_cut() {
    let world = World::new();
    let worker = world.worker("a");
    let size = 64 * 1024 * 1024_u64;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    worker.always(&[Step::send(&head), Step::Fill(size)]);
    let buckler = world.one_service(SHORT);
    let mut raw = Raw::connect_narrow(buckler.port());
    raw.send(get("/unread").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    buckler.logged("the cut", |line| line["path"] == "/unread");
    eventually("nothing in progress", || buckler.metrics().sum("buckler_active_requests", &[]) < 0.5);
    assert!(raw.read_response().cut.is_some());
    assert!(worker.filled() < size);
}

#[test]
fn a_slow_reader_that_reads_is_served() {
    let world = World::new();
    let worker = world.worker("a");
    let size = 200 * 1024_u64;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    worker.always(&[Step::send(&head), Step::Fill(size)]);
    let buckler = world.one_service(SHORT);
    let mut raw = Raw::connect_narrow(buckler.port());
    raw.send(get("/").bytes());
    let answer = raw.read_response().is(200);
    assert_eq!(answer.body.len() as u64, size);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let world = World::new();
    let buckler = world.one_service(SHORT);
    let mut raw = buckler.connect();
    raw.answer(&get("/")).is(200);
    let begin = Instant::now();
    raw.closed();
    assert!(begin.elapsed() > Duration::from_millis(300), "too early: {:?}", begin.elapsed());
}

#[test]
fn slow_clients_do_not_keep_others_waiting() {
    let world = World::new();
    let buckler = world.one_service("");
    let slow: Vec<_> = (0..200)
        .map(|n| {
            let mut raw = buckler.connect();
            let text = [
                "",
                "GET",
                "GET / HTTP/1.1\r\nhost: a\r\n",
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n",
            ];
            raw.send(text[n % 4]);
            raw
        })
        .collect();
    for _ in 0..50 {
        buckler.answer(get("/")).is(200);
    }
    drop(slow);
    eventually("the connections given back", || buckler.metrics().sum("buckler_connections", &[]) < 0.5);
}

#[test]
fn more_connections_than_bounded_are_told_so() {
    let world = World::new();
    let buckler = world.one_service("bounds: { connections: 4 }");
    let mut held: Vec<_> = (0..4).map(|_| buckler.connect()).collect();
    for raw in &mut held {
        raw.answer(&get("/")).is(200);
    }
    let mut raw = buckler.connect();
    raw.send(get("/").bytes());
    let answer = raw.read_response().is(503);
    assert_eq!(answer.reason(), "connections");
    raw.read_to_end();
    held.pop();
    eventually("room again", || {
        let mut raw = buckler.connect();
        raw.send(get("/").bytes());
        raw.read_response().status == 200
    });
}

#[test]
fn more_worker_connections_than_bounded_are_a_503() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let buckler = world.one_service("bounds: { worker_connections: 2 }");
    let mut busy: Vec<_> = (0..2).map(|_| buckler.connect()).collect();
    for raw in &mut busy {
        raw.send(get("/").bytes());
    }
    eventually("both at the worker", || worker.count() == 2);
    let answer = buckler.answer(request("GET", "/")).is(503);
    assert_eq!(answer.reason(), "overload");
    worker.open_gate();
    for raw in &mut busy {
        raw.read_response().is(200);
    }
}

/// The soft limit of open files of this Buckler; its hard limit stays.
fn limit_descriptors(buckler: &Buckler, most: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(Some(buckler.pid()), Resource::Nofile, Rlimit { current: most, maximum }).unwrap();
}

#[test]
fn a_machine_without_descriptors_is_a_503_and_no_fault_of_the_worker() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[
        Step::TakeBody,
        Step::send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    ]);
    let buckler = world.one_service("");
    let mut client = buckler.connect();
    client.answer(&get("/")).is(200);
    limit_descriptors(&buckler, Some(3));
    assert_eq!(client.answer(&get("/")).is(503).reason(), "overload");
    limit_descriptors(&buckler, Some(1024));
    client.answer(&get("/")).is(200);
    assert_eq!(buckler.metrics().sum("buckler_worker_connect_failures_total", &[]), 0.0);
}

#[test]
fn a_client_that_only_ends_its_own_side_has_its_answer() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(get("/half").bytes());
    raw.finish();
    eventually("the request at the worker", || worker.count() == 1);
    worker.open_gate();
    let begin = Instant::now();
    raw.read_response().is(200);
    assert_eq!(raw.closed(), End::Closed);
    assert!(begin.elapsed() < Duration::from_secs(1), "closed late: {:?}", begin.elapsed());
}

#[test]
fn all_requests_of_a_client_that_ends_its_side_behind_them_are_answered() {
    let world = World::new();
    let buckler = world.one_service("");
    for requests in 1..8 {
        let mut raw = buckler.connect();
        raw.send(get("/one-of-many").bytes().repeat(requests));
        raw.finish();
        for _ in 0..requests {
            raw.read_response().is(200);
        }
        assert_eq!(raw.closed(), End::Closed, "after {requests}");
    }
}

#[test]
fn a_client_that_ends_its_side_does_not_hold_a_worker_for_long() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("timeouts: { response: 60s }");
    let mut raw = buckler.connect();
    raw.send(get("/gone").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    raw.finish();
    let line = buckler.logged("the client left", |line| line["path"] == "/gone");
    assert_eq!(line["reason"], "client_closed");
    assert_eq!(line["worker"], worker.address());
}
