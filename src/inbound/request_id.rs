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
        let mut text = [b'-'; 36];
        let [first, second] = [high >> 32, high].map(|half| hex(half as u32));
        let [third, fourth] = [low >> 32, low].map(|half| hex(half as u32));
        text[..8].copy_from_slice(&first);
        text[9..13].copy_from_slice(&second[..4]);
        text[14..18].copy_from_slice(&second[4..]);
        text[19..23].copy_from_slice(&third[..4]);
        text[24..28].copy_from_slice(&third[4..]);
        text[28..].copy_from_slice(&fourth);
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

/// Eight digits, all made in one word: no table is touched.
fn hex(word: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Each four bits are moved to a byte of their own.
    let word = u64::from(word);
    let word = (word << 16 | word) & 0x0000_ffff_0000_ffff;
    let word = (word << 8 | word) & 0x00ff_00ff_00ff_00ff;
    let word = (word << 4 | word) & 0x0f0f_0f0f_0f0f_0f0f;
    // From ten on there is a letter.
    let letters = ((word + 6 * EACH) >> 4) & EACH;
    (word + u64::from(b'0') * EACH + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
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
    fn digits_are_those_of_the_number() {
        for word in (0..=u16::MAX).map(|low| u32::from(low) << 16 | u32::from(!low)) {
            assert_eq!(str::from_utf8(&hex(word)).unwrap(), format!("{word:08x}"));
        }
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
