//! The head of a request that came over HTTP/2 (RFC 9113 sections 8.2 and 8.3), held to what the reader of HTTP/1.1
//! framing holds its heads to: what the engine lets pass and a worker could read in two ways is refused.
//!
//! Not here: what the engine refuses by itself (names in upper case, doubled or late pseudo-header fields, a body that
//! is not as long as it says), and whether `:authority` and `Host` agree (`target.rs`).

use http::{Method, Version};

use crate::config::{Bounds, Service};
use crate::fields::{Fields, text};
use crate::forward::upgrade;
use crate::message::{RequestHead, Target};
use crate::refusal::{Reason, Refusal};

/// The longest body that a head may announce: as over HTTP/1.1, since many a worker counts bytes with a sign.
const LONGEST_BODY: u64 = i64::MAX as u64;

/// Judges a head if it came over HTTP/2, and joins the crumbs of its cookies, which only HTTP/2 may split (RFC 9113
/// section 8.2.3).
///
/// # Errors
/// 405 for CONNECT and TRACE, and for an extended CONNECT that is not carried; 414 and 431 beyond the bounds, 400 for
/// what is malformed.
pub(super) fn judge(head: &mut RequestHead, service: &Service) -> Result<(), Refusal> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    judge_sound(head, &service.bounds)?;
    judge_extended(head, service)
}

/// Apart from the question whether it came over HTTP/2, which all requests are asked.
#[inline(never)]
fn judge_sound(head: &mut RequestHead, bounds: &Bounds) -> Result<(), Refusal> {
    match head.method {
        Method::CONNECT => return Err(Refusal::new(Reason::MethodRefused, "CONNECT is never forwarded")),
        Method::TRACE => return Err(Refusal::new(Reason::MethodRefused, "TRACE is never forwarded")),
        _ => {}
    }
    judge_target(&head.method, &head.target, bounds.uri_bytes)?;
    join_cookies(&mut head.fields);
    let fields = &head.fields;
    if fields.len() > bounds.head_fields {
        return Err(Refusal::new(Reason::HeadTooLarge, "more headers than allowed"));
    }
    for (name, value) in fields.iter() {
        // The engine refuses these; a request that is made into HTTP/1.1 must not depend on that.
        if matches!(
            name,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
        ) {
            return bad("a header of one connection in an HTTP/2 request");
        }
        if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value {
            return bad("a blank at the begin or the end of a header's value");
        }
    }
    judge_length(fields)?;
    // A request that goes on as another protocol has no body (RFC 8441 section 5), so nothing may say that it had one.
    if head.extended.is_some()
        && ["content-length", "expect", "trailer"].iter().any(|name| fields.contains(name))
    {
        return bad("an extended CONNECT that speaks of a body");
    }
    let mut hosts = fields.get_all("host");
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => bad("more than one Host header"),
        (None, _) if head.target.authority().is_none() => bad("neither :authority nor Host"),
        _ => Ok(()),
    }
}

/// Judges whether an extended CONNECT may be asked: where it is not carried, the GET that it is towards a worker would
/// mean something else. Who connected before a reload may not know what changed.
///
/// # Errors
/// 405, as for any other CONNECT.
fn judge_extended(head: &RequestHead, service: &Service) -> Result<(), Refusal> {
    if head.extended.is_some() && !upgrade::carries_websocket(service) {
        let detail = "a WebSocket on a stream of HTTP/2, which this service does not carry";
        return Err(Refusal::new(Reason::MethodRefused, detail));
    }
    Ok(())
}

/// `:scheme` and `:path` (RFC 9113 section 8.3.1). The engine cuts a fragment off before anybody sees it.
fn judge_target(method: &Method, target: &Target, longest: usize) -> Result<(), Refusal> {
    // Of a request without `:authority` the engine does not tell the scheme.
    let is_http = |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if target.scheme().is_some_and(|scheme| !is_http(scheme)) {
        return bad(":scheme is neither http nor https");
    }
    let target = target.path_and_query();
    if target.is_empty() {
        return bad("no :path");
    }
    if target.len() > longest {
        return Err(Refusal::new(Reason::UriTooLong, "the target is longer than allowed"));
    }
    match target.as_bytes() {
        [b'/', ..] if target.is_ascii() => Ok(()),
        [b'/', ..] => bad("a control or non-ASCII byte in the request target"),
        b"*" if *method == Method::OPTIONS => Ok(()),
        b"*" => bad("only OPTIONS may have * as its target"),
        _ => bad(":path does not begin with a slash"),
    }
}

/// One number or none (RFC 9110 section 8.6). The engine takes an empty one for 0, and two equal ones for one.
fn judge_length(fields: &Fields) -> Result<(), Refusal> {
    let mut lengths = fields.get_all("content-length");
    let Some(length) = lengths.next() else { return Ok(()) };
    if lengths.next().is_some() {
        return bad("more than one Content-Length header");
    }
    let digits = text(length).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse::<u64>().ok()) {
        Some(..=LONGEST_BODY) => Ok(()),
        _ => bad("Content-Length is not one number"),
    }
}

