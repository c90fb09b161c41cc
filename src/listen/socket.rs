//! A client's socket as hyper sees it: every byte passes the [`Wire`] first, and every wait leaves a mark that
//! [`super::connection`] times. What is ambiguous never reaches hyper; what is slow is noticed without a timer of its
//! own for every read and write.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::{Event, Fault, Stage, Wire, WireBounds};
use crate::config::Timeouts;
use crate::inbound::Visitor;
use crate::refusal::{Reason, Refusal};
use crate::socket::Socket;

/// How much is read at once while a head is incomplete.
const PIECE: usize = 8 * 1024;
/// How long the head of an answer is awaited for a client that closed its side after it asked. It may only have closed
/// the sending half (RFC 9112 section 9.6 allows it), but most that do are gone, and their request holds a worker.
pub(super) const HALF_CLOSED_WAIT: Duration = Duration::from_secs(2);

/// What a socket and the one who watches over it share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: RefCell<Socket>,
    pub(super) visitor: Rc<Visitor>,
    /// Where the incoming bytes stand.
    stage: Cell<Stage>,
    /// When that began (nanoseconds of `Moment`).
    stage_since: Cell<u64>,
    /// Complete heads so far. Before the first one, silence counts as a slow head.
    heads: Cell<u64>,
    /// hyper waits for bytes since then.
    reading: Cell<Option<u64>>,
    /// hyper waits to write since then.
    writing: Cell<Option<u64>>,
    /// The client closed its side then.
    closed_at: Cell<Option<u64>>,
    /// hyper asked and was not told that the client closed its side, since a request was under way.
    end_untold: Cell<bool>,
    fault: RefCell<Option<Broken>>,
}

/// Why no more bytes pass.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) refusal: Refusal,
    /// In a body: whoever reads it is told. Otherwise in a head that nobody else has seen.
    in_body: bool,
    /// What is known of the request line, for the log.
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
}

/// What has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head: 408.
    Head,
    /// The body: 408, through whoever reads it.
    Body,
    /// The client takes no more of the answer.
    Send,
    /// An idle connection.
    Idle,
    /// A client that closed its side and still waits for an answer.
    HalfClosed,
}

impl Line {
    pub(super) fn new(stream: Socket, visitor: Rc<Visitor>) -> Rc<Self> {
        let now = visitor.now().nanos;
        Rc::new(Self {
            stream: RefCell::new(stream),
            visitor,
            stage: Cell::new(Stage::Idle),
            stage_since: Cell::new(now),
            heads: Cell::new(0),
            reading: Cell::new(None),
            writing: Cell::new(None),
            closed_at: Cell::new(None),
            end_untold: Cell::new(false),
            fault: RefCell::new(None),
        })
    }

    /// A fault that must be answered here, because hyper never saw the request: once nothing else is under way.
    pub(super) fn unanswered_fault(&self) -> Option<Broken> {
        if self.is_serving() || self.writing.get().is_some() {
            return None;
        }
        self.fault.borrow().as_ref().filter(|broken| !broken.in_body).cloned()
    }

    /// Whether a request is under way: in progress, or not begun yet. hyper takes a head before it begins to serve it,
    /// and stops after some requests to let other connections have their turn.
    fn is_serving(&self) -> bool {
        self.visitor.is_busy() || self.heads.get() > self.visitor.begun()
    }

    /// Whether hyper may be told now that the client closed its side: it has to be asked again for that. True once.
    pub(super) fn end_can_be_told(&self) -> bool {
        !self.is_serving() && self.writing.get().is_none() && self.end_untold.take()
    }

    /// Breaks the body that is being read: its reader gets this refusal.
    pub(super) fn break_body(&self, refusal: Refusal) {
        self.reading.set(None);
        self.break_off(Broken { refusal, in_body: true, method: Vec::new(), target: Vec::new() });
    }

    /// Whether bytes of a request are left that nobody will read: then closing at once could destroy the answer.
    pub(super) fn is_unread(&self) -> bool {
        self.stage.get() != Stage::Idle || self.fault.borrow().is_some()
    }

    /// The next time limit of this connection and what it means. None while only the worker is waited for.
    pub(super) fn deadline(&self, timeouts: &Timeouts, idle: Duration) -> Option<(u64, Overdue)> {
        let after = |since: u64, time: Duration| {
            since.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        };
        let sending = self.writing.get().map(|since| (after(since, timeouts.send), Overdue::Send));
        let receiving = match (self.stage.get(), self.visitor.is_busy()) {
            (Stage::Body, _) => self.reading.get().map(|since| (after(since, timeouts.body), Overdue::Body)),
            (_, true) if self.visitor.is_answering() => None,
            (_, true) => {
                self.closed_at.get().map(|since| (after(since, HALF_CLOSED_WAIT), Overdue::HalfClosed))
            }
            // A drain does not wait for the first request of a client that says nothing.
            (Stage::Idle, false) if self.heads.get() > 0 || self.visitor.is_draining() => {
                Some((after(self.stage_since.get().max(self.visitor.rested_at()), idle), Overdue::Idle))
            }
            // A pipelined head may have begun while the answer before it was still under way: that time is not its own.
            (Stage::Idle | Stage::Head, false) => Some((
                after(self.stage_since.get().max(self.visitor.rested_at()), timeouts.head),
                Overdue::Head,
            )),
            (Stage::Failed, false) => None,
        };
        [sending, receiving].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn enter(&self, stage: Stage) {
        if self.stage.get() != stage {
            self.stage.set(stage);
            self.stage_since.set(self.visitor.now().nanos);
        }
    }

    fn break_off(&self, broken: Broken) {
        self.stage.set(Stage::Failed);
        let mut fault = self.fault.borrow_mut();
        if fault.is_none() {
            *fault = Some(broken);
        }
    }
}

/// The socket that hyper reads and writes.
pub(super) struct ClientSocket {
    line: Rc<Line>,
    wire: Wire,
    /// Bytes that were received and not passed on; at most `head_bytes` and one piece.
    held: Vec<u8>,
    /// How many leading bytes of `held` have passed the wire and only wait for room at hyper's.
    passed: usize,
}

impl ClientSocket {
    pub(super) fn new(line: Rc<Line>, bounds: WireBounds) -> Self {
        Self { line, wire: Wire::new(bounds), held: Vec::new(), passed: 0 }
    }

