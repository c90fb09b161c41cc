//! X-Forwarded-For, read from the right: each trusted proxy vouches for the element that it added, and for no more.
//!
//! The walk starts at the peer. As long as the address in hand is a trusted proxy, the next element to the left is
//! believed; the first address that is not a trusted proxy is the caller's. Whatever stands left of it, anyone could
//! have written. An element that is not an address ends the walk at the nearest believed address, which is then a
//! trusted proxy: such a request counts as the proxy's own, never as anybody's whom the garbage might name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// So many elements are looked at; a longer chain ends at the last one of them that is believed.
pub const MOST_ELEMENTS: usize = 64;

/// The caller's address, for a request from `peer` with these X-Forwarded-For field lines in their order.
pub fn parse_forwarded_for<'a>(
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut believed = unmapped(peer);
    if !is_trusted(believed) {
        return believed;
    }
    // Several lines are one list (RFC 9110 section 5.3), so the last element of the last line comes first.
    let elements = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    for element in elements.take(MOST_ELEMENTS) {
        let element = element.trim_ascii();
        if element.is_empty() {
            continue; // RFC 9110 section 5.6.1.2: empty elements say nothing.
        }
        let Some(address) = parse_element(element) else { return believed };
        believed = address;
        if !is_trusted(believed) {
            return believed;
        }
    }
    believed
}

/// One element: an IPv4 address, perhaps with a port, or an IPv6 address, in brackets if with a port.
pub fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(unmapped(address));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| unmapped(IpAddr::V6(address)));
    }
    text.parse::<SocketAddr>().ok().map(|with_port| unmapped(with_port.ip()))
}

/// An IPv4 address that came as IPv6 (`::ffff:192.0.2.7`) is the IPv4 address: one caller, not two.
pub fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn walk(peer: &str, lines: &[&str]) -> IpAddr {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        parse_forwarded_for(ip(peer), lines.iter().map(|line| line.as_bytes()), trusted)
    }

    #[test]
    fn an_untrusted_peer_is_the_caller_whatever_it_says() {
        assert_eq!(walk("192.0.2.1", &["198.51.100.1"]), ip("192.0.2.1"));
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_caller() {
        assert_eq!(walk("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.0.0.2"]), ip("198.51.100.1"));
        assert_eq!(walk("10.0.0.1", &["203.0.113.9", "198.51.100.1", "10.0.0.2"]), ip("198.51.100.1"));
        assert_eq!(walk("10.0.0.1", &["198.51.100.1", "", " ,"]), ip("198.51.100.1"));
        assert_eq!(walk("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), ip("10.0.0.3"));
        assert_eq!(walk("10.0.0.1", &[]), ip("10.0.0.1"));
        assert_eq!(walk("::ffff:10.0.0.1", &["::ffff:198.51.100.1"]), ip("198.51.100.1"));
    }

    #[test]
    fn nothing_left_of_garbage_is_believed() {
        assert_eq!(walk("10.0.0.1", &["198.51.100.1, unknown"]), ip("10.0.0.1"));
        assert_eq!(walk("10.0.0.1", &["198.51.100.1, 1.2.3, 10.0.0.2"]), ip("10.0.0.2"));
        assert_eq!(walk("10.0.0.1", &["198.51.100.1, \"10.0.0.2\""]), ip("10.0.0.1"));
    }

    #[test]
    fn elements_come_with_and_without_ports() {
        for (element, want) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:80", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
        ] {
            assert_eq!(parse_element(element.as_bytes()), Some(ip(want)), "{element}");
        }
        for element in
            ["", "a", "192.0.2.7:", "192.0.2.7:99999", "[192.0.2.7]", "192.0.2.07", "fe80::1%eth0", "\u{e4}"]
        {
            assert_eq!(parse_element(element.as_bytes()), None, "{element}");
        }
    }

    #[test]
    fn a_long_chain_is_not_walked_to_its_end() {
        let chain = format!("198.51.100.1{}", ", 10.0.0.2".repeat(MOST_ELEMENTS));
        assert_eq!(walk("10.0.0.1", &[&chain]), ip("10.0.0.2"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
        ) {
            let _ = parse_forwarded_for(ip("10.0.0.1"), lines.iter().map(|line| &line[..]), |_| true);
        }

        #[test]
        fn what_a_client_writes_first_is_never_believed(forged in "[0-9a-f.:, ]{0,40}") {
            prop_assert_eq!(walk("10.0.0.1", &[&forged, "198.51.100.1, 10.0.0.9"]), ip("198.51.100.1"));
        }
    }
}
