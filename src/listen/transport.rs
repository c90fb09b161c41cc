//! What carries a client's bytes: a socket, or TLS over one. What they mean is for those who read them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::has_budget_remaining;
use tokio_rustls::server::TlsStream;

use crate::forward::tunnel::ClientSide;
use crate::socket::Socket;

/// A client's connection, ready for its protocol.
#[derive(Debug)]
pub enum Transport {
    /// As it comes.
    Plain(Begun),
    /// Under TLS.
    Tls(Box<TlsStream<Marked>>),
}

/// A socket of which some bytes were read already: they come first.
#[derive(Debug)]
pub struct Begun {
    socket: Socket,
    /// In a box, since hardly any connection has it.
    ahead: Option<Box<Ahead>>,
}

/// What is under TLS: a socket that marks when it takes something. TLS holds back up to 64 KiB for it, so whether a
/// client takes bytes is not seen from above.
#[derive(Debug)]
pub struct Marked {
    begun: Begun,
    /// It has taken bytes since that was last asked.
    moved: bool,
}

/// Bytes that were read too early, and how many of them are passed on.
#[derive(Debug)]
struct Ahead {
    bytes: Vec<u8>,
    passed: usize,
}

/// What is known of what comes over a connection that one task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arriving {
    /// Nothing.
    Anything,
    /// All that was here was read.
    Drained,
    /// That, and what comes wakes the task, which need not ask for it anew until then.
    Awaited,
}

impl Arriving {
    /// Ready once something has come since all was read, or may have; the task is woken then.
    fn poll_more(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<io::Result<()>> {
        *self = Self::Anything;
        // Without any budget left the task is woken at once, and not when something comes.
        let will_be_woken = has_budget_remaining();
        let polled = socket.poll_read_ready(cx);
        if polled.is_pending() && will_be_woken {
            *self = Self::Awaited;
        }
        polled
    }
}

impl Begun {
    /// A socket, and what was read from it too early.
    pub fn new(socket: Socket, ahead: Vec<u8>) -> Self {
        Self { socket, ahead: Ahead::of(ahead) }
    }
}

impl Ahead {
    fn of(bytes: Vec<u8>) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, passed: 0 }))
    }
}

impl Marked {
    fn mark(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.moved |= matches!(polled, Poll::Ready(Ok(1..)));
        polled
    }
}

impl From<Begun> for Marked {
    fn from(begun: Begun) -> Self {
        Self { begun, moved: false }
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Self {
        Self::Plain(Begun::new(socket, Vec::new()))
    }
}

impl Transport {
    /// Whether it is under TLS.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether there is something to read, be it the end; under TLS, that something came. For a connection of which all
    /// that had come was read.
    ///
    /// # Errors
    /// The runtime is going.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(begun) => begun.socket.poll_read_ready(cx),
            Self::Tls(stream) => stream.get_ref().0.begun.socket.poll_read_ready(cx),
        }
    }

    /// Reads a piece: how long it is, nothing at the end. What is known of what comes stays with this connection for as
    /// long as one task reads it here. Not for whole bodies: tokio does not count what is read without a wait,
    /// and whoever reads on and on has to give way by itself.
    #[inline]
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut [u8],
        arriving: &mut Arriving,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(Begun { socket, ahead: None }) => {
                if *arriving == Arriving::Drained {
                    ready!(arriving.poll_more(cx, socket))?;
                }
                loop {
                    match socket.read_what_came(piece) {
                        None if *arriving == Arriving::Awaited => return Poll::Pending,
                        None => {}
                        Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Some(read) => {
                            // Less than there is room for is all (epoll(7)).
                            let drained = matches!(read, Ok(n) if (1..piece.len()).contains(&n));
                            *arriving = if drained { Arriving::Drained } else { Arriving::Anything };
                            return Poll::Ready(read);
                        }
                    }
                    ready!(arriving.poll_more(cx, socket))?;
                }
            }
            other => other.poll_receive_otherwise(cx, piece, arriving),
        }
    }

    /// The same under TLS, or of what was read too early.
    #[inline(never)]
    fn poll_receive_otherwise(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut [u8],
        arriving: &mut Arriving,
    ) -> Poll<io::Result<usize>> {
        *arriving = Arriving::Anything;
        let mut piece = ReadBuf::new(piece);
        ready!(Pin::new(self).poll_read(cx, &mut piece))?;
        Poll::Ready(Ok(piece.filled().len()))
    }

    /// Sends what is taken at once without a wait. Nothing of it under TLS.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is taken; others show again when it is tried with a wait.
    #[inline]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(begun) => begun.socket.try_write(bytes),
            Self::Tls(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether the client took bytes, since this was last asked, of what TLS held back for it. Without TLS nothing is
    /// held back: what is written is what it took.
    pub(super) fn has_moved(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => std::mem::take(&mut stream.get_mut().0.moved),
        }
    }

    /// From now on a close resets the connection, so that nobody takes what was sent for whole; TLS says no goodbye.
    pub(super) fn reset_on_close(&self) {
        match self {
            Self::Plain(begun) => begun.socket.reset_on_close(),
            Self::Tls(stream) => stream.get_ref().0.begun.socket.reset_on_close(),
        }
    }

    /// Gives back what was read from a plain connection and belongs to another protocol than was thought.
    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        if let Self::Plain(begun) = self {
            begun.ahead = Ahead::of(bytes);
        }
    }
}

impl ClientSide for Transport {
    fn reset_on_close(&mut self) {
        Self::reset_on_close(self);
    }

    fn has_moved(&mut self) -> bool {
        Self::has_moved(self)
    }
}

impl AsyncRead for Begun {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(ahead) = &mut this.ahead else { return Pin::new(&mut this.socket).poll_read(cx, buf) };
        let rest = &ahead.bytes[ahead.passed..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        ahead.passed += n;
        if ahead.passed == ahead.bytes.len() {
            this.ahead = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl AsyncRead for Marked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().begun).poll_read(cx, buf)
    }
}

impl AsyncWrite for Marked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.begun).poll_write(cx, bytes);
        this.mark(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.begun).poll_write_vectored(cx, slices);
        this.mark(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().begun).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().begun).poll_shutdown(cx)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(begun) => Pin::new(begun).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(begun) => Pin::new(begun).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(begun) => Pin::new(begun).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(begun) => Pin::new(begun).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(begun) => Pin::new(begun).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