fn join_cookies(fields: &mut Fields) {
    let mut crumbs = fields.get_all("cookie");
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut whole = first.to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb);
    }
    fields.set("cookie", &whole);
}

const fn bad<T>(detail: &'static str) -> Result<T, Refusal> {
    Err(Refusal::new(Reason::BadRequest, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        head_bytes: 1024,
        head_fields: 4,
        uri_bytes: 20,
        body_bytes: None,
        upload_rate: None,
        response_head_bytes: 1024,
        connections: 1,
        handshakes: 1,
        streams: 1,
        worker_streams: 1,
        worker_connections: 1,
    };

    fn head(method: &str, uri: &str, fields: &[(&str, &[u8])]) -> RequestHead {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut head = RequestHead::new(method, Target::of(&uri.parse().unwrap()));
        head.version = Version::HTTP_2;
        fields.iter().for_each(|(name, value)| head.fields.add(name, value));
        head
    }

    #[track_caller]
    fn refused(method: &str, uri: &str, fields: &[(&str, &[u8])]) -> Reason {
        judge_sound(&mut head(method, uri, fields), &BOUNDS).unwrap_err().reason
    }

    #[track_caller]
    fn passed(method: &str, uri: &str, fields: &[(&str, &[u8])]) -> RequestHead {
        let mut head = head(method, uri, fields);
        judge_sound(&mut head, &BOUNDS).unwrap();
        head
    }

    #[test]
    fn a_sound_head_passes_as_it_is() {
        passed("GET", "https://a.test/x?y=z", &[]);
        passed("GET", "http://a.test:80/", &[("host", b"a.test:80"), ("te", b"trailers")]);
        passed("GET", "/without-authority", &[("host", b"a.test"), ("x-obs", b"caf\xe9")]);
        passed("OPTIONS", "*", &[("host", b"a.test")]);
        passed("POST", "https://a.test/", &[("content-length", b"9223372036854775807")]);
        passed("GET", "https://a.test/", &[("x", b"")]);
    }

    #[test]
    fn connect_and_trace_are_never_forwarded() {
        assert_eq!(refused("CONNECT", "a.test:443", &[]), Reason::MethodRefused);
        assert_eq!(refused("TRACE", "https://a.test/", &[]), Reason::MethodRefused);
    }

    #[test]
    fn targets_that_no_worker_reads_in_one_way_are_refused() {
        assert_eq!(refused("GET", "ftp://a.test/", &[]), Reason::BadRequest);
        assert_eq!(refused("GET", "a.test", &[]), Reason::BadRequest, "no :path");
        assert_eq!(refused("GET", "*", &[("host", b"a")]), Reason::BadRequest);
        assert_eq!(refused("GET", "https://a.test/caf\u{e9}", &[]), Reason::BadRequest);
        assert_eq!(refused("GET", &format!("https://a.test/{}", "x".repeat(20)), &[]), Reason::UriTooLong);
        let mut question = head("GET", "/", &[("host", b"a")]);
        question.target = Target::new("", "", "?x");
        assert_eq!(judge_sound(&mut question, &BOUNDS).unwrap_err().reason, Reason::BadRequest);
        let mut none = head("GET", "/", &[("host", b"a")]);
        none.target = Target::new("", "", "");
        assert_eq!(judge_sound(&mut none, &BOUNDS).unwrap_err().reason, Reason::BadRequest);
    }

    #[test]
    fn there_is_one_host_at_least_and_one_host_header_at_most() {
        assert_eq!(refused("GET", "/", &[]), Reason::BadRequest);
        assert_eq!(
            refused("GET", "https://a.test/", &[("host", b"a.test"), ("host", b"a.test")]),
            Reason::BadRequest
        );
    }

    #[test]
    fn a_length_is_one_number() {
        for lengths in
            [&[&b""[..]][..], &[b"+1"], &[b"1, 1"], &[b"1", b"1"], &[b"9223372036854775808"], &[b"1\xb2"]]
        {
            let fields: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
            assert_eq!(refused("POST", "https://a.test/", &fields), Reason::BadRequest, "{lengths:?}");
        }
    }

    #[test]
    fn values_have_no_blanks_around_them_and_no_field_is_of_one_connection() {
        for value in [&b" x"[..], b"x ", b"\tx", b"x\t", b" "] {
            assert_eq!(refused("GET", "https://a.test/", &[("x", value)]), Reason::BadRequest, "{value:?}");
        }
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            assert_eq!(refused("GET", "https://a.test/", &[(name, b"x")]), Reason::BadRequest, "{name}");
        }
    }

    #[test]
    fn crumbs_of_cookies_are_one_header() {
        let crumbs: Vec<(&str, &[u8])> = vec![("cookie", &b"a=1"[..]); 9];
        let head = passed("GET", "https://a.test/", &crumbs);
        let cookies: Vec<_> = head.fields.get_all("cookie").collect();
        assert_eq!(cookies, [["a=1"; 9].join("; ").as_bytes()]);
        let fields: Vec<(String, &[u8])> = (0..5).map(|n| (format!("x-{n}"), &b"v"[..])).collect();
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(refused("GET", "https://a.test/", &fields), Reason::HeadTooLarge);
    }
}
