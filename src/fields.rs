//! The fields of a head or of a trailer section (RFC 9110 section 5), held as the lines that HTTP/1.1 makes of them
//! (RFC 9112 section 5): one buffer, with an index beside it. So what came in goes out with one copy, a field more is
//! a line more, and nothing is hashed or counted. A look-up goes through the lines, of which a request has some ten,
//! and one for a name that is not there, which is the rule, asks a single word.
//!
//! Not here: what is a field and what is not (`listen::wire`, `forward::http1::head`), and which fields go where
//! (`forward::headers`).

mod form;
pub(crate) mod octets;
mod section;

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

pub use form::Form;
pub use section::OwnLine;
use section::{Line, NONE, Section, bit, is_value};

/// Fields, in the order in which they came or were added. Names are in lower case; a value never holds CR, LF or NUL,
/// and blanks around it only if HTTP/2 brought them, which is refused further on. Names and values together may have
/// 4 GiB; what is beyond that is left out. How many there may be is bounded by whoever reads them.
/// They stand in a box, since a head is handed on many times on its way.
#[derive(Default)]
pub struct Fields(Option<Box<Section>>);

/// Where a field stands in a section that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpan {
    /// Its name.
    pub name: Range<usize>,
    /// Its value, without the blanks around it.
    pub value: Range<usize>,
}

impl Fields {
    /// None yet, with room for a usual head.
    pub fn new() -> Self {
        Self(Some(Section::spare()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all().lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all().lines.is_empty()
    }

    /// All of them as a head of HTTP/1.1 has them.
    pub fn as_lines(&self) -> &[u8] {
        &self.all().text
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.all();
        (0..all.lines.len()).map(|n| (all.name(n), all.value(n)))
    }

    /// Whether there is one of this name. Names that are asked for are in lower case, here and below.
    // Always inlined, as all that takes a name is: of one that stands in the code, its bit is then a constant.
    #[inline(always)]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of the first one of this name.
    #[inline(always)]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        debug_assert!(!has_upper_case(name));
        let all = self.all();
        if all.may_have(name) { all.first(name).map(|n| all.value(n)) } else { None }
    }

    /// The value of the nth of all, from 0 on.
    pub fn nth(&self, n: u32) -> Option<&[u8]> {
        let (all, n) = (self.all(), n as usize);
        (n < all.lines.len()).then(|| all.value(n))
    }

    /// The values of all of this name, in order.
    #[inline(always)]
    pub fn get_all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        debug_assert!(!has_upper_case(name));
        let all = self.all();
        let end = if all.may_have(name) { all.lines.len() } else { 0 };
        (0..end).filter(|n| all.is(*n, name)).map(|n| all.value(n))
    }

    /// Adds one behind the others. A value that could end its line is left out with its name.
    #[inline(always)]
    pub fn add(&mut self, name: &str, value: &[u8]) {
        debug_assert!(is_name(name));
        self.all_mut().add(name, bit(name.as_bytes()), value);
    }

