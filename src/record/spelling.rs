//! How values are written in a line of the log: escaped, times, numbers, addresses. Formatters of the standard library
//! cost several times as much; tests hold what stands here to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::time::Duration;

use crate::fields::octets::{EACH, HIGH};

/// The numbers below 100 in two digits.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`
const LONGEST_ADDRESS: usize = 39;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A second in words, which are the same for all lines that end in it.
#[derive(Debug, Default)]
pub(super) struct Second {
    unix: u64,
    /// `2000-10-10T13:55:36.`
    rfc_3339: [u8; 20],
    /// `10/Oct/2000:13:55:36 +0000`
    apache: [u8; 26],
}

impl Second {
    /// Changes to that of a time in microseconds since 1970.
    #[inline]
    pub(super) fn turn_to(&mut self, unix_micros: u64) {
        let unix = unix_micros / 1_000_000;
        // All zeros are no words, not even of the first second.
        if self.unix != unix || self.apache[0] == 0 {
            *self = Self::of(unix);
        }
    }

    #[cold]
    fn of(unix: u64) -> Self {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let time = Civil::of(unix);
        let mut second =
            Self { unix, rfc_3339: *b"0000-00-00T00:00:00.", apache: *b"00/Jan/0000:00:00:00 +0000" };
        let [rfc_3339, apache] = [&mut second.rfc_3339[..], &mut second.apache[..]];
        digits(&mut rfc_3339[..4], time.year);
        digits(&mut rfc_3339[5..7], time.month);
        digits(&mut rfc_3339[8..10], time.day);
        digits(&mut apache[..2], time.day);
        apache[3..6].copy_from_slice(&MONTHS.as_chunks::<3>().0[(time.month as usize - 1) % 12]);
        digits(&mut apache[7..11], time.year);
        for (text, at) in [(rfc_3339, 11), (apache, 12)] {
            digits(&mut text[at..at + 2], time.hour);
            digits(&mut text[at + 3..at + 5], time.minute);
            digits(&mut text[at + 6..at + 8], time.second);
        }
        second
    }

    /// Writes a time in it, in microseconds since 1970, as RFC 3339 in UTC, to the microsecond.
    #[inline]
    pub(super) fn rfc_3339(&self, unix_micros: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rfc_3339);
        out.extend_from_slice(&six((unix_micros % 1_000_000) as u32));
        out.push(b'Z');
    }

    /// As Apache does: `10/Oct/2000:13:55:36 +0000`.
    pub(super) fn apache(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.apache);
    }
}

/// A time in microseconds since 1970 as RFC 3339 in UTC, to the microsecond.
pub fn timestamp(unix_micros: u64) -> String {
    let mut out = Vec::with_capacity(27);
    Second::of(unix_micros / 1_000_000).rfc_3339(unix_micros, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// An address as it is shown.
pub fn shown(ip: IpAddr) -> Box<str> {
    let mut out = Vec::with_capacity(LONGEST_ADDRESS);
    address(ip, &mut out);
    String::from_utf8_lossy(&out).into()
}

/// In decimal digits.
#[inline]
pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    match value {
        0..10 => out.push(b'0' + value as u8),
        10..100 => out.extend_from_slice(&PAIRS[value as usize]),
        100..1_000 => {
            let [tens, ones] = PAIRS[value as usize % 100];
            out.extend_from_slice(&[b'0' + (value / 100) as u8, tens, ones]);
        }
        _ => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

/// Seconds with microseconds.
#[inline]
pub(super) fn seconds(value: Duration, out: &mut Vec<u8>) {
    number(value.as_secs(), out);
    out.push(b'.');
    out.extend_from_slice(&six(value.subsec_micros()));
}

/// As it is shown.
pub(super) fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => ipv4(address, out),
        IpAddr::V6(address) => ipv6(address, out),
    }
}

fn ipv4(address: Ipv4Addr, out: &mut Vec<u8>) {
    let [first, others @ ..] = address.octets();
    number(u64::from(first), out);
    for octet in others {
        out.push(b'.');
        number(u64::from(octet), out);
    }
}

/// RFC 5952: the first of the longest runs of zeros is left out.
fn ipv6(address: Ipv6Addr, out: &mut Vec<u8>) {
    if let Some(mapped) = address.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return ipv4(mapped, out);
    }
    let segments = address.segments();
    let zeros = longest_zeros(&segments);
    for (n, segment) in segments.into_iter().enumerate() {
        if zeros.contains(&n) {
            if n == zeros.start {
                out.extend_from_slice(b"::");
            }
            continue;
        }
        if n > 0 && n != zeros.end {
            out.push(b':');
        }
        let digits = (u16::BITS - segment.leading_zeros()).div_ceil(4).max(1);
        out.extend((0..digits).rev().map(|digit| HEX[usize::from(segment >> (4 * digit) & 15)]));
    }
}

/// One zero alone stays.
fn longest_zeros(segments: &[u16; 8]) -> Range<usize> {
    let (mut longest, mut at) = (0..0, 0);
    while at < segments.len() {
        let zeros = segments[at..].iter().take_while(|segment| **segment == 0).count();
        if zeros > longest.len().max(1) {
            longest = at..at + zeros;
        }
        at += zeros + 1;
    }
    longest
}

