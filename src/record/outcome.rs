//! What becomes of one request: filled along its way, written exactly once, when it is dropped.
//!
//! The parts of the way call the setters; nobody else writes counts or log lines of a request.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::Method;

use super::Scribe;
use super::labels::method_index;
use super::told::{Part, Told};
use super::tunnel::Tunnel;
use crate::clock::Moment;
use crate::message::RequestHead;
use crate::refusal::{Reason, Refusal, RuleRef};

/// Shadow refusals told of one request; more are counted and not told.
const SHADOWS: usize = 8;

/// Who asked, as the log tells it.
#[derive(Clone, Debug)]
pub struct CallerNote {
    /// Who it is.
    pub who: Asker,
    /// How it was known: `api_key`, `address`.
    pub via: &'static str,
    /// Its tier, as an index into the `tiers` of the configuration that the scribe was made with.
    pub tier: Option<usize>,
}

/// A caller: its name is looked up when it is told, so that shards do not meet at a count of who holds it.
#[derive(Clone, Debug)]
pub enum Asker {
    /// Its number in `callers.known` of the configuration that the scribe was made with.
    Known(usize),
    /// The name of one that is not named there.
    Other(Arc<str>),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole answer was sent, Buckler's own or a worker's.
    Complete,
    /// The client went away before that.
    ClientClosed,
    /// Buckler cut the answer off after its head was sent, for this reason.
    Cut(Reason),
}

/// One request and what became of it. Counted and logged when it is dropped; without a word on how it ended, the
/// client is taken to have gone away, which is what dropping a request's future means.
#[derive(Debug)]
pub struct Outcome {
    pub(super) scribe: Rc<Scribe>,
    pub(super) begun: Moment,
    pub(super) peer: SocketAddr,
    pub(super) client: IpAddr,
    /// Its place among the methods that are counted.
    pub(super) method: u8,
    /// None: nobody is told of it, as far as is known.
    pub(super) told: Option<Box<Told>>,
    pub(super) caller: Option<CallerNote>,
    pub(super) refusal: Option<Refusal>,
    /// Whether the refusal is written down, and how many were not before it, once that is decided.
    pub(super) sampled: Option<Option<u64>>,
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u16>,
    pub(super) attempts: u32,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) fallback: bool,
    pub(super) queued: Option<Duration>,
    /// Bytes are carried, or were.
    pub(super) tunnel: Option<Box<Tunnel>>,
    /// It is a connection of `protocol: tcp`: no head, no status.
    pub(super) tcp: bool,
    pub(super) end: End,
    /// When it was over, if that is known without another look at the clock.
    over: Option<Moment>,
}

impl Outcome {
    #[inline(always)]
    pub(super) fn new(scribe: Rc<Scribe>, begun: Moment, peer: SocketAddr) -> Self {
        Self {
            told: scribe.log.as_ref().map(|log| log.told()),
            scribe,
            begun,
            peer,
            client: peer.ip(),
            method: method_index(None),
            caller: None,
            refusal: None,
            sampled: None,
            status: None,
            grpc_status: None,
            attempts: 0,
            bytes_in: 0,
            bytes_out: 0,
            fallback: false,
            queued: None,
            tunnel: None,
            tcp: false,
            end: End::ClientClosed,
            over: None,
        }
    }

    /// The request's method: all that is counted of its head.
    pub fn method(&mut self, method: &Method) {
        self.method = method_index(Some(method));
    }

    /// The request's head, for those who are told of it ([`Self::is_logged`], [`Self::is_kept`]).
    pub fn request(&mut self, head: &RequestHead) {
        self.method(&head.method);
        let told = self.told.get_or_insert_with(Told::nothing);
        told.note_head(head);
        if let Some(host) = head.fields.get("host") {
            told.note(Part::Host, host);
        }
        let Some(log) = &self.scribe.log else { return };
        if let Some(agent) = head.fields.get("user-agent") {
            told.note(Part::UserAgent, agent);
        }
        if let (true, Some(referer)) = (log.tells_referer(), head.fields.get("referer")) {
            told.note(Part::Referer, referer);
        }
        if let (true, Some(query)) = (log.tells_query(), head.target.query()) {
            told.note(Part::Query, query.as_bytes());
        }
    }

    /// The request's identity, for those who are told of it.
    pub fn request_id(&mut self, id: &[u8]) {
        self.told.get_or_insert_with(Told::nothing).note(Part::RequestId, id);
    }

    /// One of the texts that are told, if it is there.
    pub(super) fn part(&self, part: Part) -> Option<&[u8]> {
        self.told.as_ref()?.get(part)
    }

    /// The client's address where a trusted proxy told it; otherwise it is the peer's.
    pub fn client(&mut self, address: IpAddr) {
        self.client = address;
    }

    /// Who is calling.
    pub fn caller(&mut self, caller: CallerNote) {
        self.caller = Some(caller);
    }

    /// Buckler answers by itself. If that happens more than once, the last counts.
    pub fn refused(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
    }

