//! The way of a request, in. [`serve`] is one function that reads like the map of the tree: who is calling, may they,
//! have they quota left, which worker, what came of it. Every step is one call into one folder.

mod hops;
pub mod reply;
mod request_id;
mod target;

use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::admit::caller::{CachedCaller, Caller, Who};
use crate::admit::headers::Standing;
use crate::admit::limit::{Grant, Refused};
use crate::admit::{Facts, Shadow, permission};
use crate::clock::Moment;
use crate::config::{Credential, Timeouts};
use crate::forward::headers::{self, Told};
use crate::forward::source::Source;
use crate::forward::upload::{Upload, UploadWatch};
use crate::forward::{Answer, Call};
use crate::record::{CallerNote, Outcome};
use crate::refusal::page::{self, Asked};
use crate::refusal::{Reason, Refusal};
use crate::service::{Desk, Place};
pub use reply::Reply;

/// A client connection, as the requests that come over it see it.
#[derive(Debug)]
pub struct Visitor {
    peer: SocketAddr,
    /// The peer's address as workers are told it.
    peer_text: HeaderValue,
    place: Rc<Place>,
    caller: RefCell<CachedCaller>,
    /// The last caller's name as workers are told it: on a connection it hardly ever changes.
    caller_value: RefCell<Option<(Who, HeaderValue)>>,
    /// Requests so far.
    begun: Cell<u64>,
    busy: Cell<bool>,
    answering: Cell<bool>,
    rested_at: Cell<u64>,
    turned_out: Cell<bool>,
}

impl Visitor {
    /// A connection from `peer` that has just been accepted.
    pub fn new(peer: SocketAddr, place: Rc<Place>) -> Rc<Self> {
        let rested_at = Cell::new(place.clock().refresh().nanos);
        let text = peer.ip().to_canonical().to_string();
        Rc::new(Self {
            peer,
            peer_text: HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown")),
            place,
            caller: RefCell::default(),
            caller_value: RefCell::default(),
            begun: Cell::new(0),
            busy: Cell::new(false),
            answering: Cell::new(false),
            rested_at,
            turned_out: Cell::new(false),
        })
    }

    /// The desk of the moment.
    pub fn desk(&self) -> Ref<'_, Rc<Desk>> {
        self.place.desk()
    }

    /// The time limits of the moment.
    pub fn timeouts(&self) -> Timeouts {
        self.desk().service.config.timeouts
    }

    /// The shard's coarse time.
    pub fn now(&self) -> Moment {
        self.place.clock().now()
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
        self.busy.get()
    }

    /// Whether the answer to the request in progress has begun.
    pub fn is_answering(&self) -> bool {
        self.answering.get()
    }

    /// When the last request ended, in nanoseconds of [`Moment`].
    pub fn rested_at(&self) -> u64 {
        self.rested_at.get()
    }

    /// Whether the connection is to close after the present request.
    pub fn is_draining(&self) -> bool {
        self.place.is_draining()
    }

    /// Whether the last answer ended the connection against the client's will: more of its requests may be on the way.
    pub fn is_turned_out(&self) -> bool {
        self.turned_out.get()
    }

    /// Waits until it is to close after the present request.
    pub async fn drain_begins(&self) {
        self.place.drain_begins().await;
    }

    fn caller_value(&self, caller: &Caller, name: &str) -> HeaderValue {
        let mut kept = self.caller_value.borrow_mut();
        match &*kept {
            // A reload may give a number to somebody else, so the name is compared too.
            Some((who, value)) if *who == caller.who && value == name => value.clone(),
            _ => {
                let value = HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("unnamed"));
                *kept = Some((caller.who.clone(), value.clone()));
                value
            }
        }
    }

    fn rest(&self) {
        self.busy.set(false);
        self.answering.set(false);
        self.rested_at.set(self.now().nanos);
    }
}

/// A request on its way, with what is learned of it.
struct Journey<'a> {
    desk: &'a Desk,
    visitor: &'a Visitor,
    now: Moment,
    /// In a box, since it goes along to the end of the answer and is large.
    outcome: Box<Outcome>,
    request_id: HeaderValue,
    caller: Option<Caller>,
    standing: Option<Standing>,
    upload: UploadWatch,
    refused: bool,
}

