//! The request's body on its way to the worker: counted, bounded, and held back while the worker has not yet said
//! `100 Continue`. How long the client may take over it (`timeouts.body`) is [`Source`]'s business.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::source::Source;
use crate::refusal::{Reason, Refusal};

/// A request's body.
#[derive(Debug, Default)]
pub struct Upload(Option<Under>);

/// A body under way.
#[derive(Debug)]
struct Under {
    body: Source,
    most: u64,
    /// What was taken before and comes once more.
    again: Option<Box<Taken>>,
    progress: Rc<Progress>,
}

/// The beginning of a body, kept so that it can be sent once more.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Its pieces, in order.
    pub(super) pieces: VecDeque<Bytes>,
    /// Its trailers, if they came.
    pub(super) trailers: Option<HeaderMap>,
}

/// How the request's body stands, for those who wait for something else meanwhile. A request without a body, which is
/// most of them, has nothing to keep.
#[derive(Clone, Debug, Default)]
pub struct UploadWatch(Option<Rc<Progress>>);

#[derive(Debug, Default)]
struct Progress {
    bytes: Cell<u64>,
    ended: Cell<bool>,
    starving: Cell<bool>,
    failed: RefCell<Option<Refusal>>,
    /// The answer has begun: how fast the rest of the body comes is between the client and the worker.
    answered: Cell<bool>,
    held: Cell<bool>,
    /// It is held at first.
    waits: bool,
    /// The worker said `100 Continue`.
    wanted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Whoever lets go of the body leaves it here if nothing of it was taken.
    kept: Cell<bool>,
    untouched: RefCell<Option<(Source, u64)>>,
}

