//! One request on a stream of HTTP/2: from the engine's head to [`inbound::serve`], and the answer back as frames, as
//! fast as the client opens its window. A client that resets the stream ends everything behind it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::extended_connect::{self, StreamSide};
use super::frames::FloodKind;
use crate::fields::{Fields, text};
use crate::forward::early::Early;
use crate::forward::source::{Http2Source, Source};
use crate::forward::tunnel::Opening;
use crate::inbound::{self, Reply, Visitor};
use crate::message::{Request, RequestHead, Response, ResponseHead, Target};

/// The client has reset the stream, or the whole connection is gone.
struct Gone;

/// Serves the request on a stream, to its end or the stream's.
pub(super) async fn serve(
    visitor: Rc<Visitor>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let early = Early::default();
    let wants_no_body = *request.method() == Method::HEAD;
    let (request, carried) = read(&visitor, request, &early);
    let Ok(answer) = answered(&visitor, request, &mut respond, &early).await else { return };
    let Response { mut head, body: reply } = answer;
    if let (Some(receive), true) = (carried, reply.is_switched()) {
        let Ok(send) = respond.send_response(said(&head), false) else { return };
        let tunnel = reply.carry(StreamSide::new(send, receive), Opening::default());
        // In a task of its own, so that what stood before it takes no memory.
        tokio::task::spawn_local(tunnel);
        return;
    }
    let ends = wants_no_body || has_no_content(head.status) || reply.is_end_stream();
    complete(&mut head, &reply, ends);
    let Ok(stream) = respond.send_response(said(&head), ends) else { return };
    if !ends {
        Sending { stream, patience: visitor.timeouts().send, alarm: None }.all(reply, &visitor).await;
    }
}

/// The request that the engine has read. With the stream beside it, if it asks to go on as another protocol: then it has
/// no body.
fn read(
    visitor: &Visitor,
    request: http::Request<RecvStream>,
    early: &Early,
) -> (Request<Source>, Option<RecvStream>) {
    let (parts, stream) = request.into_parts();
    let fields = Fields::from(&parts.headers);
    let target = Target::of(&parts.uri);
    let (method, version) = (parts.method, parts.version);
    let mut head = RequestHead { method, target, version, fields, extended: None };
    if extended_connect::is_asked(&head.method, &parts.extensions) {
        extended_connect::ask(&mut head);
        return (Request { head, body: Source::None }, Some(stream));
    }
    let length = head.fields.get("content-length").and_then(|value| text(value)?.parse().ok());
    let expects = head.fields.get("expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let source = Http2Source::new(stream, length, visitor.patience(), expects.then(|| early.clone()));
    (Request { head, body: Source::Http2(Box::new(source)) }, None)
}

/// Waits for the answer's head; meanwhile interim answers go out, and a reset is noticed.
async fn answered(
    visitor: &Rc<Visitor>,
    request: Request<Source>,
    respond: &mut SendResponse<Bytes>,
    early: &Early,
) -> Result<Response<Reply>, Gone> {
    let mut serving = pin!(inbound::serve(visitor, request, early));
    poll_fn(|cx| {
        let polled = serving.as_mut().poll(cx);
        if early.is_waiting() {
            for interim in early.take() {
                // One that cannot be sent is lost, like any hint.
                let _ = respond.send_informational(said(&interim));
            }
        }
        match polled {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => respond.poll_reset(cx).map(|_| Err(Gone)),
        }
    })
    .await
}

/// RFC 9110 sections 15.3.5 and 15.4.5.
fn has_no_content(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Adds what HTTP/1.1 would have had added: the date (RFC 9110 section 6.6.1), and the length where it is known.
#[allow(clippy::disallowed_methods, reason = "a date of an answer is an edge")]
fn complete(head: &mut ResponseHead, reply: &Reply, ends: bool) {
    let fields = &mut head.fields;
    if !fields.contains("date") {
        fields.add("date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    }
    if let Some(length) = reply.size_hint().exact().filter(|_| !ends && !fields.contains("content-length")) {
        fields.add("content-length", itoa::Buffer::new().format(length).as_bytes());
    }
}

/// A head in the words of the engine.
fn said(head: &ResponseHead) -> http::Response<()> {
    let mut said = http::Response::new(());
    *said.status_mut() = head.status;
    *said.version_mut() = Version::HTTP_2;
    *said.headers_mut() = head.fields.to_map();
    said
}

/// An answer's body on its way out.
struct Sending {
    stream: SendStream<Bytes>,
    /// `timeouts.send`.
    patience: Duration,
    /// Rings when the client has opened no window for too long; there once that was waited for.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Sending {
    async fn all(mut self, reply: Reply, visitor: &Visitor) {
        let mut reply = pin!(reply);
        loop {
            let Ok(frame) = self.next(reply.as_mut()).await else { return };
            let sent = match frame {
                None => self.stream.send_data(Bytes::new(), true).map_err(|_| Gone),
                // The worker's answer is not complete, and the client must be able to see it.
                Some(Err(_)) => return self.stream.send_reset(Reason::INTERNAL_ERROR),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.data(data, reply.as_mut(), visitor).await,
                    Err(frame) => {
                        self.stream.send_trailers(frame.into_trailers().unwrap_or_default()).map_err(|_| Gone)
                    }
                },
            };
            if sent.is_err() || reply.is_end_stream() {
                return;
            }
        }
    }

    /// The next piece of the answer.
    async fn next(
        &mut self,
        mut reply: Pin<&mut Reply>,
    ) -> Result<Option<Result<Frame<Bytes>, crate::refusal::Refusal>>, Gone> {
        poll_fn(|cx| match reply.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => self.stream.poll_reset(cx).map(|_| Err(Gone)),
        })
        .await
    }

    /// Sends a piece as the client's window opens.
    async fn data(
        &mut self,
        mut data: Bytes,
        mut reply: Pin<&mut Reply>,
        visitor: &Visitor,
    ) -> Result<(), Gone> {
        let last = reply.is_end_stream();
        if data.is_empty() && last {
            return self.stream.send_data(data, true).map_err(|_| Gone);
        }
        while !data.is_empty() {
            self.stream.reserve_capacity(data.len());
            let Some(room) = self.room(reply.as_mut()).await? else {
                visitor.desk().scribe.flood(FloodKind::Stalled.name());
                self.stream.send_reset(Reason::CANCEL);
                return Err(Gone);
            };
            let piece = data.split_to(room.min(data.len()));
            let ends = last && data.is_empty();
            self.stream.send_data(piece, ends).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// How much may be sent now. None: the client has let nothing pass for too long. Meanwhile its request goes on: it
    /// may read nothing before it has said all of it.
    async fn room(&mut self, mut reply: Pin<&mut Reply>) -> Result<Option<usize>, Gone> {
        let mut waiting = false;
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(room) = self.stream.poll_capacity(cx) {
                    match room {
                        Some(Ok(0)) => continue,
                        Some(Ok(room)) => return Poll::Ready(Ok(Some(room))),
                        _ => return Poll::Ready(Err(Gone)),
                    }
                }
                reply.as_mut().drive(cx);
                return self.poll_late(cx, &mut waiting).map(|()| Ok(None));
            }
        })
        .await
    }

    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    fn poll_late(&mut self, cx: &mut std::task::Context<'_>, waiting: &mut bool) -> Poll<()> {
        let patience = self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !std::mem::replace(waiting, true) {
            alarm.as_mut().reset(tokio::time::Instant::now() + patience);
        }
        alarm.as_mut().poll(cx)
    }
}
