//! HPACK, the packing of header fields in HTTP/2 (RFC 7541): requests are unpacked with a dynamic table of the usual
//! size, answers are packed without one. An answer costs some more bytes so, and no search, no hash and no memory.

mod huffman;
mod table;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use table::Table;
pub use table::{Field, Name, Pseudo};

/// SETTINGS_HEADER_TABLE_SIZE as it is without a word (RFC 9113 section 6.5.2).
const TABLE_BYTES: usize = 4096;
/// No length or index is larger: more than any bound of a head.
const LARGEST: usize = 1 << 24;

/// A header block that cannot be read; nothing can that follows on the connection (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What unpacks the header blocks of one connection.
#[derive(Debug)]
pub struct Unpacker {
    table: Table,
}

impl Unpacker {
    /// One whose table is empty.
    pub const fn new() -> Self {
        Self { table: Table::new(TABLE_BYTES) }
    }

    /// What the entries of its table count, in bytes as section 4.1 counts them.
    pub const fn table_bytes(&self) -> usize {
        self.table.size()
    }

    /// Keeps no more room than is needed.
    pub(super) fn rest(&mut self) {
        self.table.rest();
    }

    /// Unpacks a whole block, field by field, as long as `take` says to go on.
    ///
    /// # Errors
    ///
    /// The block cannot be read. Nothing is known of the table then: the connection is to end.
    pub fn unpack(&mut self, mut block: &[u8], mut take: impl FnMut(Field) -> bool) -> Result<(), Broken> {
        let mut begun = false;
        while let Some(first) = block.first().copied() {
            let field = match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    self.table.field(index).ok_or(Broken)?.clone()
                }
                0x40..0x80 => {
                    let field = self.literal(&mut block, 6)?;
                    self.table.add(field.clone());
                    field
                }
                // Section 4.2: at the beginning of a block only.
                0x20..0x40 => {
                    let most = integer(&mut block, 5)?;
                    if begun || most > TABLE_BYTES {
                        return Err(Broken);
                    }
                    self.table.resize(most);
                    continue;
                }
                _ => self.literal(&mut block, 4)?,
            };
            begun = true;
            if !take(field) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Result<Field, Broken> {
        let name = match integer(block, prefix)? {
            0 => Name::read(&string(block)?),
            index => self.table.name(index).ok_or(Broken)?,
        };
        Ok(Field::new(name, string(block)?))
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

/// Section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Broken> {
    let mut next = || {
        let (first, rest) = block.split_first().ok_or(Broken)?;
        *block = rest;
        Ok(usize::from(*first))
    };
    let full = (1 << prefix) - 1;
    let mut value = next()? & full;
    if value < full {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return if value <= LARGEST { Ok(value) } else { Err(Broken) };
        }
    }
    Err(Broken)
}

/// Section 5.2.
fn string(block: &mut &[u8]) -> Result<Bytes, Broken> {
    let packed = block.first().ok_or(Broken)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Broken)?;
    *block = rest;
    if !packed {
        return Ok(Bytes::copy_from_slice(text));
    }
    let mut plain = Vec::new();
    huffman::unpack(text, &mut plain).map_err(|_| Broken)?;
    Ok(plain.into())
}

/// Says that no dynamic table is used (section 6.3): a client that has made its own smaller waits for a word.
pub(super) fn pack_no_table(block: &mut Vec<u8>) {
    block.push(0x20);
}

/// Packs the status of an answer.
pub(super) fn pack_status(status: StatusCode, block: &mut Vec<u8>) {
    match status.as_u16() {
        200 => block.push(0x88),
        204 => block.push(0x89),
        206 => block.push(0x8a),
        304 => block.push(0x8b),
        400 => block.push(0x8c),
        404 => block.push(0x8d),
        500 => block.push(0x8e),
        _ => {
            block.push(0x08);
            pack_string(status.as_str().as_bytes(), block);
        }
    }
}

/// Packs fields.
pub(super) fn pack(fields: &HeaderMap, block: &mut Vec<u8>) {
    for (name, value) in fields {
        pack_field(name, value, block);
    }
}

