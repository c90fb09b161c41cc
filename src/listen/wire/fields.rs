//! Field lines, one after another, to the empty line that ends them (RFC 9112 section 5): of heads and of trailer
//! sections. What a field means in a head stands in `head.rs`; what may not stand in a trailer, in `forward::headers`.

use std::ops::Range;

use super::bytes::{TOKEN, run, value_run};
use super::{Bad, FieldSpan, Spans, WireBounds};
use crate::forward::headers;
use crate::refusal::Reason;

/// A section of field lines on its way. Positions count from the start of the held part.
#[derive(Debug, Default)]
pub(super) struct Fields {
    place: Place,
    /// Where the line begins.
    line: usize,
    /// Where its colon stands.
    colon: usize,
    /// Lines so far.
    count: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// The first byte of a line.
    #[default]
    LineStart,
    /// A field's name.
    Name,
    /// A field's value.
    Value,
    /// The LF behind a field's CR.
    LineFeed,
    /// The LF of the empty line.
    LastLineFeed,
}

/// What was found.
pub(super) enum Found {
    /// More bytes are needed.
    More,
    /// A field; its value has no blanks around it.
    Field { name: Range<usize>, value: Range<usize> },
    /// The empty line.
    End,
}

impl Fields {
    /// The next thing in `window` from `looked` on, which moves to where it ends.
    pub(super) fn next(&mut self, window: &[u8], looked: &mut usize, most: usize) -> Result<Found, Bad> {
        loop {
            let at = *looked;
            let Some(&byte) = window.get(at) else { return Ok(Found::More) };
            match (self.place, byte) {
                (Place::LineStart, b'\r') => self.place = Place::LastLineFeed,
                (Place::LineStart, _) => {
                    self.start(byte, at, most)?;
                    // Nearly always all of the line is here.
                    let Some((colon, end)) = whole_line(&window[at..]) else { continue };
                    self.colon = at + colon;
                    *looked = at + end + 2;
                    let field = self.field(window, *looked - 1);
                    self.line = *looked;
                    self.place = Place::LineStart;
                    return Ok(field);
                }
                (Place::Name, b':') => {
                    self.colon = at;
                    self.place = Place::Value;
                }
                (Place::Name, _) => {
                    let run = run(&window[at..], &TOKEN);
                    if run == 0 {
                        return Err(Bad::request(at, bad_name(byte)));
                    }
                    *looked += run;
                    continue;
                }
                (Place::Value, b'\r') => self.place = Place::LineFeed,
                (Place::Value, _) => {
                    let run = value_run(&window[at..]);
                    if run == 0 {
                        return Err(Bad::request(at, bad_value(byte)));
                    }
                    *looked += run;
                    continue;
                }
                (Place::LineFeed, b'\n') => {
                    let field = self.field(window, at);
                    *looked += 1;
                    self.line = *looked;
                    self.place = Place::LineStart;
                    return Ok(field);
                }
                (Place::LastLineFeed, b'\n') => {
                    *looked += 1;
                    return Ok(Found::End);
                }
                (Place::LineFeed | Place::LastLineFeed, _) => {
                    return Err(Bad::request(at, "a carriage return without a line feed"));
                }
            }
            *looked += 1;
        }
    }

    fn start(&mut self, byte: u8, at: usize, most: usize) -> Result<(), Bad> {
        match byte {
            b' ' | b'\t' => return Err(Bad::request(at, "a header line begins with a blank")),
            b':' => return Err(Bad::request(at, "a header without a name")),
            _ if !TOKEN[usize::from(byte)] => return Err(Bad::request(at, bad_name(byte))),
            _ if self.count == most => {
                return Err(Bad { at, reason: Reason::HeadTooLarge, detail: "more headers than allowed" });
            }
            _ => {}
        }
        self.count += 1;
        self.line = at;
        self.place = Place::Name;
        Ok(())
    }

    /// The field of the line whose LF stands at `line_feed`.
    fn field(&self, window: &[u8], line_feed: usize) -> Found {
        let mut value = self.colon + 1..line_feed - 1;
        while value.start < value.end && matches!(window[value.start], b' ' | b'\t') {
            value.start += 1;
        }
        while value.start < value.end && matches!(window[value.end - 1], b' ' | b'\t') {
            value.end -= 1;
        }
        Found::Field { name: self.line..self.colon, value }
    }
}

/// Where the colon and the CR of the line stand that `rest` begins with. None: not all of it is here, or it is no sound
/// one.
fn whole_line(rest: &[u8]) -> Option<(usize, usize)> {
    let colon = run(rest, &TOKEN);
    if rest.get(colon) != Some(&b':') {
        return None;
    }
    let end = colon + 1 + value_run(&rest[colon + 1..]);
    rest[end..].starts_with(b"\r\n").then_some((colon, end))
}

const fn bad_name(byte: u8) -> &'static str {
    match byte {
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
    looked: usize,
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
            match self.fields.next(window, &mut self.looked, bounds.head_fields)? {
                Found::Field { name, .. } if headers::is_no_trailer(&window[name.clone()]) => {
                    return Err(Bad::request(name.start, "a header that may not stand in a trailer section"));
                }
                Found::Field { name, value } => spans.fields.push(FieldSpan { name, value }),
                Found::End => return Ok(Some(self.looked)),
                Found::More if window.len() == bounds.head_bytes => {
                    let detail = "the trailer section is longer than allowed";
                    return Err(Bad { at: window.len(), reason: Reason::HeadTooLarge, detail });
                }
                Found::More => return Ok(None),
            }
        }
    }
}
