//! A request's body as it comes from the client, over HTTP/1.1 or HTTP/2, and what is wrong with it if it breaks.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::early::Early;
use super::headers;
use super::pace::{Late, Pace, Patience};
use crate::refusal::{Reason, Refusal};

/// How often it is asked, at most, whether a client that is held back may send again.
const HELD_BACK_LEAST: Duration = Duration::from_millis(10);

/// A body under way.
#[derive(Debug)]
pub enum Source {
    /// Over HTTP/1.1. The client's connection notices what takes too long.
    Http1(Box<dyn ClientBody>),
    /// Over HTTP/2.
    Http2(Box<Http2Source>),
    /// There is none, or what the client sends belongs to the protocol that it asks to go on with.
    None,
}

/// A body that comes over a connection of HTTP/1.1, whoever reads it from there.
pub trait ClientBody: fmt::Debug {
    /// The next piece, the trailers, or the end; what is wrong if the body is not complete. Asked again behind its end,
    /// it says the end again.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>>;

    /// Whether nothing follows any more.
    fn is_end_stream(&self) -> bool;

    /// How many bytes are still to come, if that is known.
    fn size_hint(&self) -> SizeHint;
}

/// Why a stream of HTTP/2 gives no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// It was reset, or the whole connection is gone.
    Gone,
    /// What came on it breaks the rules, for which it was reset.
    Malformed,
}

/// What comes on a stream of HTTP/2, as its engine has it.
pub trait StreamBody: std::fmt::Debug {
    /// The next piece. It counts against the client's window until it is released.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>>;
    /// The trailers, behind the last piece.
    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Interrupted>>;
    /// So many bytes go on, and the client may send as many more.
    fn release(&mut self, length: usize);
    /// Whether nothing more comes.
    fn is_end_stream(&self) -> bool;
    /// Whether the client may send: not while what other streams have sent, and nobody has taken, fills the window that
    /// they share.
    fn may_send(&self) -> bool;
    /// For how long it might not, in all.
    fn held_back(&self) -> Duration;
}

/// A body under way on a stream of HTTP/2.
#[derive(Debug)]
pub struct Http2Source {
    stream: Box<dyn StreamBody>,
    /// What `Content-Length` says and has not come yet; the engine sees to it that it is true.
    left: Option<u64>,
    /// None once it does not matter any more.
    patience: Option<Patience>,
    pace: Pace,
    /// Rings when the client has taken too long; there once it was waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: Option<Waiting>,
    /// Told when the body is first asked for, if the client waits for that.
    continues: Option<Early>,
    data_ended: bool,
}

/// The client is waited for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    /// For how long it had been held back before.
    held_back: Duration,
    /// How long it may take, and what it is if it takes longer.
    left: Duration,
    late: Late,
}

impl Http2Source {
    /// The body of a stream, for which the client is given `patience`. One that waits for `100 Continue` is told
    /// through `continues`.
    pub fn new(
        stream: Box<dyn StreamBody>,
        length: Option<u64>,
        patience: Patience,
        continues: Option<Early>,
    ) -> Self {
        Self {
            stream,
            left: length,
            patience: Some(patience),
            pace: Pace::default(),
            alarm: None,
            waiting: None,
            continues,
            data_ended: false,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        if let Some(early) = self.continues.take() {
            early.tell_continue();
        }
        let polled = self.poll_stream(cx);
        if let Poll::Ready(frame) = &polled {
            if let Some(waiting) = self.waiting.take() {
                let held_back = self.stream.held_back().saturating_sub(waiting.held_back);
                self.pace.waited(waiting.since.elapsed().saturating_sub(held_back));
            }
            if let Some(Ok(frame)) = frame {
                self.pace.received(frame.data_ref().map_or(0, Bytes::len));
            }
            return polled;
        }
        self.poll_late(cx).map(|late| Some(Err(late.refusal())))
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        while !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // The window opens again only for what goes on: a slow worker holds the client back.
                    self.stream.release(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if data.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(broken);
        let trailers = trailers.and_then(|trailers| trailers.map(sound).transpose());
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let Some(patience) = self.patience else { return Poll::Pending };
        let (left, late) = self.pace.left(patience);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        let waiting = *self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            alarm.as_mut().reset(since + left);
            Waiting { since, held_back: self.stream.held_back(), left, late }
        });
        loop {
            ready!(alarm.as_mut().poll(cx));
            let held_back = self.stream.held_back().saturating_sub(waiting.held_back);
            let (now, due) = (Instant::now(), waiting.since + waiting.left + held_back);
            if !self.stream.may_send() {
                // Nobody tells when it may: it is asked again later.
                alarm.as_mut().reset(now + waiting.left.max(HELD_BACK_LEAST));
            } else if now < due {
                alarm.as_mut().reset(due);
            } else {
                return Poll::Ready(waiting.late);
            }
        }
    }
}

