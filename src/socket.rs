//! A connected stream socket, of the network or of the file system: what clients come in on and workers are reached by.
//! What is spoken over it is everybody else's business.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Endpoint;

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// Of the network.
    Tcp(TcpStream),
    /// Of the file system.
    Unix(UnixStream),
}

impl Socket {
    /// Connects to `endpoint`. How long that may take is the caller's business.
    ///
    /// # Errors
    /// Those of connect(2).
    pub async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => TcpStream::connect(address).await.map(Self::from),
            Endpoint::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    /// The address of this end, if it is one of the network.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Whether there is something to read, be it the end.
    ///
    /// # Errors
    /// The runtime is going.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Reads what is here already. Where nothing came since all was read, this is no system call.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is here, and those of recv(2).
    #[inline]
    pub fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.read_what_came(bytes).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    /// The same. None: nothing has come, be it the end, since a read found nothing or less than there was room for.
    #[inline]
    pub fn read_what_came(&self, bytes: &mut [u8]) -> Option<io::Result<usize>> {
        let room = bytes.len();
        self.try_at_once(Interest::READABLE, room, |fd| Ok(recv(fd, bytes, RecvFlags::empty())?.0))
    }

    /// Sends as much as is taken at once. Where nothing was taken since less than all was, this is no system call.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is taken, and those of send(2).
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_at_once(Interest::WRITABLE, bytes.len(), |fd| Ok(send(fd, bytes, SendFlags::NOSIGNAL)?))
            .unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    /// Beside tokio's budget, and without asking to be woken. Less than `whole` means that nothing more is to be had
    /// until epoll(7) tells so anew: tokio is told, as it tells itself. None: that has not been told yet.
    #[inline]
    fn try_at_once(
        &self,
        interest: Interest,
        whole: usize,
        step: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let mut done = None;
        let step = |fd: BorrowedFd<'_>| {
            let taken = done.insert(step(fd));
            let over = match taken {
                Ok(taken) => (1..whole).contains(taken),
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            if over { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        // What it says itself is only whether there was a try.
        let _ = match self {
            Self::Tcp(stream) => stream.try_io(interest, || step(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(interest, || step(stream.as_fd())),
        };
        done
    }

    /// From now on a close resets the connection instead of ending it, so that nobody takes what was sent for whole.
    pub fn reset_on_close(&self) {
        // Without lingering, close sends RST (see socket(7)); if it cannot be set, the close is a plain one. A Unix
        // socket has no RST: its other end sees an end either way.
        if let Self::Tcp(stream) = self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl From<TcpStream> for Socket {
    /// Small messages must not wait for an ACK (RFC 896); a failure to say so only costs latency.
    fn from(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self::Tcp(stream)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read, Write};

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn what_is_tried_is_done_as_far_as_it_can_be_and_told_anew_when_there_is_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            far.set_nonblocking(true).unwrap();
            let mut socket = Socket::Unix(UnixStream::from_std(near).unwrap());
            let blocks = |tried: io::Result<usize>| tried.unwrap_err().kind() == ErrorKind::WouldBlock;
            let mut piece = [0; 4096];
            assert!(socket.read_what_came(&mut piece).is_none());
            far.write_all(b"abc").unwrap();
            poll_fn(|cx| socket.poll_read_ready(cx)).await.unwrap();
            assert_eq!(socket.try_read(&mut piece[..2]).unwrap(), 2);
            assert_eq!(socket.try_read(&mut piece).unwrap(), 1);
            far.write_all(b"d").unwrap();
            assert!(blocks(socket.try_read(&mut piece)), "nobody has told yet that more came");
            poll_fn(|cx| socket.poll_read_ready(cx)).await.unwrap();
            assert_eq!(socket.try_read(&mut piece).unwrap(), 1);
            assert!(blocks(socket.try_read(&mut piece)));

            socket.write_all(b"x").await.unwrap();
            let mut sent = 1;
            while let Ok(taken) = socket.try_write(&piece) {
                sent += taken;
            }
            assert!(sent > 4096 && blocks(socket.try_write(&piece)));
            let mut came = 0;
            while let Ok(taken) = far.read(&mut piece) {
                came += taken;
            }
            assert_eq!(came, sent);
            assert!(blocks(socket.try_write(&piece)), "nobody has told yet that there is room again");
            socket.write_all(b"y").await.unwrap();
            assert_eq!(socket.try_write(b"z").unwrap(), 1);

            // What is left unread would make an error of the end.
            while let Ok(1..) = far.read(&mut piece) {}
            drop(far);
            poll_fn(|cx| socket.poll_read_ready(cx)).await.unwrap();
            assert_eq!(socket.try_read(&mut piece).unwrap(), 0, "the end");
            assert_eq!(socket.try_write(b"z").unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    }
}
