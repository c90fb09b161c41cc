//! How long an HTTP/2 connection lasts, and what it may count on meanwhile.

use std::time::{Duration, Instant};

use crate::world::http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, ask,
    frame, stream,
};
use crate::world::{Buckler, End, Raw, Step, World, eventually, linger, one_service};

/// A client that was asked to leave and says nothing is left alone after 2 s for its word and 2 s for its close. Who
/// reads slowly takes longer than both.
const LONG: Duration = Duration::from_secs(5);

fn get(index: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream(index), &ask("GET", "/"))
}

#[test]
fn a_connection_whose_last_request_was_taken_back_is_closed_once_it_is_idle() {
    let world = World::new();
    world.worker("a").once(&[Step::Gate, Step::Echo]);
    let buckler = world.one_service("timeouts: { head: 200ms, keep_alive: 300ms }");
    let mut client = Http2::connect(buckler.port());
    client.send(get(0));
    eventually("the request with its worker", || buckler.metrics().sum("buckler_active_requests", &[]) > 0.5);
    // Every time limit of an idle connection is over meanwhile, as one shows that is idle and began later: none holds.
    let mut idle = Http2::connect(buckler.port());
    assert!(idle.get("/") && idle.goaway() == 0);
    assert_eq!(client.count(GOAWAY), 0);
    client.send(frame(RST_STREAM, 0, stream(0), &8_u32.to_be_bytes()));
    eventually("the client asked to leave", || client.count(GOAWAY) > 0);
    assert_eq!(client.goaway(), 0);
}

#[test]
fn a_reload_that_allows_fewer_streams_refuses_none_of_those_that_were_promised() {
    let world = World::new();
    world.worker("a").always(&[Step::Gate, Step::TakeBody, Step::Echo]);
    let buckler = world.one_service("bounds: { streams: 10 }");
    let mut client = Http2::connect(buckler.port());
    client.send(get(0));
    eventually("the first with its worker", || buckler.metrics().sum("buckler_active_requests", &[]) > 0.5);
    world.reload(&buckler, &one_service("bounds: { streams: 1 }"));
    eventually("the reload", || buckler.status_json()["config"]["last_reload"]["ok"] == true);
    client.flood(9, |n| get(n + 1));
    eventually("all with their worker", || buckler.metrics().sum("buckler_active_requests", &[]) > 9.5);
    world.worker("a").open_gate();
    assert!((0..10).all(|index| client.answered(stream(index))));
    assert_eq!(client.count(RST_STREAM), 0);
}

/// A worker that answers with so many bytes.
fn answers_with(world: &World, size: u64) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    world.worker("a").always(&[Step::TakeBody, Step::send(&head), Step::Fill(size)]);
}

/// Asks for `/`. The windows are wide open: what holds the answer back is that nobody reads it.
fn ask_on(mut raw: Raw) -> Raw {
    let wide = (1_u32 << 30).to_be_bytes();
    raw.send(PREFACE)
        .send(frame(SETTINGS, 0, 0, &[&[0, 4], &wide[..]].concat()))
        .send(frame(WINDOW_UPDATE, 0, 0, &wide))
        .send(get(0));
    raw
}

/// The answer is whole, the client was told that its request was the last one, and the end came without a reset.
#[track_caller]
fn was_served(mut raw: Raw, size: u64) {
    let (bytes, end) = raw.read_to_end();
    let (mut rest, mut body, mut last) = (&bytes[..], 0, None);
    while let [a, b, c, kind, _, _, _, _, _, behind @ ..] = rest {
        let (payload, behind) = behind.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
        body += if *kind == DATA { payload.len() as u64 } else { 0 };
        last = if *kind == GOAWAY { Some(payload) } else { last };
        rest = behind;
    }
    assert_eq!((body, end), (size, End::Closed));
    assert_eq!(last, Some(&[0, 0, 0, 1, 0, 0, 0, 0][..]), "the last stream, and no error");
}

/// Asks Buckler to end, and reads for so long as one that takes little and opens its window by that; false if the
/// client was silent for a while meanwhile because the machine stood still. Real time, since Buckler's own two waits of
/// 2 s are what the client outlasts.
fn read_slowly(raw: &mut Raw, buckler: &Buckler) -> bool {
    let (begun, mut said, mut silence) = (Instant::now(), Instant::now(), Duration::ZERO);
    buckler.term();
    let mut goes_on = true;
    while goes_on && begun.elapsed() < LONG {
        goes_on = raw.read_at_most(512).is_ok();
        raw.send(frame(WINDOW_UPDATE, 0, 0, &512_u32.to_be_bytes()));
        silence = silence.max(said.elapsed());
        said = Instant::now();
        linger(Duration::from_millis(50));
    }
    let in_time = silence < Duration::from_secs(1);
    assert!(goes_on || !in_time, "it is cut off");
    in_time
}

#[test]
fn a_slow_reader_gets_all_of_an_answer_that_has_left_buckler_before_its_end() {
    // As much as the kernel takes at once.
    const SIZE: u64 = 100 * 1024;
    for _ in 0..5 {
        let world = World::new();
        answers_with(&world, SIZE);
        let buckler = world.one_service("");
        let mut raw = ask_on(Raw::connect_narrow(buckler.port()));
        buckler.logged("the answer", |line| line["path"] == "/");
        if read_slowly(&mut raw, &buckler) {
            was_served(raw, SIZE);
            assert_eq!(buckler.wait_exit(), 0);
            return;
        }
    }
    panic!("no time to be slow in time");
}

#[test]
fn a_slow_reader_gets_all_of_an_answer_that_buckler_still_holds_at_its_end() {
    // More than all buffers on the way.
    const SIZE: u64 = 16 << 20;
    let world = World::new();
    answers_with(&world, SIZE);
    let config = format!("{}shutdown: {{ grace: 60s }}\n", one_service("timeouts: { send: 60s }"));
    let buckler = world.buckler(&config);
    let raw = ask_on(buckler.connect());
    eventually("the request at the worker", || world.worker("a").count() == 1);
    // It will be asked to leave, and neither says a word nor closes: it is seen off once both waits for that are over.
    let silent = Http2::connect(buckler.port());
    let open = || buckler.metrics().sum("buckler_connections", &[]) as u64;
    eventually("both connected", || open() == 2);
    buckler.term();
    eventually("the silent one seen off", || open() == 1);
    assert!(buckler.runs(), "it waits for who reads slowly");
    drop(silent);
    was_served(raw, SIZE);
    assert_eq!(buckler.wait_exit(), 0);
}
