//! The HTTP/2 connections of one lane: a request gets a place on one that has room, and when all are full another one
//! is made, one at a time, so that a burst of requests does not become a burst of connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::pool::{ConnectFailure, ConnectTerms, ConnectionBound, Lane};
use super::connection::{Connection, NotHttp2, Settings, Slot};
use crate::clock::{Moment, ShardClock};

/// How long a connection is kept that has no streams. Workers keep theirs longer (nginx 75 s, gRPC's servers for ever),
/// and one that does not says GOAWAY first, which loses nothing.
pub const IDLE_TIME: Duration = Duration::from_secs(60);

/// The connections to one worker that requests share.
#[derive(Debug)]
pub struct Connections {
    made: RefCell<Vec<Rc<Connection>>>,
    /// Held by whoever makes one; the others wait and then look again.
    making: Mutex<()>,
    /// How many could not be made, and why the last one could not: who waited for it has the same answer.
    failures: Cell<(u64, NoSlot)>,
}

/// Why there is no place for a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoSlot {
    /// There is no connection.
    NotConnected(ConnectFailure),
    /// There is one, and its other end speaks something else.
    NotHttp2,
    /// There is one, and its other end says nothing.
    Silent,
}

impl From<ConnectFailure> for NoSlot {
    fn from(failure: ConnectFailure) -> Self {
        Self::NotConnected(failure)
    }
}

/// What a connection is made with, and what counts it.
pub(super) struct Terms<'a> {
    pub(super) bound: &'a Arc<ConnectionBound>,
    pub(super) connect: ConnectTerms,
    pub(super) settings: Settings,
    pub(super) clock: &'a Rc<ShardClock>,
}

impl Connections {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            made: RefCell::new(Vec::new()),
            making: Mutex::const_new(()),
            failures: Cell::new((0, NoSlot::NotHttp2)),
        }
    }

    /// A place on the oldest connection that has room for one more stream, so that those made for a burst fall idle
    /// after it. Connections that take no more streams are let go; those that they carry go on.
    pub(super) fn slot(&self, streams: usize, now: Moment) -> Option<Slot> {
        let mut made = self.made.borrow_mut();
        if made.iter().any(|connection| !connection.is_usable()) {
            made.retain(|connection| connection.is_usable());
        }
        made.iter().find(|connection| connection.has_room(streams)).map(|connection| connection.slot(now))
    }

    /// The same, on a new connection if it must be.
    pub(super) async fn slot_or_connect(&self, lane: &Lane, terms: &Terms<'_>) -> Result<Slot, NoSlot> {
        let before = self.failures.get().0;
        let waited = tokio::time::timeout(terms.connect.timeout, self.making.lock()).await;
        let Ok(_turn) = waited else { return Err(NoSlot::NotConnected(ConnectFailure::OutOfTime)) };
        if let Some(slot) = self.slot(terms.settings.streams, terms.clock.now()) {
            return Ok(slot);
        }
        let (failed, failure) = self.failures.get();
        if failed != before {
            return Err(failure);
        }
        // A request that gives up before this is done hands its turn on, and leaves no failure behind.
        match self.connect(lane, terms).await {
            Ok(connection) => {
                let slot = connection.slot(terms.clock.now());
                self.made.borrow_mut().push(connection);
                Ok(slot)
            }
            Err(failure) => {
                self.failures.set((failed + 1, failure));
                Err(failure)
            }
        }
    }

    async fn connect(&self, lane: &Lane, terms: &Terms<'_>) -> Result<Rc<Connection>, NoSlot> {
        let end = Instant::from_std(Moment::read().instant()) + terms.connect.timeout;
        let (socket, open) = lane.open(terms.bound, terms.connect).await.map_err(NoSlot::NotConnected)?;
        let begun = Connection::begin(socket, open, terms.settings, terms.clock);
        let failure = match tokio::time::timeout_at(end, begun).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(NotHttp2)) => NoSlot::NotHttp2,
            Err(_) => NoSlot::Silent,
        };
        lane.count_connect_failure();
        Err(failure)
    }

    /// Closes what has been idle for too long, or is dead. Called once a second.
    pub fn sweep(&self, now: Moment) {
        self.made
            .borrow_mut()
            .retain(|made| made.is_usable() && made.idle(now).is_none_or(|idle| idle < IDLE_TIME));
    }

    /// Closes one idle connection to make room for another; false if there is none.
    pub fn close_one(&self) -> bool {
        let mut made = self.made.borrow_mut();
        let idle = made.iter().position(|connection| connection.is_idle());
        let Some(idle) = idle else { return false };
        // What is left of it is its last words.
        made.remove(idle).count_no_more();
        true
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self::new()
    }
}
