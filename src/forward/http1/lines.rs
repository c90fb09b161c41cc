//! The lines of an answer's head as they come from a worker: where each ends, and whether it is one (RFC 9112 sections
//! 2.2, 4 and 5). What they mean stands in `head.rs`.

use std::ops::Range;

use http::{StatusCode, Version};

use super::head::{Bad, NOT_HTTP};
use crate::fields::FieldSpan;
use crate::fields::octets::{token_run, value_run};

/// `HTTP/1.1 200`, in bytes.
const BEGIN: usize = 12;

/// The first line of an answer.
pub(super) struct StatusLine<'a> {
    pub(super) version: Version,
    pub(super) status: StatusCode,
    /// Visible ASCII, blanks and tabs; empty if there were other bytes.
    pub(super) reason: &'a [u8],
    /// Where the next line begins.
    pub(super) end: usize,
}

/// What stands in a line behind that.
pub(super) enum Found {
    /// More bytes are needed.
    More,
    /// A field.
    Field(Line),
    /// Nothing: the head ends here.
    End(usize),
}

/// The line of a field.
pub(super) struct Line {
    /// Name and value, without the blanks around it.
    pub(super) field: FieldSpan,
    /// Whether it is written as nearly everybody does: `name: value` and CRLF.
    pub(super) is_plain: bool,
    /// Where the next one begins.
    pub(super) next: usize,
}

/// What most answers begin with.
const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\n";

impl<'a> StatusLine<'a> {
    /// Reads it. None: it is not all here.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<Self>, Bad> {
        if bytes.starts_with(USUAL) {
            let (version, status) = (Version::HTTP_11, StatusCode::OK);
            return Ok(Some(Self { version, status, reason: b"OK", end: USUAL.len() }));
        }
        let Some(begin) = bytes.first_chunk::<BEGIN>() else { return begins_well(bytes) };
        let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', code @ ..] = begin else {
            return Err(NOT_HTTP);
        };
        let version = if *minor == b'1' { Version::HTTP_11 } else { Version::HTTP_10 };
        let status = StatusCode::from_bytes(code).map_err(|_| NOT_HTTP)?;
        // The blank behind the code is left out by some who have no words either.
        let words = match bytes.get(BEGIN) {
            Some(b' ') => BEGIN + 1,
            _ => BEGIN,
        };
        let length = if words > BEGIN { value_run(&bytes[words..]) } else { 0 };
        let Some(end) = line_end(bytes, words + length)? else { return Ok(None) };
        let reason = Some(&bytes[words..words + length]).filter(|reason| reason.is_ascii());
        Ok(Some(Self { version, status, reason: reason.unwrap_or_default(), end }))
    }
}

/// Judges what may be the beginning of a status line, and is not all of it.
#[cold]
fn begins_well<T>(here: &[u8]) -> Result<Option<T>, Bad> {
    let is_expected = |(place, byte): (usize, &u8)| match place {
        0..=6 => *byte == b"HTTP/1."[place],
        7 => matches!(byte, b'0' | b'1'),
        8 => *byte == b' ',
        _ => byte.is_ascii_digit(),
    };
    if here.iter().enumerate().all(is_expected) { Ok(None) } else { Err(NOT_HTTP) }
}

/// Reads the line that begins at `at`.
// Inlined, since what it hands over then stays in registers.
#[inline(always)]
pub(super) fn line(bytes: &[u8], at: usize) -> Result<Found, Bad> {
    let colon = at + token_run(bytes.get(at..).unwrap_or_default());
    match bytes.get(colon) {
        Some(b':') if colon > at => {}
        Some(b'\r' | b'\n') if colon == at => {
            return Ok(line_end(bytes, at)?.map_or(Found::More, Found::End));
        }
        Some(_) => return Err(NOT_HTTP),
        None => return Ok(Found::More),
    }
    let begin = colon + 1;
    let end = begin + value_run(&bytes[begin..]);
    let Some(next) = line_end(bytes, end)? else { return Ok(Found::More) };
    let is_plain = next == end + 2
        && matches!(&bytes[begin..end], [b' ', value @ ..] if !is_blank(value.first()) && !is_blank(value.last()));
    let value = if is_plain { begin + 1..end } else { trimmed(bytes, begin..end) };
    Ok(Found::Field(Line { field: FieldSpan { name: at..colon, value }, is_plain, next }))
}

/// The value that `bytes` begin with, if CRLF follows and no blank is around it.
#[inline]
pub(super) fn plain_value(bytes: &[u8]) -> Option<&[u8]> {
    let (value, rest) = bytes.split_at(value_run(bytes));
    (rest.starts_with(b"\r\n") && !is_blank(value.first()) && !is_blank(value.last())).then_some(value)
}