    /// Judges bytes that were received, and says how many may go on.
    fn judge(&mut self, bytes: &[u8]) -> usize {
        let mut pass = 0;
        loop {
            let in_body = self.wire.stage() == Stage::Body;
            match self.wire.scan(&bytes[pass..]) {
                Ok(scan) => {
                    pass += scan.pass;
                    if let Event::Head(_) = scan.event {
                        self.line.heads.set(self.line.heads.get() + 1);
                    }
                    // An event may have another one right behind it; `More` says that everything was looked at.
                    if scan.event == Event::More || (scan.event == Event::End && pass == bytes.len()) {
                        self.line.enter(self.wire.stage());
                        return pass;
                    }
                }
                Err(fault) => {
                    self.line.break_off(broken(&fault, &bytes[pass..], in_body));
                    return pass;
                }
            }
        }
    }

    /// Hands on what has passed already.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let n = self.passed.min(buf.remaining());
        buf.put_slice(&self.held[..n]);
        self.held.drain(..n);
        self.passed -= n;
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }

    /// The end of what the client sends.
    fn at_end(&self) -> Poll<io::Result<()>> {
        let now = self.line.visitor.now().nanos;
        self.line.closed_at.set(self.line.closed_at.get().or(Some(now)));
        match self.line.stage.get() {
            Stage::Head => {
                let refusal =
                    Refusal::new(Reason::BadRequest, "the connection ended inside a request's head");
                let fault = Broken { refusal, in_body: false, method: Vec::new(), target: Vec::new() };
                self.line.break_off(fault);
                Poll::Pending
            }
            // hyper takes an end for a client that left and drops the request; it may still wait for its answer.
            Stage::Idle if self.line.is_serving() => {
                self.line.end_untold.set(true);
                Poll::Pending
            }
            // Who is reading the body is told that it is not complete; the client may still read why (RFC 9112
            // section 8).
            Stage::Body => {
                let refusal =
                    Refusal::new(Reason::BadRequest, "the connection ended inside the request's body");
                self.line.break_body(refusal.clone());
                Poll::Ready(Err(io::Error::other(refusal)))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

fn broken(fault: &Fault, bytes: &[u8], in_body: bool) -> Broken {
    let part = |range: &std::ops::Range<usize>| bytes.get(range.clone()).unwrap_or_default().to_vec();
    Broken {
        refusal: fault.refusal.clone(),
        in_body,
        method: part(&fault.method),
        target: part(&fault.target),
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let line = Rc::clone(&this.line);
        loop {
            if this.passed > 0 {
                this.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(broken) = &*line.fault.borrow() {
                // A bad head is answered by the one who drives this connection; nobody is woken for it, since the
                // fault was found in this very poll.
                let error = || io::Error::other(broken.refusal.clone());
                return if broken.in_body { Poll::Ready(Err(error())) } else { Poll::Pending };
            }
            if line.closed_at.get().is_some() {
                return this.at_end();
            }
            let read = if this.held.is_empty() { this.read_through(cx, buf) } else { this.read_more(cx) };
            let received = match read {
                Poll::Ready(received) => received?,
                Poll::Pending => {
                    line.reading.set(line.reading.get().or_else(|| Some(line.visitor.now().nanos)));
                    return Poll::Pending;
                }
            };
            line.reading.set(None);
            if received == 0 {
                return this.at_end();
            }
            if !buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl ClientSocket {
    /// Reads straight into hyper's buffer; what may not pass yet is taken out again.
    fn read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let line = Rc::clone(&self.line);
        let read = Pin::new(&mut *line.stream.borrow_mut()).poll_read(cx, buf);
        std::task::ready!(read)?;
        let received = buf.filled().len();
        let pass = self.judge(buf.filled());
        self.held.extend_from_slice(&buf.filled()[pass..]);
        buf.set_filled(pass);
        Poll::Ready(Ok(received))
    }

    /// Reads behind what is held, and looks at all of it again.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.held.len();
        self.held.resize(before + PIECE, 0);
        let mut piece = ReadBuf::new(&mut self.held[before..]);
        let line = Rc::clone(&self.line);
        let read = Pin::new(&mut *line.stream.borrow_mut()).poll_read(cx, &mut piece);
        let received = piece.filled().len();
        self.held.truncate(before + received);
        std::task::ready!(read)?;
        let held = std::mem::take(&mut self.held);
        self.passed = self.judge(&held);
        self.held = held;
        Poll::Ready(Ok(received))
    }

    fn written<T>(&self, polled: Poll<T>) -> Poll<T> {
        let line = &self.line;
        match &polled {
            Poll::Ready(_) => line.writing.set(None),
            Poll::Pending => line.writing.set(line.writing.get().or_else(|| Some(line.visitor.now().nanos))),
        }
        polled
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.line.stream.borrow_mut()).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.line.stream.borrow_mut()).poll_write_vectored(cx, slices);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Leaves the socket open: how it is closed is decided by the one who drives the connection.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
