//! Upgrades of HTTP/1.1 (RFC 9110 section 7.8), byte by byte: what reaches the worker when, and what becomes of a
//! connection that is no HTTP any more. What real clients of WebSocket make of it stands elsewhere.

use std::time::Duration;

use crate::world::{Buckler, End, Raw, SWITCH, Step, World, eventually, get, steady};

const MIB: u64 = 1024 * 1024;

/// A request to go on as a WebSocket.
const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An open tunnel through this Buckler.
fn open(buckler: &Buckler) -> Raw {
    let mut raw = buckler.connect();
    raw.send(ASK);
    raw.read_response().is(101);
    raw
}

fn tunnels(buckler: &Buckler) -> f64 {
    buckler.metrics().sum("buckler_tunnels", &[])
}

#[test]
fn both_sides_go_on_with_the_other_protocol() {
    let world = World::new();
    let worker = world.worker("a");
    let agreed =
        SWITCH.replace("\r\n\r\n", "\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello");
    worker.always(&[Step::send(&agreed), Step::Mirror]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    let answer = raw.send(ASK).read_response().is(101);
    assert_eq!(answer.field("upgrade"), Some("websocket"));
    assert_eq!(answer.field("connection"), Some("upgrade"));
    assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    raw.read_until(b"hello");
    raw.send(b"\x81\x00ping").read_until(b"\x81\x00ping");
    let seen = worker.last();
    assert_eq!(seen.field("upgrade"), Some("websocket"));
    assert_eq!(seen.field("connection"), Some("upgrade"));
    assert_eq!(seen.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(tunnels(&buckler), 1.0);
    drop(raw);
    let line = buckler.logged("the tunnel", |line| line["status"] == 101);
    assert_eq!(line["tunnel_end"], "client_closed");
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&6.into(), &11.into()));
    assert!(line.get("reason").is_none(), "{line}");
    eventually("the tunnel to be gone", || tunnels(&buckler) == 0.0);
}

#[test]
fn hints_that_come_with_the_agreement_go_before_it() {
    let world = World::new();
    let worker = world.worker("a");
    let hinted = format!("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n{SWITCH}");
    worker.always(&[Step::send(&hinted), Step::Mirror]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    let hint = raw.send(ASK).read_response().is(103);
    assert_eq!(hint.field("link"), Some("</a.css>; rel=preload"));
    raw.read_response().is(101);
    raw.send(b"\x81\x00ping").read_until(b"\x81\x00ping");
}

#[test]
fn nothing_passes_before_the_worker_has_agreed() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::Gate, Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(format!("{ASK}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"));
    eventually("the request", || worker.count() == 1);
    worker.open_gate();
    raw.read_response().is(101);
    raw.read_until(b"GET /smuggled");
    assert_eq!(worker.count(), 1, "eager bytes were taken for a request");
    assert_eq!(worker.last().target, "/chat");
}

#[test]
fn after_a_refusal_the_held_bytes_are_the_next_request() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::send("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno")]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(format!("{ASK}GET /next HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(raw.read_response().is(426).body, b"no");
    raw.read_response().is(200);
    assert_eq!(worker.last().target, "/next");
    assert_eq!(raw.answer(&get("/after")).is(200).json()["target"], "/after");
}

#[test]
fn after_a_refusal_held_bytes_that_are_no_request_are_refused() {
    let world = World::new();
    world.worker("a").answers("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(format!("{ASK}\x01\x02\x03 not http\r\n\r\n"));
    raw.read_response().is(403);
    raw.read_response().is(400);
    assert_eq!(world.worker("a").count(), 1);
}

#[test]
fn eager_bytes_are_held_within_bounds() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::Gate, Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(ASK);
    let sent = raw.send_until_blocked(32 * MIB, Duration::from_millis(400));
    assert!(sent < 16 * MIB, "Buckler took {sent} bytes that it cannot know the meaning of");
    worker.open_gate();
    raw.read_response().is(101);
    raw.read_until(b"uuuu");
}

#[test]
fn what_may_not_be_upgraded_is_served_plainly() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for (upgrade, more) in [
        ("h2c", ""),
        ("TLS/1.0", ""),
        ("HTTP/2.0", ""),
        ("websocket, h2c", ""),
        ("websocket", "content-length: 3\r\n"),
    ] {
        let body = if more.is_empty() { "" } else { "abc" };
        let asked = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n{more}\r\n{body}"
        );
        buckler.answer_to(asked).is(200);
        let seen = worker.last();
        assert_eq!((seen.field("upgrade"), seen.field("connection")), (None, None), "{upgrade}");
        assert_eq!(seen.body, body.as_bytes());
    }
    buckler.answer_to("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n").is(200);
    assert_eq!(worker.last().field("upgrade"), None);
}

#[test]
fn another_protocol_than_was_asked_for_is_no_agreement() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("health: { passive: false }");
    for wrong in [
        SWITCH.replace("websocket", "h2c"),
        SWITCH.replace("upgrade: websocket\r\n", ""),
        SWITCH.replace("websocket", "websocket, h2c"),
    ] {
        worker.once(&[Step::send(&wrong), Step::Mirror]);
        buckler.answer_to(ASK).is(502);
    }
    worker.once(&[Step::send(SWITCH), Step::Mirror]);
    buckler.answer(get("/unasked")).is(502);
    assert_eq!(tunnels(&buckler), 0.0);
    eventually("the workers' side to be closed", || {
        buckler.metrics().sum("buckler_worker_connections", &[]) == 0.0
    });
}

