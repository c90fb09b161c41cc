//! The body of an answer on its last hop, and everything that ends with it: the record, what was granted, the
//! connection's being busy. All of it is given back when the body is dropped, however that comes about.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http_body::{Body, Frame, SizeHint};

use super::room::Admission;
use super::visitor::Busy;
use crate::clock::Moment;
use crate::forward::Answer;
use crate::forward::tunnel::{self, ClientSide, Opening, TunnelTerms};
use crate::forward::upload::UploadWatch;
use crate::forward::whole::Whole;
use crate::record::{End, Outcome};
use crate::refusal::page::Page;
use crate::refusal::{self, Reason, Refusal};
use crate::service::Desk;

/// An answer's body with what hangs on it.
#[derive(Debug)]
pub struct Reply(Box<Held>);

/// What a request holds from its beginning to the last byte of its answer. In one box, since it goes along all the way.
#[derive(Debug)]
pub(super) struct Held {
    /// The body itself, once there is one. It goes first: it holds a worker's connection and its place.
    answer: Answer,
    /// Held until the last byte: a slow reader still counts as a request in progress. Given back before the outcome is
    /// written: what is told to be over holds no place.
    pub(super) admission: Option<Admission>,
    pub(super) outcome: Outcome,
    /// A refusal over HTTP/1.1: its answer from the usual fields to the end of the body. `answer` is empty then.
    pub(super) page: Option<Page>,
    pub(super) upload: UploadWatch,
    /// The connection carries it until this goes.
    pub(super) busy: Busy,
    /// The connection carries no other request meanwhile.
    pub(super) one_at_a_time: bool,
    /// Nothing of the body was asked for yet.
    pub(super) fresh: bool,
    /// A gRPC answer over HTTP/2: one that is cut ends with trailers that say why.
    pub(super) grpc: bool,
    /// Those trailers have gone.
    pub(super) cut: bool,
}

impl Held {
    /// A request whose head is there.
    pub(super) fn begin(
        desk: &Desk,
        (now, peer): (Moment, SocketAddr),
        busy: Busy,
        one_at_a_time: bool,
    ) -> Box<Self> {
        // Made where it stays: it is large.
        let place = Box::new_uninit();
        Box::write(
            place,
            Self {
                answer: Answer::Own(None),
                admission: None,
                outcome: desk.scribe.begin(now, peer),
                page: None,
                upload: UploadWatch::default(),
                busy,
                one_at_a_time,
                fresh: true,
                grpc: false,
                cut: false,
            },
        )
    }
}

impl Reply {
    pub(super) fn new(answer: Answer, mut held: Box<Held>, method: &Method) -> Self {
        // Nobody asks for a body that is empty, or that HEAD does not want.
        let switched = matches!(answer, Answer::Switched(_));
        if (answer.is_end_stream() && !switched && held.page.is_none()) || *method == Method::HEAD {
            held.outcome.ended(End::Complete);
        }
        held.answer = answer;
        Self(held)
    }

    /// The client has all that it was promised: what its worker may still say does not matter.
    pub fn complete(&mut self) {
        self.0.outcome.ended(End::Complete);
    }

    /// Whether the worker agreed to go on with another protocol: then this is no body, but wants to be carried.
    pub const fn is_switched(&self) -> bool {
        matches!(self.0.answer, Answer::Switched(_))
    }

    /// What stands behind the fields of its head, body and all, if it is the page of a refusal over HTTP/1.1. Nothing
    /// is left of it then. An answer to HEAD sends no body.
    pub fn take_page(&mut self, to_head: bool) -> Option<Page> {
        let page = self.0.page.take()?;
        self.sends_all(if to_head { 0 } else { page.body_bytes() });
        Some(page)
    }

    /// All of its body, if it is here. Nothing is left of it then.
    pub fn take_whole(&mut self) -> Option<Whole> {
        let whole = self.0.answer.take_whole()?;
        self.sends_all(whole.len());
        Some(whole)
    }

    /// So many bytes are its whole body.
    fn sends_all(&mut self, bytes: usize) {
        let held = &mut *self.0;
        held.outcome.bytes_out(bytes as u64);
        held.outcome.ended(End::Complete);
        if held.one_at_a_time {
            // All of it came with its head, when the clock was read.
            held.outcome.over(held.busy.visitor().now());
        }
    }

    /// Keeps the request's body going while the client takes nothing of the answer.
    pub fn drive(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.get_mut().0.answer.drive(cx);
    }

    /// Carries bytes between this client, who is sent `opening` first, and the worker, until that ends. The request
    /// counts as in progress all the while: for its limits, in the log, on its connection.
    pub async fn carry<C: ClientSide>(mut self, mut client: C, opening: Opening) {
        let Answer::Switched(mut worker) = std::mem::replace(&mut self.0.answer, Answer::Own(None)) else {
            return;
        };
        let visitor = Rc::clone(self.0.busy.visitor());
        let idle = visitor.timeouts().tunnel;
        let terms = TunnelTerms { idle, clock: visitor.clock(), drain: visitor.drain_begins() };
        tunnel::carry(&mut client, &mut worker, opening, terms, &mut self.0.outcome).await;
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let this = self.get_mut();
        if let Some(whole) = this.take_whole() {
            return Poll::Ready(Some(Ok(Frame::data(whole.into_bytes()))));
        }
        let held = &mut *this.0;
        if held.cut {
            return Poll::Ready(None);
        }
        let fresh = std::mem::take(&mut held.fresh);
        let mut polled = Pin::new(&mut held.answer).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (true, Some(trailers)) = (held.grpc, frame.trailers_ref()) {
                    held.outcome.grpc_status(refusal::grpc::told_behind(trailers));
                }
                held.outcome.bytes_out(frame.data_ref().map_or(0, Bytes::len) as u64);
                if frame.is_trailers() || held.answer.is_end_stream() {
                    held.outcome.ended(End::Complete);
                    if fresh && held.one_at_a_time {
                        // All of it came with its head, when the clock was read.
                        held.outcome.over(held.busy.visitor().now());
                    }
                }
            }
            Poll::Ready(None) => held.outcome.ended(End::Complete),
            Poll::Ready(Some(Err(refusal))) => {
                let gone = refusal.reason == Reason::ClientClosed;
                held.outcome.ended(if gone { End::ClientClosed } else { End::Cut(refusal.reason) });
                if held.grpc && !gone {
                    held.cut = true;
                    let trailers = refusal::grpc::trailers(refusal);
                    held.outcome.grpc_status(refusal::grpc::told_behind(&trailers));
                    polled = Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.cut || self.0.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.answer.size_hint()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.outcome.bytes_in(self.upload.bytes());
    }
}
