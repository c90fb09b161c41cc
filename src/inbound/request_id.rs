//! The identity of a request: believed from a trusted proxy if it is sane, made otherwise.

use http::header::{HeaderMap, HeaderValue};

use crate::clock::Moment;
use crate::refusal::page::REQUEST_ID;

/// The longest id that is believed, in characters.
const LONGEST: usize = 128;

/// The id that the request brings, if its peer is trusted and the id is one sane value; else a new one.
pub(super) fn of(headers: &HeaderMap, trusted: bool, now: Moment) -> HeaderValue {
    if !trusted {
        return new(now);
    }
    let mut brought = headers.get_all(REQUEST_ID).iter();
    match (brought.next(), brought.next()) {
        (Some(value), None) if value.to_str().is_ok_and(is_sane) => value.clone(),
        _ => new(now),
    }
}

/// A new one: a UUID of version 7 (RFC 9562 section 5.7), so that ids sort by time.
pub(super) fn new(now: Moment) -> HeaderValue {
    let millis = u128::from(now.unix_micros / 1_000) & 0xffff_ffff_ffff;
    let (high, low) = (u128::from(fastrand::u16(..)) & 0xfff, u128::from(fastrand::u64(..)) >> 2);
    let uuid = (millis << 80) | (7 << 76) | (high << 64) | (2 << 62) | low;
    let mut text = [b'-'; 36];
    let mut place = 0;
    for (number, byte) in uuid.to_be_bytes().into_iter().enumerate() {
        place += usize::from(matches!(number, 4 | 6 | 8 | 10));
        text[place] = b"0123456789abcdef"[usize::from(byte >> 4)];
        text[place + 1] = b"0123456789abcdef"[usize::from(byte & 0xf)];
        place += 2;
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

fn is_sane(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_id_is_a_uuid_of_version_7() {
        let id = new(Moment::at(1_700_000_000_000_000_000));
        let text = id.to_str().unwrap();
        assert_eq!(text.len(), 36, "{text}");
        assert!(text.starts_with("018bcfe5-6800-7"), "{text}");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        assert_ne!(text, new(Moment::at(1_700_000_000_000_000_000)).to_str().unwrap());
    }

    #[test]
    fn an_id_is_believed_only_from_a_trusted_peer_and_only_if_sane() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, http::HeaderValue::from_static(value));
            headers
        };
        let now = Moment::at(5);
        assert_eq!(of(&with("abc-1"), true, now), "abc-1");
        assert_ne!(of(&with("abc-1"), false, now), "abc-1");
        assert_ne!(of(&with("two words"), true, now), "two words");
        let mut doubled = with("abc-1");
        doubled.append(REQUEST_ID, http::HeaderValue::from_static("abc-2"));
        assert_ne!(of(&doubled, true, now), "abc-1");
    }
}
