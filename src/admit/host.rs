//! One canonical form of a request's host (RFC 9110 section 7.2, RFC 3986 section 3.2.2): lower case, no port, no
//! trailing dot, IPv6 in its one short form. Rules compare it; what is not clearly one host is refused.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use crate::refusal::{Reason, Refusal};

/// A longer name cannot exist in DNS (RFC 1035 section 2.3.4), with room for an escaped form.
const LONGEST: usize = 255;

/// Why a host is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFault {
    /// Nothing before the port.
    Empty,
    /// Longer than 255 bytes.
    TooLong,
    /// A byte that no host may hold: user information, spaces, commas, percent-encoding, anything above 0x7F.
    ForbiddenByte,
    /// Two dots in a row, or one in front.
    EmptyLabel,
    /// `[…]` that is not an IPv6 address.
    BadLiteral,
    /// Not a number from 1 to 65535.
    BadPort,
}

impl HostFault {
    /// In words, for the log and the body.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Empty => "the host is empty",
            Self::TooLong => "the host is longer than 255 bytes",
            Self::ForbiddenByte => "the host holds a byte that no host may hold",
            Self::EmptyLabel => "the host has an empty label",
            Self::BadLiteral => "the host is not an IPv6 address in brackets",
            Self::BadPort => "the host's port is not a number from 1 to 65535",
        }
    }

    /// The refusal: 400.
    pub const fn refusal(self) -> Refusal {
        Refusal::new(Reason::BadRequest, self.detail())
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

/// The canonical host and the port, if one is given. Borrowed if `raw` has that form already.
///
/// # Errors
/// A [`HostFault`] if it is not exactly one host.
pub fn canonical(raw: &str) -> Result<(Cow<'_, str>, Option<u16>), HostFault> {
    if raw.len() > LONGEST + ":65535".len() {
        return Err(HostFault::TooLong);
    }
    if raw.starts_with('[') {
        return literal(raw);
    }
    let bytes = raw.as_bytes();
    let (mut upper, mut before, mut end) = (false, DOT, 0);
    while let Some(byte) = bytes.get(end) {
        let kind = KIND[usize::from(*byte)];
        match kind {
            PLAIN => {}
            UPPER => upper = true,
            DOT if before == DOT && end > 0 => return Err(HostFault::EmptyLabel),
            DOT => {}
            COLON => break,
            _ => return Err(HostFault::ForbiddenByte),
        }
        before = kind;
        end += 1;
    }
    let port = if end < bytes.len() { parse_port(&bytes[end + 1..])? } else { None };
    // One dot may stand at the end.
    let name = &raw[..end - usize::from(end > 0 && before == DOT)];
    match name.as_bytes() {
        [] => return Err(HostFault::Empty),
        [b'.', ..] => return Err(HostFault::EmptyLabel),
        name if name.len() > LONGEST => return Err(HostFault::TooLong),
        _ => {}
    }
    Ok((if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }, port))
}

fn literal(raw: &str) -> Result<(Cow<'_, str>, Option<u16>), HostFault> {
    let end = raw.find(']').ok_or(HostFault::BadLiteral)?;
    let (whole, rest) = raw.split_at(end + 1);
    let address: Ipv6Addr = whole[1..end].parse().map_err(|_| HostFault::BadLiteral)?;
    let port = match rest.strip_prefix(':') {
        Some(port) => parse_port(port.as_bytes())?,
        None if rest.is_empty() => None,
        None => return Err(HostFault::BadLiteral),
    };
    let built = format!("[{address}]");
    Ok((if built == whole { Cow::Borrowed(whole) } else { Cow::Owned(built) }, port))
}

/// An empty port is allowed and says nothing (RFC 3986 section 3.2.3).
fn parse_port(digits: &[u8]) -> Result<Option<u16>, HostFault> {
    if digits.is_empty() {
        return Ok(None);
    }
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HostFault::BadPort);
    }
    let port = digits.iter().fold(0, |port, digit| port * 10 + u32::from(digit - b'0'));
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(HostFault::BadPort),
    }
}

const FORBIDDEN: u8 = 0;
const PLAIN: u8 = 1;
const UPPER: u8 = 2;
const DOT: u8 = 3;
const COLON: u8 = 4;

