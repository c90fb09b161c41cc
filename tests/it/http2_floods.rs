//! Floods over HTTP/2: what costs a client little and a server much ends the client's connection, is counted by its
//! kind, and nobody else notices. Honest clients that do a lot are left alone.

use crate::world::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, ask, block, frame, stream,
};
use crate::world::{Buckler, Step, World, eventually};

const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What a flood may cost in resident memory: buffers and the allocator's slack.
const MEMORY_BYTES: f64 = 24e6;

fn floods(buckler: &Buckler, labels: &[(&str, &str)]) -> u32 {
    buckler.metrics().sum("buckler_http2_floods_total", labels).round() as u32
}

/// The attack ends its connection with this code and is counted once, as this kind; another connection does not notice.
#[track_caller]
fn is_ended(kind: &str, code: u32, service: &str, attack: impl FnOnce(&mut Http2)) {
    let world = World::new();
    let buckler = world.one_service(service);
    let mut neighbour = Http2::connect(buckler.port());
    assert!(neighbour.get("/before"));
    let memory = || buckler.metrics().sum("process_resident_memory_bytes", &[]);
    let before = memory();
    let mut attacker = Http2::connect(buckler.port());
    attack(&mut attacker);
    assert!(neighbour.get("/meanwhile"), "another connection is served");
    assert_eq!(attacker.goaway(), code, "the code of GOAWAY");
    assert!(neighbour.get("/after"));
    eventually("the flood counted", || floods(&buckler, &[]) > 0);
    assert_eq!(floods(&buckler, &[("service", "api"), ("kind", kind)]), 1, "{}", buckler.metrics().text);
    assert_eq!(floods(&buckler, &[]), 1, "counted once");
    eventually("everything given back", || buckler.metrics().sum("buckler_active_requests", &[]) < 0.5);
    let grown = memory() - before;
    assert!(grown < MEMORY_BYTES, "{grown} bytes");
}

fn get_head(index: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream(index), &ask("GET", "/"))
}

fn post_head(index: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream(index), &ask("POST", "/"))
}

fn cancel(index: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream(index), &CANCEL.to_be_bytes())
}

fn open_window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

#[test]
fn rapid_reset_ends_the_connection() {
    is_ended("rapid_reset", ENHANCE_YOUR_CALM, "", |client| {
        client.flood(5000, |n| [get_head(n), cancel(n)].concat());
    });
}

#[test]
fn made_you_reset_ends_the_connection() {
    // Each stream's window is opened beyond what a window can be.
    is_ended("made_you_reset", ENHANCE_YOUR_CALM, "", |client| {
        for round in 0..60 {
            let index = |n: u32| round * 50 + n;
            client.flood(50, |n| [get_head(index(n)), open_window(stream(index(n)), 0x7fff_ffff)].concat());
            // No more at once than are allowed, or they would be refused.
            eventually("reset or gone", || {
                client.is_over() || client.count(RST_STREAM) >= 50 * (round as usize + 1)
            });
        }
    });
}

#[test]
fn streams_far_beyond_those_allowed_end_the_connection() {
    is_ended("refused_streams", ENHANCE_YOUR_CALM, "bounds: { streams: 2 }", |client| {
        client.flood(6000, |n| if n < 2 { post_head(n) } else { get_head(n) });
    });
}

#[test]
fn a_header_block_without_end_ends_the_connection() {
    is_ended("continuation", ENHANCE_YOUR_CALM, "", |client| {
        client.send(frame(HEADERS, 0, 1, &ask("GET", "/")));
        client.flood(500, |_| frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
    });
}

#[test]
fn settings_without_end_end_the_connection() {
    is_ended("settings", ENHANCE_YOUR_CALM, "", |client| {
        client.flood(2000, |n| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, (n % 200) as u8]));
    });
}

#[test]
fn pings_without_end_end_the_connection() {
    is_ended("ping", ENHANCE_YOUR_CALM, "", |client| client.flood(4000, |_| frame(PING, 0, 0, &[7; 8])));
}

#[test]
fn priorities_without_end_end_the_connection() {
    is_ended("priority", ENHANCE_YOUR_CALM, "", |client| {
        client.flood(4000, |n| frame(PRIORITY, 0, 2 * n + 3, &[0, 0, 0, 1, 16]));
    });
}

#[test]
fn window_updates_without_end_end_the_connection() {
    is_ended("window_update", ENHANCE_YOUR_CALM, "", |client| client.flood(6000, |_| open_window(0, 1)));
}

#[test]
fn frames_with_nothing_in_them_end_the_connection() {
    is_ended("empty_frames", ENHANCE_YOUR_CALM, "", |client| {
        client.send(post_head(0));
        client.flood(2000, |_| frame(DATA, 0, 1, &[]));
    });
}

#[test]
fn frames_of_unknown_types_end_the_connection() {
    is_ended("unknown_frames", ENHANCE_YOUR_CALM, "", |client| {
        client.flood(2000, |_| frame(0xfb, 0, 0, b"?"));
    });
}

#[test]
fn a_body_of_single_bytes_ends_the_connection() {
    is_ended("small_data", ENHANCE_YOUR_CALM, "", |client| {
        client.send(post_head(0));
        client.flood(60_000, |_| frame(DATA, 0, 1, b"x"));
    });
}

