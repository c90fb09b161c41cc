//! The Huffman code of HPACK (RFC 7541 appendix B): how strings are unpacked. Nothing is packed here.

/// Bits of the code of each byte. The code is canonical, so that this is all of it.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];
/// The longest code, and that of the end mark, which never comes (section 5.2).
const LONGEST: usize = 30;
/// Codes of so many bits are found in one step: those of all letters, digits and most signs.
const SHORT: u32 = 8;

/// How long codes are unpacked.
struct Canon {
    /// Of each length: the first code, how many there are, and where their bytes stand in `bytes`.
    lengths: [(u32, u32, usize); LONGEST + 1],
    /// The bytes in the order of their codes.
    bytes: [u8; 256],
    /// For the next eight bits: the byte, and the bits of its code; none of them if it is longer.
    short: [(u8, u8); 1 << SHORT],
}

static CANON: Canon = canon();

const fn canon() -> Canon {
    let mut canon = Canon { lengths: [(0, 0, 0); LONGEST + 1], bytes: [0; 256], short: [(0, 0); 1 << SHORT] };
    let (mut code, mut at, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        canon.lengths[length] = (code, 0, at);
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                canon.bytes[at] = byte as u8;
                if length <= SHORT as usize {
                    let spare = SHORT as usize - length;
                    let mut low = 0;
                    while low < 1 << spare {
                        canon.short[(code as usize) << spare | low] = (byte as u8, length as u8);
                        low += 1;
                    }
                }
                canon.lengths[length].1 += 1;
                at += 1;
                code += 1;
            }
            byte += 1;
        }
        code <<= 1;
        length += 1;
    }
    canon
}

/// Unpacks `packed` behind what is in `plain`.
///
/// # Errors
/// A code that is none, or an end that is not made of up to seven bits of ones (section 5.2).
pub(super) fn unpack(packed: &[u8], plain: &mut Vec<u8>) -> Result<(), Broken> {
    plain.reserve(packed.len() * 8 / 5);
    let (mut bits, mut have, mut rest) = (0_u64, 0_u32, packed.iter());
    loop {
        while have <= 56
            && let Some(byte) = rest.next()
        {
            bits = bits << 8 | u64::from(*byte);
            have += 8;
        }
        if have == 0 {
            return Ok(());
        }
        // The next 32 bits, with ones behind the end.
        let next = match have {
            32.. => (bits >> (have - 32)) as u32,
            _ => ((bits << (32 - have)) as u32) | (u32::MAX >> have),
        };
        let (byte, length) = match CANON.short[(next >> (32 - SHORT)) as usize] {
            (byte, length @ 1..) => (byte, u32::from(length)),
            _ => match long(next) {
                Some(found) => found,
                None if have < 8 && next == u32::MAX => return Ok(()),
                None => return Err(Broken),
            },
        };
        if length > have {
            let ends = have < 8 && next == u32::MAX;
            return if ends { Ok(()) } else { Err(Broken) };
        }
        plain.push(byte);
        have -= length;
    }
}

/// The byte of a code of more than [`SHORT`] bits.
fn long(next: u32) -> Option<(u8, u32)> {
    (SHORT + 1..=LONGEST as u32).find_map(|length| {
        let (first, count, at) = CANON.lengths[length as usize];
        let place = (next >> (32 - length)).checked_sub(first)?;
        (place < count).then(|| (CANON.bytes[at + place as usize], length))
    })
}

/// A string is not packed as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The code of a byte and its length.
    fn code(byte: u8) -> (u64, u32) {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        let (first, count, at) = CANON.lengths[length as usize];
        let place = CANON.bytes[at..at + count as usize].iter().position(|one| *one == byte).unwrap();
        (u64::from(first) + place as u64, length)
    }

    fn pack(plain: &[u8]) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        for (code, length) in plain.iter().map(|byte| code(*byte)) {
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }

    fn unpacked(packed: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut plain = Vec::new();
        unpack(packed, &mut plain).map(|()| plain)
    }

    #[test]
    fn the_examples_of_the_rfc_are_unpacked() {
        // RFC 7541 appendices C.4 and C.6.
        for (packed, plain) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
        ] {
            assert_eq!(unpacked(packed).unwrap(), plain.as_bytes());
            assert_eq!(pack(plain.as_bytes()), packed);
        }
    }

    #[test]
    fn an_end_that_is_no_padding_is_refused() {
        assert_eq!(unpacked(&[0xff]), Err(Broken), "eight ones");
        assert_eq!(unpacked(&[0x18]), Err(Broken), "zeros");
        assert_eq!(unpacked(&[0xff, 0xff, 0xff, 0xff]), Err(Broken), "the end mark");
        assert_eq!(unpacked(&[0x1f]), Ok(b"a".to_vec()));
        assert_eq!(unpacked(&[]), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(plain in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(unpacked(&pack(&plain)), Ok(plain));
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(packed in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpacked(&packed);
        }
    }
}
