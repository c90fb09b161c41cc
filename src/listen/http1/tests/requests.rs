//! Requests are understood the same however their bytes come. What is known again of an earlier one is tested in
//! `said_again.rs`.

use http::Method;
use proptest::prelude::*;

use super::*;

/// A request as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Understood {
    method: Method,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

/// Reads requests until the connection ends.
async fn understand(line: &Rc<Line>) -> Vec<Understood> {
    let mut all = Vec::new();
    while let Ok((request, _)) = next(line).await {
        let Request { head, mut body } = request;
        let (mut content, mut trailers) = (Vec::new(), Vec::new());
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.unwrap().into_data() {
                Ok(data) => content.extend_from_slice(&data),
                Err(frame) => trailers = pairs(&Fields::from(&frame.into_trailers().unwrap())),
            }
        }
        assert!(body.is_end_stream());
        drop(body);
        assert!(settles(line).await, "the next request follows");
        assert!(!line.io.borrow().held.is_empty() || line.io.borrow().held.capacity() == 0);
        let (method, target) = (head.method, head.target.path_and_query().to_owned());
        all.push(Understood { method, target, fields: pairs(&head.fields), content, trailers });
    }
    all
}

/// What is understood of a stream that comes in these pieces.
fn understood(stream: &[u8], cuts: &[usize]) -> Vec<Understood> {
    run(async {
        let (line, far) = line();
        tokio::join!(understand(&line), write_in_pieces(far, stream, cuts)).0
    })
}

fn a_request() -> impl Strategy<Value = (Vec<u8>, Understood)> {
    let content = proptest::collection::vec(any::<u8>(), 0..300);
    let chunks = proptest::collection::vec(1_usize..40, 1..5);
    (any::<bool>(), any::<bool>(), content, chunks, "[a-z]{0,90}", any::<bool>()).prop_map(
        |(has_body, chunked, content, sizes, value, has_trailer)| {
            let mut fields =
                vec![("host".to_owned(), b"a".to_vec()), ("x-own".to_owned(), value.clone().into_bytes())];
            let mut bytes =
                format!("PUT /a?{value} HTTP/1.1\r\nHost: a\r\nX-Own:  {value} \r\n").into_bytes();
            let mut trailers = Vec::new();
            let mut sent = Vec::new();
            if has_body && chunked {
                fields.push(("transfer-encoding".to_owned(), b"chunked".to_vec()));
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let (mut rest, mut sizes) = (content.as_slice(), sizes.iter().cycle());
                while !rest.is_empty() {
                    let (chunk, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                    bytes.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                    rest = behind;
                }
                bytes.extend_from_slice(b"0\r\n");
                if has_trailer {
                    bytes.extend_from_slice(b"X-Sum: 7\r\n");
                    trailers.push(("x-sum".to_owned(), b"7".to_vec()));
                }
                bytes.extend_from_slice(b"\r\n");
                sent = content;
            } else if has_body {
                fields.push(("content-length".to_owned(), content.len().to_string().into_bytes()));
                bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
                bytes.extend_from_slice(&content);
                sent = content;
            } else {
                bytes.extend_from_slice(b"\r\n");
            }
            let target = format!("/a?{value}");
            (bytes, Understood { method: Method::PUT, target, fields, content: sent, trailers })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cuts_change_nothing_of_the_requests(
        requests in proptest::collection::vec(a_request(), 1..6),
        cuts in proptest::collection::vec(1_usize..200, 1..8),
    ) {
        let (streams, expected): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        prop_assert_eq!(understood(&streams.concat(), &cuts), expected);
    }
}

#[test]
fn a_body_of_megabytes_comes_through_whole() {
    let content = vec![b'x'; 3 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", content.len());
    let next = b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    let stream = [head.as_bytes(), &content, next].concat();
    let all = understood(&stream, &[100_000, 7, 300_000]);
    assert_eq!(all.len(), 2);
    assert!(all[0].content == content, "{} bytes", all[0].content.len());
    assert_eq!(all[1].target, "/next");
}
