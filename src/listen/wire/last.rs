//! The request line and the section of fields that the head before had, and what they said. A client says nearly the
//! same on each request of a kept connection (RFC 7541 section 1 rests HPACK on it), and most of them the very same
//! bytes: those were judged as a whole, and what they said they say again. Whoever polls, or asks anew as often as it
//! is refused, says the same line too. Whatever else differs is read like any other.
//!
//! Only where the value of a field says nothing here ([`JUDGED`] are those that do), any visible ASCII may stand in it
//! for another. A client that numbers its requests, and a proxy that brings those of several callers, says the same
//! otherwise: where the lines, names and values stand is then the same too, and no byte is among them that a value may
//! not have.
//!
//! A line means the same each time; a section means the same wherever it stands, but for the version of its head. The
//! bounds of a connection stay as they are; so nothing else is asked here.

use std::fmt;

use super::{FieldSpan, HeadFacts};
use crate::fields::octets;

/// The longest section that is kept, and the longest line, in bytes, for as long as their connection is in use.
const LONGEST: usize = 4096;

/// After so many heads in a row of which each had other fields than the one before, or values of other lengths, nothing
/// is kept any more: whoever says something new each time pays nothing for those who do not.
const MOST_UNLIKE: u8 = 8;

/// Fields whose values say something of framing, of the connection, or of where the request goes.
const JUDGED: [&str; 7] =
    ["te", "host", "expect", "upgrade", "connection", "content-length", "transfer-encoding"];

/// What the head before said.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// None: it is not kept.
    known: Option<Box<Known>>,
    /// How the fields of the present head are to those.
    likeness: Likeness,
    /// So many heads in a row said something else each, up to [`MOST_UNLIKE`].
    unlike: u8,
}

/// How the fields of a head are to those of the head before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Likeness {
    /// They are others, or it is not known.
    #[default]
    Other,
    /// They have the same names in the same order, and values that stand in the same places; those of [`JUDGED`] are
    /// the same.
    Alike,
    /// They are the same.
    Same,
}

struct Known {
    /// With the CRLF that ends it, and with an empty line before it, if there was one. Empty: it is not kept.
    line: Vec<u8>,
    /// With the empty line that ends it.
    section: Vec<u8>,
    /// For each byte of the section, 0 if another one that is visible may stand for it, else 255.
    fixed: Vec<u8>,
    /// Of line and section.
    facts: HeadFacts,
}

impl Last {
    /// Whether `bytes` begin with the request line before: then `facts` are what it says.
    pub(super) fn line_again(&self, bytes: &[u8], facts: &mut HeadFacts) -> bool {
        let Some(known) = &self.known else { return false };
        let Some(here) = bytes.get(..known.line.len()) else { return false };
        // A query may be as secret as a key.
        let again = !here.is_empty() && octets::are_same(here, &known.line);
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

    /// The length of the section that `bytes` begin with, if it is the one before or alike, in the same version, and
    /// all of it is here: then `facts`, which hold what the request line says, hold what the head says.
    pub(super) fn again(&mut self, bytes: &[u8], facts: &mut HeadFacts) -> Option<usize> {
        self.likeness = Likeness::Other;
        let known = self.known.as_deref_mut()?;
        let here = bytes.get(..known.section.len())?;
        if facts.version_10 != known.facts.version_10 {
            return None;
        }
        // Another client's key may stand in it, if a proxy brings the requests of both.
        self.likeness = if octets::are_same(here, &known.section) {
            Likeness::Same
        } else if known.becomes(here) {
            Likeness::Alike
        } else {
            return None;
        };
        *facts = HeadFacts { method: facts.method, ..known.facts };
        self.unlike = 1;
        Some(here.len())
    }

    /// A head with this line and this section, whose fields stand there, has passed. It is not the one before.
    pub(super) fn keep(&mut self, line: &[u8], (section, fields): (&[u8], &[FieldSpan]), facts: &HeadFacts) {
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
        let known = self.known.get_or_insert_with(|| Known::new(*facts));
        known.keep_section(section, fields);
        known.facts = *facts;
        self.keep_line(line, facts);
    }

    /// How the fields of the head that passed are to those of the one before it.
    pub(super) const fn likeness(&self) -> Likeness {
        self.likeness
    }

    /// Whether it is kept what the head said that passed.
    pub(super) const fn is_kept(&self) -> bool {
        self.known.is_some()
    }
}

impl Known {
    fn new(facts: HeadFacts) -> Box<Self> {
        Box::new(Self { line: Vec::new(), section: Vec::new(), fixed: Vec::new(), facts })
    }

