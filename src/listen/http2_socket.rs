//! A client's socket as the engine of HTTP/2 sees it: every byte of both directions passes the [`Frames`], which say
//! when a client does what no client should; and every wait leaves a mark that [`super::http2`] times.
//!
//! The engine flushes behind each DATA frame. What it writes in one turn is small for most answers, so it is gathered
//! and goes out together when the turn ends: one record of TLS and one system call for the answers of many streams.

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
/// What is gathered before the engine must wait for the socket. A write is at most two frames longer.
const GATHERED_MOST: usize = 32 * 1024;
/// A write of at least this much is not copied: it goes to the socket as it is.
const LARGE_WRITE: usize = 8 * 1024;

thread_local! {
    /// The room that the connections of a shard gather in, one after another.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What the socket and the one who watches over it share.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: RefCell<Transport>,
    pub(super) visitor: Rc<Visitor>,
    pub(super) frames: RefCell<Frames>,
    /// What the client did that ends this connection.
    flood: Cell<Option<Flood>>,
    /// Reads that are left before the streams have their turn.
    reads: Cell<u32>,
    /// The engine waits to write since then (nanoseconds of `Moment`).
    writing: Cell<Option<u64>>,
    gathered: RefCell<Gathered>,
}

/// What the engine has written and the socket has not taken.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Of them, those that went out.
    gone: usize,
    /// The socket took all, and TLS may keep some of it.
    unflushed: bool,
}

impl Gathered {
    fn add<'a>(&mut self, slices: impl Iterator<Item = &'a [u8]>) {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        slices.for_each(|slice| self.bytes.extend_from_slice(slice));
    }

    fn poll_out(&mut self, stream: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.bytes.len() {
            let n = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.gone..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += n;
            self.unflushed = true;
        }
        self.gone = 0;
        self.bytes.clear();
        if self.bytes.capacity() > 0 {
            SPARE.set(std::mem::take(&mut self.bytes));
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Wire {
    pub(super) fn new(stream: Transport, visitor: Rc<Visitor>, bounds: FrameBounds) -> Rc<Self> {
        let frames = RefCell::new(Frames::new(bounds, visitor.now().nanos));
        Rc::new(Self {
            stream: RefCell::new(stream),
            visitor,
            frames,
            flood: Cell::new(None),
            reads: Cell::new(READS_PER_TURN),
            writing: Cell::new(None),
            gathered: RefCell::default(),
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

    /// Sends what is gathered. TLS takes what it can only keep: not until that is flushed has the client taken it.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.gathered.borrow_mut().poll_out(&mut self.stream.borrow_mut(), cx);
        self.note_write(polled)
    }

    /// Marks how a write went.
    fn note_write<T>(&self, polled: Poll<T>) -> Poll<T> {
        match &polled {
            Poll::Ready(_) => self.writing.set(None),
            Poll::Pending => self.writing.set(self.writing.get().or_else(|| Some(self.visitor.now().nanos))),
        }
        polled
    }

    /// Whether the socket has to take something before the engine may go on.
    fn is_full(&self) -> bool {
        self.gathered.borrow().bytes.len() >= GATHERED_MOST
    }

    /// Passes a large write on without a copy, behind what is gathered.
    fn poll_large(&self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices);
        self.gathered.borrow_mut().unflushed = polled.is_ready();
        match polled {
            // Until it is flushed, which is told then.
            Poll::Ready(_) => polled,
            Poll::Pending => self.note_write(polled),
        }
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
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = &self.wire;
        let length = slices.iter().map(|slice| slice.len()).sum();
        if wire.is_full() {
            ready!(wire.poll_out(cx))?;
        }
        let n = match length {
            LARGE_WRITE.. => ready!(wire.poll_large(cx, slices))?,
            _ => {
                wire.gathered.borrow_mut().add(slices.iter().map(|slice| &**slice));
                length
            }
        };
        let (mut left, now) = (n, wire.visitor.now().nanos);
        for slice in slices {
            let taken = left.min(slice.len());
            wire.saw(wire.frames.borrow_mut().sent(&slice[..taken], now));
            left -= taken;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is gathered goes out when the turn ends ([`Wire::poll_out`]), or here if it is much.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_full() { self.wire.poll_out(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Sends the rest and leaves the socket open: how it is closed is decided by the one who drives the connection.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_out(cx)
    }
}
