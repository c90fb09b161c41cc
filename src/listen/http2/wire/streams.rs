//! The streams of a connection: those that are open, how they end, and what the client says of their windows.

use std::rc::Rc;

use super::Wire;
use crate::forward::source::Interrupted;
use crate::listen::frames::{self, Flood};
use crate::listen::http2::STREAM_WINDOW;
use crate::listen::http2::code::{FLOW_CONTROL_ERROR, PROTOCOL_ERROR};
use crate::listen::http2::stream::Stream;
use crate::listen::http2::turns::DATA_MOST;

impl Wire {
    /// Opens a stream for a request.
    pub(in crate::listen::http2) fn open(
        &self,
        id: u32,
        length: Option<u64>,
        client_ended: bool,
    ) -> Rc<Stream> {
        let mut shared = self.shared.borrow_mut();
        let windows = (i64::from(STREAM_WINDOW), shared.first_room);
        let stream = Stream::new(id, windows, length, client_ended);
        shared.streams.push(Rc::clone(&stream));
        stream
    }

    /// How many are open.
    pub(in crate::listen::http2) fn open_streams(&self) -> usize {
        self.shared.borrow().streams.len()
    }

    pub(in crate::listen::http2) fn find(&self, id: u32) -> Option<Rc<Stream>> {
        let shared = self.shared.borrow();
        let at = shared.streams.binary_search_by_key(&id, |stream| stream.id).ok()?;
        shared.streams.get(at).map(Rc::clone)
    }

    /// Both sides of the stream are done with it.
    pub(in crate::listen::http2) fn forget(&self, id: u32) -> Option<Rc<Stream>> {
        let mut shared = self.shared.borrow_mut();
        let at = shared.streams.binary_search_by_key(&id, |stream| stream.id).ok()?;
        let stream = shared.streams.remove(at);
        let is_last = shared.streams.is_empty();
        shared.turns.withdraw(&stream);
        drop(shared);
        self.hand_on();
        if is_last {
            // Somebody may have waited for it.
            self.ask();
        }
        Some(stream)
    }

    /// Resets a stream, if it is open.
    pub(in crate::listen::http2) fn reset(&self, stream: &Stream, code: u32, why: Interrupted) {
        let was_open = self.forget(stream.id).is_some();
        stream.interrupt(why);
        if was_open {
            self.refuse(stream.id, code);
        }
    }

    /// Resets a stream that is none, and remembers that.
    pub(in crate::listen::http2) fn refuse(&self, id: u32, code: u32) {
        self.send(frames::RST_STREAM, 0, id, &code.to_be_bytes());
        self.shared.borrow_mut().resets.add(id, self.visitor.now().nanos);
    }

    /// Whether we have reset this stream a short while ago.
    pub(in crate::listen::http2) fn has_reset(&self, id: u32) -> bool {
        self.shared.borrow().resets.has(id, self.visitor.now().nanos)
    }

    /// The client opens the window of the connection, or of a stream.
    pub(in crate::listen::http2) fn widen(&self, id: u32, by: u32) -> Result<(), Flood> {
        if id != 0 {
            let Some(stream) = self.find(id) else { return Ok(()) };
            let code = if by == 0 { PROTOCOL_ERROR } else { FLOW_CONTROL_ERROR };
            if by == 0 || !stream.widen(i64::from(by)) {
                self.reset(&stream, code, Interrupted::Gone);
            }
            return Ok(());
        }
        let mut shared = self.shared.borrow_mut();
        if !shared.turns.widen(by) {
            return Err(Flood::fault(FLOW_CONTROL_ERROR, "a window beyond 2^31-1"));
        }
        drop(shared);
        self.hand_on();
        Ok(())
    }

    /// One entry of the client's SETTINGS (section 6.5.2); the values are sound.
    pub(in crate::listen::http2) fn set(&self, name: u16, value: u32) -> Result<(), Flood> {
        let mut shared = self.shared.borrow_mut();
        match name {
            1 => shared.tells_no_table |= value < 4096,
            4 => {
                let by = i64::from(value) - shared.first_room;
                shared.first_room = i64::from(value);
                if !shared.streams.iter().all(|stream| stream.widen(by)) {
                    return Err(Flood::fault(FLOW_CONTROL_ERROR, "a window beyond 2^31-1"));
                }
            }
            5 => shared.frame_most = usize::try_from(value).unwrap_or(DATA_MOST),
            _ => {}
        }
        Ok(())
    }
}

/// What tests look at.
#[cfg(test)]
impl Wire {
    /// How many streams wait for their turn.
    pub(in crate::listen::http2) fn waiting(&self) -> usize {
        self.shared.borrow().turns.waiting()
    }

    /// What the client may still send, with what it has not been told yet.
    pub(in crate::listen::http2) fn window(&self) -> i64 {
        let shared = self.shared.borrow();
        shared.window + i64::from(shared.taken)
    }

    /// For how many streams there is room.
    pub(in crate::listen::http2) fn room_kept(&self) -> usize {
        self.shared.borrow().streams.capacity()
    }

    /// Bytes of bodies that nobody has taken.
    pub(in crate::listen::http2) fn held_bytes(&self) -> usize {
        self.shared.borrow().streams.iter().map(|stream| stream.state.borrow().data.total()).sum()
    }
}
