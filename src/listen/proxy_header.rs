//! The PROXY header that a load balancer in front writes before a connection's own bytes: whose connection it carries.
//! Versions 1 and 2 as in haproxy.org's proxy-protocol.txt. Bytes in, verdict out: who may send such a header, and how
//! long it may take, is decided where connections begin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::admit::forwarded::unmapped;

/// The longest header of version 1, in bytes, its line end included (proxy-protocol.txt section 2.1).
const V1_MOST: usize = 107;
/// The longest header that is read, in bytes. Version 2 could say 64 KiB; the addresses take 232 at most, and a
/// client's whole certificate as a TLV some 2 KiB.
pub const HEADER_MOST: usize = 4096;

/// What every header of version 1 begins with.
const V1_START: &[u8] = b"PROXY ";
/// What every header of version 2 begins with: no beginning of HTTP, TLS or any other protocol in use.
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and protocol, and the length of what follows.
const V2_FIXED: usize = 16;

/// TLV types (proxy-protocol.txt section 2.2.1) that have a rule of their own.
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
/// The longest unique id, in bytes (section 2.2.5).
const UNIQUE_ID_MOST: usize = 128;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client's, passed on.
    Proxied {
        /// The client's address.
        client: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
    /// The sender's own, a health check say: its address counts, and so does what it says of others.
    Local,
    /// A client's that the sender knows no address of, or none of TCP: the sender's address counts. What the client
    /// says is not the sender's word, so nothing that only a trusted proxy may say is believed.
    Unknown,
}

/// What is wrong with a connection's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// They begin no PROXY header.
    Missing,
    /// They begin one that breaks a rule: this one.
    Malformed(&'static str),
    /// They begin one that is longer than version 1 allows, or than [`HEADER_MOST`].
    TooLong,
}

impl HeaderFault {
    /// What to tell of it.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Missing => "the connection does not begin with a PROXY header",
            Self::Malformed(what) => what,
            Self::TooLong => "the PROXY header is too long",
        }
    }
}

/// Reads the header at the beginning of a connection: whose it is, and how many bytes the header takes. None: it is
/// right so far, and not all of it has come.
///
/// # Errors
/// No more bytes can make it right.
pub fn read(bytes: &[u8]) -> Result<Option<(Source, usize)>, HeaderFault> {
    if begins(bytes, V2_START) {
        read_v2(bytes)
    } else if begins(bytes, V1_START) {
        read_v1(bytes)
    } else {
        Err(HeaderFault::Missing)
    }
}

/// Whether what has come of `bytes` is `start`, or the beginning of it.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let both = bytes.len().min(start.len());
    bytes[..both] == start[..both]
}

fn read_v1(bytes: &[u8]) -> Result<Option<(Source, usize)>, HeaderFault> {
    let within = &bytes[..bytes.len().min(V1_MOST)];
    let Some(end) = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if within.len() == V1_MOST { Err(HeaderFault::TooLong) } else { Ok(None) };
    };
    match within[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if end + 1 < V1_MOST => return Ok(None),
        [b'\r'] => return Err(HeaderFault::TooLong),
        _ => return Err(HeaderFault::Malformed("the PROXY header's line does not end with CRLF")),
    }
    let line = std::str::from_utf8(&within[V1_START.len().min(end)..end]);
    let line = line.map_err(|_| HeaderFault::Malformed("the PROXY header is not ASCII"))?;
    // Behind UNKNOWN anything may stand, and it means nothing.
    let source = match line.split_once(' ').unwrap_or((line, "")) {
        ("UNKNOWN", _) => Source::Unknown,
        ("TCP4", rest) => addresses_v1::<Ipv4Addr>(rest)?,
        ("TCP6", rest) => addresses_v1::<Ipv6Addr>(rest)?,
        _ => {
            return Err(HeaderFault::Malformed(
                "the PROXY header's protocol is none of TCP4, TCP6 and UNKNOWN",
            ));
        }
    };
    Ok(Some((source, end + 2)))
}

fn addresses_v1<Address: FromStr + Into<IpAddr>>(rest: &str) -> Result<Source, HeaderFault> {
    const WANTS: HeaderFault =
        HeaderFault::Malformed("the PROXY header does not say two addresses of its protocol and two ports");
    let mut parts = rest.split(' ');
    let mut part = || parts.next().ok_or(WANTS);
    let (client, destination) = (part()?, part()?);
    let (client_port, destination_port) = (part()?, part()?);
    if parts.next().is_some() {
        return Err(WANTS);
    }
    let address = |text: &str, port: &str| {
        let address = text.parse::<Address>().map_err(|_| WANTS)?;
        Ok(SocketAddr::new(unmapped(address.into()), port_v1(port).ok_or(WANTS)?))
    };
    Ok(Source::Proxied {
        client: address(client, client_port)?,
        destination: address(destination, destination_port)?,
    })
}