    /// The same with a value that is written in parts.
    #[inline(always)]
    pub fn add_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(is_name(name));
        let all = self.all_mut();
        let (at, value) = all.begin(name);
        write(&mut all.text);
        all.end(at, value, bit(name.as_bytes()));
    }

    /// Adds a line of our own words.
    pub fn add_own(&mut self, line: &'static OwnLine) {
        self.all_mut().add_own(line);
    }

    /// Adds one that was read: its reader has judged that name and value are such. The name may be in any case.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        debug_assert!(is_value(name) && is_value(value));
        let all = self.all_mut();
        if !all.has_room(name.len() + value.len() + 4) {
            return;
        }
        let at = all.text.len();
        all.text.extend_from_slice(name);
        all.text.extend_from_slice(b": ");
        all.text.extend_from_slice(value);
        all.text.extend_from_slice(b"\r\n");
        all.note_read(at, at + name.len() + 2);
    }

    /// The same of a whole line, CRLF and all, of which the first `name` bytes are the name and `: ` the next two.
    pub fn push_line(&mut self, line: &[u8], name: usize) {
        let all = self.all_mut();
        if !all.has_room(line.len()) {
            return;
        }
        let at = all.text.len();
        all.text.extend_from_slice(line);
        all.note_read(at, at + name + 2);
    }

    /// The name of the last one; empty if there is none.
    pub fn last_name(&self) -> &[u8] {
        let all = self.all();
        all.lines.len().checked_sub(1).map_or(&[], |n| all.name(n))
    }

    /// Removes the last one.
    pub fn pop(&mut self) {
        if let Some(all) = &mut self.0
            && let Some(line) = all.lines.pop()
        {
            all.text.truncate(line.at as usize);
        }
    }

    /// Adds all fields of a section that was read and judged; `spans` says where in `section` they stand. `as_written`
    /// says that each is a line `name: value` and CRLF, with nothing between one and the next.
    pub fn read(&mut self, section: &[u8], spans: &[FieldSpan], as_written: bool) {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return };
        let begin = first.name.start;
        debug_assert!(!as_written || are_as_written(section, spans));
        let lines = section.get(begin..last.value.end + 2).filter(|_| as_written);
        let Some(lines) = lines.filter(|lines| self.all().has_room(lines.len())) else {
            spans
                .iter()
                .for_each(|span| self.push(&section[span.name.clone()], &section[span.value.clone()]));
            return;
        };
        // One copy for all of them, as nearly every client writes them.
        let all = self.all_mut();
        let base = all.text.len();
        all.text.extend_from_slice(lines);
        for FieldSpan { name, value } in spans {
            all.note_read(base + name.start - begin, base + value.start - begin);
        }
    }

    /// Puts the values of a section that was read and judged into all fields, which have its names in the same order.
    /// False, and nothing is changed, if there are not as many.
    pub fn overwrite(&mut self, section: &[u8], spans: &[FieldSpan]) -> bool {
        let all = self.all_mut();
        if all.lines.len() != spans.len() {
            return false;
        }
        for (n, span) in spans.iter().enumerate() {
            all.put(n, &section[span.value.clone()]);
        }
        true
    }

    /// Adds one with the value of the first one of another name, if there is such a one. A value that is never to be
    /// indexed is not under its other name either.
    pub fn add_copy(&mut self, name: &str, of: &str) {
        let all = self.all();
        let Some(n) = all.first(of) else { return };
        let value = all.lines[n].value as usize..all.end_of(n) - 2;
        self.add_with(name, |out| out.extend_from_within(value));
        if self.is_never_indexed(of.as_bytes()) {
            self.never_index(name.as_bytes());
        }
    }

    /// Adds one in the place of all others of this name.
    #[inline(always)]
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Puts another value, one that was read and judged, into the nth of all, from 0 on.
    pub fn put_nth(&mut self, n: usize, value: &[u8]) {
        debug_assert!(is_value(value));
        if let Some(all) = self.0.as_mut().filter(|all| n < all.lines.len()) {
            all.put(n, value);
        }
    }

    /// Removes all of this name.
    #[inline(always)]
    pub fn remove(&mut self, name: &str) {
        debug_assert!(!has_upper_case(name));
        if self.all().may_have(name) {
            self.remove_found(name);
        }
    }

    /// Removes those of which `keep` is not true.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let Some(all) = &mut self.0 else { return };
        let (mut lines, mut bytes) = (0, 0);
        for n in 0..all.lines.len() {
            if !keep(all.name(n), all.value(n)) {
                continue;
            }
            let (line, end) = (all.lines[n], all.end_of(n));
            let at = line.at as usize;
            if at != bytes {
                all.text.copy_within(at..end, bytes);
            }
            let moved = (at - bytes) as u32;
            all.lines[lines] = Line { at: line.at - moved, value: line.value - moved };
            lines += 1;
            bytes += end - at;
        }
        all.lines.truncate(lines);
        all.text.truncate(bytes);
    }

    /// Notes that no hop may put the fields of this name into a table of HPACK (RFC 7541 section 7.1.3), whatever
    /// becomes of them. One bit stands for the name, so another one may be taken along: that costs bytes and no more.
    pub fn never_index(&mut self, name: &[u8]) {
        self.all_mut().never_indexed |= bit(name);
    }

    /// The same of all there may be.
    pub fn never_index_all(&mut self) {
        self.all_mut().never_indexed = u64::MAX;
    }

    /// Whether that was noted of this name.
    #[inline]
    pub fn is_never_indexed(&self, name: &[u8]) -> bool {
        let noted = self.all().never_indexed;
        noted != 0 && noted & bit(name) != 0
    }

    /// The same as a map, for a library that wants one.
    pub fn to_map(&self) -> HeaderMap {
        let all = self.all();
        let mut map = HeaderMap::with_capacity(self.len());
        let text = Bytes::copy_from_slice(&all.text);
        for n in 0..all.lines.len() {
            let value = all.lines[n].value as usize..all.end_of(n) - 2;
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::from_bytes(all.name(n)), HeaderValue::from_maybe_shared(text.slice(value)))
            {
                value.set_sensitive(self.is_never_indexed(all.name(n)));
                map.append(name, value);
            }
        }
        map
    }

    fn remove_found(&mut self, name: &str) {
        let Some(all) = &mut self.0 else { return };
        let Some(n) = all.first(name) else { return };
        if (n + 1..all.lines.len()).any(|n| all.is(n, name)) {
            self.retain(|other, _| other != name.as_bytes());
        } else {
            all.cut(n);
        }
    }

    #[inline]
    fn all(&self) -> &Section {
        self.0.as_deref().unwrap_or(&NONE)
    }

    #[inline]
    fn all_mut(&mut self) -> &mut Section {
        self.0.get_or_insert_with(Section::spare)
    }
}

