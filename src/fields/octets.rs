//! Which bytes may stand where in a head of HTTP/1.1, and how long a run of them is. The grammar of lines stands with
//! those who read them: `listen::wire`, `forward::http1`.

/// For each byte, whether it belongs to a class.
pub(crate) type Class = [bool; 256];

macro_rules! class {
    ($members:pat) => {{
        let mut class = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            class[byte] = matches!(byte as u8, $members);
            byte += 1;
        }
        class
    }};
}

/// `tchar` of RFC 9110 section 5.6.2: methods, field names, chunk extensions.
#[rustfmt::skip]
pub(crate) static TOKEN: Class = class!(
    b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
);

/// What may stand in a target and what RFC 3986 allows unencoded somewhere in one, without `#`: a target never holds a
/// fragment (RFC 9112 section 3.2).
static TARGET: Class = class!(b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~');

/// Visible ASCII that RFC 3986 does not allow unencoded anywhere in a target.
static UNWISE: Class = class!(b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');

/// `field-vchar`, SP and HTAB of RFC 9110 section 5.5, with `obs-text`.
static VALUE: Class = class!(b'\t' | b' '..=b'~' | 0x80..);

/// What a quoted string may hold unescaped (`qdtext` of RFC 9110 section 5.6.4).
pub(crate) static QUOTED: Class = class!(b'\t' | b' '..=b'!' | b'#'..=b'[' | b']'..=b'~' | 0x80..);

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// How many leading bytes belong to `class`.
#[inline]
pub(crate) fn run(bytes: &[u8], class: &Class) -> usize {
    let first_other = |bytes: &[u8]| bytes.iter().position(|byte| !class[usize::from(*byte)]);
    // Groups of a known length, so that no bound is checked for each byte.
    let (groups, tail) = bytes.as_chunks::<8>();
    for (n, group) in groups.iter().enumerate() {
        if let Some(other) = first_other(group) {
            return n * 8 + other;
        }
    }
    groups.len() * 8 + first_other(tail).unwrap_or(tail.len())
}

/// How many leading bytes may stand in a request target, and whether one of them is [`UNWISE`].
#[inline]
pub(crate) fn target_run(bytes: &[u8]) -> (usize, bool) {
    let (mut length, mut unwise) = (run(bytes, &TARGET), false);
    while bytes.get(length).is_some_and(|byte| UNWISE[usize::from(*byte)]) {
        unwise = true;
        length += 1;
        length += run(&bytes[length..], &TARGET);
    }
    (length, unwise)
}

/// How many leading bytes may stand in a field value.
#[inline]
pub(crate) fn value_run(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let text = u64::from_le_bytes(*word);
        let doubts = below(text, 0x20) | equal(text, 0x7f);
        if doubts == 0 {
            continue;
        }
        let first = doubts.trailing_zeros() as usize / 8;
        // A tab is below 0x20 as well.
        let run = if word[first] == b'\t' { run(word, &VALUE) } else { first };
        if run < word.len() {
            return n * 8 + run;
        }
    }
    words.len() * 8 + run(tail, &VALUE)
}

/// Not zero if a byte of the word is below `bound` (at most 0x80). The lowest bit that is set is that of the first such
/// byte; bits above it may be set for others.
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(EACH * bound as u64) & !word & HIGH
}

/// The same if a byte of the word is `byte`.
const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (EACH * byte as u64), 1)
}
