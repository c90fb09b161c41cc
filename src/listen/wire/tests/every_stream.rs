//! What holds for every input: cuts change nothing, nothing panics, and what passes is read by httparse and http too.

use proptest::prelude::*;

use super::*;

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