/// The value as text, if it holds nothing but visible ASCII, blanks and tabs.
pub fn text(value: &[u8]) -> Option<&str> {
    if is_text(value) { std::str::from_utf8(value).ok() } else { None }
}

/// Whether it is such.
pub fn is_text(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Whether this may be the name of a field that is added here.
fn is_name(name: &str) -> bool {
    is_value(name.as_bytes()) && !name.contains(':') && !has_upper_case(name)
}

/// Whether these fields are lines as [`Fields::as_lines`] has them.
fn are_as_written(section: &[u8], spans: &[FieldSpan]) -> bool {
    let mut next = spans.first().map_or(0, |first| first.name.start);
    spans.iter().all(|FieldSpan { name, value }| {
        let follows = name.start == next;
        next = value.end + 2;
        follows
            && section.get(name.end..value.start) == Some(b": ")
            && section.get(value.end..next) == Some(b"\r\n")
    })
}

/// A name like that is never found.
fn has_upper_case(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase())
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let mut fields = Self::new();
        for (name, value) in map {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
            if value.is_sensitive() {
                fields.never_index(name.as_str().as_bytes());
            }
        }
        fields
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        if let Some(all) = self.0.take() {
            all.give_back();
        }
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut all = Section::spare();
        all.copy(self.all());
        Self(Some(all))
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.as_lines() == other.as_lines()
    }
}

impl Eq for Fields {}

