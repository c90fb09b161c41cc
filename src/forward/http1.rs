//! Requests to workers over HTTP/1.1: one attempt, over a connection that carries nothing else meanwhile. Which worker
//! gets it and whether there is another attempt is decided above; how the exchange goes stands in `exchange.rs`.

pub mod body;
pub mod head;
mod heads;
mod inflow;
mod lines;
pub(super) mod outgoing;

use std::future::poll_fn;

use http::StatusCode;
use tokio::time::Instant;

use self::body::{Body, Framing};
use self::head::Head;
pub(super) use self::heads::Heads;
pub(super) use self::inflow::{Inflow, Missed};
use super::answer::{Answer, Silence, Streaming};
use super::choice::Chosen;
use super::exchange::{Broken, Exchange, Patience, Rest};
use super::pool::{ConnectFailure, Lane, Link};
use super::proxy_header::Spoken;
use super::retry::Reached;
use super::tries::{Failed, Tries};
use super::upload::UploadWatch;
use super::{Active, Call, Fair, Order, Route, headers, in_time, tunnel};
use crate::clock::Moment;
use crate::message::Response;
use crate::record::Outcome;
use crate::refusal::{Reason, Refusal};

impl Route {
    /// One attempt at the chosen worker. The request stays with the caller, who has it whole again if it can be sent
    /// once more.
    pub(super) async fn attempt_http1(
        &self,
        chosen: &mut Chosen,
        order: &mut Order,
        (tries, call): (&Tries, &Call<'_>),
        outcome: &mut Outcome,
    ) -> Result<Response<Answer>, Box<Failed>> {
        let Chosen { lane, seat, .. } = chosen;
        let spoken = self.tells.then_some(call.spoken);
        let idle = if tries.fresh { None } else { lane.idle(tries.now, spoken) };
        let mut link = match idle {
            Some(link) => link,
            None => {
                // In a box: connecting is rare, and its state would make every request's larger.
                let fair = (call.fair(outcome), tries.now);
                let link = Box::pin(self.connect(lane, spoken, fair)).await.map_err(Failed::unconnected)?;
                outcome.connected(self.clock.refresh().since(tries.now));
                link
            }
        };
        let active = Active::begin(lane, self, std::mem::take(seat), call.fair(outcome));
        self.tell_deadline(order, call.until);
        let (upload, idempotent) = (order.body.watch(), headers::idempotent(&order.head.method));
        let may = link.reused() || tries.sent() + 1 < self.retries.attempts;
        upload.keep(may && idempotent);
        let patience =
            Patience { from: self.clock.now(), response: self.timeouts.response, until: call.until };
        let told = (patience, call.early);
        let mut exchange = Exchange::begin(&mut link, order, (&upload, &active), told, &self.heads);
        let broken = match poll_fn(|cx| exchange.poll(cx)).await {
            Ok(mut head) => {
                let rest = exchange.rest();
                let now = self.clock.refresh();
                if outcome.is_logged() {
                    outcome.first_byte(now);
                }
                self.workers.connected(&lane.worker, now);
                if is_unusual(head.status) {
                    return switched_or_unasked((link, active), head, call);
                }
                self.judge_head(&active, &mut head);
                let answer = match whole(&mut link, head.framing) {
                    Some(whole) => {
                        let kept = (rest.is_none() && head.keeps).then_some(link);
                        // It gives back the body, which another attempt may need.
                        drop(rest);
                        came_whole(&active, kept, head.status);
                        whole
                    }
                    None => self.begin_body((link, active), &head, (rest, &upload), call.until)?,
                };
                let answer = head.with(answer);
                if !self.is_unwanted(&answer, &upload) {
                    return Ok(answer);
                }
                let whole = || may && idempotent && restored(order, &upload);
                return withheld(answer, whole, &upload);
            }
            Err(broken) => broken,
        };
        if let Some(refusal) = upload.failure() {
            active.excused();
            return Err(Failed::end(refusal));
        }
        let reused = link.reused();
        drop(link);
        let again = may && idempotent;
        Err(broke((order, &upload), *broken, &active, tries, Sent { reused, idempotent, again }))
    }

    async fn connect(
        &self,
        lane: &Lane,
        spoken: Option<Spoken>,
        fair: (Fair, Moment),
    ) -> Result<Box<Link>, ConnectFailure> {
        let terms = self.terms(spoken);
        match in_time(fair, lane.connect(&self.open, terms)).await {
            // All may be in use, or some idle at other workers: one of those makes room.
            Err(ConnectFailure::Bound) if self.make_room() => {
                in_time(fair, lane.connect(&self.open, terms)).await
            }
            connected => {
                if connected.is_ok() {
                    self.workers.connected(&lane.worker, Moment::read());
                }
                connected
            }
        }
    }

    /// Takes notice of what the head of an answer says of the worker, and makes it fit for the client.
    fn judge_head(&self, active: &Active, head: &mut Head) {
        active.head(head.status, None);
        if let Some(seconds) = head.idle_seconds {
            active.lane.keep_alive_said(seconds);
        }
        headers::pass_on(&mut head.fields, head.status, head.version);
    }

    /// The body of an answer that is not all here yet.
    // Apart, as all that follows: most answers come as a whole.
    #[inline(never)]
    fn begin_body(
        &self,
        (link, active): (Box<Link>, Active),
        head: &Head,
        (rest, upload): (Option<Box<Rest>>, &UploadWatch),
        until: Option<Instant>,
    ) -> Result<Answer, Box<Failed>> {
        let body = Body::new(head.framing, self.heads.most());
        let silence = Silence::new(self.timeouts.idle, until);
        let mut streaming = Streaming::new(body, (link, head.keeps), (rest, upload.clone()), active, silence);
        streaming.look().map_err(Failed::end)?;
        streaming.active().answered(head.status);
        Ok(streaming.into_answer())
    }

    /// Whether its status is one of `retries.on`. If not, nothing of the request is kept for another attempt.
    pub(super) fn is_unwanted(&self, answer: &Response<Answer>, upload: &UploadWatch) -> bool {
        let is_unwanted = self.retries.on.contains(&answer.head.status);
        if !is_unwanted {
            upload.keep(false);
        }
        is_unwanted
    }
}

/// The answer is here, all of it.
#[inline]
fn came_whole(active: &Active, kept: Option<Box<Link>>, status: StatusCode) {
    active.complete();
    if let Some(link) = kept {
        active.give_back(link);
    }
    active.answered(status);
}

/// The whole body of an answer, if it is here already.
fn whole(link: &mut Link, framing: Framing) -> Option<Answer> {
    match link.inflow.came.take() {
        Some(came) => Some(Answer::Came(came)),
        None => framing.take_whole(&mut link.inflow.ahead).map(Answer::Own),
    }
}

/// Whether it is no status of an answer as HTTP/1.1 goes on with.
fn is_unusual(status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || status.as_u16() >= 600
}

#[cold]
fn switched_or_unasked(
    (link, active): (Box<Link>, Active),
    head: Head,
    call: &Call<'_>,
) -> Result<Response<Answer>, Box<Failed>> {
    match head.status {
        StatusCode::SWITCHING_PROTOCOLS => tunnel::switch(*link, head, active, call.upgrade),
        _ => Err(unasked(&active)),
    }
}

/// How a request went out that broke.
#[derive(Clone, Copy)]
struct Sent {
    /// Over a connection that had carried one before.
    reused: bool,
    idempotent: bool,
    /// It may go out again, if it is whole.
    again: bool,
}

/// What becomes of a request after its exchange broke.
#[cold]
fn broke(
    (order, upload): (&mut Order, &UploadWatch),
    Broken { reached, excused, refusal }: Broken,
    active: &Active,
    tries: &Tries,
    Sent { reused, idempotent, again }: Sent,
) -> Box<Failed> {
    // What was never sent stays as it is.
    let whole = reached == Reached::Unsent || (again && restored(order, upload));
    let failed = Failed { reached, reused, whole, idempotent, blamed: false, last: Err(refusal) };
    tries.judged(active, failed, excused)
}

/// An answer that is unwanted: if the request can be sent once more, it is what the client gets if nothing better
/// comes. If it is all here already, its connection and its place at the worker are free; otherwise both are held until
/// that is known.
#[cold]
pub(super) fn withheld(
    answer: Response<Answer>,
    whole: impl FnOnce() -> bool,
    upload: &UploadWatch,
) -> Result<Response<Answer>, Box<Failed>> {
    let answer = answer.map(Answer::settled);
    if !whole() {
        upload.keep(false);
        return Ok(answer);
    }
    Err(Box::new(Failed {
        reached: Reached::Answered,
        reused: false,
        whole: true,
        // Of another one nothing is kept.
        idempotent: true,
        blamed: false,
        last: Ok(answer),
    }))
}

/// Whether the request is whole again: nothing of its body was taken, and nobody else has it.
fn restored(order: &mut Order, upload: &UploadWatch) -> bool {
    // Whoever lets go of a body leaves it with those who watch it.
    drop(std::mem::take(&mut order.body));
    upload.take_back().map(|body| order.body = body).is_some()
}

/// The worker's status is not one that was asked for.
pub(super) fn unasked(active: &Active) -> Box<Failed> {
    active.failed();
    let detail = "the worker's status is not one that was asked for";
    Failed::end(Refusal::new(Reason::WorkerProtocol, detail))
}

#[cfg(test)]
mod tests;
