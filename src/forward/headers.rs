//! The fields of a message on their way through: what belongs to one connection is removed in both directions, what
//! says where a request came from is made true. Fields that Buckler sets are set last, after everything a client
//! nominated in `Connection` is gone, so that nobody can strip or forge them (the class of CVE-2022-31813).
//!
//! Here: answers, trailers, and what both directions share. Requests stand in `headers/to_worker.rs`.

mod to_worker;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::fields::{Fields, OwnLine, text};
pub(super) use to_worker::is_forged;
pub use to_worker::{Origin, Told, ask_upgrade, tell_deadline, to_worker};

/// The caller's name, told to the worker and never accepted from outside.
pub const CALLER: HeaderName = HeaderName::from_static("x-buckler-caller");

/// Makes the fields of a request, as [`to_worker()`] left them, fit for HTTP/2 (RFC 9113 sections 8.2.2 and 8.3.1):
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
pub fn is_plainly_framed(fields: &Fields) -> bool {
    let mut codings = fields.get_all("transfer-encoding");
    let coding = codings.next().is_none_or(|value| value.eq_ignore_ascii_case(b"chunked"));
    let length = fields.get("content-length").is_none_or(|value| !value.contains(&b','));
    coding && codings.next().is_none() && length
}

/// Makes the fields of a worker's answer fit for the client.
pub fn to_client(fields: &mut Fields, status: StatusCode, version: Version) {
    if fields.contains("transfer-encoding") {
        // RFC 9112 section 6.3: the chunks frame the message, so a length beside them is a lie.
        fields.remove("content-length");
    }
    strip(fields, |name| is_of_one_hop(name) || name == CALLER.as_str().as_bytes());
    pass_on(fields, status, version);
}

/// The same where nothing of the worker's hop is left among them.
pub fn pass_on(fields: &mut Fields, status: StatusCode, version: Version) {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::SWITCHING_PROTOCOLS) {
        // RFC 9110 section 8.6 forbids one with 204 and 1xx.
        fields.remove("content-length");
    }
    say_via(fields, version);
}

/// Adds to an answer what Buckler says with every one: the request's id, in the place of what others said it is. With
/// `limits`, a worker's fields about limits go, since the client is told of ours.
pub fn to_client_own(fields: &mut Fields, request_id: &[u8], limits: bool) {
    if limits {
        fields.remove("ratelimit");
        fields.remove("ratelimit-policy");
    }
    fields.set("x-request-id", request_id);
}

/// Makes the fields of a worker's interim answer fit for the client. It has no content (RFC 9110 section 15.2).
pub fn to_client_early(fields: &mut Fields) {
    strip(fields, |name| {
        is_of_one_hop(name) || name == CALLER.as_str().as_bytes() || *name == *b"content-length"
    });
}

/// Says that the worker agreed to go on with `protocol`.
pub fn agree_upgrade(fields: &mut Fields, protocol: &[u8]) {
    fields.set("upgrade", protocol);
    extend(fields, "connection", b"upgrade");
}

