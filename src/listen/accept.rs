//! Accepting: one loop per shard and service. The kernel spreads connections over the shards' listeners
//! (SO_REUSEPORT), or the first to ask gets it (a Unix socket); a connection stays on the shard that accepted it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::listener::Listener;
use super::{connection, http1};
use crate::config::Protocol;
use crate::inbound::{self, Arrival, Visitor, tcp};
use crate::record::OpenConnection;
use crate::record::counts::ProcessCounts;
use crate::refusal::{Reason, Refusal};
use crate::service::Place;
use crate::socket::Socket;

/// The first pause after an accept that failed for want of file descriptors or memory; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest such pause.
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// The connections of a shard, all services together, so that a drain knows when the last one is gone.
#[derive(Debug, Default)]
pub struct Open {
    count: Cell<usize>,
    none: Notify,
}

impl Open {
    /// None.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// How many are open.
    pub const fn count(&self) -> usize {
        self.count.get()
    }

    /// Waits until none is open.
    pub async fn none(&self) {
        while self.count.get() > 0 {
            self.none.notified().await;
        }
    }

    fn enter(self: &Rc<Self>, counts: Arc<ProcessCounts>) -> Entered {
        self.count.set(self.count.get() + 1);
        Entered { open: Rc::clone(self), counts }
    }
}

/// One open connection; given back on drop.
struct Entered {
    open: Rc<Open>,
    counts: Arc<ProcessCounts>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.open.count.set(self.open.count.get() - 1);
        if self.open.count.get() == 0 {
            self.open.none.notify_waiters();
        }
        // A panic ends one connection, is counted, and the port keeps serving.
        if std::thread::panicking() {
            self.counts.panicked();
        }
    }
}

/// What a connection has of its service while it is open: it is counted, and drains wait for it.
pub(super) struct Held {
    _counted: OpenConnection,
    _entered: Entered,
}

/// The service that a listener accepts for at the moment. A reload that gives a port to another service hands over the
/// listener too, so that no connection falls between closing it and opening it anew.
#[derive(Debug)]
pub struct Owner(RefCell<Rc<Place>>);

impl Owner {
    /// This one.
    pub fn new(place: Rc<Place>) -> Rc<Self> {
        Rc::new(Self(RefCell::new(place)))
    }

    /// Connections from now on are this one's.
    pub fn change(&self, place: Rc<Place>) {
        *self.0.borrow_mut() = place;
    }

    fn place(&self) -> Rc<Place> {
        Rc::clone(&self.0.borrow())
    }
}

/// Accepts until `stop` is told or dropped; then takes what the kernel has already accepted, and closes the listener.
pub async fn accept(
    listener: Listener,
    owner: Rc<Owner>,
    open: Rc<Open>,
    counts: Arc<ProcessCounts>,
    stop: oneshot::Receiver<()>,
) {
    let mut stop = pin!(stop);
    let mut pause = PAUSE_FIRST;
    loop {
        let next = poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        });
        match next.await {
            None => break,
            Some(Ok((socket, peer))) => {
                pause = PAUSE_FIRST;
                begin(socket, peer, &owner.place(), &open, &counts);
            }
            Some(Err(error)) if is_of_one_connection(&error) => {}
            Some(Err(error)) => {
                // Out of descriptors or memory (EMFILE, ENFILE, ENOBUFS): trying again at once would spin.
                counts.accept_failed();
                let pause_ms = pause.as_millis();
                tracing::error!(%error, listen = %listener, pause_ms, "cannot accept connections (if too many files are open: raise LimitNOFILE, `ulimit -n`)");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LONGEST);
            }
        }
    }
    listener.close(|socket, peer| begin(socket, peer, &owner.place(), &open, &counts));
}

/// Errors of accept(2) that belong to the connection that was to be accepted, not to the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn begin(socket: Socket, peer: SocketAddr, place: &Rc<Place>, open: &Rc<Open>, counts: &Arc<ProcessCounts>) {
    let entered = open.enter(Arc::clone(counts));
    let desk = Rc::clone(&place.desk());
    let place = Rc::clone(place);
    let service = &desk.service;
    if service.counts.connections() >= service.config.bounds.connections {
        tokio::task::spawn_local(async move {
            turn_away(socket, peer, place).await;
            drop(entered);
        });
        return;
    }
    let held = Held { _counted: desk.scribe.connection(), _entered: entered };
    drop(desk);
    connection::begin(socket, peer, place, held);
}

/// Tells one connection too many so, if its socket takes the answer at once. Where TLS is spoken, or a balancer's PROXY
/// header stands before the client's bytes, an answer in clear text would be taken for something else: there the
/// connection is only closed.
async fn turn_away(socket: Socket, peer: SocketAddr, place: Rc<Place>) {
    let visitor = Visitor::new(Arrival::plain(peer), place);
    let refusal = Refusal::new(Reason::Connections, "`bounds.connections` are all in use");
    let desk = Rc::clone(&visitor.desk());
    let service = &desk.service.config;
    if service.protocol == Protocol::Tcp {
        return tcp::turn_away(&visitor, &refusal);
    }
    let answer = inbound::refuse_unread(&visitor, &refusal.after(Duration::from_secs(1)), &[], &[]);
    if service.tls.is_none() && !service.proxy_protocol {
        http1::turn_away(socket.into(), &answer).await;
    }
}
