//! The inward side of an HTTP/2 connection: from the client's bytes, which [`super::super::frames`] has judged, to
//! requests on streams and to what the connection answers by itself.

mod data;
mod heads;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::uri::Authority;
use tokio::io::{AsyncRead, ReadBuf};

use super::super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Flood, FrameBounds, GOAWAY, HEADERS, PADDED, PING,
    PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY,
};
use super::super::hpack::Unpacker;
use super::super::transport::Transport;
use super::code::NO_ERROR;
use super::wire::Wire;
use super::{Receiving, Sending};
use crate::forward::source::Interrupted;
use crate::message::RequestHead;
use data::Data;

/// How much is read at once.
const READ: usize = 32 * 1024;
/// How often that is done before the streams have their turn: otherwise a client that is fast would fill every window
/// before anybody looks.
const READS_PER_TURN: u32 = 4;
/// Bytes of a frame's head.
const HEAD: usize = 9;
/// What comes back with the client's answer to our PING that goes with GOAWAY.
const GOODBYE: [u8; 8] = *b"buckler!";
/// More streams than there are (RFC 9113 section 6.8).
const EVERY_STREAM: u32 = 0x7fff_ffff;

thread_local! {
    /// What the connections of a shard read into, one after another.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How far a connection has come in ending well (RFC 9113 section 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// The client was told to open no more streams; its answer to PING shows that it knows.
    Asked,
    /// It was told which was the last.
    Told,
}

/// The inward side of a connection.
#[derive(Debug)]
pub(super) struct Engine {
    wire: Rc<Wire>,
    /// `bounds.head_bytes` and `bounds.streams`, as the client was told: a reload does not change what it was.
    head_bytes: usize,
    /// `bounds.head_fields`, for trailers; a request's are counted where it is judged.
    head_fields: usize,
    streams: usize,
    unpacker: Unpacker,
    /// That of the last request.
    authority: Option<Authority>,
    /// Of the preface.
    awaited: usize,
    /// The beginning of a frame that is not complete. A frame of DATA is never here.
    rest: Vec<u8>,
    block: Option<Block>,
    data: Option<Data>,
    /// Requests that came in this turn. Those that the client has taken back by its end never begin.
    begun: Vec<Begun>,
    /// The last stream that the client opened.
    last: u32,
    leaving: Leaving,
    client_leaves: bool,
    /// Nothing was read, since too much waited to be written.
    held: bool,
    /// When that was last so (nanoseconds of `Moment`).
    held_until: u64,
    /// When something last came (nanoseconds of `Moment`).
    read_at: u64,
    /// Requests have begun since this was last asked.
    worked: bool,
    /// How many have in all.
    brought: u64,
}

/// A request, what it asks for beside HTTP itself, and the ends of its stream.
type Begun = ((RequestHead, Option<Bytes>), (Sending, Receiving));

/// A header block that has not ended.
#[derive(Debug)]
struct Block {
    ends: bool,
    bytes: Vec<u8>,
}

impl Engine {
    pub(super) const fn new(wire: Rc<Wire>, bounds: &FrameBounds) -> Self {
        Self {
            wire,
            head_bytes: bounds.head_bytes,
            head_fields: bounds.head_fields,
            streams: bounds.streams as usize,
            unpacker: Unpacker::new(),
            authority: None,
            awaited: PREFACE.len(),
            rest: Vec::new(),
            block: None,
            data: None,
            begun: Vec::new(),
            last: 0,
            leaving: Leaving::No,
            client_leaves: false,
            held: false,
            held_until: 0,
            read_at: 0,
            worked: false,
            brought: 0,
        }
    }

    /// Reads what has come, as much as one turn may. Ready: no more will come.
    pub(super) fn poll_read(&mut self, stream: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = SCRATCH.take();
        scratch.resize(READ, 0);
        let polled = self.poll_read_into(stream, &mut scratch, cx);
        SCRATCH.set(scratch);
        if polled.is_ready() || self.wire.has_flood() {
            // Nobody would get their answers.
            self.begun.clear();
        }
        self.begin();
        polled
    }