/// Makes the trailers of a worker's answer fit for the client. Names with an underscore stay, since gRPC allows them,
/// and so does what tells of a request's way: a client believes its server.
pub fn to_client_trailers(trailers: &mut HeaderMap) {
    let mut fields = Fields::from(&*trailers);
    strip(&mut fields, |name| {
        is_of_one_hop(name)
            || NO_TRAILERS.iter().any(|other| other.as_bytes() == name)
            || name.starts_with(b"x-buckler-")
    });
    *trailers = fields.to_map();
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

/// Removes the fields of which `goes` is true, and those that `Connection` names.
fn strip(fields: &mut Fields, goes: impl Fn(&[u8]) -> bool) {
    let mut nominated = Vec::new();
    for option in
        fields.get_all("connection").filter_map(text).flat_map(|list| list.split(',')).map(str::trim)
    {
        // How long the message is and whom it is for are nobody's to take away.
        let stays = ["close", "keep-alive", "content-length", "host"];
        if stays.iter().any(|name| option.eq_ignore_ascii_case(name)) {
            continue;
        }
        let name = option.to_ascii_lowercase();
        // Never more of them than there are fields, however often a list says the same.
        if fields.contains(&name) && !nominated.contains(&name) {
            nominated.push(name);
        }
    }
    fields.retain(|name, _| !goes(name) && !nominated.iter().any(|other| other.as_bytes() == name));
}

/// Adds a value to a list field; its lines become one. What is not text is left out.
fn extend(fields: &mut Fields, name: &str, value: &[u8]) {
    if !fields.contains(name) {
        return fields.add(name, value);
    }
    let before: Vec<_> = fields.get_all(name).filter_map(text).map(str::to_owned).collect();
    fields.remove(name);
    fields.add_with(name, |out| {
        let begin = out.len();
        for line in before.iter().map(String::as_bytes).chain([value]) {
            if out.len() > begin {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(line);
        }
    });
}

/// Fields of one hop (RFC 9110 section 7.6.1), whether or not `Connection` names them. `Transfer-Encoding` is among
/// them because each hop is framed anew; the credentials for a proxy are meant for this one (section 11.7). The name
/// may be in any case.
#[inline]
pub(super) fn is_of_one_hop(name: &[u8]) -> bool {
    // By length first: most names are of none of these.
    let of_one_hop: &[&str] = match name.len() {
        2 => &["te"],
        7 => &["upgrade"],
        10 => &["connection", "keep-alive"],
        14 => &["http2-settings"],
        16 => &["proxy-connection"],
        17 => &["transfer-encoding"],
        18 => &["proxy-authenticate"],
        19 => &["proxy-authorization"],
        _ => return false,
    };
    of_one_hop.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// Says that the message passed here, having come in this version (RFC 9110 section 7.6.3).
fn say_via(fields: &mut Fields, version: Version) {
    const OF_10: OwnLine = OwnLine::new("via: 1.0 buckler\r\n");
    const OF_11: OwnLine = OwnLine::new("via: 1.1 buckler\r\n");
    const OF_20: OwnLine = OwnLine::new("via: 2.0 buckler\r\n");
    if fields.contains("via") {
        return extend(fields, "via", &[version_said(version), b" buckler"].concat());
    }
    fields.add_own(match version {
        Version::HTTP_10 => &OF_10,
        Version::HTTP_2 => &OF_20,
        _ => &OF_11,
    });
}

/// A version as `Via` has it.
const fn version_said(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"1.0",
        // RFC 9110 section 2.5: where a minor version has to stand, HTTP/2's is 0.
        Version::HTTP_2 => b"2.0",
        _ => b"1.1",
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

    fn fields(pairs: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        pairs.iter().for_each(|(name, value)| fields.add(name, value.as_bytes()));
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
        let mut fields = fields(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("connection", "close, x-worker-hop"),
            ("x-worker-hop", "1"),
            ("via", "1.1 inner"),
            ("set-cookie", "a=1"),
        ]);
        to_client(&mut fields, StatusCode::OK, Version::HTTP_11);
        assert_eq!(fields.as_lines(), b"set-cookie: a=1\r\nvia: 1.1 inner, 1.1 buckler\r\n");
    }

    #[test]
    fn a_kept_connection_of_the_worker_is_its_own() {
        for said in ["keep-alive", "Keep-Alive", "close"] {
            let mut fields = fields(&[("server", "a"), ("connection", said), ("etag", "1")]);
            to_client(&mut fields, StatusCode::OK, Version::HTTP_11);
            assert_eq!(fields.as_lines(), b"server: a\r\netag: 1\r\nvia: 1.1 buckler\r\n");
        }
        let mut fields = fields(&[("connection", "keep-alive"), ("connection", "x-hop"), ("x-hop", "1")]);
        to_client(&mut fields, StatusCode::OK, Version::HTTP_10);
        assert_eq!(fields.as_lines(), b"via: 1.0 buckler\r\n");
    }

    #[test]
    fn what_buckler_says_with_an_answer_is_said_once() {
        let answer =
            [("x-request-id", "theirs"), ("ratelimit", "a"), ("ratelimit-policy", "b"), ("etag", "1")];
        let said = |limits| {
            let mut fields = fields(&answer);
            to_client_own(&mut fields, b"ours", limits);
            String::from_utf8(fields.as_lines().to_vec()).unwrap()
        };
        assert_eq!(said(true), "etag: 1\r\nx-request-id: ours\r\n");
        let theirs = "ratelimit: a\r\nratelimit-policy: b\r\n";
        assert_eq!(said(false), format!("{theirs}etag: 1\r\nx-request-id: ours\r\n"));
    }

    #[test]
    fn the_workers_keep_alive_is_read() {
        assert_eq!(keep_alive_timeout(b"max=100, timeout=15"), Some(15));
        assert_eq!(keep_alive_timeout(b"timeout=soon"), None);
    }
}
