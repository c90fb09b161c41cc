//! Any bytes as a connection's first: nothing panics, a header is never longer than what came, its verdict does not
//! depend on what stands behind it, and whatever stands before its end is waited for. A line that passes says, when it
//! is written anew, the same.

#![no_main]

use std::net::SocketAddr;

use buckler::listen::proxy_header::{HEADER_MOST, Source, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    let (source, length) = match whole {
        Ok(Some(found)) => found,
        // It is bounded what is waited for.
        Ok(None) => return assert!(bytes.len() < HEADER_MOST, "{} bytes are no header yet", bytes.len()),
        Err(_) => return stays_wrong(bytes),
    };
    assert!(length <= bytes.len() && length <= HEADER_MOST);
    for cut in 0..length {
        assert_eq!(read(&bytes[..cut]), Ok(None), "{cut} of {length} bytes");
    }
    assert_eq!(read(&bytes[..length]), whole);
    if let Source::Proxied { client, destination } = source {
        assert_eq!(client.ip(), client.ip().to_canonical());
        let line = line(client, destination);
        assert_eq!(read(line.as_bytes()), Ok(Some((source, line.len()))));
    }
});

/// Once wrong, no further byte makes it right.
fn stays_wrong(bytes: &[u8]) {
    let first = (0..=bytes.len()).find(|end| read(&bytes[..*end]).is_err()).unwrap_or(bytes.len());
    for end in first..=bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "wrong at {first} bytes, right at {end}");
    }
}

fn line(client: SocketAddr, destination: SocketAddr) -> String {
    let ports = format!("{} {}", client.port(), destination.port());
    let six = |address: SocketAddr| match address {
        SocketAddr::V4(four) => four.ip().to_ipv6_mapped(),
        SocketAddr::V6(six) => *six.ip(),
    };
    if client.is_ipv4() && destination.is_ipv4() {
        return format!("PROXY TCP4 {} {} {ports}\r\n", client.ip(), destination.ip());
    }
    format!("PROXY TCP6 {} {} {ports}\r\n", six(client), six(destination))
}
