//! What stands among the fields of a request's head, seen in one pass: most of what the way of a request asks for is
//! not there.

use super::headers::is_forged;
use crate::fields::Fields;

/// The fields of a head that its way looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    fields: &'a Fields,
    sight: Sight,
}

/// What was seen among fields, and holds for all that are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Where the first `Host` stands among them, the first `Content-Length`, and the first that bears an API key.
    host: Option<u32>,
    length: Option<u32>,
    key: Option<u32>,
    keys: u32,
    has: Has,
}

/// Which fields are there. It outlives the look at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has(u16);

impl Has {
    /// `Accept`.
    pub const ACCEPT: Self = Self(1);
    /// `Expect`.
    pub const EXPECT: Self = Self(1 << 1);
    /// `Upgrade`.
    pub const UPGRADE: Self = Self(1 << 2);
    /// `TE`.
    pub const TE: Self = Self(1 << 3);
    /// `Transfer-Encoding`.
    pub const TRANSFER_ENCODING: Self = Self(1 << 4);
    /// `X-Request-Id`.
    pub const REQUEST_ID: Self = Self(1 << 6);
    /// `X-Forwarded-For`.
    pub const FORWARDED_FOR: Self = Self(1 << 7);
    /// `X-Forwarded-Host`.
    pub const FORWARDED_HOST: Self = Self(1 << 9);
    /// One at least that may not go on to the worker.
    pub const GOES: Self = Self(1 << 10);

    /// Whether any of `these` is there.
    pub const fn any(self, these: Self) -> bool {
        self.0 & these.0 != 0
    }

    const fn and(self, these: Self) -> Self {
        Self(self.0 | these.0)
    }
}

impl<'a> Seen<'a> {
    /// Looks at these fields. `key` is the name of the field with an API key; `trusted` says whether what the peer
    /// tells of a request's way is believed, and so goes on.
    pub fn of(fields: &'a Fields, key: &str, trusted: bool) -> Self {
        let mut seen = Sight { host: None, length: None, key: None, keys: 0, has: Has::default() };
        for ((name, _), n) in fields.iter().zip(0..) {
            if name == key.as_bytes() {
                seen.key = seen.key.or(Some(n));
                seen.keys += 1;
            }
            let forwarded = if trusted { Has::default() } else { Has::GOES };
            let has = match (name.len(), name) {
                (2, b"te") => Has::TE.and(Has::GOES),
                (4, b"host") => {
                    seen.host = seen.host.or(Some(n));
                    continue;
                }
                (6, b"accept") => Has::ACCEPT,
                (6, b"expect") => Has::EXPECT,
                (7, b"upgrade") => Has::UPGRADE.and(Has::GOES),
                (9, b"forwarded" | b"x-real-ip") => forwarded,
                (10, b"connection" | b"keep-alive") => Has::GOES,
                (12, b"x-request-id") => Has::REQUEST_ID,
                (14, b"content-length") => {
                    seen.length = seen.length.or(Some(n));
                    continue;
                }
                (14, b"http2-settings") => Has::GOES,
                (15, b"x-forwarded-for") => Has::FORWARDED_FOR.and(forwarded),
                (16, b"x-forwarded-host") => Has::FORWARDED_HOST.and(forwarded),
                (17, b"x-forwarded-proto") => forwarded,
                (17, b"transfer-encoding") => Has::TRANSFER_ENCODING.and(Has::GOES),
                (16, b"proxy-connection") | (18, b"proxy-authenticate") | (19, b"proxy-authorization") => {
                    Has::GOES
                }
                _ if is_forged(name, trusted) => Has::GOES,
                _ => continue,
            };
            seen.has = seen.has.and(has);
        }
        Self { fields, sight: seen }
    }

    /// The same of fields that are those of which this was seen, with the same `key` and `trusted`.
    pub const fn again(fields: &'a Fields, sight: Sight) -> Self {
        Self { fields, sight }
    }

    /// What was seen.
    pub const fn sight(&self) -> Sight {
        self.sight
    }

    /// The first `Host`.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.sight.host.and_then(|n| self.fields.nth(n))
    }

    /// The first `Content-Length`.
    pub fn length(&self) -> Option<&'a [u8]> {
        self.sight.length.and_then(|n| self.fields.nth(n))
    }

    /// The first of the fields that bear an API key.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.sight.key.and_then(|n| self.fields.nth(n))
    }

    /// How many of those there are.
    pub const fn keys(&self) -> u32 {
        self.sight.keys
    }

    /// What else is there.
    pub const fn has(&self) -> Has {
        self.sight.has
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::headers::is_of_one_hop;
    use super::*;

    #[rustfmt::skip]
    const NAMES: [&str; 32] = [
        "te", "via", "host", "accept", "expect", "upgrade", "forwarded", "x-real-ip", "connection", "keep-alive",
        "x-request-id", "content-length", "http2-settings", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
        "x-forwarded-client-cert", "x-forwarded-port", "transfer-encoding", "proxy-connection", "proxy-authenticate",
        "proxy-authorization", "x-buckler-caller", "x-buckler-other", "a_b", "x-api-key", "user-agent", "cookie",
        "trailer", "x-a", "accept-encoding", "x-forwardedfor",
    ];

    proptest! {
        /// As the fields themselves say, one name after another.
        #[test]
        fn one_pass_sees_what_single_looks_do(
            picked in proptest::collection::vec(0..NAMES.len(), 0..12),
            trusted: bool,
        ) {
            let mut fields = Fields::new();
            for (n, name) in picked.iter().enumerate() {
                fields.add(NAMES[*name], format!("v{n}").as_bytes());
            }
            let seen = Seen::of(&fields, "x-api-key", trusted);
            prop_assert_eq!(seen.host(), fields.get("host"));
            prop_assert_eq!(seen.length(), fields.get("content-length"));
            prop_assert_eq!(seen.key(), fields.get("x-api-key"));
            prop_assert_eq!(seen.keys() as usize, fields.get_all("x-api-key").count());
            for (has, name) in [
                (Has::ACCEPT, "accept"), (Has::EXPECT, "expect"), (Has::UPGRADE, "upgrade"), (Has::TE, "te"),
                (Has::TRANSFER_ENCODING, "transfer-encoding"), (Has::REQUEST_ID, "x-request-id"),
                (Has::FORWARDED_FOR, "x-forwarded-for"), (Has::FORWARDED_HOST, "x-forwarded-host"),
            ] {
                prop_assert_eq!(seen.has().any(has), fields.contains(name), "{}", name);
            }
            let goes = fields.iter().any(|(name, _)| is_of_one_hop(name) || is_forged(name, trusted));
            prop_assert_eq!(seen.has().any(Has::GOES), goes);
        }
    }
}