fn is_blank(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t'))
}

/// The same part of the bytes without the blanks around it.
#[cold]
fn trimmed(bytes: &[u8], part: Range<usize>) -> Range<usize> {
    let from = bytes[part.clone()].trim_ascii_start();
    let start = part.end - from.len();
    start..start + from.trim_ascii_end().len()
}

/// Where the line behind the one begins whose text ends at `at`; it may end without its CR (RFC 9112 section 2.2).
/// None: its end is not here.
#[inline(always)]
fn line_end(bytes: &[u8], at: usize) -> Result<Option<usize>, Bad> {
    match bytes.get(at..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(Some(at + 2)),
        [b'\n', ..] => Ok(Some(at + 1)),
        [] | [b'\r'] => Ok(None),
        _ => Err(NOT_HTTP),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A head as it was understood: version, status, words, fields, and its length.
    type Understood = (Version, u16, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, usize);

    fn ours(bytes: &[u8]) -> Result<Option<Understood>, Bad> {
        let Some(StatusLine { version, status, reason, end }) = StatusLine::read(bytes)? else {
            return Ok(None);
        };
        let (mut at, mut fields) = (end, Vec::new());
        loop {
            match line(bytes, at)? {
                Found::More => return Ok(None),
                Found::Field(Line { field: FieldSpan { name, value }, is_plain, next }) => {
                    let (name, value) = (&bytes[name], &bytes[value]);
                    assert_eq!(is_plain, [name, b": ", value, b"\r\n"].concat() == bytes[at..next]);
                    fields.push((name.to_vec(), value.to_vec()));
                    at = next;
                }
                Found::End(end) => return Ok(Some((version, status.as_u16(), reason.to_vec(), fields, end))),
            }
        }
    }

    /// The same as another parser has it, which knows no bound for the status.
    fn theirs(bytes: &[u8]) -> Result<Option<Understood>, Bad> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut fields);
        let status = parsed.parse(bytes);
        if parsed.code.is_some_and(|code| code < 100) {
            return Err(NOT_HTTP);
        }
        match status {
            Ok(httparse::Status::Complete(length)) => {
                let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
                let reason = parsed.reason.unwrap().as_bytes().to_vec();
                let field =
                    |field: &httparse::Header<'_>| (field.name.as_bytes().to_vec(), field.value.to_vec());
                let fields = parsed.headers.iter().map(field).collect();
                Ok(Some((version, parsed.code.unwrap(), reason, fields, length)))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(_) => Err(NOT_HTTP),
        }
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => Just(b"\r\n".to_vec()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            4 => "[A-Za-z][a-z-]{0,12}: ?[ -~]{0,30}".prop_map(String::into_bytes),
            2 => "[!#-'*-.0-9A-Z^-z|~]{1,20}:[\t ]{0,3}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ]
    }

    fn head() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            8 => "HTTP/1\\.[01] [1-9][0-9]{2} [ -~]{0,20}".prop_map(String::into_bytes),
            1 => "HTTP/1\\.[01] [0-9]{3}".prop_map(String::into_bytes),
            1 => "HTTP/1\\.1 200 [\t -~\u{80}-\u{ff}]{0,9}".prop_map(String::into_bytes),
            1 => "(HTTP|http)/[0-2]\\.[0-2] ? [0-9]{1,4} ?".prop_map(String::into_bytes),
        ];
        (first, prop::collection::vec(piece(), 0..24))
            .prop_map(|(first, pieces)| [&first[..], b"\r\n", &pieces.concat()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn a_head_is_what_another_parser_takes_it_for(
            head in head(),
            ends: bool,
            spoil in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut head = head;
            if ends {
                head.extend_from_slice(b"\r\n\r\n");
            }
            if let Some((at, byte)) = spoil {
                let at = at.index(head.len());
                head[at] = byte;
            }
            for length in 0..=head.len() {
                prop_assert_eq!(ours(&head[..length]), theirs(&head[..length]), "{:?}", &head[..length]);
            }
        }
    }

    #[test]
    fn every_byte_may_stand_where_another_parser_lets_it() {
        for byte in 0..=u8::MAX {
            for text in [
                "HTTP/1.1 200 a_b\r\na_b: c_d\r\n\r\n",
                "HTTP/1.1 200_\r\n_: _\r\n_\r\n_\n\n",
                "_TTP/1.1 200\n\n",
            ] {
                for (at, _) in text.match_indices('_') {
                    let mut head = text.replace('_', "x").into_bytes();
                    head[at] = byte;
                    assert_eq!(ours(&head), theirs(&head), "{:?}", head.escape_ascii().to_string());
                }
            }
        }
    }
}
