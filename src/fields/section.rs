//! What fields are held in: a buffer of lines with an index beside it, and the buffers that a thread keeps for heads to
//! come. Which fields there are is `fields.rs`'s business.

use std::cell::RefCell;

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
pub(super) const NOTHING: Section = Section { text: Vec::new(), lines: Vec::new(), names: 0 };

/// Field lines, and where each stands.
pub(super) struct Section {
    /// Complete lines, one behind the other: `name: value` and CRLF.
    pub(super) text: Vec<u8>,
    pub(super) lines: Vec<Line>,
    /// The bit of each name that is or was there: most that are asked for are not.
    names: u64,
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
            Box::new(Self { text, lines, names: 0 })
        })
    }

    pub(super) fn name(&self, n: usize) -> &[u8] {
        let line = self.lines[n];
        &self.text[line.at as usize..line.value as usize - 2]
    }

    pub(super) fn value(&self, n: usize) -> &[u8] {
        &self.text[self.lines[n].value as usize..self.end(n) - 2]
    }

    /// Whether the nth has this name: most are of another length.
    #[inline]
    pub(super) fn is(&self, n: usize, name: &str) -> bool {
        let line = self.lines[n];
        (line.value - line.at) as usize == name.len() + 2 && self.name(n) == name.as_bytes()
    }

    /// Where the line behind the nth begins.
    pub(super) fn end(&self, n: usize) -> usize {
        self.lines.get(n + 1).map_or(self.text.len(), |next| next.at as usize)
    }

    #[inline]
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.names & bit(name.as_bytes()) != 0
    }

    /// Adds all of these lines behind the others, if there is room.
    pub(super) fn add_all(&mut self, others: &Self) {
        if !self.has_room(others.text.len()) {
            return;
        }
        let base = self.text.len() as u32;
        self.text.extend_from_slice(&others.text);
        let moved = |line: &Line| Line { at: base + line.at, value: base + line.value };
        self.lines.extend(others.lines.iter().map(moved));
        self.names |= others.names;
    }

    /// Whether so many bytes more can be held.
    pub(super) const fn has_room(&self, more: usize) -> bool {
        more <= MOST.saturating_sub(self.text.len())
    }

    /// Notes the line that begins at `at`, the last one of all. There was room for it.
    #[inline]
    pub(super) fn note(&mut self, at: usize, value: usize) {
        self.names |= bit(&self.text[at..value - 2]);
        self.lines.push(Line { at: at as u32, value: value as u32 });
    }

    /// Keeps its buffers for another head.
    pub(super) fn give_back(mut self: Box<Self>) {
        if !(USUAL_BYTES..=SPARE_BYTES).contains(&self.text.capacity()) {
            return;
        }
        self.text.clear();
        self.lines.clear();
        self.names = 0;
        // Not there any more when the thread ends: then there is nothing to keep it for.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(self);
            }
        });
    }
}

/// In lower case. In groups of a known length, which compilers take at once.
pub(super) fn lower(name: &mut [u8]) {
    let (groups, tail) = name.as_chunks_mut::<8>();
    groups.iter_mut().for_each(|group| group.make_ascii_lowercase());
    let (groups, tail) = tail.as_chunks_mut::<4>();
    groups.iter_mut().for_each(|group| group.make_ascii_lowercase());
    tail.make_ascii_lowercase();
}

/// The bit of a name: of 64, so that most names of two heads have different ones.
#[inline]
const fn bit(name: &[u8]) -> u64 {
    match name {
        [] => 1,
        [only] => 1 << (*only & 63),
        [first, .., last] => {
            1 << ((name.len() as u8).wrapping_mul(5).wrapping_add(*first).wrapping_add(last.wrapping_mul(3))
                & 63)
        }
    }
}

/// Without what would end a line (RFC 9110 section 5.5). Eight bytes are looked at in one word, the last eight again.
pub(super) fn is_value(value: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Not 0 exactly if one of the bytes is.
    let zero = |word: u64| word.wrapping_sub(EACH) & !word & (EACH << 7);
    let ends = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        zero(word) | zero(word ^ (EACH * b'\r' as u64)) | zero(word ^ (EACH * b'\n' as u64))
    };
    match value.last_chunk::<8>() {
        Some(last) => value.as_chunks::<8>().0.iter().fold(ends(last), |found, word| found | ends(word)) == 0,
        None => !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
    }
}
