//! What fields are held in: a buffer of lines with an index beside it, and the buffers that a thread keeps for heads to
//! come. Which fields there are is `fields.rs`'s business.

use std::cell::RefCell;
use std::ops::Range;

use super::octets::{EACH, HIGH};

/// So many buffers are kept on a thread for the heads to come.
pub(super) const SPARE: usize = 64;
/// A buffer with room for more bytes than this is not kept, nor is one with less than usual.
pub(super) const SPARE_BYTES: usize = 4096;
/// All lines of one head together, in bytes: far more than any reader lets pass.
pub(super) const MOST: usize = u32::MAX as usize;
/// Room for the lines of a usual head, in bytes.
const USUAL_BYTES: usize = 1024;
/// The same in lines.
const USUAL_LINES: usize = 24;

thread_local! {
    #[allow(clippy::vec_box, reason = "the box is what is lent")]
    pub(super) static SPARES: RefCell<Vec<Box<Section>>> = const { RefCell::new(Vec::new()) };
}

/// No fields.
pub(super) static NONE: Section = NOTHING;
pub(super) const NOTHING: Section =
    Section { text: Vec::new(), lines: Vec::new(), names: 0, never_indexed: 0 };

/// Field lines, and where each stands.
pub(super) struct Section {
    /// Complete lines, one behind the other: `name: value` and CRLF.
    pub(super) text: Vec<u8>,
    pub(super) lines: Vec<Line>,
    /// The bit of each name that is or was there: most that are asked for are not.
    pub(super) names: u64,
    /// The bit of each name whose fields are never indexed.
    pub(super) never_indexed: u64,
}

/// Where a line begins, and where its value does. It ends where the next one begins.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) at: u32,
    pub(super) value: u32,
}

impl Section {
    /// An empty one.
    pub(super) fn spare() -> Box<Self> {
        SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten().unwrap_or_else(|| {
            let (text, lines) = (Vec::with_capacity(USUAL_BYTES), Vec::with_capacity(USUAL_LINES));
            Box::new(Self { text, lines, names: 0, never_indexed: 0 })
        })
    }

    pub(super) fn name(&self, n: usize) -> &[u8] {
        let line = self.lines[n];
        &self.text[line.at as usize..line.value as usize - 2]
    }

    pub(super) fn value(&self, n: usize) -> &[u8] {
        &self.text[self.lines[n].value as usize..self.end_of(n) - 2]
    }

    /// Whether the nth has this name: most are of another length.
    #[inline]
    pub(super) fn is(&self, n: usize, name: &str) -> bool {
        let line = self.lines[n];
        (line.value - line.at) as usize == name.len() + 2 && self.name(n) == name.as_bytes()
    }

    /// The first one of this name.
    pub(super) fn first(&self, name: &str) -> Option<usize> {
        (0..self.lines.len()).find(|n| self.is(*n, name))
    }

    /// Where the line behind the nth begins.
    pub(super) fn end_of(&self, n: usize) -> usize {
        self.lines.get(n + 1).map_or(self.text.len(), |next| next.at as usize)
    }

    #[inline(always)]
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.names & bit(name.as_bytes()) != 0
    }

    /// Makes an empty one the same as another.
    pub(super) fn copy(&mut self, other: &Self) {
        self.text.extend_from_slice(&other.text);
        self.lines.extend_from_slice(&other.lines);
        (self.names, self.never_indexed) = (other.names, other.never_indexed);
    }

    /// Adds all lines of `others` behind these, if there is room. They are this `text`, whatever stands behind it.
    pub(super) fn add_lines(&mut self, text: &[u8], others: &Self) {
        if !self.has_room(text.len()) {
            return;
        }
        self.never_indexed |= others.never_indexed;
        // There is room for them, and so for where they stand.
        let base = self.text.len() as u32;
        self.text.extend_from_slice(text);
        let moved = |line: &Line| Line { at: base + line.at, value: base + line.value };
        self.lines.extend(others.lines.iter().map(moved));
        self.names |= others.names;
    }

    /// Whether so many bytes more can be held.
    pub(super) const fn has_room(&self, more: usize) -> bool {
        more <= MOST.saturating_sub(self.text.len())
    }

    /// Adds a line, if its value is one.
    pub(super) fn add(&mut self, name: &str, bit: u64, value: &[u8]) {
        if is_value(value) && self.has_room(name.len() + value.len() + 4) {
            let (at, begin) = self.begin(name);
            self.text.extend_from_slice(value);
            self.text.extend_from_slice(b"\r\n");
            self.note(at, begin, bit);
        }
    }

    pub(super) fn add_own(&mut self, line: &'static OwnLine) {
        if self.has_room(line.text.len()) {
            let at = self.text.len();
            self.text.extend_from_slice(line.text);
            self.note(at, at + line.name + 2, line.bit);
        }
    }

    /// Begins a line: where it does, and where its value will.
    #[inline]
    pub(super) fn begin(&mut self, name: &str) -> (usize, usize) {
        let at = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b": ");
        (at, self.text.len())
    }

    /// Ends a line that begins at `at`, if its value, which begins at `value`, is one.
    pub(super) fn end(&mut self, at: usize, value: usize, bit: u64) {
        if is_value(self.text.get(value..).unwrap_or_default()) && self.has_room(2) {
            self.text.extend_from_slice(b"\r\n");
            self.note(at, value, bit);
        } else {
            self.text.truncate(at);
        }
    }

    /// Notes the line that begins at `at`, the last one of all. There was room for it.
    #[inline]
    pub(super) fn note(&mut self, at: usize, value: usize, bit: u64) {
        self.names |= bit;
        self.lines.push(Line { at: at as u32, value: value as u32 });
    }

    /// The same of a line that was read, with its name in any case.
    #[inline(always)]
    pub(super) fn note_read(&mut self, at: usize, value: usize) {
        let name = &mut self.text[at..value - 2];
        lower(name);
        let bit = bit(name);
        self.note(at, value, bit);
    }

    /// Puts another value into the nth, if there is room. Readers bound a head by some MiB, so there is.
    pub(super) fn put(&mut self, n: usize, value: &[u8]) {
        let there = self.lines[n].value as usize..self.end_of(n) - 2;
        if there.len() == value.len() {
            return self.text[there].copy_from_slice(value);
        }
        if !self.has_room(value.len()) {
            return;
        }
        let (before, after) = (there.len() as u32, value.len() as u32);
        replace(&mut self.text, there, value);
        for line in &mut self.lines[n + 1..] {
            *line = Line { at: line.at - before + after, value: line.value - before + after };
        }
    }

    /// Removes the nth.
    pub(super) fn cut(&mut self, n: usize) {
        let (at, end) = (self.lines[n].at, self.end_of(n));
        self.text.drain(at as usize..end);
        self.lines.remove(n);
        let gone = end as u32 - at;
        for line in &mut self.lines[n..] {
            *line = Line { at: line.at - gone, value: line.value - gone };
        }
    }

    /// Keeps its buffers for another head.
    pub(super) fn give_back(mut self: Box<Self>) {
        if self.text.capacity() > SPARE_BYTES {
            return;
        }
        self.text.clear();
        self.lines.clear();
        (self.names, self.never_indexed) = (0, 0);
        // Not there any more when the thread ends: then there is nothing to keep it for.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(self);
            }
        });
    }
}

