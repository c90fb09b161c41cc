//! The way of a request, in. [`serve`] is one function that reads like the map of the tree: who is calling, may they,
//! is there room and quota left, which worker, what came of it. Every step is one call into one folder.

mod grpc;
mod hops;
mod http2_head;
mod key;
mod refused;
pub mod reply;
mod request_id;
mod room;
mod target;
pub mod tcp;
pub mod visitor;

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, Uri, Version};
use http_body::Body;
use tokio::time::Instant;

use crate::admit::caller::Caller;
use crate::admit::headers::Standing;
use crate::admit::limit::Refused;
use crate::admit::{Facts, Shadow, permission};
use crate::clock::Moment;
use crate::config::{self, Credential, WorkerProtocol};
use crate::forward::early::Early;
use crate::forward::headers::{self, Told};
use crate::forward::source::Source;
use crate::forward::upgrade::Wish;
use crate::forward::upload::{Upload, UploadWatch};
use crate::forward::{Answer, Call, upgrade};
use crate::record::{CallerNote, Outcome};
use crate::refusal::page;
use crate::refusal::{self, Reason, Refusal};
use crate::service::Desk;
use crate::workers::CallerGroup;
pub use refused::refuse_unread;
pub use reply::Reply;
use room::{Admission, Asking};
use visitor::Busy;
pub use visitor::{Arrival, Parting, Visitor};

/// A request on its way, with what is learned of it.
struct Journey<'a> {
    desk: &'a Desk,
    visitor: &'a Visitor,
    now: Moment,
    /// In a box, since it goes along to the end of the answer and is large.
    outcome: Box<Outcome>,
    busy: Busy,
    request_id: HeaderValue,
    caller: Option<Caller>,
    standing: Option<Standing>,
    upload: UploadWatch,
    refused: bool,
    version: Version,
    /// The content type of a gRPC request over HTTP/2: a refusal is then one that gRPC reads.
    grpc: Option<HeaderValue>,
}

