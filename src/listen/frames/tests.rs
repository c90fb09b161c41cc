//! The guard as clients meet it: faults, floods, and honest work of which none may be taken for a flood.

use proptest::prelude::*;

use super::*;

const BOUNDS: FrameBounds =
    FrameBounds { head_bytes: 32 << 10, head_fields: 100, streams: 100, frame_bytes: 16_384 };
const SECOND: u64 = 1_000_000_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn headers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x82, 0x84, 0x86])
}

fn open_headers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &[0x83, 0x84, 0x86])
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A connection whose client has sent its preface and an empty SETTINGS frame.
fn begun() -> Frames {
    let mut frames = Frames::new(BOUNDS, 0);
    frames.received(PREFACE, 0).unwrap();
    frames.received(&frame(SETTINGS, 0, 0, &[]), 0).unwrap();
    frames
}

/// What a sound connection says to these frames, all at one time.
fn judge(parts: &[Vec<u8>]) -> Result<(), Flood> {
    let mut frames = begun();
    parts.iter().try_for_each(|part| frames.received(part, SECOND))
}

#[track_caller]
fn is_fault(parts: &[Vec<u8>], code: u32) {
    let flood = judge(parts).unwrap_err();
    assert_eq!((flood.kind, flood.code), (FloodKind::Protocol, code), "{}", flood.reason);
}

/// Feeds the same frames until they are too many; the number that passed.
#[track_caller]
fn flood_of(frames: &mut Frames, kind: FloodKind, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for count in 0..100_000 {
        if let Err(flood) = frames.received(&next(count), 0) {
            assert_eq!((flood.kind, flood.code), (kind, ENHANCE_YOUR_CALM), "{}", flood.reason);
            assert_eq!(frames.received(b"", SECOND), Err(flood), "it stays");
            return count;
        }
    }
    panic!("never too many");
}

const fn odd(count: u32) -> u32 {
    2 * count + 1
}

#[test]
fn the_preface_comes_first_and_settings_after_it() {
    let mut frames = Frames::new(BOUNDS, 7);
    assert_eq!(frames.head_since(), Some(7));
    for byte in PREFACE {
        frames.received(&[*byte], 8).unwrap();
    }
    assert!(!frames.preface_done());
    assert_eq!(frames.head_since(), Some(7));
    let mut other = Frames::new(BOUNDS, 0);
    assert_eq!(other.received(b"PRI * HTTP/1", 0).unwrap_err().code, PROTOCOL_ERROR);
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    frames.received(&settings, 9).unwrap();
    assert!(frames.preface_done());
    assert_eq!(frames.head_since(), None);
    for first in [headers(1), frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[])] {
        let mut frames = Frames::new(BOUNDS, 0);
        frames.received(PREFACE, 0).unwrap();
        assert_eq!(frames.received(&first, 0).unwrap_err().code, PROTOCOL_ERROR);
    }
}

#[test]
fn a_frame_has_the_length_that_its_type_prescribes() {
    for wrong in [
        frame(RST_STREAM, 0, 1, &[0; 3]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 5]),
        frame(PING, 0, 0, &[0; 7]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(PRIORITY, 0, 1, &[0; 4]),
        frame(DATA, PADDED, 1, &[]),
        frame(HEADERS, PADDED | WITH_PRIORITY, 3, &[0; 5]),
    ] {
        is_fault(&[open_headers(1), wrong], FRAME_SIZE_ERROR);
    }
    let mut long = frame(DATA, 0, 1, &[]);
    long[..3].copy_from_slice(&[0, 0x40, 1]);
    is_fault(&[open_headers(1), long], FRAME_SIZE_ERROR);
}

#[test]
fn a_frame_stands_on_a_stream_that_it_belongs_to() {
    for wrong in [
        frame(DATA, 0, 0, b"x"),
        frame(HEADERS, END_HEADERS, 0, b"\x82"),
        frame(PRIORITY, 0, 0, &[0; 5]),
        frame(RST_STREAM, 0, 0, &[0; 4]),
        frame(SETTINGS, 0, 1, &[]),
        frame(PING, 0, 1, &[0; 8]),
        frame(GOAWAY, 0, 1, &[0; 8]),
        frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
        headers(2),
        frame(DATA, 0, 3, b"x"),
        reset(3, 8),
        window_update(3, 1),
        window_update(0, 0),
        frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        frame(DATA, PADDED, 1, &[1]),
    ] {
        is_fault(&[open_headers(1), wrong], PROTOCOL_ERROR);
    }
    is_fault(&[open_headers(3), reset(2, 8)], PROTOCOL_ERROR);
    judge(&[open_headers(1), frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 16]), window_update(0, 1)]).unwrap();
}

