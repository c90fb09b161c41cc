//! Connections that have lived long enough: the client is asked to close and does so first, nothing is cut, and what is
//! no request after request is left alone.

use std::time::{Duration, Instant};

use crate::world::http2::{
    ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, RST_STREAM, ask, frame, stream,
};
use crate::world::{Buckler, End, Raw, SWITCH, Step, World, eventually, get, one_service};

const TIME_WAIT: &str = "06";

/// The states of this end of a TCP connection as the kernel shows them; none once it is gone.
fn states(own: u16, other: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(words.next()?.rsplit_once(':')?.1, 16).ok();
        (port(), port()) == (Some(own), Some(other))
    };
    let state = |line: &str| line.split_whitespace().nth(3).unwrap_or_default().to_owned();
    table.lines().filter(ends).map(state).collect()
}

/// The client closed first, so that it is the one who keeps the connection in TIME_WAIT.
#[track_caller]
fn time_wait_is_with_the_client(client: u16, server: u16) {
    eventually("TIME_WAIT at the client", || states(client, server) == [TIME_WAIT]);
    assert!(states(server, client).is_empty(), "the server keeps {:?}", states(server, client));
}

/// Waits until a connection that begins now has been asked to leave for its age: whatever began before is older.
fn an_age_passes(buckler: &Buckler) {
    assert_eq!(Http2::connect(buckler.port()).goaway(), 0);
}

fn closing(raw: &mut Raw) -> bool {
    raw.answer(&get("/")).is(200).field("connection") == Some("close")
}

#[test]
fn after_so_many_requests_the_client_closes_and_keeps_the_time_wait() {
    let world = World::new();
    let buckler = world.one_service("connections: { max_requests: 3 }");
    let mut raw = buckler.connect();
    let (client, server) = (raw.own_port(), buckler.port());
    assert_eq!([closing(&mut raw), closing(&mut raw), closing(&mut raw)], [false, false, true]);
    assert_eq!(states(server, client), ["01"], "the connection stays open for the client to close");
    drop(raw);
    time_wait_is_with_the_client(client, server);
}

#[test]
fn a_client_that_was_asked_and_does_not_close_is_closed() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("connections: { max_requests: 1 }");
    let mut raw = buckler.connect();
    assert!(closing(&mut raw));
    let begin = Instant::now();
    // What it asks after that is not answered, and does not reach a worker (RFC 9112 section 9.6).
    raw.send(get("/too-late").bytes());
    let (rest, end) = raw.read_to_end();
    assert_eq!((rest.as_slice(), end), (&b""[..], End::Closed));
    assert!(begin.elapsed() > Duration::from_secs(1), "too early: {:?}", begin.elapsed());
    assert_eq!(worker.count(), 1);
}

#[test]
fn an_old_connection_is_asked_with_its_next_answer_and_not_cut_before() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("connections: { max_age: 1s, jitter: 0% }");
    let mut raw = buckler.connect();
    let (client, server) = (raw.own_port(), buckler.port());
    assert!(!closing(&mut raw));
    an_age_passes(&buckler);
    assert_eq!(states(server, client), ["01"], "an idle connection is not cut");
    assert!(closing(&mut raw));
    drop(raw);
    time_wait_is_with_the_client(client, server);
    // An answer that is under way when the time comes is told to its end.
    worker.once(&[
        Step::TakeBody,
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhi"),
        Step::Gate,
        Step::send("ho"),
    ]);
    let mut raw = buckler.connect();
    raw.send(get("/under-way").bytes());
    eventually("the request at the worker", || worker.last().target == "/under-way");
    an_age_passes(&buckler);
    worker.open_gate();
    assert_eq!(raw.read_response().is(200).text(), "hiho");
    assert!(closing(&mut raw));
}

