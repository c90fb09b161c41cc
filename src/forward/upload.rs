//! The request's body on its way to the worker: counted, bounded, and held back while the worker has not yet said
//! `100 Continue`. Waiting for the client is the socket's business (`timeouts.body`), not this one's.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::refusal::{Reason, Refusal};

/// A request's body.
#[derive(Debug)]
pub struct Upload {
    body: Option<Incoming>,
    most: u64,
    progress: Rc<Progress>,
}

/// How an upload stands; shared by the body, which the worker's connection owns, and the request that waits.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes taken from the client.
    pub bytes: Cell<u64>,
    /// Whether anything was asked of the client's body: then it cannot be sent a second time.
    pub begun: Cell<bool>,
    /// Whether the whole body was taken.
    pub ended: Cell<bool>,
    /// Whether the worker waits for the client.
    pub starving: Cell<bool>,
    /// Why the body could not be read to its end.
    pub failed: RefCell<Option<Refusal>>,
    /// Whether the body waits for the worker's `100 Continue`.
    held: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Progress {
    /// Lets the body go: the worker said 100, or waiting for it has lasted long enough.
    pub fn release(&self) {
        self.held.set(false);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether the body still waits for `100 Continue`.
    pub fn is_held(&self) -> bool {
        self.held.get()
    }
}

impl Upload {
    /// No body.
    pub fn none() -> Self {
        let progress = Rc::new(Progress::default());
        progress.ended.set(true);
        Self { body: None, most: u64::MAX, progress }
    }

    /// This body, of at most `most` bytes, held back until `release` if the client asked with `Expect: 100-continue`.
    pub fn new(body: Incoming, most: u64, expects_continue: bool) -> Self {
        if body.is_end_stream() {
            return Self::none();
        }
        let progress = Rc::new(Progress::default());
        progress.held.set(expects_continue);
        Self { body: Some(body), most, progress }
    }

    /// How it stands, for the request that waits.
    pub fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// Whether there is no body at all.
    pub const fn is_none(&self) -> bool {
        self.body.is_none()
    }

    fn fail(&self, refusal: Refusal) -> Refusal {
        *self.progress.failed.borrow_mut() = Some(refusal.clone());
        refusal
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let this = self.get_mut();
        let progress = Rc::clone(&this.progress);
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if progress.held.get() {
            *progress.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        progress.begun.set(true);
        let polled = Pin::new(body).poll_frame(cx);
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
                if progress.bytes.get() > this.most {
                    let refusal =
                        Refusal::new(Reason::BodyTooLarge, "the body is longer than `bounds.body_bytes`");
                    return Poll::Ready(Some(Err(this.fail(refusal))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this.fail(cause(&error))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What a broken body means: the socket's own verdict if it gave one, otherwise the client is gone.
fn cause(error: &(dyn Error + 'static)) -> Refusal {
    let gone = || Refusal::new(Reason::ClientClosed, "the client left before its body was complete");
    Refusal::within(error).cloned().unwrap_or_else(gone)
}
