//! How a refusal looks to a gRPC client: an answer of trailers only (gRPC over HTTP/2, "Responses"), whose status is
//! in `grpc-status`. One table from reason to status; the HTTP status that the reason has stays in the log and the
//! metrics.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::page::{Asked, PROXY_STATUS, proxy_status, whole_seconds};
use super::{Reason, Refusal};
use crate::fields::{self, Fields};
use crate::message::Response;

/// `grpc-status`: a number of [`status`], in decimal.
pub const STATUS: &str = "grpc-status";
/// `grpc-message`: a text for people, percent-encoded.
pub const MESSAGE: &str = "grpc-message";
/// `grpc-retry-pushback-ms` (gRPC proposal A6): when a client that retries may do so.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The media type of gRPC, without what may follow it.
const MEDIA: &str = "application/grpc";

/// The content type of a gRPC request, as the answer is to have it; none if it is something else, gRPC-Web among that,
/// which has its trailers in the body.
pub fn content_type(fields: &Fields) -> Option<HeaderValue> {
    let text = fields::text(fields.get("content-type")?)?;
    let essence = text.split(';').next()?.trim_end();
    let (media, subtype) = essence.split_at_checked(MEDIA.len())?;
    let is_grpc = media.eq_ignore_ascii_case(MEDIA) && (subtype.is_empty() || subtype.starts_with('+'));
    if is_grpc { HeaderValue::from_str(essence).ok() } else { None }
}

/// The status that a gRPC client gets for this reason (gRPC, "Status codes and their use").
pub const fn status(reason: Reason) -> u8 {
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    const CANCELLED: u8 = 1;
    match reason {
        Reason::BadRequest | Reason::Internal | Reason::WorkerProtocol => INTERNAL,
        Reason::HttpVersion | Reason::MethodRefused => UNIMPLEMENTED,
        Reason::NoIdentity => UNAUTHENTICATED,
        Reason::DeniedByRule => PERMISSION_DENIED,
        Reason::ClientTimeout | Reason::WorkerTimeout => DEADLINE_EXCEEDED,
        Reason::BodyTooLarge
        | Reason::UriTooLong
        | Reason::HeadTooLarge
        | Reason::CallerRate
        | Reason::CallerConcurrency
        | Reason::ServiceLimit => RESOURCE_EXHAUSTED,
        // On another connection it is right, which is what the client makes after this.
        Reason::Misdirected
        | Reason::Connections
        | Reason::Overload
        | Reason::WorkersFailing
        | Reason::NoWorkers
        | Reason::WorkerConnect
        | Reason::WorkerReset => UNAVAILABLE,
        Reason::ClientClosed => CANCELLED,
    }
}

/// The answer to a refused gRPC request: a head and nothing behind it. `kind` is what [`content_type`] said.
pub fn page(refusal: &Refusal, asked: &Asked<'_>, kind: &[u8]) -> Response<()> {
    let mut response = Response::new(StatusCode::OK, ());
    let fields = &mut response.head.fields;
    fields.add("content-type", kind);
    fields.add("cache-control", b"no-store");
    fields.add(STATUS, itoa::Buffer::new().format(status(refusal.reason)).as_bytes());
    fields.add(MESSAGE, message(refusal).as_bytes());
    fields.add_with(PROXY_STATUS, |out| proxy_status(refusal, asked.caller, false, out));
    if let Some(wait) = refusal.retry_after {
        fields.add("retry-after", itoa::Buffer::new().format(whole_seconds(wait)).as_bytes());
        fields.add(PUSHBACK, itoa::Buffer::new().format(millis(wait)).as_bytes());
    }
    response
}

/// The end of an answer that had begun and cannot go on, in place of a reset that says nothing.
pub fn trailers(refusal: &Refusal) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(HeaderName::from_static(STATUS), HeaderValue::from(u16::from(status(refusal.reason))));
    if let Ok(message) = HeaderValue::from_maybe_shared(Bytes::from(message(refusal))) {
        fields.insert(HeaderName::from_static(MESSAGE), message);
    }
    fields
}

