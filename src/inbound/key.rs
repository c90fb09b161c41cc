//! What `balance: ring` goes by: one number for the same caller or the same header, on every start.

use http::HeaderMap;

use crate::balance::ring::key_of;
use crate::config::{Balance, RingKey};

/// The key of a request with these fields by the caller of this `name`; 0 where nothing asks for one.
pub(super) fn of(balance: &Balance, fields: &HeaderMap, name: &str) -> u64 {
    match balance {
        Balance::Ring(RingKey::Header(header)) => {
            key_of(fields.get(header).map_or(name.as_bytes(), |value| value.as_bytes()))
        }
        Balance::Ring(RingKey::Caller) => key_of(name.as_bytes()),
        Balance::Weighted | Balance::LeastRequests => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn the_header_decides_and_the_caller_where_it_is_missing() {
        let ring = Balance::Ring(RingKey::Header(HeaderName::from_static("x-user")));
        let mut fields = HeaderMap::new();
        let missing = of(&ring, &fields, "office");
        assert_eq!(missing, of(&Balance::Ring(RingKey::Caller), &fields, "office"));
        fields.insert("x-user", "7".parse().unwrap());
        let seven = of(&ring, &fields, "office");
        assert_eq!(seven, of(&ring, &fields, "web"), "whoever asks for that user");
        fields.insert("x-user", "8".parse().unwrap());
        assert!(of(&ring, &fields, "office") != seven && seven != missing);
    }

    #[test]
    fn nothing_is_computed_where_nothing_asks() {
        assert_eq!(of(&Balance::Weighted, &HeaderMap::new(), "office"), 0);
        assert_eq!(of(&Balance::LeastRequests, &HeaderMap::new(), "office"), 0);
    }
}
