//! The two ends of a stream in the hands of its request: where its body comes from, and where its answer goes.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::code::{CANCEL, INTERNAL_ERROR, NO_ERROR};
use super::stream::{State, Stream, wait};
use super::turns::DATA_MOST;
use super::wire::Wire;
use crate::forward::source::{Interrupted, StreamBody};
use crate::message::ResponseHead;

/// The stream is no more: the client has reset it, or the whole connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listen) struct Gone;

/// A stream's two ends for the request that is on it.
pub(super) fn of(wire: &Rc<Wire>, stream: &Rc<Stream>) -> (Sending, Receiving) {
    let end = || {
        stream.state.borrow_mut().ends += 1;
        End { wire: Rc::clone(wire), stream: Rc::clone(stream) }
    };
    (Sending(end()), Receiving(end()))
}

#[derive(Debug)]
struct End {
    wire: Rc<Wire>,
    stream: Rc<Stream>,
}

impl End {
    fn state(&self) -> std::cell::RefMut<'_, State> {
        self.stream.state.borrow_mut()
    }
}

impl Drop for End {
    /// What nobody cares for any more is ended: as a request that needs no more of its body (section 8.1), or as one
    /// that is given up.
    fn drop(&mut self) {
        let mut state = self.state();
        state.ends -= 1;
        if state.ends > 0 {
            return;
        }
        let is_open = state.over.is_none() && !(state.ended && state.client_ended);
        let code = match state.ended {
            true => NO_ERROR,
            false if std::thread::panicking() => INTERNAL_ERROR,
            false => CANCEL,
        };
        drop(state);
        if is_open {
            self.wire.reset(&self.stream, code, Interrupted::Gone);
        }
        // It may have been the last, and then the connection has a wait of its own to begin.
        self.wire.ask();
    }
}

/// Where the answer goes.
#[derive(Debug)]
pub(in crate::listen) struct Sending(End);

impl Sending {
    /// The number of its stream.
    pub(super) fn id(&self) -> u32 {
        self.0.stream.id
    }

    /// Whether the stream is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.stream.is_gone()
    }

    /// Sends a head: the answer's, or one of those before it.
    pub(in crate::listen) fn head(&self, head: &ResponseHead, ends: bool) -> Result<(), Gone> {
        self.open()?;
        self.0.wire.send_head(self.0.stream.id, (head.status, &head.fields), ends);
        self.ended(ends);
        Ok(())
    }

    /// Ends the answer with trailers.
    pub(in crate::listen) fn trailers(&self, fields: &HeaderMap) -> Result<(), Gone> {
        self.open()?;
        self.0.wire.send_trailers(self.0.stream.id, fields);
        self.ended(true);
        Ok(())
    }

    /// How many bytes may be sent now, at least one. Who has to wait has its turn behind those that wait already.
    pub(in crate::listen) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<usize, Gone>> {
        self.open()?;
        let End { wire, stream } = &self.0;
        let mut state = self.0.state();
        if state.room > 0 {
            let shared = if state.granted > 0 { state.granted } else { wire.room() };
            if shared > 0 {
                return Poll::Ready(Ok(shared.min(DATA_MOST).min(usize::try_from(state.room).unwrap_or(0))));
            }
            if !std::mem::replace(&mut state.queued, true) {
                wire.queue(stream);
            }
        }
        wait(&mut state.writer, cx);
        let unused = std::mem::take(&mut state.granted);
        drop(state);
        wire.give_back(unused);
        Poll::Pending
    }

    /// How many bytes may be sent at once, without a turn.
    pub(in crate::listen) fn room(&self) -> usize {
        let room = self.0.state().room;
        self.0.wire.room().min(usize::try_from(room).unwrap_or(0))
    }

    /// Sends what there is room for; `more` is at hand and follows at once.
    pub(in crate::listen) fn data(&self, data: &[u8], (more, ends): (bool, bool)) -> Result<(), Gone> {
        self.open()?;
        let mut state = self.0.state();
        state.room -= i64::try_from(data.len()).unwrap_or(i64::MAX);
        let granted = std::mem::take(&mut state.granted);
        if more {
            state.granted = granted.saturating_sub(data.len());
        }
        let used = granted - state.granted;
        drop(state);
        self.0.wire.send_data(self.0.stream.id, (data, used), ends);
        self.ended(ends);
        Ok(())
    }

    /// Since when the client lets nothing of this answer pass, which has been waited for since `began` (nanoseconds of
    /// `Moment`): what other streams send meanwhile is no fault of the client's.
    pub(in crate::listen) fn stuck_since(&self, began: u64) -> u64 {
        let has_room = self.0.state().room > 0;
        if has_room { began.max(self.0.wire.moved_at()) } else { began }
    }

    /// Whether so much waits to be sent that a mere hint is better left out.
    pub(in crate::listen) fn is_full(&self) -> bool {
        self.0.wire.is_full()
    }

    /// Breaks the answer off.
    pub(in crate::listen) fn reset(&self, code: u32) {
        if self.open().is_ok() {
            self.0.wire.reset(&self.0.stream, code, Interrupted::Gone);
        }
    }

    /// Waits until the stream is no more.
    pub(in crate::listen) fn poll_gone(&self, cx: &Context<'_>) -> Poll<Gone> {
        let mut state = self.0.state();
        if state.over.is_some() {
            return Poll::Ready(Gone);
        }
        wait(&mut state.writer, cx);
        Poll::Pending
    }

    fn open(&self) -> Result<(), Gone> {
        let state = self.0.state();
        if state.over.is_some() || state.ended { Err(Gone) } else { Ok(()) }
    }

    fn ended(&self, ends: bool) {
        if ends {
            let mut state = self.0.state();
            state.ended = true;
            if state.client_ended {
                drop(state);
                self.0.wire.forget(self.0.stream.id);
            }
        }
    }
}

/// Where the request's body comes from.
#[derive(Debug)]
pub(in crate::listen) struct Receiving(End);

impl Receiving {
    /// Whether there is no body, or no more of it.
    pub(in crate::listen) fn is_end(&self) -> bool {
        let state = self.0.state();
        state.client_ended && state.data.is_empty() && state.trailers.is_none()
    }
}

impl StreamBody for Receiving {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        let mut state = self.0.state();
        if let Some(piece) = state.data.pop() {
            state.owed = state.owed.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Some(why) = state.over {
            return Poll::Ready(Some(Err(why)));
        }
        if state.client_ended {
            return Poll::Ready(None);
        }
        wait(&mut state.reader, cx);
        Poll::Pending
    }

    fn poll_trailers(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Interrupted>> {
        // They come with the end.
        Poll::Ready(Ok(self.0.state().trailers.take()))
    }

    fn release(&mut self, length: usize) {
        let mut state = self.0.state();
        let length = state.owed.min(u32::try_from(length).unwrap_or(u32::MAX));
        state.owed -= length;
        drop(state);
        self.0.wire.release(length, Some(&self.0.stream));
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }

    // That the stream's own window is open, what was read here sees to: nothing of it is left when more is waited for.
    fn may_send(&self) -> bool {
        self.0.wire.may_send()
    }

    fn held_back(&self) -> Duration {
        self.0.wire.held_back()
    }
}

impl Drop for Receiving {
    /// What was not released is: the connection's window is for the other streams too.
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.unread = true;
        state.trailers = None;
        let unread = std::mem::take(&mut state.data).total();
        let left = u32::try_from(unread).unwrap_or(u32::MAX).saturating_add(std::mem::take(&mut state.owed));
        drop(state);
        self.0.wire.release(left, None);
    }
}
