//! The guard as clients meet it: faults, floods, and honest work of which none may be taken for a flood.
//! Here the frames are made.

mod every_stream;
mod faults;
mod floods;
mod honest;
mod readings;

use super::*;

const BOUNDS: FrameBounds =
    FrameBounds { head_bytes: 32 << 10, head_fields: 100, streams: 100, frame_bytes: 16_384 };
const SECOND: u64 = 1_000_000_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn headers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x82, 0x84, 0x86])
}

fn open_headers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &[0x83, 0x84, 0x86])
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A connection whose client has sent its preface and an empty SETTINGS frame.
fn begun() -> Frames {
    let mut frames = Frames::new(BOUNDS, 0);
    frames.received(PREFACE, 0).unwrap();
    frames.received(&frame(SETTINGS, 0, 0, &[]), 0).unwrap();
    frames
}

/// What a sound connection says to these frames, all at one time.
fn judge(parts: &[Vec<u8>]) -> Result<(), Flood> {
    let mut frames = begun();
    parts.iter().try_for_each(|part| frames.received(part, SECOND))
}

const fn odd(count: u32) -> u32 {
    2 * count + 1
}
