//! One stream of HTTP/2 (RFC 9113 section 5), as both its ends see it: the engine, which puts into it what the client
//! sends, and the request, which takes that out and answers. Both are tasks of one shard.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::code::{CANCEL, NO_ERROR};
use super::wire::Wire;
use crate::forward::source::{Interrupted, StreamBody};

/// The stream is no more: the client has reset it, or the whole connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listen) struct Gone;

/// What both ends of a stream share.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    data: BytesMut,
    trailers: Option<HeaderMap>,
    /// What `Content-Length` says and has not come yet.
    left: Option<u64>,
    client_ended: bool,
    /// What the client may still send.
    window: i64,
    /// What was taken, and the client has not been told.
    taken: u32,
    /// Nobody reads any more.
    unread: bool,
    reader: Option<Waker>,
    /// What we may still send. A change of SETTINGS may make it negative (section 6.9.2).
    room: i64,
    ended: bool,
    /// It waits for room that all streams share.
    queued: bool,
    writer: Option<Waker>,
    over: Option<Interrupted>,
    /// Of [`Receiving`] and [`Sending`], those that live.
    ends: u8,
}

impl Stream {
    /// A stream that the client has opened.
    pub(super) fn new(
        id: u32,
        (window, room): (i64, i64),
        left: Option<u64>,
        client_ended: bool,
    ) -> Rc<Self> {
        let state = State {
            data: BytesMut::new(),
            trailers: None,
            left,
            client_ended,
            window,
            taken: 0,
            unread: false,
            reader: None,
            room,
            ended: false,
            queued: false,
            writer: None,
            over: None,
            ends: 0,
        };
        Rc::new(Self { id, state: RefCell::new(state) })
    }

    /// Takes from the client's window what a frame of DATA says that it is long; false if it may not be.
    pub(super) fn charge(&self, length: u32) -> bool {
        let mut state = self.state.borrow_mut();
        state.window -= i64::from(length);
        state.window >= 0
    }

    /// So much of what was charged is nothing that anybody reads.
    pub(super) fn passed(&self, length: u32) {
        let mut state = self.state.borrow_mut();
        state.taken = state.taken.saturating_add(length);
    }

    /// Keeps what came. Whether somebody will read it.
    ///
    /// # Errors
    /// It is more than `Content-Length` says.
    pub(super) fn push(&self, data: &[u8]) -> Result<bool, Malformed> {
        let mut state = self.state.borrow_mut();
        if let Some(left) = &mut state.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Malformed)?;
        }
        if state.unread {
            return Ok(false);
        }
        state.data.extend_from_slice(data);
        wake(&mut state.reader);
        Ok(true)
    }

    /// The client has said all.
    ///
    /// # Errors
    /// It is less than `Content-Length` says.
    pub(super) fn end(&self, trailers: Option<HeaderMap>) -> Result<(), Malformed> {
        let mut state = self.state.borrow_mut();
        if state.left.is_some_and(|left| left > 0) {
            return Err(Malformed);
        }
        state.client_ended = true;
        state.trailers = trailers;
        wake(&mut state.reader);
        Ok(())
    }

    /// The stream is no more.
    pub(super) fn interrupt(&self, why: Interrupted) {
        let mut state = self.state.borrow_mut();
        state.over = state.over.or(Some(why));
        wake(&mut state.reader);
        wake(&mut state.writer);
    }

    /// The client opens its window, or closes it; false beyond what a window can be.
    pub(super) fn widen(&self, by: i64) -> bool {
        let mut state = self.state.borrow_mut();
        state.room += by;
        if state.room > 0 {
            wake(&mut state.writer);
        }
        state.room <= i64::from(i32::MAX)
    }

    /// There may be room again that all streams share.
    pub(super) fn retry(&self) {
        let mut state = self.state.borrow_mut();
        state.queued = false;
        wake(&mut state.writer);
    }

    /// Both sides have said all.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.state.borrow();
        state.client_ended && state.ended
    }
}

/// The length of a body is another than was said.
pub(super) struct Malformed;

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn wait(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

/// A stream's two ends for the request that is on it.
pub(super) fn ends(wire: &Rc<Wire>, stream: &Rc<Stream>) -> (Sending, Receiving) {
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
        let is_open = state.over.is_none() && !(state.ended && state.client_ended);
        if state.ends > 0 || !is_open {
            return;
        }
        let code = if state.ended { NO_ERROR } else { CANCEL };
        drop(state);
        self.wire.reset(&self.stream, code, Interrupted::Gone);
    }
}

/// Where the answer goes.
#[derive(Debug)]
pub(in crate::listen) struct Sending(End);

impl Sending {
    /// Sends a head: the answer's, or one of those before it.
    pub(in crate::listen) fn head(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        ends: bool,
    ) -> Result<(), Gone> {
        self.open()?;
        self.0.wire.send_head(self.0.stream.id, Some(status), fields, ends);
        self.ended(ends);
        Ok(())
    }

    /// Ends the answer with trailers.
    pub(in crate::listen) fn trailers(&self, fields: &HeaderMap) -> Result<(), Gone> {
        self.open()?;
        self.0.wire.send_head(self.0.stream.id, None, fields, true);
        self.ended(true);
        Ok(())
    }

    /// How many bytes may be sent now, at least one.
    pub(in crate::listen) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<usize, Gone>> {
        self.open()?;
        let mut state = self.0.state();
        if state.room > 0 {
            let shared = self.0.wire.room();
            if shared > 0 {
                return Poll::Ready(Ok(shared.min(usize::try_from(state.room).unwrap_or(0))));
            }
            if !std::mem::replace(&mut state.queued, true) {
                self.0.wire.queue(&self.0.stream);
            }
        }
        wait(&mut state.writer, cx);
        Poll::Pending
    }

    /// Sends what there is room for.
    pub(in crate::listen) fn data(&self, data: &[u8], ends: bool) -> Result<(), Gone> {
        self.open()?;
        self.0.state().room -= i64::try_from(data.len()).unwrap_or(i64::MAX);
        self.0.wire.send_data(self.0.stream.id, data, ends);
        self.ended(ends);
        Ok(())
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
        if !state.data.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut state.data).freeze())));
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
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        state.taken = state.taken.saturating_add(length);
        let mut more = 0;
        // Half a window at a time: small frames that say little cost as much as large ones.
        if state.taken >= super::STREAM_WINDOW / 2 && !state.client_ended && state.over.is_none() {
            more = std::mem::take(&mut state.taken);
            state.window += i64::from(more);
        }
        drop(state);
        self.0.wire.release(length, (self.0.stream.id, more));
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.unread = true;
        let left = u32::try_from(std::mem::take(&mut state.data).len()).unwrap_or(u32::MAX);
        drop(state);
        self.0.wire.release(left, (self.0.stream.id, 0));
    }
}
