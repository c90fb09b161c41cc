//! What passes and what does not, one line each with the section that says so (RFC 9112 unless another is named);
//! then what holds for every input: cuts change nothing, nothing panics, and what passes is read by httparse too.

use proptest::prelude::*;

use super::*;

const BOUNDS: WireBounds = WireBounds { head_bytes: 512, head_fields: 8, uri_bytes: 64 };

/// What happened to a whole stream.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    events: Vec<(usize, Event)>,
    /// Those of each head, and after each end those of the trailer section, if there was one.
    spans: Vec<Spans>,
    passed: usize,
    fault: Option<(usize, Reason, &'static str)>,
    /// What the log would have of it: method and target.
    told: Option<(Vec<u8>, Vec<u8>)>,
    stage: Stage,
}

/// Feeds `pieces` one after another as a socket would.
fn tell<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Story {
    let (mut wire, mut held) = (Wire::new(BOUNDS), Vec::new());
    let (mut events, mut spans, mut passed) = (Vec::new(), Vec::new(), 0);
    let (mut fault, mut told) = (None, None);
    'pieces: for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match wire.scan(&held) {
                Ok(Scan { pass, event }) => {
                    held.drain(..pass);
                    passed += pass;
                    if event == Event::More {
                        break;
                    }
                    events.push((passed, event));
                    spans.push(wire.spans().clone());
                }
                Err(found) => {
                    fault = Some((passed + found.at, found.refusal.reason, found.refusal.detail));
                    told = Some((held[found.method].to_vec(), held[found.target].to_vec()));
                    break 'pieces;
                }
            }
        }
    }
    Story { events, spans, passed, fault, told, stage: wire.stage() }
}

fn tell_whole(stream: &[u8]) -> Story {
    tell([stream])
}

fn facts(stream: &[u8]) -> HeadFacts {
    let story = tell_whole(stream);
    match story.events.first() {
        Some((_, Event::Head(facts))) => *facts,
        _ => panic!("no head in {story:?}"),
    }
}

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

