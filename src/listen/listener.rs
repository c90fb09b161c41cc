//! A listening socket, of the network or of the file system, as a shard's accept loop uses it. Where it comes from is
//! `lifecycle`'s business.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::socket::Socket;

/// Who counts as the peer on a Unix socket: someone on this machine. Whoever trusts this address as a proxy trusts
/// those who may connect to the socket.
pub const UNIX_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A listening socket that no runtime uses yet. It does not block.
#[derive(Debug)]
pub enum Bound {
    /// Of the network: one for each shard, and the kernel spreads connections over them (SO_REUSEPORT).
    Tcp(std::net::TcpListener),
    /// Of the file system: all shards have the same one, and the first to ask gets a connection.
    Unix(StdUnixListener),
}

/// A listening socket in use on a shard.
#[derive(Debug)]
pub enum Listener {
    /// Of the network.
    Tcp(TcpListener),
    /// Of the file system.
    Unix(UnixListener),
}

impl Listener {
    /// For the runtime of this thread.
    ///
    /// # Errors
    /// The runtime does not take it.
    pub fn new(bound: Bound) -> io::Result<Self> {
        match bound {
            Bound::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Bound::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    /// The next connection and its peer.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, SocketAddr)>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| (Socket::Tcp(stream), peer))
            }
            Self::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (Socket::Unix(stream), UNIX_PEER))
            }
        }
    }

    /// Hands what the kernel has already accepted to `begin`, and closes. The kernel is asked, not tokio: tokio knows
    /// only what it saw when it last polled, and a connection that the kernel has completed since would be reset by
    /// the close.
    pub fn close(self, mut begin: impl FnMut(Socket, SocketAddr)) {
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return };
                while let Ok((stream, peer)) = listener.accept() {
                    if let Ok(stream) =
                        stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream))
                    {
                        begin(Socket::Tcp(stream), peer);
                    }
                }
            }
            Self::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return };
                while let Ok((stream, _)) = listener.accept() {
                    if let Ok(stream) =
                        stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream))
                    {
                        begin(Socket::Unix(stream), UNIX_PEER);
                    }
                }
            }
        }
    }
}

/// As in the configuration.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("?"),
            },
            Self::Unix(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "unix:{}", address.as_pathname().unwrap_or("?".as_ref()).display()),
                Err(_) => f.write_str("?"),
            },
        }
    }
}
