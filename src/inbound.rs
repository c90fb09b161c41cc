//! The way of a request, in. [`serve`] is one function that reads like the map of the tree: who is calling, may they,
//! is there room and quota left, which worker, what came of it. Every step is one call into one folder.

mod grpc;
mod hops;
mod http2_head;
mod key;
mod learned;
mod order;
mod refused;
mod reply;
mod request_id;
mod room;
mod target;
pub mod tcp;
pub mod visitor;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use http::header::HeaderValue;
use tokio::time::Instant;

use crate::admit::caller::{Caller, Who};
use crate::admit::headers::Standing;
use crate::admit::limit::Refused;
use crate::admit::{Facts, Shadow, permission};
use crate::clock::Moment;
use crate::fields::{Fields, text};
use crate::forward::early::Early;
use crate::forward::headers;
use crate::forward::seen::Has;
use crate::forward::source::Source;
use crate::forward::upload::Upload;
use crate::forward::{Answer, Call, Reserved, upgrade};
use crate::message::{Request, RequestHead, Response};
use crate::record::{Asker, CallerNote, Outcome};
use crate::refusal::{self, Reason, Refusal};
use crate::service::Desk;
use crate::workers::CallerGroup;
use order::{Left, Said, Sender};
pub use refused::refuse_unread;
use reply::Held;
pub use reply::Reply;
use request_id::RequestId;
use room::{Admission, Asking};
pub use visitor::{Arrival, Parting, Visitor};

/// A request on its way, with what is learned of it.
struct Journey<'a> {
    desk: &'a Desk,
    visitor: &'a Visitor,
    now: Moment,
    held: Box<Held>,
    request_id: RequestId,
    caller: Option<Caller>,
    standing: Option<Standing>,
    /// Which fields its head has, once that was looked at.
    has: Option<Has>,
    /// Some once the request is made fit for its worker.
    left: Option<Left>,
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
    let Request { head, body } = request;
    let mut order = Request { head, body: Upload::none() };
    let head = &order.head;
    let trusted = visitor.is_trusted();
    let one_at_a_time = head.version != Version::HTTP_2;
    let mut journey = Journey {
        desk: &desk,
        visitor,
        now,
        held: Held::begin(&desk, (now, visitor.arrival.peer), busy, one_at_a_time),
        request_id: RequestId::of(&head.fields, trusted, now),
        caller: None,
        standing: None,
        has: None,
        left: None,
        refused: false,
        version: head.version,
        grpc: (!one_at_a_time).then(|| refusal::grpc::content_type(&head.fields)).flatten(),
    };
    let outcome = &mut journey.held.outcome;
    if outcome.is_logged() {
        outcome.request(head);
        outcome.request_id(journey.request_id.as_bytes());
    } else {
        outcome.method(&head.method);
    }
    let passed = pass(&mut journey, &mut order, body, (trusted, early)).await;
    let mut answered = match passed {
        Ok(mut answered) => {
            let told = journey.told().is_some();
            headers::to_client_own(&mut answered.head.fields, journey.request_id.as_bytes(), told);
            answered
        }
        Err(refusal) => {
            journey.held.admission = None;
            order.body = Upload::none();
            if let Some(left) = journey.left.take() {
                left.settle(&mut order.head);
            }
            journey.refuse(refusal, &order.head)
        }
    };
    journey.finish(&mut answered);
    let held = journey.held;
    answered.map(|answer| Reply::new(answer, held, &order.head.method))
}

