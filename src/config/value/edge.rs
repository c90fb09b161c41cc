//! Single values of a service's outer side: where it listens, the permission bits of a socket, names in certificates.

use std::path::Path;
use std::sync::Arc;

use crate::config::Endpoint;

/// The longest SPIFFE id (SPIFFE-ID section 2.3).
const LONGEST_ID: usize = 2_048;
/// The longest trust domain (SPIFFE-ID section 2.1), and the longest DNS name (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 255;

/// An address of the network, or `unix:` and a path, which is here still as it was written.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    const HELP: &str = "write `unix:/run/buckler/a.sock`";
    let Some(path) = text.strip_prefix("unix:") else {
        return super::address(text).map(Endpoint::Tcp).map_err(|why| why + ", or `unix:/path`");
    };
    let why = match path {
        "" => "the path is missing",
        _ if path.starts_with('@') => "sockets without a file have neither owner nor mode",
        _ if path.ends_with('/') => "this is a folder",
        _ if path.contains('\0') => "a NUL byte cannot stand in a path",
        _ => return Ok(Endpoint::Unix(Arc::from(Path::new(path)))),
    };
    Err(format!("`{}` is not a socket of the file system: {why}\n{HELP}", text.replace('\0', "\\0")))
}

/// Three or four octal digits, up to 0777: the other bits of a mode mean nothing on a socket.
pub(super) fn mode_bits(text: &str) -> Result<u32, String> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| octal && *bits <= 0o777);
    bits.ok_or_else(|| {
        format!("`{text}` is not the mode of a socket\nwrite three octal digits, in quotes: `\"0660\"`")
    })
}

/// A SPIFFE id, or a DNS name in lower case.
pub(super) fn certificate_name(text: &str) -> Result<Arc<str>, String> {
    if text.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe://")) {
        return spiffe_id(text);
    }
    let wrong = |why: &str| {
        let help =
            "write a DNS name, `playlist.example.test`, or a SPIFFE id, `spiffe://example.test/playlist`";
        format!("`{text}` is not a name in a certificate{why}\n{help}")
    };
    if text.contains("://") {
        return Err(wrong(": of URIs only SPIFFE ids are read"));
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(wrong(": addresses stand under `addresses`"));
    }
    if text.contains('*') {
        return Err(wrong(": with a wildcard it would name more than one caller"));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // A last label of digits would be read as an address by whoever is strict (RFC 1123 section 2.1).
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    if name.len() > LONGEST_NAME - 2 || !name.split('.').all(label) || numeric {
        return Err(wrong(""));
    }
    Ok(name.into())
}

/// SPIFFE-ID section 2: the scheme, a trust domain in lower case, a path of plain segments.
fn spiffe_id(text: &str) -> Result<Arc<str>, String> {
    const HELP: &str = "write it as in the certificate: `spiffe://example.test/playlist`";
    let wrong = |why: &str| format!("`{text}` is not a SPIFFE id: {why}\n{HELP}");
    let Some((domain, path)) =
        text.strip_prefix("spiffe://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    else {
        return Err(wrong("`spiffe` stands in lower case"));
    };
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let in_path = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path);
    if domain.is_empty() || domain.len() > LONGEST_NAME || !domain.bytes().all(in_domain) {
        return Err(wrong("a trust domain has the characters a-z 0-9 . - _"));
    }
    if path.is_empty() {
        return Err(wrong("its path names the caller, and is missing"));
    }
    if !path.split('/').all(is_segment) {
        return Err(wrong(
            "a path has segments of the characters a-z A-Z 0-9 . - _, none of them empty, `.` or `..`",
        ));
    }
    if text.len() > LONGEST_ID {
        return Err(wrong(&format!("it is longer than {LONGEST_ID} bytes")));
    }
    Ok(text.into())
}
