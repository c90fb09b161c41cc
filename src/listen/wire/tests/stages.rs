//! What a machine shows between two pieces: how far it is, what it waits for, and that a fault stays.

use super::*;

#[test]
fn the_stage_follows_the_stream() {
    let mut wire = Wire::new(BOUNDS);
    assert_eq!(wire.stage(), Stage::Idle);
    let after_empty_line = wire.scan(b"\r\n").map(|scan| scan.pass).unwrap();
    assert_eq!((after_empty_line, wire.stage()), (0, Stage::Idle), "an empty line begins no request");
    wire.scan(b"\r\nG").unwrap();
    assert_eq!(wire.stage(), Stage::Head);
    let head = b"\r\nGET / HTTP/1.0\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(wire.scan(head).unwrap().pass, head.len());
    assert_eq!(wire.stage(), Stage::Body);
    wire.scan(b"a").unwrap();
    assert_eq!(wire.stage(), Stage::Body);
    wire.pass_end();
    assert_eq!(wire.stage(), Stage::Body, "what has bytes to come does not end before they came");
    assert_eq!(wire.scan(b"b").unwrap(), Scan { pass: 1, event: Event::End });
    assert_eq!(wire.stage(), Stage::Idle);
    wire.scan(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(wire.stage(), Stage::Body);
    wire.pass_end();
    assert_eq!(wire.stage(), Stage::Idle);
    assert!(matches!(wire.scan(b"GET / HTTP/1.0\r\n\r\n").unwrap().event, Event::Head(_)));
}

#[test]
fn a_fault_stays_and_shows_where_method_and_target_stand() {
    let mut wire = Wire::new(BOUNDS);
    let held = b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n";
    for _ in 0..2 {
        let fault = wire.scan(held).unwrap_err();
        assert_eq!((&held[fault.method], &held[fault.target]), (b"GET".as_slice(), b"/a".as_slice()));
        assert_eq!(fault.at, 21);
    }
    let early = Wire::new(BOUNDS).scan(b"\x16\x03").unwrap_err();
    assert!(early.method.is_empty() && early.target.is_empty());
}

#[test]
fn a_held_buffer_that_shrinks_against_the_contract_is_waited_for() {
    let mut wire = Wire::new(BOUNDS);
    wire.scan(b"GET / HTTP/1.1\r\nHost: a\r\nx: y").unwrap();
    assert_eq!(wire.scan(b"GET").unwrap(), Scan { pass: 0, event: Event::More });
}

#[test]
fn a_length_beyond_memory_is_only_counted() {
    let mut wire = Wire::new(BOUNDS);
    let head = format!("PUT / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", i64::MAX);
    wire.scan(head.as_bytes()).unwrap();
    assert_eq!(wire.scan(&[0; 4096]).unwrap(), Scan { pass: 4096, event: Event::More });
}
