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
use std::time::Duration;

use h2::RecvStream;
use http::header::CONTENT_LENGTH;
use http::{Response, Version};
use tokio::time::Instant;

use self::answer::Streaming;
use self::connection::{Settings, Slot};
use self::exchange::exchange;
pub use self::pool::Connections;
use self::pool::{NoSlot, Terms};
use self::pump::Pump;
use super::answer::Silence;
use super::exchange::{Broken, Patience};
use super::pool::{ConnectFailure, Lane};
use super::retry::{Attempted, Reached, again};
use super::upload::UploadWatch;
use super::{ATTEMPTS_MAX, Active, Answer, Call, Order, Route};
use super::{beside_the_worker, copy, headers, in_time, not_connected};
use crate::clock::Moment;
use crate::config::Endpoint;
use crate::record::Outcome;
use crate::refusal::{Reason, Refusal};

/// What became of an attempt that brought no answer.
enum Failed {
    /// The worker did not look at the request: it may be sent anywhere, to the same worker only if that one said GOAWAY
    /// on a connection that had worked.
    Unsent { order: Order, same: bool, refusal: Refusal },
    /// It may have arrived, and may be sent once more.
    Lost { order: Order, refusal: Refusal },
    /// That is the end of it.
    End(Refusal),
}

impl Route {
    /// Sends the request to a worker that speaks HTTP/2; otherwise as [`Route::send`].
    pub(super) async fn send_http2(
        &self,
        mut order: Order,
        call: Call<'_>,
        outcome: &mut Outcome,
    ) -> Result<Response<Answer>, Refusal> {
        let mut tried: Vec<Endpoint> = Vec::new();
        let mut last = Refusal::new(Reason::NoWorkers, "neither the configuration nor DNS names a worker")
            .after(Duration::from_secs(1));
        let mut now = outcome.begun();
        let mut repeated = false;
        for _ in 0..ATTEMPTS_MAX {
            let Some((lane, priority, _held)) = self.choose(now, &tried, call.key) else { break };
            outcome.attempt(&lane.worker.name, priority);
            let slot = match self.slot(&lane, call, now, outcome).await {
                Ok(slot) => slot,
                Err(failure) => {
                    if let NoSlot::NotConnected(failure) = &failure
                        && let Some(refusal) = beside_the_worker(failure)
                    {
                        return Err(refusal);
                    }
                    now = Moment::read();
                    last = no_slot(failure);
                    self.pass_over(&lane, now, &mut tried);
                    // The next worker would be given no time, and be blamed for that.
                    if call.until.is_some_and(|until| until <= Instant::from_std(now.instant())) {
                        break;
                    }
                    continue;
                }
            };
            match self.attempt_http2(&lane, slot, order, call).await {
                Ok(answer) => {
                    if outcome.is_logged() {
                        outcome.first_byte(Moment::read());
                    }
                    self.workers.connected(&lane.worker, self.clock.now());
                    return Ok(answer);
                }
                Err(Failed::Unsent { order: back, same, refusal }) => {
                    (order, last) = (back, refusal);
                    now = Moment::read();
                    if !same {
                        tried.push(lane.worker.address.clone());
                    }
                }
                // A request may itself be what ends connections, and each takes those of others along: once is enough.
                Err(Failed::Lost { order: back, refusal }) if !repeated => {
                    (order, last, repeated) = (back, refusal, true);
                    now = Moment::read();
                }
                Err(Failed::Lost { refusal, .. } | Failed::End(refusal)) => return Err(refusal),
            }
        }
        Err(last)
    }

    /// A place for one stream to this worker.
    async fn slot(
        &self,
        lane: &Lane,
        call: Call<'_>,
        now: Moment,
        outcome: &mut Outcome,
    ) -> Result<Slot, NoSlot> {
        let streams = usize::try_from(self.bounds.worker_streams).unwrap_or(usize::MAX);
        if let Some(slot) = lane.shared.slot(streams, now) {
            return Ok(slot);
        }
        // In a box: connecting is rare, and its state would make every request's larger.
        let slot = Box::pin(self.slot_or_connect(lane, call, streams)).await?;
        outcome.connected(Moment::read().since(now));
        Ok(slot)
    }

