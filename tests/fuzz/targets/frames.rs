//! Any bytes as the frames of a connection, both ways: how they are cut changes no verdict, a second and simpler reader
//! of frames agrees on where they begin, and what is remembered stays small.

#![no_main]

use buckler::listen::frames::{Flood, FrameBounds, Frames, PREFACE};
use libfuzzer_sys::fuzz_target;

const BOUNDS: FrameBounds = FrameBounds { head_bytes: 512, head_fields: 8, streams: 4, frame_bytes: 16_384 };
/// More streams than this are never remembered: those allowed, and 4096 opened by a client that has seen no SETTINGS.
const MOST_STREAMS: usize = 4 + 4096;

/// What is known at the end of a stream of bytes.
#[derive(Debug, PartialEq)]
struct Story {
    flood: Option<Flood>,
    head_since: Option<u64>,
    open_streams: usize,
}

fuzz_target!(|bytes: &[u8]| {
    // The first bytes say how the rest is cut, and how much of it goes the other way first.
    let Some((cuts, rest)) = bytes.split_at_checked(4) else { return };
    let (sent, received) = rest.split_at(rest.len().min(usize::from(cuts[3])));
    let whole = tell(sent, [received]);
    assert_eq!(tell(sent, received.chunks(1)), whole);
    let (mut pieces, mut left) = (Vec::new(), received);
    for cut in cuts.iter().cycle() {
        if left.is_empty() {
            break;
        }
        let (piece, behind) = left.split_at(usize::from(*cut % 64 + 1).min(left.len()));
        pieces.push(piece);
        left = behind;
    }
    assert_eq!(tell(sent, pieces), whole);
    if whole.flood.is_none() {
        assert_eq!(whole.head_since.is_none(), is_between_heads(received), "{whole:?}");
    }
});

fn tell<'a>(sent: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> Story {
    let mut frames = Frames::new(BOUNDS, 0);
    let _ = frames.received(PREFACE, 0);
    let mut flood = frames.sent(sent, 1).err();
    for piece in pieces {
        if let Err(found) = frames.received(piece, 2) {
            assert_eq!(frames.received(b"x", 3), Err(found), "a verdict stays");
            flood = Some(found);
            break;
        }
        assert!(frames.open_streams() <= MOST_STREAMS);
    }
    let done = flood.is_some();
    Story {
        flood,
        head_since: frames.head_since().filter(|_| !done),
        open_streams: if done { 0 } else { frames.open_streams() },
    }
}

/// Whether SETTINGS came, no header block is open, and the last frame is complete or DATA whose head is complete.
fn is_between_heads(mut bytes: &[u8]) -> bool {
    let (mut settings, mut block) = (false, false);
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(behind) = rest.get(length..) else { return settings && !block && *kind == 0 };
        settings |= *kind == 4;
        if matches!(kind, 1 | 9) {
            block = flags & 4 == 0;
        }
        bytes = behind;
    }
    settings && !block && bytes.is_empty()
}