#[test]
fn the_stage_follows_the_stream() {
    let mut wire = Wire::new(BOUNDS);
    assert_eq!(wire.stage(), Stage::Idle);
    let after_empty_line = wire.scan(b"\r\n").map(|scan| scan.pass).unwrap();
    assert_eq!((after_empty_line, wire.stage()), (0, Stage::Idle), "an empty line begins no request");
    wire.scan(b"\r\nG").unwrap();
    assert_eq!(wire.stage(), Stage::Head);
    let head = b"\r\nGET / HTTP/1.0\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(wire.scan(head).unwrap().pass, head.len());
    assert_eq!(wire.stage(), Stage::Body);
    wire.scan(b"a").unwrap();
    assert_eq!(wire.stage(), Stage::Body);
    wire.pass_end();
    assert_eq!(wire.stage(), Stage::Body, "what has bytes to come does not end before they came");
    assert_eq!(wire.scan(b"b").unwrap(), Scan { pass: 1, event: Event::End });
    assert_eq!(wire.stage(), Stage::Idle);
    wire.scan(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(wire.stage(), Stage::Body);
    wire.pass_end();
    assert_eq!(wire.stage(), Stage::Idle);
    assert!(matches!(wire.scan(b"GET / HTTP/1.0\r\n\r\n").unwrap().event, Event::Head(_)));
}

#[test]
fn a_fault_stays_and_shows_where_method_and_target_stand() {
    let mut wire = Wire::new(BOUNDS);
    let held = b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n";
    for _ in 0..2 {
        let fault = wire.scan(held).unwrap_err();
        assert_eq!((&held[fault.method], &held[fault.target]), (b"GET".as_slice(), b"/a".as_slice()));
        assert_eq!(fault.at, 21);
    }
    let early = Wire::new(BOUNDS).scan(b"\x16\x03").unwrap_err();
    assert!(early.method.is_empty() && early.target.is_empty());
}

#[test]
fn a_held_buffer_that_shrinks_against_the_contract_is_waited_for() {
    let mut wire = Wire::new(BOUNDS);
    wire.scan(b"GET / HTTP/1.1\r\nHost: a\r\nx: y").unwrap();
    assert_eq!(wire.scan(b"GET").unwrap(), Scan { pass: 0, event: Event::More });
}

#[test]
fn a_length_beyond_memory_is_only_counted() {
    let mut wire = Wire::new(BOUNDS);
    let head = format!("PUT / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", i64::MAX);
    wire.scan(head.as_bytes()).unwrap();
    assert_eq!(wire.scan(&[0; 4096]).unwrap(), Scan { pass: 4096, event: Event::More });
}

/// Pieces of requests, good and bad, so that random streams get deep into the machine.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"GET http://a/<| HTTP/1.0\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"x-y: z\t\xff\r\n",
        b"x-Y:\t a long value, \tof more than a word \t\r\n",
        b"x: \r\n",
        b"expect:100-continue\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"5;a=\"b\\\"\"\r\n12345\r\n",
        b"1;",
        b":",
        b" ",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let piece = prop_oneof![
        6 => proptest::sample::select(parts).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    let pieces = proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat());
    // Some bytes of it come out as others.
    let faults = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (pieces, faults).prop_map(|(mut stream, faults)| {
        for (at, byte) in faults {
            if !stream.is_empty() {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
        }
        stream
    })
}

/// Requests that say again what was said before, or nearly that.
fn repetitive_stream() -> impl Strategy<Value = Vec<u8>> {
    #[rustfmt::skip]
    let lines = vec![
        "GET / HTTP/1.1", "GET / HTTP/1.1", "HEAD /abc?d HTTP/1.1", "\r\nGET http://b/ HTTP/1.1", "GET / HTTP/1.0",
        "GET /|a HTTP/1.1", "GET a HTTP/1.1", "TRACE / HTTP/1.1", "GET / HTTP/1.2",
    ];
    #[rustfmt::skip]
    let sections = vec![
        "Host: a\r\n\r\n", "Host: a\r\nx:y\r\n\r\n", "Host: a\r\nx:z\r\n\r\n", "Host: a\r\nx:y\r\nHost: a\r\n\r\n",
        "\r\n", "x: y\r\n\r\n", "Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        "Host: a\r\nContent-Length: 0\r\n\r\n", "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
        "a: b\r\nc: d\r\ne: f\r\ng: h\r\ni: j\r\nk: l\r\nm: n\r\nHost: a\r\n\r\n", "Host : a\r\n\r\n",
        "Host: a\r\nX-Key: abc\r\nContent-Length: 0\r\nUser-Agent: a/1 (b)\r\ntrace:0123456789\r\n\r\n",
    ];
    // Mostly the section as it is, or with a value of another caller's; sometimes with any other byte in it.
    let byte = prop_oneof![4 => b'a'..=b'f', 2 => proptest::sample::select(b" \t\r\n:\0\x7f~".to_vec()), 1 => any::<u8>()];
    let change = proptest::option::weighted(0.3, (any::<prop::sample::Index>(), byte));
    let run = (
        proptest::sample::select(sections),
        proptest::collection::vec((proptest::sample::select(lines), change), 1..8),
    );
    let run = run.prop_map(|(section, heads)| {
        let heads = heads.into_iter().map(|(line, change)| {
            let mut section = section.as_bytes().to_vec();
            if let Some((at, byte)) = change {
                let at = at.index(section.len());
                section[at] = byte;
            }
            [line.as_bytes(), b"\r\n", &section].concat()
        });
        heads.collect::<Vec<_>>().concat()
    });
    proptest::collection::vec(run, 1..6).prop_map(|runs| runs.concat())
}

proptest! {
    #[test]
    fn cuts_change_neither_verdicts_nor_positions(
        // Byte by byte no fields are known again. The others may be.
        stream in prop_oneof![stream(), repetitive_stream()],
        cuts in proptest::collection::vec(prop_oneof![1_usize..40, 1_usize..400], 1..12),
    ) {
        let whole = tell_whole(&stream);
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        for length in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*length).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        let pieced = tell(pieces);
        let bytewise = tell(stream.chunks(1));
        for story in [pieced, bytewise] {
            prop_assert_eq!(&story.events, &whole.events);
            prop_assert_eq!(&story.spans, &whole.spans);
            prop_assert_eq!(story.fault, whole.fault);
            prop_assert_eq!(&story.told, &whole.told);
            prop_assert_eq!(story.stage, whole.stage);
            // In front of a fault, parts that came alone may have passed already; otherwise all that may pass did.
            prop_assert!(story.passed == whole.passed || (whole.fault.is_some() && story.passed > whole.passed));
        }
    }

    #[test]
    fn a_head_like_the_one_before_is_read_as_on_a_connection_of_its_own(
        heads in proptest::collection::vec(
            proptest::collection::vec(
                (
                    any::<prop::sample::Index>(),
                    prop_oneof![12 => b'!'..=b'~', 1 => proptest::sample::select(b" \t\r\n:\0\x7f".to_vec()), 1 => any::<u8>()],
                ),
                0..4,
            ),
            1..12,
        ),
    ) {
        const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: abcdefghijklm\r\nTE: trailers\r\nContent-Length: 0\r\n\
            User-Agent: agent/1.0 (one; of many)\r\ntrace:0123456789abcdef-0123456789abcdef\r\n\r\n";
        let mut wire = Wire::new(BOUNDS);
        for changes in heads {
            let mut head = HEAD.to_vec();
            // Most of them where a value stands that may differ.
            for (at, byte) in changes {
                let places = if byte == b'!' { 16..HEAD.len() } else { 32..HEAD.len() - 4 };
                head[places.start + at.index(places.len())] = byte;
            }
            let mut alone = Wire::new(BOUNDS);
            match (wire.scan(&head), alone.scan(&head)) {
                (Ok(one), Ok(other)) => {
                    prop_assert_eq!(one, other);
                    prop_assert_eq!(wire.spans(), alone.spans());
                    wire.pass_end();
                    if wire.stage() != Stage::Idle {
                        break;
                    }
                }
                (Err(one), Err(other)) => {
                    prop_assert_eq!((one.at, one.refusal.detail), (other.at, other.refusal.detail));
                    break;
                }
                (one, other) => prop_assert!(false, "{one:?} {other:?}"),
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        tell_whole(&bytes);
    }

    #[test]
    fn what_passes_is_read_by_httparse_and_http_too(stream in prop_oneof![stream(), repetitive_stream()]) {
        let mut start = 0;
        let story = tell_whole(&stream);
        for ((end, event), spans) in story.events.into_iter().zip(story.spans) {
            if let Event::Head(facts) = event {
                let mut fields = [httparse::EMPTY_HEADER; 16];
                let mut request = httparse::Request::new(&mut fields);
                let length = request.parse(&stream[start..end]).expect("httparse reads what passes");
                prop_assert_eq!(length, httparse::Status::Complete(end - start));
                prop_assert_eq!(request.version, Some(u8::from(!facts.version_10)));
                prop_assert!(http::Uri::try_from(request.path.unwrap_or_default()).is_ok());
                let head = &stream[start..end];
                prop_assert_eq!(request.method.map(str::as_bytes), Some(&head[spans.method]));
                prop_assert_eq!(request.path.map(str::as_bytes), Some(&head[spans.target]));
                prop_assert_eq!(request.headers.len(), spans.fields.len());
                let section = &head[spans.section..];
                for (field, FieldSpan { name, value }) in request.headers.iter().zip(spans.fields) {
                    prop_assert_eq!((field.name.as_bytes(), field.value), (&section[name], &section[value]));
                }
            }
            start = end;
        }
    }

    #[test]
    fn what_passes_a_target_is_read_by_http(target in "[!-~]{0,20}") {
        let stream = format!("GET /{target} HTTP/1.0\r\n\r\n");
        if tell_whole(stream.as_bytes()).fault.is_none() {
            let read = http::Uri::try_from(format!("/{target}"));
            prop_assert!(read.is_ok());
        }
    }
}
