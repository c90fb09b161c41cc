//! Any bytes as the answer of a gRPC health check: they are refused with words, or a status is read, and what stands
//! behind it counts as protobuf has it: a further status is the one that counts, an unknown field changes none.

#![no_main]

use buckler::workers::check::grpc::{Serving, message, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Ok(status) => {
            assert!(!status.to_string().is_empty());
            assert_eq!(read(&with(bytes, &[0x10, 0x7f])), Ok(status));
            assert_eq!(read(&with(bytes, &[0x08, 0x01])), Ok(Serving::Serving));
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
    // The question has the same frame and the same encoding, with a string instead of the number.
    if let Ok(service) = std::str::from_utf8(bytes) {
        assert_eq!(read(&message(service)), Ok(Serving::Unknown));
    }
});

/// The same message with these bytes behind it.
fn with(bytes: &[u8], more: &[u8]) -> Vec<u8> {
    let inside = u32::try_from(bytes.len() - 5 + more.len()).expect("an input is short");
    [&bytes[..1], &inside.to_be_bytes(), &bytes[5..], more].concat()
}