/// 0 to 65535, in digits, without sign and leading zeros.
fn port_v1(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

fn read_v2(bytes: &[u8]) -> Result<Option<(Source, usize)>, HeaderFault> {
    let local = match bytes.get(V2_START.len()) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => {
            return Err(HeaderFault::Malformed(
                "the PROXY header's version is not 2, or its command is not known",
            ));
        }
    };
    let [family, high, low] = match bytes[V2_START.len() + 1..] {
        [family, high, low, ..] => [family, high, low],
        _ => return Ok(None),
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_MOST {
        return Err(HeaderFault::TooLong);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    // The sender's own connection: the rest, family and all, is to be passed over (section 2.2).
    let source = if local { Source::Local } else { proxied_v2(header, family)? };
    Ok(Some((source, length)))
}

fn proxied_v2(header: &[u8], family: u8) -> Result<Source, HeaderFault> {
    let block = &header[V2_FIXED..];
    let (source, addresses) = match family {
        // Without a family nothing says where the addresses end, if there are any: all of it is passed over.
        0x00 => return Ok(Source::Unknown),
        0x11 => pair(block, |address: [u8; 4]| Ipv4Addr::from(address).into())?,
        0x21 => pair(block, |address: [u8; 16]| Ipv6Addr::from(address).into())?,
        // Datagrams and sockets of the file system: known to the protocol, and no address that anyone here could use.
        0x12 => (Source::Unknown, 2 * (4 + 2)),
        0x22 => (Source::Unknown, 2 * (16 + 2)),
        0x31 | 0x32 => (Source::Unknown, 2 * 108),
        _ => {
            return Err(HeaderFault::Malformed("the PROXY header's address family or protocol is not known"));
        }
    };
    check_tlvs(header, V2_FIXED + addresses)?;
    Ok(source)
}

/// Two addresses, then their ports; and the bytes that they take.
fn pair<const LENGTH: usize>(
    block: &[u8],
    address: impl Fn([u8; LENGTH]) -> IpAddr,
) -> Result<(Source, usize), HeaderFault> {
    let both = || {
        let (client, rest) = block.split_first_chunk::<LENGTH>()?;
        let (destination, rest) = rest.split_first_chunk::<LENGTH>()?;
        let (client_port, rest) = rest.split_first_chunk::<2>()?;
        let (destination_port, _) = rest.split_first_chunk::<2>()?;
        let place = |ip: &[u8; LENGTH], port: &[u8; 2]| {
            SocketAddr::new(unmapped(address(*ip)), u16::from_be_bytes(*port))
        };
        Some(Source::Proxied {
            client: place(client, client_port),
            destination: place(destination, destination_port),
        })
    };
    Ok((both().ok_or(SHORT)?, 2 * (LENGTH + 2)))
}

const SHORT: HeaderFault = HeaderFault::Malformed("the PROXY header is shorter than its addresses");

/// Walks through the TLVs from `start`: each lies within the header, and a checksum is right.
fn check_tlvs(header: &[u8], start: usize) -> Result<(), HeaderFault> {
    let mut at = start;
    let mut summed = false;
    let mut rest = header.get(start..).ok_or(SHORT)?;
    while !rest.is_empty() {
        let [kind, high, low, behind @ ..] = rest else {
            return Err(HeaderFault::Malformed("a TLV of the PROXY header is cut off"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, next)) = behind.split_at_checked(length) else {
            return Err(HeaderFault::Malformed("a TLV reaches beyond the PROXY header"));
        };
        match *kind {
            CRC32C => {
                let told = value.try_into().ok().map(u32::from_be_bytes);
                if summed || told != Some(checksum(header, at + 3)) {
                    return Err(HeaderFault::Malformed("the PROXY header's checksum is wrong"));
                }
                summed = true;
            }
            UNIQUE_ID if length > UNIQUE_ID_MOST => {
                return Err(HeaderFault::Malformed("the PROXY header's unique id is longer than 128 bytes"));
            }
            _ => {}
        }
        at += 3 + length;
        rest = next;
    }
    Ok(())
}

/// CRC32c (RFC 9260 appendix A) of the header, the four bytes of the checksum itself, at `hole`, taken as zeros.
fn checksum(header: &[u8], hole: usize) -> u32 {
    let step = |sum: u32, (at, byte): (usize, &u8)| {
        let byte = if (hole..hole + 4).contains(&at) { 0 } else { *byte };
        CRC_TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8)
    };
    !header.iter().enumerate().fold(!0, step)
}

/// What each value of a byte adds to the sum: the polynomial of Castagnoli, bits reversed.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forward::proxy_header::Spoken;

    fn proxied(client: &str, destination: &str) -> Source {
        Source::Proxied { client: client.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&V2_START[..], &[command, family], &length, block].concat()
    }

    const INET: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x82, 0x35, 0x01, 0xbb];

    fn inet(tlvs: &[u8]) -> Vec<u8> {
        v2(0x21, 0x11, &[&INET, tlvs].concat())
    }

    fn inet6(client: &str, destination: &str, ports: [u8; 4]) -> Vec<u8> {
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        v2(0x21, 0x21, &[&octets(client)[..], &octets(destination), &ports].concat())
    }

    /// With a checksum behind the addresses and before another TLV.
    fn summed() -> Vec<u8> {
        let mut header = inet(&[CRC32C, 0, 4, 0, 0, 0, 0, 0x04, 0, 1, 9]);
        let sum = checksum(&header, V2_FIXED + INET.len() + 3);
        header[V2_FIXED + INET.len() + 3..][..4].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn good() -> Vec<(Vec<u8>, Source)> {
        let four = proxied("192.0.2.7:33333", "198.51.100.1:443");
        let six = proxied("[2001:db8::7]:1", "[2001:db8::1]:443");
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        let most = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MOST - 16));
        assert_eq!(most.len(), V1_MOST);
        vec![
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 33333 443\r\n".to_vec(), four),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n".to_vec(), six),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 33333 443\r\n".to_vec(), four),
            (
                b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(),
                proxied("0.0.0.0:0", "255.255.255.255:65535"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Unknown),
            (b"PROXY UNKNOWN \0 \x7f\r\n".to_vec(), Source::Unknown),
            (longest.into(), Source::Unknown),
            (most.into(), Source::Unknown),
            (inet(&[]), four),
            (inet6("2001:db8::7", "2001:db8::1", [0, 1, 1, 0xbb]), six),
            (inet6("::ffff:192.0.2.7", "::ffff:198.51.100.1", [0x82, 0x35, 1, 0xbb]), four),
            (inet(&[0x02, 0, 3, b'a', b'.', b'b', 0x04, 0, 0, 0xee, 0, 1, 7]), four),
            (inet(&[&[UNIQUE_ID, 0, 128][..], &[7; 128]].concat()), four),
            (summed(), four),
            (v2(0x20, 0x00, &[]), Source::Local),
            (v2(0x20, 0xff, &[CRC32C, 0, 9]), Source::Local),
            (v2(0x20, 0x11, &INET), Source::Local),
            (v2(0x21, 0x00, &[]), Source::Unknown),
            (v2(0x21, 0x00, &[1, 2, 3]), Source::Unknown),
            (v2(0x21, 0x12, &INET), Source::Unknown),
            (v2(0x21, 0x22, &[0; 36]), Source::Unknown),
            (v2(0x21, 0x31, &[0; 216]), Source::Unknown),
            (v2(0x21, 0x32, &[0; 216]), Source::Unknown),
            (v2(0x20, 0x00, &[0; HEADER_MOST - V2_FIXED]), Source::Local),
        ]
    }

    #[test]
    fn a_header_says_whose_connection_it_is_and_where_it_ends() {
        for (header, source) in good() {
            let text = String::from_utf8_lossy(&header).into_owned();
            assert_eq!(read(&header), Ok(Some((source, header.len()))), "{text:?}");
            let behind = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(read(&behind), Ok(Some((source, header.len()))), "{text:?}");
        }
    }

    #[test]
    fn a_header_that_has_not_come_whole_is_waited_for() {
        for (header, _) in good() {
            for cut in 0..header.len() {
                assert_eq!(read(&header[..cut]), Ok(None), "{cut} bytes of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        for bytes in [
            &b"G"[..],
            b"PROXY\t",
            b"PROXX",
            b"proxy ",
            b"\r\n\r\n\r",
            b"\x16\x03\x01",
            b" PROXY",
            b"\n",
            b"PRI * ",
        ] {
            assert_eq!(read(bytes), Err(HeaderFault::Missing), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_that_breaks_a_rule_is_refused() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 \r\n",
            "PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.7\t198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 00\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1  2\r\n",
            "PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP6 [2001:db8::7] [2001:db8::1] 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
            "PROXY TCP4 localhost 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r2\r\n",
            "PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY unknown\r\n",
            "PROXY UNKNOWN\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 \u{661} 2\r\n",
        ] {
            assert!(matches!(read(line.as_bytes()), Err(HeaderFault::Malformed(_))), "{line:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(V1_MOST));
        for cut in V1_MOST..long.len() {
            assert_eq!(read(&long.as_bytes()[..cut]), Err(HeaderFault::TooLong));
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MOST - 15));
        assert_eq!(read(long.as_bytes()), Err(HeaderFault::TooLong));
    }

    #[test]
    fn a_binary_header_that_breaks_a_rule_is_refused() {
        let mut wrong_sum = summed();
        wrong_sum[V2_FIXED] ^= 1;
        let twice = {
            let one = [CRC32C, 0, 4, 0, 0, 0, 0];
            inet(&[one, one].concat())
        };
        let mut other_version = inet(&[]);
        other_version[V2_START.len()] = 0x11;
        for header in [
            wrong_sum,
            twice,
            other_version,
            v2(0x22, 0x11, &INET),
            v2(0x2f, 0x11, &INET),
            v2(0x21, 0x01, &INET),
            v2(0x21, 0x10, &INET),
            v2(0x21, 0x13, &INET),
            v2(0x21, 0x41, &INET),
            v2(0x21, 0x11, &INET[..11]),
            v2(0x21, 0x11, &[]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x12, &INET[..11]),
            inet(&[0x02]),
            inet(&[0x02, 0]),
            inet(&[0x02, 0, 2, b'a']),
            inet(&[0x02, 0xff, 0xff, b'a']),
            inet(&[CRC32C, 0, 0]),
            inet(&[CRC32C, 0, 3, 0, 0, 0]),
            inet(&[&[UNIQUE_ID, 0, 129][..], &[7; 129]].concat()),
        ] {
            assert!(matches!(read(&header), Err(HeaderFault::Malformed(_))), "{header:?}");
        }
    }

    #[test]
    fn a_binary_header_that_would_be_too_long_is_not_waited_for() {
        let length = u16::try_from(HEADER_MOST - V2_FIXED + 1).unwrap().to_be_bytes();
        let start = [&V2_START[..], &[0x20, 0], &length].concat();
        assert_eq!(read(&start), Err(HeaderFault::TooLong));
    }

    #[test]
    fn the_checksum_is_crc32c() {
        // The usual check value, of the digits 1 to 9; the hole lies behind them.
        assert_eq!(checksum(b"123456789", 9), 0xe306_9283);
        // RFC 3720 appendix B.4: 32 bytes of zeros, whatever stands in the hole.
        let mut zeros = [0; 32];
        zeros[4..8].fill(0xff);
        assert_eq!(checksum(&zeros, 4), 0x8a91_36aa);
    }

    #[test]
    fn what_workers_are_told_is_read_back() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (client, destination) in [
            ("192.0.2.7:1", "198.51.100.1:443"),
            ("[2001:db8::7]:1", "[2001:db8::1]:443"),
            ("192.0.2.7:65535", "[::1]:0"),
        ] {
            let (client, destination) = (address(client), address(destination));
            let header = Spoken::For { client, destination }.header();
            assert_eq!(read(&header), Ok(Some((Source::Proxied { client, destination }, header.len()))));
        }
        let header = Spoken::ForNobody.header();
        assert_eq!(read(&header), Ok(Some((Source::Unknown, header.len()))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), v2 in any::<bool>()) {
            let bytes = if v2 { [V2_START, &bytes[..]].concat() } else { [V1_START, &bytes[..]].concat() };
            if let Ok(Some((_, length))) = read(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(read(&bytes[..length]), read(&bytes));
                for cut in 0..length {
                    prop_assert_eq!(read(&bytes[..cut]), Ok(None));
                }
            }
        }

        #[test]
        fn every_pair_of_addresses_comes_through(client: (u32, u16), destination: (u32, u16), six: (u128, u128)) {
            let four = |(ip, port): (u32, u16)| SocketAddr::new(Ipv4Addr::from(ip).into(), port);
            let (from, to) = (four(client), four(destination));
            let line = format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
            let source = Source::Proxied { client: from, destination: to };
            prop_assert_eq!(read(line.as_bytes()), Ok(Some((source, line.len()))));
            let (from, to) = (Ipv6Addr::from(six.0), Ipv6Addr::from(six.1));
            let line = format!("PROXY TCP6 {from} {to} {} {}\r\n", client.1, destination.1);
            let place = |ip: Ipv6Addr, port| SocketAddr::new(unmapped(ip.into()), port);
            let source = Source::Proxied { client: place(from, client.1), destination: place(to, destination.1) };
            prop_assert_eq!(read(line.as_bytes()), Ok(Some((source, line.len()))));
        }
    }
}
