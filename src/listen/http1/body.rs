//! A request's body as it comes over a connection of HTTP/1.1: judged and taken out of its framing by the wire, read
//! straight into the buffer that it goes on in, and told to wait for nothing but the client.

use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;

use super::line::{Io, Line, Phase};
use crate::fields::FieldSpan;
use crate::forward::source::{self, ClientBody};
use crate::inbound::Visitor;
use crate::listen::transport::Arriving;
use crate::listen::wire::{PartKind, Stage};
use crate::refusal::{Reason, Refusal};

/// The most that is read at once, in bytes.
const READ_MOST: usize = 64 * 1024;
/// The same of a body in chunks until one read has brought much: most are small, and some drip.
const READ_FIRST: usize = 8 * 1024;
/// With less room than this the buffer is made larger, or used again from its beginning.
const READ_LEAST: usize = 4 * 1024;

type Piece = Option<Result<Frame<Bytes>, Refusal>>;

/// The body of the request that its connection serves.
pub(super) struct RequestBody {
    line: Rc<Line>,
    /// What is to come, if the head says so.
    left: Option<u64>,
    ended: bool,
}

impl RequestBody {
    pub(super) const fn new(line: Rc<Line>, length: Option<u64>) -> Self {
        Self { line, left: length, ended: false }
    }
}

/// The connection has this body, so it is not told here.
impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("left", &self.left).finish_non_exhaustive()
    }
}

impl ClientBody for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        if self.ended {
            return Poll::Ready(None);
        }
        let io = &mut *self.line.io.borrow_mut();
        let polled = io.poll_body(cx, self.left, &self.line.visitor);
        if let Poll::Ready(piece) = &polled {
            let data = piece.as_ref().and_then(|piece| piece.as_ref().ok()).and_then(Frame::data_ref);
            self.left = self.left.map(|left| left - data.map_or(0, Bytes::len) as u64);
            self.ended = io.wire.stage() == Stage::Idle;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Only where something panics is it in use: the connection ends with that.
        if let Ok(mut io) = self.line.io.try_borrow_mut() {
            let body = &mut io.body;
            body.open = false;
            body.reading = None;
            body.waker = None;
        }
    }
}

