//! The fields of a message on their way through: what belongs to one connection is removed in both directions, what
//! says where a request came from is made true. Fields that Buckler sets are set last, after everything a client
//! nominated in `Connection` is gone, so that nobody can strip or forge them (the class of CVE-2022-31813).

use std::net::IpAddr;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::refusal::page::REQUEST_ID;

/// The caller's name, told to the worker and never accepted from outside.
pub const CALLER: HeaderName = HeaderName::from_static("x-buckler-caller");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields of one hop (RFC 9110 section 7.6.1), whether or not `Connection` names them. `Transfer-Encoding` is among
/// them because hyper frames each hop anew; the credentials for a proxy are meant for this one (section 11.7).
const HOP_BY_HOP: [HeaderName; 7] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// What Buckler knows of a request and tells the worker.
#[derive(Debug)]
pub struct Told<'a> {
    /// The peer's address.
    pub peer: IpAddr,
    /// Whether the peer's own X-Forwarded-* are believed and extended instead of replaced.
    pub trusted: bool,
    /// The caller's name.
    pub caller: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The version that the client spoke.
    pub version: Version,
    /// The authority from the request line, if it had one: it wins over `Host` (RFC 9112 section 3.2.2).
    pub authority: Option<&'a str>,
    /// Whether the body comes in chunks, so its length is not known.
    pub chunked: bool,
    /// The service's name, for `Host` where an HTTP/1.0 client gave none.
    pub nameless_host: &'a str,
}