#[test]
fn over_http2_streams_in_progress_finish_and_the_client_closes() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let buckler = world.one_service("connections: { max_requests: 2 }");
    let mut client = Http2::connect(buckler.port());
    let ports = (client.own_port(), buckler.port());
    let request = |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &ask("GET", "/"));
    client.send(request(stream(0)));
    client.send(request(stream(1)));
    eventually("a GOAWAY", || client.count(GOAWAY) == 1);
    // The first one lets in what is on its way (RFC 9113 section 6.8).
    assert_eq!(client.payloads(GOAWAY, 0)[0][..4], [0x7f, 0xff, 0xff, 0xff]);
    client.send_still(request(stream(2)));
    eventually("all three at the worker", || worker.count() == 3);
    eventually("a PING", || client.count(PING) > 0);
    for ping in client.payloads(PING, 0) {
        client.send_still(frame(PING, ACK, 0, &ping));
    }
    eventually("the last GOAWAY", || client.count(GOAWAY) == 2);
    assert_eq!(client.payloads(GOAWAY, 0)[1], [0, 0, 0, 5, 0, 0, 0, 0], "the last stream, and no error");
    // What comes after that is for another connection: it is not served here, so it may be asked again.
    client.send_still(request(stream(3)));
    worker.open_gate();
    for index in 0..3 {
        assert!(client.answered(stream(index)), "stream {index}");
    }
    assert_eq!(worker.count(), 3);
    assert!(client.payloads(HEADERS, stream(3)).is_empty());
    drop(client);
    time_wait_is_with_the_client(ports.0, ports.1);
}

#[test]
fn an_old_connection_of_http2_is_asked_to_leave_although_nothing_happens() {
    let world = World::new();
    let buckler = world.one_service("connections: { max_age: 1s, jitter: 0% }");
    let mut client = Http2::connect(buckler.port());
    let begin = Instant::now();
    assert!(client.get("/"));
    assert_eq!(client.count(GOAWAY), 0);
    assert_eq!(client.goaway(), 0);
    assert!(begin.elapsed() > Duration::from_millis(700), "too early: {:?}", begin.elapsed());
}

#[test]
fn a_request_that_its_client_took_back_keeps_no_connection_open() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("timeouts: { keep_alive: 300ms }");
    let mut client = Http2::connect(buckler.port());
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream(0), &ask("GET", "/")));
    eventually("the request at the worker", || worker.count() == 1);
    client.send(frame(RST_STREAM, 0, stream(0), &8_u32.to_be_bytes()));
    assert_eq!(client.goaway(), 0, "an idle connection ends without an error");
}

#[test]
fn a_reload_holds_for_open_connections_too() {
    let world = World::new();
    let buckler = world.one_service("");
    let mut http1 = buckler.connect();
    let mut http2 = Http2::connect(buckler.port());
    assert!(!closing(&mut http1) && http2.get("/"));
    world.reload(&buckler, &one_service("connections: { max_requests: 2 }"));
    assert!(closing(&mut http1));
    assert!(http2.get("/"));
    assert_eq!(http2.goaway(), 0);
    let mut long = buckler.connect();
    assert!(!closing(&mut long));
    world.reload(&buckler, &one_service(""));
    assert!(!closing(&mut long) && !closing(&mut long));
}

#[test]
fn an_open_tunnel_is_left_alone() {
    let world = World::new();
    world.worker("a").always(&[Step::send(SWITCH), Step::Mirror]);
    let limits = "connections: { max_age: 1s, jitter: 0%, max_requests: 1 }";
    let buckler = world.one_service(limits);
    let mut raw = buckler.connect();
    raw.send(
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let answer = raw.read_response().is(101);
    assert_eq!(answer.field("connection"), Some("upgrade"));
    for piece in ["young", "older"] {
        raw.send(piece).read_until(piece.as_bytes());
        an_age_passes(&buckler);
    }
    raw.send("still here").read_until(b"still here");
}

#[test]
fn open_connections_are_shown_by_service_and_shard() {
    let world = World::new();
    let buckler = world.one_service("");
    let open: Vec<_> = (0..5).map(|_| buckler.connect()).collect();
    let shown = |labels: &[(&str, &str)]| buckler.metrics().sum("buckler_connections", labels) as usize;
    eventually("five of them", || shown(&[("service", "api")]) == 5);
    let by_shard = [shown(&[("shard", "0")]), shown(&[("shard", "1")])];
    assert_eq!(by_shard.iter().sum::<usize>(), 5, "{by_shard:?}");
    drop(open);
    eventually("none", || shown(&[]) == 0);
}

#[test]
fn headers_of_an_answer_that_asks_to_close_stay_as_they_are() {
    let world = World::new();
    let worker = world.worker("a");
    let fields = "connection: keep-alive, x-hop\r\nx-hop: 1\r\nx-end: 2\r\ncontent-length: 2";
    worker.answers(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhi"));
    let buckler = world.one_service("connections: { max_requests: 1 }");
    let answer = buckler.answer(get("/")).is(200);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!((answer.field("x-hop"), answer.field("x-end")), (None, Some("2")));
}
