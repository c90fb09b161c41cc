//! Listening sockets: one per shard on the same address (SO_REUSEPORT), bound before anything is changed, so that a
//! port that cannot be had stops a start or a reload and nothing else. Taking a port and listening on it are two
//! steps: a socket that listens beside one in use is given a part of its connections, which a reload that fails after
//! all would lose.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for a listener until they are accepted; `net.core.somaxconn` caps it.
pub(super) const BACKLOG: i32 = 4096;
/// What the kernel keeps of an answer beyond what is on its way, in bytes: a client that reads slowly would otherwise
/// cost up to `net.ipv4.tcp_wmem` (4 MiB).
const UNSENT: u32 = 128 * 1024;

/// Takes `address` once per shard, without listening yet.
///
/// # Errors
/// The address is taken, not of this machine, or not allowed. Two Bucklers on one port would each get a part of its
/// connections without a word, so a port that anyone listens on is refused, also if it is shared with SO_REUSEPORT;
/// except if `ours`: then it is this process that listens there, and a reload moves the port to another service.
pub(super) fn reserve(address: SocketAddr, shards: usize, ours: bool) -> io::Result<Vec<Socket>> {
    if !ours && address.port() != 0 {
        let alone = socket(address, false)?;
        alone.bind(&address.into())?;
    }
    let mut sockets: Vec<Socket> = Vec::with_capacity(shards);
    for _ in 0..shards {
        // Port 0: the kernel chooses for the first, and the others share its choice.
        let chosen = sockets.first().map(Socket::local_addr).transpose()?;
        let address = chosen.and_then(|chosen| chosen.as_socket()).unwrap_or(address);
        let socket = socket(address, true)?;
        socket.bind(&address.into())?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Listens on what was reserved.
///
/// # Errors
/// Somebody else has come to listen there in between.
pub(super) fn open(sockets: Vec<Socket>) -> io::Result<Vec<TcpListener>> {
    let open = |socket: Socket| {
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    sockets.into_iter().map(open).collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the TIME_WAIT of the connections before it.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted connections inherit these two. Small answers must not wait for an ACK (RFC 896).
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    if address.is_ipv6() {
        // `[::]:80` and `0.0.0.0:80` are two services' business to have apart.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: SocketAddr, shards: usize, ours: bool) -> io::Result<Vec<TcpListener>> {
        reserve(address, shards, ours).and_then(open)
    }

    #[test]
    fn a_port_that_is_only_reserved_takes_nobodys_connections() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 1, false).unwrap();
        let address = first[0].local_addr().unwrap();
        let _reserved = reserve(address, 8, true).unwrap();
        for _ in 0..32 {
            std::net::TcpStream::connect(address).unwrap();
            assert!(first[0].accept().is_ok(), "a connection went to a socket that does not listen");
        }
    }

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
