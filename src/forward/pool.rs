//! Connections to workers: made, kept while idle, checked before use, given back, counted. One pool per shard and
//! service; a connection never leaves its shard. Which worker gets a request is `balance`'s choice.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::alarm::Alarm;
use super::http1::Inflow;
use super::http2::Connections;
use super::proxy_header::{self, Spoken};
use crate::clock::Moment;
use crate::shard::ShardId;
use crate::socket::Socket;
use crate::workers::{Worker, Workers};

/// Idle connections kept per worker and shard; one more is closed instead of kept.
pub const IDLE_PER_WORKER: usize = 256;
/// How long a connection is kept idle if the worker does not say how long it would keep it. The shortest default
/// keep-alive among common workers is 5 s (Node.js, uvicorn); closing first avoids sending into a closing connection.
pub const IDLE_TIME: Duration = Duration::from_secs(4);
/// After so long a connection forgets whom it last rang for, which may be a task that is over, or parked. Not at once:
/// nearly always the same task is next, and need not be noted anew.
const FORGETS: Duration = Duration::from_secs(1);
/// The longest time a connection is kept idle, whatever the worker says.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// How many worker connections a service has open, over all shards, and how many it may have.
#[derive(Debug)]
pub struct ConnectionBound {
    open: AtomicU64,
}

impl ConnectionBound {
    /// None open yet.
    pub const fn new() -> Self {
        Self { open: AtomicU64::new(0) }
    }

    fn take(self: &Arc<Self>, most: u64) -> Option<ConnectionPermit> {
        let taken =
            self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        taken.ok().map(|_| ConnectionPermit(Arc::clone(self)))
    }
}

impl Default for ConnectionBound {
    fn default() -> Self {
        Self::new()
    }
}

/// One open worker connection; given back on drop.
#[derive(Debug)]
struct ConnectionPermit(Arc<ConnectionBound>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One worker as a shard sees it: the worker and the idle connections to it.
#[derive(Debug)]
pub struct Lane {
    /// The worker.
    pub worker: Arc<Worker>,
    /// Those that it is one of.
    pub(super) workers: Arc<Workers>,
    shard: ShardId,
    /// The idle connection that was used last: the least likely to be stale, and nearly always the only one that is
    /// asked for. It stands here, since of ten thousand lanes none is in a cache.
    newest: RefCell<Option<Box<Link>>>,
    /// The others, newest last: they can grow old and go.
    #[allow(clippy::vec_box, reason = "the box is what is lent")]
    older: RefCell<Vec<Box<Link>>>,
    idle_time: Cell<Duration>,
    /// Those of HTTP/2, which requests share.
    pub(super) shared: Connections,
}

/// Why a connection could not be had.
#[derive(Clone, Copy, Debug)]
pub enum ConnectFailure {
    /// `bounds.worker_connections` are open already.
    Bound,
    /// Refused, unreachable or reset.
    Refused,
    /// Not made within `timeouts.connect`.
    TimedOut,
    /// The request's own time ended first, or somebody else's turn did not: that says nothing about the worker.
    OutOfTime,
    /// This machine has no descriptor or memory for one more: the worker is not to blame.
    NoRoomHere,
}

/// What a new connection is held to.
#[derive(Clone, Copy, Debug)]
pub struct ConnectTerms {
    /// `timeouts.connect`.
    pub timeout: Duration,
    /// `bounds.worker_connections`.
    pub most: u64,
    /// Whom it speaks for, if the worker is to be told.
    pub spoken: Option<Spoken>,
}

impl Lane {
    /// A lane with no connection yet.
    pub const fn new(workers: Arc<Workers>, worker: Arc<Worker>, shard: ShardId) -> Self {
        Self {
            worker,
            workers,
            shard,
            newest: RefCell::new(None),
            older: RefCell::new(Vec::new()),
            idle_time: Cell::new(IDLE_TIME),
            shared: Connections::new(),
        }
    }

    /// The idle connection used last that is still alive and speaks for this client, or for nobody, if there is one.
    /// Each is looked at before it is handed out: one that the worker closed, or sent something unasked on (RFC 9112
    /// section 9.2), is dropped.
    pub(super) fn idle(&self, now: Moment, spoken: Option<Spoken>) -> Option<Box<Link>> {
        if let Some(newest) = self.newest.take() {
            if newest.spoken != spoken {
                self.newest.replace(Some(newest));
            } else if self.is_alive(&newest, now) {
                return Some(newest);
            }
        }
        self.older_idle(now, spoken)
    }

    #[inline(never)]
    fn older_idle(&self, now: Moment, spoken: Option<Spoken>) -> Option<Box<Link>> {
        let mut older = self.older.borrow_mut();
        loop {
            let newest = older.iter().rposition(|link| link.spoken == spoken)?;
            let link = older.remove(newest);
            if self.is_alive(&link, now) {
                return Some(link);
            }
        }
    }

    /// Whether an idle connection may still be used.
    fn is_alive(&self, link: &Link, now: Moment) -> bool {
        now.since(link.idle_since) < self.idle_time.get() && link.is_at_rest()
    }

    /// A new connection.
    ///
    /// # Errors
    /// Says why there is none; the worker's count of failures is kept here, its health by the caller.
    pub(super) async fn connect(
        &self,
        bound: &Arc<ConnectionBound>,
        terms: ConnectTerms,
    ) -> Result<Box<Link>, ConnectFailure> {
        let (socket, open) = self.open(bound, terms).await?;
        Ok(Box::new(Link {
            socket,
            inflow: Inflow::default(),
            alarm: Alarm::new(IDLE_TIME_MAX),
            reused: false,
            idle_since: Moment::read(),
            spoken: terms.spoken,
            open,
        }))
    }

    /// A connection was made and could not be used after all.
    pub(super) fn count_connect_failure(&self) {
        self.worker.counts.of(self.shard).connect_failures.add(1);
    }

    /// A new connection on which nothing is spoken yet.
    ///
    /// # Errors
    /// As of [`Lane::connect`].
    pub(super) async fn open(
        &self,
        bound: &Arc<ConnectionBound>,
        terms: ConnectTerms,
    ) -> Result<(Socket, Open), ConnectFailure> {
        let permit = bound.take(terms.most).ok_or(ConnectFailure::Bound)?;
        let counts = self.worker.counts.of(self.shard);
        counts.connects.add(1);
        let connecting = proxy_header::connect(&self.worker.address, terms.spoken);
        match tokio::time::timeout(terms.timeout, connecting).await {
            Ok(Ok(socket)) => {
                counts.connections.add(1);
                Ok((socket, Open { worker: Arc::clone(&self.worker), shard: self.shard, _permit: permit }))
            }
            Ok(Err(error)) if is_ours(&error) => Err(ConnectFailure::NoRoomHere),
            failed => {
                counts.connect_failures.add(1);
                Err(if failed.is_ok() { ConnectFailure::Refused } else { ConnectFailure::TimedOut })
            }
        }
    }

    /// Takes a connection back whose last answer is complete, if it can carry another.
    pub(super) fn give_back(&self, mut link: Box<Link>, now: Moment) {
        link.reused = true;
        link.idle_since = now;
        link.inflow.rest();
        if let Some(before) = self.newest.replace(Some(link)) {
            let mut older = self.older.borrow_mut();
            if older.len() + 1 < IDLE_PER_WORKER {
                older.push(before);
            }
        }
    }

    /// Learns how long the worker keeps idle connections; ours are closed a second earlier.
    pub fn keep_alive_said(&self, seconds: u64) {
        let time = Duration::from_secs(seconds.saturating_sub(1));
        self.idle_time.set(time.min(IDLE_TIME_MAX));
    }

    /// Closes what has been idle for too long, and what the worker has closed. Called once a second.
    pub fn sweep(&self, now: Moment) {
        let stays = |link: &mut Box<Link>| {
            if now.since(link.idle_since) >= FORGETS {
                link.alarm.forget();
            }
            self.is_alive(link, now)
        };
        let newest = self.newest.take().and_then(|mut link| stays(&mut link).then_some(link));
        self.newest.replace(newest);
        self.older.borrow_mut().retain_mut(stays);
        self.shared.sweep(now);
    }

    /// Closes one idle connection, the oldest, to make room for another; false if there is none.
    pub fn close_one(&self) -> bool {
        let mut older = self.older.borrow_mut();
        let oldest = if older.is_empty() { self.newest.take() } else { Some(older.remove(0)) };
        oldest.map(drop).is_some() || self.shared.close_one()
    }
}

/// One connection to a worker. Nothing runs in the background for it: whoever uses it reads and writes, inside the
/// request's own task. That saves two task switches a request, and back-pressure needs no channel.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: Socket,
    /// What came from the socket and was not taken yet.
    pub(super) inflow: Inflow,
    /// Rings for whoever uses the connection. It is set again only when it would ring too late, so a request that is
    /// answered in time touches no timer.
    pub(super) alarm: Alarm,
    reused: bool,
    /// Since when nobody uses it.
    idle_since: Moment,
    /// Whom the worker was told that it speaks for.
    spoken: Option<Spoken>,
    open: Open,
}

