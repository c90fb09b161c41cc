//! A client connection, as the requests that come over it see it: who is at the other end, what was learned of it, and
//! whether it is time to part.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::hint::cold_path;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use http::Version;

use super::learned::Memory;
use super::target::LastHost;
use crate::admit::caller::Peer;
use crate::clock::{Moment, ShardClock};
use crate::config::{ConnectionLife, Timeouts};
use crate::forward::headers::Origin;
use crate::forward::pace::Patience;
use crate::forward::proxy_header::Spoken;
use crate::record::shown;
use crate::refusal::{Reason, Refusal};
use crate::service::{Desk, Place, WakeCall};
use crate::tls::session::Session;

/// What is known of a connection before its first request.
#[derive(Debug)]
pub struct Arrival {
    /// The client's address, as the socket or a PROXY header says.
    pub peer: SocketAddr,
    /// The address that it connected to, if that is known and one of the network.
    pub local: Option<SocketAddr>,
    /// What its TLS handshake agreed on. None: it comes without TLS.
    pub session: Option<Box<Session>>,
    /// The address is that of a balancer, which brought a client that it has no address of.
    pub unknown: bool,
}

impl Arrival {
    /// One that comes as it is.
    pub const fn plain(peer: SocketAddr) -> Self {
        Self { peer, local: None, session: None, unknown: false }
    }

    /// One that the balancer `peer` brought without knowing from where. Workers are told of nobody: told of the
    /// balancer, they might believe the client what they believe it.
    pub fn of_unknown(peer: SocketAddr) -> Self {
        Self { unknown: true, ..Self::plain(peer) }
    }

    /// Whom a connection to a worker speaks for that carries this client's requests.
    pub(super) fn spoken(&self) -> Spoken {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        match self.local {
            Some(local) => Spoken::For { client: plain(self.peer), destination: plain(local) },
            None => Spoken::ForNobody,
        }
    }
}

/// A client connection.
#[derive(Debug)]
pub struct Visitor {
    pub(super) arrival: Arrival,
    /// Where its requests come from, as workers are told it, once one was.
    origin: RefCell<Option<Rc<Origin>>>,
    place: Rc<Place>,
    pub(super) memory: RefCell<Option<Box<Memory>>>,
    pub(super) host: RefCell<Option<Box<LastHost>>>,
    /// The client's certificate as workers are told it, once one was.
    certificate_text: OnceCell<Box<str>>,
    /// Since when `connections.max_age` counts: from the beginning, or from when a reload first asked for it.
    aged_from: Cell<Option<u64>>,
    /// Where this connection stands between the shortest and the longest age: from -1 to 1.
    jitter: f64,
    /// Requests so far.
    begun: Cell<u64>,
    busy: Cell<u32>,
    rested_at: Cell<u64>,
    parting: Cell<Parting>,
}

/// How a connection is to end after the present request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parting {
    /// Not for a reason of ours.
    #[default]
    None,
    /// The client was asked to close it, and is given a while to do so.
    Asked,
    /// Against the client's will: more of its requests may be on the way.
    TurnedOut,
}

impl Visitor {
    /// A connection that has just been accepted.
    pub fn new(arrival: Arrival, place: Rc<Place>) -> Rc<Self> {
        let now = place.clock().refresh().nanos;
        let ages = place.desk().service.config.connections.max_age.is_some();
        Rc::new(Self {
            arrival,
            origin: RefCell::default(),
            place,
            memory: RefCell::default(),
            host: RefCell::default(),
            certificate_text: OnceCell::new(),
            aged_from: Cell::new(ages.then_some(now)),
            jitter: anywhere(),
            begun: Cell::new(0),
            busy: Cell::new(0),
            rested_at: Cell::new(now),
            parting: Cell::default(),
        })
    }