/// Serves one request, whatever becomes of it.
pub async fn serve(visitor: &Rc<Visitor>, request: Request<Incoming>) -> Response<Reply> {
    visitor.busy.set(true);
    visitor.begun.set(visitor.begun.get() + 1);
    let now = visitor.refresh_clock();
    let desk = Rc::clone(&visitor.desk());
    let (mut parts, body) = request.into_parts();
    let trusted = desk.service.callers.is_trusted(visitor.peer.ip());
    let mut journey = Journey {
        desk: &desk,
        visitor,
        now,
        outcome: Box::new(desk.scribe.begin(now, visitor.peer)),
        request_id: request_id::of(&parts.headers, trusted, now),
        caller: None,
        standing: None,
        upload: UploadWatch::default(),
        refused: false,
    };
    journey.outcome.request(&parts.method, &parts.uri, parts.version, &parts.headers);
    journey.outcome.request_id(journey.request_id.clone());
    let (accept, method) = (accepted(&parts.headers), parts.method.clone());
    let passed = pass(&mut journey, &mut parts, body, trusted).await;
    let answered = match passed {
        Ok(answered) => answered,
        Err(refusal) => (journey.refuse(&refusal, accept.as_ref()), None),
    };
    journey.finish(visitor, &method, answered)
}

/// The way itself: each step may refuse, and a refusal ends it.
async fn pass(
    journey: &mut Journey<'_>,
    parts: &mut Parts,
    body: Incoming,
    trusted: bool,
) -> Result<(Response<Answer>, Option<Grant>), Refusal> {
    let (desk, visitor, now) = (journey.desk, journey.visitor, journey.now);
    let service = &desk.service;
    let asked = target::read(&parts.method, &parts.uri, &parts.headers)?;
    let peer = visitor.peer.ip();

    // Who is calling?
    let caller = service.callers.identify(peer, &parts.headers, &mut visitor.caller.borrow_mut())?;
    journey.note_caller(&caller);
    let name = service.callers.name(&caller);

    // May they, and have they quota left? What is known to be too long is not charged for.
    let facts = Facts { method: &parts.method, host: &asked.host, path: asked.path() };
    let mut shadows = Vec::new();
    let judged = permission::judge(&service.config.permissions, (&caller, name), &facts, now, &mut shadows);
    let admitted = judged.and_then(|()| fits(&parts.headers, service.config.bounds.body_bytes));
    let charged = admitted
        .map_err(Refused::without_standing)
        .and_then(|()| service.limits.charge(&caller, &facts, now, &mut shadows));
    journey.note_shadows(&shadows);
    let grant = match charged {
        Ok(grant) => grant,
        Err(refused) => {
            journey.standing = refused.standing;
            return Err(refused.refusal);
        }
    };
    journey.standing = grant.standing;

    // Which worker, and what does it say?
    let (uri, authority) = (asked.uri(&parts.uri)?, asked.authority.map(Cow::into_owned));
    if let Some(answer) = hops::count_down(&parts.method, &mut parts.headers) {
        return Ok((answer, Some(grant)));
    }
    // The key is the caller's secret and this door's business: the worker gets the name instead.
    if service.callers.callers().identify.contains(&Credential::ApiKey) {
        parts.headers.remove(&service.callers.callers().api_key_header);
    }
    let told = Told {
        peer: &visitor.peer_text,
        trusted,
        caller: visitor.caller_value(&caller, name),
        request_id: journey.request_id.clone(),
        version: parts.version,
        authority: authority.as_deref(),
        chunked: parts.headers.contains_key(TRANSFER_ENCODING),
        nameless_host: service.config.name.as_str(),
    };
    let order = order(parts, body, uri, &told, service.config.bounds.body_bytes);
    let until = service.config.timeouts.total.map(|total| Instant::from_std(now.instant()) + total);
    journey.upload = order.body().watch();
    let call = Call { until, early: None };
    let response = desk.route.send(order, call, &mut journey.outcome).await?;
    Ok((response, Some(grant)))
}

/// What the client accepts, for a page of our own; the lines of the field are one list (RFC 9110 section 5.3).
fn accepted(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(ACCEPT).iter();
    let first = lines.next()?.clone();
    let joined = lines.fold(None, |joined: Option<Vec<u8>>, line| {
        let mut joined = joined.unwrap_or_else(|| first.as_bytes().to_vec());
        joined.extend_from_slice(b",");
        joined.extend_from_slice(line.as_bytes());
        Some(joined)
    });
    joined.and_then(|joined| HeaderValue::from_bytes(&joined).ok()).or(Some(first))
}

/// A body that says it is longer than allowed is refused before anything of it is sent.
fn fits(headers: &HeaderMap, most: Option<u64>) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match (length, most) {
        (Some(length), Some(most)) if length > most => {
            Err(Refusal::new(Reason::BodyTooLarge, "`Content-Length` is more than `bounds.body_bytes`"))
        }
        _ => Ok(()),
    }
}

