//! What becomes of one request: filled along its way, written exactly once, when it is dropped.
//!
//! The parts of the way call the setters; nobody else writes counts or log lines of a request.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::header::{HOST, HeaderValue, REFERER, USER_AGENT};
use http::{HeaderMap, Method, Uri, Version};

use super::labels::{code_index, method_index};
use super::refusals::{Kept, TEXT_BYTES};
use super::tunnel::TunnelEnd;
use super::{Scribe, line};
use crate::clock::Moment;
use crate::refusal::{Reason, Refusal, RuleRef};

/// Shadow refusals told of one request; more are counted and not told.
const SHADOWS: usize = 8;

/// Who asked, as the log tells it.
#[derive(Clone, Debug)]
pub struct CallerNote {
    /// The caller's one name.
    pub name: Arc<str>,
    /// Its number in `callers.known` of the configuration that the scribe was made with, if it is named there.
    pub known: Option<usize>,
    /// How it was known: `api_key`, `address`.
    pub via: &'static str,
    /// The name of its tier.
    pub tier: Option<Arc<str>>,
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
    pub(super) head: Option<Head>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) caller: Option<CallerNote>,
    pub(super) refusal: Option<Refusal>,
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u16>,
    pub(super) shadows: Vec<(Arc<RuleRef>, Reason)>,
    pub(super) worker: Option<(Arc<str>, u16)>,
    pub(super) attempts: u32,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) fallback: bool,
    pub(super) queued: Option<Duration>,
    pub(super) connect: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
    /// Bytes are carried, or were: how that ended.
    pub(super) tunnel: Option<TunnelEnd>,
    /// It is a connection of `protocol: tcp`: no head, no status.
    pub(super) tcp: bool,
    pub(super) end: End,
}

/// What the log tells of a request's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) host: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
}

impl Outcome {
    pub(super) fn new(scribe: Rc<Scribe>, begun: Moment, peer: SocketAddr) -> Self {
        Self {
            scribe,
            begun,
            peer,
            client: peer.ip(),
            head: None,
            request_id: None,
            caller: None,
            refusal: None,
            status: None,
            grpc_status: None,
            shadows: Vec::new(),
            worker: None,
            attempts: 0,
            bytes_in: 0,
            bytes_out: 0,
            fallback: false,
            queued: None,
            connect: None,
            first_byte: None,
            tunnel: None,
            tcp: false,
            end: End::ClientClosed,
        }
    }

    /// The request's head; what is kept of it is shared with it, not copied.
    pub fn request(&mut self, method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) {
        let logged = self.scribe.log.is_some();
        let of_log = |name| if logged { headers.get(name).cloned() } else { None };
        self.head = Some(Head {
            method: method.clone(),
            uri: uri.clone(),
            version,
            host: headers.get(HOST).cloned(),
            user_agent: of_log(USER_AGENT),
            referer: of_log(REFERER),
        });
    }

    /// The request's identity.
    pub fn request_id(&mut self, id: HeaderValue) {
        self.request_id = Some(id);
    }

    /// The same as text.
    pub(super) fn id_text(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|id| id.to_str().ok())
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
    pub fn refused(&mut self, refusal: &Refusal) {
        self.refusal = Some(refusal.clone());
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
        limited.add(&rule.name, true, reason);
        drop(limited);
        if self.shadows.len() < SHADOWS {
            self.shadows.push((Arc::clone(rule), reason));
        }
    }

    /// An attempt is sent to this worker; the last one called is the one that the log names.
    pub fn attempt(&mut self, worker: &Arc<str>, priority: u16) {
        self.attempts += 1;
        self.worker = Some((Arc::clone(worker), priority));
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
        self.connect = Some(took);
    }

    /// Whether anyone is told of the times on the way; otherwise the clock need not be read for them.
    pub fn is_logged(&self) -> bool {
        self.scribe.log.is_some()
    }

    /// The worker's head arrived now.
    pub fn first_byte(&mut self, now: Moment) {
        self.first_byte = Some(now.since(self.begun));
    }

