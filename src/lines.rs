//! Fields of a head that stand beside its map: the lines of HTTP/1.1 that they become (RFC 9112 section 5), written
//! once into one buffer. What Buckler itself says with every message would otherwise cost a hash and a value of its
//! own for each field. Which fields these are is decided by those who add them.

use std::io::BufRead;

use http::header::{HeaderMap, HeaderName, HeaderValue, VIA};

/// So many lines are usual, at most: a map makes room for them at once.
const USUAL: usize = 8;

/// Complete field lines, one after the other: `name: value` and CRLF, the names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<u8>);

/// What goes with the fields of a request in its map, for whoever writes its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// These lines stand behind the fields of the map.
    pub lines: &'a [u8],
    /// The field of this name stays behind.
    pub without: Option<&'a HeaderName>,
}

impl Lines {
    /// None yet, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Adds one field. `name` is in lower case and ends with `: `. One whose value is not text of one line is left out.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.add_with(name, |out| out.extend_from_slice(value));
    }

    /// The same with a value that is written in parts.
    pub fn add_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.0.len();
        self.0.extend_from_slice(name.as_bytes());
        write(&mut self.0);
        if is_value(self.0.get(begin + name.len()..).unwrap_or_default()) {
            self.0.extend_from_slice(b"\r\n");
        } else {
            self.0.truncate(begin);
        }
    }

    /// Adds lines that are complete.
    pub fn add_all(&mut self, lines: &[u8]) {
        self.0.extend_from_slice(lines);
    }

    /// All of them, as a head has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Beside<'_> {
    /// Puts all of it into the map, for whoever has no use for lines. A field that is there already is replaced.
    pub fn settle(self, fields: &mut HeaderMap) {
        if let Some(name) = self.without {
            fields.remove(name);
        }
        settle(self.lines, fields);
    }
}

/// Puts these lines into a map. A field that is there already is replaced.
pub fn settle(mut lines: &[u8], fields: &mut HeaderMap) {
    if lines.is_empty() {
        return;
    }
    fields.reserve(USUAL);
    while !lines.is_empty() {
        // Values hold no line feed, so each one ends a line. Reading from memory cannot fail.
        let rest = lines;
        let line = &rest[..lines.skip_until(b'\n').unwrap_or(rest.len())];
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line.get(at + 2..line.len().saturating_sub(2)).unwrap_or_default();
        if let (Some(name), Ok(value)) = (name_of(&line[..at]), HeaderValue::from_bytes(value)) {
            fields.insert(name, value);
        }
    }
}

/// The name of a field. Those that come with nearly every message are not read anew.
fn name_of(name: &[u8]) -> Option<HeaderName> {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
    const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    match name {
        b"via" => Some(VIA),
        b"x-request-id" => Some(REQUEST_ID),
        b"ratelimit" => Some(RATELIMIT),
        b"ratelimit-policy" => Some(RATELIMIT_POLICY),
        _ => HeaderName::from_bytes(name).ok(),
    }
}

/// Without what would end a line (RFC 9110 section 5.5).
fn is_value(value: &[u8]) -> bool {
    // All bytes without a stop at the first: so many are looked at in one instruction.
    !value.iter().fold(false, |ends, byte| ends | matches!(byte, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_as_a_head_has_them() {
        let mut lines = Lines::with_capacity(64);
        assert!(lines.is_empty());
        lines.add("via: ", b"1.1 buckler");
        lines.add_with("x-empty: ", |_| {});
        lines.add_all(b"x-a: 1\r\n");
        assert_eq!(lines.as_bytes(), b"via: 1.1 buckler\r\nx-empty: \r\nx-a: 1\r\n");
    }

    #[test]
    fn what_would_end_a_line_is_left_out() {
        let mut lines = Lines::default();
        lines.add("x-a: ", b"1");
        for value in [&b"1\r\nx-forged: 1"[..], b"1\nx-forged: 1", b"\r", b"a\0b"] {
            lines.add("x-b: ", value);
            lines.add_with("x-b: ", |out| out.extend_from_slice(value));
        }
        lines.add("x-c: ", b"3");
        assert_eq!(lines.as_bytes(), b"x-a: 1\r\nx-c: 3\r\n");
    }

    #[test]
    fn a_map_takes_them_and_keeps_none_of_the_same_name() {
        let mut fields = HeaderMap::new();
        for (name, value) in [("x-api-key", "secret"), ("via", "1.0 a"), ("via", "1.0 b"), ("accept", "*/*")]
        {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let key = HeaderName::from_static("x-api-key");
        Beside { lines: b"via: 1.1 buckler\r\nx-empty: \r\n", without: Some(&key) }.settle(&mut fields);
        let mut told: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
        told.sort();
        assert_eq!(format!("{told:?}"), r#"[("accept", "*/*"), ("via", "1.1 buckler"), ("x-empty", "")]"#);
    }

    proptest! {
        #[test]
        fn what_is_added_is_what_a_map_gets(pairs in proptest::collection::vec(("[a-z][a-z-]{0,20}", "[ -~&&[^\r\n]]{0,30}"), 0..8)) {
            let (mut lines, mut want) = (Lines::default(), HeaderMap::new());
            for (name, value) in &pairs {
                lines.add(&format!("{name}: "), value.as_bytes());
                want.insert(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            let mut got = HeaderMap::new();
            settle(lines.as_bytes(), &mut got);
            prop_assert_eq!(got, want);
        }
    }
}
