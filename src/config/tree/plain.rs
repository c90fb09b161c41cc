//! The plain part of YAML, read quickly. Configurations with very many callers or agreements are made by programs and
//! consist of nothing else: block maps and lists, lists and maps in one line, words with or without quotes, comments.
//!
//! Whatever is not certainly plain ends the reading without a word, and the whole parser reads the file instead: tabs,
//! letters beyond ASCII, anchors, tags, escapes, texts over several lines, and every mistake. So what is wrong is
//! always told by that one, and what both can read they read alike, which a property test holds them to.

use std::borrow::Cow;

use super::MAX_DEPTH;
use super::steps::{Place, Step};

/// The steps through a text, line by line, for as long as it is plain.
pub(super) struct Plain<'t> {
    lines: std::str::Split<'t, char>,
    /// The steps of the last line, and how many of them were given out.
    steps: Vec<(Step<'t>, Place)>,
    given: usize,
    /// Blocks that have begun: whether a list, and how far it is indented.
    open: Vec<(bool, usize)>,
    /// A key whose value begins in a later line, by how far it is indented.
    awaited: Option<usize>,
    line: u32,
    begun: bool,
    ended: bool,
}

/// The text is not plain from here on.
#[derive(Debug)]
pub(super) struct NotPlain;

impl<'t> Plain<'t> {
    /// The steps through this text. None: it is not plain.
    pub(super) fn new(text: &'t str) -> Option<Self> {
        let is_odd = |byte: &u8| (*byte < b' ' && *byte != b'\n') || *byte >= 0x7f;
        // In pieces: many bytes are then looked at together.
        if text.as_bytes().chunks(256).any(|piece| piece.iter().filter(|byte| is_odd(byte)).count() > 0) {
            return None;
        }
        Some(Self {
            lines: text.split('\n'),
            steps: Vec::new(),
            given: 0,
            open: Vec::new(),
            awaited: None,
            line: 0,
            begun: false,
            ended: false,
        })
    }

    /// Reads the next line. None: it is not plain.
    fn go_on(&mut self) -> Option<()> {
        (self.given, self.line) = (0, self.line.checked_add(1)?);
        self.steps.clear();
        if let Some(line) = self.lines.next() {
            return self.read(line);
        }
        self.ended = true;
        self.end()
    }
}

impl<'t> Iterator for Plain<'t> {
    type Item = Result<(Step<'t>, Place), NotPlain>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(step) = self.steps.get(self.given) {
                self.given += 1;
                return Some(Ok(step.clone()));
            }
            if self.ended {
                return None;
            }
            if self.go_on().is_none() {
                (self.ended, self.given) = (true, self.steps.len());
                return Some(Err(NotPlain));
            }
        }
    }
}

/// What is left of a line, and the column that it begins at, from 0.
#[derive(Clone, Copy)]
struct Rest<'t> {
    text: &'t str,
    column: usize,
}

impl<'t> Rest<'t> {
    fn first(self) -> Option<u8> {
        self.text.as_bytes().first().copied()
    }

    fn skip(self, bytes: usize) -> Self {
        Self { text: &self.text[bytes..], column: self.column + bytes }
    }

    fn skip_spaces(self) -> Self {
        self.skip(self.text.len() - self.text.trim_start_matches(' ').len())
    }

    /// Whether nothing is left but a comment. A comment begins behind a space.
    fn is_over(self, behind_space: bool) -> bool {
        match self.first() {
            None => true,
            Some(b'#') => behind_space,
            Some(_) => false,
        }
    }
}

impl<'t> Plain<'t> {
    fn add(&mut self, step: Step<'t>, at: usize, length: usize) -> Option<()> {
        let column = u32::try_from(at + 1).ok()?;
        let length = u32::try_from(length.max(1)).ok()?;
        self.steps.push((step, Place { line: self.line, column, length }));
        Some(())
    }

    fn word(&mut self, text: &'t str, bare: bool, at: usize, length: usize) -> Option<()> {
        self.add(Step::Scalar { text: Cow::Borrowed(text), bare }, at, length)
    }

