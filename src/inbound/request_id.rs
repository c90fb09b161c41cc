//! The identity of a request: believed from a trusted proxy if it is sane, made otherwise.

use std::fmt::Write;
use std::rc::Rc;

use http::header::HeaderMap;

use crate::clock::Moment;
use crate::refusal::page::REQUEST_ID;

/// The longest id that is believed, in characters.
const LONGEST: usize = 128;

/// A request's id: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug)]
pub(super) struct RequestId(Rc<str>);

impl RequestId {
    /// The id that the request brings, if its peer is trusted and the id is one sane value; else a new one.
    pub(super) fn of(headers: &HeaderMap, trusted: bool, now: Moment) -> Self {
        let mut brought = headers.get_all(REQUEST_ID).iter();
        match (trusted, brought.next(), brought.next()) {
            (true, Some(value), None) => match value.to_str() {
                Ok(id) if is_sane(id) => Self(id.into()),
                _ => Self::new(now),
            },
            _ => Self::new(now),
        }
    }

    /// A new one: a UUID of version 7 (RFC 9562 section 5.7), so that ids sort by time.
    pub(super) fn new(now: Moment) -> Self {
        let random = fastrand::u128(..);
        let millis = u128::from(now.unix_micros / 1_000) & 0xffff_ffff_ffff;
        let uuid = (millis << 80)
            | (7 << 76)
            | ((random & 0xfff) << 64)
            | (2 << 62)
            | ((random >> 66) & ((1 << 62) - 1));
        let mut text = String::with_capacity(36);
        let part = |high: u32, low: u32| (uuid >> low) & ((1 << (high - low)) - 1);
        let _ = write!(
            text,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(128, 96),
            part(96, 80),
            part(80, 64),
            part(64, 48),
            part(48, 0)
        );
        Self(text.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn shared(&self) -> Rc<str> {
        Rc::clone(&self.0)
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
        let text = id.as_str();
        assert_eq!(text.len(), 36, "{text}");
        assert!(text.starts_with("018bcfe5-6800-7"), "{text}");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        assert_ne!(text, RequestId::new(Moment::at(1_700_000_000_000_000_000)).as_str());
    }

    #[test]
    fn an_id_is_believed_only_from_a_trusted_peer_and_only_if_sane() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, http::HeaderValue::from_static(value));
            headers
        };
        let now = Moment::at(5);
        assert_eq!(RequestId::of(&with("abc-1"), true, now).as_str(), "abc-1");
        assert_ne!(RequestId::of(&with("abc-1"), false, now).as_str(), "abc-1");
        assert_ne!(RequestId::of(&with("two words"), true, now).as_str(), "two words");
        let mut doubled = with("abc-1");
        doubled.append(REQUEST_ID, http::HeaderValue::from_static("abc-2"));
        assert_ne!(RequestId::of(&doubled, true, now).as_str(), "abc-1");
    }
}
