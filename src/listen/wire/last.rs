//! The request line and the section of fields that the head before had, and what they said. A client says nearly the
//! same on each request of a kept connection (RFC 7541 section 1 rests HPACK on it), and most of them the very same
//! bytes: those were judged as a whole, and what they said they say again. Whoever polls, or asks anew as often as it
//! is refused, says the same line too. Whatever differs in a byte is read like any other.
//!
//! A line means the same each time; a section means the same wherever it stands, but for the version of its head. The
//! bounds of a connection stay as they are; so nothing else is asked here.

use std::fmt;

use aws_lc_rs::constant_time;

use super::HeadFacts;

/// The longest section that is kept, and the longest line, in bytes, for as long as their connection is in use.
const LONGEST: usize = 4096;

/// After so many heads in a row of which each said something else than the one before, nothing is kept any more:
/// whoever says something new each time, as a proxy does for its many clients, pays nothing for those who do not.
const MOST_UNLIKE: u8 = 8;

/// What the head before said.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// None: it is not kept.
    known: Option<Box<Known>>,
    /// The present head says it again.
    repeated: bool,
    /// So many heads in a row said something else each, up to [`MOST_UNLIKE`].
    unlike: u8,
}

struct Known {
    /// With the CRLF that ends it, and with an empty line before it, if there was one. Empty: it is not kept.
    line: Vec<u8>,
    /// With the empty line that ends it.
    section: Vec<u8>,
    /// Of both.
    facts: HeadFacts,
}

impl Last {
    /// Whether `bytes` begin with the request line before: then `facts` are what it says.
    pub(super) fn line_again(&self, bytes: &[u8], facts: &mut HeadFacts) -> bool {
        let Some(known) = &self.known else { return false };
        let Some(here) = bytes.get(..known.line.len()) else { return false };
        // A query may be as secret as a key.
        let again = !here.is_empty() && are_same_untold(here, &known.line);
        if again {
            (facts.method, facts.version_10) = (known.facts.method, known.facts.version_10);
        }
        again
    }

    /// A head has passed whose section was the one before, and whose line was not.
    pub(super) fn keep_line(&mut self, line: &[u8], facts: &HeadFacts) {
        let Some(known) = &mut self.known else { return };
        known.facts.method = facts.method;
        known.line.clear();
        if line.len() <= LONGEST {
            known.line.reserve_exact(line.len());
            known.line.extend_from_slice(line);
        }
    }

    /// The length of the section that `bytes` begin with, if it is the one before, in the same version, and all of it
    /// is here: then `facts`, which hold what the request line says, hold what the head says.
    pub(super) fn again(&mut self, bytes: &[u8], facts: &mut HeadFacts) -> Option<usize> {
        self.repeated = false;
        let known = self.known.as_deref()?;
        let here = bytes.get(..known.section.len())?;
        // Another client's key may stand in it, if a proxy brings the requests of both.
        if facts.version_10 != known.facts.version_10 || !are_same_untold(here, &known.section) {
            return None;
        }
        *facts = HeadFacts { method: facts.method, ..known.facts };
        (self.repeated, self.unlike) = (true, 1);
        Some(here.len())
    }

    /// A head with this line and this section has passed, which is not the one before.
    pub(super) fn keep(&mut self, line: &[u8], section: &[u8], facts: &HeadFacts) {
        if self.unlike == MOST_UNLIKE {
            return;
        }
        self.unlike += 1;
        // Not the first one: many connections bring no other. Nor one whose trailers will stand where its fields do.
        let is_kept = (2..MOST_UNLIKE).contains(&self.unlike) && section.len() <= LONGEST && !facts.chunked;
        if !is_kept {
            self.known = None;
            return;
        }
        let known = || Box::new(Known { line: Vec::new(), section: Vec::new(), facts: *facts });
        let known = self.known.get_or_insert_with(known);
        known.section.clear();
        known.section.reserve_exact(section.len());
        known.section.extend_from_slice(section);
        known.facts = *facts;
        self.keep_line(line, facts);
    }