    fn read(&mut self, line: &'t str) -> Option<()> {
        let rest = Rest { text: line.trim_end_matches(' '), column: 0 }.skip_spaces();
        if rest.is_over(true) {
            return Some(());
        }
        let indent = rest.column;
        if indent == 0 && (line.starts_with("---") || line.starts_with("...")) {
            return None;
        }
        let is_item = rest.text.starts_with("- ");
        match (self.awaited.take(), self.open.is_empty()) {
            (Some(key), _) if indent > key => self.begin(is_item, indent)?,
            (None, true) if indent == 0 && !self.begun => self.begin(is_item, indent)?,
            (None, false) => {
                while let Some((list, _)) = self.open.pop_if(|(_, open)| *open > indent) {
                    self.add(if list { Step::ListEnd } else { Step::MapEnd }, 0, 1)?;
                }
                if self.open.last() != Some(&(is_item, indent)) {
                    return None;
                }
            }
            _ => return None,
        }
        if is_item { self.item(rest.skip(1).skip_spaces()) } else { self.entry(rest) }
    }

    fn begin(&mut self, list: bool, indent: usize) -> Option<()> {
        if self.open.len() > MAX_DEPTH {
            return None;
        }
        self.begun = true;
        self.open.push((list, indent));
        self.add(if list { Step::List } else { Step::Map }, indent, 1)
    }

    /// An item of a list: a value, or a map whose first key stands here.
    fn item(&mut self, rest: Rest<'t>) -> Option<()> {
        if key_of(rest.text).is_some() {
            self.begin(false, rest.column)?;
            return self.entry(rest);
        }
        self.value(rest)
    }

    /// `key: value`, or `key:` whose value follows.
    fn entry(&mut self, rest: Rest<'t>) -> Option<()> {
        let key = key_of(rest.text)?;
        self.word(key, true, rest.column, key.len())?;
        let value = rest.skip(key.len() + 1).skip_spaces();
        if value.is_over(true) {
            self.awaited = Some(rest.column);
            return Some(());
        }
        self.value(value)
    }

    /// A value that ends with its line.
    fn value(&mut self, rest: Rest<'t>) -> Option<()> {
        let end = match rest.first()? {
            b'{' | b'[' => self.flow(rest, 0)?,
            b'"' | b'\'' => self.quoted(rest)?,
            _ => {
                let text = rest.text.find(" #").map_or(rest.text, |comment| &rest.text[..comment]);
                let text = text.trim_end_matches(' ');
                if !is_bare(text) {
                    return None;
                }
                return self.word(text, true, rest.column, text.len());
            }
        };
        let left = end.skip_spaces();
        left.is_over(left.column > end.column).then_some(())
    }

