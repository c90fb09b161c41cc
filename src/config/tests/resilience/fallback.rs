//! `fallback`: the answer instead of a refusal.

use super::*;

#[test]
fn a_fallback_is_an_answer_that_can_be_given() {
    for (fallback, what, help) in [
        ("{ status: 199 }", "25: 199 is out of bounds", "write 200 to 599"),
        ("{ status: ok }", "25: `ok` is not a whole number from 0 to 65535", ""),
        ("{ status: 204, body: x }", "36: a `body`, and `status: 204` at t.yaml:6:25 has none", "remove it"),
        ("{ status: 304, body: x }", "36: a `body`, and `status: 304` at t.yaml:6:25 has none", "remove it"),
        ("{ headers: { 'a b': x } }", "28: `a b` is not the name of a header", "write one like"),
        ("{ headers: { a: x, A: y } }", "34: the header `a` is written twice", "remove one"),
        ("{ headers: { a: \"x\\ny\" } }", "31: `x", "write characters of ASCII"),
        ("{ headers: { a: ' x' } }", "31: ` x` cannot be the value of a header", "write characters of ASCII"),
        (
            "{ headers: { a: \u{fc} } }",
            "31: `\u{fc}` cannot be the value of a header",
            "write characters of ASCII",
        ),
        ("{ header: {} }", "17: unknown key `header`", "did you mean `headers`?"),
    ] {
        begins(&format!("fallback: {fallback}"), what, help);
    }
    for name in [
        "Content-Length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "trailer",
        "te",
        "keep-alive",
        "proxy-status",
        "x-request-id",
    ] {
        let lower = name.to_ascii_lowercase();
        says(
            "",
            &format!("fallback: {{ headers: {{ {name}: x }} }}"),
            &format!("6:28: `{lower}` is set by Buckler where it is due"),
            "remove it",
        );
    }
    let long = "x".repeat((64 << 10) + 1);
    says(
        "",
        &format!("fallback: {{ body: {long} }}"),
        "6:23: this body has 65537 bytes",
        "write at most 65536",
    );
    assert_eq!(
        sound("", &format!("fallback: {{ body: {} }}", &long[1..])).fallback.unwrap().body.len(),
        64 << 10
    );
    assert_eq!(sound("", "fallback: { status: 204 }").fallback.unwrap().status.as_u16(), 204);
}