    /// Whether the head that passed said the same as the one before it.
    pub(super) const fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Whether it is kept what the head said that passed.
    pub(super) const fn is_kept(&self) -> bool {
        self.known.is_some()
    }
}

/// Without the fields: a value may be somebody's secret.
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Whether all bytes of one are those of the other. How many of them are is not told by the time that it takes.
#[inline]
fn are_same_untold(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Event, MethodKind, Wire, WireBounds};
    use super::*;

    fn wire() -> Wire {
        Wire::new(WireBounds { head_bytes: 8192, head_fields: 8, uri_bytes: 64 })
    }

    /// Whether a head was known again that comes in one piece; it has no body.
    fn is_known(wire: &mut Wire, line: &str, section: &str) -> bool {
        let head = format!("{line}\r\n{section}\r\n");
        let scan = wire.scan(head.as_bytes()).unwrap();
        assert!(matches!(scan.event, Event::Head(_)) && scan.pass == head.len());
        let spans = wire.spans();
        assert_eq!(&head[spans.section..], format!("{section}\r\n"));
        let parts = [&head[spans.method.clone()], &head[spans.target.clone()]];
        assert_eq!(parts[..], line.trim_start().split(' ').take(2).collect::<Vec<_>>());
        let Event::Head(facts) = scan.event else { unreachable!() };
        assert_eq!(facts.version_10, line.ends_with("1.0"));
        assert_eq!(facts.method == MethodKind::Get, line.trim_start().starts_with("GET "));
        assert_eq!(spans.fields.len(), section.lines().count());
        wire.pass_end();
        wire.repeats()
    }

    const LINE: &str = "GET / HTTP/1.1";
    const FIELDS: &str = "Host: a\r\nx: y\r\n";

    #[test]
    fn the_same_fields_are_known_again_from_the_third_head_on_whatever_is_asked_for() {
        let mut wire = wire();
        assert!(!is_known(&mut wire, LINE, FIELDS));
        assert!(!wire.may_repeat(), "many connections bring one request");
        assert!(!is_known(&mut wire, "GET /a HTTP/1.1", FIELDS));
        assert!(wire.may_repeat());
        for line in ["GET /b HTTP/1.1", "\r\nHEAD / HTTP/1.1", "OPTIONS * HTTP/1.1", "GET http://b/ HTTP/1.1"]
        {
            assert!(is_known(&mut wire, line, FIELDS), "{line}");
        }
    }

    #[test]
    fn what_differs_in_a_byte_in_its_end_or_in_the_version_is_read() {
        let others = [
            (LINE, "Host: a\r\nx: z\r\n"),
            (LINE, "host: a\r\nx: y\r\n"),
            (LINE, "Host: a\r\nx: y\r\nz: a\r\n"),
            (LINE, "Host: a\r\n"),
            ("GET / HTTP/1.0", FIELDS),
        ];
        for (line, fields) in others {
            let mut wire = wire();
            (0..2).for_each(|_| assert!(!is_known(&mut wire, LINE, FIELDS)));
            assert!(!is_known(&mut wire, line, fields), "{line} {fields}");
            assert!(is_known(&mut wire, line, fields), "{line} {fields}");
            assert!(!is_known(&mut wire, LINE, FIELDS), "only one is kept");
        }
    }

    #[test]
    fn a_line_that_is_said_again_says_the_same_with_whatever_fields() {
        let mut wire = wire();
        let lines =
            [LINE, LINE, LINE, "POST /a HTTP/1.1", "POST /a HTTP/1.1", "\r\nPOST /a HTTP/1.1", LINE, LINE];
        for (n, line) in lines.into_iter().enumerate() {
            assert_eq!(is_known(&mut wire, line, FIELDS), n > 1);
        }
        // Other fields behind the same line, fewer of them, and of another version behind one that begins like it.
        assert!(!is_known(&mut wire, LINE, "Host: b\r\n"));
        assert!(!is_known(&mut wire, "GET / HTTP/1.0", "Host: b\r\n"));
        assert!(!is_known(&mut wire, LINE, "Host: b\r\n"));
        let fault = wire.scan(format!("{LINE}\r\nHost b\r\n\r\n").as_bytes()).unwrap_err();
        assert_eq!((fault.method, fault.target), (0..3, 4..5), "the log is told of the line");
    }

    #[test]
    fn a_long_line_is_not_kept() {
        let mut wire = Wire::new(WireBounds { head_bytes: 1 << 14, head_fields: 8, uri_bytes: 1 << 13 });
        let line = |bytes: usize| format!("GET /{} HTTP/1.1", "a".repeat(bytes - 16));
        for (n, bytes) in
            [LONGEST, LONGEST, LONGEST, LONGEST + 1, LONGEST + 1, LONGEST].into_iter().enumerate()
        {
            assert_eq!(is_known(&mut wire, &line(bytes), FIELDS), n > 1);
        }
    }

    #[test]
    fn what_was_sound_in_one_version_is_judged_in_the_other() {
        let mut wire = wire();
        (0..2).for_each(|_| assert!(!is_known(&mut wire, "GET / HTTP/1.0", "x: y\r\n")));
        let fault = wire.scan(b"GET / HTTP/1.1\r\nx: y\r\n\r\n").unwrap_err();
        assert_eq!(fault.refusal.detail, "no Host header");
    }

    #[test]
    fn what_comes_in_pieces_is_read() {
        let mut wire = wire();
        (0..2).for_each(|_| assert!(!is_known(&mut wire, LINE, FIELDS)));
        let head = format!("{LINE}\r\n{FIELDS}\r\n");
        wire.scan(&head.as_bytes()[..head.len() - 1]).unwrap();
        assert_eq!(wire.scan(head.as_bytes()).unwrap().pass, head.len());
        assert!(!wire.repeats() && wire.may_repeat());
    }

    #[test]
    fn whoever_says_something_new_each_time_is_not_remembered_any_more() {
        let mut wire = wire();
        for n in 1..MOST_UNLIKE {
            assert!(!is_known(&mut wire, LINE, &format!("Host: {n}\r\n")));
            assert_eq!(wire.may_repeat(), n > 1);
        }
        assert!(is_known(&mut wire, LINE, &format!("Host: {}\r\n", MOST_UNLIKE - 1)), "it is, up to here");
        for n in 1..MOST_UNLIKE {
            assert!(!is_known(&mut wire, LINE, &format!("Host: {n}\r\n")));
        }
        assert!(!wire.may_repeat());
        for _ in 0..2 * MOST_UNLIKE {
            assert!(!is_known(&mut wire, LINE, FIELDS), "given up once and for all");
        }
    }

    #[test]
    fn a_long_section_is_not_kept() {
        let mut wire = wire();
        let fields = |bytes: usize| format!("Host: a\r\nx: {}\r\n", "a".repeat(bytes - 16));
        assert!(!is_known(&mut wire, LINE, FIELDS));
        assert!(!is_known(&mut wire, LINE, &fields(LONGEST + 1)));
        assert!(!wire.may_repeat());
        assert!(!is_known(&mut wire, LINE, &fields(LONGEST)));
        assert!(is_known(&mut wire, LINE, &fields(LONGEST)));
    }

    #[test]
    fn what_announces_chunks_is_read_each_time() {
        let mut wire = wire();
        let request = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n";
        for _ in 0..4 {
            let head = wire.scan(request).unwrap();
            assert!(matches!(head.event, Event::Head(HeadFacts { chunked: true, .. })) && !wire.repeats());
            assert_eq!(wire.spans().fields.len(), 2);
            assert_eq!(wire.scan(&request[head.pass..]).unwrap().event, Event::End);
            assert_eq!((wire.spans().fields.len(), wire.spans().section), (1, 0));
        }
    }

    #[test]
    fn texts_are_the_same_if_every_byte_is() {
        let text: Vec<u8> = (0..67).collect();
        for length in 0..text.len() {
            let text = &text[..length];
            let copy = text.to_vec();
            assert!(are_same_untold(text, &copy));
            assert!(!are_same_untold(text, &[text, b"a"].concat()));
            for at in 0..length {
                let mut other = text.to_vec();
                other[at] ^= 1 << (at % 8);
                assert!(!are_same_untold(text, &other), "{length} {at}");
            }
        }
    }
}
