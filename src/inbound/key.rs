//! What `balance: ring` goes by: one number for the same caller or the same header, on every start.

use crate::balance::ring::key_of;
use crate::config::{Balance, RingKey};
use crate::fields::Fields;

/// The key of a request with these fields by the caller of this `name`; 0 where nothing asks for one.
#[inline]
pub(super) fn of(balance: &Balance, fields: &Fields, name: &str) -> u64 {
    match balance {
        Balance::Ring(ring) => on_ring(ring, fields, name),
        Balance::Weighted | Balance::LeastRequests => 0,
    }
}

#[inline(never)]
fn on_ring(ring: &RingKey, fields: &Fields, name: &str) -> u64 {
    match ring {
        RingKey::Header(header) => key_of(fields.get(header.as_str()).unwrap_or(name.as_bytes())),
        RingKey::Caller => key_of(name.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn the_header_decides_and_the_caller_where_it_is_missing() {
        let ring = Balance::Ring(RingKey::Header(HeaderName::from_static("x-user")));
        let mut fields = Fields::new();
        let missing = of(&ring, &fields, "office");
        assert_eq!(missing, of(&Balance::Ring(RingKey::Caller), &fields, "office"));
        fields.set("x-user", b"7");
        let seven = of(&ring, &fields, "office");
        assert_eq!(seven, of(&ring, &fields, "web"), "whoever asks for that user");
        fields.set("x-user", b"8");
        assert!(of(&ring, &fields, "office") != seven && seven != missing);
    }

    #[test]
    fn nothing_is_computed_where_nothing_asks() {
        assert_eq!(of(&Balance::Weighted, &Fields::default(), "office"), 0);
        assert_eq!(of(&Balance::LeastRequests, &Fields::default(), "office"), 0);
    }
}
