//! A worker's answer on its way to the client: its body, the connection that brings it, and the time it may be
//! silent. Whoever asks for the next piece moves the bytes; at the end the connection goes back to its lane.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::exchange::Rest;
use super::http1::body::{self, Step};
use super::http1::outgoing::Stop;
use super::pool::Link;
use super::tunnel::WorkerSide;
use super::upload::UploadWatch;
use super::whole::{Came, Whole};
use super::{Active, headers, http2};
use crate::clock::Moment;
use crate::refusal::{Reason, Refusal};

/// The body of an answer: Buckler's own, or a worker's.
#[derive(Debug)]
pub enum Answer {
    /// All of it is here: a page of Buckler's own, or what a worker sent together with its head. Nothing of the worker
    /// is held any more, neither a connection nor a place.
    Own(Option<Bytes>),
    /// The same of a worker, and short.
    Came(Came),
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
    body: body::Body,
    /// A piece that came with the head: it goes out first.
    first: Option<Frame<Bytes>>,
    /// None once the connection went back to its lane or was dropped.
    link: Option<Box<Link>>,
    /// Whether the worker keeps it for another request.
    keeps: bool,
    /// What is left of the request; none once all of it is gone.
    rest: Option<Box<Rest>>,
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
    /// The rest of an answer whose head has just come.
    pub(super) fn new(
        body: body::Body,
        (link, keeps): (Box<Link>, bool),
        (rest, upload): (Option<Box<Rest>>, UploadWatch),
        active: Active,
        silence: Silence,
    ) -> Self {
        Self { body, first: None, link: Some(link), keeps, rest, upload, silence, active }
    }

    /// Looks whether the body begins as it should, as long as the client knows nothing of the answer yet: at what came
    /// with the head, and at what is here by now of workers that write their body by itself.
    ///
    /// # Errors
    /// It is broken already: that can still be said in plain words.
    pub(super) fn look(&mut self) -> Result<(), Refusal> {
        // Nobody waits for it yet; whoever asks for the first piece will.
        match self.poll_body(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return Ok(()),
            Poll::Ready(None) => return Err(self.broken()),
            Poll::Ready(Some(step)) => self.first = self.frame(step),
        }
        Ok(())
    }

    /// The attempt that it is the answer of.
    pub(super) const fn active(&self) -> &Active {
        &self.active
    }

    /// The answer; one that is all here already needs nothing more of the worker.
    pub(super) fn into_answer(mut self) -> Answer {
        if self.is_here() { Answer::Own(self.page()) } else { Answer::Worker(Box::new(self)) }
    }

    /// All of a body that is here.
    fn page(&mut self) -> Option<Bytes> {
        self.first.take().and_then(|frame| frame.into_data().ok())
    }

    /// The whole of the body, if it is here already, and nothing of the connection is held any more.
    fn is_here(&self) -> bool {
        self.link.is_none() && self.first.as_ref().is_none_or(Frame::is_data)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if !self.send_on(cx) {
            return Poll::Ready(Some(Err(self.broken())));
        }
        let polled = self.poll_body(cx);
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        match polled {
            Poll::Pending if link.alarm.is_late(cx, self.silence.end()) => {
                self.silence.interrupted(&self.active);
                let detail = "the worker stopped in the middle of its body";
                Poll::Ready(Some(Err(self.cut_late(detail))))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(step) => {
                self.silence.interrupted(&self.active);
                Poll::Ready(self.passed_on(step))
            }
        }
    }

    /// What comes next, from the socket if it must be. None: the connection broke, or the body is faulty.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let Some(link) = &mut self.link else { return Poll::Ready(Some(Step::End)) };
        loop {
            match self.body.next(&mut link.inflow.ahead) {
                Ok(Step::More) => {}
                step => return Poll::Ready(step.ok()),
            }
            match ready!(link.inflow.poll_fill(cx, &mut link.socket)) {
                Ok(true) => {}
                Ok(false) if self.body.ends_with_connection() => return Poll::Ready(Some(Step::End)),
                Ok(false) | Err(_) => return Poll::Ready(None),
            }
        }
    }

