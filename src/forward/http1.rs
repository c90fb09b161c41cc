//! Requests to workers over HTTP/1.1: one attempt, over a connection that carries nothing else meanwhile. Which worker
//! gets it and whether there is another attempt is decided above; how the exchange goes stands in `exchange.rs`.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use http::{Response, StatusCode};
use hyper::body::Incoming;

use super::answer::{Answer, Silence, Streaming};
use super::choice::Chosen;
use super::exchange::{Patience, exchange, notice_early};
use super::pool::{ConnectFailure, Lane, Link};
use super::proxy_header::Spoken;
use super::retry::Reached;
use super::tries::{Failed, Tries};
use super::upload::UploadWatch;
use super::{Active, Call, Fair, Order, Route, copy, headers, in_time, tunnel};
use crate::clock::Moment;
use crate::record::Outcome;
use crate::refusal::{Reason, Refusal};

impl Route {
    /// One attempt at the chosen worker.
    pub(super) async fn attempt_http1(
        &self,
        chosen: &mut Chosen,
        mut order: Order,
        (tries, call): (&Tries, Call<'_>),
        outcome: &mut Outcome,
    ) -> Result<Response<Answer>, Box<Failed>> {
        let lane = Rc::clone(&chosen.lane);
        let mut link = match self.link(&lane, (tries, call), outcome).await {
            Ok(link) => link,
            Err(failure) => return Err(Failed::unconnected(order, failure)),
        };
        let active = Active::begin(&lane, self, std::mem::take(&mut chosen.seat), call.fair(outcome));
        self.tell_deadline(&mut order, call.until);
        let reused = link.reused();
        let upload = order.body().watch();
        // hyper takes the head apart as it writes it, so what may have to be sent again is copied first; and it keeps
        // the body, which comes back from it untouched if it is still whole.
        let may = reused || tries.sent() + 1 < self.retries.attempts;
        let spare = (may && headers::idempotent(order.method())).then(|| copy(&order));
        upload.keep(spare.is_some());
        notice_early(&mut order, call.early);
        let patience =
            Patience { from: self.clock.now(), response: self.timeouts.response, until: call.until };
        let broken = match exchange(&mut link, order, (&upload, &active), patience).await {
            Ok(response) => {
                let now = self.clock.refresh();
                if outcome.is_logged() {
                    outcome.first_byte(now);
                }
                self.workers.connected(&lane.worker, now);
                let answer = self.begin_answer((link, active), response, &upload, call).await?;
                return self.unless_unwanted(answer, || restored(spare, &upload), &upload);
            }
            Err(broken) => broken,
        };
        if let Some(refusal) = upload.failure() {
            active.excused();
            return Err(Failed::end(refusal));
        }
        // With it goes what hyper has of the body.
        drop(link);
        let order = broken.order.map(|order| *order).or_else(|| restored(spare, &upload));
        let (reached, last) = (broken.reached, Err(broken.refusal));
        let failed = Failed { reached, reused, order, blamed: false, last };
        Err(tries.judged(&active, failed, broken.excused))
    }

    /// A connection to this worker: one that is idle, or a new one.
    async fn link(
        &self,
        lane: &Lane,
        (tries, call): (&Tries, Call<'_>),
        outcome: &mut Outcome,
    ) -> Result<Link, ConnectFailure> {
        let spoken = self.tells.then_some(call.spoken);
        let idle = if tries.fresh { None } else { lane.idle(tries.now, spoken).await };
        if let Some(link) = idle {
            return Ok(link);
        }
        // In a box: connecting is rare, and its state would make every request's larger.
        let fair = (call.fair(outcome), tries.now);
        let link = Box::pin(self.connect(lane, spoken, fair)).await?;
        outcome.connected(self.clock.refresh().since(tries.now));
        Ok(link)
    }

    async fn connect(
        &self,
        lane: &Lane,
        spoken: Option<Spoken>,
        fair: (Fair, Moment),
    ) -> Result<Link, ConnectFailure> {
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

    /// Checks the head of an answer and turns the rest into an [`Answer`].
    async fn begin_answer(
        &self,
        (link, active): (Link, Active),
        mut response: Response<Incoming>,
        upload: &UploadWatch,
        call: Call<'_>,
    ) -> Result<Response<Answer>, Box<Failed>> {
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return tunnel::switch(link, response, active, call.upgrade).await;
        }
        if status.as_u16() >= 600 {
            return Err(unasked(&active));
        }
        if !headers::is_plainly_framed(response.headers()) {
            active.failed();
            let detail = "the worker's answer has a transfer coding besides `chunked`, or a list of lengths";
            return Err(Failed::end(Refusal::new(Reason::WorkerProtocol, detail)));
        }
        active.head(status, None);
        if let Some(seconds) = headers::keep_alive_timeout(response.headers()) {
            active.lane.keep_alive_said(seconds);
        }
        let version = response.version();
        headers::to_client(response.headers_mut(), status, version);
        *response.version_mut() = http::Version::HTTP_11;
        let silence = Silence::new(self.timeouts.idle, call.until);
        let (parts, body) = response.into_parts();
        let ended = http_body::Body::is_end_stream(&body);
        let mut streaming = Streaming::new(body, link, upload.clone(), active, silence);
        poll_fn(|cx| {
            if ended {
                streaming.finish(cx);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(streaming.look(cx))
        })
        .await
        .map_err(Failed::end)?;
        streaming.active().answered(status);
        Ok(Response::from_parts(parts, Answer::Worker(Box::new(streaming))))
    }

    /// The answer, unless its status is one of `retries.on` and the request can be sent once more: then it is what the
    /// client gets if nothing better comes. If it is all here already, its connection and its place at the worker are
    /// free; otherwise both are held until that is known.
    pub(super) fn unless_unwanted(
        &self,
        answer: Response<Answer>,
        order: impl FnOnce() -> Option<Order>,
        upload: &UploadWatch,
    ) -> Result<Response<Answer>, Box<Failed>> {
        if self.retries.on.is_empty() || !self.retries.on.contains(&answer.status()) {
            upload.keep(false);
            return Ok(answer);
        }
        let answer = answer.map(Answer::settled);
        match order() {
            None => {
                upload.keep(false);
                Ok(answer)
            }
            order => Err(Box::new(Failed {
                reached: Reached::Answered,
                reused: false,
                order,
                blamed: false,
                last: Ok(answer),
            })),
        }
    }
}

/// The request from the copy of its head, if its body is whole.
fn restored(spare: Option<Order>, upload: &UploadWatch) -> Option<Order> {
    let mut order = spare?;
    *order.body_mut() = upload.take_back()?;
    Some(order)
}

/// The worker's status is not one that was asked for.
pub(super) fn unasked(active: &Active) -> Box<Failed> {
    active.failed();
    let detail = "the worker's status is not one that was asked for";
    Failed::end(Refusal::new(Reason::WorkerProtocol, detail))
}
