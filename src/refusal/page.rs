//! How a refusal looks on the wire: status, fields and a body in the form that the client takes. The same page goes
//! out through hyper for a request it has read, and as raw bytes for one that never reached it.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use super::{Reason, Refusal};

/// `Proxy-Status` (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The fields of a page, those that others add included: room is made for them at once.
const MOST_FIELDS: usize = 12;

/// What a page needs to know of the request.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// Plain text instead of JSON.
    pub plain: bool,
    /// The caller's name, told only to callers that showed a credential.
    pub caller: Option<&'a str>,
    /// The header that carries API keys, for `WWW-Authenticate`.
    pub key_header: Option<&'a str>,
}

/// The answer to a refused request. Never cached, and it never says which version of what wrote it.
pub fn page(refusal: &Refusal, asked: &Asked<'_>) -> Response<Bytes> {
    let body = if asked.plain { plain(refusal, asked) } else { problem(refusal, asked) };
    let kind = if asked.plain { "text/plain; charset=utf-8" } else { "application/problem+json" };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() =
        StatusCode::from_u16(refusal.reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    fields.reserve(MOST_FIELDS);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    set(fields, PROXY_STATUS, proxy_status(refusal, asked, false));
    if !asked.request_id.is_empty() {
        set(fields, REQUEST_ID, asked.request_id.to_owned());
    }
    if let Some(wait) = refusal.retry_after {
        fields.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    match refusal.reason {
        // RFC 9110 section 11.6.1 asks for a challenge with every 401, section 15.5.6 for Allow with every 405.
        Reason::NoIdentity => {
            let challenge = format!("ApiKey header=\"{}\"", asked.key_header.unwrap_or("x-api-key"));
            set(fields, WWW_AUTHENTICATE, challenge);
        }
        Reason::MethodRefused => {
            fields.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        _ => {}
    }
    response
}

/// The same as bytes of HTTP/1.1, with `Connection: close`: for a request that was refused before it was parsed.
/// It is dated `now`, as whoever has a clock must (RFC 9110 section 6.6.1). An answer to HEAD says how long its body
/// would be and has none (section 9.3.2).
pub fn raw(refusal: &Refusal, asked: &Asked<'_>, now: SystemTime, to_head: bool) -> Vec<u8> {
    let mut response = page(refusal, asked);
    let length = response.body().len();
    let fields = response.headers_mut();
    set(fields, DATE, httpdate::fmt_http_date(now));
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let status = response.status();
    let mut bytes = Vec::with_capacity(512 + length);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or("Refused").as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    if !to_head {
        bytes.extend_from_slice(response.body());
    }
    bytes
}

/// Whether the client's `Accept` leaves no room for JSON (RFC 9110 section 12.5.1). No `Accept` at all takes anything.
pub fn wants_plain(accept: Option<&HeaderValue>) -> bool {
    let takes_json = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let takes = matches!(
            media.as_str(),
            "*/*" | "application/*" | "application/json" | "application/problem+json"
        );
        takes
            && !parts.any(|p| matches!(p.strip_prefix("q=").map(str::parse::<f32>), Some(Ok(q)) if q <= 0.0))
    };
    accept.is_some_and(|accept| !accept.to_str().unwrap_or("").split(',').any(takes_json))
}

/// Whole seconds, rounded up, at least one: what `Retry-After` can say.
pub fn whole_seconds(wait: std::time::Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

pub(super) fn set(fields: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        fields.insert(name, value);
    }
}

/// `buckler; error=…; details="…"` (RFC 9209 section 2.3). The caller's own name only goes to an identified caller.
/// `fallback`: the answer is the operator's, given instead of the refusal, which is still what went wrong.
pub(super) fn proxy_status(refusal: &Refusal, asked: &Asked<'_>, fallback: bool) -> String {
    let mut text = String::with_capacity(160);
    text.push_str("buckler; error=");
    text.push_str(refusal.reason.proxy_error());
    text.push_str("; details=\"reason=");
    text.push_str(refusal.reason.word());
    if let Some(rule) = &refusal.rule {
        text.push_str(" rule=");
        push_sf(&mut text, &rule.name);
    }
    if let Some(caller) = asked.caller {
        text.push_str(" caller=");
        push_sf(&mut text, caller);
    }
    if fallback {
        text.push_str(" fallback");
    }
    text.push('"');
    text
}

/// What may stand inside a string of RFC 9651: printable ASCII; anything else becomes `?`.
fn push_sf(text: &mut String, part: &str) {
    for c in part.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
}

/// The problem types that the RateLimit draft (draft-ietf-httpapi-ratelimit-headers-10) registers; else none.
fn problem_type(reason: Reason) -> &'static str {
    match reason {
        Reason::CallerRate | Reason::CallerConcurrency => {
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        }
        Reason::ServiceLimit | Reason::Overload | Reason::WorkersFailing | Reason::Connections => {
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        }
        _ => "about:blank",
    }
}

/// A body of `application/problem+json` (RFC 9457), written straight into its bytes: a flood is refused as fast as
/// this.
fn problem(refusal: &Refusal, asked: &Asked<'_>) -> String {
    let reason = refusal.reason;
    let mut body = String::with_capacity(448);
    member(&mut body, "{\"type\":", problem_type(reason));
    member(&mut body, ",\"title\":", reason.title());
    number(&mut body, ",\"status\":", u64::from(reason.status()));
    member(&mut body, ",\"detail\":", refusal.detail);
    member(&mut body, ",\"reason\":", reason.word());
    if let Some(rule) = &refusal.rule {
        member(&mut body, ",\"rule\":", &rule.name);
        if let Some(why) = &rule.reason {
            member(&mut body, ",\"rule_reason\":", why);
        }
        if matches!(reason, Reason::CallerRate | Reason::CallerConcurrency) {
            member(&mut body, ",\"violated-policies\":[", &rule.name);
            body.push(']');
        }
    }
    if let Some(wait) = refusal.retry_after {
        number(&mut body, ",\"retry_after\":", whole_seconds(wait));
    }
    if !asked.request_id.is_empty() {
        member(&mut body, ",\"request_id\":", asked.request_id);
    }
    body.push_str("}\n");
    body
}

fn number(body: &mut String, before: &str, value: u64) {
    body.push_str(before);
    body.push_str(itoa::Buffer::new().format(value));
}

/// `before` and then a JSON string (RFC 8259 section 7).
fn member(body: &mut String, before: &str, value: &str) {
    body.push_str(before);
    body.push('"');
    if value.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
        body.push_str(value);
    } else {
        for c in value.chars() {
            match c {
                '"' | '\\' => body.extend(['\\', c]),
                '\0'..='\x1f' => {
                    let code = c as usize;
                    let hex = |digit: usize| char::from(b"0123456789abcdef"[digit & 0xf]);
                    body.extend(['\\', 'u', '0', '0', hex(code >> 4), hex(code)]);
                }
                _ => body.push(c),
            }
        }
    }
    body.push('"');
}