impl UploadWatch {
    /// Bytes taken from the client.
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |progress| progress.bytes.get())
    }

    /// Whether the whole body was taken.
    pub fn ended(&self) -> bool {
        self.0.as_ref().is_none_or(|progress| progress.ended.get())
    }

    /// The answer has begun.
    pub fn answer_begins(&self) {
        if let Some(progress) = &self.0 {
            progress.answered.set(true);
        }
    }

    /// Whether the worker waits for the client.
    pub fn is_starving(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.starving.get())
    }

    /// Why the body could not be read to its end, if that is so.
    pub fn failure(&self) -> Option<Refusal> {
        self.0.as_ref().and_then(|progress| progress.failed.borrow().clone())
    }

    /// Whether the body still waits for the worker's `100 Continue`.
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.held.get())
    }

    /// Whether the worker has asked for the body that is held.
    pub fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.wanted.get())
    }

    /// The worker said `100 Continue`.
    pub(super) fn said_continue(&self) {
        if let Some(progress) = &self.0 {
            progress.wanted.set(true);
        }
    }

    /// Whether a body of which nothing was taken is kept for another attempt when somebody lets go of it.
    pub(super) fn keep(&self, keeps: bool) {
        if let Some(progress) = &self.0 {
            progress.kept.set(keeps);
            if !keeps {
                progress.untouched.take();
            }
        }
    }

    /// The body for another attempt, which waits for `100 Continue` again if it did before. None if some of it is gone,
    /// or somebody still has it.
    pub(super) fn take_back(&self) -> Option<Upload> {
        let Some(progress) = &self.0 else { return Some(Upload::none()) };
        let (body, most) = progress.untouched.take()?;
        progress.wanted.set(false);
        progress.held.set(progress.waits);
        progress.starving.set(false);
        Some(Upload(Some(Under { body, most, again: None, progress: Rc::clone(progress) })))
    }

    /// Lets the body go: the worker said 100, or waiting for it has lasted long enough.
    pub fn release(&self) {
        let Some(progress) = &self.0 else { return };
        progress.held.set(false);
        if let Some(waker) = progress.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Upload {
    /// No body.
    pub const fn none() -> Self {
        Self(None)
    }

    /// This body, of at most `most` bytes, held back until `release` if the client asked with `Expect: 100-continue`.
    pub fn new(body: Source, most: u64, expects_continue: bool) -> Self {
        if body.is_end_stream() {
            return Self::none();
        }
        let (held, waits) = (Cell::new(expects_continue), expects_continue);
        let progress = Rc::new(Progress { held, waits, ..Progress::default() });
        Self(Some(Under { body, most, again: None, progress }))
    }

    /// A body of these pieces.
    #[cfg(test)]
    pub(super) fn made_up(taken: Taken) -> Self {
        let (body, again, progress) = (Source::None, Some(Box::new(taken)), Rc::default());
        Self(Some(Under { body, most: u64::MAX, again, progress }))
    }

    /// How it stands, for the request that waits.
    pub fn watch(&self) -> UploadWatch {
        UploadWatch(self.0.as_ref().map(|under| Rc::clone(&under.progress)))
    }

    /// Whether there is no body at all.
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Nothing more of it is to be sent, for this reason.
    pub(super) fn break_off(&self, refusal: Refusal) {
        if let Some(under) = &self.0 {
            under.fail(refusal);
        }
    }

    /// The worker takes nothing more of it: nobody waits for the client any longer.
    pub(super) fn unwanted(&self) {
        if let Some(under) = &self.0 {
            under.progress.starving.set(false);
        }
    }

    /// Makes the body whole again: what was taken of it, all from its beginning, comes first once more.
    pub(super) fn put_back(&mut self, taken: Taken) {
        if let Some(under) = &mut self.0
            && !(taken.pieces.is_empty() && taken.trailers.is_none())
        {
            under.progress.ended.set(false);
            under.again = Some(Box::new(taken));
        }
    }
}

impl Under {
    fn fail(&self, refusal: Refusal) -> Refusal {
        *self.progress.failed.borrow_mut() = Some(refusal.clone());
        refusal
    }

    /// The next frame of what comes once more; it was counted the first time.
    fn next_again(&mut self) -> Option<Frame<Bytes>> {
        let again = self.again.as_mut()?;
        let frame = match again.pieces.pop_front() {
            Some(piece) => Frame::data(piece),
            None => Frame::trailers(again.trailers.take()?),
        };
        if again.pieces.is_empty() && again.trailers.is_none() {
            self.again = None;
        }
        self.progress.ended.set(frame.is_trailers() || self.is_at_end());
        Some(frame)
    }

    fn is_at_end(&self) -> bool {
        self.again.is_none() && self.body.is_end_stream()
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let progress = &self.progress;
        let is_whole =
            progress.bytes.get() == 0 && !progress.ended.get() && progress.failed.borrow().is_none();
        if progress.kept.get() && is_whole {
            let body = std::mem::replace(&mut self.body, Source::None);
            progress.untouched.replace(Some((body, self.most)));
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let Some(under) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        let progress = Rc::clone(&under.progress);
        if progress.held.get() {
            *progress.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(frame) = under.next_again() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if progress.answered.get() {
            under.body.take_your_time();
        }
        let polled = Pin::new(&mut under.body).poll_frame(cx);
        progress.starving.set(polled.is_pending());
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                progress.ended.set(true);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                progress.bytes.set(progress.bytes.get() + length);
                if progress.bytes.get() > under.most {
                    let refusal =
                        Refusal::new(Reason::BodyTooLarge, "the body is longer than `bounds.body_bytes`");
                    return Poll::Ready(Some(Err(under.fail(refusal))));
                }
                // Nobody asks again behind the trailers, or once all bytes of a known length are here.
                progress.ended.set(frame.is_trailers() || under.body.is_end_stream());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(refusal))) => Poll::Ready(Some(Err(under.fail(refusal)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Under::is_at_end)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(
            || SizeHint::with_exact(0),
            |under| if under.again.is_some() { SizeHint::default() } else { under.body.size_hint() },
        )
    }
}
