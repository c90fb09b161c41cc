//! A client's socket as the engine of HTTP/2 sees it: every byte of both directions passes the [`Frames`], which say
//! when a client does what no client should; and every wait leaves a mark that [`super::http2`] times.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Flood, FrameBounds, Frames};
use super::transport::Transport;
use crate::inbound::Visitor;

/// How often the engine reads (some 8 KiB each) before the streams are asked to take what came: otherwise a client that
/// is fast would fill every window before anybody looks.
const READS_PER_TURN: u32 = 4;

/// What the socket and the one who watches over it share.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: RefCell<Transport>,
    pub(super) visitor: Rc<Visitor>,
    pub(super) frames: RefCell<Frames>,
    is_tls: bool,
    /// What the client did that ends this connection.
    flood: Cell<Option<Flood>>,
    /// Reads that are left before the streams have their turn.
    reads: Cell<u32>,
    /// The engine waits to write since then (nanoseconds of `Moment`).
    writing: Cell<Option<u64>>,
}

impl Wire {
    pub(super) fn new(stream: Transport, visitor: Rc<Visitor>, bounds: FrameBounds) -> Rc<Self> {
        let frames = RefCell::new(Frames::new(bounds, visitor.now().nanos));
        Rc::new(Self {
            is_tls: stream.is_tls(),
            stream: RefCell::new(stream),
            visitor,
            frames,
            flood: Cell::new(None),
            reads: Cell::new(READS_PER_TURN),
            writing: Cell::new(None),
        })
    }

    /// The engine has its turn again.
    pub(super) fn begin_turn(&self) {
        self.reads.set(READS_PER_TURN);
    }

    /// What the client did, told once.
    pub(super) fn take_flood(&self) -> Option<Flood> {
        self.flood.take()
    }

    /// Streams that the engine refused by itself, told once.
    pub(super) fn take_refused(&self) -> u32 {
        self.frames.borrow_mut().take_refused()
    }

    /// Since when nothing that we write is taken.
    pub(super) const fn writing_since(&self) -> Option<u64> {
        self.writing.get()
    }

    fn saw(&self, verdict: Result<(), Flood>) {
        if let Err(flood) = verdict {
            self.flood.set(Some(flood));
        }
    }

    /// Marks how a write went. TLS takes what it can only keep: not until that is flushed has the client taken it.
    fn note_write<T>(&self, polled: Poll<T>, flushed: bool) -> Poll<T> {
        match &polled {
            Poll::Ready(_) if flushed => self.writing.set(None),
            Poll::Ready(_) => {}
            Poll::Pending => self.writing.set(self.writing.get().or_else(|| Some(self.visitor.now().nanos))),
        }
        polled
    }
}

/// The socket that the engine reads and writes.
#[derive(Debug)]
pub(super) struct Http2Socket {
    wire: Rc<Wire>,
    /// What came after it was decided to end the connection is not shown to the engine.
    condemned: bool,
}

impl Http2Socket {
    pub(super) const fn new(wire: Rc<Wire>) -> Self {
        Self { wire, condemned: false }
    }
}

impl AsyncRead for Http2Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.condemned {
            return Poll::Pending;
        }
        let left = this.wire.reads.get();
        if left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.wire.reads.set(left - 1);
        let before = buf.filled().len();
        ready!(Pin::new(&mut *this.wire.stream.borrow_mut()).poll_read(cx, buf))?;
        let now = this.wire.visitor.refresh_clock().nanos;
        let verdict = this.wire.frames.borrow_mut().received(&buf.filled()[before..], now);
        if verdict.is_err() {
            this.wire.saw(verdict);
            this.condemned = true;
            buf.set_filled(before);
            // The one who drives this connection looks for a flood after this very poll.
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &self.wire;
        let polled = Pin::new(&mut *wire.stream.borrow_mut()).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = &polled {
            wire.saw(wire.frames.borrow_mut().sent(&bytes[..*n], wire.visitor.now().nanos));
        }
        wire.note_write(polled, !wire.is_tls)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = &self.wire;
        let polled = Pin::new(&mut *wire.stream.borrow_mut()).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(n)) = &polled {
            let (mut left, now) = (*n, wire.visitor.now().nanos);
            for slice in slices {
                let taken = left.min(slice.len());
                wire.saw(wire.frames.borrow_mut().sent(&slice[..taken], now));
                left -= taken;
            }
        }
        wire.note_write(polled, !wire.is_tls)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.wire.stream.borrow_mut()).poll_flush(cx);
        self.wire.note_write(polled, true)
    }

    /// Leaves the socket open: how it is closed is decided by the one who drives the connection.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
