//! HPACK, the packing of header fields in HTTP/2 (RFC 7541): requests are unpacked with a dynamic table of the usual
//! size, answers are packed without one. An answer costs some more bytes so, and no search, no hash and no memory. What
//! must not be indexed on any hop (section 7.1.3) is told of requests, and said of answers.

mod huffman;
mod table;

use http::StatusCode;

use table::Table;
pub use table::{Field, Kind, Pseudo};

/// SETTINGS_HEADER_TABLE_SIZE as it is without a word (RFC 9113 section 6.5.2).
const TABLE_BYTES: usize = 4096;
/// No length or index is larger: more than any bound of a head.
const LARGEST: usize = 1 << 24;
/// What tells a literal that is never indexed from one that is not (section 6.2.3).
const NEVER_INDEXED: u8 = 0x10;
/// So much room for a field that is unpacked is kept for the next one.
const TEXT_KEPT: usize = 4096;

/// A header block that cannot be read; nothing can that follows on the connection (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What unpacks the header blocks of one connection.
#[derive(Debug)]
pub struct Unpacker {
    table: Table,
    /// The field that is unpacked: its name, and its value behind that.
    text: Vec<u8>,
}

impl Unpacker {
    /// One whose table is empty.
    pub const fn new() -> Self {
        Self { table: Table::new(TABLE_BYTES), text: Vec::new() }
    }

    /// What the entries of its table count, in bytes as section 4.1 counts them.
    pub const fn table_bytes(&self) -> usize {
        self.table.size()
    }

    /// Keeps no more room than is needed.
    pub(super) fn rest(&mut self) {
        self.text = Vec::new();
        self.table.rest();
    }

    /// Unpacks a whole block, field by field, as long as `take` says to go on.
    ///
    /// # Errors
    ///
    /// The block cannot be read. Nothing is known of the table then: the connection is to end.
    pub fn unpack(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(Field<'_>) -> bool,
    ) -> Result<(), Broken> {
        let mut begun = false;
        while let Some(first) = block.first().copied() {
            let goes_on = match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    take(self.table.field(index).ok_or(Broken)?)
                }
                0x40..0x80 => {
                    let (kind, name) = self.literal(&mut block, 6)?;
                    let field = field(&self.text, kind, name);
                    self.table.add(kind, field);
                    take(field)
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
                _ => {
                    let (kind, name) = self.literal(&mut block, 4)?;
                    take(Field { never_indexed: first & NEVER_INDEXED != 0, ..field(&self.text, kind, name) })
                }
            };
            begun = true;
            if !goes_on {
                break;
            }
        }
        if self.text.capacity() > TEXT_KEPT {
            self.text = Vec::new();
        }
        Ok(())
    }

    /// Unpacks a name and a value: what the name is, and how long.
    fn literal(&mut self, block: &mut &[u8], prefix: u32) -> Result<(Kind, usize), Broken> {
        self.text.clear();
        let kind = match integer(block, prefix)? {
            0 => {
                string(block, &mut self.text)?;
                Kind::of(&self.text)
            }
            index => {
                let (kind, name) = self.table.name(index).ok_or(Broken)?;
                self.text.extend_from_slice(name);
                kind
            }
        };
        let name = self.text.len();
        string(block, &mut self.text)?;
        Ok((kind, name))
    }
}

/// A name of this length, and the value behind it.
fn field(text: &[u8], kind: Kind, name: usize) -> Field<'_> {
    let (name, value) = text.split_at(name);
    Field::new((kind, name), value)
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