    /// A word in quotes, without escapes.
    fn quoted(&mut self, rest: Rest<'t>) -> Option<Rest<'t>> {
        let quote = char::from(rest.first()?);
        let (text, _) = rest.text[1..].split_once(quote)?;
        let end = rest.skip(text.len() + 2);
        // Two single quotes stand for one; what is behind a colon may make it a key.
        if (quote == '"' && text.contains('\\')) || matches!(end.first(), Some(b'\'' | b'"' | b':')) {
            return None;
        }
        self.word(text, false, rest.column, text.len() + 2)?;
        Some(end)
    }

    /// A list or a map in one line; gives what stands behind it.
    fn flow(&mut self, rest: Rest<'t>, depth: usize) -> Option<Rest<'t>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (list, close) = if rest.first()? == b'[' { (true, b']') } else { (false, b'}') };
        self.add(if list { Step::List } else { Step::Map }, rest.column, 1)?;
        let mut rest = rest.skip(1).skip_spaces();
        while rest.first()? != close {
            if !list {
                let key = key_of(rest.text)?;
                self.word(key, true, rest.column, key.len())?;
                rest = rest.skip(key.len() + 1).skip_spaces();
            }
            rest = match rest.first()? {
                b'{' | b'[' => self.flow(rest, depth + 1)?,
                b'"' | b'\'' => self.quoted(rest)?,
                _ => {
                    let ends = |byte: u8| matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
                    let end = rest.text.bytes().position(ends)?;
                    let text = rest.text[..end].trim_end_matches(' ');
                    if !is_bare(text) || text.contains(" #") {
                        return None;
                    }
                    self.word(text, true, rest.column, text.len())?;
                    rest.skip(end)
                }
            };
            rest = rest.skip_spaces();
            match rest.first()? {
                b',' => {
                    rest = rest.skip(1).skip_spaces();
                    // A comma with nothing behind it.
                    if rest.first()? == close {
                        return None;
                    }
                }
                last if last == close => {}
                _ => return None,
            }
        }
        self.add(if list { Step::ListEnd } else { Step::MapEnd }, 0, 1)?;
        Some(rest.skip(1))
    }

    fn end(&mut self) -> Option<()> {
        if self.awaited.is_some() || !self.begun {
            return None;
        }
        while let Some((list, _)) = self.open.pop() {
            self.add(if list { Step::ListEnd } else { Step::MapEnd }, 0, 1)?;
        }
        Some(())
    }
}

/// The key that a text begins with, if it is a word without quotes and `: ` or the end of the line follows.
fn key_of(text: &str) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'@');
    let length = text.as_bytes().iter().position(|byte| !plain(byte))?;
    let (key, behind) = text.split_at(length);
    let first = key.bytes().next()?;
    let ends = behind == ":" || behind.starts_with(": ");
    (ends && !matches!(first, b'-' | b'@')).then_some(key)
}

