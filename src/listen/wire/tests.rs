//! What passes and what does not, one line each with the section that says so (RFC 9112 unless another is named);
//! then what holds for every input. Here a whole stream is told of.

mod every_stream;
mod refused;
mod sound;
mod stages;

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