fn pack_field(name: &HeaderName, value: &HeaderValue, block: &mut Vec<u8>) {
    // Section 6.2.3: intermediaries must not index it either.
    let kind = if value.is_sensitive() { 0x10 } else { 0 };
    match table::place(name.as_str()) {
        Some(place) => pack_integer(usize::from(place), 4, kind, block),
        None => {
            block.push(kind);
            pack_string(name.as_str().as_bytes(), block);
        }
    }
    pack_string(value.as_bytes(), block);
}

fn pack_string(text: &[u8], block: &mut Vec<u8>) {
    pack_integer(text.len(), 7, 0, block);
    block.extend_from_slice(text);
}

fn pack_integer(value: usize, prefix: u32, kind: u8, block: &mut Vec<u8>) {
    let full = (1_usize << prefix) - 1;
    if value < full {
        return block.push(kind | value as u8);
    }
    block.push(kind | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        block.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(unpacker: &mut Unpacker, block: &[u8]) -> Result<Vec<Field>, Broken> {
        let mut fields = Vec::new();
        unpacker.unpack(block, |field| {
            fields.push(field);
            true
        })?;
        Ok(fields)
    }

    fn field(name: &'static str, value: &'static str) -> Field {
        Field::new(Name::read(name.as_bytes()), Bytes::from_static(value.as_bytes()))
    }

    #[test]
    fn the_requests_of_the_rfc_are_unpacked() {
        // RFC 7541 appendix C.4.
        let mut unpacker = Unpacker::new();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let get = |scheme, path| {
            vec![
                field(":method", "GET"),
                field(":scheme", scheme),
                field(":path", path),
                field(":authority", "www.example.com"),
            ]
        };
        assert_eq!(unpacked(&mut unpacker, first).unwrap(), get("http", "/"));
        let no_cache = [get("http", "/"), vec![field("cache-control", "no-cache")]].concat();
        assert_eq!(unpacked(&mut unpacker, second).unwrap(), no_cache);
        let custom = [get("https", "/index.html"), vec![field("custom-key", "custom-value")]].concat();
        assert_eq!(unpacked(&mut unpacker, third).unwrap(), custom);
    }

    #[test]
    fn what_cannot_be_read_breaks_the_connection() {
        for block in [
            &b"\x80"[..],                // index 0
            b"\xbe",                     // of an empty table
            b"\xff\xff\xff\xff\xff\xff", // an endless number
            b"\x40\x05ab",               // a string that is cut
            b"\x40\x81\x00\x01a",        // padding of zeros
            b"\x82\x3f\xe1\x1f",         // a change of size behind a field
            b"\x3f\xe2\x1f",             // a table larger than allowed
            b"\x41",
        ] {
            assert_eq!(unpacked(&mut Unpacker::new(), block), Err(Broken), "{block:x?}");
        }
        assert_eq!(
            unpacked(&mut Unpacker::new(), b"\x20\x3f\xe1\x1f\x82").unwrap(),
            [field(":method", "GET")]
        );
    }

    #[test]
    fn names_and_values_that_no_request_may_have_are_told_and_remembered() {
        let mut unpacker = Unpacker::new();
        let fields = unpacked(&mut unpacker, b"\x40\x01X\x01y\x40\x01x\x01\n\xbe\x7e\x01z").unwrap();
        assert_eq!(fields[0], Field::Malformed(Name::Malformed(1), 1));
        assert!(matches!(&fields[1], Field::Malformed(Name::Plain(name), 1) if name == "x"));
        assert_eq!(fields[2], fields[1]);
        assert_eq!(fields[3], field("x", "z"));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            fields in prop::collection::vec(("[a-z][a-z0-9-]{0,30}", "[ -~]{0,300}"), 0..20),
            status in 200_u16..600,
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in &fields {
                map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            let mut block = Vec::new();
            pack_no_table(&mut block);
            pack_status(StatusCode::from_u16(status).unwrap(), &mut block);
            pack(&map, &mut block);
            let told = unpacked(&mut Unpacker::new(), &block).unwrap();
            let expected: Vec<_> =
                map.iter().map(|(name, value)| Field::Plain(name.clone(), value.clone())).collect();
            prop_assert_eq!(&told[1..], &expected[..]);
        }

        #[test]
        fn any_block_is_unpacked_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpacked(&mut Unpacker::new(), &block);
        }
    }
}
