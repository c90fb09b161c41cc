//! The fields of a message on their way through: what belongs to one connection is removed in both directions, what
//! says where a request came from is made true. Fields that Buckler sets are set last, after everything a client
//! nominated in `Connection` is gone, so that nobody can strip or forge them (the class of CVE-2022-31813).
//!
//! Here: answers, trailers, and what both directions share. Requests stand in `headers/to_worker.rs`.

mod to_worker;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::lines::Lines;
pub(super) use to_worker::is_forged;
pub use to_worker::{Told, ask_upgrade, tell_deadline, to_worker};

/// The caller's name, told to the worker and never accepted from outside.
pub const CALLER: HeaderName = HeaderName::from_static("x-buckler-caller");

/// The same of a worker's answer: it says what it goes on with.
pub fn agree_upgrade(fields: &mut HeaderMap, protocol: &HeaderValue) {
    fields.insert(header::UPGRADE, protocol.clone());
    append(fields, header::CONNECTION, &HeaderValue::from_static("upgrade"));
}

/// Makes the fields of a request, as [`to_worker`] left them, fit for HTTP/2 (RFC 9113 sections 8.2.2 and 8.3.1):
/// nothing of HTTP/1.1's framing, and `Host` becomes `:authority`, which is returned.
pub fn to_worker_http2(fields: &mut HeaderMap) -> Option<HeaderValue> {
    fields.remove(header::CONNECTION);
    fields.remove(header::UPGRADE);
    fields.remove(header::TRANSFER_ENCODING);
    fields.remove(header::HOST)
}

/// Whether a worker's answer says its length in one way only. The codings of a transfer belong to one hop (RFC 9112
/// section 6.1): `chunked` is taken off here, and what another one leaves behind no client could read. A list of
/// lengths (RFC 9110 section 8.6), even of equal ones, would go on to parsers that take its first number or none.
pub fn is_plainly_framed(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next().is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let length = fields.get(header::CONTENT_LENGTH).is_none_or(|value| !value.as_bytes().contains(&b','));
    coding && codings.next().is_none() && length
}

/// Makes the fields of a worker's answer fit for the client. `Via` is left to [`to_client_lines`] where it says only
/// what it nearly always does.
pub fn to_client(fields: &mut HeaderMap, status: StatusCode, version: Version) {
    let (mut chunked, mut goes, mut passed) = (false, false, version != Version::HTTP_11);
    let mut connection = false;
    for (name, value) in &*fields {
        match name.as_str().len() {
            3 => passed |= *name == header::VIA,
            // What most workers say is that they keep it: that goes alone.
            10 if *name == header::CONNECTION && names_nothing(value.as_bytes()) => connection = true,
            17 if *name == header::TRANSFER_ENCODING => (chunked, goes) = (true, true),
            2 | 7 | 10 | 14 | 16..=19 => goes |= is_of_one_hop(name.as_str().as_bytes()) || *name == CALLER,
            _ => {}
        }
    }
    if goes {
        remove(fields, |name| is_of_one_hop(name.as_str().as_bytes()) || *name == CALLER);
    } else if connection {
        fields.remove(header::CONNECTION);
    }
    if chunked || matches!(status, StatusCode::NO_CONTENT | StatusCode::SWITCHING_PROTOCOLS) {
        // RFC 9112 section 6.3: the chunks frame the message, so a length beside them is a lie; RFC 9110 section 8.6
        // forbids one with 204 and 1xx.
        fields.remove(header::CONTENT_LENGTH);
    }
    if passed {
        append(fields, header::VIA, &HeaderValue::from_static(via(version)));
    }
}

/// Adds to an answer what Buckler says with every one: the request's id, in the place of what others said it is, and,
/// if the answer was `forwarded` and [`to_client`] has not said it, `Via`. With `limits`, a worker's fields about
/// limits go, since the client is told of ours.
pub fn to_client_lines(
    fields: &mut HeaderMap,
    request_id: &[u8],
    (forwarded, limits): (bool, bool),
    lines: &mut Lines,
) {
    let (mut passed, mut goes) = (!forwarded, false);
    for name in fields.keys() {
        match name.as_str().len() {
            3 => passed |= *name == header::VIA,
            9 | 12 | 16 => goes |= is_ours(name, limits),
            _ => {}
        }
    }
    if goes {
        remove(fields, |name| is_ours(name, limits));
    }
    if !passed {
        lines.add("via: ", via(Version::HTTP_11).as_bytes());
    }
    lines.add("x-request-id: ", request_id);
}