    async fn slot_or_connect(&self, lane: &Lane, call: Call<'_>, streams: usize) -> Result<Slot, NoSlot> {
        let head_bytes = self.bounds.response_head_bytes;
        let terms = Terms {
            bound: &self.open,
            // One connection carries many clients' requests: a PROXY header could name only one of them.
            connect: self.terms(None),
            settings: Settings { head_bytes, streams },
            clock: &self.clock,
        };
        let mut slot = in_time(call, lane.shared.slot_or_connect(lane, &terms)).await;
        // All may be in use, or some idle at other workers: one of those makes room.
        if matches!(slot, Err(NoSlot::NotConnected(ConnectFailure::Bound))) && self.make_room() {
            slot = in_time(call, lane.shared.slot_or_connect(lane, &terms)).await;
        }
        if slot.is_ok() {
            self.workers.connected(&lane.worker, Moment::read());
        }
        slot
    }

    /// One attempt on one stream.
    async fn attempt_http2(
        &self,
        lane: &Rc<Lane>,
        slot: Slot,
        order: Order,
        call: Call<'_>,
    ) -> Result<Response<Answer>, Failed> {
        let active = Active::begin(lane, self, call.haste);
        let reused = slot.reused();
        let upload = order.body().watch();
        let repeatable = headers::idempotent(order.method()) && order.body().is_none();
        let spare = (reused && repeatable).then(|| copy(&order));
        let patience =
            Patience { from: self.clock.now(), response: self.timeouts.response, until: call.until };
        let broken = match exchange(&slot, order, &upload, patience, call.early).await {
            Ok((response, pump)) => {
                let answer = self.begin_answer_http2((slot, pump), response, upload, active, call.until);
                return answer.map_err(Failed::End);
            }
            Err(broken) => broken,
        };
        if let Some(refusal) = upload.failure() {
            return Err(Failed::End(refusal));
        }
        active.failed();
        Err(match (broken, spare) {
            (Broken::Unsent(order, refusal), _) => {
                Failed::Unsent { order: *order, same: reused && !slot.is_usable(), refusal }
            }
            (Broken::Sent(refusal), Some(order))
                if again(Attempted { reached: Reached::MaybeSent, reused, repeatable }) =>
            {
                Failed::Lost { order, refusal }
            }
            (Broken::Sent(refusal) | Broken::TooLate(refusal), _) => Failed::End(refusal),
        })
    }

    /// Checks the head of an answer and turns the rest into an [`Answer`].
    fn begin_answer_http2(
        &self,
        (slot, pump): (Slot, Pump),
        mut response: Response<RecvStream>,
        upload: UploadWatch,
        active: Active,
        until: Option<Instant>,
    ) -> Result<Response<Answer>, Refusal> {
        let status = response.status();
        if status.as_u16() >= 600 {
            active.failed();
            let detail = "the worker's status is not one that was asked for";
            return Err(Refusal::new(Reason::WorkerProtocol, detail));
        }
        if !headers::is_plainly_framed(response.headers()) {
            active.failed();
            let detail = "the worker's answer has a transfer coding, or a list of lengths";
            return Err(Refusal::new(Reason::WorkerProtocol, detail));
        }
        active.answered(status);
        headers::to_client(response.headers_mut(), status, Version::HTTP_2);
        *response.version_mut() = Version::HTTP_11;
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let idle = self.timeouts.idle;
        let (parts, body) = response.into_parts();
        let silence = (Silence::new(idle, until), idle);
        let streaming = Streaming::new((body, pump, slot), upload, length, active, silence);
        Ok(Response::from_parts(parts, Answer::Shared(Box::new(streaming))))
    }
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