/// Whether it stands in a JSON string as it is, in bytes of their own: ASCII but controls, the quote and the backslash.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    let (words, tail) = value.as_chunks::<8>();
    // The tail with what stands before it, or in a word of its own, filled up with what is plain.
    let tail = match value.last_chunk() {
        Some(last) => *last,
        None => {
            let mut word = [b' '; 8];
            word[..tail.len()].copy_from_slice(tail);
            word
        }
    };
    let doubts = words.iter().fold(doubts(tail), |found, word| found | doubts(*word));
    doubts == 0
}

/// Not zero if a byte of the word is not plain.
#[inline]
const fn doubts(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    // Borrows and carries go only upwards from a byte that is one itself.
    let other_than_text = word.wrapping_sub(EACH * 0x20) | word.wrapping_add(EACH) | word;
    let quote = (word ^ (EACH * b'"' as u64)).wrapping_sub(EACH);
    let backslash = (word ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    (other_than_text | quote | backslash) & HIGH
}

/// Escapes as RFC 8259 section 7, and the controls of Latin-1 (U+0080 to U+009F) too: terminals obey them, and somebody
/// may look at the log in one. Bytes that are not UTF-8 are read as Latin-1, as old clients mean them.
pub(super) fn escape_json(value: &[u8], out: &mut Vec<u8>) {
    // Nearly always nothing in it is special.
    if is_plain(value) {
        return out.extend_from_slice(value);
    }
    for chunk in value.utf8_chunks() {
        for char in chunk.valid().chars() {
            match u8::try_from(char) {
                Ok(byte @ (b'"' | b'\\')) => out.extend_from_slice(&[b'\\', byte]),
                Ok(byte @ (0..0x20 | 0x7f..=0x9f)) => unicode(byte, out),
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|byte| unicode(*byte, out));
    }
}

fn unicode(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u00");
    hex(byte, out);
}

/// Escapes as Apache does: what is not printable ASCII as `\xhh`.
pub(super) fn escape_combined(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => {
                out.extend_from_slice(b"\\x");
                hex(*byte, out);
            }
        }
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// The date of a second since 1970, by eras of 400 years that begin on 1 March, so that the leap day comes last.
    fn of(unix: u64) -> Self {
        let days = unix / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        Self {
            year: era * 400 + year + u64::from(month <= 2),
            month,
            day,
            hour: unix / 3_600 % 24,
            minute: unix / 60 % 60,
            second: unix % 60,
        }
    }
}

/// A number below a million.
fn six(micros: u32) -> [u8; 6] {
    let pair = |number: u32| PAIRS[(number % 100) as usize];
    let [[a, b], [c, d], [e, f]] = [pair(micros / 10_000), pair(micros / 100), pair(micros)];
    [a, b, c, d, e, f]
}

/// Fills a field with a number, and zeros before it.
fn digits(field: &mut [u8], mut number: u64) {
    for place in field.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_868_800_000_001, "2000-03-01T00:00:00.000001Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (1_798_761_600_000_000, "2027-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(micros), text);
        }
    }

    #[test]
    fn addresses_are_written_as_they_are_shown() {
        for shown in
            ["0.0.0.0", "9.10.99.100", "255.255.255.255", "::1", "2001:db8::ff00:42:8329", "::ffff:192.0.2.1"]
        {
            let mut out = Vec::new();
            address(shown.parse().unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Each byte at each place of a word, of the next one and of what is left.
    #[test]
    fn a_byte_that_is_escaped_is_found_wherever_it_stands() {
        for length in [1, 7, 8, 9, 16, 21] {
            for (at, byte) in (0..length).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut text = vec![b'a'; length];
                text[at] = byte;
                let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                assert_eq!(is_plain(&text), plain, "{byte} at {at} of {length}");
            }
        }
        assert!(is_plain(b""));
    }

    proptest! {
        #[test]
        fn numbers_and_addresses_are_written_as_they_are_shown(
            value in prop_oneof![0..10_000_u64, any::<u64>()],
            micros in 0..10_000_000_000_u64,
            octets in any::<[u8; 4]>(),
            // Many zeros among them.
            segments in prop::array::uniform8(prop_oneof![Just(0), any::<u16>()]),
        ) {
            prop_assert_eq!(written(|out| number(value, out)), value.to_string());
            let decimal = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(written(|out| seconds(Duration::from_micros(micros), out)), decimal);
            for ip in [IpAddr::from(octets), IpAddr::from(segments)] {
                prop_assert_eq!(&*shown(ip), ip.to_string());
            }
        }

        #[test]
        fn plain_text_is_what_json_writes_as_it_is(text in "[ -~\u{7f}-\u{ff}]{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            let as_it_is = json.len() == text.len() + 2 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            prop_assert_eq!(is_plain(text.as_bytes()), as_it_is);
        }

        #[test]
        fn escaped_bytes_are_always_a_json_string(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "[\u{0}-\u{ff}]{0,60}".prop_map(String::into_bytes),
            ],
        ) {
            let mut out = vec![b'"'];
            escape_json(&bytes, &mut out);
            out.push(b'"');
            prop_assert!(!str::from_utf8(&out).unwrap().chars().any(char::is_control));
            let text: String = serde_json::from_slice(&out).unwrap();
            if let Ok(valid) = std::str::from_utf8(&bytes) {
                prop_assert_eq!(text, valid);
            }
        }
    }
}
