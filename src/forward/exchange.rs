//! One exchange over one connection of HTTP/1.1: the request goes out and the head of the answer comes in, within the
//! time that there is. Whoever waits for it moves the bytes, and nobody else.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::early::Early;
use super::http1::head::{Bad, Head};
use super::http1::outgoing::{Outgoing, Stop};
use super::http1::{Heads, Missed};
use super::pool::Link;
use super::retry::Reached;
use super::upload::{Upload, UploadWatch};
use super::{Active, Order};
use crate::clock::Moment;
use crate::refusal::{Reason, Refusal};

/// How long a body waits for the worker's `100 Continue` before it is sent without (RFC 9110 section 10.1.1 asks for
/// no more than "some time"; curl and nginx wait one second).
pub(super) const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// How an exchange broke.
pub(super) struct Broken {
    pub(super) reached: Reached,
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

/// A request on its way out over a connection, and the wait for the head of its answer.
pub(super) struct Exchange<'a> {
    link: &'a mut Link,
    order: &'a mut Order,
    /// None once all of it is gone.
    outgoing: Option<Box<Outgoing>>,
    upload: &'a UploadWatch,
    /// Told when the worker has all of the request.
    active: &'a Active,
    early: Option<&'a Early>,
    patience: Patience,
    deadline: Instant,
    /// Bytes of the body that were taken, and whether that was all, when last looked at.
    seen: (u64, bool),
    heads: &'a Heads,
    /// The connection was looked at just now, when it was chosen among the idle ones.
    is_at_rest: bool,
}

impl<'a> Exchange<'a> {
    /// Begins to send this request. The head of the answer is read as `heads` has it.
    #[inline]
    pub(super) fn begin(
        link: &'a mut Link,
        order: &'a mut Order,
        (upload, active): (&'a UploadWatch, &'a Active),
        (patience, early): (Patience, Option<&'a Early>),
        heads: &'a Heads,
    ) -> Self {
        let first = if upload.is_held() { CONTINUE_WAIT } else { patience.response };
        if upload.ended() {
            active.sent(patience.from);
        }
        let is_at_rest = link.reused();
        Self {
            outgoing: Outgoing::begin(order, is_at_rest.then_some(&link.socket)),
            link,
            order,
            upload,
            active,
            early,
            patience,
            deadline: patience.end(patience.from, first),
            seen: (upload.bytes(), upload.ended()),
            heads,
            is_at_rest,
        }
    }

    /// What is left of the request, if the answer began before all of it was gone: it goes on beside the answer.
    #[inline]
    pub(super) fn rest(self) -> Option<Box<Rest>> {
        let Self { outgoing, order, .. } = self;
        outgoing.map(|outgoing| Box::new(Rest { outgoing, body: std::mem::take(&mut order.body) }))
    }

    /// Moves bytes in both directions until the head of the answer is here.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Box<Broken>>> {
        loop {
            if self.outgoing.is_some() {
                self.poll_send(cx)?;
            }
            if let Poll::Ready(head) = self.poll_head(cx)? {
                return Poll::Ready(Ok(head));
            }
            if !(self.upload.is_held() && self.upload.is_wanted()) {
                break;
            }
            self.upload.release();
            // The second that the body would have waited is no limit for the answer.
            self.deadline = self.patience.end(Moment::read(), self.patience.response);
        }
        let seen = (self.upload.bytes(), self.upload.ended());
        if self.seen != seen {
            self.seen = seen;
            let now = Moment::read();
            self.active.moved(now);
            if self.upload.ended() {
                self.active.sent(now);
            }
            self.deadline = self.patience.end(now, self.patience.response);
        }
        while self.link.alarm.is_late(cx, self.deadline) {
            let now = Moment::read();
            if let Some(late) = self.patience.late(self.upload, now) {
                return Poll::Ready(Err(given_up(late)));
            }
            self.upload.release();
            self.deadline = self.patience.end(now, self.patience.response);
        }
        Poll::Pending
    }

