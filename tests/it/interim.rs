//! Interim answers (1xx, RFC 9110 section 15.2): a worker's hints reach the client before the answer and never in the
//! middle of another, `100 Continue` is each hop's own, and none of them is taken for the answer.

use crate::world::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, ask, block, frame};
use crate::world::{Raw, Step, World, eventually, get};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
/// 100 and 103 as HPACK writes them: `:status` of the static table (RFC 7541 appendix A), and three digits.
const CODE_100: [u8; 5] = *b"\x08\x03100";
const CODE_103: [u8; 5] = *b"\x08\x03103";

/// A head that asks to be told to go on.
fn expecting(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
}

fn expecting_http2() -> Vec<u8> {
    let fields = [("expect", "100-continue"), ("content-length", "5")];
    frame(HEADERS, END_HEADERS, 1, &[ask("POST", "/"), block(&fields)].concat())
}

fn says(block: &[u8], code: [u8; 5]) -> bool {
    block.starts_with(&code)
}

#[test]
fn a_hint_reaches_the_client_while_the_worker_still_thinks() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::send(HINT), Step::Gate, Step::send(ANSWER)]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(get("/").bytes());
    let hint = raw.read_response().is(103);
    assert_eq!(hint.field("link"), Some("</a.css>; rel=preload"));
    worker.open_gate();
    assert_eq!(raw.read_response().is(200).text(), "hi");
    raw.send(get("/").bytes());
    raw.read_response().is(103);
    raw.read_response().is(200);
}

#[test]
fn a_hint_reaches_a_client_of_http2_as_a_head_of_its_own() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::send(HINT), Step::Gate, Step::send(ANSWER)]);
    let buckler = world.one_service("");
    let mut client = Http2::connect(buckler.port());
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &ask("GET", "/")));
    eventually("the hint", || !client.payloads(HEADERS, 1).is_empty());
    let hint = client.payloads(HEADERS, 1);
    assert!(hint.len() == 1 && says(&hint[0], CODE_103), "{hint:?}");
    assert!(client.payloads(DATA, 1).is_empty());
    worker.open_gate();
    client.answered(1);
    let heads = client.payloads(HEADERS, 1);
    // 200 is entry 8 of the static table (RFC 7541 appendix A).
    assert_eq!((heads.len(), heads[1][0], client.body(1).as_slice()), (2, 0x88, &b"hi"[..]));
}

#[test]
fn a_client_of_http_1_0_is_told_no_hints() {
    let world = World::new();
    world.worker("a").answers(&format!("{HINT}{ANSWER}"));
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    assert_eq!(raw.read_response().is(200).text(), "hi");
    raw.closed();
}

#[test]
fn several_interim_answers_come_in_order_whatever_they_are() {
    let world = World::new();
    let first = "HTTP/1.1 103 Early Hints\r\nlink: </1>\r\n\r\n";
    let others = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 150 Nobody Knows\r\nx-n: 3\r\n\r\n";
    let last = "HTTP/1.1 103 Early Hints\r\nlink: </4>\r\n\r\n";
    world.worker("a").answers(&format!("{first}{others}{last}{ANSWER}"));
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(get("/").bytes());
    let told: Vec<_> = (0..5)
        .map(|_| {
            let answer = raw.read_response();
            let field = answer.field("link").or(answer.field("x-n")).unwrap_or_default().to_owned();
            (answer.status, field)
        })
        .collect();
    let expected = [(103, "</1>"), (102, ""), (150, "3"), (103, "</4>"), (200, "")];
    assert_eq!(told, expected.map(|(status, field)| (status, field.to_owned())));
}

#[test]
fn what_belongs_to_one_hop_is_taken_out_of_a_hint() {
    let world = World::new();
    let hint = "HTTP/1.1 103 Early Hints\r\nconnection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
                upgrade: x\r\nproxy-connection: close\r\nte: x\r\nlink: </a>\r\nx-end: 1\r\n\r\n";
    world.worker("a").answers(&format!("{hint}{ANSWER}"));
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for _ in 0..2 {
        raw.send(get("/").bytes());
        let hint = raw.read_response().is(103);
        let mut names: Vec<_> = hint.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        assert_eq!(names, ["link", "x-end"], "{}", hint.head);
        assert_eq!(raw.read_response().is(200).field("connection"), None);
    }
}

