//! Sound frames of which there are too many: after how many, and as which flood.

use super::*;

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