/// Serves one request, whatever becomes of it. Interim answers are left in `early`.
pub async fn serve(visitor: &Rc<Visitor>, request: Request<Source>, early: &Early) -> Response<Reply> {
    let busy = visitor.begin_request();
    early.begin();
    let now = visitor.refresh_clock();
    let desk = Rc::clone(&visitor.desk());
    let (mut parts, body) = request.into_parts();
    let trusted = visitor.is_trusted();
    let mut journey = Journey {
        busy,
        desk: &desk,
        visitor,
        now,
        outcome: Box::new(desk.scribe.begin(now, visitor.arrival.peer)),
        request_id: request_id::of(&parts.headers, trusted, now),
        caller: None,
        standing: None,
        upload: UploadWatch::default(),
        refused: false,
        version: parts.version,
        grpc: (parts.version == Version::HTTP_2)
            .then(|| refusal::grpc::content_type(&parts.headers))
            .flatten(),
    };
    journey.outcome.request(&parts.method, &parts.uri, parts.version, &parts.headers);
    journey.outcome.request_id(journey.request_id.clone());
    let (accept, method) = (refused::accepted(&parts.headers), parts.method.clone());
    let passed = pass(&mut journey, &mut parts, body, (trusted, early)).await;
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
    body: Source,
    (trusted, early): (bool, &Early),
) -> Result<(Response<Answer>, Option<Admission>), Refusal> {
    let (desk, visitor, now) = (journey.desk, journey.visitor, journey.now);
    let service = &desk.service;
    http2_head::judge(parts, &service.config.bounds)?;
    http2_head::judge_extended(parts, &service.config)?;
    let (until, haste) = journey.until(parts)?;
    let asked = target::read(&parts.method, &parts.uri, &parts.headers)?;
    visitor.is_directed_here(&asked.host)?;

    // Who is calling?
    let caller = service.callers.identify(
        visitor.credentials(),
        &parts.headers,
        visitor.caller.borrow_mut().get_or_insert_default(),
    )?;
    journey.note_caller(&caller);
    let name = service.callers.name(&caller);

    // May they? What is known to be too long is not charged for.
    let facts = Facts { method: &parts.method, host: &asked.host, path: asked.path() };
    let mut shadows = Vec::new();
    let judged = permission::judge(&service.config.permissions, (&caller, name), &facts, now, &mut shadows);
    let may = judged.and_then(|()| fits(&parts.headers, service.config.bounds.body_bytes));

    // Is there room, and have they quota left?
    let key = key::of(&service.config.balance, &parts.headers, name);
    let asking = Asking { desk, clock: visitor.clock(), caller: &caller, facts: &facts, key, until };
    let admitted = match may {
        Ok(()) => room::enter(&asking, now, &mut journey.outcome, &mut shadows).await,
        Err(refusal) => Err(Refused::without_standing(refusal)),
    };
    journey.note_shadows(&shadows);
    let mut admission = journey.stands(admitted)?;
    let reserved = std::mem::take(&mut admission.reserved);

    // Which worker, and what does it say?
    let (uri, authority) = (asked.uri(&parts.uri)?, asked.authority.map(Cow::into_owned));
    if let Some(answer) = hops::count_down(&parts.method, &mut parts.headers) {
        return Ok((answer, Some(admission)));
    }
    // The key is the caller's secret and this door's business: the worker gets the name instead.
    if service.callers.callers().identify.contains(&Credential::ApiKey) {
        parts.headers.remove(&service.callers.callers().api_key_header);
    }
    let told = Told {
        peer: &visitor.peer_value(),
        secure: visitor.is_secure(),
        certificate: service.config.forward_client_certificate.then(|| visitor.certificate_value()).flatten(),
        trusted,
        caller: visitor.caller_value(&caller, name),
        request_id: journey.request_id.clone(),
        version: parts.version,
        authority: authority.as_deref(),
        chunked: is_chunked(parts, &body),
        nameless_host: service.config.name.as_str(),
    };
    let (order, upgrade) = order(parts, body, uri, &told, &service.config);
    journey.upload = order.body().watch();
    let early = (parts.version != Version::HTTP_10).then_some(early);
    let group = CallerGroup::of(caller.hash);
    let (spoken, upgrade) = (visitor.arrival.spoken(), upgrade.as_ref());
    let call = Call { until, haste, key, group, early, spoken, upgrade };
    let response = desk.route.send(order, reserved, call, &mut journey.outcome).await?;
    Ok((unmisleading(parts, response)?, Some(admission)))
}