/// Puts `word` in the place of what stands `there`, and moves what stands behind it.
pub(super) fn replace(text: &mut Vec<u8>, there: Range<usize>, word: &[u8]) {
    let (before, end) = (text.len(), there.start + word.len());
    let after = before - there.len() + word.len();
    // For a longer word room is made first.
    text.resize(before.max(after), 0);
    text.copy_within(there.end..before, end);
    text[there.start..end].copy_from_slice(word);
    text.truncate(after);
}

/// A line that stands in the code, judged when that is compiled.
#[derive(Debug)]
pub struct OwnLine {
    text: &'static [u8],
    name: usize,
    bit: u64,
}

impl OwnLine {
    /// Of `name: value` and CRLF, with the name in lower case.
    ///
    /// # Panics
    /// It is not such a line; in a constant, that is an error of the compiler.
    pub const fn new(line: &'static str) -> Self {
        let text = line.as_bytes();
        let Some((value, b"\r\n")) = text.split_last_chunk() else { panic!("a line ends with CRLF") };
        let mut name = 0;
        while matches!(value[name], b'a'..=b'z' | b'0'..=b'9' | b'-') {
            name += 1;
        }
        assert!(name > 0 && value[name] == b':' && value[name + 1] == b' ', "a name in lower case, and `: `");
        let mut at = name;
        while at < value.len() {
            assert!(matches!(value[at], b' '..=b'~'), "visible ASCII and blanks");
            at += 1;
        }
        Self { text, name, bit: bit(value.split_at(name).0) }
    }
}

/// In lower case. Eight letters are looked at in one word, and the last ones again rather than one by one.
pub(super) fn lower(name: &mut [u8]) {
    let word = |group: &mut [u8; 8]| *group = lower_word(u64::from_le_bytes(*group)).to_le_bytes();
    let half = |group: &mut [u8; 4]| {
        *group = (lower_word(u64::from(u32::from_le_bytes(*group))) as u32).to_le_bytes();
    };
    match name.len() {
        8.. => {
            name.as_chunks_mut().0.iter_mut().for_each(word);
            name.last_chunk_mut().into_iter().for_each(word);
        }
        4.. => {
            name.first_chunk_mut().into_iter().for_each(half);
            name.last_chunk_mut().into_iter().for_each(half);
        }
        _ => name.make_ascii_lowercase(),
    }
}

/// Eight bytes in lower case.
const fn lower_word(word: u64) -> u64 {
    let low = word & !HIGH;
    let from_a = low + EACH * (0x80 - b'A') as u64;
    let behind_z = low + EACH * (0x7f - b'Z') as u64;
    word | ((from_a & !behind_z & !word & HIGH) >> 2)
}

/// The bit of a name: of 64, so that most names of two heads have different ones.
#[inline(always)]
pub(super) const fn bit(name: &[u8]) -> u64 {
    match name {
        [] => 1,
        [only] => 1 << (*only & 63),
        [first, .., last] => {
            1 << ((name.len() as u8).wrapping_mul(5).wrapping_add(*first).wrapping_add(last.wrapping_mul(3))
                & 63)
        }
    }
}

/// Without what would end a line (RFC 9110 section 5.5). Eight bytes are looked at in one word, the last eight again:
/// hardly any value has a byte below 0x10 at all.
#[inline]
pub(super) fn is_value(value: &[u8]) -> bool {
    let doubts = |bytes: &[u8; 8]| {
        let word = u64::from_le_bytes(*bytes);
        word.wrapping_sub(EACH << 4) & !word & HIGH
    };
    match value.last_chunk() {
        Some(last) => {
            let found = value.as_chunks().0.iter().fold(doubts(last), |found, word| found | doubts(word));
            found == 0 || ends_no_line(value)
        }
        None => ends_no_line(value),
    }
}

fn ends_no_line(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