/// The status that the head of an answer tells.
pub fn told(fields: &Fields) -> Option<u16> {
    fields::text(fields.get(STATUS)?)?.parse().ok()
}

/// The status that trailers tell.
pub fn told_behind(trailers: &HeaderMap) -> Option<u16> {
    trailers.get(STATUS)?.to_str().ok()?.parse().ok()
}

/// What `grpc-message` says of it.
fn message(refusal: &Refusal) -> String {
    let mut message = refusal.to_string();
    if let Some(rule) = &refusal.rule {
        message.push_str("; rule: ");
        message.push_str(&rule.name);
    }
    percent_encoded(&message)
}

/// Milliseconds, rounded up.
fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// As `grpc-message` has it: printable ASCII but `%` as it is, every other byte of the UTF-8 as `%XX`.
fn percent_encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::refusal::RuleRef;

    fn kind(value: &'static str) -> Option<String> {
        let mut fields = Fields::new();
        fields.add("content-type", value.as_bytes());
        content_type(&fields).map(|kind| kind.to_str().unwrap().to_owned())
    }

    #[test]
    fn grpc_is_told_from_what_only_sounds_like_it() {
        for grpc in ["application/grpc", "application/grpc+proto", "Application/GRPC+json"] {
            assert_eq!(kind(grpc).as_deref(), Some(grpc));
        }
        assert_eq!(kind("application/grpc ; charset=x").as_deref(), Some("application/grpc"));
        for other in
            ["application/grpc-web", "application/grpc-web+proto", "application/grp", "text/html", ""]
        {
            assert_eq!(kind(other), None, "{other}");
        }
    }

    #[test]
    fn every_reason_has_a_status_that_says_it_failed() {
        for reason in Reason::all() {
            assert!((1..=16).contains(&status(reason)), "{reason:?}");
        }
        let told = |reason| status(reason);
        let agreed = [
            (Reason::CallerRate, 8),
            (Reason::ServiceLimit, 8),
            (Reason::DeniedByRule, 7),
            (Reason::NoIdentity, 16),
            (Reason::NoWorkers, 14),
            (Reason::WorkerConnect, 14),
            (Reason::WorkerTimeout, 4),
        ];
        for (reason, want) in agreed {
            assert_eq!(told(reason), want, "{reason:?}");
        }
    }

    #[test]
    fn a_refusal_is_trailers_only_and_says_when_to_come_back() {
        let rule = RuleRef { name: "agreement 50 % ü".into(), at: String::new(), reason: None };
        let refusal = Refusal::new(Reason::CallerRate, "one every 10 ms")
            .by(&Arc::new(rule))
            .after(Duration::from_micros(1_500));
        let asked = Asked { request_id: b"id-1", ..Asked::default() };
        let page = page(&refusal, &asked, b"application/grpc+proto");
        let field = |name: &str| fields::text(page.head.fields.get(name).unwrap()).unwrap();
        assert_eq!(page.head.status, 200);
        assert_eq!(field("content-type"), "application/grpc+proto");
        assert_eq!(field("grpc-status"), "8");
        assert_eq!(field("grpc-message"), "caller_rate: one every 10 ms; rule: agreement 50 %25 %C3%BC");
        assert_eq!((field("retry-after"), field("grpc-retry-pushback-ms")), ("1", "2"));
        assert_eq!(told(&page.head.fields), Some(8));
        assert_eq!(told_behind(&trailers(&refusal)), Some(8));
    }

    proptest! {
        #[test]
        fn any_message_is_encoded_as_printable_ascii_and_read_back(message in ".*") {
            let encoded = percent_encoded(&message);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let mut bytes = Vec::new();
            let mut rest = encoded.as_bytes();
            while let Some((first, after)) = rest.split_first() {
                if *first == b'%' {
                    let hex = std::str::from_utf8(&after[..2]).unwrap();
                    bytes.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &after[2..];
                } else {
                    bytes.push(*first);
                    rest = after;
                }
            }
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), message);
        }
    }
}
