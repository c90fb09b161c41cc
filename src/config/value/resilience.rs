//! Single values of an active check: the statuses that are good, the target, the host.

use std::ops::RangeInclusive;
use std::sync::Arc;

use http::uri::Authority;

/// The statuses that a worker's final answer can have (RFC 9110 section 15).
const FINAL: RangeInclusive<u16> = 200..=599;
/// The longest target of a check, in bytes.
const LONGEST_TARGET: usize = 2_048;
/// The longest host of a check, in bytes: a DNS name (RFC 1035 section 2.3.4) and a port.
const LONGEST_HOST: usize = 262;

/// `200`, or `200-299`.
pub(super) fn statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = |why: &str| {
        let help = "write a status from 200 to 599, or the first and the last of several: `200-299`";
        format!("`{text}` is not a status{why}\n{help}")
    };
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let status = |digits: &str| {
        let three = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|status| three && FINAL.contains(status))
    };
    let (Some(least), Some(most)) = (status(least), status(most)) else { return Err(wrong("")) };
    if least > most {
        return Err(wrong(": its end comes before its beginning"));
    }
    Ok(least..=most)
}

/// A path, with or without a query; sent as it is written.
pub(super) fn target(text: &str) -> Result<Arc<str>, String> {
    const HELP: &str = "write a path, with its query if it needs one: `/healthz`";
    let why = match text {
        _ if !text.starts_with('/') => "it must start with `/`",
        _ if text.contains('#') => "a fragment is never sent",
        _ if !text.bytes().all(|b| b.is_ascii_graphic()) => "spaces and others are written as `%20` is",
        _ if text.len() > LONGEST_TARGET => "it is longer than 2048 bytes",
        _ if text.parse::<http::uri::PathAndQuery>().is_err() => "it holds a character that a URI cannot",
        _ => return Ok(text.into()),
    };
    Err(format!("`{}` is not a path to ask for: {why}\n{HELP}", text.escape_debug()))
}

/// A host, with or without a port.
pub(super) fn authority(text: &str) -> Result<Arc<str>, String> {
    let fits = text.len() <= LONGEST_HOST && !text.contains('@') && text.parse::<Authority>().is_ok();
    let help = "write it as a client would: `playlist.example.test`, or with a port";
    match fits {
        true => Ok(text.into()),
        false => Err(format!("`{}` is not a host\n{help}", text.escape_debug())),
    }
}