/// The worker's answer, unless the client would take it for an agreement to go on with another protocol.
fn unmisleading(asked: &Parts, response: Response<Answer>) -> Result<Response<Answer>, Refusal> {
    let switched = matches!(response.body(), Answer::Switched(_));
    if !switched && upgrade::is_misleading(asked, response.status()) {
        let detail = "the worker did not agree to go on with another protocol";
        return Err(Refusal::new(Reason::WorkerProtocol, detail));
    }
    Ok(response)
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

/// Whether the body's length is not known before its end.
fn is_chunked(parts: &Parts, body: &Source) -> bool {
    match body {
        Source::Http1(_) => parts.headers.contains_key(TRANSFER_ENCODING),
        Source::None => false,
        Source::Http2(_) => !body.is_end_stream() && !parts.headers.contains_key(CONTENT_LENGTH),
    }
}

/// The request as the worker gets it, and the protocol that it asks to go on with.
fn order(
    parts: &mut Parts,
    body: Source,
    uri: Uri,
    told: &Told<'_>,
    service: &config::Service,
) -> (Request<Upload>, Option<Wish>) {
    let continues = parts.version != Version::HTTP_10
        && parts
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let upgrade = match service.worker_protocol {
        WorkerProtocol::Http1 => upgrade::asked(parts, &service.upgrades),
        // HTTP/2 has no upgrade (RFC 9113 section 8.6).
        WorkerProtocol::Http2 => None,
    };
    headers::to_worker(&mut parts.headers, told);
    if let Some(wish) = &upgrade {
        headers::ask_upgrade(&mut parts.headers, &wish.protocol);
    }
    let most = service.bounds.body_bytes.unwrap_or(u64::MAX);
    let upload = Upload::new(body, most, continues);
    // What frames the next hop is the body that is sent, never a client's word for it.
    if upload.is_none() && parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let mut order = Request::new(upload);
    *order.method_mut() = parts.method.clone();
    *order.uri_mut() = uri;
    *order.headers_mut() = std::mem::take(&mut parts.headers);
    (order, upgrade)
}

impl Journey<'_> {
    /// Whether the connection carries this request and no other at the time.
    fn one_at_a_time(&self) -> bool {
        self.version != Version::HTTP_2
    }

    /// When all must be over, answer and all: the operator says it, and a gRPC client if it waits for less, which is
    /// then told beside it.
    fn until(&self, parts: &mut Parts) -> Result<(Option<Instant>, Option<Instant>), Refusal> {
        let total = self.desk.service.config.timeouts.total;
        let asked = match &self.grpc {
            Some(_) => grpc::timeout(&mut parts.headers, total)?,
            None => None,
        };
        let at = |wait: Duration| Instant::from_std(self.now.instant()).checked_add(wait);
        let haste = asked.filter(|asked| total.is_none_or(|total| *asked < total)).and_then(at);
        Ok((haste.or(total.and_then(at)), haste))
    }

    fn note_caller(&mut self, caller: &Caller) {
        self.outcome.client(caller.client);
        self.outcome.caller(caller_note(self.desk, caller));
        self.caller = Some(caller.clone());
    }

    /// Notes how the caller stands with its rate, admitted or not.
    fn stands(&mut self, admitted: Result<Admission, Refused>) -> Result<Admission, Refusal> {
        self.standing = match &admitted {
            Ok(admission) => admission.grant.standing,
            Err(refused) => refused.standing,
        };
        admitted.map_err(|refused| refused.refusal)
    }

    fn note_shadows(&mut self, shadows: &[Shadow]) {
        for shadow in shadows {
            self.outcome.shadow(&shadow.rule, shadow.reason);
        }
    }

    /// Completes the head of the answer, and ties to its body everything that ends with its last byte.
    fn finish(
        mut self,
        visitor: &Rc<Visitor>,
        method: &Method,
        (response, admission): (Response<Answer>, Option<Admission>),
    ) -> Response<Reply> {
        let (mut head, answer) = response.into_parts();
        let one_at_a_time = self.one_at_a_time();
        head.headers.insert(page::REQUEST_ID, self.request_id);
        if let (Some(standing), Some(caller)) = (&self.standing, &self.caller) {
            let limits = &self.desk.service.limits;
            limits.write_headers(caller, standing, self.refused, &mut head.headers);
        }
        // What goes on with another protocol leaves in that protocol's own way.
        let switched = matches!(answer, Answer::Switched(_));
        if switched && !one_at_a_time {
            upgrade::say_in_http2(&mut head);
        }
        if one_at_a_time && !switched && visitor.is_to_leave() {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            visitor.part(Parting::Asked);
        }
        self.upload.answer_begins();
        let grpc = self.grpc.is_some();
        if grpc {
            self.outcome.grpc_status(refusal::grpc::told(&head.headers));
        }
        // A refused gRPC request is told 200; the log and the metrics go on telling what the refusal means.
        if !(grpc && self.refused) {
            self.outcome.status(head.status.as_u16());
        }
        // A length that was promised cannot be cut short by trailers.
        let grpc = grpc && !head.headers.contains_key(CONTENT_LENGTH);
        let reply = Reply::new(answer, self.outcome, admission, self.upload, self.busy, method);
        let reply = if grpc { reply.of_grpc() } else { reply };
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
