//! A worker's answer on a stream, on its way to the client; what is left of the request's body goes on beside it. The
//! stream's window opens again only for what the client has taken.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use super::super::Active;
use super::super::alarm::Alarm;
use super::super::answer::{Silence, late};
use super::super::upload::UploadWatch;
use super::connection::Slot;
use super::pump::Pump;
use crate::refusal::{Reason, Refusal};

/// A worker's body under way on a stream.
#[derive(Debug)]
pub struct Streaming {
    /// None once it has ended: the stream is closed, or reset if either side of it was not.
    live: Option<Live>,
    upload: UploadWatch,
    /// Bytes of the request's body when last looked at: while they move, the worker is not silent for nothing.
    uploaded: u64,
    left: Option<u64>,
    silence: Silence,
    idle: Duration,
    alarm: Alarm,
    active: Active,
}

#[derive(Debug)]
struct Live {
    body: RecvStream,
    pump: Pump,
    data_ended: bool,
    // Last, since it says that the stream is gone.
    slot: Slot,
}

impl Streaming {
    /// The rest of an answer whose head has just come; `length` is what its `Content-Length` says.
    pub(super) fn new(
        (body, pump, slot): (RecvStream, Pump, Slot),
        upload: UploadWatch,
        length: Option<u64>,
        active: Active,
        (silence, idle): (Silence, Duration),
    ) -> Self {
        if body.is_end_stream() {
            active.complete();
        }
        let live = (!body.is_end_stream()).then_some(Live { body, pump, data_ended: false, slot });
        let uploaded = upload.bytes();
        Self { live, upload, uploaded, left: length, silence, idle, alarm: Alarm::new(idle), active }
    }

    /// The attempt that it is the answer of.
    pub(in super::super) const fn active(&self) -> &Active {
        &self.active
    }

    pub(in super::super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let Some(live) = &mut self.live else { return Poll::Ready(None) };
        if let Poll::Ready(Err(refusal)) = live.pump.poll(cx) {
            return Poll::Ready(Some(Err(self.cut(refusal))));
        }
        let polled = live.poll_frame(cx);
        if self.uploaded != self.upload.bytes() {
            self.uploaded = self.upload.bytes();
            self.silence.interrupted(&self.active);
        }
        match polled {
            Poll::Pending if self.alarm.is_late(cx, self.silence.end()) => {
                if let Some(live) = &self.live {
                    live.slot.timed_out(self.idle);
                }
                self.silence.interrupted(&self.active);
                Poll::Ready(Some(Err(self.cut_late("the worker stopped in the middle of its body"))))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(piece) => {
                self.silence.interrupted(&self.active);
                Poll::Ready(self.take(piece))
            }
        }
    }

    /// Moves what is left of the request. What breaks it is told with the next piece.
    pub(in super::super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(live) = &mut self.live {
            let _ = live.pump.poll(cx);
        }
    }

    fn take(
        &mut self,
        piece: Option<Result<Frame<Bytes>, h2::Error>>,
    ) -> Option<Result<Frame<Bytes>, Refusal>> {
        let ended = self.live.as_ref().is_none_or(|live| live.body.is_end_stream());
        match piece {
            None => {
                self.end();
                None
            }
            Some(Err(error)) => Some(Err(self.cut(broken(&error)))),
            Some(Ok(frame)) => {
                if self.silence.is_over(self.active.clock.now()) && !ended {
                    return Some(Err(self.cut_late("the answer was not complete within its time")));
                }
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.left = self.left.map(|left| left.saturating_sub(length));
                self.active.goes_on();
                if frame.is_trailers() || ended {
                    self.end();
                }
                Some(Ok(frame))
            }
        }
    }

    fn end(&mut self) {
        self.live = None;
        self.active.complete();
    }

    /// Gives the stream up. What the client did to its own upload is not the worker's fault.
    fn cut(&mut self, refusal: Refusal) -> Refusal {
        self.live = None;
        if let Some(failure) = self.upload.failure() {
            self.active.excused();
            return failure;
        }
        self.active.failed();
        refusal
    }

    fn cut_late(&mut self, detail: &'static str) -> Refusal {
        self.live = None;
        late(&self.active, &self.upload, detail)
    }

    pub(in super::super) fn is_end_stream(&self) -> bool {
        self.live.as_ref().is_none_or(|live| live.body.is_end_stream())
    }

    pub(in super::super) fn size_hint(&self) -> SizeHint {
        match (&self.live, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl Live {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while !self.data_ended {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = self.body.flow_control().release_capacity(data.len());
                    // An empty one says only that the end has come, which is told without it.
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.body.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| {
            let mut trailers = trailers?;
            // As with the fields of a head.
            trailers.values_mut().for_each(|value| value.set_sensitive(true));
            Ok(Frame::trailers(trailers))
        }))
    }
}

/// What an error in the middle of an answer says.
fn broken(error: &h2::Error) -> Refusal {
    if error.is_library() && error.is_reset() {
        return Refusal::new(Reason::WorkerProtocol, "the worker's body is not as HTTP/2 wants it");
    }
    Refusal::new(Reason::WorkerReset, "the worker's body ended before it was complete")
}
