//! Header blocks of the client: requests, and trailers behind their bodies.

use std::rc::Rc;

use http::StatusCode;

use super::{Engine, Leaving};
use crate::fields::Fields;
use crate::listen::frames::Flood;
use crate::listen::http2::code::{
    COMPRESSION_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED,
};
use crate::listen::http2::ends;
use crate::listen::http2::head::{self, Size};
use crate::listen::http2_stream;

impl Engine {
    /// A header block is complete.
    pub(super) fn head(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Flood> {
        let most = self.head_bytes;
        let (mut fields, known) = (head::Block::new(), &mut self.authority);
        self.unpacker
            .unpack(block, |field| fields.take(field, most, known))
            .map_err(|_| Flood::fault(COMPRESSION_ERROR, "a header block that cannot be unpacked"))?;
        let size = fields.size(most)?;
        if id > self.last {
            if self.leaving != Leaving::Told {
                self.last = id;
                return self.request(id, ends, (fields, size));
            }
            return Ok(());
        }
        match self.wire.find(id) {
            Some(stream) => {
                let trailers = fields.trailers(self.head_fields).filter(|_| ends && size == Size::Fits);
                let malformed = trailers.is_none() || stream.end(trailers).is_err();
                self.stream_ends(&stream, malformed);
                Ok(())
            }
            None if self.wire.has_reset(id) => Ok(()),
            None => Err(Flood::fault(STREAM_CLOSED, "HEADERS on a stream that has ended")),
        }
    }

    /// A request has come.
    fn request(&mut self, id: u32, ends: bool, (fields, size): (head::Block, Size)) -> Result<(), Flood> {
        if self.wire.open_streams() >= self.streams {
            self.wire.refuse(id, REFUSED_STREAM);
            return Ok(());
        }
        if size == Size::TooLarge {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            self.wire.send_head(id, (status, &Fields::default()), true);
            if !ends {
                self.wire.refuse(id, NO_ERROR);
            }
            let now = self.wire.visitor.now().nanos;
            return self.wire.frames.borrow_mut().head_too_large(now);
        }
        let length = fields.length();
        let request = fields.request().filter(|_| !ends || length.is_none_or(|length| length == 0));
        let Some(request) = request else {
            self.wire.refuse(id, PROTOCOL_ERROR);
            return Ok(());
        };
        if self.begun.len() >= self.streams {
            self.drop_gone();
        }
        let stream = self.wire.open(id, length, ends);
        self.begun.push((request, ends::of(&self.wire, &stream)));
        Ok(())
    }

    /// Begins the requests that are still wanted.
    pub(super) fn begin(&mut self) {
        self.worked |= !self.begun.is_empty();
        self.drop_gone();
        for (request, (sending, receiving)) in self.begun.drain(..) {
            self.brought += 1;
            self.wire.frames.borrow_mut().handed_out(sending.id());
            let visitor = Rc::clone(&self.wire.visitor);
            // In a box: a task is copied several times until it runs.
            let serving = Box::pin(http2_stream::serve(visitor, request, (sending, receiving)));
            tokio::task::spawn_local(serving);
        }
        self.begun.shrink_to(self.streams);
    }

    /// Lets go of the requests that are no more: those that the client has taken back, and those that were reset here,
    /// which `frames` counts.
    fn drop_gone(&mut self) {
        let mut gone = 0;
        let wire = &self.wire;
        self.begun.retain(|(_, (sending, _))| {
            gone += u32::from(sending.is_gone() && !wire.has_reset(sending.id()));
            !sending.is_gone()
        });
        if gone > 0 {
            self.wire.visitor.desk().scribe.refused_streams(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::frames::{FrameBounds, RST_STREAM};
    use crate::listen::http1::tests::{connection, place, run};
    use crate::listen::http2::wire::Wire;

    /// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: a`.
    const GET: &[u8] = b"\x82\x86\x84\x01\x01a";
    const BOUNDS: FrameBounds =
        FrameBounds { head_bytes: 32 << 10, head_fields: 100, streams: 100, frame_bytes: 16_384 };

    fn engine() -> Engine {
        let (_, visitor, _) = connection(&place());
        Engine::new(Wire::new(visitor, BOUNDS), &BOUNDS)
    }

    #[test]
    fn heads_that_are_too_large_have_a_budget() {
        run(async {
            let mut engine = engine();
            // A field of 60,000 bytes, which is twice what is allowed.
            let large = [GET, b"\x00\x01x\x7f\xe1\xd3\x03", &[b'a'; 60_000]].concat();
            let answered = (0..10_000).take_while(|n| engine.head(2 * n + 1, true, &large).is_ok()).count();
            assert!((100..2_000).contains(&answered), "{answered}");
        });
    }

    #[test]
    fn requests_that_are_taken_back_do_not_pile_up_within_a_read() {
        run(async {
            let mut engine = engine();
            engine.head(1, true, GET).unwrap();
            for n in 1..1000 {
                engine.head(2 * n + 1, true, GET).unwrap();
                assert!(engine.begun.len() <= engine.streams, "{} heads are kept", engine.begun.len());
                engine.frame((RST_STREAM, 0, 2 * n + 1), &[0, 0, 0, 8]).unwrap();
            }
            engine.begin();
            assert!(engine.begun.capacity() <= engine.streams);
            assert_eq!(engine.wire.open_streams(), 1, "the one that is wanted");
        });
    }
}