/// Counts an open connection; gives both counts back on drop.
#[derive(Debug)]
pub(super) struct Open {
    worker: Arc<Worker>,
    shard: ShardId,
    _permit: ConnectionPermit,
}

/// Out of descriptors or memory: what this machine lacks says nothing about a worker.
fn is_ours(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.counts.of(self.shard).connections.sub(1);
    }
}

impl Link {
    /// Whether it has carried a request before.
    pub(super) const fn reused(&self) -> bool {
        self.reused
    }

    /// Whether nothing came that nobody asked for: no byte, and no end.
    pub(super) fn is_at_rest(&self) -> bool {
        let read = self.socket.try_read(&mut [0]);
        self.inflow.ahead.is_empty() && read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// The socket, for something else than HTTP, with what the worker has sent already.
    pub(super) fn into_socket(self) -> (Socket, Bytes, Open) {
        (self.socket, self.inflow.ahead, self.open)
    }
}

/// The lanes of a service on one shard to the workers of now, in the order of the worker set that they belong to.
pub type Lanes = Vec<Rc<Lane>>;

/// Every lane of a service on one shard that somebody holds: besides those of now also those to workers that have left
/// the set, and those of a configuration before, as long as a request or a tunnel goes on with them. What is idle there
/// is to end in its time like any other.
#[derive(Debug, Default)]
pub(super) struct EveryLane(RefCell<Vec<Weak<Lane>>>);

impl EveryLane {
    /// One more.
    pub(super) fn add(&self, lane: Lane) -> Rc<Lane> {
        let lane = Rc::new(lane);
        self.0.borrow_mut().push(Rc::downgrade(&lane));
        lane
    }

    /// Closes what has been idle for too long, and forgets the lanes that nobody holds any more.
    pub(super) fn sweep(&self, now: Moment) {
        self.0.borrow_mut().retain(|lane| lane.upgrade().inspect(|lane| lane.sweep(now)).is_some());
    }

    /// Closes one idle connection to make room for another; false if there is none.
    pub(super) fn close_one(&self) -> bool {
        self.0.borrow().iter().filter_map(Weak::upgrade).any(|lane| lane.close_one())
    }
}