/// The way itself: each step may refuse, and a refusal ends it.
async fn pass(
    journey: &mut Journey<'_>,
    order: &mut Request<Upload>,
    body: Source,
    (trusted, early): (bool, &Early),
) -> Result<Response<Answer>, Refusal> {
    let (desk, visitor, now) = (journey.desk, journey.visitor, journey.now);
    let service = &desk.service;
    http2_head::judge(&mut order.head, &service.config)?;
    let (until, haste) = journey.until(&mut order.head.fields)?;
    let head = &order.head;
    let seen = visitor.look(head, &service.callers, trusted);
    journey.has = Some(seen.has());
    let asked = target::read(&head.method, &head.target, seen.host(), &visitor.host)?;
    visitor.is_directed_here(&asked.host)?;

    // Who is calling?
    let caller = &*journey.caller.insert(visitor.identify(head, &service.callers, &seen)?);
    let outcome = &mut journey.held.outcome;
    outcome.client(caller.client);
    outcome.caller(caller_note(caller));
    let name = service.callers.name(caller);

    // May they? What is known to be too long is not charged for.
    let facts = Facts { method: &head.method, host: &asked.host, path: asked.path() };
    let mut shadows = Vec::new();
    let judged = permission::judge(&service.rules, (caller, name), &facts, now, &mut shadows);
    let may = judged.and_then(|()| fits(seen.length(), service.config.bounds.body_bytes));

    // Is there room, and have they quota left?
    let key = key::of(&service.config.balance, &head.fields, name);
    let asking = Asking { desk, clock: visitor.clock(), caller, facts: &facts, key, until };
    let admitted = match may.map(|()| room::enter_at_once(&asking, now, &mut shadows)) {
        Ok(Some(admitted)) => admitted,
        Ok(None) => room::enter(&asking, now, outcome, &mut shadows).await,
        Err(refusal) => Err(Refused::without_standing(refusal)),
    };
    if !shadows.is_empty() {
        note_shadows(outcome, &shadows);
    }
    let reserved = admit(admitted, &mut journey.standing, &mut journey.held.admission)?;

    // Which worker, and what does it say?
    let said = Said::of(&seen, &body, service);
    let target = asked.for_worker(&head.target)?;
    let aim = order::Aim { target, authority: asked.authority };
    journey.left = Some(Left::of(&seen, head, &aim));
    let head = &mut order.head;
    if let Some(answer) = hops::count_down(&head.method, &mut head.fields) {
        return Ok(answer);
    }
    let sender =
        Sender { visitor, service, caller: name, request_id: journey.request_id.as_bytes(), trusted };
    let group = CallerGroup::of(caller.hash);
    let wish = order::prepare(order, (body, aim), said, &sender);
    journey.held.upload = order.body.watch();
    let call = Call {
        until,
        haste,
        key,
        group,
        early: (order.head.version != Version::HTTP_10).then_some(early),
        spoken: visitor.spoken(service.config.send_proxy_protocol),
        upgrade: wish.as_ref(),
    };
    let response = desk.route.send(order, reserved, &call, &mut journey.held.outcome).await?;
    is_not_misleading(&order.head, &response)?;
    Ok(response)
}

/// Notes how the caller stands with its rate, admitted or not, and keeps what was granted; but for the place at the
/// first worker, which is taken along.
fn admit(
    admitted: Result<Admission, Refused>,
    standing: &mut Option<Standing>,
    kept: &mut Option<Admission>,
) -> Result<Reserved, Refusal> {
    match admitted {
        Ok(admission) => {
            *standing = admission.grant.standing;
            Ok(std::mem::take(&mut kept.insert(admission).reserved))
        }
        Err(refused) => {
            *standing = refused.standing;
            Err(refused.refusal)
        }
    }
}

#[cold]
fn note_shadows(outcome: &mut Outcome, shadows: &[Shadow]) {
    for Shadow { rule, reason, .. } in shadows {
        outcome.shadow(rule, *reason);
    }
}

/// Whether the client would not take the worker's answer for an agreement to go on with another protocol.
fn is_not_misleading(asked: &RequestHead, response: &Response<Answer>) -> Result<(), Refusal> {
    let switched = matches!(response.body, Answer::Switched(_));
    if !switched && upgrade::is_misleading(asked, response.head.status) {
        let detail = "the worker did not agree to go on with another protocol";
        return Err(Refusal::new(Reason::WorkerProtocol, detail));
    }
    Ok(())
}