    /// What the connection itself says of its client.
    pub fn credentials(&self) -> Peer<'_> {
        let session = self.arrival.session.as_deref();
        let certificate = session.and_then(|session| session.certificate.as_deref());
        Peer {
            address: self.arrival.peer.ip(),
            unknown: self.arrival.unknown,
            certificate: certificate.map(|certificate| &certificate.identity),
        }
    }

    /// Whether the fields that trusted proxies set are believed.
    pub(super) fn is_trusted(&self) -> bool {
        let memory = &mut *self.memory.borrow_mut();
        let memory = memory.get_or_insert_default();
        let desk = self.desk();
        let book = &desk.service.callers;
        if memory.trust.0 != book.number {
            cold_path();
            let trusts = book.trusts(self.arrival.peer.ip(), &mut memory.callers);
            memory.trust = (book.number, trusts && !self.arrival.unknown);
        }
        memory.trust.1
    }

    /// Whether it comes under TLS.
    pub const fn is_secure(&self) -> bool {
        self.arrival.session.is_some()
    }

    /// Whom a worker's connection speaks for, if workers are told.
    pub(super) fn spoken(&self, tells: bool) -> Spoken {
        match tells {
            true => self.arrival.spoken(),
            false => Spoken::ForNobody,
        }
    }

    /// The value of X-Forwarded-Client-Cert. None: the client showed no certificate.
    pub(super) fn certificate_text(&self) -> Option<&str> {
        let certificate = self.arrival.session.as_deref()?.certificate.as_deref()?;
        Some(self.certificate_text.get_or_init(|| certificate.forwarded().into()))
    }

    /// Refuses a request for a host whose connection was made for another: the server name of the
    /// handshake leads to one certificate and the host to a different one (RFC 9110 section 15.5.20).
    ///
    /// # Errors
    /// 421.
    pub(super) fn is_directed_here(&self, host: &str) -> Result<(), Refusal> {
        let named = self.arrival.session.as_deref().and_then(|session| session.server_name.as_deref());
        let desk = self.desk();
        let (Some(named), Some(tls)) = (named, &desk.service.tls) else { return Ok(()) };
        // A name that no certificate covers gets the first one.
        let misdirected = named != host
            && !host.is_empty()
            && tls.which(named).unwrap_or(0) != tls.which(host).unwrap_or(usize::MAX);
        if misdirected {
            let detail = "the connection was made for another server name than this host";
            return Err(Refusal::new(Reason::Misdirected, detail));
        }
        Ok(())
    }

    /// The desk of the moment.
    pub fn desk(&self) -> Ref<'_, Rc<Desk>> {
        self.place.desk()
    }

    /// The time limits of the moment.
    pub fn timeouts(&self) -> Timeouts {
        self.desk().service.config.timeouts
    }

    /// How long a client may take over a request's body.
    pub fn patience(&self) -> Patience {
        let config = &self.desk().service.config;
        Patience { gap: config.timeouts.body, rate: config.bounds.upload_rate }
    }

    /// The shard's coarse time.
    pub fn now(&self) -> Moment {
        self.place.clock().now()
    }

    /// The shard's clock.
    pub fn clock(&self) -> &ShardClock {
        self.place.clock()
    }

    /// The exact time.
    pub fn refresh_clock(&self) -> Moment {
        self.place.clock().refresh()
    }

    /// How many requests have begun to be served.
    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Whether a request is in progress, up to the last byte of its answer.
    pub fn is_busy(&self) -> bool {
        self.busy.get() > 0
    }

    /// When the last request ended, in nanoseconds of [`Moment`].
    pub fn rested_at(&self) -> u64 {
        self.rested_at.get()
    }

    /// Where its requests come from that speak this version, as workers are told it.
    pub(super) fn origin(&self, version: Version) -> Rc<Origin> {
        let origin = &mut *self.origin.borrow_mut();
        match origin {
            Some(origin) if origin.version() == version => Rc::clone(origin),
            _ => {
                let peer = shown(self.arrival.peer.ip().to_canonical());
                Rc::clone(origin.insert(Rc::new(Origin::new(peer, self.is_secure(), version))))
            }
        }
    }

    /// Nothing is asked for a while: what was remembered for requests is let go, and found again with the next one.
    pub fn rest(&self) {
        self.origin.take();
        self.memory.take();
        self.host.take();
    }

    /// Whether the service drains.
    pub fn is_draining(&self) -> bool {
        self.place.is_draining()
    }

    /// Has this task woken once the service drains, and when it asks for it, for as long as the value is there.
    pub fn wake_call(&self, waker: &Waker) -> WakeCall {
        self.place.wake_call(waker)
    }

    /// Waits until the service drains.
    pub async fn drain_begins(&self) {
        self.place.drain_begins().await;
    }

    /// Whether the client is to be asked to close after its present request: the service drains, or the connection has
    /// lived for `connections.max_age` or carried `connections.max_requests`.
    pub fn is_to_leave(&self) -> bool {
        self.is_to_leave_after(self.begun.get())
    }

    /// The same of one that has brought so many requests, of which some may not have begun.
    pub fn is_to_leave_after(&self, requests: u64) -> bool {
        if self.is_draining() {
            return true;
        }
        let max_requests = self.desk().service.config.connections.max_requests;
        let old = self.old_by_age_at().is_some_and(|old_at| self.now().nanos >= old_at);
        old || max_requests.is_some_and(|most| requests >= most)
    }

    /// When this connection will have lived for `connections.max_age`, give or take its own share of the jitter, in
    /// nanoseconds of [`Moment`]. None: it may grow as old as it likes.
    pub fn old_by_age_at(&self) -> Option<u64> {
        let ConnectionLife { max_age, jitter_percent, .. } = self.desk().service.config.connections;
        let Some(age) = max_age else {
            self.aged_from.set(None);
            return None;
        };
        let from = self.aged_from.get().unwrap_or_else(|| self.now().nanos);
        self.aged_from.set(Some(from));
        let age = jittered(age, jitter_percent, self.jitter);
        Some(from.saturating_add(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How it is to end.
    pub fn parting(&self) -> Parting {
        self.parting.get()
    }

    pub(super) fn part(&self, how: Parting) {
        if self.parting.get() != Parting::TurnedOut {
            self.parting.set(how);
        }
    }

    /// A request begins.
    pub(super) fn begin_request(self: &Rc<Self>) -> Busy {
        self.busy.set(self.busy.get() + 1);
        self.begun.set(self.begun.get() + 1);
        Busy(Rc::clone(self))
    }
}

/// A request in progress on a connection; given back on drop, also if it never comes to an answer.
#[derive(Debug)]
pub(super) struct Busy(Rc<Visitor>);

impl Busy {
    /// Whose it is.
    pub(super) const fn visitor(&self) -> &Rc<Visitor> {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let visitor = &self.0;
        visitor.busy.set(visitor.busy.get().saturating_sub(1));
        visitor.rested_at.set(visitor.now().nanos);
    }
}

/// Some place between the shortest and the longest age, each as likely as the other.
fn anywhere() -> f64 {
    fastrand::f64().mul_add(2.0, -1.0)
}

/// `age`, longer or shorter by up to `percent`; `place`, from -1 to 1, says where in between.
fn jittered(age: Duration, percent: u8, place: f64) -> Duration {
    let share = f64::from(percent) / 100.0 * place;
    age.mul_f64((1.0 + share).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_no_more_than_the_jitter() {
        let minute = Duration::from_secs(60);
        assert_eq!(jittered(minute, 0, 1.0), minute);
        assert_eq!(jittered(minute, 20, -1.0), Duration::from_secs(48));
        assert_eq!(jittered(minute, 20, 1.0), Duration::from_secs(72));
        assert_eq!(jittered(minute, 100, -1.0), Duration::ZERO);
    }

    #[test]
    fn connections_that_came_together_do_not_grow_old_together() {
        let (age, most) = (Duration::from_secs(1000), Duration::from_secs(200));
        let ages: Vec<_> = (0..10_000).map(|_| jittered(age, 20, anywhere())).collect();
        assert!(ages.iter().all(|one| one.abs_diff(age) <= most), "within the jitter");
        // In each tenth of the range about a tenth of them; 800 is more than six standard deviations below.
        for tenth in 0..10 {
            let from = age - most + most * 2 / 10 * tenth;
            let in_it = ages.iter().filter(|&one| *one >= from && *one < from + most * 2 / 10).count();
            assert!(in_it > 800, "{in_it} in tenth {tenth}");
        }
    }
}
