//! DATA of the client (RFC 9113 section 6.1): charged to its windows as it says that it is long, and handed to its
//! stream as it comes.

use std::rc::Rc;

use super::Engine;
use crate::forward::source::Interrupted;
use crate::listen::frames::Flood;
use crate::listen::http2::code::{FLOW_CONTROL_ERROR, PROTOCOL_ERROR, STREAM_CLOSED};
use crate::listen::http2::stream::Stream;

/// A frame of DATA that is under way.
#[derive(Debug)]
pub(super) struct Data {
    stream: Option<Rc<Stream>>,
    pub(super) left: usize,
    padding: usize,
    ends: bool,
}

impl Engine {
    /// A frame of DATA begins: its length, its padding, and how many bytes of it were taken to know that.
    pub(super) fn data_begins(
        &mut self,
        id: u32,
        (length, padding, before): (u32, u32, usize),
        ends: bool,
    ) -> Result<(), Flood> {
        if !self.wire.charge(length) {
            return Err(Flood::fault(FLOW_CONTROL_ERROR, "more DATA than the connection's window allows"));
        }
        let mut stream = self.wire.find(id);
        match &stream {
            Some(open) if !open.charge(length) => {
                self.wire.reset(open, FLOW_CONTROL_ERROR, Interrupted::Gone);
                stream = None;
            }
            Some(_) => {}
            // One behind our GOAWAY, or whose end crossed this.
            None if id > self.last || self.wire.has_reset(id) => {}
            None => self.wire.refuse(id, STREAM_CLOSED),
        }
        // Longer than its frame it is found out later.
        let padding = padding.min(length.saturating_sub(u32::from(before > 0)));
        // Of padding nothing is kept.
        self.wire.release(padding + u32::from(before > 0), stream.as_deref());
        let left = (length as usize).saturating_sub(before);
        self.data = Some(Data { stream, left, padding: padding as usize, ends });
        Ok(())
    }

    /// A piece of DATA, and perhaps its end.
    pub(super) fn data(&mut self, piece: &[u8]) {
        let Some(mut data) = self.data.take() else { return };
        // What is left behind this piece ends with the padding.
        let content = (piece.len() + data.left).saturating_sub(data.padding).min(piece.len());
        let content = &piece[..content];
        let kept = data.stream.as_ref().map_or(Ok(false), |stream| stream.push(content));
        if !matches!(kept, Ok(true)) && !content.is_empty() {
            self.wire.release(u32::try_from(content.len()).unwrap_or(u32::MAX), None);
        }
        let ends = data.ends && data.left == 0;
        if let Some(stream) = data.stream.take_if(|_| ends || kept.is_err()) {
            let malformed = kept.is_err() || stream.end(None).is_err();
            self.stream_ends(&stream, malformed);
        }
        if data.left > 0 {
            self.data = Some(data);
        }
    }

    /// The client's side of a stream has ended.
    pub(super) fn stream_ends(&self, stream: &Stream, malformed: bool) {
        if malformed {
            self.wire.reset(stream, PROTOCOL_ERROR, Interrupted::Malformed);
        } else if stream.is_closed() {
            self.wire.forget(stream.id);
        }
    }
}
