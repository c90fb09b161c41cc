//! One stream of HTTP/2 (RFC 9113 section 5), as both its ends see it: the engine, which puts into it what the client
//! sends, and the request, which takes that out and answers. Both are tasks of one shard.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use http::HeaderMap;

use super::pieces::Pieces;
use crate::forward::source::Interrupted;

/// What both ends of a stream share.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) state: RefCell<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) data: Pieces,
    /// Bytes that were handed out and not released.
    pub(super) owed: u32,
    pub(super) trailers: Option<HeaderMap>,
    /// What `Content-Length` says and has not come yet.
    pub(super) left: Option<u64>,
    pub(super) client_ended: bool,
    /// What the client may still send.
    pub(super) window: i64,
    /// What was taken, and the client has not been told.
    pub(super) taken: u32,
    /// Nobody reads any more.
    pub(super) unread: bool,
    pub(super) reader: Option<Waker>,
    /// What we may still send. A change of SETTINGS may make it negative (section 6.9.2).
    pub(super) room: i64,
    pub(super) ended: bool,
    /// It waits for its turn in the room that all streams share.
    pub(super) queued: bool,
    /// What it may send of that, now that it has its turn.
    pub(super) granted: usize,
    pub(super) writer: Option<Waker>,
    pub(super) over: Option<Interrupted>,
    /// Of its two ends in the request's hands, those that live.
    pub(super) ends: u8,
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
            data: Pieces::default(),
            owed: 0,
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
            granted: 0,
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

    /// So much of what was charged was taken, or is nothing that anybody reads. By how much the client's window is to
    /// be opened.
    pub(super) fn passed(&self, length: u32) -> u32 {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.taken = state.taken.saturating_add(length);
        if state.client_ended || state.over.is_some() {
            return 0;
        }
        super::reopened(&mut state.window, &mut state.taken, super::STREAM_WINDOW)
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
        state.data.push(data);
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
        state.trailers = trailers.filter(|_| !state.unread);
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

    /// It has its turn, with up to `most` bytes. How many it takes: none while its own window is shut, which is told to
    /// it when it opens.
    pub(super) fn grant(&self, most: usize) -> usize {
        let mut state = self.state.borrow_mut();
        state.queued = false;
        state.granted = most.min(usize::try_from(state.room).unwrap_or(0));
        wake(&mut state.writer);
        state.granted
    }

    /// It wants no turn any more: whether it waits for one, and what it had of one.
    pub(super) fn withdraw(&self) -> (bool, usize) {
        let mut state = self.state.borrow_mut();
        (std::mem::take(&mut state.queued), std::mem::take(&mut state.granted))
    }

    /// The stream is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.state.borrow().over.is_some()
    }

    /// Both sides have said all.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.state.borrow();
        state.client_ended && state.ended
    }
}

/// The length of a body is another than was said.
pub(super) struct Malformed;

pub(super) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

pub(super) fn wait(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