fn is_ours(name: &HeaderName, limits: bool) -> bool {
    match (name.as_str().len(), name.as_str()) {
        (12, "x-request-id") => true,
        (9, "ratelimit") | (16, "ratelimit-policy") => limits,
        _ => false,
    }
}

/// Makes the fields of a worker's interim answer fit for the client. It has no content (RFC 9110 section 15.2).
pub fn to_client_early(fields: &mut HeaderMap) {
    remove(fields, |name| {
        is_of_one_hop(name.as_str().as_bytes()) || *name == CALLER || *name == header::CONTENT_LENGTH
    });
}

/// Makes the trailers of a worker's answer fit for the client. Names with an underscore stay, since gRPC allows them,
/// and so does what tells of a request's way: a client believes its server.
pub fn to_client_trailers(trailers: &mut HeaderMap) {
    remove(trailers, |name| {
        is_of_one_hop(name.as_str().as_bytes())
            || NO_TRAILERS.contains(&name.as_str())
            || name.as_str().starts_with("x-buckler-")
    });
}

/// Framing, routing, credentials, controls and content format: they have no place behind a body (RFC 9110 section
/// 6.5.1).
#[rustfmt::skip]
const NO_TRAILERS: [&str; 29] = [
    "transfer-encoding", "content-length", "host", "trailer", "connection", "keep-alive", "proxy-connection", "te",
    "upgrade", "expect", "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key",
    "www-authenticate", "proxy-authenticate", "content-encoding", "content-type", "content-range", "range",
    "cache-control", "pragma", "max-forwards", "if-match", "if-none-match", "if-modified-since",
    "if-unmodified-since", "if-range",
];

/// Whether a field may not stand in a request's trailer section: what no trailer may be, and what only a proxy may say.
/// A name with an underscore may be read as the one with a hyphen (CGI, WSGI); in a head such a field is dropped, and
/// here, where nothing can be dropped, it is refused.
pub fn is_no_trailer(name: &[u8]) -> bool {
    const OF_PROXIES: [&str; 6] =
        ["forwarded", "via", "x-real-ip", "x-request-id", "traceparent", "tracestate"];
    const PREFIXES: [&str; 2] = ["x-buckler-", "x-forwarded-"];
    name.contains(&b'_')
        || NO_TRAILERS
            .iter()
            .chain(&OF_PROXIES)
            .any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
        || PREFIXES.iter().any(|prefix| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        })
}

/// Whether a method may be sent again when nobody knows if the first time arrived (RFC 9110 section 9.2.2).
pub fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// What the worker says of its keep-alive: the `timeout` of a `Keep-Alive` field, in seconds.
pub fn keep_alive_timeout(value: &[u8]) -> Option<u64> {
    let value = std::str::from_utf8(value).ok()?;
    value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse().ok())
}

/// Removes the fields of which `goes` is true, and those that `Connection` names. One look at each name decides, so
/// that a message with nothing to remove costs no look-ups.
fn remove(fields: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let mut gone: Vec<HeaderName> = Vec::new();
    for name in fields.keys() {
        if goes(name) {
            gone.push(name.clone());
        }
    }
    if gone.contains(&header::CONNECTION) {
        nominated(fields, &mut gone);
    }
    for name in gone {
        fields.remove(name);
    }
}

/// Adds the names that `Connection` lists, except two: how long the message is and whom it is for are not a client's
/// to take away.
fn nominated(fields: &HeaderMap, gone: &mut Vec<HeaderName>) {
    for value in fields.get_all(header::CONNECTION) {
        if names_nothing(value.as_bytes()) {
            continue;
        }
        for option in value.to_str().unwrap_or("").split(',').map(str::trim) {
            if option.eq_ignore_ascii_case("close") || option.eq_ignore_ascii_case("keep-alive") {
                continue;
            }
            match HeaderName::from_bytes(option.as_bytes()) {
                Ok(name) if name != header::CONTENT_LENGTH && name != header::HOST => gone.push(name),
                _ => {}
            }
        }
    }
}

