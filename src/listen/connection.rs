//! One client connection from accept to its close: what stands before its protocol (a PROXY header, a TLS handshake),
//! and which protocol that is.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::http1::{self, Left};
use super::http2;
use super::proxy_header::{self, HEADER_MOST, HeaderFault, Source};
use super::transport::{Begun, Transport};
use crate::config::Protocol;
use crate::inbound::{self, Arrival, Visitor, tcp};
use crate::record::handshakes::Handshake;
use crate::refusal::{Reason, Refusal};
use crate::service::Place;
use crate::socket::Socket;
use crate::tls::TlsTerms;
use crate::tls::session::Session;

/// What is left to do for a connection, in a task of its own: what stood before it then takes no memory.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()>>>;

/// Serves a connection until it closes, or until all that is left is to carry its bytes.
pub(super) async fn serve(socket: Socket, peer: SocketAddr, place: Rc<Place>) -> Option<Rest> {
    let (is_bare, tls) = {
        let desk = place.desk();
        (!desk.service.config.proxy_protocol, desk.service.tls.clone())
    };
    let (transport, arrival) = if is_bare && tls.is_none() {
        // Asked for even where nobody is told: a reload may make workers be told. It takes some 200 ns.
        let local = socket.local();
        (Transport::from(socket), Arrival { local, ..Arrival::plain(peer) })
    } else {
        // In a box: it is soon over, and its state would make every connection's larger.
        let opening = Box::pin(open(socket, peer, (is_bare, tls), &place));
        until_drained(opening, &place).await?
    };
    let speaks_http2 = arrival.session.as_ref().is_some_and(|session| session.alpn_h2);
    let visitor = Visitor::new(arrival, place);
    if visitor.desk().service.config.protocol == Protocol::Tcp {
        let opened = Box::pin(tcp::open(visitor)).await?;
        return Some(Box::pin(opened.carry(transport)));
    }
    let left = match speaks_http2 {
        true => Left::Http2(transport),
        false => http1::serve(transport, Rc::clone(&visitor)).await,
    };
    match left {
        Left::Nothing => None,
        Left::Http2(transport) => Some(Box::pin(http2::serve(transport, visitor))),
        Left::Tunnel(tunnel) => {
            let (transport, reply, opening) = *tunnel;
            Some(Box::pin(reply.carry(transport, opening)))
        }
    }
}

/// A client that has not begun to say anything is not waited for by a drain, beyond what an idle one is given.
async fn until_drained<T>(opening: impl Future<Output = Option<T>>, place: &Place) -> Option<T> {
    tokio::select! {
        opened = opening => opened,
        () = async { place.drain_begins().await; sleep(http1::DRAIN_IDLE).await } => None,
    }
}

/// What stands before the protocol. None: the connection is refused, which has been recorded.
async fn open(
    mut socket: Socket,
    peer: SocketAddr,
    (is_bare, tls): (bool, Option<std::sync::Arc<TlsTerms>>),
    place: &Rc<Place>,
) -> Option<(Transport, Arrival)> {
    let mut arrival = Arrival { local: socket.local(), ..Arrival::plain(peer) };
    let mut ahead = Vec::new();
    if !is_bare {
        let head = place.desk().service.config.timeouts.head;
        let read = timeout(head, read_proxy_header(&mut socket, peer, place)).await;
        match read.unwrap_or(Err(Refusal::new(
            Reason::ClientTimeout,
            "no PROXY header came within `timeouts.head`",
        ))) {
            Ok((source, rest)) => {
                ahead = rest;
                match source {
                    Source::Proxied { client, destination } => {
                        arrival = Arrival { local: Some(destination), ..Arrival::plain(client) };
                    }
                    Source::Unknown => arrival = Arrival::of_unknown(peer),
                    Source::Local => {}
                }
            }
            Err(refusal) => {
                // There is no protocol yet to say it in: the connection closes, and the record tells.
                let visitor = Visitor::new(arrival, Rc::clone(place));
                if visitor.desk().service.config.protocol == Protocol::Tcp {
                    tcp::turn_away(&visitor, &refusal);
                } else {
                    drop(inbound::refuse_unread(&visitor, &refusal, &[], &[]));
                }
                return None;
            }
        }
    }
    let begun = Begun::new(socket, ahead);
    let Some(tls) = tls else { return Some((Transport::Plain(begun), arrival)) };
    let transport;
    (transport, arrival.session) = shake_hands(begun, &tls, place).await?;
    Some((transport, arrival))
}

/// Reads the PROXY header of a connection: whose it is, and what came behind the header.
async fn read_proxy_header(
    socket: &mut Socket,
    peer: SocketAddr,
    place: &Place,
) -> Result<(Source, Vec<u8>), Refusal> {
    // Who comes over a Unix socket counts as 127.0.0.1 here too.
    if !place.desk().service.callers.is_trusted(peer.ip()) {
        let detail = "a PROXY header is taken from `callers.trusted_proxies` only";
        return Err(Refusal::new(Reason::BadRequest, detail));
    }
    let bad = |fault: HeaderFault| Refusal::new(Reason::BadRequest, fault.told());
    let mut bytes = Vec::with_capacity(256);
    loop {
        if let Some((source, length)) = proxy_header::read(&bytes).map_err(bad)? {
            return Ok((source, bytes.split_off(length)));
        }
        if bytes.len() >= HEADER_MOST {
            return Err(bad(HeaderFault::TooLong));
        }
        match socket.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return Err(bad(HeaderFault::Missing)),
        }
    }
}

/// The TLS handshake, within its time and number.
async fn shake_hands(
    begun: Begun,
    tls: &TlsTerms,
    place: &Rc<Place>,
) -> Option<(Transport, Option<Session>)> {
    let desk = Rc::clone(&place.desk());
    let bounds = desk.service.config.bounds;
    if desk.service.counts.handshaking() >= bounds.handshakes {
        desk.scribe.handshake(Handshake::Refused, None);
        return None;
    }
    let _in_progress = desk.scribe.handshaking();
    let accepting = TlsAcceptor::from(tls.config()).accept(begun);
    let stream = match timeout(desk.service.config.timeouts.handshake, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            desk.scribe.handshake(Handshake::Failed, None);
            tracing::debug!(%error, service = %desk.service.config.name, "a TLS handshake failed");
            return None;
        }
        Err(_) => {
            desk.scribe.handshake(Handshake::Timeout, None);
            return None;
        }
    };
    match Session::read(stream.get_ref().1, place.clock().refresh()) {
        Ok(session) => {
            desk.scribe.handshake(Handshake::Ok, Some((session.version, session.resumed)));
            Some((Transport::Tls(Box::new(stream)), Some(session)))
        }
        Err(why) => {
            desk.scribe.handshake(Handshake::Failed, None);
            tracing::debug!(why, service = %desk.service.config.name, "a TLS session cannot be resumed");
            None
        }
    }
}