#[test]
fn nothing_comes_behind_the_end_of_a_stream() {
    for late in [frame(DATA, 0, 1, b"late"), headers(1), open_headers(1)] {
        is_fault(&[headers(1), late], STREAM_CLOSED);
    }
    judge(&[headers(1), window_update(1, 9), reset(1, 8)]).unwrap();
}

#[test]
fn no_stream_depends_on_itself() {
    let with = |flags, payload: &[u8]| frame(HEADERS, END_HEADERS | flags, 1, payload);
    is_fault(&[with(WITH_PRIORITY, &[0x80, 0, 0, 1, 16, 0x82])], PROTOCOL_ERROR);
    is_fault(&[with(WITH_PRIORITY | PADDED, &[1, 0, 0, 0, 1, 16, 0x82, 0])], PROTOCOL_ERROR);
    is_fault(&[frame(PRIORITY, 0, 5, &[0, 0, 0, 5, 16])], PROTOCOL_ERROR);
    judge(&[with(WITH_PRIORITY | PADDED, &[1, 0, 0, 0, 3, 16, 0x82, 0])]).unwrap();
    is_fault(&[with(PADDED, &[3, 0x82, 0])], PROTOCOL_ERROR);
}

#[test]
fn a_trailer_section_begins_with_no_pseudo_header_field() {
    let trailers = |block: &[u8]| [open_headers(1), frame(HEADERS, END_HEADERS | END_STREAM, 1, block)];
    let huffman_path = b"\x40\x84\xb9\x58\xd3\x3f\x01/";
    for block in
        [&b"\x82"[..], b"\x44\x01/", b"\x04\x01/", b"\x3f\x20\x8e", b"\x00\x05:path\x01/", huffman_path]
    {
        is_fault(&trailers(block), PROTOCOL_ERROR);
    }
    for block in [&b""[..], b"\x40\x04grpc\x010", b"\xbe", b"\x8f", b"\x4f\x01x", b"\x00"] {
        judge(&trailers(block)).unwrap();
    }
}

#[test]
fn settings_have_values_that_exist() {
    for (name, value, code) in [
        (2, 2, PROTOCOL_ERROR),
        (4, 0x8000_0000_u32, FLOW_CONTROL_ERROR),
        (5, 16_383, PROTOCOL_ERROR),
        (5, 16_777_216, PROTOCOL_ERROR),
        (8, 2, PROTOCOL_ERROR),
    ] {
        let mut payload = vec![0, 3, 0, 0, 0, 1, 0, name];
        payload.extend(value.to_be_bytes());
        is_fault(&[frame(SETTINGS, 0, 0, &payload)], code);
    }
    judge(&[frame(SETTINGS, 0, 0, &[0x99, 0x99, 0xff, 0xff, 0xff, 0xff, 0, 5, 0, 0, 0x40, 0])]).unwrap();
}

#[test]
fn nothing_comes_between_the_frames_of_a_header_block() {
    let begin = frame(HEADERS, 0, 1, b"\x82");
    for between in [
        frame(DATA, 0, 1, b"x"),
        headers(3),
        frame(PING, 0, 0, &[0; 8]),
        frame(0xbe, 0, 0, b""),
        frame(CONTINUATION, END_HEADERS, 3, b"\x84"),
    ] {
        is_fault(&[begin.clone(), between], PROTOCOL_ERROR);
    }
    judge(&[begin, frame(CONTINUATION, END_HEADERS, 1, b"\x84"), headers(3)]).unwrap();
}

#[test]
fn streams_opened_and_cancelled_are_counted_and_answered_ones_give_back() {
    let rapid = |count| [headers(odd(count)), reset(odd(count), 8)].concat();
    assert_eq!(flood_of(&mut begun(), FloodKind::RapidReset, rapid), 1000);
    let mut frames = begun();
    for count in 0..20_000 {
        let id = odd(count);
        frames.received(&headers(id), SECOND).unwrap();
        if count % 2 == 0 {
            frames.received(&reset(id, 8), SECOND).unwrap();
        } else {
            frames.sent(&frame(HEADERS, END_HEADERS | END_STREAM, id, b"\x88"), SECOND).unwrap();
        }
    }
    assert_eq!(frames.open_streams(), 0);
}