/// A body that says it is longer than allowed is refused before anything of it is sent.
fn fits(length: Option<&[u8]>, most: Option<u64>) -> Result<(), Refusal> {
    let (Some(length), Some(most)) = (length, most) else { return Ok(()) };
    fits_in(length, most)
}

/// Apart from the question whether a length is said, which most requests do not.
#[inline(never)]
fn fits_in(length: &[u8], most: u64) -> Result<(), Refusal> {
    match text(length).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > most => {
            Err(Refusal::new(Reason::BodyTooLarge, "`Content-Length` is more than `bounds.body_bytes`"))
        }
        _ => Ok(()),
    }
}

impl Journey<'_> {
    /// Whether the connection carries this request and no other at the time.
    fn one_at_a_time(&self) -> bool {
        self.version != Version::HTTP_2
    }

    /// When all must be over, answer and all: the operator says it, and a gRPC client if it waits for less, which is
    /// then told beside it.
    fn until(&self, fields: &mut Fields) -> Result<(Option<Instant>, Option<Instant>), Refusal> {
        match (&self.grpc, self.desk.service.config.timeouts.total) {
            (None, None) => Ok((None, None)),
            (grpc, total) => {
                let haste = if grpc.is_some() { self.haste(fields, total)? } else { None };
                Ok((haste.or_else(|| total.and_then(|total| self.at(total))), haste))
            }
        }
    }

    /// When a gRPC client waits no longer, if that is before all must be over.
    #[inline(never)]
    fn haste(&self, fields: &mut Fields, total: Option<Duration>) -> Result<Option<Instant>, Refusal> {
        let asked = grpc::timeout(fields, total)?;
        Ok(asked.filter(|asked| total.is_none_or(|total| *asked < total)).and_then(|asked| self.at(asked)))
    }

    #[inline(never)]
    fn at(&self, wait: Duration) -> Option<Instant> {
        Instant::from_std(self.now.instant()).checked_add(wait)
    }

    /// How the caller stands, if it is told.
    fn told(&self) -> Option<&Standing> {
        let caller = self.caller.as_ref()?;
        self.standing.as_ref().filter(|_| self.desk.service.limits.tells(caller, self.refused))
    }

    /// Completes the head of an answer that bears the request's id.
    fn finish(&mut self, response: &mut Response<Answer>) {
        let (visitor, one_at_a_time) = (self.visitor, self.one_at_a_time());
        let head = &mut response.head;
        // A page has said it.
        if self.held.page.is_none()
            && let Some(standing) = self.told()
        {
            self.desk.service.limits.write_headers(standing, &mut head.fields);
        }
        // What goes on with another protocol leaves in that protocol's own way.
        let switched = matches!(response.body, Answer::Switched(_));
        if switched && !one_at_a_time {
            upgrade::say_in_http2(head);
        }
        if one_at_a_time && !switched && visitor.is_to_leave() {
            head.fields.set("connection", b"close");
            visitor.part(Parting::Asked);
        }
        self.held.upload.answer_begins();
        let grpc = self.grpc.is_some();
        if grpc {
            self.held.outcome.grpc_status(refusal::grpc::told(&head.fields));
            // A length that was promised cannot be cut short by trailers.
            self.held.grpc = !head.fields.contains("content-length");
        }
        // A refused gRPC request is told 200; the log and the metrics go on telling what the refusal means.
        if !(grpc && self.refused) {
            self.held.outcome.status(head.status.as_u16());
        }
    }
}

fn caller_note(caller: &Caller) -> CallerNote {
    let who = match &caller.who {
        Who::Known(number) => Asker::Known(*number),
        Who::Other(name) => Asker::Other(Arc::clone(name)),
    };
    CallerNote { who, via: caller.via.word(), tier: caller.tier }
}
