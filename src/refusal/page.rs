//! How a refusal looks on the wire: status, fields and a body in the form that the client takes. The same page goes
//! out through the connection's writer for a request that was read, and as raw bytes for one that never was.
//!
//! A flood is refused as fast as this is written: pages in JSON are kept, in `refusal/kept.rs`.

use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;

pub use super::kept::{Lines, Page};
use super::{Reason, Refusal};
use crate::fields::octets::{EACH, HIGH};
use crate::fields::{Fields, text};

/// `Proxy-Status` (RFC 9209).
pub const PROXY_STATUS: &str = "proxy-status";
/// `X-Request-Id`.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// What a page needs to know of the request.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// The request's id: graphic ASCII.
    pub request_id: &'a [u8],
    /// The id is one of letters, digits and hyphens: JSON has it as it is.
    pub id_is_plain: bool,
    /// Plain text instead of JSON.
    pub plain: bool,
    /// The caller's name, told only to callers that showed a credential.
    pub caller: Option<&'a str>,
    /// The header that carries API keys, for `WWW-Authenticate`.
    pub key_header: Option<&'a str>,
}

/// Writes the answer to a refused request: its fields go to `fields`, its body is returned. Never cached, and it never
/// says which version of what wrote it.
pub fn write(refusal: &Refusal, asked: &Asked<'_>, fields: &mut Fields) -> Bytes {
    let body = if asked.plain {
        fields.add("content-type", b"text/plain; charset=utf-8");
        fields.add("cache-control", b"no-store");
        fields.add_with(PROXY_STATUS, |out| proxy_status(refusal, asked.caller, false, out));
        if let Some(wait) = refusal.retry_after {
            fields.add("retry-after", itoa::Buffer::new().format(whole_seconds(wait)).as_bytes());
        }
        if !asked.request_id.is_empty() {
            fields.add(REQUEST_ID, asked.request_id);
        }
        Bytes::from(plain(refusal, asked))
    } else {
        Page::filled(refusal, asked, &Lines::NONE).write_apart(fields)
    };
    match refusal.reason {
        // RFC 9110 section 11.6.1 asks for a challenge with every 401, section 15.5.6 for Allow with every 405.
        Reason::NoIdentity => {
            let challenge = format!("ApiKey header=\"{}\"", asked.key_header.unwrap_or("x-api-key"));
            fields.add("www-authenticate", challenge.as_bytes());
        }
        Reason::MethodRefused => fields.add("allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        _ => {}
    }
    body
}

/// The status of a refusal's answer.
pub fn status(reason: Reason) -> StatusCode {
    StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The whole answer as bytes of HTTP/1.1, with `Connection: close`: for a request that was refused before it was
/// parsed. It is dated `now`, as whoever has a clock must (RFC 9110 section 6.6.1). An answer to HEAD says how long its
/// body would be and has none (section 9.3.2).
pub fn raw(refusal: &Refusal, asked: &Asked<'_>, now: SystemTime, to_head: bool) -> Vec<u8> {
    let mut fields = Fields::new();
    let body = write(refusal, asked, &mut fields);
    fields.add("date", httpdate::fmt_http_date(now).as_bytes());
    fields.add("connection", b"close");
    fields.add("content-length", itoa::Buffer::new().format(body.len()).as_bytes());
    let status = status(refusal.reason);
    let mut bytes = Vec::with_capacity(64 + fields.as_lines().len() + body.len());
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or("Refused").as_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(fields.as_lines());
    bytes.extend_from_slice(b"\r\n");
    if !to_head {
        bytes.extend_from_slice(&body);
    }
    bytes
}

/// Whether the client's `Accept` leaves no room for JSON (RFC 9110 section 12.5.1). No `Accept` at all takes anything.
pub fn wants_plain(accept: Option<&[u8]>) -> bool {
    let takes_json = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        ["*/*", "application/*", "application/json", "application/problem+json"]
            .iter()
            .any(|json| media.eq_ignore_ascii_case(json))
            && !parts.any(|p| matches!(p.strip_prefix("q=").map(str::parse::<f32>), Some(Ok(q)) if q <= 0.0))
    };
    accept.is_some_and(|accept| {
        // What most clients send that send it at all.
        accept != b"*/*" && !text(accept).unwrap_or("").split(',').any(takes_json)
    })
}

/// Whole seconds, rounded up, at least one: what `Retry-After` can say.
pub fn whole_seconds(wait: std::time::Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// `buckler; error=…; details="…"` (RFC 9209 section 2.3). The caller's own name only goes to an identified caller.
/// `fallback`: the answer is the operator's, given instead of the refusal, which is still what went wrong.
pub(super) fn proxy_status(refusal: &Refusal, caller: Option<&str>, fallback: bool, out: &mut Vec<u8>) {
    begin_status(refusal, out);
    if let Some(caller) = caller {
        name_caller(caller, out);
    }
    if fallback {
        out.extend_from_slice(b" fallback");
    }
    out.extend_from_slice(END_OF_STATUS);
}

/// What it says of the refusal, whoever is told.
pub(super) fn begin_status(refusal: &Refusal, out: &mut Vec<u8>) {
    out.extend_from_slice(b"buckler; error=");
    out.extend_from_slice(refusal.reason.proxy_error().as_bytes());
    out.extend_from_slice(b"; details=\"reason=");
    out.extend_from_slice(refusal.reason.word().as_bytes());
    if let Some(rule) = &refusal.rule {
        out.extend_from_slice(b" rule=");
        push_sf(out, &rule.name);
    }
}

pub(super) fn name_caller(caller: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b" caller=");
    push_sf(out, caller);
}

/// What stands behind all that it says.
pub(super) const END_OF_STATUS: &[u8] = b"\"";

/// What may stand inside a string of RFC 9651: printable ASCII; anything else becomes `?`.
fn push_sf(out: &mut Vec<u8>, part: &str) {
    if is_plain(part.as_bytes()) {
        return out.extend_from_slice(part.as_bytes());
    }
    for c in part.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ => out.push(b'?'),
        }
    }
}