/// Whether this is one word or several without quotes, and nothing else to YAML.
fn is_bare(text: &str) -> bool {
    let begins = |byte: u8| byte.is_ascii_alphanumeric() || b"._/~$+(<=^;\\".contains(&byte);
    let is_pair = |pair: &[u8]| pair == b": ";
    text.bytes().next().is_some_and(begins)
        && !text.as_bytes().windows(2).any(is_pair)
        && !text.ends_with(':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::steps::Steps;
    use super::*;

    /// What the whole parser reads. None: it finds a mistake.
    fn whole(text: &str) -> Option<Vec<(Step<'_>, Place)>> {
        let steps: Result<Vec<_>, _> = Steps::whole(text).collect();
        let steps = steps.ok()?.into_iter();
        Some(
            steps
                .filter(|(step, ..)| !matches!(step, Step::Document | Step::Other))
                .map(|(step, _, at)| at_beginning(step, at))
                .collect(),
        )
    }

    /// Ends have no place that anybody asks for, and of what is no scalar nobody asks the length.
    fn at_beginning(step: Step<'_>, at: Place) -> (Step<'_>, Place) {
        match step {
            Step::ListEnd | Step::MapEnd => (step, Place { line: 0, column: 0, length: 0 }),
            Step::Scalar { .. } => (step, at),
            _ => (step, Place { length: 1, ..at }),
        }
    }

    fn quick(text: &str) -> Option<Vec<(Step<'_>, Place)>> {
        let steps: Result<Vec<_>, _> = Plain::new(text)?.collect();
        Some(steps.ok()?.into_iter().map(|(step, at)| at_beginning(step, at)).collect())
    }

    #[test]
    fn what_is_plain_is_read_as_by_the_whole_parser() {
        for text in [
            "a: 1\n",
            "a: 1",
            "\n# first\na:   b c  # why\n\n  # indented\nb: \"x: y\" # z\nc: 'q'\n",
            "a:\n  b:\n    c: 1\n  d: 2\ne: 3\n",
            "a: # comment\n    - x\n    - y: 1\n      z: 2\n    -   q: 3\n        r: 4\nb: []\nc: {}\n",
            "a: { b: [1, \"2\", c d], e: { f: g } }  # x\nb: [ ]\nc: [{ d: e }, {f: g}]\n",
            "a: 127.0.0.1:80\nb: [\"sha256:ab\", sha256:cd]\nc: /v1/**\nd: ~\ne: null\n",
            "a: b#c\nb: it's\nc: say \"x\"\nd: a  b\n",
            "- a\n- b: 1\n-  c\n",
            "a:\n  - [1, 2]\n  - {b: 1}\n  - \"c\"\nlong.key-1/x@y: z\n",
            "a: ${HOME}\nb: $${x}\n",
        ] {
            let read = quick(text);
            assert!(read.is_some(), "not taken for plain: {text:?}");
            assert_eq!(read, whole(text), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_whole_parser() {
        for text in [
            "",
            "# only\n",
            "a:\n",
            "a:\nb: 1\n",
            "a:\n- b\n",
            "a: b\n  c\n",
            "a: \"b\n  c\"\n",
            "a: |\n  b\n",
            "a: >\n  b\n",
            "a: &x 1\nb: *x\n",
            "a: !t 1\n",
            "a: \"\\n\"\n",
            "a: 'it''s'\n",
            "a: [1,\n  2]\n",
            "a: [1, ]\n",
            "a: [b: c]\n",
            "a: {b}\n",
            "a:\tb\n",
            "a: b: c\n",
            "a: b:\n",
            "? a\n",
            "\"a\": b\n",
            "a : b\n",
            "<<: b\n",
            "---\na: 1\n",
            "a: 1\n...\n",
            " a: 1\n",
            "a: 1\r\n",
            "a: \u{e4}\n",
            "- - a\n",
            "-\n  a: 1\n",
            "a: -1\n",
            "a: [1]#\n",
            "a: @b\n",
            "a:\n  b: 1\n c: 2\n",
            "a: 1\n b: 2\n",
            "%YAML 1.2\n",
            "a: [1] 2\n",
            "a: \"b\" c\n",
            "a: {b: 1, }\n",
            "a:1\n",
            "@a: b\n",
            "a: [\"b\": c]\n",
            "a: {b: c: d}\n",
            "a: {b:c}\n",
            "a\n",
        ] {
            assert_eq!(quick(text), None, "taken for plain: {text:?}");
        }
    }

    #[test]
    fn lists_that_are_deep_are_not_followed() {
        assert_eq!(quick(&format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000))), None);
        let deep: String = (0..1_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        assert_eq!(quick(&deep), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Whatever is taken for plain has no mistake, and is read alike.
        #[test]
        fn both_parsers_read_alike(
            pieces in proptest::collection::vec(prop::sample::select(vec![
                "a", "b", "key", "a: ", "b: ", "b:", ":", ": ", "- ", "-", " ", "  ", "  ", "\n", "\n", "\n", "\n  ", "\n  - ",
                "\n- ", "{", "}", "[", "]", "{ ", " }", ",", ", ", "\"x\"", "'y'", "\"", "'", "#", " # c", "~", "null", "1", "/",
                "*", "&", "!", "|", ">", "%", "@", "?", "<<", ".", "---", "\\", "$", "(", "=", "^", ";", "+",
            ]), 0..24),
        ) {
            let text = pieces.concat();
            if let Some(read) = quick(&text) {
                prop_assert_eq!(Some(read), whole(&text), "{:?}", text);
            }
        }

        #[test]
        fn lines_of_all_kinds_are_read_alike(
            lines in proptest::collection::vec((0..4_usize, prop::sample::select(vec![
                "a: 1", "b:", "c: # x", "- d", "- e: 1", "- f:", "-  g: [1, 2]", "h: { i: j, k: [] }", "l: \"m\"", "- 'n'", "# o",
                "", "p: q # r", "s: [{ t: u }, \"v\"]", "w: x: y", "z", "- [a, b]", "- { c: d }",
            ])), 0..14),
        ) {
            let text: String = lines.iter().map(|(indent, line)| format!("{}{line}\n", "  ".repeat(*indent))).collect();
            if let Some(read) = quick(&text) {
                prop_assert_eq!(Some(read), whole(&text), "{:?}", text);
            }
        }
    }
}