/// The same for people without JSON: one fact a line.
fn plain(refusal: &Refusal, asked: &Asked<'_>) -> String {
    let reason = refusal.reason;
    let mut body = format!("{} {}\nreason: {}\n", reason.status(), reason.title(), reason.word());
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            body.push_str(&format!("{name}: {value}\n"));
        }
    };
    line("detail", refusal.detail);
    if let Some(rule) = &refusal.rule {
        line("rule", &rule.name);
        line("rule says", rule.reason.as_deref().unwrap_or(""));
    }
    if let Some(wait) = refusal.retry_after {
        line("retry after", &format!("{} s", whole_seconds(wait)));
    }
    line("request id", asked.request_id);
    body
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::refusal::RuleRef;

    fn limited() -> Refusal {
        let rule = RuleRef { name: "agreement \"office\"".into(), at: "buckler.yaml:3".into(), reason: None };
        Refusal::new(Reason::CallerRate, "one every 10 ms")
            .by(Arc::new(rule))
            .after(Duration::from_millis(10))
    }

    #[test]
    fn a_page_says_status_reason_rule_and_when_to_come_back() {
        let asked = Asked { request_id: "id-1", caller: Some("office"), ..Asked::default() };
        let page = page(&limited(), &asked);
        assert_eq!(page.status(), 429);
        assert_eq!(page.headers()[RETRY_AFTER], "1");
        assert_eq!(
            page.headers()[PROXY_STATUS],
            r#"buckler; error=http_request_denied; details="reason=caller_rate rule=agreement \"office\" caller=office""#
        );
        let body: serde_json::Value = serde_json::from_slice(page.body()).unwrap();
        assert_eq!(body["reason"], "caller_rate");
        assert_eq!(body["rule"], "agreement \"office\"");
        assert_eq!(body["request_id"], "id-1");
        assert!(
            !page.body().windows(12).any(|w| w == b"buckler.yaml"),
            "the file's name is for the log only"
        );
    }

    #[test]
    fn a_rule_of_any_name_and_reason_gives_valid_json() {
        let name = "quoted \" and \\ and \u{1} and ü";
        let rule = RuleRef { name: name.into(), at: String::new(), reason: Some("line\nbreak".into()) };
        let refusal = Refusal::new(Reason::DeniedByRule, "denied").by(Arc::new(rule));
        let page = page(&refusal, &Asked { request_id: "id", ..Asked::default() });
        let body: serde_json::Value = serde_json::from_slice(page.body()).unwrap();
        assert_eq!(body["rule"], name);
        assert_eq!(body["rule_reason"], "line\nbreak");
    }

    #[test]
    fn raw_bytes_are_one_closed_http_answer() {
        let raw = |to_head| {
            let refusal = Refusal::new(Reason::BadRequest, "two Host fields");
            String::from_utf8(super::raw(&refusal, &Asked::default(), SystemTime::UNIX_EPOCH, to_head))
                .unwrap()
        };
        let text = raw(false);
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"));
        assert!(text.contains("connection: close\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.contains("date: Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(raw(true), format!("{head}\r\n\r\n"), "an answer to HEAD is the same without its body");
    }

    #[test]
    fn seconds_to_wait_are_rounded_up_and_never_none() {
        for (millis, want) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (90_000, 90)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), want);
        }
    }

    #[test]
    fn only_a_client_that_excludes_json_gets_plain_text() {
        let accept = |text: &'static str| wants_plain(Some(&HeaderValue::from_static(text)));
        assert!(!wants_plain(None));
        assert!(!accept("*/*"));
        assert!(!accept("text/html, application/*;q=0.1"));
        assert!(accept("text/html"));
        assert!(accept("text/plain, application/json;q=0"));
    }

    #[test]
    fn every_reason_has_its_own_row_and_word() {
        let words: std::collections::HashSet<_> = Reason::all().map(Reason::word).collect();
        assert_eq!(words.len(), Reason::COUNT);
        for (index, reason) in Reason::all().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
