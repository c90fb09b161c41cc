//! One size line of a chunked body (RFC 9112 section 7.1): digits, extensions, CRLF.
//!
//! The grammar also lets "bad whitespace" stand around an extension. Nobody sends it, parsers disagree about it, and
//! so it is refused.

use super::Bad;
use crate::fields::octets::{QUOTED, TOKEN};

/// Extensions of all size lines of a body together, in bytes; at so many the body is refused.
pub(super) const EXTENSION_BYTES: usize = 16 << 10;

/// One size line with its extensions and CRLF, in bytes. Over it the body is refused.
const LINE_BYTES: usize = 1 << 10;

/// Hexadecimal digits of a size: 60 bits, so that nothing behind this can overflow either.
const SIZE_DIGITS: usize = 15;

/// A size line on its way.
#[derive(Debug, Default)]
pub(super) struct ChunkLine {
    place: Place,
    looked: usize,
    size: u64,
    digits: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// The size.
    #[default]
    Size,
    /// The first character of an extension's name.
    NameStart,
    /// The rest of it.
    Name,
    /// The first character of an extension's value.
    ValueStart,
    /// The rest of a value that is a token.
    Value,
    /// Inside a quoted value.
    Quoted,
    /// Behind a backslash inside a quoted value.
    Escaped,
    /// Behind a quoted value.
    AfterQuoted,
    /// The LF behind the CR.
    LineFeed,
    /// The line is over.
    End,
}

impl ChunkLine {
    /// The length of the line and the size that it tells; none if more bytes are needed.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>, Bad> {
        let window = &bytes[..bytes.len().min(LINE_BYTES)];
        while let Some(&byte) = window.get(self.looked) {
            self.place = self.next(byte)?;
            self.looked += 1;
            if let Place::End = self.place {
                return Ok(Some((self.looked, self.size)));
            }
        }
        if window.len() == LINE_BYTES {
            return Err(Bad::request(LINE_BYTES, "a chunk's size line is too long"));
        }
        Ok(None)
    }

    /// Bytes of extensions in a complete line.
    pub(super) fn extension_bytes(&self) -> usize {
        self.looked.saturating_sub(self.digits + 2)
    }

    fn next(&mut self, byte: u8) -> Result<Place, Bad> {
        let token = TOKEN[usize::from(byte)];
        Ok(match (self.place, byte) {
            (Place::Size, _) if byte.is_ascii_hexdigit() => self.digit(byte)?,
            (Place::Size, _) if self.digits == 0 => {
                return self.bad("a chunk's size is not a hexadecimal number");
            }
            (Place::NameStart | Place::Name, _) if token => Place::Name,
            (Place::Name, b'=') => Place::ValueStart,
            (Place::ValueStart, b'"') => Place::Quoted,
            (Place::ValueStart | Place::Value, _) if token => Place::Value,
            (Place::Quoted, b'"') => Place::AfterQuoted,
            (Place::Quoted, b'\\') => Place::Escaped,
            (Place::Quoted, _) if QUOTED[usize::from(byte)] => Place::Quoted,
            (Place::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Place::Quoted,
            (Place::Size | Place::Name | Place::Value | Place::AfterQuoted, b';') => Place::NameStart,
            (Place::Size | Place::Name | Place::Value | Place::AfterQuoted, b'\r') => Place::LineFeed,
            (Place::LineFeed, b'\n') => Place::End,
            (Place::LineFeed, _) => return self.bad("a chunk's size line does not end with CRLF"),
            (Place::Size, _) => return self.bad("a chunk's size is not a hexadecimal number"),
            _ => return self.bad("a malformed chunk extension"),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<Place, Bad> {
        if self.digits == SIZE_DIGITS {
            return self.bad("a chunk's size has too many digits");
        }
        let value = char::from(byte).to_digit(16).unwrap_or(0);
        self.size = self.size << 4 | u64::from(value);
        self.digits += 1;
        Ok(Place::Size)
    }

    fn bad(&self, detail: &'static str) -> Result<Place, Bad> {
        Err(Bad::request(self.looked, detail))
    }
}
