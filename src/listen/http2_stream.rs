//! One request on a stream of HTTP/2: from its head to [`inbound::serve`], and the answer back as frames, as
//! fast as the client opens its window. A client that resets the stream ends everything behind it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::date;
use super::extended_connect::{self, StreamSide};
use super::frames::FloodKind;
use super::http2::{CANCEL, Gone, INTERNAL_ERROR, Receiving, Sending as Stream};
use crate::clock::Moment;
use crate::fields::text;
use crate::forward::early::Early;
use crate::forward::source::{Http2Source, Source};
use crate::forward::tunnel::Opening;
use crate::inbound::{self, Reply, Visitor};
use crate::message::{Request, RequestHead, Response, ResponseHead};

/// Serves the request on a stream, to its end or the stream's.
pub(super) async fn serve(
    visitor: Rc<Visitor>,
    (head, protocol): (RequestHead, Option<Bytes>),
    (stream, receiving): (Stream, Receiving),
) {
    let early = Early::default();
    let wants_no_body = head.method == Method::HEAD;
    let (request, carried) = read(&visitor, (head, protocol), receiving, &early);
    let Ok(answer) = answered(&visitor, request, &stream, &early).await else { return };
    let Response { mut head, body: mut reply } = answer;
    if let (Some(receive), true) = (carried, reply.is_switched()) {
        if stream.head(&head, false).is_err() {
            return;
        }
        let tunnel = reply.carry(StreamSide::new(stream, receive), Opening::default());
        // In a task of its own, so that what stood before it takes no memory.
        tokio::task::spawn_local(tunnel);
        return;
    }
    let ends = wants_no_body || has_no_content(head.status) || reply.is_end_stream();
    complete(&mut head, &reply, ends, visitor.now());
    let sent = stream.head(&head, ends);
    // It is written: its memory does not wait for a body that may take days.
    drop(head);
    if sent.is_err() || ends {
        return;
    }
    // What is here and has room goes with its head.
    if reply.size_hint().exact().is_some_and(|length| length <= stream.room() as u64)
        && let Some(page) = reply.take_whole()
    {
        let _ = stream.data(&page, (false, true));
    } else {
        Sending { stream, patience: visitor.timeouts().send, alarm: None }.all(reply, &visitor).await;
    }
}

/// The request, with its body. With the stream beside it, if it asks to go on as another protocol: then it has none.
fn read(
    visitor: &Visitor,
    (mut head, protocol): (RequestHead, Option<Bytes>),
    stream: Receiving,
    early: &Early,
) -> (Request<Source>, Option<Receiving>) {
    if extended_connect::is_asked(&head.method, protocol.as_deref()) {
        extended_connect::ask(&mut head);
        return (Request { head, body: Source::None }, Some(stream));
    }
    if stream.is_end() {
        return (Request { head, body: Source::None }, None);
    }
    let length = head.fields.get("content-length").and_then(|value| text(value)?.parse().ok());
    let expects = head.fields.get("expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let continues = expects.then(|| early.clone());
    let source = Http2Source::new(Box::new(stream), length, visitor.patience(), continues);
    (Request { head, body: Source::Http2(Box::new(source)) }, None)
}

/// Waits for the answer's head; meanwhile interim answers go out, and a reset is noticed.
async fn answered(
    visitor: &Rc<Visitor>,
    request: Request<Source>,
    stream: &Stream,
    early: &Early,
) -> Result<Response<Reply>, Gone> {
    // In a box: it is by far the largest part, and gone while the body is sent.
    let mut serving = Box::pin(inbound::serve(visitor, request, early));
    poll_fn(|cx| {
        let polled = serving.as_mut().poll(cx);
        if early.is_waiting() {
            // One that cannot be sent now is lost, like any hint. Word that the body may come is none.
            for interim in early.take() {
                if !stream.is_full() || interim.status == StatusCode::CONTINUE {
                    let _ = stream.head(&interim, false);
                }
            }
        }
        match polled {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => stream.poll_gone(cx).map(Err),
        }
    })
    .await
}

/// RFC 9110 sections 15.3.5 and 15.4.5.
fn has_no_content(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Adds what HTTP/1.1 would have had added: the date (RFC 9110 section 6.6.1), and the length where it is known.
fn complete(head: &mut ResponseHead, reply: &Reply, ends: bool, now: Moment) {
    let fields = &mut head.fields;
    if !fields.contains("date") {
        date::with(now, |date| fields.add("date", date));
    }
    if let Some(length) = reply.size_hint().exact().filter(|_| !ends && !fields.contains("content-length")) {
        fields.add("content-length", itoa::Buffer::new().format(length).as_bytes());
    }
}

/// An answer's body on its way out.
struct Sending {
    stream: Stream,
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
                None => self.stream.data(&[], (false, true)),
                // The worker's answer is not complete, and the client must be able to see it.
                Some(Err(_)) => return self.stream.reset(INTERNAL_ERROR),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.data(data, reply.as_mut(), visitor).await,
                    Err(frame) => self.stream.trailers(&frame.into_trailers().unwrap_or_default()),
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
            Poll::Pending => self.stream.poll_gone(cx).map(Err),
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
            return self.stream.data(&[], (false, true));
        }
        while !data.is_empty() {
            let Some(room) = self.room(reply.as_mut(), visitor).await? else {
                visitor.desk().scribe.flood(FloodKind::Stalled.name());
                self.stream.reset(CANCEL);
                return Err(Gone);
            };
            let piece = data.split_to(room.min(data.len()));
            let more = !data.is_empty();
            self.stream.data(&piece, (more, last && !more))?;
        }
        Ok(())
    }

    /// How much may be sent now. None: the client has let nothing pass for too long. Meanwhile its request goes on: it
    /// may read nothing before it has said all of it.
    async fn room(&mut self, mut reply: Pin<&mut Reply>, visitor: &Visitor) -> Result<Option<usize>, Gone> {
        let mut began = None;
        poll_fn(|cx| {
            if let Poll::Ready(room) = self.stream.poll_room(cx) {
                return Poll::Ready(room.map(Some));
            }
            reply.as_mut().drive(cx);
            let began = *began.get_or_insert_with(|| visitor.now().nanos);
            self.poll_late(cx, began, visitor).map(|()| Ok(None))
        })
        .await
    }

    /// Ready once the client has let nothing pass for too long, which has been waited for since `began`. The alarm is
    /// left as it is from one wait to the next, and looked at when it rings.
    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    fn poll_late(&mut self, cx: &mut Context<'_>, began: u64, visitor: &Visitor) -> Poll<()> {
        let patience = u64::try_from(self.patience.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let nanos = self.stream.stuck_since(began).saturating_add(patience);
            let rings_at = || Instant::from_std(Moment { nanos, unix_micros: 0 }.instant());
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(rings_at())));
            ready!(alarm.as_mut().poll(cx));
            if visitor.refresh_clock().nanos >= nanos {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(rings_at());
        }
    }
}
