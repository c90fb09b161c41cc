//! A client's socket as hyper sees it: every byte passes the [`Wire`] first, and every wait leaves a mark on its line
//! that [`super::http1`] times. What is ambiguous never reaches hyper; what is slow is noticed without a timer
//! of its own for every read and write.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::line::{Broken, HTTP_VERSION, Line};
use super::wire::{Event, Fault, Stage, Wire, WireBounds};
use crate::forward::pace::Pace;
use crate::refusal::{Reason, Refusal};

/// What a client of HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is read at once while a head is incomplete.
const PIECE: usize = 8 * 1024;

/// The socket that hyper reads and writes.
pub(super) struct ClientSocket {
    line: Rc<Line>,
    wire: Wire,
    /// Bytes that were received and not passed on; at most `head_bytes` and one piece.
    held: Vec<u8>,
    /// How many leading bytes of `held` have passed the wire and only wait for room at hyper's.
    passed: usize,
    /// What is held stands behind a head that asks for another protocol, and was not judged.
    unjudged: bool,
    /// Nothing has been judged yet, and the first bytes may be those of HTTP/2.
    may_be_http2: bool,
    is_tls: bool,
}

impl ClientSocket {
    pub(super) fn new(line: Rc<Line>, bounds: WireBounds) -> Self {
        // Under TLS the protocol was agreed on in the handshake (RFC 9113 section 3.2).
        let is_tls = line.stream.borrow().is_tls();
        Self {
            is_tls,
            may_be_http2: !is_tls,
            line,
            wire: Wire::new(bounds),
            held: Vec::new(),
            passed: 0,
            unjudged: false,
        }
    }

    /// Whether the first bytes are the preface of HTTP/2 (RFC 9113 section 3.4), or may become it.
    fn is_preface(&mut self, bytes: &[u8]) -> bool {
        let n = bytes.len().min(PREFACE.len());
        self.may_be_http2 = bytes[..n] == PREFACE[..n];
        if self.may_be_http2 {
            // It is a head that has begun, as far as time is concerned.
            self.line.enter(Stage::Head);
        }
        if self.may_be_http2 && n == PREFACE.len() {
            *self.line.preface.borrow_mut() = Some(bytes.to_vec());
        }
        self.may_be_http2
    }

    /// Judges bytes that were received, and says how many may go on.
    fn judge(&mut self, bytes: &[u8]) -> usize {
        if self.may_be_http2 && self.is_preface(bytes) {
            return 0;
        }
        let mut pass = 0;
        loop {
            let in_body = self.wire.stage() == Stage::Body;
            match self.wire.scan(&bytes[pass..]) {
                Ok(scan) => {
                    pass += scan.pass;
                    if in_body {
                        self.line.body_came(scan.pass);
                    }
                    if let Event::Head(facts) = scan.event {
                        let number = self.line.heads.get() + 1;
                        self.line.heads.set(number);
                        self.line.pace.set(Pace::default());
                        let may_switch = facts.has_upgrade && !facts.version_10 && facts.has_no_body();
                        self.line.upgrade.set(may_switch.then_some(number));
                    }
                    if scan.event == Event::End && self.line.awaits_upgrade() {
                        self.unjudged = true;
                        self.line.enter(self.wire.stage());
                        return pass;
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
            if line.is_http2() {
                // The one who drives this connection sees it after this very poll.
                return Poll::Pending;
            }
            if line.awaits_upgrade() {
                line.kept_waiting.set(true);
                return this.hold(cx);
            }
            if std::mem::take(&mut this.unjudged) {
                // The answer was a plain one: what is held is the next request, if it is one.
                let held = std::mem::take(&mut this.held);
                this.passed = this.judge(&held);
                this.held = held;
                continue;
            }
            if line.closed_at.get().is_some() {
                return this.at_end();
            }
            let read = if this.held.is_empty() { this.read_through(cx, buf) } else { this.read_more(cx) };
            let received = match read {
                Poll::Ready(received) => received?,
                Poll::Pending => {
                    line.waiting_begins();
                    return Poll::Pending;
                }
            };
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
        line.waiting_ends();
        let received = buf.filled().len();
        let pass = self.judge(buf.filled());
        self.held.extend_from_slice(&buf.filled()[pass..]);
        buf.set_filled(pass);
        Poll::Ready(Ok(received))
    }

    /// Reads one piece at most while it is not known what it is, so that a client that leaves is noticed.
    fn hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < PIECE && self.line.closed_at.get().is_none() {
            if std::task::ready!(self.read_behind(cx))? == 0 {
                let _ = self.at_end();
            }
        }
        Poll::Pending
    }

    /// Reads behind what is held, and looks at all of it again.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let received = std::task::ready!(self.read_behind(cx))?;
        let held = std::mem::take(&mut self.held);
        self.passed = self.judge(&held);
        self.held = held;
        Poll::Ready(Ok(received))
    }

    fn read_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.held.len();
        self.held.resize(before + PIECE, 0);
        let mut piece = ReadBuf::new(&mut self.held[before..]);
        let line = Rc::clone(&self.line);
        let read = Pin::new(&mut *line.stream.borrow_mut()).poll_read(cx, &mut piece);
        let received = piece.filled().len();
        self.held.truncate(before + received);
        std::task::ready!(read)?;
        line.waiting_ends();
        Poll::Ready(Ok(received))
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        // Where the connection goes on without hyper, this goes first.
        self.line.left.replace(std::mem::take(&mut self.held));
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.line.says_own_version(bytes) {
            return Poll::Ready(Ok(HTTP_VERSION.len()));
        }
        std::task::ready!(self.line.poll_early(cx))?;
        self.line.mid_write.set(true);
        let polled = Pin::new(&mut *self.line.stream.borrow_mut()).poll_write(cx, bytes);
        self.line.note_write(polled, !self.is_tls)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.line.says_own_version(first)) {
            return Poll::Ready(Ok(HTTP_VERSION.len()));
        }
        std::task::ready!(self.line.poll_early(cx))?;
        self.line.mid_write.set(true);
        let polled = Pin::new(&mut *self.line.stream.borrow_mut()).poll_write_vectored(cx, slices);
        self.line.note_write(polled, !self.is_tls)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper asks for it once it has handed over everything.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.mid_write.set(false);
        let polled = Pin::new(&mut *self.line.stream.borrow_mut()).poll_flush(cx);
        self.line.note_write(polled, true)
    }

    /// Leaves the socket open: how it is closed is decided by the one who drives the connection.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
