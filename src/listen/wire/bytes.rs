//! Which bytes may stand where, and how long a run of them is. Grammar of lines stands in the other files.

/// For each byte, whether it belongs to a class.
pub(super) type Class = [bool; 256];

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
pub(super) static TOKEN: Class = class!(
    b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
);

/// Visible ASCII without `#`: a target never holds a fragment (RFC 9112 section 3.2).
static TARGET: Class = class!(b'!'..=b'"' | b'$'..=b'~');

/// Visible ASCII that RFC 3986 does not allow unencoded anywhere in a target.
pub(super) static UNWISE: Class = class!(b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');

/// `field-vchar`, SP and HTAB of RFC 9110 section 5.5, with `obs-text`.
static VALUE: Class = class!(b'\t' | b' '..=b'~' | 0x80..);

/// What a quoted string may hold unescaped (`qdtext` of RFC 9110 section 5.6.4).
pub(super) static QUOTED: Class = class!(b'\t' | b' '..=b'!' | b'#'..=b'[' | b']'..=b'~' | 0x80..);

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// How many leading bytes belong to `class`.
pub(super) fn run(bytes: &[u8], class: &Class) -> usize {
    bytes.iter().position(|&byte| !class[usize::from(byte)]).unwrap_or(bytes.len())
}

/// How many leading bytes may stand in a request target.
pub(super) fn target_run(bytes: &[u8]) -> usize {
    run_by_words(bytes, &TARGET, |word| {
        below(word, 0x21) | equal(word, 0x7f) | equal(word, b'#') | (word & HIGH)
    })
}

/// How many leading bytes may stand in a field value.
pub(super) fn value_run(bytes: &[u8]) -> usize {
    run_by_words(bytes, &VALUE, |word| below(word, 0x20) | equal(word, 0x7f))
}

/// Eight bytes at a time as long as `doubt` is zero for them, then byte by byte to the end of that word.
#[inline]
fn run_by_words(bytes: &[u8], class: &Class, doubt: impl Fn(u64) -> u64) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        if doubt(u64::from_le_bytes(*word)) != 0 {
            let run = run(word, class);
            if run < word.len() {
                return at * 8 + run;
            }
        }
    }
    words.len() * 8 + run(tail, class)
}

/// Not zero if a byte of the word is below `bound` (at most 0x80). Exact as a whole, not per byte.
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(EACH * bound as u64) & !word & HIGH
}

/// Not zero if a byte of the word is `byte`. Exact as a whole, not per byte.
const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (EACH * byte as u64), 1)
}