#[test]
fn a_head_that_unpacks_to_megabytes_ends_the_connection() {
    is_ended("header_list", ENHANCE_YOUR_CALM, "", |client| {
        // One entry of 3900 bytes in the dynamic table, and then four thousand references to it.
        let mut bomb = ask("GET", "/");
        bomb.extend([0x40, 1, b'x', 0x7f, 0xbd, 0x1d]);
        bomb.extend([b'y'; 3900]);
        bomb.extend([0xbe; 4000]);
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    });
}

#[test]
fn broken_framing_ends_the_connection() {
    is_ended("protocol", PROTOCOL_ERROR, "", |client| {
        client.send(frame(DATA, 0, 0, b"of no stream"));
    });
}

#[test]
fn a_client_that_opens_no_window_is_cut() {
    let world = World::new();
    let size = 1 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    world.worker("a").always(&[Step::TakeBody, Step::send(&head), Step::Fill(size)]);
    let buckler = world.one_service("timeouts: { send: 300ms }");
    let mut client = Http2::connect_with(buckler.port(), &[0, 4, 0, 0, 0, 0]);
    client.send(get_head(0));
    assert_eq!(client.reset_code(1), CANCEL);
    eventually("counted", || floods(&buckler, &[("kind", "stalled")]) == 1);
    eventually("nothing in progress", || buckler.metrics().sum("buckler_active_requests", &[]) < 0.5);
}

#[test]
fn a_head_that_does_not_end_in_time_ends_the_connection() {
    let world = World::new();
    let buckler = world.one_service("timeouts: { head: 300ms }");
    for (what, part) in [
        ("a header block", frame(HEADERS, 0, 1, &ask("GET", "/"))),
        ("a frame", get_head(0)[..20].to_vec()),
        ("a frame's head", get_head(0)[..5].to_vec()),
    ] {
        let mut client = Http2::connect(buckler.port());
        client.send(part);
        assert_eq!(client.goaway(), 0, "{what}");
    }
    assert_eq!(floods(&buckler, &[]), 0, "slow is not a flood");
}

/// The service, one connection to it, and at the end: the client was left alone.
#[track_caller]
fn is_left_alone(script: &[Step], client: impl FnOnce(&World, &mut Http2)) {
    let world = World::new();
    world.worker("a").always(script);
    // Each request that is taken back costs the worker a connection, and on a busy machine it is late to accept them.
    let buckler = world.one_service("timeouts: { connect: 20s }");
    let mut connection = Http2::connect(buckler.port());
    client(&world, &mut connection);
    assert!(connection.get("/still-served"));
    assert_eq!(floods(&buckler, &[]), 0, "{}", buckler.metrics().text);
}

const POLITE: [Step; 2] = [Step::TakeBody, Step::Echo];

#[test]
fn a_grpc_client_may_make_thousands_of_short_calls_with_pings_and_window_updates() {
    is_left_alone(&POLITE, |_, client| {
        for round in 0..40 {
            let call = |n: u32| {
                let id = stream(round * 50 + n);
                let frames = [
                    post_head(round * 50 + n),
                    frame(DATA, END_STREAM, id, &[0; 7]),
                    open_window(0, 1000),
                    open_window(id, 1000),
                    frame(PING, 0, 0, &[1; 8]),
                ];
                frames.concat()
            };
            client.flood(50, call);
            for n in 0..50 {
                assert!(client.answered(stream(round * 50 + n)));
            }
        }
        eventually("a PONG for each PING", || client.count(PING) == 2000);
        client.used(2000);
    });
}

#[test]
fn a_browser_may_leave_a_page_of_a_hundred_pictures() {
    is_left_alone(&POLITE, |_, client| {
        for page in 0..5 {
            let picture = |n: u32| page * 100 + n;
            client.flood(100, |n| {
                [get_head(picture(n)), frame(PRIORITY, 0, stream(picture(n)), &[0, 0, 0, 0, 99])].concat()
            });
            client.flood(100, |n| cancel(picture(n)));
        }
        client.used(500);
        assert!(client.get("/the-page-that-it-stays-on"));
    });
}

#[test]
fn a_stream_of_small_messages_is_no_flood() {
    is_left_alone(&POLITE, |_, client| {
        client.send(post_head(0));
        client.flood(20_000, |_| frame(DATA, 0, 1, &[0; 6]));
        client.send(frame(DATA, END_STREAM, 1, &[0; 6]));
        assert!(client.answered(1));
        let told: serde_json::Value = serde_json::from_slice(&client.body(1)).unwrap();
        assert_eq!(told["body_bytes"], 6 * 20_001);
        client.used(1);
    });
}

#[test]
fn small_messages_may_wait_for_a_slow_worker() {
    is_left_alone(&[Step::Gate, Step::TakeBody, Step::Echo], |world, client| {
        client.send(post_head(0));
        client.flood(10_000, |_| frame(DATA, 0, 1, &[0; 6]));
        client.send(frame(PING, 0, 0, &[2; 8]));
        eventually("everything taken", || client.count(PING) == 1);
        client.send(frame(DATA, END_STREAM, 1, &[]));
        world.worker("a").open_gate();
        assert!(client.answered(1));
        client.used(1);
    });
}

#[test]
fn acknowledgements_and_grease_are_no_flood() {
    is_left_alone(&POLITE, |_, client| {
        client.flood(50, |n| frame(0x0a + (n % 100) as u8, 0, 0, b"grease"));
        client.flood(20, |_| frame(PING, ACK, 0, &[9; 8]));
    });
}
