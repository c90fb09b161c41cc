//! What is refused, and at which byte: request lines, fields, chunks, and whatever is too long.

use super::*;

/// The case and its section, the stream, the part that must stand at the fault's position, the reason.
type Bad<'a> = (&'a str, &'a [u8], usize, Reason);

fn assert_refused(cases: &[Bad<'_>]) {
    for &(section, stream, at, reason) in cases {
        let story = tell_whole(stream);
        let shown = String::from_utf8_lossy(stream);
        let fault = story.fault.map(|(at, reason, _)| (at, reason));
        assert_eq!(fault, Some((at, reason)), "{section}: {shown:?} gave {story:?}");
        assert_eq!(story.stage, Stage::Failed, "{section}: {shown:?}");
    }
}

#[test]
fn a_faulty_request_line_is_refused_where_it_goes_wrong() {
    use Reason::{BadRequest, HttpVersion, MethodRefused};
    #[rustfmt::skip]
    assert_refused(&[
        ("3: TLS ClientHello", b"\x16\x03\x01\x02\x00", 0, BadRequest),
        ("3: SSH", b"SSH-2.0-OpenSSH_9.2\r\n", 19, BadRequest),
        ("3: a response", b"HTTP/1.1 200 OK\r\n\r\n", 4, BadRequest),
        ("2.3: HTTP/0.9", b"GET /\r\n", 5, BadRequest),
        ("2.3: HTTP/0.9 named", b"GET / HTTP/0.9\r\n\r\n", 15, HttpVersion),
        ("2.3", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 15, HttpVersion),
        ("2.3", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 15, HttpVersion),
        ("3.4 of 9113: the preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 15, HttpVersion),
        ("2.3: case", b"GET / http/1.1\r\nHost: a\r\n\r\n", 6, BadRequest),
        ("2.3: two digits", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 14, BadRequest),
        ("2.3: no digit", b"GET / HTTP/1.\r\nHost: a\r\n\r\n", 13, BadRequest),
        ("2.3: comma", b"GET / HTTP/1,1\r\nHost: a\r\n\r\n", 12, BadRequest),
        ("2.3: other protocol", b"GET / RTSP/1.0\r\n\r\n", 6, BadRequest),
        ("2.2: two empty lines", b"\r\n\r\nGET / HTTP/1.1\r\n", 2, BadRequest),
        ("2.2: bare LF in front", b"\nGET / HTTP/1.1\r\n", 0, BadRequest),
        ("2.2: bare CR in front", b"\rGET / HTTP/1.1\r\n", 1, BadRequest),
        ("2.2: bare LF", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 14, BadRequest),
        ("2.2: bare CR", b"GET / HTTP/1.1\rHost: a\r\n\r\n", 15, BadRequest),
        ("2.2: CR in the target", b"GET /\ra HTTP/1.1\r\nHost: a\r\n\r\n", 5, BadRequest),
        ("3: two blanks before the target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 4, BadRequest),
        ("3: two blanks behind it", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 6, BadRequest),
        ("3: a tab", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 3, BadRequest),
        ("3: a blank in front", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, BadRequest),
        ("3: a blank at the end", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 14, BadRequest),
        ("3: a blank in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 7, BadRequest),
        ("3.1: not a token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 1, BadRequest),
        ("3.2: NUL", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 5, BadRequest),
        ("3.2: DEL", b"GET /abcdefgh\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 13, BadRequest),
        ("3.2: not ASCII", b"GET /abcdefgh\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 13, BadRequest),
        ("3.2: a fragment", b"GET /abcdefgh#x HTTP/1.1\r\nHost: a\r\n\r\n", 13, BadRequest),
        ("3.2: unreadable", b"GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n", 18, BadRequest),
        ("3.2.1: no slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 15, BadRequest),
        ("3.2.2: another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 22, BadRequest),
        ("3.2.2: no authority", b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 23, BadRequest),
        ("3.2.2: nothing behind the scheme", b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 21, BadRequest),
        ("3.2.3", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 18, BadRequest),
        ("3.2.4", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 15, BadRequest),
        ("9.3.6 of 9110", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 23, MethodRefused),
        ("9.3.8 of 9110", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 17, MethodRefused),
    ]);
}

#[test]
fn faulty_or_ambiguous_fields_are_refused_where_they_go_wrong() {
    use Reason::BadRequest;
    // Behind `GET / HTTP/1.1\r\nHost: a\r\n`, which is 25 bytes long.
    #[rustfmt::skip]
    let cases: [(&str, &[u8], usize); 44] = [
        ("2.2: bare LF ends a field", b"x: a\n\r\n", 4),
        ("2.2: bare LF ends the head", b"x: a\r\n\n", 6),
        ("2.2: bare CR in a value", b"x: a\rb\r\n\r\n", 5),
        ("2.2: bare CR for the empty line", b"\rGET", 1),
        ("5.1: blank before the colon", b"x : a\r\n\r\n", 1),
        ("5.1: tab before the colon", b"x\t: a\r\n\r\n", 1),
        ("5.1: no colon", b"x\r\n\r\n", 1),
        ("5.1: no name", b": a\r\n\r\n", 0),
        ("5.1: a control byte in a name", b"x\x0b: a\r\n\r\n", 1),
        ("5.1: a high byte in a name", b"x\xa0: a\r\n\r\n", 1),
        ("5.1: a bracket in a name", b"x(: a\r\n\r\n", 1),
        ("5.2: a folded line", b"x: a\r\n b\r\n\r\n", 6),
        ("5.2: a line folded by a tab", b"x: a\r\n\tb\r\n\r\n", 6),
        ("5.5 of 9110: NUL", b"x: a\0b\r\n\r\n", 4),
        ("5.5 of 9110: control", b"x: abcdefgh\x01\r\n\r\n", 11),
        ("5.5 of 9110: DEL", b"x: abcdefgh\x7f\r\n\r\n", 11),
        ("3.2: two Hosts", b"HOST: a\r\n\r\n", 6),
        ("6.2: sign", b"Content-Length: +3\r\n\r\nabc", 16),
        ("6.2: minus", b"Content-Length: -3\r\n\r\nabc", 16),
        ("6.2: list", b"Content-Length: 3, 3\r\n\r\nabc", 16),
        ("6.2: blank inside", b"Content-Length: 1 0\r\n\r\nabc", 16),
        ("6.2: hex", b"Content-Length: 0x3\r\n\r\nabc", 16),
        ("6.2: empty", b"Content-Length:\r\n\r\nabc", 15),
        ("6.2: letters", b"Content-Length: three\r\n\r\nabc", 16),
        ("6.2: fraction", b"Content-Length: 3.0\r\n\r\nabc", 16),
        ("6.2: over 64 bits", b"Content-Length: 18446744073709551616\r\n\r\nabc", 16),
        ("6.2: a number with a sign bit", b"Content-Length: 9223372036854775808\r\n\r\nabc", 16),
        ("6.3: twice, alike", b"Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc", 35),
        ("6.3: twice, different", b"Content-Length: 3\r\ncontent-length: 4\r\n\r\nabc", 35),
        ("6.3: length, then coding", b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 38),
        ("6.3: coding, then length", b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 44),
        ("6.1: coding twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 47),
        ("6.1: chunked twice in a list", b"Transfer-Encoding: chunked, chunked\r\n\r\n", 19),
        ("6.1: identity", b"Transfer-Encoding: identity\r\n\r\n", 19),
        ("6.1: identity in front", b"Transfer-Encoding: identity, chunked\r\n\r\n", 19),
        ("6.1: gzip", b"Transfer-Encoding: gzip, chunked\r\n\r\n", 19),
        ("6.1: chunked not last", b"Transfer-Encoding: chunked, gzip\r\n\r\n", 19),
        ("6.1: unknown", b"Transfer-Encoding: xchunked\r\n\r\n", 19),
        ("6.1: a parameter", b"Transfer-Encoding: chunked;q=1\r\n\r\n", 19),
        ("6.1: quoted", b"Transfer-Encoding: \"chunked\"\r\n\r\n", 19),
        ("6.1: empty", b"Transfer-Encoding:\r\n\r\n", 18),
        ("6.1: a comma", b"Transfer-Encoding: ,chunked\r\n\r\n", 19),
        ("6.1: a vertical tab", b"Transfer-Encoding: \x0bchunked\r\n\r\n", 19),
        ("6.1: a high byte", b"Transfer-Encoding: chunked\xa0\r\n\r\n", 19),
    ];
    let front = b"GET / HTTP/1.1\r\nHost: a\r\n";
    for (section, fields, at) in cases {
        assert_refused(&[(section, &[front, fields].concat(), front.len() + at, BadRequest)]);
    }
    #[rustfmt::skip]
    assert_refused(&[
        ("3.2: no Host", b"GET / HTTP/1.1\r\n\r\n", 17, BadRequest),
        ("5.1: a blank behind the request line", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 16, BadRequest),
        ("6.1: HTTP/1.0 knows no codings", b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 35, BadRequest),
        ("a second request is judged too", b"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 35, BadRequest),
    ]);
}

#[test]
fn faulty_chunks_are_refused_where_they_go_wrong() {
    use Reason::{BadRequest, HeadTooLarge};
    let long_line = [b"1;".as_slice(), &[b'a'; 1100], b"\r\n"].concat();
    let line = [b"1;".as_slice(), &[b'a'; 1000], b"\r\nx\r\n"].concat();
    let many = line.repeat(17);
    let trailers = b"0\r\n".iter().chain(b"x: y\r\n".repeat(9).iter()).copied().collect::<Vec<u8>>();
    let trailer = [b"0\r\nx: ".as_slice(), &[b'a'; 600]].concat();
    #[rustfmt::skip]
    let cases: [(&str, &[u8], usize, Reason); 35] = [
        ("7.1: 0x", b"0x5\r\nhello\r\n0\r\n\r\n", 1, BadRequest),
        ("7.1: sign", b"+5\r\nhello\r\n0\r\n\r\n", 0, BadRequest),
        ("7.1: minus", b"-5\r\nhello\r\n0\r\n\r\n", 0, BadRequest),
        ("7.1: underscore", b"1_0\r\nhello\r\n0\r\n\r\n", 1, BadRequest),
        ("7.1: blank in front", b" 5\r\nhello\r\n0\r\n\r\n", 0, BadRequest),
        ("7.1: blank behind", b"5 \r\nhello\r\n0\r\n\r\n", 1, BadRequest),
        ("7.1: blank before an extension", b"5 ;a\r\nhello\r\n0\r\n\r\n", 1, BadRequest),
        ("7.1: no size", b"\r\nhello\r\n0\r\n\r\n", 0, BadRequest),
        ("7.1: only an extension", b";a\r\nhello\r\n0\r\n\r\n", 0, BadRequest),
        ("7.1: a letter", b"g\r\nhello\r\n0\r\n\r\n", 0, BadRequest),
        ("7.1: 16 digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n", 15, BadRequest),
        ("7.1: overflow", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 15, BadRequest),
        ("7.1: bare LF behind a size", b"5\nhello\r\n0\r\n\r\n", 1, BadRequest),
        ("7.1: bare CR behind a size", b"5\rhello\r\n0\r\n\r\n", 2, BadRequest),
        ("7.1: data longer than its size", b"4\r\nhello\r\n0\r\n\r\n", 7, BadRequest),
        ("7.1: data shorter than its size", b"6\r\nhello\r\n0\r\n\r\n", 9, BadRequest),
        ("7.1: bare LF behind data", b"5\r\nhello\n0\r\n\r\n", 8, BadRequest),
        ("7.1: bare CR behind data", b"5\r\nhello\r0\r\n\r\n", 9, BadRequest),
        ("7.1.1: bare LF in an extension (CVE-2025-55315)", b"5;a\nhello\r\n0\r\n\r\n", 3, BadRequest),
        ("7.1.1: bare CR in an extension", b"5;a\rbhello\r\n0\r\n\r\n", 4, BadRequest),
        ("7.1.1: no name", b"5;\r\nhello\r\n0\r\n\r\n", 2, BadRequest),
        ("7.1.1: no value", b"5;a=\r\nhello\r\n0\r\n\r\n", 4, BadRequest),
        ("7.1.1: NUL", b"5;a=\"\0\"\r\nhello\r\n0\r\n\r\n", 5, BadRequest),
        ("7.1.1: LF inside quotes", b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", 5, BadRequest),
        ("7.1.1: behind quotes", b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", 7, BadRequest),
        ("7.1.1: a long line", &long_line, 1024, BadRequest),
        ("7.1.1: many extensions", &many, 16 * 1007 + 1003, BadRequest),
        ("7.1.2: bare LF for the last line", b"0\r\n\n", 3, BadRequest),
        ("7.1.2: a folded trailer", b"0\r\nx: a\r\n b\r\n\r\n", 9, BadRequest),
        ("6.5.1 of 9110: framing", b"0\r\nContent-Length: 3\r\n\r\n", 3, BadRequest),
        ("6.5.1 of 9110: credentials", b"0\r\nAuthorization: Basic eA==\r\n\r\n", 3, BadRequest),
        ("6.5.1 of 9110: whose word it is", b"0\r\nok: a\r\nX-Buckler-Caller: root\r\n\r\n", 10, BadRequest),
        ("6.5.1 of 9110: the same to CGI", b"0\r\nok: a\r\nx_buckler_caller: root\r\n\r\n", 10, BadRequest),
        ("many trailers", &trailers, 3 + 8 * 6, HeadTooLarge),
        ("a long trailer", &trailer, 3 + 512, HeadTooLarge),
    ];
    let front = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (section, body, at, reason) in cases {
        assert_refused(&[(section, &[front, body].concat(), front.len() + at, reason)]);
    }
}

#[test]
fn bounds_hold_exactly_and_as_early_as_they_are_passed() {
    let with_target =
        |length: usize| format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(length - 1)).into_bytes();
    assert_eq!(tell_whole(&with_target(64)).fault, None);
    let story = tell_whole(&with_target(65)[..69]);
    assert_eq!(story.fault.map(|(at, reason, _)| (at, reason)), Some((4 + 64, Reason::UriTooLong)));

    let with_head = |length: usize| {
        let front = "GET / HTTP/1.0\r\nx: ";
        format!("{front}{}\r\n\r\n", "a".repeat(length - front.len() - 4)).into_bytes()
    };
    assert_eq!(tell_whole(&with_head(512)).fault, None);
    let story = tell_whole(&with_head(513)[..512]);
    assert_eq!(story.fault.map(|(at, reason, _)| (at, reason)), Some((512, Reason::HeadTooLarge)));

    let with_fields =
        |count: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "x: y\r\n".repeat(count)).into_bytes();
    assert_eq!(tell_whole(&with_fields(8)).fault, None);
    let story = tell_whole(&with_fields(9)[..65]);
    assert_eq!(story.fault.map(|(at, reason, _)| (at, reason)), Some((64, Reason::HeadTooLarge)));
}

#[test]
fn a_method_is_no_longer_than_any_that_exists() {
    let head = |length: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(length)).into_bytes();
    assert_eq!(tell_whole(&head(64)).fault, None);
    assert_refused(&[("3", &head(65), 64, Reason::BadRequest), ("3", &[b'M'; 65], 64, Reason::BadRequest)]);
    assert_eq!(tell_whole(&[b'M'; 64]).fault, None);
}