/// The request as the worker gets it.
fn order(parts: &mut Parts, body: Incoming, uri: Uri, told: &Told<'_>, most: Option<u64>) -> Request<Upload> {
    let continues = parts.version == Version::HTTP_11
        && parts
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    headers::to_worker(&mut parts.headers, told);
    let mut order = Request::new(Upload::new(Source::Http1(body), most.unwrap_or(u64::MAX), continues));
    *order.method_mut() = parts.method.clone();
    *order.uri_mut() = uri;
    *order.headers_mut() = std::mem::take(&mut parts.headers);
    order
}

impl Journey<'_> {
    fn note_caller(&mut self, caller: &Caller) {
        self.outcome.client(caller.client);
        self.outcome.caller(caller_note(self.desk, caller));
        self.caller = Some(caller.clone());
    }

    fn note_shadows(&mut self, shadows: &[Shadow]) {
        for shadow in shadows {
            self.outcome.shadow(&shadow.rule, shadow.reason);
        }
    }

    fn refuse(&mut self, refusal: &Refusal, accept: Option<&HeaderValue>) -> Response<Answer> {
        self.outcome.refused(refusal);
        self.refused = true;
        if let (None, Some(caller)) = (&self.standing, &self.caller) {
            self.standing = self.desk.service.limits.peek_enforced(caller, self.now);
        }
        let callers = &self.desk.service.callers;
        // Only who showed a credential is told its name: an address says nothing new to a stranger.
        let known = self.caller.as_ref().filter(|caller| caller.known().is_some());
        let asked = Asked {
            request_id: self.request_id.to_str().unwrap_or(""),
            plain: page::wants_plain(accept),
            caller: known.map(|caller| callers.name(caller)),
            key_header: Some(callers.callers().api_key_header.as_str()),
        };
        let mut response = page::page(refusal, &asked).map(|bytes: Bytes| Answer::Own(Some(bytes)));
        // Who sends what can be read in two ways, or what is never forwarded, is not asked for a second request: what
        // comes behind it may be a part of the first one. Nor is who sends more than is read.
        if matches!(
            refusal.reason,
            Reason::BadRequest | Reason::HttpVersion | Reason::MethodRefused | Reason::BodyTooLarge
        ) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            self.visitor.turned_out.set(true);
        }
        response
    }

    /// Completes the head of the answer, and ties to its body everything that ends with its last byte.
    fn finish(
        mut self,
        visitor: &Rc<Visitor>,
        method: &Method,
        (response, grant): (Response<Answer>, Option<Grant>),
    ) -> Response<Reply> {
        let (mut head, answer) = response.into_parts();
        head.headers.insert(page::REQUEST_ID, self.request_id);
        if let (Some(standing), Some(caller)) = (&self.standing, &self.caller) {
            let limits = &self.desk.service.limits;
            limits.write_headers(caller, standing, self.refused, &mut head.headers);
        }
        if visitor.is_draining() {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        visitor.answering.set(true);
        self.outcome.status(head.status.as_u16());
        let reply = Reply::new(answer, self.outcome, grant, self.upload, Rc::clone(visitor), method);
        Response::from_parts(head, reply)
    }
}

fn caller_note(desk: &Desk, caller: &Caller) -> CallerNote {
    let callers = &desk.service.callers;
    CallerNote {
        name: callers.shared_name(caller),
        known: caller.known(),
        via: caller.via.word(),
        tier: caller.tier.and_then(|tier| callers.callers().tiers.get(tier)).map(|tier| tier.name.clone()),
    }
}

/// Answers and records a request that never became one: its head was refused before hyper saw it. Returns the bytes
/// to send.
pub fn refuse_unread(visitor: &Visitor, refusal: &Refusal, method: &[u8], target: &[u8]) -> Vec<u8> {
    let now = visitor.refresh_clock();
    let desk = Rc::clone(&visitor.desk());
    let mut outcome = desk.scribe.begin(now, visitor.peer);
    let request_id = request_id::new(now);
    // What is left of the request line is logged if it makes sense at all.
    let uri = std::str::from_utf8(target).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    if let Ok(method) = Method::from_bytes(method) {
        outcome.request(&method, &uri, Version::HTTP_11, &HeaderMap::new());
    }
    outcome.request_id(request_id.clone());
    if let Ok(caller) =
        desk.service.callers.identify(visitor.peer.ip(), &HeaderMap::new(), &mut visitor.caller.borrow_mut())
    {
        outcome.caller(caller_note(&desk, &caller));
    }
    outcome.refused(refusal);
    outcome.status(refusal.reason.status());
    outcome.ended(crate::record::End::Complete);
    page::raw(refusal, &Asked { request_id: request_id.to_str().unwrap_or(""), ..Asked::default() })
}
