//! Any bytes as a client's stream: how it is cut changes no verdict, what passes is read by the parser behind it as
//! the same request, and whatever passes as a body has the length that it says.

#![no_main]

use buckler::listen::wire::{Event, HeadFacts, Scan, Spans, Stage, Wire, WireBounds};
use buckler::refusal::Reason;
use libfuzzer_sys::fuzz_target;

const BOUNDS: WireBounds = WireBounds { head_bytes: 512, head_fields: 8, uri_bytes: 64 };

/// What happened to a whole stream.
#[derive(Debug)]
struct Story {
    events: Vec<(usize, Event)>,
    /// Where the parts stand of what each event ends.
    spans: Vec<Spans>,
    fault: Option<(usize, Reason, &'static str)>,
    stage: Stage,
    passed: usize,
}

fuzz_target!(|bytes: &[u8]| {
    // The first bytes say how the rest is cut.
    let Some((cuts, stream)) = bytes.split_at_checked(4) else { return };
    let whole = tell([stream]);
    let bytewise = tell(stream.chunks(1));
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(usize::from(*cut % 64 + 1).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    for story in [bytewise, tell(pieces)] {
        assert_eq!(story.events, whole.events);
        assert_eq!(story.spans, whole.spans);
        assert_eq!(story.fault, whole.fault);
        assert_eq!(story.stage, whole.stage);
        assert!(story.passed == whole.passed || (whole.fault.is_some() && story.passed > whole.passed));
    }
    let mut start = 0;
    let mut head = None;
    for (end, event) in &whole.events {
        let part = &stream[start..*end];
        match event {
            Event::Head(facts) => {
                is_read_the_same(part, facts);
                head = Some(facts);
            }
            Event::End => ends_where_it_says(part, head.take().expect("a head comes before an end")),
            Event::More => {}
        }
        start = *end;
    }
});

fn tell<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Story {
    let (mut wire, mut held) = (Wire::new(BOUNDS), Vec::new());
    let mut story =
        Story { events: Vec::new(), spans: Vec::new(), fault: None, stage: Stage::Idle, passed: 0 };
    'pieces: for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match wire.scan(&held) {
                Ok(Scan { pass, event }) => {
                    held.drain(..pass);
                    story.passed += pass;
                    if event == Event::More {
                        break;
                    }
                    story.events.push((story.passed, event));
                    story.spans.push(wire.spans().clone());
                }
                Err(found) => {
                    assert!(found.at <= held.len(), "a fault behind the last byte");
                    assert!(held.get(found.method).is_some() && held.get(found.target).is_some());
                    story.fault = Some((story.passed + found.at, found.refusal.reason, found.refusal.detail));
                    break 'pieces;
                }
            }
        }
        // A part that is too long to pass is refused, so no more than one is ever held.
        assert!(held.len() <= 2 * 1024 + stream_piece(piece), "{} bytes are held", held.len());
    }
    story.stage = wire.stage();
    story
}

const fn stream_piece(piece: &[u8]) -> usize {
    piece.len()
}

fn is_read_the_same(head: &[u8], facts: &HeadFacts) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    let length = request.parse(head).expect("httparse reads what passes");
    assert_eq!(length, httparse::Status::Complete(head.len()));
    assert_eq!(request.version, Some(u8::from(!facts.version_10)));
    http::Method::from_bytes(request.method.unwrap_or_default().as_bytes()).expect("a method");
    http::Uri::try_from(request.path.unwrap_or_default()).expect("a target");
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    for field in request.headers.iter() {
        http::HeaderName::from_bytes(field.name.as_bytes()).expect("a field name");
        http::HeaderValue::from_bytes(field.value).expect("a field value");
    }
    let length = values("content-length");
    let told: Vec<u64> =
        length.iter().map(|value| std::str::from_utf8(value).unwrap().parse().unwrap()).collect();
    assert_eq!(told, facts.content_length.into_iter().collect::<Vec<_>>());
    let codings = values("transfer-encoding");
    assert_eq!(codings.len(), usize::from(facts.chunked));
    assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked")));
    assert!(!facts.chunked || facts.content_length.is_none());
    assert!(values("host").len() == 1 || (facts.version_10 && values("host").is_empty()));
}

/// Judged by a second, simpler reader of bodies.
fn ends_where_it_says(body: &[u8], facts: &HeadFacts) {
    if !facts.chunked {
        assert_eq!(body.len() as u64, facts.content_length.unwrap_or(0));
        return;
    }
    let mut rest = body;
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            panic!("httparse reads another chunk size in {:?}", String::from_utf8_lossy(rest));
        };
        rest = &rest[line..];
        if size == 0 {
            break;
        }
        let (_, behind) = rest.split_at(size as usize);
        rest = behind.strip_prefix(b"\r\n").expect("CRLF behind a chunk's data");
    }
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let trailers = httparse::parse_headers(rest, &mut fields).expect("trailers");
    assert!(matches!(trailers, httparse::Status::Complete((length, _)) if length == rest.len()));
}
