//! One exchange over one connection: the request goes out and the head of the answer comes in, within the time that
//! there is. The connection is driven meanwhile, by nobody else.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Active;
use super::early::Early;
use super::pool::Link;
use super::retry::Reached;
use super::upload::{Upload, UploadWatch};
use crate::clock::Moment;
use crate::refusal::{Reason, Refusal};

/// How long a body waits for the worker's `100 Continue` before it is sent without (RFC 9110 section 10.1.1 asks for
/// no more than "some time"; curl and nginx wait one second).
pub(super) const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// How an exchange broke.
pub(super) struct Broken {
    pub(super) reached: Reached,
    /// The request, if it came back whole.
    pub(super) order: Option<Box<Request<Upload>>>,
    /// It says nothing of the worker.
    pub(super) excused: bool,
    pub(super) refusal: Refusal,
}

/// Who let the time of an exchange pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The worker sent no answer.
    Worker,
    /// The client did not send its body.
    Client,
}

/// How long to wait for an answer's head: `timeouts.response` from the last piece of the request that the worker took,
/// and no longer than the deadline of the whole request.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// When the request was ready to go.
    pub(super) from: Moment,
    pub(super) response: Duration,
    pub(super) until: Option<Instant>,
}

impl Patience {
    pub(super) fn end(self, from: Moment, wait: Duration) -> Instant {
        let end = Instant::from_std(from.instant()) + wait;
        self.until.map_or(end, |until| end.min(until))
    }

    /// The time rang: who was too slow? While the body waits for `100 Continue` or for the client nobody is, until the
    /// deadline of the whole request has passed.
    pub(super) fn late(self, upload: &UploadWatch, now: Moment) -> Option<Late> {
        let over = self.until.is_some_and(|until| until <= Instant::from_std(now.instant()));
        match upload.is_held() || (!upload.ended() && upload.is_starving()) {
            false => Some(Late::Worker),
            true => over.then_some(Late::Client),
        }
    }
}

/// Sends a request over a connection and waits for the head of the answer. `active` is told when the worker has all of
/// the request.
pub(super) async fn exchange(
    link: &mut Link,
    order: Request<Upload>,
    (upload, active): (&UploadWatch, &Active),
    patience: Patience,
) -> Result<Response<Incoming>, Broken> {
    let first = if upload.is_held() { CONTINUE_WAIT } else { patience.response };
    let mut deadline = patience.end(patience.from, first);
    let mut seen = (upload.bytes(), upload.ended());
    if upload.ended() {
        active.sent(patience.from);
    }
    let mut answer = pin!(link.begin(order));
    poll_fn(|cx| {
        link.advance(cx, |link, own| {
            if let Poll::Ready(done) = answer.as_mut().poll(own) {
                return Poll::Ready(done.map_err(|mut error| match error.take_message() {
                    Some(order) => {
                        let order = Some(Box::new(order));
                        Broken { reached: Reached::Unsent, order, excused: false, refusal: reset() }
                    }
                    None => broken(error.error()),
                }));
            }
            if upload.is_held() && upload.is_wanted() {
                upload.release();
                // The second that the body would have waited is no limit for the answer.
                deadline = patience.end(Moment::read(), patience.response);
            }
            let now_seen = (upload.bytes(), upload.ended());
            if seen != now_seen {
                seen = now_seen;
                let now = Moment::read();
                active.moved(now);
                if upload.ended() {
                    active.sent(now);
                }
                deadline = patience.end(now, patience.response);
            }
            while link.is_late(own, deadline) {
                let now = Moment::read();
                if let Some(late) = patience.late(upload, now) {
                    return Poll::Ready(Err(given_up(late)));
                }
                upload.release();
                deadline = patience.end(now, patience.response);
            }
            Poll::Pending
        })
    })
    .await
}

/// Has hyper tell of interim answers: the worker's `100 Continue`, if the body waits for it, and hints for the client.
pub(super) fn notice_early(order: &mut Request<Upload>, early: Option<&Early>) {
    let wanted = order.body().wanted();
    if wanted.is_none() && early.is_none() {
        return;
    }
    let early = early.cloned();
    hyper::ext::on_informational(order, move |response| match (response.status(), &wanted, &early) {
        (StatusCode::CONTINUE, Some(wanted), _) => wanted.store(true, Relaxed),
        (status, _, Some(early)) => early.tell(status, response.headers()),
        _ => {}
    });
}

/// What an error of hyper's client says of the worker.
fn broken(error: &hyper::Error) -> Broken {
    if error.is_parse() || error.is_parse_too_large() {
        let detail =
            "the worker's answer is not HTTP/1.1, or its head is longer than `bounds.response_head_bytes`";
        let refusal = Refusal::new(Reason::WorkerProtocol, detail);
        return Broken { reached: Reached::TooFar, order: None, excused: false, refusal };
    }
    Broken { reached: Reached::MaybeSent, order: None, excused: false, refusal: reset() }
}

fn given_up(late: Late) -> Broken {
    let (reached, excused, refusal) = match late {
        Late::Worker => (Reached::Silent, false, too_slow()),
        Late::Client => (Reached::TooFar, true, starved()),
    };
    Broken { reached, order: None, excused, refusal }
}

const fn reset() -> Refusal {
    Refusal::new(Reason::WorkerReset, "the worker closed the connection before it answered")
}

pub(super) const fn starved() -> Refusal {
    Refusal::new(Reason::ClientTimeout, "the body was not complete when the request's time was over")
}

pub(super) const fn too_slow() -> Refusal {
    Refusal::new(Reason::WorkerTimeout, "the worker sent no answer in time")
}
