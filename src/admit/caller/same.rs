//! Whether two secrets are the same, in a time that does not tell how far they are.

/// Whether two keys are the same: in a time that tells nothing of them but their lengths. It is asked for each request
/// of a connection, so it takes eight bytes at a time.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let ((words, tail), (other_words, other_tail)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let words = words.iter().zip(other_words);
    let words = words.fold(0, |found, (a, b)| found | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)));
    let tail = tail.iter().zip(other_tail).fold(0, |found, (a, b)| found | (a ^ b));
    // So that no compiler finds out that it could stop at the first difference.
    std::hint::black_box(words | u64::from(tail)) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_difference_is_seen_and_nothing_else(
            text in proptest::collection::vec(any::<u8>(), 1..40),
            at: prop::sample::Index,
            bit in 0..8_u32,
        ) {
            let mut other = text.clone();
            prop_assert!(is_same(&text, &other));
            other[at.index(text.len())] ^= 1 << bit;
            prop_assert!(!is_same(&text, &other));
            prop_assert!(!is_same(&text, &text[1..]));
        }
    }
}
