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
                self.request(id, ends, (fields, size));
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
    fn request(&mut self, id: u32, ends: bool, (fields, size): (head::Block, Size)) {
        if self.wire.open_streams() >= self.streams {
            return self.wire.refuse(id, REFUSED_STREAM);
        }
        if size == Size::TooLarge {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            self.wire.send_head(id, (status, &Fields::default()), true);
            if !ends {
                self.wire.refuse(id, NO_ERROR);
            }
            return;
        }
        let length = fields.length();
        let request = fields.request().filter(|_| !ends || length.is_none_or(|length| length == 0));
        let Some(request) = request else { return self.wire.refuse(id, PROTOCOL_ERROR) };
        let stream = self.wire.open(id, length, ends);
        self.begun.push((request, ends::of(&self.wire, &stream)));
    }

    /// Begins the requests that are still wanted.
    pub(super) fn begin(&mut self) {
        self.worked |= !self.begun.is_empty();
        let mut gone = 0;
        for (request, (sending, receiving)) in self.begun.drain(..) {
            if sending.is_gone() {
                gone += 1;
                continue;
            }
            self.wire.frames.borrow_mut().handed_out(sending.id());
            let visitor = Rc::clone(&self.wire.visitor);
            // In a box: a task is copied several times until it runs.
            let serving = Box::pin(http2_stream::serve(visitor, request, (sending, receiving)));
            tokio::task::spawn_local(serving);
        }
        if gone > 0 {
            self.wire.visitor.desk().scribe.refused_streams(gone);
        }
    }
}
