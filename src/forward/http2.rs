//! Requests to workers over HTTP/2 with prior knowledge (RFC 9113 section 3.3): one attempt after another, as over
//! HTTP/1.1, but each on a stream of a connection that others share. h2 speaks the protocol; what it leaves open is
//! decided here: which connection (`pool.rs`), whether it is alive (`connection.rs`), what a refused stream means
//! (`exchange.rs`), how a body goes into its stream (`pump.rs`) and comes out of it (`answer.rs`).

pub mod answer;
pub mod connection;
mod exchange;
pub mod pool;
mod pump;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use h2::RecvStream;
use http::{HeaderMap, Version};

use self::answer::Streaming;
use self::connection::{Settings, Slot};
use self::exchange::exchange;
pub use self::pool::Connections;
use self::pool::{NoSlot, Terms};
use self::pump::Pump;
use super::answer::Silence;
use super::choice::Chosen;
use super::exchange::Patience;
use super::pool::{ConnectFailure, Lane};
use super::retry::Reached;
use super::tries::{Failed, Tries};
use super::upload::{Upload, UploadWatch};
use super::{Active, Answer, Call, Fair, Order, Route, headers, in_time, not_connected, unasked, withheld};
use crate::clock::Moment;
use crate::fields::{self, Fields};
use crate::message::{Response, ResponseHead};
use crate::record::Outcome;
use crate::refusal::{self, Reason, Refusal};

