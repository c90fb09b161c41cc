//! `Max-Forwards` of OPTIONS (RFC 9110 section 7.6.2): how far a client wants its question to go. Each hop counts down,
//! and the one that finds 0 answers by itself. TRACE, the other method that has it, never passes at all.

use http::{Method, StatusCode};

use crate::fields::{Fields, text};
use crate::forward::Answer;
use crate::message::Response;

const MAX_FORWARDS: &str = "max-forwards";

/// Counts one hop down. The answer, if this is the last hop.
pub(super) fn count_down(method: &Method, fields: &mut Fields) -> Option<Response<Answer>> {
    if *method != Method::OPTIONS {
        return None;
    }
    let left: u32 = text(fields.get(MAX_FORWARDS)?)?.parse().ok()?;
    let Some(left) = left.checked_sub(1) else {
        let mut answer = Response::new(StatusCode::OK, Answer::Own(None));
        answer.head.fields.add("allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        return Some(answer);
    };
    fields.set(MAX_FORWARDS, itoa::Buffer::new().format(left).as_bytes());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, value: &str) -> (bool, Fields) {
        let mut fields = Fields::new();
        fields.add(MAX_FORWARDS, value.as_bytes());
        (count_down(method, &mut fields).is_some(), fields)
    }

    #[test]
    fn each_hop_counts_down_and_the_last_one_answers() {
        let (ours, fields) = asked(&Method::OPTIONS, "2");
        assert!(!ours);
        assert_eq!(fields.get(MAX_FORWARDS), Some(&b"1"[..]));
        assert!(asked(&Method::OPTIONS, "0").0);
    }

    #[test]
    fn other_methods_and_values_that_are_no_number_pass_as_they_are() {
        assert!(!asked(&Method::GET, "0").0);
        let (ours, fields) = asked(&Method::OPTIONS, "soon");
        assert!(!ours);
        assert_eq!(fields.get(MAX_FORWARDS), Some(&b"soon"[..]));
    }
}
