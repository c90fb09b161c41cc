//! Any bytes as X-Forwarded-For lines: nothing panics, a stranger's lines are not read, and the address that comes out
//! is the one that a slow, plain reading of the rule gives.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use buckler::admit::forwarded::{MOST_ELEMENTS, parse_element, parse_forwarded_for, unmapped};
use libfuzzer_sys::fuzz_target;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let trusted = |address: IpAddr| matches!(address, IpAddr::V4(four) if four.octets()[0] == 10);
    assert_eq!(parse_forwarded_for(PEER, lines.iter().copied(), |_| false), PEER);
    let found = parse_forwarded_for(PEER, lines.iter().copied(), trusted);
    assert_eq!(found, unmapped(found), "one caller would have two names");
    assert_eq!(found, plainly(&lines, trusted));
    // However much a client writes in front of it, what the trusted proxy saw stands.
    let seen: IpAddr = Ipv4Addr::new(192, 0, 2, 7).into();
    let behind: Vec<_> = lines.iter().copied().chain([&b"192.0.2.7"[..]]).collect();
    assert_eq!(parse_forwarded_for(PEER, behind.iter().copied(), trusted), seen);
    for line in lines {
        if let Some(address) = parse_element(line) {
            assert_eq!(parse_element(address.to_string().as_bytes()), Some(address));
        }
    }
});

fn plainly(lines: &[&[u8]], trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let joined = lines.join(&b","[..]);
    let mut elements: Vec<_> = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    elements.reverse();
    elements.truncate(MOST_ELEMENTS);
    let mut nearest = PEER;
    for element in elements.into_iter().filter(|element| !element.is_empty()) {
        match parse_element(element) {
            None => break,
            Some(address) => nearest = address,
        }
        if !trusted(nearest) {
            break;
        }
    }
    nearest
}