#[test]
fn an_unasked_101_is_a_502() {
    let world = World::new();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    world.worker("a").answers(&format!("{switch}{ANSWER}"));
    let buckler = world.one_service("");
    assert_eq!(buckler.answer(get("/")).is(502).reason(), "worker_protocol");
    // A hint before it changes nothing.
    world.worker("a").answers(&format!("{HINT}{switch}{ANSWER}"));
    let mut raw = buckler.connect();
    raw.send(get("/").bytes());
    let answer = std::iter::repeat_with(|| raw.read_response()).find(|answer| answer.status != 103).unwrap();
    assert_eq!(answer.is(502).reason(), "worker_protocol");
}

#[test]
fn each_hint_comes_with_its_own_answer() {
    let world = World::new();
    let worker = world.worker("a");
    for n in 0..4 {
        worker.once(&[
            Step::TakeBody,
            Step::send(&format!("HTTP/1.1 103 Early Hints\r\nlink: </{n}>\r\n\r\n")),
            Step::send(&format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{n}")),
        ]);
    }
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.send(get("/").bytes().repeat(4));
    for n in 0..4 {
        assert_eq!(raw.read_response().is(103).field("link"), Some(format!("</{n}>").as_str()));
        assert_eq!(raw.read_response().is(200).text(), n.to_string());
    }
}

#[test]
fn a_hint_never_stands_in_the_middle_of_an_answer() {
    let world = World::new();
    let worker = world.worker("a");
    let size = 8 * 1024 * 1024_u64;
    let big = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    for _ in 0..3 {
        worker.once(&[Step::TakeBody, Step::send(HINT), Step::send(&big), Step::Fill(size)]);
    }
    let buckler = world.one_service("");
    let mut raw = Raw::connect_narrow(buckler.port());
    raw.send(get("/").bytes().repeat(3));
    for _ in 0..3 {
        raw.read_response().is(103);
        let answer = raw.read_response().is(200);
        assert_eq!(answer.body.len() as u64, size);
        assert!(answer.body.iter().all(|byte| *byte == b'w'), "something else in the answer");
    }
}

#[test]
fn a_body_that_waits_goes_on_whether_or_not_the_worker_says_100() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for says_100 in [true, false] {
        let mut script = vec![Step::TakeBody, Step::Echo];
        if says_100 {
            script.insert(0, Step::send("HTTP/1.1 100 Continue\r\n\r\n"));
        }
        worker.always(&script);
        let mut raw = buckler.connect();
        raw.send(expecting(5));
        raw.read_response().is(100);
        raw.send("hello");
        raw.read_response().is(200);
        assert_eq!(worker.last().body, b"hello");
        raw.answer(&get("/")).is(200);

        let mut client = Http2::connect(buckler.port());
        client.send(expecting_http2());
        eventually("100 Continue", || !client.payloads(HEADERS, 1).is_empty());
        assert!(says(&client.payloads(HEADERS, 1)[0], CODE_100), "{:?}", client.payloads(HEADERS, 1));
        client.send(frame(DATA, END_STREAM, 1, b"hello"));
        client.answered(1);
        let heads = client.payloads(HEADERS, 1);
        assert_eq!((heads.len(), heads[1][0]), (2, 0x88), "one 100 and the answer");
        assert_eq!(worker.last().body, b"hello");
    }
}

#[test]
fn a_worker_that_refuses_early_spares_the_upload() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for status in [413, 417] {
        worker.always(&[
            Step::send(&format!("HTTP/1.1 {status} No\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")),
            Step::Close,
        ]);
        let mut raw = buckler.connect();
        raw.send(expecting(1_000_000));
        // Without a 100 before it.
        assert_eq!(raw.read_response().is(status).text(), "no");
        let mut client = Http2::connect(buckler.port());
        client.send(expecting_http2());
        eventually("the refusal", || client.body(1) == b"no");
        assert_eq!(client.payloads(HEADERS, 1).len(), 1, "no 100 before it");
        assert!(worker.last().body.is_empty());
    }
}

#[test]
fn hints_and_100_go_well_together() {
    let world = World::new();
    let worker = world.worker("a");
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    worker.always(&[Step::send(HINT), Step::send(go_on), Step::TakeBody, Step::send(HINT), Step::Echo]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for _ in 0..2 {
        raw.send(expecting(5));
        let mut told = Vec::new();
        let answer = loop {
            let answer = raw.read_response();
            told.push(answer.status);
            match answer.status {
                100 => _ = raw.send("hello"),
                103 => {}
                _ => break answer,
            }
        };
        assert_eq!(answer.is(200).json()["body_bytes"], 5);
        told.retain(|status| *status == 100);
        assert_eq!(told, [100], "it is told once");
    }
}