impl Io {
    /// The next piece of the body; `left` is how much of it is to come, if that is known.
    fn poll_body(&mut self, cx: &mut Context<'_>, left: Option<u64>, visitor: &Visitor) -> Poll<Piece> {
        if std::mem::take(&mut self.body.expects) && self.phase == Phase::Serving {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            if matches!(self.poll_out(cx, visitor), Poll::Ready(Err(_))) {
                return Poll::Ready(Some(Err(self.lose())));
            }
        }
        loop {
            if let Some(refusal) = &self.body.broken {
                return Poll::Ready(Some(Err(refusal.clone())));
            }
            match self.next_piece() {
                Ok(Some(piece)) => return Poll::Ready(piece.map(Ok)),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Some(Err(self.body.broken.insert(refusal).clone()))),
            }
            if self.closed_at.is_some() {
                // The client may still read why (RFC 9112 section 8).
                self.body.broken = Some(ended_early());
                continue;
            }
            match self.poll_fill(cx, left) {
                Poll::Ready(Ok(0)) => {
                    self.waiting_ends(visitor);
                    self.closed_at = Some(visitor.now().nanos);
                }
                Poll::Ready(Ok(_)) => self.waiting_ends(visitor),
                Poll::Ready(Err(_)) => return Poll::Ready(Some(Err(self.lose()))),
                Poll::Pending => {
                    self.waiting_begins(cx, visitor);
                    return Poll::Pending;
                }
            }
        }
    }

    /// The next piece of what is held, or the end of the body. None: more bytes are needed.
    fn next_piece(&mut self) -> Result<Option<Option<Frame<Bytes>>>, Refusal> {
        loop {
            let part = self.wire.part(&self.held).map_err(|fault| fault.refusal)?;
            self.body.pace.received(part.taken);
            match part.kind {
                PartKind::Content if part.taken > 0 => {
                    let data = self.held.split_to(part.taken).freeze();
                    return Ok(Some(Some(Frame::data(data))));
                }
                PartKind::Trailers if part.ends => {
                    let section = self.held.split_to(part.taken).freeze();
                    let trailers = trailers(&section, &self.wire.spans().fields);
                    let trailers = trailers.filter(|trailers| !trailers.is_empty());
                    return Ok(Some(trailers.map(Frame::trailers)));
                }
                _ if part.taken == 0 => return Ok(None),
                _ => self.held.advance(part.taken),
            }
        }
    }

    /// Reads what comes, and of a body whose length is known no more than that.
    fn poll_fill(&mut self, cx: &mut Context<'_>, left: Option<u64>) -> Poll<std::io::Result<usize>> {
        let most = match left {
            Some(left) => usize::try_from(left).map_or(READ_MOST, |left| left.min(READ_MOST)),
            None if self.body.large => READ_MOST,
            None => READ_FIRST,
        };
        if self.held.capacity() - self.held.len() < most.min(READ_LEAST) {
            self.held.reserve(most);
        }
        // Whoever reads a body is who is woken.
        self.arriving = Arriving::Anything;
        let mut room = (&mut self.held).limit(most);
        let read = std::pin::pin!(self.transport.read_buf(&mut room));
        let polled = read.poll(cx);
        self.body.large |= matches!(polled, Poll::Ready(Ok(read)) if read >= READ_LEAST);
        polled
    }

    /// The client is waited for from now on, if it is not already. Waits add up, so they are measured, and not told by
    /// the coarse clock.
    fn waiting_begins(&mut self, cx: &Context<'_>, visitor: &Visitor) {
        if self.body.reading.is_none() {
            self.body.reading = Some(visitor.refresh_clock().nanos);
        }
        if !self.body.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.body.waker = Some(cx.waker().clone());
        }
    }

    /// Bytes came, or the end.
    fn waiting_ends(&mut self, visitor: &Visitor) {
        if let Some(since) = self.body.reading.take() {
            let time = visitor.refresh_clock().nanos.saturating_sub(since);
            self.body.pace.waited(Duration::from_nanos(time));
        }
    }

    /// The connection broke inside the body.
    fn lose(&mut self) -> Refusal {
        self.body.lost = true;
        self.body.broken.insert(source::gone()).clone()
    }

    /// After its reader let it go: takes the rest of the body away, if it is here. False: it is not.
    pub(super) fn drain_body(&mut self, cx: &mut Context<'_>) -> bool {
        if self.body.broken.is_some() {
            return false;
        }
        let mut read = false;
        loop {
            while self.wire.stage() == Stage::Body {
                match self.wire.part(&self.held) {
                    Ok(part) if part.taken > 0 => self.held.advance(part.taken),
                    _ => break,
                }
            }
            if self.wire.stage() != Stage::Body {
                return self.wire.stage() == Stage::Idle;
            }
            if std::mem::replace(&mut read, true) || !matches!(self.poll_receive(cx), Poll::Ready(Ok(1..))) {
                return false;
            }
        }
    }
}

/// A trailer section over the bytes that it came in. None: it is larger than the `http` crate's types hold.
fn trailers(section: &Bytes, spans: &[FieldSpan]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::try_with_capacity(spans.len()).ok()?;
    for span in spans {
        let name = HeaderName::from_bytes(&section[span.name.clone()]).ok()?;
        let value = HeaderValue::from_maybe_shared(section.slice(span.value.clone())).ok()?;
        fields.try_append(name, value).ok()?;
    }
    Some(fields)
}

const fn ended_early() -> Refusal {
    Refusal::new(Reason::BadRequest, "the connection ended inside the request's body")
}
