//! What passes, and what its head tells. What does not pass stands in `refused.rs`.

use super::*;

#[test]
fn sound_requests_pass_whole() {
    #[rustfmt::skip]
    let cases: [(&str, &[u8], usize); 31] = [
        ("3", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3", b"GET /a?b=c&d=%20 HTTP/1.1\r\nhost:a\r\n\r\n", 1),
        ("2.2: one empty line in front", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3.1: any token is a method", b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3.1: methods are case-sensitive", b"trace / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3.2.2", b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3.2.2", b"GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3.2.4", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3.2: raw punctuation that clients send", b"GET /a|b?{c}^ HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("3.2: empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 1),
        ("3.2: 1.0 may miss it", b"GET / HTTP/1.0\r\n\r\n", 1),
        ("5.1: blanks round a value", b"GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", 1),
        ("5.5 of 9110: obs-text", b"GET / HTTP/1.1\r\nHost: a\r\nx: \xff\x80\r\n\r\n", 1),
        ("5.5 of 9110: tab inside", b"GET / HTTP/1.1\r\nHost: a\r\nx: a\tb\r\n\r\n", 1),
        ("5.5 of 9110: empty value", b"GET / HTTP/1.1\r\nHost: a\r\nx:\r\n\r\n", 1),
        ("5.6.2 of 9110: odd token", b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~: b\r\n\r\n", 1),
        ("6.2", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 1),
        ("6.2: zero", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1),
        ("6.2: leading zeros", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello", 1),
        ("6: a GET with a body", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 1),
        ("6: a body that looks like a head", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET / \n\0\r", 1),
        ("9.3.2: pipelining", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 2),
        ("9.3.2: behind a body", b"PUT / HTTP/1.0\r\nContent-Length: 1\r\n\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 2),
        ("7.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1),
        ("7: case of the coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:  CHUNKED \r\n\r\n0\r\n\r\n", 1),
        ("7.1: hex, leading zeros", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00aB\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n", 1),
        ("7.1: data that looks like framing", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\r\n0\r\n\r\n0\r\n\r\n", 1),
        ("7.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a;b=c;d=\"e\\\";\x80\t\"\r\nx\r\n0;z\r\n\r\n", 1),
        ("7.1.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-checksum: 7\r\n\r\n", 1),
        ("7.1: behind chunks", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 2),
        ("10.1.1 of 9110: another expectation", b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 1),
    ];
    for (section, stream, messages) in cases {
        let story = tell_whole(stream);
        let shown = String::from_utf8_lossy(stream);
        assert_eq!(story.fault, None, "{section}: {shown:?}");
        assert_eq!(story.passed, stream.len(), "{section}: {shown:?}");
        let ends = story.events.iter().filter(|(_, event)| *event == Event::End).count();
        assert_eq!((ends, story.events.len()), (messages, 2 * messages), "{section}: {shown:?}");
        assert_eq!(story.stage, Stage::Idle, "{section}: {shown:?}");
    }
}

fn facts(stream: &[u8]) -> HeadFacts {
    let story = tell_whole(stream);
    match story.events.first() {
        Some((_, Event::Head(facts))) => *facts,
        _ => panic!("no head in {story:?}"),
    }
}

#[test]
fn a_head_tells_its_facts() {
    let plain = facts(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let expected = HeadFacts {
        version_10: false,
        method: MethodKind::Get,
        content_length: None,
        chunked: false,
        expect_continue: false,
    };
    assert_eq!(plain, expected);
    let post = facts(b"POST / HTTP/1.1\r\nHost: a\r\nexpect: 100-Continue\r\nContent-Length: 7\r\n\r\n");
    let expected =
        HeadFacts { method: MethodKind::Post, content_length: Some(7), expect_continue: true, ..plain };
    assert_eq!(post, expected);
    let old = facts(b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n");
    let expected = HeadFacts { version_10: true, method: MethodKind::Put, content_length: Some(7), ..plain };
    assert_eq!(old, expected, "an HTTP/1.0 client's Expect is ignored (RFC 9110 section 10.1.1)");
    let bodiless = facts(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(bodiless, plain, "nothing is waited for without a body");
}