    /// Whether the refusal is written down: not each one of a flood is. To be asked once there is one, and nothing is
    /// tried any more.
    pub fn is_kept(&mut self) -> bool {
        let now = self.queued.map_or(self.begun, |queued| self.begun.plus(queued));
        let sampled = *self.sampled.insert(if self.is_turned_away() { self.sample(now) } else { Some(0) });
        sampled.is_some()
    }

    /// The client gets the operator's `fallback` instead of the refusal.
    pub fn fell_back(&mut self) {
        self.fallback = true;
    }

    /// The status of the head that is sent to the client.
    pub fn status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// The `grpc-status` of a gRPC answer, if it has said one.
    pub fn grpc_status(&mut self, status: Option<u16>) {
        self.grpc_status = status.or(self.grpc_status);
    }

    /// A rule or limit in shadow would have refused.
    pub fn shadow(&mut self, rule: &Arc<RuleRef>, reason: Reason) {
        let mut limited = self.scribe.mine().limited.lock().unwrap_or_else(PoisonError::into_inner);
        limited.of(&rule.name).add(true, reason);
        drop(limited);
        if let Some(told) = self.told.as_mut().filter(|told| told.shadows.len() < SHADOWS) {
            told.shadows.push((Arc::clone(rule), reason));
        }
    }

    /// An attempt is sent to this worker; the last one called is the one that the log names.
    pub fn attempt(&mut self, worker: &Arc<str>, priority: u16) {
        self.attempts += 1;
        if let Some(told) = &mut self.told {
            told.note(Part::Worker, worker.as_bytes());
            told.priority = priority;
        }
    }

    /// So many bytes of the request's body arrived.
    pub fn bytes_in(&mut self, n: u64) {
        self.bytes_in += n;
    }

    /// So many bytes of the answer's body were sent.
    pub fn bytes_out(&mut self, n: u64) {
        self.bytes_out += n;
    }

    /// So long the request waited for its turn, in addition to what it waited before.
    pub fn queued(&mut self, took: Duration) {
        self.queued = Some(self.has_queued() + took);
    }

    /// How long it has waited for its turn so far.
    pub fn has_queued(&self) -> Duration {
        self.queued.unwrap_or_default()
    }

    /// It would have been sent once more, but for `retries.budget`.
    pub fn retry_denied(&self) {
        self.scribe.mine().retries_denied.add(1);
    }

    /// How long the worker's connection took to be made.
    pub fn connected(&mut self, took: Duration) {
        if let Some(told) = &mut self.told {
            told.connect = Some(took);
        }
    }

    /// Whether anyone is told of the times on the way; otherwise the clock need not be read for them.
    pub fn is_logged(&self) -> bool {
        self.scribe.log.is_some()
    }

    /// The worker's head arrived now.
    pub fn first_byte(&mut self, now: Moment) {
        if let Some(told) = &mut self.told {
            told.first_byte = Some(now.since(self.begun));
        }
    }

    /// How it ended.
    pub fn ended(&mut self, end: End) {
        self.end = end;
    }

    /// It is over, all that is left being done in no time, as of a clock that was read for another reason. Of what was
    /// sent to no worker, who reads the log is told the exact time.
    pub fn over(&mut self, now: Moment) {
        self.over = Some(now);
    }

    /// When the request's head arrived.
    pub fn begun(&self) -> Moment {
        self.begun
    }

    /// Why it did not go well, if it did not.
    pub fn reason(&self) -> Option<Reason> {
        match (&self.refusal, self.end) {
            (Some(refusal), _) => Some(refusal.reason),
            (None, End::Complete) => None,
            (None, End::ClientClosed) => Some(Reason::ClientClosed),
            (None, End::Cut(reason)) => Some(reason),
        }
    }

    /// The status that was sent, or would have been (499 for a client that went away before it). 0: there is none,
    /// since HTTP is not spoken.
    pub(super) fn final_status(&self) -> u16 {
        if self.tcp {
            return 0;
        }
        self.status.or_else(|| self.reason().map(Reason::status)).unwrap_or(Reason::Internal.status())
    }

    /// Whether it was refused before any worker saw it.
    pub fn is_turned_away(&self) -> bool {
        self.attempts == 0 && self.refusal.is_some()
    }

    /// The caller's name.
    pub(super) fn caller_name(&self) -> Option<&Arc<str>> {
        match (&self.caller.as_ref()?.who, &self.tunnel) {
            (Asker::Other(name), _) => Some(name),
            (Asker::Known(_), Some(tunnel)) => tunnel.caller.as_ref(),
            (Asker::Known(number), None) => self.scribe.caller_name(*number),
        }
    }

    /// The name of the caller's tier.
    pub(super) fn tier_name(&self) -> Option<&Arc<str>> {
        let tier = self.caller.as_ref()?.tier?;
        match &self.tunnel {
            Some(tunnel) => tunnel.tier.as_ref(),
            None => self.scribe.tier_name(tier),
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // An edge: a request ends when the last that holds it lets go, and nobody is left to hand down the time.
        let over = self.over.filter(|_| !self.is_logged() || self.attempts > 0);
        self.write(over.unwrap_or_else(Moment::read));
        if let (Some(log), Some(told)) = (&self.scribe.log, self.told.take()) {
            log.take_back(told);
        }
    }
}
