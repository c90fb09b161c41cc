//! A request's body on its way into a stream: as much as the stream takes, piece by piece, and what went so far is kept
//! for a while, in case that the worker refuses the stream and it has to be sent once more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use http_body::Body;

use super::super::upload::{Taken, Upload};
use crate::refusal::Refusal;

/// The beginning of a body that is kept until the worker's answer begins, in bytes: a request that is not longer can be
/// sent again when the worker refuses the stream (RFC 9113 section 8.7).
const KEPT_BYTES: usize = 64 * 1024;
/// The same in pieces, since each has a cost of its own.
const KEPT_PIECES: usize = 64;
/// Frames sent before others have their turn.
const ROUNDS: usize = 16;

/// A body and the stream that it goes into.
#[derive(Debug)]
pub(super) struct Pump {
    stream: SendStream<Bytes>,
    body: Upload,
    /// Taken from the body and not yet by the stream.
    piece: Bytes,
    /// None once too much went to be kept, or the worker answers.
    kept: Option<Kept>,
    done: bool,
}

#[derive(Debug, Default)]
struct Kept {
    taken: Taken,
    bytes: usize,
}

impl Pump {
    pub(super) fn new(stream: SendStream<Bytes>, body: Upload) -> Self {
        let done = body.is_none();
        Self { stream, body, piece: Bytes::new(), kept: Some(Kept::default()), done }
    }

    /// Moves what can be moved. Ready when nothing more is to be sent: all of it is in the stream, or the worker wants
    /// no more of it, which its answer or its reset says better.
    ///
    /// # Errors
    /// What is wrong with the client's body; the stream is reset.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        for _ in 0..ROUNDS {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            if let Err(refusal) = ready!(self.poll_frame(cx)) {
                self.done = true;
                self.stream.send_reset(h2::Reason::CANCEL);
                return Poll::Ready(Err(refusal));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The worker has begun to answer: it will not refuse the stream any more.
    pub(super) fn keep_no_longer(&mut self) {
        self.kept = None;
    }

    /// The body as it was before any of it was sent. None if some is gone.
    pub(super) fn whole(mut self) -> Option<Upload> {
        let kept = self.kept?;
        self.body.put_back(kept.taken);
        Some(self.body)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        if !self.piece.is_empty() {
            return self.poll_piece(cx).map(Ok);
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => {
                self.done = true;
                let _ = self.stream.send_data(Bytes::new(), true);
            }
            Some(Err(refusal)) => return Poll::Ready(Err(refusal)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.keep(&data);
                    self.piece = data;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.done = true;
                        self.keep_trailers(&trailers);
                        let _ = self.stream.send_trailers(trailers);
                    }
                }
            },
        }
        Poll::Ready(Ok(()))
    }

    /// Sends as much of the piece as the worker's window and our own bound let through.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.reserve_capacity(self.piece.len());
        while self.stream.capacity() == 0 {
            // A stream that is closed for us has no more room: the worker has seen enough.
            let Some(Ok(_)) = ready!(self.stream.poll_capacity(cx)) else {
                self.done = true;
                return Poll::Ready(());
            };
        }
        let part = self.piece.split_to(self.stream.capacity().min(self.piece.len()));
        let last = self.piece.is_empty() && self.body.is_end_stream();
        self.done = self.stream.send_data(part, last).is_err() || last;
        Poll::Ready(())
    }

    fn keep(&mut self, data: &Bytes) {
        let Some(kept) = &mut self.kept else { return };
        kept.bytes += data.len();
        kept.taken.pieces.push_back(data.clone());
        if kept.bytes > KEPT_BYTES || kept.taken.pieces.len() > KEPT_PIECES {
            self.kept = None;
        }
    }

    fn keep_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(kept) = &mut self.kept {
            kept.taken.trailers = Some(trailers.clone());
        }
    }
}
