//! What a connection can be asked: since when a head is under way, and how many streams are open.

use super::*;

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
