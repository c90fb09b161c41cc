//! One client connection from accept to its close: what stands before its protocol (a PROXY header, a TLS handshake),
//! and which protocol that is.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::accept::Held;
use super::http1;
use super::http2;
use super::proxy_header::{self, HEADER_MOST, HeaderFault, Source};
use super::transport::{Begun, Marked, Transport};
use crate::config::Protocol;
use crate::inbound::{self, Arrival, Visitor, tcp};
use crate::record::handshakes::Handshake;
use crate::refusal::{Reason, Refusal};
use crate::service::Place;
use crate::socket::Socket;
use crate::tls::TlsTerms;
use crate::tls::session::Session;

/// Serves a connection until it closes, in tasks of its own.
pub(super) fn begin(socket: Socket, peer: SocketAddr, place: Rc<Place>, held: Held) {
    let (is_bare, tls) = {
        let desk = place.desk();
        (!desk.service.config.proxy_protocol, desk.service.tls.clone())
    };
    if is_bare && tls.is_none() {
        // Asked for even where nobody is told: a reload may make workers be told. It takes some 200 ns.
        let arrival = Arrival { local: socket.local(), ..Arrival::plain(peer) };
        return speak(socket.into(), arrival, place, held);
    }
    // A task for what stands before the protocol: it is soon over, and takes no memory then.
    tokio::task::spawn_local(async move {
        let opening = open(socket, peer, (is_bare, tls), &place);
        if let Some((transport, arrival)) = until_drained(opening, &place).await {
            speak(transport, arrival, place, held);
        }
    });
}

/// The protocol itself.
fn speak(transport: Transport, arrival: Arrival, place: Rc<Place>, held: Held) {
    let speaks_http2 = arrival.session.as_deref().is_some_and(|session| session.alpn_h2);
    let visitor = Visitor::new(arrival, place);
    if visitor.desk().service.config.protocol == Protocol::Tcp {
        tokio::task::spawn_local(async move {
            let _held = held;
            // In boxes, one after the other: only the second lasts.
            if let Some(opened) = Box::pin(tcp::open(visitor)).await {
                Box::pin(opened.carry(transport)).await;
            }
        });
    } else if speaks_http2 {
        tokio::task::spawn_local(http2::serve(transport, visitor, Some(held)));
    } else {
        tokio::task::spawn_local(http1::serve(transport, visitor, Some(held)));
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
) -> Option<(Transport, Option<Box<Session>>)> {
    let desk = Rc::clone(&place.desk());
    let bounds = desk.service.config.bounds;
    if desk.service.counts.handshaking() >= bounds.handshakes {
        desk.scribe.handshake(Handshake::Refused, None);
        return None;
    }
    let _in_progress = desk.scribe.handshaking();
    let accepting = TlsAcceptor::from(tls.config()).accept(Marked::from(begun));
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
            Some((Transport::Tls(Box::new(stream)), Some(Box::new(session))))
        }
        Err(why) => {
            desk.scribe.handshake(Handshake::Failed, None);
            tracing::debug!(why, service = %desk.service.config.name, "a TLS session cannot be resumed");
            None
        }
    }
}