#[test]
fn a_client_that_leaves_before_the_agreement_leaves_nothing_behind() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::Gate, Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("");
    for reset in [true, false] {
        let mut raw = buckler.connect();
        raw.send(ASK).send("eager");
        eventually("the request", || buckler.metrics().sum("buckler_worker_active", &[]) == 1.0);
        if reset {
            raw.reset()
        } else {
            drop(raw)
        }
        eventually("nothing to be left", || {
            let metrics = buckler.metrics();
            ["buckler_worker_active", "buckler_worker_connections", "buckler_connections", "buckler_tunnels"]
                .iter()
                .all(|name| metrics.sum(name, &[]) == 0.0)
        });
    }
}

#[test]
fn a_break_on_one_side_breaks_the_other() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    worker.once(&[Step::send(SWITCH), Step::Await(b"go".to_vec()), Step::Reset]);
    let mut raw = open(&buckler);
    assert_eq!(raw.send("go").closed(), End::Reset);
    let line = buckler.logged("the tunnel", |line| line["status"] == 101);
    assert_eq!((&line["tunnel_end"], &line["reason"]), (&"worker_reset".into(), &"worker_reset".into()));
    worker.once(&[Step::send(SWITCH), Step::Hang]);
    open(&buckler).reset();
    let line = buckler.logged("the other tunnel", |line| line["tunnel_end"] == "client_reset");
    assert_eq!(line["reason"], "client_closed");
}

#[test]
fn one_side_may_end_and_still_listen() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("");
    let mut raw = open(&buckler);
    raw.send("last words").finish();
    assert_eq!(raw.read_to_end(), (b"last words".to_vec(), End::Closed));
    worker.always(&[Step::send(SWITCH), Step::send("bye"), Step::Close]);
    let mut raw = open(&buckler);
    assert_eq!(raw.read_to_end(), (b"bye".to_vec(), End::Closed));
    drop(raw);
    buckler.logged("the end", |line| line["tunnel_end"] == "worker_closed");
}

#[test]
fn a_silent_tunnel_is_closed() {
    let world = World::new();
    world.worker("a").always(&[Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("timeouts: { tunnel: 1s }");
    let mut raw = open(&buckler);
    raw.send("x").read_until(b"x");
    assert_eq!(raw.read_to_end().1, End::Closed);
    let line = buckler.logged("the tunnel", |line| line["status"] == 101);
    assert_eq!(line["tunnel_end"], "idle");
    assert!(line["t_total"].as_f64().unwrap() >= 1.0, "{line}");
}

#[test]
fn tunnels_count_as_requests_in_progress() {
    let world = World::new();
    world.worker("a").always(&[Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("limits: { default: { concurrent: 2 } }");
    let (first, _second) = (open(&buckler), open(&buckler));
    buckler.answer_to(ASK).is(429);
    drop(first);
    eventually("room", || buckler.metrics().sum("buckler_tunnels", &[]) == 1.0);
    let _third = open(&buckler);
    assert_eq!(buckler.metrics().sum("buckler_tunnels_opened_total", &[]), 3.0);
    assert_eq!(buckler.metrics().sum("buckler_connections", &[]), 2.0);
}

#[test]
fn a_reload_leaves_tunnels_alone() {
    let world = World::new();
    world.worker("a").always(&[Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("");
    let mut raw = open(&buckler);
    world.reload(&buckler, &crate::world::one_service("limits: { default: { rate: 1/h, burst: 1 } }"));
    eventually("the new limits", || buckler.answer_to("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status == 429);
    raw.send("still here").read_until(b"still here");
}

#[test]
fn a_drain_waits_for_busy_tunnels_and_cuts_them_at_last() {
    let world = World::new();
    world.worker("a").always(&[Step::send(SWITCH), Step::Mirror]);
    let buckler = world.buckler(&(crate::world::one_service("") + "shutdown: { grace: 2s }\n"));
    let mut raw = open(&buckler);
    buckler.term();
    for n in 0..10 {
        let word = format!("word {n}.");
        raw.send(&word).read_until(word.as_bytes());
    }
    raw.read_to_end();
    buckler.wait_exit();
    let line = buckler.logged("the tunnel", |line| line["status"] == 101);
    assert_eq!(line["tunnel_end"], "drained");
}

#[test]
fn a_slow_reader_holds_the_other_side_back() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::send(SWITCH), Step::Fill(64 * MIB), Step::Close]);
    let buckler = world.one_service("");
    let mut raw = Raw::connect_narrow(buckler.port());
    raw.send(ASK).read_head().is(101);
    let taken = steady("the worker to be held up", Duration::from_millis(400), || worker.filled());
    assert!(taken < 16 * MIB, "Buckler took {taken} bytes that nobody reads");
    assert_eq!(raw.read_to_end().0.len() as u64, 64 * MIB);
}

#[test]
fn a_tunnel_carries_much_in_both_directions_at_once() {
    let world = World::new();
    world.worker("a").always(&[Step::send(SWITCH), Step::Mirror]);
    let buckler = world.one_service("");
    let mut raw = open(&buckler);
    let sent: Vec<u8> = (0..10 * MIB).map(|n| (n % 251) as u8).collect();
    let mut writer = raw.twin();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.send(bytes).finish();
    });
    let (back, end) = raw.read_to_end();
    writing.join().unwrap();
    assert_eq!(end, End::Closed);
    assert!(back == sent, "{} bytes came back changed", back.len());
}
