//! `Max-Forwards` of OPTIONS (RFC 9110 section 7.6.2): how far a client wants its question to go. Each hop counts down,
//! and the one that finds 0 answers by itself. TRACE, the other method that has it, never passes at all.

use http::header::{HeaderMap, HeaderValue, MAX_FORWARDS};
use http::{Method, StatusCode};

use crate::forward::Answer;
use crate::message::Response;

/// Counts one hop down. The answer, if this is the last hop.
pub(super) fn count_down(method: &Method, headers: &mut HeaderMap) -> Option<Response<Answer>> {
    if *method != Method::OPTIONS {
        return None;
    }
    let left: u32 = headers.get(MAX_FORWARDS)?.to_str().ok()?.parse().ok()?;
    let Some(left) = left.checked_sub(1) else {
        let mut answer = Response::new(StatusCode::OK, Answer::Own(None));
        answer.head.fields.add("allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        return Some(answer);
    };
    headers.insert(MAX_FORWARDS, HeaderValue::from(left));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, value: &'static str) -> (bool, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert(MAX_FORWARDS, HeaderValue::from_static(value));
        (count_down(method, &mut headers).is_some(), headers)
    }

    #[test]
    fn each_hop_counts_down_and_the_last_one_answers() {
        let (ours, headers) = asked(&Method::OPTIONS, "2");
        assert!(!ours);
        assert_eq!(headers[MAX_FORWARDS], "1");
        assert!(asked(&Method::OPTIONS, "0").0);
    }

    #[test]
    fn other_methods_and_values_that_are_no_number_pass_as_they_are() {
        assert!(!asked(&Method::GET, "0").0);
        let (ours, headers) = asked(&Method::OPTIONS, "soon");
        assert!(!ours);
        assert_eq!(headers[MAX_FORWARDS], "soon");
    }
}
