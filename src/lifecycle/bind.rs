//! Listening sockets: one per shard on the same address (SO_REUSEPORT), bound before anything is changed, so that a
//! port that cannot be had stops a start or a reload and nothing else.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for a listener until they are accepted; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Binds `address` once per shard.
///
/// # Errors
/// The address is taken, not of this machine, or not allowed. Two Bucklers on one port would each get a part of its
/// connections without a word, so a port that anyone listens on is refused, also if it is shared with SO_REUSEPORT;
/// except if `ours`: then it is this process that listens there, and a reload moves the port to another service.
pub(super) fn bind(address: SocketAddr, shards: usize, ours: bool) -> io::Result<Vec<TcpListener>> {
    if !ours && address.port() != 0 {
        let alone = socket(address, false)?;
        alone.bind(&address.into())?;
    }
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(shards);
    for _ in 0..shards {
        // Port 0: the kernel chooses for the first, and the others share its choice.
        let address = listeners.first().map_or(Ok(address), TcpListener::local_addr)?;
        let socket = socket(address, true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        listeners.push(socket.into());
    }
    Ok(listeners)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the TIME_WAIT of the connections before it.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // `[::]:80` and `0.0.0.0:80` are two services' business to have apart.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_share_the_port_that_the_kernel_chose() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3, false).unwrap();
        let ports: Vec<_> = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
        assert_ne!(ports[0], 0);
        assert!(ports.iter().all(|port| *port == ports[0]));
    }

    #[test]
    fn a_port_that_is_taken_is_refused_even_if_it_is_shared() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2, false).unwrap();
        let address = first[0].local_addr().unwrap();
        assert_eq!(bind(address, 2, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(bind(address, 2, true).is_ok(), "a reload may move its own port");
    }
}