    // Apart: most requests have no body, and are gone before this is asked for.
    #[inline(never)]
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Box<Broken>> {
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        // A connection that ended, or on which something was said, before the request came.
        let is_at_rest = std::mem::take(&mut self.is_at_rest);
        if !outgoing.has_begun() && !is_at_rest && !self.link.is_at_rest() {
            return Err(unsent(outgoing, self.order));
        }
        match outgoing.poll(cx, &mut self.link.socket, &mut self.order.body) {
            Poll::Ready(Ok(())) => self.outgoing = None,
            Poll::Ready(Err(Stop::Worker)) if !outgoing.has_begun() => {
                return Err(unsent(outgoing, self.order));
            }
            Poll::Ready(Err(Stop::Client)) => return Err(broken()),
            // A worker that takes nothing more may have answered before.
            Poll::Ready(Err(Stop::Worker)) | Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Box<Broken>>> {
        loop {
            let Link { inflow, socket, .. } = &mut *self.link;
            let head = match ready!(inflow.poll_head(cx, socket, (&self.order.head.method, self.heads))) {
                Ok(head) => head,
                Err(Missed::Wrong(bad)) => return Poll::Ready(Err(wrong(bad))),
                Err(Missed::Gone) => return Poll::Ready(Err(broken())),
            };
            if !head.is_interim() {
                return Poll::Ready(Ok(head));
            }
            if head.status == StatusCode::CONTINUE {
                self.upload.said_continue();
            } else if let Some(early) = self.early {
                early.tell(head.status, head.fields);
            }
        }
    }
}

/// What is left of a request whose answer has begun.
#[derive(Debug)]
pub(super) struct Rest {
    outgoing: Box<Outgoing>,
    body: Upload,
}

impl Rest {
    /// Sends what the worker takes of it. Ready when all is gone, or nothing more will go.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Result<(), Stop>> {
        self.outgoing.poll(cx, &mut link.socket, &mut self.body)
    }
}

/// The socket took nothing of it: it can go out by another one.
#[cold]
fn unsent(outgoing: &mut Outgoing, order: &mut Order) -> Box<Broken> {
    outgoing.take_back(&mut order.body);
    Box::new(Broken { reached: Reached::Unsent, excused: false, refusal: reset() })
}

#[cold]
fn wrong(Bad(detail): Bad) -> Box<Broken> {
    let refusal = Refusal::new(Reason::WorkerProtocol, detail);
    Box::new(Broken { reached: Reached::TooFar, excused: false, refusal })
}

/// The connection is over. Nobody knows what the worker has read.
#[cold]
fn broken() -> Box<Broken> {
    Box::new(Broken { reached: Reached::MaybeSent, excused: false, refusal: reset() })
}

#[cold]
fn given_up(late: Late) -> Box<Broken> {
    let (reached, excused, refusal) = match late {
        Late::Worker => (Reached::Silent, false, too_slow()),
        Late::Client => (Reached::TooFar, true, starved()),
    };
    Box::new(Broken { reached, excused, refusal })
}

const fn reset() -> Refusal {
    Refusal::new(Reason::WorkerReset, "the worker closed the connection before it answered")
}

pub(super) const fn starved() -> Refusal {
    Refusal::new(Reason::ClientTimeout, "the body was not complete when the request's time was over")
}

pub(super) const fn too_slow() -> Refusal {
    Refusal::new(
        Reason::WorkerTimeout,
        "the worker sent no answer within `timeouts.response`, or what was left of `timeouts.total`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::answer::Streaming;

    #[test]
    fn what_is_moved_for_each_request_is_small() {
        // Bytes; each is copied at least once for a request.
        for (size, most) in
            [(size_of::<Exchange<'_>>(), 192), (size_of::<Head>(), 80), (size_of::<Streaming>(), 512)]
        {
            assert!(size <= most, "{size} bytes, at most {most} wanted");
        }
    }
}