/// Whether a `Connection` says how long it lasts, and no more.
fn names_nothing(value: &[u8]) -> bool {
    matches!(value.len(), 5 | 10)
        && (value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close"))
}

/// Fields of one hop (RFC 9110 section 7.6.1), whether or not `Connection` names them. `Transfer-Encoding` is among
/// them because each hop is framed anew; the credentials for a proxy are meant for this one (section 11.7).
#[inline]
pub(super) fn is_of_one_hop(name: &[u8]) -> bool {
    // By length first: most names are of none of these.
    matches!(
        (name.len(), name),
        (2, b"te")
            | (7, b"upgrade")
            | (10, b"connection" | b"keep-alive")
            | (14, b"http2-settings")
            | (16, b"proxy-connection")
            | (17, b"transfer-encoding")
            | (18, b"proxy-authenticate")
            | (19, b"proxy-authorization")
    )
}

/// Adds a value to a list field; its lines become one. What is not text is left out.
fn append(fields: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let Entry::Occupied(mut before) = fields.entry(&name) else {
        fields.insert(name, value.clone());
        return;
    };
    let mut all = Vec::new();
    for line in before.iter().chain(std::iter::once(value)) {
        if line.to_str().is_ok() {
            if !all.is_empty() {
                all.extend_from_slice(b", ");
            }
            all.extend_from_slice(line.as_bytes());
        }
    }
    before.insert(HeaderValue::from_bytes(&all).unwrap_or_else(|_| value.clone()));
}

const fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0 buckler",
        // RFC 9110 section 2.5: where a minor version has to stand, HTTP/2's is 0.
        Version::HTTP_2 => "2.0 buckler",
        _ => "1.1 buckler",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn trailers_of_an_answer_lose_what_belongs_to_its_hop_or_its_head() {
        let mut trailers = map(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/html"),
            ("x-buckler-caller", "root"),
            ("grpc-status", "0"),
            ("grpc-message", "well"),
            ("trace_id", "7"),
            ("x-request-id", "8"),
        ]);
        to_client_trailers(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-message", "grpc-status", "trace_id", "x-request-id"]);
    }

    #[test]
    fn an_answer_loses_what_belongs_to_the_workers_connection() {
        let mut fields = map(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("connection", "close, x-worker-hop"),
            ("x-worker-hop", "1"),
            ("via", "1.1 inner"),
            ("set-cookie", "a=1"),
        ]);
        to_client(&mut fields, StatusCode::OK, Version::HTTP_11);
        assert_eq!(fields[header::VIA], "1.1 inner, 1.1 buckler");
        assert_eq!(fields.len(), 2, "{fields:?}");
    }

    #[test]
    fn a_kept_connection_of_the_worker_is_its_own() {
        for said in ["keep-alive", "Keep-Alive", "close"] {
            let mut fields = map(&[("server", "a"), ("connection", said), ("etag", "1")]);
            to_client(&mut fields, StatusCode::OK, Version::HTTP_11);
            assert_eq!(fields.len(), 2, "{fields:?}");
        }
        let mut fields = map(&[("connection", "keep-alive"), ("connection", "x-hop"), ("x-hop", "1")]);
        to_client(&mut fields, StatusCode::OK, Version::HTTP_10);
        assert_eq!(fields[header::VIA], "1.0 buckler");
        assert_eq!(fields.len(), 1, "{fields:?}");
    }

    #[test]
    fn what_buckler_says_with_an_answer_is_said_once() {
        let answer =
            [("x-request-id", "theirs"), ("ratelimit", "a"), ("ratelimit-policy", "b"), ("etag", "1")];
        let said = |forwarded, limits, more: &[(&'static str, &'static str)]| {
            let mut fields = map(&[&answer, more].concat());
            let mut lines = Lines::default();
            to_client_lines(&mut fields, b"ours", (forwarded, limits), &mut lines);
            (fields.len(), String::from_utf8(lines.as_bytes().to_vec()).unwrap())
        };
        let both = "via: 1.1 buckler\r\nx-request-id: ours\r\n";
        assert_eq!(said(true, true, &[]), (1, both.to_owned()));
        assert_eq!(said(true, false, &[]), (3, both.to_owned()));
        assert_eq!(said(false, false, &[]), (3, "x-request-id: ours\r\n".to_owned()));
        let passed = [("via", "1.0 buckler")];
        assert_eq!(said(true, true, &passed), (2, "x-request-id: ours\r\n".to_owned()));
    }

    #[test]
    fn the_workers_keep_alive_is_read() {
        assert_eq!(keep_alive_timeout(b"max=100, timeout=15"), Some(15));
        assert_eq!(keep_alive_timeout(b"timeout=soon"), None);
    }
}