    fn passed_on(&mut self, step: Option<Step>) -> Option<Result<Frame<Bytes>, Refusal>> {
        let Some(step) = step else { return Some(Err(self.broken())) };
        let goes_on = !matches!(step, Step::End) && !self.body.has_ended();
        if goes_on && self.silence.is_over(self.active.clock.now()) {
            let detail = "the answer was not complete within `timeouts.total`";
            return Some(Err(self.cut_late(detail)));
        }
        self.frame(step).map(Ok)
    }

    /// The next frame; and the end, if it is known with that.
    fn frame(&mut self, step: Step) -> Option<Frame<Bytes>> {
        let frame = match step {
            Step::Data(data) => Some(Frame::data(data)),
            Step::Trailers(trailers) => Some(Frame::trailers(trailers)),
            Step::More => return None,
            Step::End => None,
        };
        if frame.is_some() {
            self.active.goes_on();
        }
        if frame.is_none() || self.body.has_ended() {
            self.finish();
        }
        frame
    }

    /// Moves what is left of the request. False: the client's part of it broke.
    fn send_on(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(rest), Some(link)) = (&mut self.rest, &mut self.link) else { return true };
        match rest.poll(cx, link) {
            Poll::Ready(Ok(())) => self.rest = None,
            Poll::Ready(Err(Stop::Client)) => return false,
            // A worker may take no more of it and answer all the same.
            Poll::Ready(Err(Stop::Worker)) | Poll::Pending => {}
        }
        true
    }

    /// The answer is complete: the connection goes back if nothing stands behind it and the request is complete too.
    fn finish(&mut self) {
        self.active.complete();
        let (link, rest) = (self.link.take(), self.rest.take());
        if let (Some(link), None, true) = (link, rest, self.keeps) {
            self.active.give_back(link);
        }
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
        self.body.left().map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }

    /// The connection broke, or the body on it, or the client's own.
    fn broken(&mut self) -> Refusal {
        self.link = None;
        // What the client did to its own upload is not the worker's fault.
        if let Some(failure) = self.upload.failure() {
            self.active.excused();
            return failure;
        }
        self.active.failed();
        Refusal::new(Reason::WorkerReset, "the worker's body ended before it was complete")
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
            Self::Worker(mut streaming) if streaming.is_here() => Self::Own(streaming.page()),
            Self::Shared(streaming) if streaming.is_end_stream() => Self::Own(None),
            Self::Came(came) => Self::Own(Some(Whole::Came(came).into_bytes())),
            answer => answer,
        }
    }

    /// All of it, if it is here. Nothing is left of it then.
    pub fn take_whole(&mut self) -> Option<Whole> {
        match self {
            Self::Own(page) => page.take().map(Whole::Bytes),
            Self::Came(_) => match std::mem::replace(self, Self::Own(None)) {
                Self::Came(came) => Some(Whole::Came(came)),
                _ => None,
            },
            Self::Worker(_) | Self::Switched(_) | Self::Shared(_) => None,
        }
    }

    /// Keeps the request's body going while nobody asks for the next piece of the answer.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Own(_) | Self::Came(_) | Self::Switched(_) => {}
            // What breaks it is told with the next piece.
            Self::Worker(streaming) => drop(streaming.send_on(cx)),
            Self::Shared(streaming) => streaming.drive(cx),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let answer = self.get_mut();
        let mut polled = match answer {
            Self::Own(_) | Self::Came(_) => {
                Poll::Ready(answer.take_whole().map(|whole| Ok(Frame::data(whole.into_bytes()))))
            }
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
            Self::Came(came) => came.is_empty(),
            Self::Worker(streaming) => streaming.first.is_none() && streaming.link.is_none(),
            Self::Switched(_) => true,
            Self::Shared(streaming) => streaming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(page) => SizeHint::with_exact(page.as_ref().map_or(0, Bytes::len) as u64),
            Self::Came(came) => SizeHint::with_exact(came.len() as u64),
            Self::Worker(streaming) => streaming.size_hint(),
            Self::Switched(_) => SizeHint::with_exact(0),
            Self::Shared(streaming) => streaming.size_hint(),
        }
    }
}