    fn poll_read_into(
        &mut self,
        stream: &mut Transport,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.was_held();
        for _ in 0..READS_PER_TURN {
            if self.wire.is_full() {
                self.held = true;
                return Poll::Pending;
            }
            let mut buf = ReadBuf::new(scratch);
            let polled = Pin::new(&mut *stream).poll_read(cx, &mut buf);
            match polled {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                polled => return polled,
            }
            let now = self.wire.visitor.refresh_clock().nanos;
            self.read_at = now;
            let mut verdict = self.wire.frames.borrow_mut().received(buf.filled(), now);
            if verdict.is_ok() {
                verdict = self.take(buf.filled());
            }
            if verdict.is_err() {
                self.wire.saw(verdict);
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether nothing was read since too much waited to be written. Told once.
    pub(super) fn was_held(&mut self) -> bool {
        if self.held {
            self.held_until = self.wire.visitor.refresh_clock().nanos;
        }
        std::mem::take(&mut self.held)
    }

    /// When a head that began at `since` began to be waited for: not while nothing was read. None: nothing is.
    pub(super) fn head_awaited(&self, since: u64) -> Option<u64> {
        (!self.held).then_some(since.max(self.held_until))
    }

    /// When something last came (nanoseconds of `Moment`); 0: never.
    pub(super) const fn read_at(&self) -> u64 {
        self.read_at
    }

    /// Bytes that are kept of frames that are not complete.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.rest.capacity() + self.block.as_ref().map_or(0, |block| block.bytes.capacity())
    }

    /// Whether requests have begun. Told once.
    pub(super) fn has_worked(&mut self) -> bool {
        std::mem::take(&mut self.worked)
    }

    /// How many requests the client has brought that were not taken back at once: their tasks need not have run yet.
    pub(super) const fn brought(&self) -> u64 {
        self.brought
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        let preface = self.awaited.min(bytes.len());
        self.awaited -= preface;
        let bytes = &bytes[preface..];
        if self.rest.is_empty() {
            let left = self.frames(bytes)?;
            self.rest.extend_from_slice(left);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(bytes);
        let left = self.frames(&whole)?.len();
        whole.drain(..whole.len() - left);
        if !whole.is_empty() {
            self.rest = whole;
        }
        Ok(())
    }

    /// Takes what is complete; the rest comes back.
    fn frames<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Flood> {
        loop {
            if let Some(data) = &mut self.data {
                if bytes.is_empty() && data.left > 0 {
                    return Ok(bytes);
                }
                let n = data.left.min(bytes.len());
                let (piece, behind) = bytes.split_at(n);
                data.left -= n;
                bytes = behind;
                self.data(piece);
                if self.data.is_some() {
                    return Ok(bytes);
                }
            }
            let Some((head, payload)) = bytes.split_first_chunk::<HEAD>() else { return Ok(bytes) };
            let [a, b, c, kind, flags, d, e, f, g] = *head;
            let length = u32::from_be_bytes([0, a, b, c]);
            let stream = u32::from_be_bytes([d, e, f, g]) & EVERY_STREAM;
            if kind == DATA {
                let (padding, before) = match payload.first() {
                    _ if flags & PADDED == 0 => (0, 0),
                    Some(padding) => (u32::from(*padding), 1),
                    None => return Ok(bytes),
                };
                bytes = &payload[before..];
                self.data_begins(stream, (length, padding, before), flags & END_STREAM != 0)?;
                continue;
            }
            let Some((payload, behind)) = payload.split_at_checked(length as usize) else { return Ok(bytes) };
            self.frame((kind, flags, stream), payload)?;
            bytes = behind;
        }
    }

    fn frame(&mut self, (kind, flags, stream): (u8, u8, u32), mut payload: &[u8]) -> Result<(), Flood> {
        match kind {
            HEADERS => {
                let mut padding = 0;
                if flags & PADDED != 0 && payload.has_remaining() {
                    padding = usize::from(payload.get_u8());
                }
                let priority = if flags & WITH_PRIORITY != 0 { 5 } else { 0 };
                // The padding is not longer than its frame.
                let block = payload.get(priority..payload.len().saturating_sub(padding)).unwrap_or_default();
                let ends = flags & END_STREAM != 0;
                if flags & END_HEADERS != 0 {
                    return self.head(stream, ends, block);
                }
                self.block = Some(Block { ends, bytes: block.to_vec() });
            }
            CONTINUATION => {
                let Some(mut block) = self.block.take() else { return Ok(()) };
                block.bytes.extend_from_slice(payload);
                if flags & END_HEADERS != 0 {
                    return self.head(stream, block.ends, &block.bytes);
                }
                self.block = Some(block);
            }
            RST_STREAM => {
                if let Some(stream) = self.wire.forget(stream) {
                    stream.interrupt(Interrupted::Gone);
                }
            }
            SETTINGS if flags & ACK == 0 => {
                for entry in payload.chunks_exact(6) {
                    let mut entry = entry;
                    self.wire.set(entry.get_u16(), entry.get_u32())?;
                }
                self.wire.say(SETTINGS, ACK, &[]);
            }
            PING if flags & ACK == 0 => self.wire.say(PING, ACK, payload),
            PING if self.leaving == Leaving::Asked && payload == GOODBYE => self.tell_last(),
            GOAWAY => self.client_leaves = true,
            WINDOW_UPDATE if payload.len() == 4 => {
                return self.wire.widen(stream, payload.get_u32() & EVERY_STREAM);
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks the client to leave: what it has asked so far is answered.
    pub(super) fn ask_to_leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Asked;
            self.wire.say(GOAWAY, 0, &goaway(EVERY_STREAM, NO_ERROR));
            self.wire.say(PING, 0, &GOODBYE);
        }
    }

    /// The client was asked and its answer is still awaited.
    pub(super) fn waits_for_word(&self) -> bool {
        self.leaving == Leaving::Asked
    }

    /// Tells the client which stream was the last: what it opens from now on is not answered.
    pub(super) fn tell_last(&mut self) {
        self.leaving = Leaving::Told;
        self.wire.say(GOAWAY, 0, &goaway(self.last, NO_ERROR));
    }

    /// Nothing is asked for a while: what is there for requests is let go.
    pub(super) fn rest(&mut self) {
        self.begun = Vec::new();
        self.rest.shrink_to_fit();
        self.unpacker.rest();
        self.authority = None;
    }

    /// Ends the connection.
    pub(super) fn end(&self, code: u32) {
        self.wire.say_last(&goaway(self.last, code));
    }

    /// Whether the client or we have said goodbye, and nothing is under way any more.
    pub(super) fn is_over(&self) -> bool {
        (self.client_leaves || self.leaving == Leaving::Told) && self.wire.open_streams() == 0
    }
}

/// RFC 9113 section 6.8.
fn goaway(last: u32, code: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (last.to_be_bytes(), code.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}