/// Section 5.2. It is put behind what is in `text`.
fn string(block: &mut &[u8], text: &mut Vec<u8>) -> Result<(), Broken> {
    let packed = block.first().ok_or(Broken)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (string, rest) = block.split_at_checked(length).ok_or(Broken)?;
    *block = rest;
    if packed {
        return huffman::unpack(string, text).map_err(|_| Broken);
    }
    text.extend_from_slice(string);
    Ok(())
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

/// Packs a field. The name is in lower case. What is never indexed is said to be so.
pub(super) fn pack((name, value): (&[u8], &[u8]), never_indexed: bool, block: &mut Vec<u8>) {
    let form = if never_indexed { NEVER_INDEXED } else { 0 };
    match table::place(name) {
        Some(place) => pack_integer(usize::from(place), 4, form, block),
        None => {
            block.push(form);
            pack_string(name, block);
        }
    }
    pack_string(value, block);
}

fn pack_string(text: &[u8], block: &mut Vec<u8>) {
    pack_integer(text.len(), 7, 0, block);
    block.extend_from_slice(text);
}

#[inline]
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

    /// A field as it was told.
    type Told = (Kind, Vec<u8>, Vec<u8>);
    /// A field to be packed, and whether it is never indexed.
    type Packed = (String, String, bool);

    fn unpacked(unpacker: &mut Unpacker, block: &[u8]) -> Result<Vec<Told>, Broken> {
        let mut fields = Vec::new();
        unpacker.unpack(block, |field| {
            fields.push((field.kind, field.name.to_vec(), field.value.to_vec()));
            true
        })?;
        Ok(fields)
    }

    fn field(name: &str, value: &str) -> Told {
        (Kind::of(name.as_bytes()), name.into(), value.into())
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
    fn a_field_that_is_never_indexed_is_told_from_others() {
        // RFC 7541 appendix C.2, and one whose name is indexed.
        let never = [&b"\x10\x08password\x06secret"[..], b"\x1f\x08\x06secret"];
        let others = [&b"\x82"[..], b"\x04\x0c/sample/path", b"\x40\x0acustom-key\x0dcustom-header", b"\xbe"];
        let mut unpacker = Unpacker::new();
        for (block, is) in never.map(|block| (block, true)).into_iter().chain(others.map(|b| (b, false))) {
            let told = |field: Field<'_>| {
                assert_eq!(field.never_indexed, is, "{block:x?}");
                true
            };
            unpacker.unpack(block, told).unwrap();
        }
        let mut block = Vec::new();
        pack((b"password", b"secret"), true, &mut block);
        pack((b"set-cookie", b"secret"), true, &mut block);
        assert_eq!(block, b"\x10\x08password\x06secret\x1f\x28\x06secret");
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
        assert_eq!((fields[0].0, fields[1].0), (Kind::Malformed, Kind::Malformed));
        assert_eq!(fields[2], fields[1]);
        assert_eq!(fields[3], field("x", "z"));
    }

    fn packed() -> impl Strategy<Value = Packed> {
        ("[a-z][a-z0-9-]{0,30}", "[ -~]{0,300}", any::<bool>())
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            fields in prop::collection::vec(packed(), 0..20),
            status in 200_u16..600,
        ) {
            let mut block = Vec::new();
            pack_no_table(&mut block);
            pack_status(StatusCode::from_u16(status).unwrap(), &mut block);
            for (name, value, never) in &fields {
                pack((name.as_bytes(), value.as_bytes()), *never, &mut block);
            }
            let told = unpacked(&mut Unpacker::new(), &block).unwrap();
            let expected: Vec<_> = fields.iter().map(|(name, value, _)| field(name, value)).collect();
            prop_assert_eq!(&told[1..], &expected[..]);
        }

        #[test]
        fn what_was_indexed_is_found_again_as_long_as_it_has_room(
            fields in prop::collection::vec(("[a-z]{1,20}", "[ -~]{0,200}"), 1..60),
            sizes in prop::collection::vec(0_usize..=4096, 1..6),
        ) {
            let mut unpacker = Unpacker::new();
            // The newest first, as the client would remember them.
            let mut remembered: Vec<Told> = Vec::new();
            for (n, (name, value)) in fields.iter().enumerate() {
                let mut block = Vec::new();
                let most = sizes[n * sizes.len() / fields.len()];
                pack_integer(most, 5, 0x20, &mut block);
                block.push(0x40);
                pack_string(name.as_bytes(), &mut block);
                pack_string(value.as_bytes(), &mut block);
                unpacked(&mut unpacker, &block).unwrap();
                remembered.insert(0, field(name, value));
                let (mut size, mut keeps) = (0, 0);
                for (_, name, value) in &remembered {
                    size += name.len() + value.len() + 32;
                    keeps += usize::from(size <= most);
                }
                remembered.truncate(keeps);
                prop_assert!(unpacker.table_bytes() <= most);
                let mut all = Vec::new();
                (0..keeps).for_each(|n| pack_integer(62 + n, 7, 0x80, &mut all));
                prop_assert_eq!(&unpacked(&mut unpacker, &all).unwrap(), &remembered);
                let mut beyond = Vec::new();
                pack_integer(62 + keeps, 7, 0x80, &mut beyond);
                prop_assert_eq!(unpacked(&mut unpacker, &beyond), Err(Broken));
            }
        }

        #[test]
        fn any_block_is_unpacked_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpacked(&mut Unpacker::new(), &block);
        }
    }
}
