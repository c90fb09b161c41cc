//! What clients are told of their quota: `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10
//! (structured fields, RFC 9651), and `Retry-After` (RFC 9110 section 10.2.3).
//!
//! ```text
//! RateLimit-Policy: "default";q=40;w=2     40 at once, and as many again in every 2 seconds
//! RateLimit: "default";r=39;t=1            39 are left, all 40 are there in 1 second
//! ```
//!
//! What does not change from one answer to the next is put together once.

use std::cell::RefCell;

use crate::fields::{Fields, Form};

/// Limits whose lines are kept ready on a thread; two that share a place take turns in it.
const KEPT: usize = 16;

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
    pub fn write(&self, name: &str, fields: &mut Fields) {
        self.with_form(name, |form| fields.add_form(form));
    }

    /// Hands `use_it` both as lines of a head of HTTP/1.1.
    pub fn with_lines<T>(&self, name: &str, use_it: impl FnOnce(&[u8]) -> T) -> T {
        self.with_form(name, |form| use_it(form.as_lines()))
    }

    fn with_form<T>(&self, name: &str, use_it: impl FnOnce(&Form) -> T) -> T {
        with_prepared((name, self.limit), (self.quota, self.window), |prepared| {
            let told = (self.remaining, self.reset);
            // In a flood of refusals it is the same each time.
            if prepared.told != Some(told) {
                prepared.fields.put(1, itoa::Buffer::new().format(self.remaining).as_bytes());
                prepared.fields.put(2, itoa::Buffer::new().format(self.reset).as_bytes());
                prepared.told = Some(told);
            }
            use_it(&prepared.fields)
        })
    }
}

/// What was said last, on this thread, to somebody who is held to one limit.
struct Prepared {
    name: String,
    terms: (u32, u64),
    /// Both fields, filled in.
    fields: Form,
    /// What is left, and when all is there again, as they say.
    told: Option<(u32, u64)>,
}

thread_local! {
    static PREPARED: RefCell<[Option<Prepared>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// Runs `write` with what is said of the limit of this name and number and of these terms: its quota and its window.
fn with_prepared<T>(
    (name, number): (&str, u16),
    terms: (u32, u64),
    write: impl FnOnce(&mut Prepared) -> T,
) -> T {
    PREPARED.with_borrow_mut(|kept| {
        let kept = &mut kept[usize::from(number) % KEPT];
        // Another service's limits have the same numbers, and a reload's may have the same name.
        let kept = kept.get_or_insert_with(Prepared::new);
        if kept.name != name || kept.terms != terms {
            kept.turn_to(name, terms);
        }
        write(kept)
    })
}

impl Prepared {
    fn new() -> Self {
        let fields = Form::default()
            .line("ratelimit", &[b"", b";r=", b";t=", b""])
            .line("ratelimit-policy", &[b"", b";q=", b";w=", b""]);
        Self { name: String::new(), terms: (0, 0), fields, told: None }
    }

    /// Says it of another limit, in the same memory: with thousands of agreements each request may be of another one.
    #[inline(never)]
    fn turn_to(&mut self, name: &str, (quota, window): (u32, u64)) {
        self.name.clear();
        self.name.push_str(name);
        self.terms = (quota, window);
        self.told = None;
        self.fields.put(0, name.as_bytes());
        self.fields.put(3, name.as_bytes());
        self.fields.put(4, itoa::Buffer::new().format(quota).as_bytes());
        self.fields.put(5, itoa::Buffer::new().format(window).as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_draft() {
        let standing = Standing { limit: 0, quota: 40, window: 2, remaining: 39, reset: 1 };
        let mut fields = Fields::default();
        standing.write(&quoted("default"), &mut fields);
        let want = "ratelimit: \"default\";r=39;t=1\r\nratelimit-policy: \"default\";q=40;w=2\r\n";
        assert_eq!(fields.as_lines(), want.as_bytes());
    }

    #[test]
    fn the_longest_values_are_whole() {
        let standing =
            Standing { limit: 0, quota: u32::MAX, window: u64::MAX, remaining: u32::MAX, reset: u64::MAX };
        let name = quoted(&"n".repeat(1000));
        let mut fields = Fields::default();
        standing.write(&name, &mut fields);
        assert!(fields.as_lines().ends_with(b"\";q=4294967295;w=18446744073709551615\r\n"));
    }

    #[test]
    fn what_is_prepared_for_one_limit_is_never_told_of_another() {
        // In turns: of two services, before and after a reload, and more limits than are kept.
        for round in 0..3_u64 {
            for limit in 0..64_u16 {
                for service in ["one", "two"] {
                    let quota = u32::from(limit) + 1;
                    let standing = Standing { limit, quota, window: round + 1, remaining: 12, reset: round };
                    let mut fields = Fields::default();
                    let name = quoted(&format!("{service} {}", limit / 2));
                    standing.write(&name, &mut fields);
                    let want = format!(
                        "ratelimit: {name};r=12;t={round}\r\nratelimit-policy: {name};q={quota};w={}\r\n",
                        round + 1
                    );
                    assert_eq!(String::from_utf8_lossy(fields.as_lines()), want);
                }
            }
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_quotes() {
        assert_eq!(&*quoted("agreement a\"b\\c\u{e4}\n"), "\"agreement a?b?c??\"");
    }
}
