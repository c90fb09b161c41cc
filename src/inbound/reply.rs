//! The body of an answer on its last hop, and everything that ends with it: the record, what was granted, the
//! connection's being busy. All of it is given back when hyper drops the body, however that comes about.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http_body::{Body, Frame, SizeHint};

use super::room::Admission;
use super::visitor::Busy;
use crate::forward::Answer;
use crate::forward::tunnel::{self, ClientSide, Opening, TunnelTerms};
use crate::forward::upload::UploadWatch;
use crate::record::{End, Outcome};
use crate::refusal::{self, Reason, Refusal};

/// An answer's body with what hangs on it.
#[derive(Debug)]
pub struct Reply {
    answer: Answer,
    /// Held until the last byte: a slow reader still counts as a request in progress. Given back before the outcome is
    /// written: what is told to be over holds no place.
    _admission: Option<Admission>,
    outcome: Box<Outcome>,
    upload: UploadWatch,
    /// The connection carries it until this goes.
    busy: Busy,
    /// A gRPC answer over HTTP/2: one that is cut ends with trailers that say why.
    grpc: bool,
    /// Those trailers have gone.
    cut: bool,
}

impl Reply {
    pub(super) fn new(
        answer: Answer,
        mut outcome: Box<Outcome>,
        admission: Option<Admission>,
        upload: UploadWatch,
        busy: Busy,
        method: &Method,
    ) -> Self {
        // hyper never asks for a body that is empty, or that HEAD does not want.
        let switched = matches!(answer, Answer::Switched(_));
        if (answer.is_end_stream() && !switched) || *method == Method::HEAD {
            outcome.ended(End::Complete);
        }
        Self { answer, outcome, _admission: admission, upload, busy, grpc: false, cut: false }
    }

    /// The same as an answer of gRPC.
    pub(super) const fn of_grpc(mut self) -> Self {
        self.grpc = true;
        self
    }
}

impl Reply {
    /// Whether the worker agreed to go on with another protocol: then this is no body, but wants to be carried.
    pub const fn is_switched(&self) -> bool {
        matches!(self.answer, Answer::Switched(_))
    }

    /// Keeps the request's body going while the client takes nothing of the answer.
    pub fn drive(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.get_mut().answer.drive(cx);
    }

    /// Carries bytes between this client, who is sent `opening` first, and the worker, until that ends. The request
    /// counts as in progress all the while: for its limits, in the log, on its connection.
    pub async fn carry<C: ClientSide>(mut self, mut client: C, opening: Opening) {
        let Answer::Switched(mut worker) = std::mem::replace(&mut self.answer, Answer::Own(None)) else {
            return;
        };
        let visitor = Rc::clone(self.busy.visitor());
        let idle = visitor.timeouts().tunnel;
        let terms = TunnelTerms { idle, clock: visitor.clock(), drain: visitor.drain_begins() };
        tunnel::carry(&mut client, &mut worker, opening, terms, &mut self.outcome).await;
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let this = self.get_mut();
        if this.cut {
            return Poll::Ready(None);
        }
        let mut polled = Pin::new(&mut this.answer).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (true, Some(trailers)) = (this.grpc, frame.trailers_ref()) {
                    this.outcome.grpc_status(refusal::grpc::told(trailers));
                }
                this.outcome.bytes_out(frame.data_ref().map_or(0, Bytes::len) as u64);
                if frame.is_trailers() || this.answer.is_end_stream() {
                    this.outcome.ended(End::Complete);
                }
            }
            Poll::Ready(None) => this.outcome.ended(End::Complete),
            Poll::Ready(Some(Err(refusal))) => {
                let gone = refusal.reason == Reason::ClientClosed;
                this.outcome.ended(if gone { End::ClientClosed } else { End::Cut(refusal.reason) });
                if this.grpc && !gone {
                    this.cut = true;
                    let trailers = refusal::grpc::trailers(refusal);
                    this.outcome.grpc_status(refusal::grpc::told(&trailers));
                    polled = Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.cut || self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.outcome.bytes_in(self.upload.bytes());
    }
}
