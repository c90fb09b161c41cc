//! The operator's answer instead of a refusal (`fallback`): for a service that others can do without for a while, so
//! that its being away is not theirs. `Proxy-Status` still says what went wrong. gRPC has no such thing: a message that
//! no server made would be believed.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::page::{Asked, PROXY_STATUS, proxy_status, whole_seconds};
use super::{Reason, Refusal};
use crate::fields::Fields;
use crate::message::{Response, ResponseHead};

/// Whether a fallback may stand in for this refusal: what the client asked was right, and the service could not.
pub const fn stands_in_for(reason: Reason) -> bool {
    matches!(reason.status(), 502..=504)
}

/// The operator's answer, in the place of this refusal. Never cached, unless the operator says otherwise. None for its
/// body: a status like this has none.
pub fn page(
    refusal: &Refusal,
    asked: &Asked<'_>,
    (status, fields, body): (StatusCode, &HeaderMap, &Bytes),
) -> Response<Option<Bytes>> {
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
    let bodiless =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let body = Some(body.clone()).filter(|body| !bodiless && !body.is_empty());
    let mut fields = Fields::from(fields);
    if !fields.contains("cache-control") {
        fields.add("cache-control", b"no-store");
    }
    // With other statuses it means something else, or nothing (RFC 9110 section 10.2.3).
    if let Some(wait) = refusal.retry_after.filter(|_| status == StatusCode::SERVICE_UNAVAILABLE)
        && !fields.contains("retry-after")
    {
        fields.add("retry-after", itoa::Buffer::new().format(whole_seconds(wait)).as_bytes());
    }
    fields.remove(PROXY_STATUS);
    fields.add_with(PROXY_STATUS, |out| proxy_status(refusal, asked.caller, true, out));
    Response { head: ResponseHead { status, reason: None, fields }, body }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};

    use super::*;
    use crate::fields::text;

    fn given(status: u16, fields: &HeaderMap, body: &'static str) -> Response<Option<Bytes>> {
        let refusal = Refusal::new(Reason::Overload, "all are taken").after(Duration::from_millis(1_500));
        let asked = Asked { request_id: b"id-1", ..Asked::default() };
        let status = StatusCode::from_u16(status).unwrap();
        page(&refusal, &asked, (status, fields, &Bytes::from_static(body.as_bytes())))
    }

    #[test]
    fn it_is_the_operators_answer_and_says_what_went_wrong() {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        let answer = given(200, &fields, "[]");
        assert_eq!((answer.head.status.as_u16(), answer.body.as_deref()), (200, Some(&b"[]"[..])));
        let field = |name: &str| text(answer.head.fields.get(name).unwrap()).unwrap();
        assert_eq!(field("content-type"), "application/json");
        assert_eq!(field("cache-control"), "no-store");
        let status = "buckler; error=connection_limit_reached; details=\"reason=overload fallback\"";
        assert_eq!(field("proxy-status"), status);
        assert!(!answer.head.fields.contains("retry-after"), "a 200 is not to be tried again");
    }

    #[test]
    fn what_the_operator_says_of_caching_and_returning_holds() {
        let mut fields = HeaderMap::new();
        fields.insert(CACHE_CONTROL, "max-age=1".parse().unwrap());
        let field = |answer: &Response<_>, name| answer.head.fields.get(name).map(<[u8]>::to_vec);
        assert_eq!(field(&given(200, &fields, "x"), "cache-control").as_deref(), Some(&b"max-age=1"[..]));
        assert_eq!(field(&given(503, &fields, "x"), "retry-after").as_deref(), Some(&b"2"[..]));
        fields.insert(RETRY_AFTER, "30".parse().unwrap());
        assert_eq!(field(&given(503, &fields, "x"), "retry-after").as_deref(), Some(&b"30"[..]));
    }

    #[test]
    fn a_status_without_a_body_has_none() {
        for status in [204, 205, 304] {
            assert_eq!(given(status, &HeaderMap::new(), "x").body, None, "{status}");
        }
    }

    #[test]
    fn it_stands_in_for_what_the_service_could_not_do_and_nothing_else() {
        let stands: Vec<_> =
            Reason::all().filter(|reason| stands_in_for(*reason)).map(Reason::word).collect();
        let want = [
            "service_limit",
            "connections",
            "overload",
            "workers_failing",
            "no_workers",
            "worker_connect",
            "worker_reset",
            "worker_protocol",
            "worker_timeout",
        ];
        assert_eq!(stands, want);
    }
}
