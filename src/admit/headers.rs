//! What clients are told of their quota: `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10
//! (structured fields, RFC 9651), and `Retry-After` (RFC 9110 section 10.2.3).
//!
//! ```text
//! RateLimit-Policy: "default";q=40;w=2     40 at once, and as many again in every 2 seconds
//! RateLimit: "default";r=39;t=1            39 are left, all 40 are there in 1 second
//! ```
//!

use crate::lines::Lines;

/// `RateLimit`: what is left.
pub const RATELIMIT: &str = "ratelimit";
/// `RateLimit-Policy`: what was agreed.
pub const RATELIMIT_POLICY: &str = "ratelimit-policy";

/// A longer name of a limit is cut.
const LONGEST_NAME: usize = 96;
const NANOS: u64 = 1_000_000_000;

/// How a caller stands with the limit that it is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which limit, as [`super::limit::LimitBook::limit_name`] knows it.
    pub limit: u16,
    /// `q`: the burst.
    pub quota: u32,
    /// `w`: seconds in which a whole burst comes back, rounded up.
    pub window: u64,
    /// `r`: what is left, in requests of cost 1.
    pub remaining: u32,
    /// `t`: seconds until the whole quota is there again, rounded up; 0 if it is.
    pub reset: u64,
}

impl Standing {
    /// Adds both fields. `name` is the limit's, from [`quoted`].
    pub fn write(&self, name: &str, lines: &mut Lines) {
        lines.add_with("ratelimit: ", |out| {
            value(out, name, (";r=", u64::from(self.remaining)), (";t=", self.reset));
        });
        lines.add_with("ratelimit-policy: ", |out| {
            value(out, name, (";q=", u64::from(self.quota)), (";w=", self.window));
        });
    }
}

/// A limit's name as a structured-field string (RFC 9651 section 3.3.3): what may not stand there becomes `?`.
pub fn quoted(name: &str) -> Box<str> {
    let fits = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '?' };
    let inner: String = name.chars().map(fits).take(LONGEST_NAME - 2).collect();
    format!("\"{inner}\"").into()
}

/// Nanoseconds in whole seconds, rounded up.
pub(super) const fn seconds_up(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS)
}

fn value(out: &mut Vec<u8>, name: &str, first: (&str, u64), second: (&str, u64)) {
    out.extend_from_slice(name.as_bytes());
    for (key, number) in [first, second] {
        out.extend_from_slice(key.as_bytes());
        match number {
            // Seconds nearly always are.
            0..=9 => out.push(b'0' + number as u8),
            _ => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_draft() {
        let standing = Standing { limit: 0, quota: 40, window: 2, remaining: 39, reset: 1 };
        let mut lines = Lines::default();
        standing.write(&quoted("default"), &mut lines);
        let want = "ratelimit: \"default\";r=39;t=1\r\nratelimit-policy: \"default\";q=40;w=2\r\n";
        assert_eq!(lines.as_bytes(), want.as_bytes());
    }

    #[test]
    fn the_longest_values_are_whole() {
        let standing =
            Standing { limit: 0, quota: u32::MAX, window: u64::MAX, remaining: u32::MAX, reset: u64::MAX };
        let name = quoted(&"n".repeat(1000));
        let mut lines = Lines::default();
        standing.write(&name, &mut lines);
        assert!(lines.as_bytes().ends_with(b"\";q=4294967295;w=18446744073709551615\r\n"));
    }

    #[test]
    fn a_name_cannot_break_out_of_its_quotes() {
        assert_eq!(&*quoted("agreement a\"b\\c\u{e4}\n"), "\"agreement a?b?c??\"");
    }
}