#[test]
fn streams_that_we_must_reset_are_counted() {
    let made = |code: u32| {
        let mut frames = begun();
        (0..10_000).find_map(|count| {
            frames.received(&headers(odd(count)), 0).unwrap();
            frames.sent(&reset(odd(count), code), 0).err().map(|flood| (count, flood.kind))
        })
    };
    for code in [PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED] {
        assert_eq!(made(code), Some((500, FloodKind::MadeYouReset)));
    }
    assert_eq!(made(REFUSED_STREAM), Some((2000, FloodKind::RefusedStreams)));
    let mut leaving = begun();
    leaving.sent(&frame(GOAWAY, 0, 0, &[0x7f, 255, 255, 255, 0, 0, 0, 0]), 0).unwrap();
    let refused = (0..10_000).find_map(|count| {
        leaving.received(&headers(odd(count)), 0).unwrap();
        leaving.sent(&reset(odd(count), REFUSED_STREAM), 0).err()
    });
    assert_eq!(refused.map(|flood| flood.kind), Some(FloodKind::RefusedStreams), "asked to leave or not");
    assert_eq!(made(8), None, "streams that we cancel are our own affair");
}

#[test]
fn header_blocks_are_bounded_in_frames_and_bytes() {
    let endless = |payload: &'static [u8]| {
        move |count| frame(if count == 0 { HEADERS } else { CONTINUATION }, 0, 1, payload)
    };
    assert_eq!(flood_of(&mut begun(), FloodKind::Continuation, endless(b"\x82")), 6);
    assert_eq!(flood_of(&mut begun(), FloodKind::Continuation, endless(b"")), 6);
    let mut frames = Frames::new(FrameBounds { head_bytes: 1 << 20, ..BOUNDS }, 0);
    frames.received(&[&PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat(), 0).unwrap();
    static FULL: [u8; 16_384] = [0; 16_384];
    assert_eq!(flood_of(&mut frames, FloodKind::Continuation, endless(&FULL)), 81);
}

#[test]
fn frames_that_cost_more_than_they_say_have_budgets() {
    let mut every = begun();
    assert_eq!(flood_of(&mut every, FloodKind::Settings, |_| frame(SETTINGS, 0, 0, &[])), 99);
    assert_eq!(flood_of(&mut begun(), FloodKind::Settings, |_| frame(SETTINGS, 0, 0, &[0; 33 * 6])), 0);
    assert_eq!(flood_of(&mut begun(), FloodKind::Ping, |_| frame(PING, 0, 0, &[0; 8])), 200);
    assert_eq!(flood_of(&mut begun(), FloodKind::Priority, |_| frame(PRIORITY, 0, 1, &[0; 5])), 500);
    assert_eq!(flood_of(&mut begun(), FloodKind::Priority, |_| frame(PRIORITY_UPDATE, 0, 0, &[0; 4])), 500);
    assert_eq!(flood_of(&mut begun(), FloodKind::WindowUpdate, |_| window_update(0, 1)), 1000);
    assert_eq!(flood_of(&mut begun(), FloodKind::UnknownFrames, |_| frame(0xfa, 0, 0, b"?")), 100);
    assert_eq!(flood_of(&mut begun(), FloodKind::UnknownFrames, |_| frame(GOAWAY, 0, 0, &[0; 8])), 100);
    let data = |flags, payload: &'static [u8]| {
        move |count| if count == 0 { open_headers(1) } else { frame(DATA, flags, 1, payload) }
    };
    assert_eq!(flood_of(&mut begun(), FloodKind::EmptyFrames, data(0, b"")), 101);
    assert_eq!(flood_of(&mut begun(), FloodKind::EmptyFrames, data(PADDED, b"\x02\0\0")), 101);
    assert_eq!(flood_of(&mut begun(), FloodKind::SmallData, data(0, b"x")), 4001);
    let empty_head = |count| {
        let id = odd(count);
        [frame(HEADERS, 0, id, b""), frame(CONTINUATION, END_HEADERS, id, b"\x82")].concat()
    };
    // Each stream opened gives one back: it is the streams that are too many then.
    assert_eq!(flood_of(&mut begun(), FloodKind::RefusedStreams, empty_head), 4196);
}