/// Whether it may stand in a string, of RFC 9651 or of JSON, as it is: printable ASCII without quotes and backslashes.
/// Eight bytes are looked at in one word, the last eight again.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let odd = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        let zero = |word: u64| word.wrapping_sub(EACH) & !word;
        // The highest bit of some byte shows what is above 0x7F, 0x7F, below a blank, a quote, a backslash.
        word | word.wrapping_add(EACH)
            | word.wrapping_sub(EACH * b' ' as u64)
            | zero(word ^ (EACH * b'"' as u64))
            | zero(word ^ (EACH * b'\\' as u64))
    };
    match text.last_chunk::<8>() {
        Some(last) => {
            let found = text.as_chunks::<8>().0.iter().fold(odd(last), |found, bytes| found | odd(bytes));
            found & HIGH == 0
        }
        None => text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')),
    }
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
    line("request id", std::str::from_utf8(asked.request_id).unwrap_or_default());
    body
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::fields::text;
    use crate::message::Response;
    use crate::refusal::RuleRef;
    use crate::refusal::kept::problem_type;
    use crate::refusal::rule::KEPT;

    /// The usual page with these lines, of which each has another length.
    fn usual(refusal: &Refusal, asked: &Asked<'_>, lines: &[u8]) -> Option<Page> {
        let write = |put: &mut dyn FnMut(&[u8])| put(lines);
        Page::usual(refusal, asked, &Lines { key: [0, 0, 0, 0, lines.len() as u64], write: &write })
    }

    /// A page as a client sees it. The usual one says the same in one piece.
    fn page(refusal: &Refusal, asked: &Asked<'_>) -> Response<Bytes> {
        let lines = [&b""[..], b"x: 1\r\n", b"x: 12\r\ny: 3\r\n"][asked.request_id.len() % 3];
        let (mut whole, mut head) = (Vec::new(), Vec::new());
        if let Some(page) = usual(refusal, asked, lines) {
            page.write(true, &mut whole);
        }
        if let Some(page) = usual(refusal, asked, lines) {
            page.write(false, &mut head);
        }
        let mut response = Response::new(status(refusal.reason), Bytes::new());
        response.body = write(refusal, asked, &mut response.head.fields);
        if !whole.is_empty() {
            let mut want = [response.head.fields.as_lines(), lines].concat();
            want.extend(format!("content-length: {}\r\n\r\n", response.body.len()).bytes());
            assert_eq!(head, want, "an answer to HEAD is the same without its body");
            want.extend_from_slice(&response.body);
            assert_eq!(whole, want);
        }
        response
    }

    fn limited() -> Refusal {
        let rule = RuleRef { name: "agreement \"office\"".into(), at: "buckler.yaml:3".into(), reason: None };
        Refusal::new(Reason::CallerRate, "one every 10 ms")
            .by(&Arc::new(rule))
            .after(Duration::from_millis(10))
    }

    #[test]
    fn a_page_says_status_reason_rule_and_when_to_come_back() {
        let asked = Asked { request_id: b"id-1", caller: Some("office"), ..Asked::default() };
        let page = page(&limited(), &asked);
        assert_eq!(page.head.status, 429);
        assert_eq!(page.head.fields.get("retry-after"), Some(&b"1"[..]));
        let told = r#"buckler; error=http_request_denied; details="reason=caller_rate rule=agreement \"office\" caller=office""#;
        assert_eq!(page.head.fields.get(PROXY_STATUS), Some(told.as_bytes()));
        let body: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(body["reason"], "caller_rate");
        assert_eq!(body["rule"], "agreement \"office\"");
        assert_eq!(body["request_id"], "id-1");
        assert!(!page.body.windows(12).any(|w| w == b"buckler.yaml"), "the file's name is for the log only");
    }

    #[test]
    fn what_is_not_usual_has_no_page_that_is_kept() {
        let refusal = limited();
        assert!(usual(&refusal, &Asked::default(), b"").is_some());
        assert!(usual(&refusal, &Asked { plain: true, ..Asked::default() }, b"").is_none());
        for reason in [Reason::NoIdentity, Reason::MethodRefused] {
            assert!(usual(&Refusal::new(reason, "no"), &Asked::default(), b"").is_none(), "{reason:?}");
        }
    }

    #[test]
    fn of_two_pages_at_a_time_each_says_its_own() {
        let refusal = limited();
        let page = |id| usual(&refusal, &Asked { request_id: id, ..Asked::default() }, b"").unwrap();
        let pages = [page(b"id-1"), page(b"id-2")];
        for (page, id) in pages.into_iter().zip(["id-1", "id-2"]) {
            let mut out = Vec::new();
            page.write(true, &mut out);
            assert_eq!(String::from_utf8(out).unwrap().matches(id).count(), 2, "{id}");
        }
    }

    #[test]
    fn pages_hold_no_rule_beyond_those_that_are_kept() {
        let rule = |n: usize| RuleRef { name: format!("rules[{n}]"), at: String::new(), reason: None };
        let rules: Vec<_> = (0..4 * KEPT).map(|n| Arc::new(rule(n))).collect();
        for rule in &rules {
            for reason in [Reason::CallerRate, Reason::CallerConcurrency] {
                let refusal = Refusal::new(reason, "no more").by(rule);
                usual(&refusal, &Asked::default(), b"").unwrap().write(true, &mut Vec::new());
                drop(usual(&refusal, &Asked::default(), b""));
            }
        }
        let held = rules.iter().filter(|rule| Arc::strong_count(rule) > 1).count();
        assert!((1..=KEPT).contains(&held), "{held}");
    }

    #[test]
    fn a_rule_of_any_name_and_reason_gives_valid_json() {
        let name = "quoted \" and \\ and \u{1} and ü";
        let rule = RuleRef { name: name.into(), at: String::new(), reason: Some("line\nbreak".into()) };
        let refusal = Refusal::new(Reason::DeniedByRule, "denied").by(&Arc::new(rule));
        let page = page(&refusal, &Asked { request_id: b"id", ..Asked::default() });
        let body: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(body["rule"], name);
        assert_eq!(body["rule_reason"], "line\nbreak");
    }

    #[test]
    fn what_is_prepared_for_one_rule_is_never_told_of_another() {
        let rule = |name: String| Arc::new(RuleRef { name, at: String::new(), reason: None });
        let details = ["a rule denies it", "no rule allows it"];
        // More than are kept, in turns, each made anew once: addresses of rules that are gone come again.
        for round in 0..3 {
            let rules: Vec<_> = (0..KEPT * 4).map(|n| rule(format!("rules[{round}.{n}]"))).collect();
            for (n, rule) in rules.iter().chain(&rules).enumerate() {
                let reason = if n % 3 == 0 { Reason::DeniedByRule } else { Reason::CallerRate };
                let mut refusal = Refusal::new(reason, details[n % 2]).by(rule);
                refusal.retry_after = (n % 5 > 0).then(|| Duration::from_secs(n as u64));
                let id = format!("id-{n}");
                let page = page(&refusal, &Asked { request_id: id.as_bytes(), ..Asked::default() });
                let body: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
                assert_eq!((&body["rule"], &body["request_id"]), (&rule.name.as_str().into(), &id.into()));
                assert_eq!(
                    (&body["reason"], &body["detail"]),
                    (&reason.word().into(), &details[n % 2].into())
                );
                assert_eq!(page.body.last(), Some(&b'\n'));
                let told = text(page.head.fields.get(PROXY_STATUS).unwrap()).unwrap();
                assert!(told.contains(&format!("reason={} rule={}\"", reason.word(), rule.name)), "{told}");
                assert_eq!(page.head.fields.contains("retry-after"), n % 5 > 0);
            }
        }
    }

    proptest! {
        /// One after another, whatever was filled in before.
        #[test]
        fn each_page_tells_its_own_rule_caller_wait_and_id_and_no_others(
            names in proptest::collection::vec("[ -~ä]{0,12}", 1..5),
            callers in proptest::collection::vec("[ -~ä]{0,12}", 1..3),
            pages in proptest::collection::vec(
                (0..6_usize, 0..4_usize, 0..Reason::COUNT, any::<bool>(), 0..200_u64, "[!-~]{0,40}"), 1..40,
            ),
        ) {
            // Some with a reason of the operator's. Beyond the last one of a list: without a rule, without a name.
            let rule = |(n, name): (usize, String)| {
                let reason = (n % 2 == 1).then(|| format!("because {name}"));
                Arc::new(RuleRef { name, at: String::new(), reason })
            };
            let rules: Vec<_> = names.into_iter().enumerate().map(rule).collect();
            for (rule, caller, reason, other, wait, id) in pages {
                let reason = Reason::all().nth(reason).unwrap();
                let detail = if other { "no rule allows it" } else { "the rate is used up" };
                let mut refusal = Refusal::new(reason, detail);
                if let Some(rule) = rules.get(rule) {
                    refusal = refusal.by(rule);
                }
                refusal.retry_after = (wait % 4 > 0).then(|| Duration::from_secs(wait));
                let wait = if wait % 4 > 0 { wait } else { 0 };
                let caller = callers.get(caller).map(String::as_str);
                let page = page(&refusal, &Asked { request_id: id.as_bytes(), caller, ..Asked::default() });
                let mut want = serde_json::json!({
                    "type": problem_type(reason), "title": reason.title(), "status": reason.status(),
                    "detail": detail, "reason": reason.word(),
                });
                if let Some(rule) = rules.get(rule) {
                    want["rule"] = rule.name.as_str().into();
                    if let Some(why) = &rule.reason {
                        want["rule_reason"] = why.as_str().into();
                    }
                    if matches!(reason, Reason::CallerRate | Reason::CallerConcurrency) {
                        want["violated-policies"] = vec![rule.name.as_str()].into();
                    }
                }
                if wait > 0 {
                    want["retry_after"] = wait.into();
                }
                if !id.is_empty() {
                    want["request_id"] = id.as_str().into();
                }
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&page.body).unwrap(), want);
                let mut told = Vec::new();
                proxy_status(&refusal, caller, false, &mut told);
                let fields = &page.head.fields;
                prop_assert_eq!(fields.get(PROXY_STATUS), Some(&told[..]));
                let wait = wait.to_string();
                prop_assert_eq!(fields.get("retry-after"), Some(wait.as_bytes()).filter(|wait| *wait != b"0"));
                prop_assert_eq!(fields.get(REQUEST_ID), Some(id.as_bytes()).filter(|id| !id.is_empty()));
                prop_assert_eq!(fields.get("cache-control"), Some(&b"no-store"[..]));
            }
        }

        #[test]
        fn what_is_plain_by_words_is_so_by_bytes(text in proptest::collection::vec(any::<u8>(), 0..30), ascii: bool) {
            let mut text = text;
            if ascii {
                text.iter_mut().for_each(|byte| *byte = b' ' + *byte % 96);
            }
            let by_bytes = text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(is_plain(&text), by_bytes);
        }
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
        let accept = |text: &str| wants_plain(Some(text.as_bytes()));
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
