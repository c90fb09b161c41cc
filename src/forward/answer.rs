//! A worker's answer on its way to the client: its body, the connection that brings it, and the time it may be
//! silent. Whoever asks for the next piece drives the connection; at the end it goes back to its lane.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::pool::Link;
use super::upload::Progress;
use super::{Active, rings};
use crate::clock::Moment;
use crate::refusal::{Reason, Refusal};

/// The body of an answer: Buckler's own, or a worker's.
#[derive(Debug)]
pub enum Answer {
    /// A page of Buckler's own.
    Own(Option<Bytes>),
    /// What a worker sends.
    Worker(Box<Streaming>),
}

/// A worker's body under way.
#[derive(Debug)]
pub struct Streaming {
    body: Incoming,
    /// None once the connection went back to its lane or was dropped.
    link: Option<Link>,
    upload: Rc<Progress>,
    silence: Silence,
    active: Active,
}

/// How long the worker may be silent between two pieces of its body (`timeouts.idle`), and until when it must have
/// said everything (`timeouts.total`).
#[derive(Debug)]
pub(super) struct Silence {
    pub(super) idle: Duration,
    pub(super) until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs for the present silence. A piece that arrives stops it without touching the timer.
    running: bool,
}

impl Silence {
    pub(super) const fn new(idle: Duration, until: Option<Instant>) -> Self {
        Self { idle, until, timer: None, running: false }
    }

    /// Called when the worker has nothing to say: true once that has lasted too long.
    #[allow(clippy::disallowed_methods, reason = "a timer is an edge")]
    fn too_long(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.running {
            let end = Instant::now() + self.idle;
            let end = self.until.map_or(end, |until| end.min(until));
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(end),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(end))),
            }
            self.running = true;
        }
        self.timer.as_mut().is_some_and(|timer| rings(timer.as_mut(), cx).is_ready())
    }
}

impl Streaming {
    /// The rest of an answer whose head has just come over `link`.
    pub(super) fn new(
        body: Incoming,
        link: Link,
        upload: Rc<Progress>,
        active: Active,
        silence: Silence,
    ) -> Self {
        Self { body, link: Some(link), upload, silence, active }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        if let Some(link) = &mut self.link {
            link.drive(cx);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.running = false;
                // hyper does not ask again once it has all bytes of a known length, or the trailers.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.finish(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.finish(cx);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(
                self.cut(Reason::WorkerReset, "the worker's body ended before it was complete")
            ))),
            Poll::Pending if self.silence.too_long(cx) => Poll::Ready(Some(Err(
                self.cut(Reason::WorkerTimeout, "the worker stopped in the middle of its body")
            ))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The answer is complete: the connection goes back if it is at rest, and if the request is complete too.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(mut link) = self.link.take()
            && self.upload.ended.get()
            && link.at_rest(cx)
        {
            self.active.lane.give_back(link, Moment::read());
        }
    }

    fn cut(&mut self, reason: Reason, detail: &'static str) -> Refusal {
        self.link = None;
        self.active.failed();
        // What the client did to its own upload is not the worker's fault.
        self.upload.failed.borrow().clone().unwrap_or_else(|| Refusal::new(reason, detail))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        match self.get_mut() {
            Self::Own(page) => Poll::Ready(page.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Worker(streaming) => streaming.poll_piece(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(page) => page.as_ref().is_none_or(Bytes::is_empty),
            Self::Worker(streaming) => streaming.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(page) => SizeHint::with_exact(page.as_ref().map_or(0, Bytes::len) as u64),
            Self::Worker(streaming) => streaming.body.size_hint(),
        }
    }
}