/// The names only: a value may be somebody's secret.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name.escape_ascii().to_string())).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::section::{SPARE, SPARE_BYTES, SPARES, lower};
    use super::*;

    fn lines(fields: &Fields) -> &str {
        std::str::from_utf8(fields.as_lines()).unwrap()
    }

    #[test]
    fn fields_are_as_a_head_has_them() {
        let mut fields = Fields::new();
        assert!(fields.is_empty());
        fields.add("via", b"1.1 buckler");
        fields.add_with("x-empty", |_| {});
        fields.push(b"Set-Cookie", b"a=b");
        fields.push(b"set-cookie", b"c=d");
        assert_eq!(lines(&fields), "via: 1.1 buckler\r\nx-empty: \r\nset-cookie: a=b\r\nset-cookie: c=d\r\n");
        assert_eq!((fields.len(), fields.get("set-cookie")), (4, Some(&b"a=b"[..])));
        fields.set("set-cookie", b"e=f");
        fields.remove("via");
        assert_eq!(lines(&fields), "x-empty: \r\nset-cookie: e=f\r\n");
        fields.add_copy("x-cookie", "set-cookie");
        fields.add_copy("x-via", "via");
        assert_eq!(lines(&fields), "x-empty: \r\nset-cookie: e=f\r\nx-cookie: e=f\r\n");
        assert_eq!((fields.get("via"), fields.get("x-empty")), (None, Some(&b""[..])));
        assert_eq!(fields.last_name(), b"x-cookie");
        fields.pop();
        assert_eq!(lines(&fields), "x-empty: \r\nset-cookie: e=f\r\n");
        (0..3).for_each(|_| fields.pop());
        assert_eq!((lines(&fields), fields.last_name()), ("", &b""[..]));
    }

    #[test]
    fn what_would_end_a_line_is_left_out() {
        let mut fields = Fields::new();
        fields.add("x-a", b"1");
        for value in [&b"1\r\nx-forged: 1"[..], b"1\nx-forged: 1", b"\r", b"a\0b"] {
            fields.add("x-b", value);
            fields.add_with("x-b", |out| out.extend_from_slice(value));
        }
        fields.add("x-c", b"3");
        assert_eq!(lines(&fields), "x-a: 1\r\nx-c: 3\r\n");
        assert_eq!(fields.get("x-b"), None);
    }

    #[test]
    fn a_line_of_our_own_words_is_one_as_all_others() {
        const VIA: OwnLine = OwnLine::new("via: 1.1 buckler\r\n");
        static SHORT: OwnLine = OwnLine::new("a: \r\n");
        let (mut own, mut others) = (Fields::new(), Fields::new());
        for fields in [&mut own, &mut others] {
            fields.add("x-a", b"1");
        }
        own.add_own(&VIA);
        own.add_own(&SHORT);
        others.add("via", b"1.1 buckler");
        others.add("a", b"");
        assert_eq!(own, others);
        assert_eq!((own.get("via"), own.get("a"), own.len()), (others.get("via"), others.get("a"), 3));
    }

    #[test]
    fn no_other_line_is_compiled_as_one_of_our_own() {
        for line in [
            "via: 1",
            "via: 1\r\nx: 2\r\n",
            "Via: 1\r\n",
            "via:1\r\n",
            ": 1\r\n",
            "via\r\n",
            "v: \u{1}\r\n",
            "",
        ] {
            std::panic::catch_unwind(|| OwnLine::new(line)).expect_err(line);
        }
    }

    #[test]
    fn what_would_end_a_line_is_found_wherever_it_stands() {
        for length in 0..40 {
            assert!(is_value(&vec![b'a'; length]));
            for (at, byte) in (0..length).flat_map(|at| [(at, b'\r'), (at, b'\n'), (at, 0)]) {
                let mut value = vec![b'a'; length];
                value[at] = byte;
                assert!(!is_value(&value), "{length} {at} {byte}");
            }
        }
    }

    #[test]
    fn what_is_never_indexed_stays_so() {
        let mut fields = Fields::new();
        fields.push(b"x-secret", b"a");
        fields.push(b"x-other", b"b");
        fields.never_index(b"x-secret");
        // Both in a map and back, as one whose values were put together, and as a copy.
        let mut fields = Fields::from(&fields.to_map());
        fields.set("x-secret", b"a, c");
        let fields = fields.clone();
        assert_eq!(lines(&fields), "x-other: b\r\nx-secret: a, c\r\n");
        let map = fields.to_map();
        for (name, never) in [("x-secret", true), ("x-other", false)] {
            assert_eq!(fields.is_never_indexed(name.as_bytes()), never, "{name}");
            assert_eq!(map[name].is_sensitive(), never, "{name}");
        }
        drop(fields);
        let mut next = Fields::new();
        assert!(!next.is_never_indexed(b"x-secret"), "the buffer was used for another head before");
        next.never_index_all();
        assert!(next.is_never_indexed(b"x-secret") && next.is_never_indexed(b"x-other"));
    }

    #[test]
    fn a_copy_of_what_is_never_indexed_is_not_either() {
        let mut fields = Fields::new();
        fields.add("host", b"a.test");
        fields.add("x-plain", b"1");
        fields.never_index(b"host");
        fields.add_copy("x-forwarded-host", "host");
        fields.add_copy("x-copy", "x-plain");
        assert_eq!(fields.get("x-forwarded-host"), Some(&b"a.test"[..]));
        let never = ["host", "x-plain", "x-forwarded-host", "x-copy"]
            .map(|name| fields.to_map()[name].is_sensitive());
        assert_eq!(never, [true, false, true, false]);
    }

    #[test]
    fn a_value_is_no_part_of_what_is_told_of_fields_in_passing() {
        let mut fields = Fields::new();
        fields.add("x-api-key", b"secret");
        assert_eq!(format!("{fields:?}"), r#"["x-api-key"]"#);
    }

    #[test]
    fn what_is_left_of_a_thread_s_buffers_is_bounded() {
        let spares = || SPARES.with_borrow(Vec::len);
        let many: Vec<_> = (0..2 * SPARE).map(|_| Fields::new()).collect();
        drop(many);
        assert_eq!(spares(), SPARE);
        let mut large = Fields::new();
        large.add("x-a", &vec![b'a'; SPARE_BYTES]);
        drop(large);
        assert_eq!(spares(), SPARE - 1, "a large one is not kept");
        assert!(
            Fields::new().is_empty() && Fields::new().get("x-a").is_none(),
            "and nothing stays in one that is"
        );
    }

    #[test]
    fn every_byte_has_one_lower_case() {
        let all: Vec<u8> = (0..=255).collect();
        for from in 0..16 {
            let (mut got, mut want) = (all.clone(), all.clone());
            lower(&mut got[from..]);
            want[from..].make_ascii_lowercase();
            assert_eq!(got, want);
        }
        for length in 0..32 {
            let name: Vec<u8> = all.iter().skip(60).take(length).copied().collect();
            let mut got = name.clone();
            lower(&mut got);
            assert_eq!(got, name.to_ascii_lowercase());
        }
        let mut fields = Fields::new();
        fields.push_line(b"Content-Type: A/B\r\n", 12);
        assert_eq!(
            (lines(&fields), fields.get("content-type")),
            ("content-type: A/B\r\n", Some(&b"A/B"[..]))
        );
    }

    /// Sections of field lines, each with the blanks that stand around its value.
    fn section() -> impl Strategy<Value = Vec<(String, String, String, String)>> {
        let blank = || prop_oneof![8 => Just(" "), 1 => Just(""), 1 => Just("\t"), 1 => Just("  ")];
        let behind = || prop_oneof![8 => Just(""), 1 => Just(" ")];
        let line = ("[A-Za-z][a-zA-Z-]{0,9}", blank(), "([!-~]([ -~]{0,20}[!-~])?)?", behind());
        let line = line
            .prop_map(|(name, before, value, behind)| (name, before.to_owned(), value, behind.to_owned()));
        proptest::collection::vec(line, 0..12)
    }

    proptest! {
        /// As a map of the `http` crate has it.
        #[test]
        fn a_section_that_was_read_is_what_a_map_would_hold(section in section(), gone in "[a-z-]{1,3}") {
            let (mut text, mut spans, mut map) = (String::from("GET / HTTP/1.1\r\n"), Vec::new(), HeaderMap::new());
            for (name, before, value, behind) in &section {
                let at = text.len();
                text += &format!("{name}:{before}{value}{behind}\r\n");
                let begin = at + name.len() + 1 + before.len();
                spans.push(FieldSpan { name: at..at + name.len(), value: begin..begin + value.len() });
                map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            let mut fields = Fields::new();
            let as_written = are_as_written(text.as_bytes(), &spans);
            fields.read(text.as_bytes(), &spans, as_written);
            let mut one_by_one = Fields::new();
            one_by_one.read(text.as_bytes(), &spans, false);
            prop_assert_eq!(&one_by_one, &fields);
            prop_assert_eq!(fields.len(), map.len());
            prop_assert_eq!(&fields.to_map(), &map);
            let mut other = Fields::new();
            for (n, FieldSpan { name, value }) in spans.iter().enumerate() {
                other.push(&text.as_bytes()[name.clone()], &vec![b'!'; value.len() + n % 2]);
            }
            prop_assert!(other.overwrite(text.as_bytes(), &spans));
            prop_assert_eq!(&other, &fields);
            other.push(b"x", b"y");
            let unlike = other.clone();
            prop_assert!(!other.overwrite(text.as_bytes(), &spans), "one more");
            prop_assert_eq!(&other, &unlike);
            let mut added = fields.clone();
            Fields::from(&map).iter().for_each(|(name, value)| added.push(name, value));
            prop_assert_eq!(added.len(), 2 * map.len());
            for name in map.keys() {
                let all: Vec<_> = fields.get_all(name.as_str()).collect();
                prop_assert_eq!(all, map.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>());
                prop_assert_eq!(fields.get(name.as_str()), map.get(name).map(HeaderValue::as_bytes));
            }
            fields.retain(|name, value| !name.starts_with(gone.as_bytes()) && value.len() % 3 != 0);
            let kept = map.iter().filter(|(name, value)| {
                !name.as_str().starts_with(&gone) && value.len() % 3 != 0
            });
            let kept: HeaderMap = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            prop_assert_eq!(&fields.to_map(), &kept);
            if let Some(name) = map.keys().next() {
                let others = |fields: &Fields| -> Vec<_> {
                    let others = fields.iter().filter(|(other, _)| *other != name.as_str().as_bytes());
                    others.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
                };
                let left = others(&added);
                added.remove(name.as_str());
                prop_assert_eq!(others(&added), left);
                prop_assert!(!added.contains(name.as_str()));
                added.set(name.as_str(), b"one");
                prop_assert_eq!(added.get_all(name.as_str()).collect::<Vec<_>>(), vec![b"one"]);
            }
        }
    }
}
