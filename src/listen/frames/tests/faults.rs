//! Frames that break a rule, each with the code that its connection ends with.

use super::*;

#[track_caller]
fn is_fault(parts: &[Vec<u8>], code: u32) {
    let flood = judge(parts).unwrap_err();
    assert_eq!((flood.kind, flood.code), (FloodKind::Protocol, code), "{}", flood.reason);
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