/// Makes the fields of a request fit for the worker.
pub fn to_worker(fields: &mut HeaderMap, told: &Told<'_>) {
    let trailers = takes_trailers(fields);
    remove_hop_by_hop(fields);
    remove_forged(fields, told.trusted);
    if trailers {
        // RFC 9110 section 10.1.4: `TE` goes on only with its own connection option.
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if told.chunked {
        // Without this field hyper's client sends a GET's body of unknown length as no body at all.
        fields.remove(header::CONTENT_LENGTH);
        fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    tell_origin(fields, told);
    let via = if told.version == Version::HTTP_10 { "1.0 buckler" } else { "1.1 buckler" };
    append_via(fields, via);
    set(fields, REQUEST_ID, told.request_id);
    set(fields, CALLER, told.caller);
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

/// Makes the fields of a worker's answer fit for the client.
pub fn to_client(fields: &mut HeaderMap, status: StatusCode, version: Version) {
    if fields.contains_key(header::TRANSFER_ENCODING) {
        // RFC 9112 section 6.3: the chunks frame the message, so a length beside them is a lie.
        fields.remove(header::CONTENT_LENGTH);
    }
    if status == StatusCode::NO_CONTENT {
        // RFC 9110 section 8.6 forbids it there.
        fields.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(fields);
    fields.remove(CALLER);
    append_via(fields, if version == Version::HTTP_10 { "1.0 buckler" } else { "1.1 buckler" });
}

/// Whether a method may be sent again when nobody knows if the first time arrived (RFC 9110 section 9.2.2).
pub fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// What the worker says of its keep-alive: the `timeout` of a `Keep-Alive` field, in seconds.
pub fn keep_alive_timeout(fields: &HeaderMap) -> Option<u64> {
    let value = fields.get(KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse().ok())
}

fn takes_trailers(fields: &HeaderMap) -> bool {
    fields.get_all(header::TE).iter().any(|value| {
        let value = value.to_str().unwrap_or("");
        value
            .split(',')
            .any(|part| part.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("trailers"))
    })
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    // Most requests have no Connection field at all, or only "keep-alive" or "close", which name nothing to remove.
    if let Entry::Occupied(connection) = fields.entry(header::CONNECTION) {
        let (_, options) = connection.remove_entry_mult();
        let named: Vec<HeaderName> = options
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .flat_map(|value| {
                value.split(',').map(|option| option.trim().to_ascii_lowercase()).collect::<Vec<_>>()
            })
            .filter(|option| !matches!(option.as_str(), "close" | "keep-alive" | ""))
            .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
            // These two say how long the message is and whom it is for: they are not a client's to take away.
            .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
            .collect();
        for name in named {
            fields.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        if fields.contains_key(name) {
            fields.remove(name);
        }
    }
}

/// Removes what a client may not say about itself. A name with an underscore becomes the same CGI or WSGI variable as
/// the one with a hyphen, so such names do not pass at all (as with nginx's default).
fn remove_forged(fields: &mut HeaderMap, trusted: bool) {
    let forged: Vec<HeaderName> = fields
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.contains('_')
                || name.starts_with("x-buckler-")
                || name == "x-forwarded-client-cert"
                || (!trusted
                    && (name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip"))
        })
        .cloned()
        .collect();
    for name in forged {
        fields.remove(name);
    }
}

fn tell_origin(fields: &mut HeaderMap, told: &Told<'_>) {
    if let Some(authority) = told.authority {
        set(fields, header::HOST, authority);
    } else if !fields.contains_key(header::HOST) {
        set(fields, header::HOST, told.nameless_host);
    }
    let peer = told.peer.to_canonical().to_string();
    let chain = match joined(fields, &FORWARDED_FOR) {
        Some(before) => format!("{before}, {peer}"),
        None => peer,
    };
    set(fields, FORWARDED_FOR, &chain);
    if !fields.contains_key(FORWARDED_PROTO) {
        fields.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !fields.contains_key(FORWARDED_HOST)
        && let Some(host) = fields.get(header::HOST).cloned()
    {
        fields.insert(FORWARDED_HOST, host);
    }
}

/// All lines of a field as one list; what is not text is left out.
fn joined(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut all = String::new();
    for value in fields.get_all(name) {
        let Ok(value) = value.to_str() else { continue };
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(value);
    }
    (!all.is_empty()).then_some(all)
}

fn append_via(fields: &mut HeaderMap, mine: &'static str) {
    match joined(fields, &header::VIA) {
        Some(before) => set(fields, header::VIA, &format!("{before}, {mine}")),
        None => {
            fields.insert(header::VIA, HeaderValue::from_static(mine));
        }
    }
}

fn set(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => fields.insert(name, value),
        // Better no field than somebody else's.
        Err(_) => fields.remove(name),
    };
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

    fn told(trusted: bool) -> Told<'static> {
        Told {
            peer: "192.0.2.7".parse().unwrap(),
            trusted,
            caller: "web",
            request_id: "id-1",
            version: Version::HTTP_11,
            authority: None,
            chunked: false,
            nameless_host: "playlist",
        }
    }

    #[test]
    fn nominated_fields_go_and_identity_stays() {
        let mut fields = map(&[
            ("host", "a.test"),
            ("connection", "x-secret, X-Buckler-Caller, x-forwarded-for, host"),
            ("x-secret", "1"),
            ("x-buckler-caller", "admin"),
            ("x-forwarded-for", "10.0.0.1"),
            ("keep-alive", "timeout=5"),
        ]);
        to_worker(&mut fields, &told(true));
        assert_eq!(fields[CALLER], "web");
        assert_eq!(fields[FORWARDED_FOR], "192.0.2.7");
        assert_eq!(fields[header::HOST], "a.test");
        for gone in ["x-secret", "connection", "keep-alive"] {
            assert!(!fields.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn forwarded_fields_are_replaced_from_strangers_and_extended_from_trusted_proxies() {
        let asked = [
            ("host", "a.test"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "10.0.0.1"),
        ];
        let mut stranger = map(&asked);
        to_worker(&mut stranger, &told(false));
        assert_eq!(stranger[FORWARDED_FOR], "192.0.2.7");
        assert_eq!(stranger[FORWARDED_PROTO], "http");
        assert!(!stranger.contains_key("x-real-ip"));
        let mut trusted = map(&asked);
        to_worker(&mut trusted, &told(true));
        assert_eq!(trusted[FORWARDED_FOR], "10.0.0.1, 10.0.0.2, 192.0.2.7");
        assert_eq!(trusted[FORWARDED_PROTO], "https");
        assert_eq!(trusted[FORWARDED_HOST], "a.test");
    }

    #[test]
    fn look_alikes_with_underscores_do_not_pass() {
        let mut fields =
            map(&[("host", "a"), ("x_buckler_caller", "admin"), ("x_forwarded_for", "10.0.0.1")]);
        to_worker(&mut fields, &told(true));
        assert!(fields.keys().all(|name| !name.as_str().contains('_')));
    }

    #[test]
    fn trailers_are_asked_for_again_on_the_next_hop() {
        let mut fields = map(&[("host", "a"), ("te", "gzip;q=0.5, trailers"), ("connection", "te")]);
        to_worker(&mut fields, &told(false));
        assert_eq!(fields[header::TE], "trailers");
        assert_eq!(fields[header::CONNECTION], "te");
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
    fn the_workers_keep_alive_is_read() {
        assert_eq!(keep_alive_timeout(&map(&[("keep-alive", "max=100, timeout=15")])), Some(15));
        assert_eq!(keep_alive_timeout(&map(&[("keep-alive", "timeout=soon")])), None);
    }
}
