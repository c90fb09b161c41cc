//! The fields of a message on their way through: what belongs to one connection is removed in both directions, what
//! says where a request came from is made true. Fields that Buckler sets are set last, after everything a client
//! nominated in `Connection` is gone, so that nobody can strip or forge them (the class of CVE-2022-31813).

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use super::seen::Has;
use crate::clock::Moment;
use crate::fields::{Fields, text};
use crate::lines::Lines;
use crate::refusal::page::REQUEST_ID;

/// The caller's name, told to the worker and never accepted from outside.
pub const CALLER: HeaderName = HeaderName::from_static("x-buckler-caller");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What Buckler knows of a request and tells the worker.
#[derive(Debug)]
pub struct Told<'a> {
    /// The peer's address as text.
    pub peer: &'a HeaderValue,
    /// Whether the client came under TLS.
    pub secure: bool,
    /// The client's certificate, if the worker is to be told.
    pub certificate: Option<HeaderValue>,
    /// Whether the peer's own X-Forwarded-* are believed and extended instead of replaced.
    pub trusted: bool,
    /// The caller's name.
    pub caller: &'a HeaderValue,
    /// The request's id.
    pub request_id: &'a [u8],
    /// The version that the client spoke.
    pub version: Version,
    /// The authority from the request line, if it had one: it wins over `Host` (RFC 9112 section 3.2.2).
    pub authority: Option<&'a str>,
    /// Whether the body comes in chunks, so its length is not known.
    pub chunked: bool,
    /// The service's name, for `Host` where an HTTP/1.0 client gave none.
    pub nameless_host: &'a str,
}