impl Source {
    /// From now on the client may take as long as it likes. Over HTTP/1.1 its connection knows that by itself.
    pub(super) fn take_your_time(&mut self) {
        if let Self::Http2(body) = self {
            body.patience = None;
        }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        match self.get_mut() {
            Self::Http1(body) => body.poll_frame(cx),
            Self::Http2(body) => body.poll_frame(cx),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.stream.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::None => SizeHint::with_exact(0),
        }
    }
}

/// Trailers, if they hold what may stand there: a worker may take them for fields of the head.
fn sound(trailers: HeaderMap) -> Result<HeaderMap, Refusal> {
    if trailers.keys().any(|name| headers::is_no_trailer(name.as_str().as_bytes())) {
        return Err(Refusal::new(Reason::BadRequest, "a header that may not stand in a trailer section"));
    }
    let is_blank = |value: &HeaderValue| matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t']);
    if trailers.values().any(is_blank) {
        return Err(Refusal::new(Reason::BadRequest, "a blank at the begin or the end of a trailer's value"));
    }
    Ok(trailers)
}

/// What a broken body means.
const fn broken(why: Interrupted) -> Refusal {
    match why {
        Interrupted::Malformed => {
            Refusal::new(Reason::BadRequest, "the request's body is not as HTTP/2 wants it")
        }
        Interrupted::Gone => gone(),
    }
}

/// What is said of a client whose connection broke inside a body.
pub const fn gone() -> Refusal {
    Refusal::new(Reason::ClientClosed, "the client left before its body was complete")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use http::HeaderName;

    use super::*;

    /// The body of a client that sends nothing, and how often it was asked whether it may.
    #[derive(Debug)]
    struct Silent(Rc<(Cell<bool>, Cell<u32>)>);

    impl StreamBody for Silent {
        fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
            Poll::Pending
        }

        fn poll_trailers(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Interrupted>> {
            Poll::Pending
        }

        fn release(&mut self, _: usize) {}

        fn is_end_stream(&self) -> bool {
            false
        }

        fn may_send(&self) -> bool {
            self.0.1.set(self.0.1.get() + 1);
            self.0.0.get()
        }

        fn held_back(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_client_that_is_held_back_is_not_late() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Rc::new((Cell::new(false), Cell::new(0)));
            let patience = Patience { gap: Duration::from_millis(1), rate: None };
            let mut source = Http2Source::new(Box::new(Silent(Rc::clone(&client))), None, patience, None);
            let late = poll_fn(|cx| {
                let polled = source.poll_frame(cx);
                assert!(polled.is_pending() || client.0.get(), "blamed for what it may not do");
                // From now on it may.
                client.0.set(client.1.get() >= 3);
                polled
            });
            let refusal = late.await.unwrap().unwrap_err();
            assert_eq!(refusal.reason, Reason::ClientTimeout);
        });
    }

    #[test]
    fn trailers_hold_nothing_that_a_worker_could_take_for_a_field_of_the_head() {
        let judge = |name: &'static str, value: &'static str| {
            let field = (HeaderName::from_static(name), HeaderValue::from_static(value));
            sound(HeaderMap::from_iter([field])).map_err(|refusal| refusal.reason)
        };
        assert!(judge("grpc-status", "0").is_ok());
        for (name, value) in [
            ("content-length", "5"),
            ("host", "b"),
            ("authorization", "Bearer x"),
            ("x-buckler-caller", "root"),
            ("grpc_status", "0"),
            ("grpc-status", " 0"),
            ("grpc-status", "0\t"),
        ] {
            assert_eq!(judge(name, value), Err(Reason::BadRequest), "{name}: {value:?}");
        }
    }
}