#[test]
fn a_slow_head_shows_since_when() {
    let mut frames = begun();
    assert_eq!(frames.head_since(), None);
    let head = headers(1);
    frames.received(&head[..4], 10).unwrap();
    assert_eq!(frames.head_since(), Some(10));
    frames.received(&head[4..10], 20).unwrap();
    assert_eq!(frames.head_since(), Some(10));
    frames.received(&head[10..], 30).unwrap();
    assert_eq!((frames.head_since(), frames.open_streams()), (None, 1));
    frames.sent(&frame(HEADERS, END_HEADERS, 1, b"\x88"), 40).unwrap();
    frames.sent(&frame(DATA, END_STREAM, 1, b"x"), 50).unwrap();
    assert_eq!(frames.open_streams(), 0);
    frames.received(&frame(HEADERS, 0, 3, b"\x83"), 70).unwrap();
    frames.received(&frame(CONTINUATION, 0, 3, b"\x84"), 80).unwrap();
    assert_eq!(frames.head_since(), Some(70));
    frames.received(&frame(CONTINUATION, END_HEADERS, 3, b"\x86"), 90).unwrap();
    let data = frame(DATA, END_STREAM, 3, b"body");
    frames.received(&data[..11], 100).unwrap();
    assert_eq!((frames.head_since(), frames.open_streams()), (None, 1), "a body has a timeout of its own");
    frames.received(&data[11..], 110).unwrap();
    frames.sent(&reset(3, 0), 120).unwrap();
    assert_eq!(frames.open_streams(), 0);
}

#[test]
fn streams_after_our_goaway_are_not_waited_for() {
    let mut frames = begun();
    frames.received(&headers(1), 0).unwrap();
    frames.sent(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), 0).unwrap();
    assert_eq!(frames.goaway_sent(), Some(1));
    frames.received(&headers(3), 0).unwrap();
    assert_eq!(frames.open_streams(), 1);
}

/// A second of honest work, step by step: what comes in and what goes out.
#[track_caller]
fn passes(what: &str, seconds: u32, steps: u32, mut step: impl FnMut(u32) -> (Vec<u8>, Vec<u8>)) {
    let mut frames = begun();
    for count in 0..seconds * steps {
        let now = u64::from(count) * SECOND / u64::from(steps);
        let (inward, outward) = step(count);
        frames.received(&inward, now).unwrap_or_else(|flood| panic!("{what}, step {count}: {flood:?}"));
        frames.sent(&outward, now).unwrap_or_else(|flood| panic!("{what}, step {count}: {flood:?}"));
    }
    assert!(frames.open_streams() <= 100, "{what}");
}

fn answer(stream: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, stream, b"\x88"),
        frame(DATA, 0, stream, &[0; 64]),
        frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88"),
    ]
    .concat()
}

#[test]
fn honest_clients_are_left_alone() {
    // grpc-go and C core: 20,000 calls a second, each with a message of a few bytes, a PING and two WINDOW_UPDATEs.
    passes("short gRPC calls", 5, 20_000, |count| {
        let id = odd(count);
        let call = [
            open_headers(id),
            frame(DATA, END_STREAM, id, &[0; 7]),
            window_update(0, 9),
            window_update(id, 9),
            frame(PING, 0, 0, &[2; 8]),
        ];
        (call.concat(), answer(id))
    });
    // One stream of small messages, both ways, as fast as a core can.
    passes("a gRPC stream", 5, 200_000, |count| {
        let first = if count == 0 { open_headers(1) } else { Vec::new() };
        ([first, frame(DATA, 0, 1, &[0; 5])].concat(), frame(DATA, 0, 1, &[0; 5]))
    });
    passes("gRPC keepalive of a whole day, every 10 s", 86_400, 1, |count| {
        let ping = if count % 10 == 0 { frame(PING, 0, 0, &[3; 8]) } else { Vec::new() };
        (ping.clone(), ping)
    });
    // A reader whose window is one frame, so that it opens it twice for each frame; with BDP probes and new settings.
    passes("a large download", 10, 10_000, |count| {
        let mut inward = [window_update(0, 16_384), window_update(1, 16_384)].concat();
        if count == 0 {
            inward.splice(0..0, headers(1));
        }
        if count % 1000 == 0 {
            inward.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
        }
        inward.extend(frame(PING, 0, 0, &[4; 8]));
        (inward, frame(DATA, 0, 1, &[0; 1024]))
    });
    // Nine of ten calls run out of time, and the tenth shows that the client means it.
    passes("deadlines that pass", 60, 100, |count| {
        let id = odd(count);
        let end = if count % 10 == 0 { Vec::new() } else { reset(id, 8) };
        let out = if end.is_empty() { answer(id) } else { Vec::new() };
        ([headers(id), end].concat(), out)
    });
}