/// Makes the fields of a request, of which `has` tells, fit for the worker. What Buckler adds goes to `lines`.
pub fn to_worker(fields: &mut HeaderMap, has: Has, told: &Told<'_>, lines: &mut Lines) {
    let trailers = has.any(Has::TE) && takes_trailers(fields);
    if has.any(Has::GOES) {
        remove(fields, |name| is_of_one_hop(name.as_str().as_bytes()) || is_forged(name, told.trusted));
    }
    if has.any(Has::REQUEST_ID) {
        fields.remove(REQUEST_ID);
    }
    if trailers {
        // RFC 9110 section 10.1.4: `TE` goes on only with its own connection option.
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if told.chunked {
        // Without this field a GET's body of unknown length would be taken for no body at all.
        fields.remove(header::CONTENT_LENGTH);
        fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    tell_origin(fields, has, told, lines);
    match has.any(Has::VIA) {
        true => append(fields, header::VIA, &via(told.version)),
        false => lines.add("via: ", via(told.version).as_bytes()),
    }
    lines.add("x-request-id: ", told.request_id);
    lines.add("x-buckler-caller: ", told.caller.as_bytes());
    if let Some(certificate) = &told.certificate {
        lines.add("x-forwarded-client-cert: ", certificate.as_bytes());
    }
}

/// Tells the worker in `timeouts.deadline_header` how many milliseconds are left until `until`: whole ones, rounded
/// down, but at least 1, since some take 0 for no end at all. A client's own word, or that of an earlier attempt, goes.
pub fn tell_deadline(fields: &mut HeaderMap, name: &HeaderName, until: Option<Instant>, now: Moment) {
    fields.remove(name);
    if let Some(until) = until {
        let left = until.saturating_duration_since(Instant::from_std(now.instant()));
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        fields.insert(name, HeaderValue::from(millis));
    }
}

/// Asks the worker to speak `protocol` from its answer on; the request's own wish went with the fields of its hop.
pub fn ask_upgrade(fields: &mut HeaderMap, protocol: &HeaderValue) {
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
    extend(fields, "via", via(version).as_bytes());
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

fn takes_trailers(fields: &HeaderMap) -> bool {
    fields.get_all(header::TE).iter().any(|value| {
        let value = value.to_str().unwrap_or("");
        let mut parts = value.split(',');
        parts.any(|part| part.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("trailers"))
    })
}

/// Removes the fields of which `goes` is true, and those that `Connection` names, except two: how long the message is
/// and whom it is for are nobody's to take away.
fn strip(fields: &mut Fields, goes: impl Fn(&[u8]) -> bool) {
    let lists = fields.get_all("connection").map(|list| text(list).unwrap_or_default());
    let options = lists.flat_map(|list| list.split(',')).map(str::trim);
    let names = options.filter(|option| {
        !["close", "keep-alive", "content-length", "host"]
            .iter()
            .any(|other| option.eq_ignore_ascii_case(other))
    });
    let nominated: Vec<_> = names.map(str::to_ascii_lowercase).collect();
    fields.retain(|name, _| !goes(name) && !nominated.iter().any(|other| other.as_bytes() == name));
}

/// Adds a value to a list field; its lines become one. What is not text is left out.
fn extend(fields: &mut Fields, name: &str, value: &[u8]) {
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
        if names_nothing(value) {
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
fn names_nothing(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
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

/// What a client may not say about itself. A name with an underscore becomes the same CGI or WSGI variable as the one
/// with a hyphen, so such names do not pass at all (as with nginx's default).
#[inline]
pub(super) fn is_forged(name: &HeaderName, trusted: bool) -> bool {
    let name = name.as_str().as_bytes();
    name.iter().fold(false, |found, byte| found | (*byte == b'_'))
        || match name {
            [b'x', b'-', ..] => {
                name.starts_with(b"x-buckler-")
                    || *name == *b"x-forwarded-client-cert"
                    || (!trusted && (name.starts_with(b"x-forwarded-") || *name == *b"x-real-ip"))
            }
            [b'f', ..] => !trusted && *name == *b"forwarded",
            _ => false,
        }
}

/// Whom the request comes from and how. What a trusted proxy said of that has stayed; what a stranger said is gone.
fn tell_origin(fields: &mut HeaderMap, has: Has, told: &Told<'_>, lines: &mut Lines) {
    let stays = |of: Has, name: HeaderName| has.any(of) && fields.contains_key(name);
    let origin = stays(Has::FORWARDED_FOR, FORWARDED_FOR);
    let scheme = stays(Has::FORWARDED_PROTO, FORWARDED_PROTO);
    let named = stays(Has::FORWARDED_HOST, FORWARDED_HOST);
    match origin {
        true => append(fields, FORWARDED_FOR, told.peer),
        false => lines.add("x-forwarded-for: ", told.peer.as_bytes()),
    }
    if !scheme {
        lines.add("x-forwarded-proto: ", if told.secure { b"https" } else { b"http" });
    }
    let given = fields.get(header::HOST).filter(|_| told.authority.is_none());
    if let Some(host) = given {
        if !named {
            lines.add("x-forwarded-host: ", host.as_bytes());
        }
        return;
    }
    if let Ok(host) = HeaderValue::from_str(told.authority.unwrap_or(told.nameless_host)) {
        if !named {
            lines.add("x-forwarded-host: ", host.as_bytes());
        }
        fields.insert(header::HOST, host);
    }
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

const fn via(version: Version) -> HeaderValue {
    match version {
        Version::HTTP_10 => HeaderValue::from_static("1.0 buckler"),
        // RFC 9110 section 2.5: where a minor version has to stand, HTTP/2's is 0.
        Version::HTTP_2 => HeaderValue::from_static("2.0 buckler"),
        _ => HeaderValue::from_static("1.1 buckler"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen::Seen;
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

    static PEER: HeaderValue = HeaderValue::from_static("192.0.2.7");
    static CALLER_NAME: HeaderValue = HeaderValue::from_static("web");

    /// The fields as the worker gets them. None that Buckler adds may be there already: they would come twice.
    fn send(fields: &mut HeaderMap, trusted: bool) {
        let has = Seen::of(fields, &HeaderName::from_static("x-api-key"), trusted).has;
        let mut lines = Lines::default();
        to_worker(fields, has, &told(trusted), &mut lines);
        let mut added = HeaderMap::new();
        crate::lines::settle(lines.as_bytes(), &mut added);
        assert!(added.keys().all(|name| !fields.contains_key(name)), "{fields:?} and {added:?}");
        fields.extend(added);
    }

    fn told(trusted: bool) -> Told<'static> {
        Told {
            peer: &PEER,
            secure: false,
            certificate: None,
            trusted,
            caller: &CALLER_NAME,
            request_id: b"id-1",
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
        send(&mut fields, true);
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
        send(&mut stranger, false);
        assert_eq!(stranger[FORWARDED_FOR], "192.0.2.7");
        assert_eq!(stranger[FORWARDED_PROTO], "http");
        assert!(!stranger.contains_key("x-real-ip"));
        let mut trusted = map(&asked);
        send(&mut trusted, true);
        assert_eq!(trusted[FORWARDED_FOR], "10.0.0.1, 10.0.0.2, 192.0.2.7");
        assert_eq!(trusted[FORWARDED_PROTO], "https");
        assert_eq!(trusted[FORWARDED_HOST], "a.test");
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
    fn look_alikes_with_underscores_do_not_pass() {
        let mut fields =
            map(&[("host", "a"), ("x_buckler_caller", "admin"), ("x_forwarded_for", "10.0.0.1")]);
        send(&mut fields, true);
        assert!(fields.keys().all(|name| !name.as_str().contains('_')));
    }

    #[test]
    fn trailers_are_asked_for_again_on_the_next_hop() {
        let mut fields = map(&[("host", "a"), ("te", "gzip;q=0.5, trailers"), ("connection", "te")]);
        send(&mut fields, false);
        assert_eq!(fields[header::TE], "trailers");
        assert_eq!(fields[header::CONNECTION], "te");
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
    fn the_deadline_is_told_in_whole_milliseconds_and_nobody_elses_word_is() {
        let name = HeaderName::from_static("x-timeout-ms");
        let now = Moment::at(5_000_000_000);
        let told = |left: Option<u64>| {
            let mut fields = map(&[("x-timeout-ms", "99999"), ("x-timeout-ms", "7")]);
            let until = left.map(|nanos| now.plus(std::time::Duration::from_nanos(nanos)));
            tell_deadline(&mut fields, &name, until.map(|until| Instant::from_std(until.instant())), now);
            fields.get_all(&name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(Some(2_500_000_000)), ["2500"]);
        assert_eq!(told(Some(2_999_999)), ["2"]);
        assert_eq!(told(Some(999_999)), ["1"], "0 is never said");
        assert_eq!(told(Some(0)), ["1"]);
        assert_eq!(told(None), [""; 0], "the client's own word is nobody's deadline");
    }

    #[test]
    fn the_workers_keep_alive_is_read() {
        assert_eq!(keep_alive_timeout(b"max=100, timeout=15"), Some(15));
        assert_eq!(keep_alive_timeout(b"timeout=soon"), None);
    }
}
