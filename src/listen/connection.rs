//! One client connection from accept to its close: what stands before its protocol, and which protocol that is.

use std::rc::Rc;

use super::http1;
use super::transport::Transport;
use crate::inbound::{Arrival, Visitor};
use crate::service::Place;
use crate::socket::Socket;

/// Serves a connection until it closes.
pub(super) async fn serve(socket: Socket, peer: std::net::SocketAddr, place: Rc<Place>) {
    let transport = Transport::from(socket);
    let visitor = Visitor::new(Arrival { peer, secure: false }, place);
    let _ = http1::serve(transport, visitor).await;
}