    /// Keeps this section, which is as long, in the place of its own if they are alike.
    // Apart, so that the way of those who say the same is short.
    #[inline(never)]
    fn becomes(&mut self, section: &[u8]) -> bool {
        let alike = octets::are_alike(section, &self.section, &self.fixed);
        if alike {
            self.section.copy_from_slice(section);
        }
        alike
    }

    fn keep_section(&mut self, section: &[u8], fields: &[FieldSpan]) {
        self.section.clear();
        self.section.reserve_exact(section.len());
        self.section.extend_from_slice(section);
        self.fixed.clear();
        self.fixed.reserve_exact(section.len());
        self.fixed.resize(section.len(), 255);
        let is_judged =
            |name: &[u8]| JUDGED.iter().any(|judged| name.eq_ignore_ascii_case(judged.as_bytes()));
        for FieldSpan { name, value } in fields {
            if is_judged(&section[name.clone()]) {
                continue;
            }
            // A blank stays one: at an end of the value it would be none of it.
            for at in value.clone().filter(|at| section[*at].is_ascii_graphic()) {
                self.fixed[at] = 0;
            }
        }
    }
}

/// Without the fields: a value may be somebody's secret.
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("facts", &self.facts).finish_non_exhaustive()
    }
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
    fn a_value_that_says_nothing_of_framing_may_have_other_visible_bytes() {
        let fields = |key: &str, agent: &str| format!("Host: a\r\nx-key: {key}\r\nuser-agent: {agent}\r\n");
        let mut wire = wire();
        (0..2).for_each(|_| assert!(!is_known(&mut wire, LINE, &fields("one", "a/1 b"))));
        for (key, agent) in [("two", "a/1 b"), ("six", "c/2 d"), ("s:x", "~/!\u{20}\"")] {
            for again in [false, true] {
                assert_eq!(is_known(&mut wire, LINE, &fields(key, agent)), again, "{key} {agent}");
                assert_eq!(wire.resembles(), !again, "{key} {agent}");
            }
        }
        let mut others = vec![("seven", "a/1 b"), ("two", "a/1bb"), ("two", "a/1\tb"), (" wo", "a/1 b")];
        others.extend([("tw ", "a/1 b"), ("t\u{e4}", "a/1 b"), ("two", "a/\u{e4} b"), ("two", " /1 b")]);
        for (key, agent) in others {
            let mut wire = self::wire();
            (0..2).for_each(|_| assert!(!is_known(&mut wire, LINE, &fields("one", "a/1 b"))));
            assert!(!is_known(&mut wire, "GET /a HTTP/1.1", &fields(key, agent)), "{key} {agent}");
            assert!(!wire.resembles(), "{key} {agent}");
        }
    }

    #[test]
    fn what_says_something_of_framing_is_read_if_it_differs() {
        for (name, one, other) in [
            ("Host", "a", "b"),
            ("TE", "trailers", "trailerz"),
            ("cOntent-length", "0", "1"),
            ("Connection", "close", "cl0se"),
            ("Expect", "100-continue", "101-continue"),
        ] {
            let mut wire = wire();
            let section = |value: &str| format!("{name}: {value}\r\nx: y\r\n");
            let line = "GET / HTTP/1.0";
            (0..2).for_each(|_| assert!(!is_known(&mut wire, line, &section(one))));
            let scan = wire.scan(format!("{line}\r\n{}\r\n", section(other)).as_bytes()).unwrap();
            assert!(matches!(scan.event, Event::Head(_)));
            assert!(!wire.repeats() && !wire.resembles(), "{name}");
        }
        let section = |value: &str| format!("Host: a\r\nx: {value}\r\n");
        for value in ["o\re", "o\ne", "on\r", "on\n", "o\0e", "o\x7fe"] {
            let mut wire = wire();
            (0..2).for_each(|_| assert!(!is_known(&mut wire, LINE, &section("one"))));
            assert!(wire.scan(format!("{LINE}\r\n{}\r\n", section(value)).as_bytes()).is_err(), "{value:?}");
        }
    }

    #[test]
    fn what_differs_in_a_byte_in_its_end_or_in_the_version_is_read() {
        let others = [
            (LINE, "Host: b\r\nx: y\r\n"),
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
}