#[test]
fn browsers_and_load_generators_are_left_alone() {
    // A page of 100 pictures, left before it was there, three times a second; PRIORITY twice a stream, some grease.
    passes("a browser", 20, 1, |count| {
        let mut inward = frame(0x2a, 0, 0, b"grease");
        for picture in 0..100 {
            let id = odd(count * 100 + picture);
            inward.extend(headers(id));
            inward.extend(frame(PRIORITY, 0, id, &[0, 0, 0, 0, 109]));
            inward.extend(frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 0, b'u', b'=', b'1']));
            inward.extend(reset(id, 8));
        }
        (inward, Vec::new())
    });
    // `h2load -m 1000` has not seen our SETTINGS: 900 of its first streams are refused, and opened again later.
    let mut frames = begun();
    (0..1000).for_each(|count| frames.received(&headers(odd(count)), 0).unwrap());
    for count in 0..1000 {
        let out = if count < 100 { answer(odd(count)) } else { reset(odd(count), REFUSED_STREAM) };
        frames.sent(&out, 0).unwrap();
    }
    passes("h2load -m 100", 2, 1000, |count| {
        let streams = || (0..100).map(move |stream| odd(count * 100 + stream));
        (streams().flat_map(headers).collect(), streams().flat_map(answer).collect())
    });
    // Uploads that are answered early (429): what is on its way meets a closed stream.
    passes("refused uploads", 30, 20, |count| {
        let id = odd(count);
        let body = frame(DATA, 0, id, &[0; 4096]);
        let out =
            [frame(HEADERS, END_HEADERS | END_STREAM, id, b"\x88"), reset(id, 0), reset(id, STREAM_CLOSED)];
        ([open_headers(id), body.repeat(4)].concat(), out.concat())
    });
}

/// Frames that are mostly sound, some of them on a few streams.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (1_u32..8).prop_map(headers),
        4 => (1_u32..8).prop_map(open_headers),
        2 => (1_u32..8, 0_u32..14).prop_map(|(stream, code)| reset(stream, code)),
        2 => (0_u32..8, 0_u32..3).prop_map(|(stream, by)| window_update(stream, by)),
        2 => payload.clone().prop_map(|payload| frame(SETTINGS, 0, 0, &payload[..payload.len() / 6 * 6])),
        4 => (0_u8..11, any::<u8>(), 0_u32..8, payload)
            .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
    ]
}

proptest! {
    #[test]
    fn how_bytes_are_cut_changes_no_verdict(
        stream in prop::collection::vec(any_frame(), 0..30),
        junk in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let bytes = [&stream.concat()[..], &junk].concat();
        let mut whole = begun();
        let verdict = whole.received(&bytes, 5);
        let mut pieces = begun();
        let mut rest = &bytes[..];
        let mut told = Ok(());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || told.is_err() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            told = pieces.received(piece, 5);
            rest = behind;
        }
        prop_assert_eq!(told, verdict);
        if verdict.is_ok() {
            prop_assert_eq!(pieces.head_since(), whole.head_since());
            prop_assert_eq!(pieces.open_streams(), whole.open_streams());
        }
    }

    #[test]
    fn any_bytes_are_judged_and_nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        sent in prop::collection::vec(any::<u8>(), 0..300),
        now in any::<u64>(),
    ) {
        for mut frames in [begun(), Frames::new(BOUNDS, now)] {
            let _ = frames.received(&bytes, now);
            let _ = frames.sent(&sent, now / 2);
            let _ = frames.head_since();
        }
    }
}
