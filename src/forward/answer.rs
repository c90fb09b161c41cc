//! A worker's answer on its way to the client: its body, the connection that brings it, and the time it may be
//! silent. Whoever asks for the next piece drives the connection; at the end it goes back to its lane.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::pool::Link;
use super::tunnel::WorkerSide;
use super::upload::UploadWatch;
use super::{Active, headers, http2};
use crate::clock::Moment;
use crate::refusal::{Reason, Refusal};

/// The body of an answer: Buckler's own, or a worker's.
#[derive(Debug)]
pub enum Answer {
    /// A page of Buckler's own.
    Own(Option<Bytes>),
    /// What a worker sends, on a connection of its own.
    Worker(Box<Streaming>),
    /// Nothing more of HTTP: the worker agreed to go on with another protocol.
    Switched(Box<WorkerSide>),
    /// What a worker sends on a stream of HTTP/2.
    Shared(Box<http2::answer::Streaming>),
}

/// A worker's body under way.
#[derive(Debug)]
pub struct Streaming {
    body: Incoming,
    /// A piece that came with the head: it goes out first.
    first: Option<Frame<Bytes>>,
    /// None once the connection went back to its lane or was dropped.
    link: Option<Link>,
    upload: UploadWatch,
    silence: Silence,
    active: Active,
}

/// How long the worker may be silent between two pieces of its body (`timeouts.idle`), and until when it must have
/// said everything (`timeouts.total`).
#[derive(Debug)]
pub(super) struct Silence {
    idle: Duration,
    until: Option<Instant>,
    /// When the present silence began, and when it ends the answer; none while the worker speaks.
    present: Option<(Moment, Instant)>,
}

impl Silence {
    pub(super) const fn new(idle: Duration, until: Option<Instant>) -> Self {
        Self { idle, until, present: None }
    }

    /// Whether the answer should have been complete by now. Asked for each piece: a worker that is never silent would
    /// otherwise go on for as long as a slow client takes.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= Instant::from_std(now.instant()))
    }

    /// The worker spoke, or is being spoken to, or the silence is over for good: what `active` waited for it counts.
    pub(super) fn interrupted(&mut self, active: &Active) {
        if let Some((began, _)) = self.present.take() {
            active.was_silent(began);
        }
    }

    /// When the silence that is now, or has just begun, will have lasted too long.
    pub(super) fn end(&mut self) -> Instant {
        let (_, end) = *self.present.get_or_insert_with(|| {
            let now = Moment::read();
            let end = Instant::from_std(now.instant()) + self.idle;
            (now, self.until.map_or(end, |until| end.min(until)))
        });
        end
    }
}

impl Streaming {
    /// The rest of an answer whose head has just come over `link`.
    pub(super) fn new(
        body: Incoming,
        link: Link,
        upload: UploadWatch,
        active: Active,
        silence: Silence,
    ) -> Self {
        Self { body, first: None, link: Some(link), upload, silence, active }
    }

    /// Looks whether the body begins as it should, as long as the client knows nothing of the answer yet.
    ///
    /// # Errors
    /// It is broken already: that can still be said in plain words.
    pub(super) fn look(&mut self, cx: &Context<'_>) -> Result<(), Refusal> {
        match self.poll_piece(cx) {
            Poll::Ready(Some(piece)) => self.first = Some(piece?),
            Poll::Ready(None) | Poll::Pending => {}
        }
        Ok(())
    }

    /// The attempt that it is the answer of.
    pub(super) const fn active(&self) -> &Active {
        &self.active
    }

    /// The whole of the body, if it is here already, and nothing of the connection is held any more.
    fn is_here(&self) -> bool {
        self.link.is_none() && self.body.is_end_stream() && self.first.as_ref().is_none_or(Frame::is_data)
    }

