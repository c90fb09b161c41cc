//! Any bytes as a worker's answer: how it is cut changes nothing of it, no body is longer than it says, and nothing of
//! the framing or of this hop goes on among the fields. A head that passes is one for httparse too.

#![no_main]

use buckler::fields::Fields;
use buckler::forward::http1::body::{Body, Framing, Step};
use buckler::forward::http1::head;
use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Version};
use libfuzzer_sys::fuzz_target;

const MOST: usize = 512;

/// What was understood of a whole stream.
#[derive(Debug, Default, PartialEq)]
struct Story {
    heads: Vec<(u16, Fields)>,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    broken: bool,
}

fuzz_target!(|bytes: &[u8]| {
    // The first bytes say how the rest is cut, and what was asked.
    let Some((cuts, stream)) = bytes.split_at_checked(4) else { return };
    let method = if cuts[0] == 255 { Method::HEAD } else { Method::GET };
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for cut in cuts {
        let (piece, more) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    let whole = tell(&method, [stream]);
    assert_eq!(whole, tell(&method, stream.chunks(1)), "byte by byte");
    assert_eq!(whole, tell(&method, pieces), "in pieces");
});

fn tell<'a>(method: &Method, parts: impl IntoIterator<Item = &'a [u8]>) -> Story {
    let (mut story, mut held, mut body) = (Story::default(), Bytes::new(), None);
    for part in parts {
        held = [&held[..], part].concat().into();
        while body.is_none() {
            let read = head::read(&held, method, MOST);
            as_httparse_has_it(&held, &read);
            match read {
                Ok(Some((head, length))) => {
                    held.advance(length);
                    sound(&head);
                    story.heads.push((head.status.as_u16(), head.fields.clone()));
                    if !head.is_interim() {
                        body = Some((Body::new(head.framing, MOST), head.framing));
                    }
                }
                Ok(None) => break,
                Err(_) => return broken(story),
            }
        }
        let Some((body, framing)) = &mut body else { continue };
        loop {
            match body.next(&mut held) {
                Ok(Step::Data(data)) => {
                    assert!(!data.is_empty() && story.trailers.is_none());
                    story.data.extend_from_slice(&data);
                }
                Ok(Step::Trailers(trailers)) => assert!(story.trailers.replace(trailers).is_none()),
                Ok(Step::More) => {
                    assert!(held.is_empty() && !body.has_ended(), "what is here is taken");
                    break;
                }
                Ok(Step::End) => {
                    assert!(body.has_ended());
                    if let Framing::Length(length) = framing {
                        assert_eq!(*length, story.data.len() as u64);
                    }
                    story.ended = true;
                    return story;
                }
                Err(_) => return broken(story),
            }
        }
    }
    story
}

/// What was understood of a body before it broke depends on where it was cut: a piece may go on before its end is seen.
fn broken(mut story: Story) -> Story {
    story.broken = true;
    story
}

/// A head that passes is one for httparse, and so is a part of one.
fn as_httparse_has_it(bytes: &[u8], read: &Result<Option<(head::Head, usize)>, head::Bad>) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(bytes).ok();
    match read {
        Ok(Some((head, length))) => {
            assert_eq!(status, Some(httparse::Status::Complete(*length)));
            assert_eq!(parsed.code, Some(head.status.as_u16()));
            assert_eq!(parsed.version == Some(1), head.version == Version::HTTP_11);
        }
        Ok(None) => assert_eq!(status, Some(httparse::Status::Partial)),
        Err(_) => {}
    }
}

fn sound(head: &head::Head) {
    let lengths = head.fields.get_all("content-length").count();
    assert!(lengths <= 1);
    if head.status.as_u16() == 101 {
        assert_eq!(head.framing, Framing::None);
        return;
    }
    for gone in ["connection", "keep-alive", "transfer-encoding", "te", "upgrade", "x-buckler-caller"] {
        assert!(!head.fields.contains(gone), "{gone}");
    }
    assert!(head.framing != Framing::Chunked || lengths == 0);
    assert!(!head.keeps || head.framing != Framing::UntilClose);
}
