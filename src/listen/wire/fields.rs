//! Field lines, one after another, to the empty line that ends them (RFC 9112 section 5): of heads and of trailer
//! sections. What a field means in a head stands in `head.rs`; what may not stand in a trailer, in `forward::headers`.

use super::{Bad, FieldSpan, Spans, WireBounds};
use crate::fields::octets::{token_run, value_run};
use crate::forward::headers;
use crate::refusal::Reason;

/// A section of field lines on its way. Positions count from its first byte.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Where the line begins.
    line: usize,
    /// Where its colon stands, once it is here.
    colon: Option<usize>,
    /// All of the line's name or, behind the colon, of its value is sound up to here.
    looked: usize,
}

/// What was found.
pub(super) enum Found {
    /// More bytes are needed.
    More,
    /// A field; its value has no blanks around it. Whether it is written `name: value`.
    Field(FieldSpan, bool),
    /// The empty line, and where it ends.
    End(usize),
}

impl Fields {
    /// A section that begins at `line`.
    pub(super) const fn at(line: usize) -> Self {
        Self { line, colon: None, looked: line }
    }

    /// The next line of `window`, in which the section begins. It may not be a field any more if they are `full`.
    // Inlined, since what it hands over and keeps for the next line then stays in registers.
    #[inline(always)]
    pub(super) fn next(&mut self, window: &[u8], full: bool) -> Result<Found, Bad> {
        let line = self.line;
        let colon = match self.colon {
            Some(colon) => colon,
            None => {
                let Some(rest) = window.get(self.looked..) else { return Ok(Found::More) };
                let end = self.looked + token_run(rest);
                match window.get(end) {
                    _ if full && end > line => {
                        let detail = "more headers than allowed";
                        return Err(Bad { at: line, reason: Reason::HeadTooLarge, detail });
                    }
                    Some(b':') if end > line => end,
                    Some(b'\r') if end == line => return end_of_section(window, line),
                    Some(byte) => return Err(Bad::request(end, bad_name(*byte, end == line))),
                    None => {
                        self.looked = end;
                        return Ok(Found::More);
                    }
                }
            }
        };
        let begin = self.looked.max(colon + 1);
        let Some(rest) = window.get(begin..) else { return Ok(Found::More) };
        let value = value_run(rest);
        let end = begin + value;
        match rest.get(value..) {
            Some([b'\r', b'\n', ..]) => {
                *self = Self::at(end + 2);
                let span = field(window, line, colon, end);
                let as_written = (span.value.start, span.value.end) == (colon + 2, end)
                    && window.get(colon + 1) == Some(&b' ');
                Ok(Found::Field(span, as_written))
            }
            Some([b'\r', _, ..]) => Err(Bad::request(end + 1, NO_LINE_FEED)),
            Some([byte, ..]) if *byte != b'\r' => Err(Bad::request(end, bad_value(*byte))),
            _ => {
                (self.colon, self.looked) = (Some(colon), end);
                Ok(Found::More)
            }
        }
    }
}

/// The line that begins with a CR at `line` must be empty.
fn end_of_section(window: &[u8], line: usize) -> Result<Found, Bad> {
    match window.get(line + 1) {
        Some(b'\n') => Ok(Found::End(line + 2)),
        Some(_) => Err(Bad::request(line + 1, NO_LINE_FEED)),
        None => Ok(Found::More),
    }
}

/// The field whose name stands between `line` and `colon` and whose value, with the blanks around it, ends at `end`,
/// which is no blank.
fn field(window: &[u8], line: usize, colon: usize, end: usize) -> FieldSpan {
    let is_blank = |at: usize| matches!(window.get(at), Some(b' ' | b'\t'));
    let mut value = colon + 1..end;
    while is_blank(value.start) {
        value.start += 1;
    }
    while value.end > value.start && is_blank(value.end - 1) {
        value.end -= 1;
    }
    FieldSpan { name: line..colon, value }
}

const NO_LINE_FEED: &str = "a carriage return without a line feed";

/// What is wrong with a byte that is neither of a name nor the colon behind it.
const fn bad_name(byte: u8, is_first: bool) -> &'static str {
    match byte {
        b' ' | b'\t' if is_first => "a header line begins with a blank",
        b':' if is_first => "a header without a name",
        b'\n' => "a line ends with a bare line feed",
        b'\r' => "a header line without a colon",
        b' ' | b'\t' => "a blank in a header's name or before its colon",
        _ => "a byte that no header's name may have",
    }
}

const fn bad_value(byte: u8) -> &'static str {
    match byte {
        b'\n' => "a line ends with a bare line feed",
        _ => "a control byte in a header's value",
    }
}

/// The trailer section of a chunked body on its way.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    fields: Fields,
}

impl Trailers {
    /// The length of the section with its empty line; none if more bytes are needed.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        bounds: &WireBounds,
        spans: &mut Spans,
    ) -> Result<Option<usize>, Bad> {
        let window = &bytes[..bytes.len().min(bounds.head_bytes)];
        loop {
            match self.fields.next(window, spans.fields.len() == bounds.head_fields)? {
                Found::Field(field, _) if headers::is_no_trailer(&window[field.name.clone()]) => {
                    let detail = "a header that may not stand in a trailer section";
                    return Err(Bad::request(field.name.start, detail));
                }
                Found::Field(field, _) => spans.fields.push(field),
                Found::End(end) => return Ok(Some(end)),
                Found::More if window.len() == bounds.head_bytes => {
                    let detail = "the trailer section is longer than allowed";
                    return Err(Bad { at: window.len(), reason: Reason::HeadTooLarge, detail });
                }
                Found::More => return Ok(None),
            }
        }
    }
}
