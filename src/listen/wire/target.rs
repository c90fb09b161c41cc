//! The forms of a request target. Host and path are read from it later, in `inbound::target`.

use super::MethodKind;

/// The four forms of RFC 9112 section 3.2, without the one for CONNECT.
pub(super) fn judge(target: &[u8], unwise: bool, method: MethodKind) -> Result<(), &'static str> {
    match target {
        [b'/', ..] if !unwise => Ok(()),
        [b'/', ..] => is_readable(target).then_some(()).ok_or("a byte that no request target may have"),
        b"*" if method == MethodKind::Options => Ok(()),
        b"*" => Err("only OPTIONS may have * as its target"),
        _ => {
            let has_scheme = ["http://", "https://"].iter().any(|scheme| {
                target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
            });
            if !has_scheme {
                return Err("the request target is neither a path nor an http URI");
            }
            is_readable(target).then_some(()).ok_or("the request target is not a valid URI")
        }
    }
}

/// Whether it can be held as what it is behind this file.
fn is_readable(target: &[u8]) -> bool {
    http::Uri::try_from(target).is_ok()
}