    /// How it ended.
    pub fn ended(&mut self, end: End) {
        self.end = end;
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

    /// Refused before any worker saw it.
    fn turned_away(&self) -> bool {
        self.attempts == 0 && self.refusal.is_some()
    }

    pub(super) fn write(&self, now: Moment) {
        let mine = self.scribe.mine();
        let (status, reason) = (self.final_status(), self.reason());
        let code = code_index(status);
        let method = method_index(self.head.as_ref().map(|head| &head.method));
        mine.active.sub(1);
        mine.requests.add(code, reason);
        mine.durations.cell(method, code).observe(now.since(self.begun));
        if self.tunnel.is_some() {
            mine.tunnels.sub(1);
        } else {
            mine.bytes_in.add(self.bytes_in);
            mine.bytes_out.add(self.bytes_out);
        }
        mine.retries.add(u64::from(self.attempts.saturating_sub(1)));
        if let Some(queued) = self.queued {
            mine.queued.observe(queued);
        }
        if let (true, Some(reason)) = (self.fallback, reason) {
            mine.fallbacks[reason.index()].add(1);
        }
        self.count_caller();
        self.count_rule();
        let sampled = if self.turned_away() { self.sample(now) } else { Some(0) };
        let Some(suppressed) = sampled else {
            mine.suppressed.add(1);
            return;
        };
        if let Some(refusal) = &self.refusal {
            let kept = self.keep(refusal, now, suppressed);
            mine.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
        if let Some(log) = &self.scribe.log {
            log.write(|settings, buffer| {
                let entry = line::Line { outcome: self, service: &self.scribe.service, now, suppressed };
                entry.write(settings, buffer);
            });
        }
    }

    fn count_caller(&self) {
        let Some(caller) = &self.caller else { return };
        let mine = self.scribe.mine();
        let allowed = !self.turned_away();
        if caller.known.is_some_and(|number| self.scribe.count_named(number, allowed)) {
            return;
        }
        mine.top.lock().unwrap_or_else(PoisonError::into_inner).add(&caller.name, allowed);
        mine.unnamed.add(allowed);
    }

    fn count_rule(&self) {
        if let Some(Refusal { rule: Some(rule), reason, .. }) = &self.refusal {
            let mut limited = self.scribe.mine().limited.lock().unwrap_or_else(PoisonError::into_inner);
            limited.add(&rule.name, false, *reason);
        }
    }

    fn sample(&self, now: Moment) -> Option<u64> {
        let mut sampler = self.scribe.sampler.borrow_mut();
        match (&self.caller, self.client) {
            (Some(caller), _) => sampler.admit(caller.name.as_bytes(), now),
            (None, IpAddr::V4(address)) => sampler.admit(&address.octets(), now),
            // A /64 is one client: whoever has it has all its addresses.
            (None, IpAddr::V6(address)) => sampler.admit(&address.octets()[..8], now),
        }
    }

    fn keep(&self, refusal: &Refusal, now: Moment, suppressed: u64) -> Kept {
        let head = self.head.as_ref();
        let host = head.and_then(|head| head.host.as_ref()).map(HeaderValue::as_bytes).unwrap_or_default();
        Kept {
            unix_micros: now.unix_micros,
            request_id: self.id_text().unwrap_or_default().to_owned(),
            caller: self.caller.as_ref().map(|caller| Arc::clone(&caller.name)),
            client: self.client,
            method: head.map(|head| cut(head.method.as_str())).unwrap_or_default(),
            host: cut(&String::from_utf8_lossy(host)),
            path: head.map(|head| cut(head.uri.path())).unwrap_or_default(),
            status: self.final_status(),
            reason: refusal.reason,
            detail: refusal.detail,
            rule: refusal.rule.clone(),
            retry_after: refusal.retry_after,
            fallback: self.fallback,
            suppressed,
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // An edge: a request ends when the last that holds it lets go, and nobody is left to hand down the time.
        self.write(Moment::read());
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES)].to_owned()
}
