//! The handshake of WebSocket where Buckler is the client of it (RFC 6455 section 4.1): the key that it makes up for a
//! request that came over HTTP/2, which needs none (RFC 8441 section 5), and what a worker has to answer to it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What is hashed with every key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key that was never used: 16 random bytes in base64.
pub fn new_key() -> Vec<u8> {
    base64(&fastrand::u128(..).to_be_bytes())
}

/// The `Sec-WebSocket-Accept` that answers this key (RFC 6455 section 4.2.2).
pub fn accept(key: &[u8]) -> Vec<u8> {
    // No secret and no signature: it shows only that the other side speaks WebSocket.
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()).as_ref())
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | usize::from(three.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            text.push(if n > three.len() { b'=' } else { DIGITS[bits >> (18 - 6 * n) & 63] });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_16_bytes_in_base64_and_never_the_same() {
        let (one, other) = (new_key(), new_key());
        assert_ne!(one, other);
        let text = String::from_utf8(one).unwrap();
        assert_eq!((text.len(), &text[22..]), (24, "=="));
        // Its last digit has only two bits.
        assert!("AQgw".contains(&text[21..22]), "{text}");
    }

    #[test]
    fn bytes_are_written_as_the_rfc_does() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn a_key_is_answered_as_in_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
