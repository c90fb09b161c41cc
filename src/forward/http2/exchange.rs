//! One exchange on one stream: the head goes out, the body follows as the worker takes it, and the head of the answer
//! comes in, before, during or after that, within the time that there is.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::RecvStream;
use h2::client::ResponseFuture;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};

use super::super::alarm::Alarm;
use super::super::early::Early;
use super::super::exchange::{CONTINUE_WAIT, Late, Patience, starved, too_slow};
use super::super::headers;
use super::super::retry::Reached;
use super::super::upload::{Upload, UploadWatch};
use super::super::{Active, Order};
use super::connection::Slot;
use super::fields_of;
use super::pump::Pump;
use crate::clock::Moment;
use crate::refusal::{Reason, Refusal};

/// Interim answers that a worker may send before its answer. Over HTTP/1.1 there is no such bound, but there they are
/// read one at a time; here they would fill the connection of others.
const INTERIM_MAX: u32 = 100;

/// What came of it: the head of the answer, its body to come, and what is left of the request's.
pub(super) type Begun = (Response<RecvStream>, Pump);

/// How an exchange broke.
pub(super) struct Broken {
    pub(super) reached: Reached,
    /// The request's body, if it came back whole.
    pub(super) body: Option<Upload>,
    /// It says nothing of the worker.
    pub(super) excused: bool,
    pub(super) refusal: Refusal,
}

impl Broken {
    const fn new(reached: Reached, refusal: Refusal) -> Self {
        Self { reached, body: None, excused: false, refusal }
    }

    /// What is the client's doing, or ours.
    const fn beside_the_worker(refusal: Refusal) -> Self {
        Self { reached: Reached::TooFar, body: None, excused: true, refusal }
    }
}

/// Sends a request on a new stream and waits for the head of the answer. `active` is told when the worker has all of
/// the request.
pub(super) async fn exchange(
    slot: &Slot,
    (order, body): (&Order, Upload),
    (upload, active): (&UploadWatch, &Active),
    (patience, early): (Patience, Option<&Early>),
) -> Result<Begun, Broken> {
    let head = head(order).map_err(Broken::beside_the_worker)?;
    let (response, mut pump) = match slot.sender().send_request(head, body.is_none()) {
        Ok((response, stream)) => (response, Pump::new(stream, body)),
        Err(error) if error.is_go_away() || error.is_io() => {
            let (body, refusal) = (Some(body), gone());
            return Err(Broken { reached: Reached::Unsent, body, excused: false, refusal });
        }
        Err(_) => return Err(Broken::beside_the_worker(unfit())),
    };
    if upload.ended() {
        active.sent(patience.from);
    }
    let mut waiting = Waiting {
        response,
        interim: 0,
        alarm: Alarm::new(patience.response),
        deadline: patience
            .end(patience.from, if upload.is_held() { CONTINUE_WAIT } else { patience.response }),
        seen: (upload.bytes(), upload.ended()),
    };
    let met = poll_fn(|cx| {
        let sent = pump.poll(cx);
        if let Poll::Ready(Err(refusal)) = sent {
            return Poll::Ready(Err(Met::End(refusal)));
        }
        waiting.poll(cx, (upload, active), (patience, early))
    })
    .await;
    match met {
        Ok(response) => {
            slot.answered();
            pump.keep_no_longer();
            Ok((response, pump))
        }
        Err(Met::End(refusal)) => Err(Broken::new(Reached::TooFar, refusal)),
        Err(Met::Late(Late::Client)) => Err(Broken::beside_the_worker(starved())),
        Err(Met::Late(Late::Worker)) => {
            slot.timed_out(patience.response);
            Err(Broken::new(Reached::Silent, too_slow()))
        }
        Err(Met::Fault(error)) => {
            let (reached, refusal) = fault(&error);
            // What was not looked at can be sent again although some of its body went: so much of it is kept.
            let body =
                if matches!(reached, Reached::Unsent | Reached::Refused) { pump.whole() } else { None };
            Err(Broken { reached, body, excused: false, refusal })
        }
    }
}

/// What a wait for an answer can meet instead of one.
enum Met {
    End(Refusal),
    Late(Late),
    Fault(h2::Error),
}

struct Waiting {
    response: ResponseFuture,
    interim: u32,
    alarm: Alarm,
    deadline: tokio::time::Instant,
    /// Bytes of the body that were taken, and whether that was all, when last looked at.
    seen: (u64, bool),
}