impl Route {
    /// One attempt at the chosen worker, which speaks HTTP/2.
    pub(super) async fn attempt_http2(
        &self,
        chosen: &mut Chosen,
        order: &mut Order,
        (tries, call): (&Tries, &Call<'_>),
        outcome: &mut Outcome,
    ) -> Result<Response<Answer>, Box<Failed>> {
        let lane = Rc::clone(&chosen.lane);
        let slot = match self.slot(&lane, call.fair(outcome), tries.now, outcome).await {
            Ok(slot) => slot,
            Err(NoSlot::NotConnected(failure)) => return Err(Failed::unconnected(failure)),
            Err(failure) => return Err(Failed::passed_over(no_slot(failure))),
        };
        let active = Active::begin(&lane, self, std::mem::take(&mut chosen.seat), call.fair(outcome));
        self.tell_deadline(order, call.until);
        let reused = slot.reused();
        let upload = order.body.watch();
        let idempotent = headers::idempotent(&order.head.method);
        upload.keep(idempotent);
        let body = std::mem::take(&mut order.body);
        let patience =
            Patience { from: self.clock.now(), response: self.timeouts.response, until: call.until };
        let met = exchange(&slot, (order, body), (&upload, &active), (patience, call.early)).await;
        let broken = match met {
            Ok((response, pump)) => {
                let now = self.clock.refresh();
                if outcome.is_logged() {
                    outcome.first_byte(now);
                }
                self.workers.connected(&lane.worker, now);
                let answer = self.begin_answer_http2((slot, pump), response, &upload, active, call)?;
                if !self.is_unwanted(&answer, &upload) {
                    return Ok(answer);
                }
                let whole = || idempotent && put_back(order, upload.take_back());
                return withheld(answer, whole, &upload);
            }
            Err(broken) => broken,
        };
        if let Some(refusal) = upload.failure() {
            active.excused();
            return Err(Failed::end(refusal));
        }
        let reached = match broken.reached {
            // Said by a connection that others still use: it is about this stream.
            Reached::Unsent if !reused || slot.is_usable() => Reached::Refused,
            reached => reached,
        };
        let body = broken.body.or_else(|| if idempotent { upload.take_back() } else { None });
        let whole = put_back(order, body);
        let failed = Failed { reached, reused, whole, idempotent, blamed: false, last: Err(broken.refusal) };
        Err(tries.judged(&active, failed, broken.excused))
    }

    /// A place for one stream to this worker.
    async fn slot(
        &self,
        lane: &Lane,
        fair: Fair,
        now: Moment,
        outcome: &mut Outcome,
    ) -> Result<Slot, NoSlot> {
        let streams = usize::try_from(self.bounds.worker_streams).unwrap_or(usize::MAX);
        if let Some(slot) = lane.shared.slot(streams, now) {
            return Ok(slot);
        }
        // In a box: connecting is rare, and its state would make every request's larger.
        let slot = Box::pin(self.slot_or_connect(lane, (fair, now), streams)).await?;
        outcome.connected(self.clock.refresh().since(now));
        Ok(slot)
    }

    async fn slot_or_connect(
        &self,
        lane: &Lane,
        fair: (Fair, Moment),
        streams: usize,
    ) -> Result<Slot, NoSlot> {
        let head_bytes = self.bounds.response_head_bytes;
        let terms = Terms {
            bound: &self.open,
            // One connection carries many clients' requests: a PROXY header could name only one of them.
            connect: self.terms(None),
            settings: Settings { head_bytes, streams },
            clock: &self.clock,
        };
        let mut slot = in_time(fair, lane.shared.slot_or_connect(lane, &terms)).await;
        // All may be in use, or some idle at other workers: one of those makes room.
        if matches!(slot, Err(NoSlot::NotConnected(ConnectFailure::Bound))) && self.make_room() {
            slot = in_time(fair, lane.shared.slot_or_connect(lane, &terms)).await;
        }
        if slot.is_ok() {
            self.workers.connected(&lane.worker, Moment::read());
        }
        slot
    }

    /// Checks the head of an answer and turns the rest into an [`Answer`].
    fn begin_answer_http2(
        &self,
        (slot, pump): (Slot, Pump),
        response: http::Response<RecvStream>,
        upload: &UploadWatch,
        active: Active,
        call: &Call<'_>,
    ) -> Result<Response<Answer>, Box<Failed>> {
        let (parts, body) = response.into_parts();
        let status = parts.status;
        if status.as_u16() >= 600 {
            return Err(unasked(&active));
        }
        let mut fields = fields_of(&parts.headers);
        if !headers::is_plainly_framed(&fields) {
            active.failed();
            let detail = "the worker's answer has a transfer coding, or a list of lengths";
            return Err(Failed::end(Refusal::new(Reason::WorkerProtocol, detail)));
        }
        active.head(status, refusal::grpc::told(&fields));
        active.answered(status);
        headers::to_client(&mut fields, status, Version::HTTP_2);
        let length = fields.get("content-length").and_then(|length| fields::text(length)?.parse().ok());
        let idle = self.timeouts.idle;
        let silence = (Silence::new(idle, call.until), idle);
        let streaming = Streaming::new((body, pump, slot), upload.clone(), length, active, silence);
        let head = ResponseHead { status, reason: None, fields };
        Ok(Response { head, body: Answer::Shared(Box::new(streaming)) })
    }
}

/// The fields of a worker's head. h2 does not tell which of them are never to be indexed, and one that is must stay so
/// on its way (RFC 7541 section 7.1.3): so all are. Towards our clients that costs Buckler nothing: no table is used
/// there. What stands in front as the next intermediary has to keep all of them out of its own table as well, and pays
/// with longer heads towards its clients.
fn fields_of(head: &HeaderMap) -> Fields {
    let mut fields = Fields::from(head);
    fields.never_index_all();
    fields
}

/// Whether the request has its body back.
fn put_back(order: &mut Order, body: Option<Upload>) -> bool {
    body.map(|body| order.body = body).is_some()
}

const fn no_slot(failure: NoSlot) -> Refusal {
    match failure {
        NoSlot::NotConnected(failure) => not_connected(&failure),
        NoSlot::NotHttp2 => Refusal::new(
            Reason::WorkerProtocol,
            "the worker does not speak HTTP/2 without TLS, and `workers.protocol` is `http2`",
        ),
        NoSlot::Silent => Refusal::new(
            Reason::WorkerTimeout,
            "the worker took the connection and did not begin HTTP/2 within `timeouts.connect`",
        ),
    }
}
