//! Which bytes may stand where in a head of HTTP/1.1, and how long a run of them is. The grammar of lines stands with
//! those who read them: `listen::wire`, `forward::http1`.

use std::hint::black_box;

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

/// A byte of 1 in each place of a word: times a byte, that byte in each place.
pub(crate) const EACH: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte of a word.
pub(crate) const HIGH: u64 = EACH << 7;

/// Whether all bytes of one are those of the other. The time that it takes tells nothing but their lengths: what
/// differs is put together by OR over all words, and asked for once, at the end. What is compared may hold a key.
#[inline]
pub(crate) fn are_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let differ = |one: &[u8; 8], other: &[u8; 8]| u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
    let found = match (one.last_chunk(), other.last_chunk()) {
        (Some(one_last), Some(other_last)) => {
            let words = one.as_chunks().0.iter().zip(other.as_chunks().0);
            words.fold(differ(one_last, other_last), |found, (one, other)| found | differ(one, other))
        }
        _ => one.iter().zip(other).fold(0, |found, (one, other)| found | u64::from(one ^ other)),
    };
    // A hint, so that no compiler has a reason to ask after each word.
    black_box(found) == 0
}

/// Whether all bytes of one are those of the other; but where `fixed` has 0 instead of 255, any visible ASCII will do.
/// There the two are not compared, so the time that it takes tells nothing of the other's. Texts of less than eight
/// bytes are never alike.
pub(crate) fn are_alike(one: &[u8], other: &[u8], fixed: &[u8]) -> bool {
    if one.len() != other.len() || one.len() != fixed.len() {
        return false;
    }
    let unlike = |one: &[u8; 8], other: &[u8; 8], fixed: &[u8; 8]| {
        let [one, other, fixed] = [one, other, fixed].map(|word| u64::from_le_bytes(*word));
        ((one ^ other) & fixed) | (not_visible(one) & !fixed)
    };
    let lasts = (one.last_chunk(), other.last_chunk(), fixed.last_chunk());
    let (Some(one_last), Some(other_last), Some(fixed_last)) = lasts else { return false };
    let words = one.as_chunks().0.iter().zip(other.as_chunks().0).zip(fixed.as_chunks().0);
    let last = unlike(one_last, other_last, fixed_last);
    words.fold(last, |found, ((one, other), fixed)| found | unlike(one, other, fixed)) == 0
}

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

/// How many leading bytes belong to a token.
#[inline]
pub(crate) fn token_run(bytes: &[u8]) -> usize {
    run_by_words(bytes, &TOKEN, no_letters)
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
    run_by_words(bytes, &VALUE, no_text)
}

/// How many leading bytes belong to `class`, looked at in words of eight. `doubts` says of a word which byte is the
/// first that is not one of those that nearly all are: the lowest bit that is set is the highest of that byte, and bits
/// above it may be set for others.
#[inline(always)]
fn run_by_words(bytes: &[u8], class: &Class, doubts: impl Fn(u64) -> u64) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let doubts = doubts(u64::from_le_bytes(*word));
        if doubts == 0 {
            continue;
        }
        let first = doubts.trailing_zeros() as usize / 8;
        let run = if class[usize::from(word[first])] { run(word, class) } else { first };
        if run < word.len() {
            return n * 8 + run;
        }
    }
    words.len() * 8 + run(tail, class)
}

/// Where a word has neither a letter nor a hyphen.
const fn no_letters(word: u64) -> u64 {
    let lower = (word & !HIGH) | (EACH * 0x20);
    let from_a = lower + EACH * (0x80 - b'a') as u64;
    let behind_z = lower + EACH * (0x7f - b'z') as u64;
    let other_than_hyphen = ((word & !HIGH) ^ (EACH * b'-' as u64)) + EACH * 0x7f;
    (((!from_a | behind_z) & other_than_hyphen) | word) & HIGH
}

/// Where a word has something else than a blank or visible ASCII.
const fn no_text(word: u64) -> u64 {
    (word.wrapping_sub(EACH * 0x20) | word.wrapping_add(EACH) | word) & HIGH
}

/// Where a word has something else than visible ASCII; nothing of a byte is told by its neighbours.
const fn not_visible(word: u64) -> u64 {
    let low = word & !HIGH;
    let from_first = low + EACH * (0x80 - b'!') as u64;
    let behind_last = low + EACH * (0x7f - b'~') as u64;
    (!from_first | behind_last | word) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte at each place of a text, whether that place is fixed or not.
    #[test]
    fn texts_are_alike_if_what_is_fixed_is_the_same_and_all_else_is_visible() {
        let text = b"name:value=of/some-words";
        for fixed in [[0_u8, 255], [255, 0]] {
            let fixed: Vec<u8> = (0..text.len()).map(|at| fixed[at % 2]).collect();
            let visible = |at: usize, byte: u8| fixed[at] == 255 || byte.is_ascii_graphic();
            for (at, byte) in (0..text.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut other = *text;
                other[at] = byte;
                let want =
                    (0..text.len()).all(|at| visible(at, other[at])) && (fixed[at] == 0 || byte == text[at]);
                assert_eq!(are_alike(&other, text, &fixed), want, "{byte} at {at}");
            }
            assert!(!are_alike(&text[1..], text, &fixed) && !are_alike(text, text, &fixed[1..]));
            for length in 0..text.len() {
                let (text, fixed) = (&text[..length], &fixed[..length]);
                assert_eq!(are_alike(text, text, fixed), length >= 8, "{length}");
            }
        }
    }

    /// One bit in each byte of texts of all lengths up to eight words and more.
    #[test]
    fn texts_are_the_same_if_no_bit_of_them_differs() {
        let text: Vec<u8> = (0..67).collect();
        for length in 0..=text.len() {
            let text = &text[..length];
            assert!(are_same(text, text));
            for at in 0..length {
                for bit in 0..8 {
                    let mut other = text.to_vec();
                    other[at] ^= 1 << bit;
                    assert!(!are_same(&other, text), "bit {bit} of byte {at} of {length}");
                }
                assert!(!are_same(&text[..at], text));
            }
        }
    }

    /// Each byte at each place of a text, of which the first eight, the next eight or a rest are looked at.
    #[test]
    fn runs_end_where_the_first_other_byte_stands() {
        type Run = fn(&[u8]) -> usize;
        let runs: [(Run, &Class, &[u8]); 2] =
            [(token_run, &TOKEN, b"Accept-Encoding-x"), (value_run, &VALUE, b"text/html;q=0.9, ")];
        for (run, class, text) in runs {
            assert_eq!(run(text), text.len());
            for byte in 0..=255 {
                for at in 0..text.len() {
                    let mut text = text.to_vec();
                    text[at] = byte;
                    let want = if class[usize::from(byte)] { text.len() } else { at };
                    assert_eq!(run(&text), want, "{byte} at {at}");
                    // Behind one that is doubted and allowed.
                    text[at / 2] = if at / 2 < at { b'!' } else { byte };
                    assert_eq!(run(&text), want, "{byte} at {at}");
                }
            }
        }
    }
}