impl Waiting {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (upload, active): (&UploadWatch, &Active),
        (patience, early): (Patience, Option<&Early>),
    ) -> Poll<Result<Response<RecvStream>, Met>> {
        while let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            let interim = match interim {
                Ok(interim) => interim,
                Err(error) => return Poll::Ready(Err(Met::Fault(error))),
            };
            self.interim += 1;
            let status = interim.status();
            if self.interim > INTERIM_MAX || status == StatusCode::SWITCHING_PROTOCOLS {
                // RFC 9113 section 8.6: there is nothing to switch to.
                let detail = "the worker sent a flood of interim answers, or 101 over HTTP/2";
                return Poll::Ready(Err(Met::End(Refusal::new(Reason::WorkerProtocol, detail))));
            }
            if status == StatusCode::CONTINUE {
                upload.said_continue();
            }
            if let Some(early) = early {
                early.tell(status, fields_of(interim.headers()));
            }
        }
        if let Poll::Ready(done) = Pin::new(&mut self.response).poll(cx) {
            return Poll::Ready(done.map_err(Met::Fault));
        }
        if upload.is_held() && upload.is_wanted() {
            upload.release();
            // The second that the body would have waited is no limit for the answer.
            self.deadline = patience.end(Moment::read(), patience.response);
        }
        let seen = (upload.bytes(), upload.ended());
        if self.seen != seen {
            self.seen = seen;
            let now = Moment::read();
            active.moved(now);
            if upload.ended() {
                active.sent(now);
            }
            self.deadline = patience.end(now, patience.response);
        }
        while self.alarm.is_late(cx, self.deadline) {
            let now = Moment::read();
            if let Some(late) = patience.late(upload, now) {
                return Poll::Ready(Err(Met::Late(late)));
            }
            upload.release();
            self.deadline = patience.end(now, patience.response);
        }
        Poll::Pending
    }
}

/// The request's head as HTTP/2 wants it. What must never be indexed is so towards the worker too, but for
/// `:authority`: h2 puts that into its table and cannot be told not to. `:path` it never does.
fn head(order: &Order) -> Result<Request<()>, Refusal> {
    let mut fields = order.head.fields.to_map();
    let authority = headers::to_worker_http2(&mut fields);
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = authority.as_ref().and_then(authority_of);
    let path = PathAndQuery::try_from(order.head.target.path_and_query());
    uri.path_and_query = Some(path.map_err(|_| unfit())?);
    let mut head = Request::new(());
    *head.method_mut() = order.head.method.clone();
    *head.uri_mut() = Uri::from_parts(uri).map_err(|_| unfit())?;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = fields;
    Ok(head)
}

fn authority_of(host: &HeaderValue) -> Option<Authority> {
    Authority::try_from(host.as_bytes()).ok()
}

/// What an error of h2 says of the request.
fn fault(error: &h2::Error) -> (Reached, Refusal) {
    let reset = Reason::WorkerReset;
    match error.reason() {
        // RFC 9113 section 8.7: both say that nothing was done about it. A GOAWAY reaches those streams only that are
        // beyond its last one.
        Some(h2::Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => {
            (Reached::Refused, Refusal::new(reset, "the worker refused the stream"))
        }
        _ if error.is_go_away() && error.is_remote() => (Reached::Unsent, gone()),
        Some(h2::Reason::HTTP_1_1_REQUIRED) if error.is_remote() => {
            let detail = "the worker wants HTTP/1.1 for this request, and `workers.protocol` is `http2`";
            (Reached::TooFar, Refusal::new(Reason::WorkerProtocol, detail))
        }
        _ if error.is_library() && error.is_reset() => {
            let detail =
                "the worker's answer is not HTTP/2, or its head is longer than `bounds.response_head_bytes`";
            (Reached::TooFar, Refusal::new(Reason::WorkerProtocol, detail))
        }
        // The fault may be another request's on the same connection.
        _ if error.is_library() => {
            let detail = "the worker broke the rules of HTTP/2, and its connection was given up";
            (Reached::MaybeSent, Refusal::new(Reason::WorkerProtocol, detail))
        }
        _ if error.is_reset() => {
            (Reached::TooFar, Refusal::new(reset, "the worker reset the stream before it answered"))
        }
        _ => (Reached::MaybeSent, Refusal::new(reset, "the worker closed the connection before it answered")),
    }
}

const fn gone() -> Refusal {
    Refusal::new(Reason::WorkerReset, "the worker is closing the connection and took no more requests on it")
}

const fn unfit() -> Refusal {
    Refusal::new(Reason::WorkerProtocol, "the request cannot be said in HTTP/2, which the workers speak")
}