    fn poll_piece(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let (body, silence) = (&mut self.body, &mut self.silence);
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        let polled = link.advance(cx, |link, own| match Pin::new(&mut *body).poll_frame(own) {
            Poll::Pending if link.is_late(own, silence.end()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(piece) => Poll::Ready(Some(piece)),
        });
        if polled.is_ready() {
            self.silence.interrupted(&self.active);
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Some(Ok(frame)))) => {
                if self.silence.is_over(self.active.clock.now()) && !self.body.is_end_stream() {
                    let detail = "the answer was not complete within `timeouts.total`";
                    return Poll::Ready(Some(Err(self.cut_late(detail))));
                }
                self.active.goes_on();
                // hyper does not ask again once it has all bytes of a known length, or the trailers.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.finish(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(None)) => {
                self.finish(cx);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Some(Err(_)))) => {
                let detail = "the worker's body ended before it was complete";
                Poll::Ready(Some(Err(self.cut(Reason::WorkerReset, detail))))
            }
            Poll::Ready(None) => {
                let detail = "the worker stopped in the middle of its body";
                Poll::Ready(Some(Err(self.cut_late(detail))))
            }
        }
    }

    /// Moves what is left of the request; of the answer no more than one piece comes meanwhile.
    fn drive(&mut self, cx: &Context<'_>) {
        if let (false, Some(link)) = (self.upload.ended(), &mut self.link) {
            let _ = link.advance(cx, |_, _| Poll::<()>::Pending);
        }
    }

    /// The answer is complete: the connection goes back if it is at rest, and if the request is complete too.
    pub(super) fn finish(&mut self, cx: &Context<'_>) {
        self.active.complete();
        if let Some(mut link) = self.link.take()
            && self.upload.ended()
            && link.at_rest(cx)
        {
            self.active.give_back(link);
        }
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
        match self.body.size_hint().exact() {
            Some(left) => SizeHint::with_exact(left + held),
            None => SizeHint::default(),
        }
    }

    fn cut(&mut self, reason: Reason, detail: &'static str) -> Refusal {
        self.link = None;
        // What the client did to its own upload is not the worker's fault.
        if let Some(failure) = self.upload.failure() {
            self.active.excused();
            return failure;
        }
        self.active.failed();
        Refusal::new(reason, detail)
    }

    fn cut_late(&mut self, detail: &'static str) -> Refusal {
        self.link = None;
        late(&self.active, &self.upload, detail)
    }
}

/// An answer that is cut for its time: by the worker's fault, or the client's who did not send its body or take the
/// answer.
pub(super) fn late(active: &Active, upload: &UploadWatch, detail: &'static str) -> Refusal {
    if let Some(failure) = upload.failure() {
        active.excused();
        return failure;
    }
    let starves = !upload.ended() && upload.is_starving();
    if starves {
        active.excused();
    }
    if starves || !active.failed() {
        return Refusal::new(Reason::ClientTimeout, "the client used up the request's time");
    }
    Refusal::new(Reason::WorkerTimeout, detail)
}

impl Answer {
    /// The same without anything of the worker's, if all of it is here.
    pub(super) fn settled(self) -> Self {
        match self {
            Self::Worker(mut streaming) if streaming.is_here() => {
                Self::Own(streaming.first.take().and_then(|frame| frame.into_data().ok()))
            }
            Self::Shared(streaming) if streaming.is_end_stream() => Self::Own(None),
            answer => answer,
        }
    }

    /// Keeps the request's body going while nobody asks for the next piece of the answer.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Own(_) | Self::Switched(_) => {}
            Self::Worker(streaming) => streaming.drive(cx),
            Self::Shared(streaming) => streaming.drive(cx),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let mut polled = match self.get_mut() {
            Self::Own(page) => Poll::Ready(page.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Worker(streaming) => streaming.poll_piece(cx),
            Self::Switched(_) => Poll::Ready(None),
            Self::Shared(streaming) => streaming.poll_piece(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::to_client_trailers(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(page) => page.as_ref().is_none_or(Bytes::is_empty),
            Self::Worker(streaming) => streaming.first.is_none() && streaming.body.is_end_stream(),
            Self::Switched(_) => true,
            Self::Shared(streaming) => streaming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(page) => SizeHint::with_exact(page.as_ref().map_or(0, Bytes::len) as u64),
            Self::Worker(streaming) => streaming.size_hint(),
            Self::Switched(_) => SizeHint::with_exact(0),
            Self::Shared(streaming) => streaming.size_hint(),
        }
    }
}