/// What each byte is in a host's name (RFC 3986 section 3.2.2).
const KIND: [u8; 256] = {
    let mut kind = [FORBIDDEN; 256];
    let mut byte = 0;
    while byte < 128 {
        kind[byte] = match byte as u8 {
            b'A'..=b'Z' => UPPER,
            b'.' => DOT,
            b':' => COLON,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => PLAIN,
            // The sub-delims of RFC 3986 but the comma, which would let a list pass for one host.
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' => PLAIN,
            _ => FORBIDDEN,
        };
        byte += 1;
    }
    kind
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_compared_without_case_port_and_trailing_dot() {
        for (raw, host, port) in [
            ("Example.TEST", "example.test", None),
            ("example.test:8080", "example.test", Some(8080)),
            ("example.test.:80", "example.test", Some(80)),
            ("example.test:", "example.test", None),
            ("127.0.0.1:4070", "127.0.0.1", Some(4070)),
            ("[::1]", "[::1]", None),
            ("[0:0::1]:4070", "[::1]", Some(4070)),
            ("[2001:DB8::A]", "[2001:db8::a]", None),
            ("my_host", "my_host", None),
        ] {
            let (got, got_port) = canonical(raw).unwrap();
            assert_eq!((&*got, got_port), (host, port), "{raw}");
        }
        assert!(matches!(canonical("example.test:80"), Ok((Cow::Borrowed(_), _))));
    }

    #[test]
    fn what_is_not_one_host_is_refused() {
        use HostFault as F;
        for (raw, fault) in [
            ("", F::Empty),
            (":80", F::Empty),
            (".", F::Empty),
            ("a b", F::ForbiddenByte),
            ("a,b", F::ForbiddenByte),
            ("user@a", F::ForbiddenByte),
            ("a/b", F::ForbiddenByte),
            ("a%2eb", F::ForbiddenByte),
            ("ä", F::ForbiddenByte),
            ("a..b", F::EmptyLabel),
            (".a", F::EmptyLabel),
            ("a..", F::EmptyLabel),
            ("a:b", F::BadPort),
            ("a:0", F::BadPort),
            ("a:65536", F::BadPort),
            ("a:+80", F::BadPort),
            ("a:80:80", F::BadPort),
            ("::1", F::BadPort),
            ("[::1", F::BadLiteral),
            ("[::1]x", F::BadLiteral),
            ("[fe80::1%25eth0]", F::BadLiteral),
            ("[1.2.3.4]", F::BadLiteral),
        ] {
            assert_eq!(canonical(raw), Err(fault), "{raw}");
        }
        assert_eq!(canonical(&"a".repeat(256)), Err(F::TooLong));
    }

    /// The same, told apart piece by piece.
    fn piecewise(raw: &str) -> Option<(String, Option<u16>)> {
        let (name, port) = raw.split_once(':').map_or((raw, None), |(name, port)| (name, Some(port)));
        let name = name.strip_suffix('.').unwrap_or(name);
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 5 => {
                Some(digits.parse::<u16>().ok().filter(|port| *port > 0)?)
            }
            Some(_) => return None,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte);
        let sound = !name.is_empty() && name.len() <= LONGEST && name.bytes().all(plain);
        (sound && name.split('.').all(|label| !label.is_empty())).then(|| (name.to_ascii_lowercase(), port))
    }

    proptest! {
        #[test]
        fn one_pass_reads_what_pieces_say(raw in "([a-cA-C.:0-9!,_~-]|\\PC){0,12}") {
            prop_assume!(!raw.starts_with('['));
            let got = canonical(&raw).ok().map(|(host, port)| (host.into_owned(), port));
            prop_assert_eq!(got, piecewise(&raw));
        }

        #[test]
        fn the_form_of_a_form_is_itself(raw in "([a-cA-C.:\\[\\]0-9-]|\\PC){0,20}") {
            if let Ok((once, _)) = canonical(&raw) {
                let again = canonical(&once).map(|(twice, port)| (twice.into_owned(), port));
                prop_assert_eq!(again, Ok((once.to_string(), None)));
            }
        }
    }
}
