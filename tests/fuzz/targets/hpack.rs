//! Any bytes as header blocks of one HTTP/2 connection: what is remembered of them stays within the table, and two
//! readers of the same blocks are told the same fields.

#![no_main]

use buckler::listen::hpack::{Kind, Unpacker};
use libfuzzer_sys::fuzz_target;

/// SETTINGS_HEADER_TABLE_SIZE (RFC 9113 section 6.5.2).
const TABLE_BYTES: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how long the blocks are.
    let Some((length, rest)) = bytes.split_first() else { return };
    let (mut one, mut other) = (Unpacker::new(), Unpacker::new());
    for block in rest.chunks(usize::from(*length).max(1)) {
        let (told, again) = (fields(&mut one, block), fields(&mut other, block));
        assert_eq!(told, again);
        assert!(one.table_bytes() <= TABLE_BYTES);
        if told.is_none() {
            return;
        }
    }
});

fn fields(unpacker: &mut Unpacker, block: &[u8]) -> Option<Vec<(Kind, Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    let told = unpacker.unpack(block, |field| {
        fields.push((field.kind, field.name.to_vec(), field.value.to_vec()));
        true
    });
    told.is_ok().then_some(fields)
}
