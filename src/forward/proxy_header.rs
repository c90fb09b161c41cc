//! The PROXY header, version 2 (haproxy.org's proxy-protocol.txt section 2.2), that a connection to a worker begins
//! with where `send_proxy_protocol` asks for it: whom it speaks for. How one is read stands in `listen`.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncWriteExt;

use crate::config::Endpoint;
use crate::socket::Socket;

/// What every header begins with.
const START: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and the connection is passed on.
const PROXY: u8 = 0x21;
/// No address.
const UNSPEC: u8 = 0x00;
/// TCP over IPv4.
const TCP4: u8 = 0x11;
/// TCP over IPv6.
const TCP6: u8 = 0x21;

/// Whom a connection to a worker speaks for. It carries requests of nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// A client's connection.
    For {
        /// The client's address and port.
        client: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
    /// A client without an address of the network: of a Unix socket, or one that a balancer in front has none of.
    ForNobody,
}

/// Connects to a worker and says who it is for, if the worker is to be told.
///
/// # Errors
/// Those of connect(2), and the worker closes the connection at once.
pub(super) async fn connect(worker: &Endpoint, spoken: Option<Spoken>) -> io::Result<Socket> {
    let mut socket = Socket::connect(worker).await?;
    if let Some(spoken) = spoken {
        // A socket that is new takes these few bytes at once.
        socket.write_all(&spoken.header()).await?;
    }
    Ok(socket)
}

impl Spoken {
    /// The header's bytes.
    pub fn header(&self) -> Vec<u8> {
        let mut header = START.to_vec();
        let Self::For { client, destination } = self else {
            // As the sender's own it would have the trust that workers have in the sender.
            header.extend([PROXY, UNSPEC, 0, 0]);
            return header;
        };
        match (client.ip(), destination.ip()) {
            (IpAddr::V4(client), IpAddr::V4(destination)) => {
                header.extend([PROXY, TCP4, 0, 2 * (4 + 2)]);
                header.extend(client.octets());
                header.extend(destination.octets());
            }
            (client, destination) => {
                header.extend([PROXY, TCP6, 0, 2 * (16 + 2)]);
                header.extend(six(client));
                header.extend(six(destination));
            }
        }
        header.extend(client.port().to_be_bytes());
        header.extend(destination.port().to_be_bytes());
        header
    }
}

/// Where one of two addresses is IPv6, both are written so.
fn six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}
