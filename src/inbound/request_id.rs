//! The identity of a request: believed from a trusted proxy if it is sane, made otherwise.

use crate::clock::Moment;
use crate::fields::{Fields, text};

const REQUEST_ID: &str = "x-request-id";

/// The longest id that is believed, in characters.
const LONGEST: usize = 128;

/// The identity of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestId {
    /// Made here: a UUID of version 7 as text.
    Made([u8; 36]),
    /// A trusted proxy's.
    Brought(Box<[u8]>),
}

/// Two digits for each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    table
};

impl RequestId {
    /// The id that the request brings, if its peer is trusted and the id is one sane value; else a new one.
    pub(super) fn of(fields: &Fields, trusted: bool, now: Moment) -> Self {
        if !trusted {
            return Self::new(now);
        }
        let mut brought = fields.get_all(REQUEST_ID);
        match (brought.next(), brought.next()) {
            (Some(value), None) if text(value).is_some_and(is_sane) => Self::Brought(value.into()),
            _ => Self::new(now),
        }
    }

    /// A new one: a UUID of version 7 (RFC 9562 section 5.7), so that ids sort by time.
    pub(super) fn new(now: Moment) -> Self {
        let millis = now.unix_micros / 1_000;
        let high = (millis << 16) | (7 << 12) | (u64::from(fastrand::u16(..)) & 0xfff);
        let low = (2 << 62) | (fastrand::u64(..) >> 2);
        let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
        let mut text = [b'-'; 36];
        // Where each byte's digits stand, around the hyphens.
        let places = [[0, 2, 4, 6, 9, 11, 14, 16], [19, 21, 24, 26, 28, 30, 32, 34]];
        for (bytes, places) in [high, low].into_iter().zip(places) {
            for (byte, place) in bytes.into_iter().zip(places) {
                let [first, second] = HEX[usize::from(byte)];
                text[place] = first;
                text[place + 1] = second;
            }
        }
        Self::Made(text)
    }

    /// Whether it is of letters, digits and hyphens, as it was made here.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self, Self::Made(_))
    }

    /// Its text: graphic ASCII.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Made(text) => text,
            Self::Brought(value) => value,
        }
    }
}

fn is_sane(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_id_is_a_uuid_of_version_7() {
        let id = RequestId::new(Moment::at(1_700_000_000_000_000_000));
        let text = text(id.as_bytes()).unwrap();
        assert_eq!(text.len(), 36, "{text}");
        assert!(text.starts_with("018bcfe5-6800-7"), "{text}");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        let digits = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        assert!(text.bytes().enumerate().all(digits), "{text}");
        assert_ne!(text.as_bytes(), RequestId::new(Moment::at(1_700_000_000_000_000_000)).as_bytes());
    }

    #[test]
    fn an_id_is_believed_only_from_a_trusted_peer_and_only_if_sane() {
        let with = |value: &str| {
            let mut fields = Fields::new();
            fields.add(REQUEST_ID, value.as_bytes());
            fields
        };
        let now = Moment::at(5);
        let of = |fields: &Fields, trusted| RequestId::of(fields, trusted, now).as_bytes().to_vec();
        assert_eq!(of(&with("abc-1"), true), b"abc-1");
        assert_ne!(of(&with("abc-1"), false), b"abc-1");
        assert_ne!(of(&with("two words"), true), b"two words");
        let mut doubled = with("abc-1");
        doubled.add(REQUEST_ID, b"abc-2");
        assert_ne!(of(&doubled, true), b"abc-1");
    }
}
