//! The outward side of an HTTP/2 connection, which its streams share: what they send is gathered and goes out together
//! when the connection has its turn, so that the answers of many streams share one record of TLS and one system call.
//! Windows (RFC 9113 section 5.2) are counted here.

mod streams;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::super::frames::{self, Flood, FrameBounds, Frames};
use super::super::hpack;
use super::super::transport::Transport;
use super::gathered::Gathered;
use super::resets::Resets;
use super::stream::Stream;
use super::turns::{DATA_MOST, Turns};
use super::{CONNECTION_WINDOW, FIRST_WINDOW, reopened};
use crate::fields::Fields;
use crate::forward::source::Interrupted;
use crate::inbound::Visitor;

/// What is gathered before bodies wait. Heads and what the connection itself has to say do not wait; but nothing more
/// is read then.
const GATHERED_MOST: usize = 64 * 1024;

/// What the connection and its streams share.
#[derive(Debug)]
pub(in crate::listen) struct Wire {
    pub(super) visitor: Rc<Visitor>,
    pub(super) frames: RefCell<Frames>,
    /// What the client did that ends this connection.
    flood: Cell<Option<Flood>>,
    /// The socket takes nothing since then (nanoseconds of `Moment`, like all times here).
    writing: Cell<Option<u64>>,
    /// When the socket last took something, and when all that was gathered had last gone after it had waited.
    moved_at: Cell<u64>,
    emptied_at: Cell<u64>,
    out: RefCell<Gathered>,
    shared: RefCell<Shared>,
    /// The connection's task, and whether it was asked to have a turn.
    waker: RefCell<Option<Waker>>,
    asked: Cell<bool>,
}

/// What is common to all streams.
#[derive(Debug)]
struct Shared {
    /// Those that are open, in order of their identifiers.
    streams: Vec<Rc<Stream>>,
    resets: Resets,
    turns: Turns,
    /// What the client may still send.
    window: i64,
    /// What was taken of it, and the client has not been told.
    taken: u32,
    /// The client may send nothing since then, and for how long that was so before.
    shut_since: Option<u64>,
    shut_before: u64,
    /// What SETTINGS of the client say.
    first_room: i64,
    frame_most: usize,
    /// The client is to be told that its table is not used.
    tells_no_table: bool,
    /// The last GOAWAY has gone: nothing more is sent.
    closed: bool,
}

impl Wire {
    pub(super) fn new(visitor: Rc<Visitor>, bounds: FrameBounds) -> Rc<Self> {
        let now = visitor.now().nanos;
        let frames = RefCell::new(Frames::new(bounds, now));
        let shared = Shared {
            streams: Vec::new(),
            resets: Resets::default(),
            turns: Turns::new(now),
            window: i64::from(CONNECTION_WINDOW),
            taken: 0,
            shut_since: None,
            shut_before: 0,
            first_room: i64::from(FIRST_WINDOW),
            frame_most: DATA_MOST,
            tells_no_table: false,
            closed: false,
        };
        Rc::new(Self {
            visitor,
            frames,
            flood: Cell::new(None),
            writing: Cell::new(None),
            moved_at: Cell::new(now),
            emptied_at: Cell::new(now),
            out: RefCell::default(),
            shared: RefCell::new(shared),
            waker: RefCell::new(None),
            asked: Cell::new(false),
        })
    }

    /// The connection has its turn.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        // What is said in it goes out at its end.
        self.asked.set(true);
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// What the client did, told once.
    pub(super) fn take_flood(&self) -> Option<Flood> {
        self.flood.take()
    }

    /// Whether there is something to tell.
    pub(super) const fn has_flood(&self) -> bool {
        self.flood.get().is_some()
    }

    /// Keeps what the client did.
    pub(super) fn saw(&self, verdict: Result<(), Flood>) {
        if let Err(flood) = verdict {
            self.flood.set(self.flood.get().or(Some(flood)));
        }
    }

    /// Streams that were refused without becoming a request, told once.
    pub(super) fn take_refused(&self) -> u32 {
        self.frames.borrow_mut().take_refused()
    }

    /// Since when nothing that we write is taken.
    pub(super) const fn writing_since(&self) -> Option<u64> {
        self.writing.get()
    }

    /// When all that was gathered had last gone after it had waited for the client.
    pub(super) const fn emptied_at(&self) -> u64 {
        self.emptied_at.get()
    }

    /// When something last moved of what streams wait for: the connection's window, or the socket.
    pub(super) fn moved_at(&self) -> u64 {
        let shared = self.shared.borrow();
        if shared.turns.has_room() { self.moved_at.get() } else { shared.turns.sent_at() }
    }

    /// Whether so much is gathered that the socket has to take something first.
    pub(super) fn is_full(&self) -> bool {
        self.out.borrow().waiting() >= GATHERED_MOST
    }

    /// Sends what is gathered. TLS takes what it can only keep: not until that is flushed has the client taken it.
    pub(super) fn poll_out(&self, stream: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        let now = self.visitor.now().nanos;
        let verdict = self.frames.borrow_mut().sent(out.unseen(), now);
        self.saw(verdict);
        let waited = out.waiting();
        let polled = out.poll(stream, cx);
        let moved = out.waiting() < waited || polled.is_ready();
        // Asked each time, since it tells of what came since.
        let moved = stream.has_moved() | moved;
        if moved {
            self.moved_at.set(now);
        }
        if polled.is_pending() {
            self.writing.set(self.writing.get().filter(|_| !moved).or(Some(now)));
        } else if self.writing.take().is_some() {
            self.emptied_at.set(now);
        }
        drop(out);
        // Until the socket takes the rest, it is what wakes the connection.
        self.asked.set(polled.is_pending());
        self.hand_on();
        polled
    }

    /// Lets those send that wait for it, as far as there is room.
    fn hand_on(&self) {
        let turns = &mut self.shared.borrow_mut().turns;
        let taken = self.out.borrow().waiting() + turns.granted();
        turns.call(GATHERED_MOST.saturating_sub(taken));
    }

    /// So much that was granted is not used.
    pub(super) fn give_back(&self, unused: usize) {
        if unused > 0 {
            self.shared.borrow_mut().turns.take_back(unused);
            self.hand_on();
        }
    }

    /// Has the connection's task send what is gathered.
    pub(super) fn ask(&self) {
        if !self.asked.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// One frame, unless the last has gone.
    fn send(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if !self.shared.borrow().closed {
            let mut out = self.out.borrow_mut();
            out.begin(payload.len(), kind, flags, stream);
            out.bytes.extend_from_slice(payload);
            drop(out);
            self.ask();
        }
    }

    /// One frame of the connection itself.
    pub(super) fn say(&self, kind: u8, flags: u8, payload: &[u8]) {
        self.send(kind, flags, 0, payload);
    }

    /// The last frame: nothing is sent any more, and every stream is no more.
    pub(super) fn say_last(&self, payload: &[u8]) {
        self.send(frames::GOAWAY, 0, 0, payload);
        self.break_all();
    }

    /// Every stream is no more.
    pub(super) fn break_all(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.closed = true;
        shared.turns.clear();
        let streams = std::mem::take(&mut shared.streams);
        drop(shared);
        streams.iter().for_each(|stream| stream.interrupt(Interrupted::Gone));
    }

    /// A head.
    pub(super) fn send_head(&self, stream: u32, (status, fields): (StatusCode, &Fields), ends: bool) {
        self.send_block(stream, ends, |block| {
            hpack::pack_status(status, block);
            fields.iter().for_each(|field| hpack::pack(field, fields.is_never_indexed(field.0), block));
        });
    }

    /// Trailers, which end an answer.
    pub(super) fn send_trailers(&self, stream: u32, fields: &HeaderMap) {
        self.send_block(stream, true, |block| {
            for (name, value) in fields {
                hpack::pack((name.as_str().as_bytes(), value.as_bytes()), value.is_sensitive(), block);
            }
        });
    }

    fn send_block(&self, stream: u32, ends: bool, pack: impl FnOnce(&mut Vec<u8>)) {
        let mut shared = self.shared.borrow_mut();
        let mut out = self.out.borrow_mut();
        let at = out.begin(0, frames::HEADERS, 0, stream);
        if std::mem::take(&mut shared.tells_no_table) {
            hpack::pack_no_table(&mut out.bytes);
        }
        pack(&mut out.bytes);
        out.end_block(at, shared.frame_most, stream, if ends { frames::END_STREAM } else { 0 });
        drop((out, shared));
        self.ask();
    }

    /// What may be sent now out of turn.
    pub(super) fn room(&self) -> usize {
        if self.is_full() { 0 } else { self.shared.borrow().turns.free() }
    }

    /// This stream waits for its turn.
    pub(super) fn queue(&self, stream: &Rc<Stream>) {
        self.shared.borrow_mut().turns.queue(stream);
    }

    /// A piece of a body, for which there is room; with it `used` of what was granted to the stream is used up.
    pub(super) fn send_data(&self, stream: u32, (data, used): (&[u8], usize), ends: bool) {
        let mut shared = self.shared.borrow_mut();
        shared.turns.take_back(used);
        shared.turns.sent(data.len(), self.visitor.now().nanos);
        drop(shared);
        self.send(frames::DATA, if ends { frames::END_STREAM } else { 0 }, stream, data);
    }

    /// So much of what came was taken, on a stream that may go on, or on none.
    pub(super) fn release(&self, length: u32, stream: Option<&Stream>) {
        if length == 0 {
            return;
        }
        let open = |id: u32, more: u32| {
            if more > 0 {
                self.send(frames::WINDOW_UPDATE, 0, id, &more.to_be_bytes());
            }
        };
        if let Some(stream) = stream {
            open(stream.id, stream.passed(length));
        }
        let now = self.visitor.now().nanos;
        let more = self.shared.borrow_mut().reopened(length, now);
        open(0, more);
    }

    /// Takes from the connection's window what a frame of DATA says that it is long; false if it may not be.
    pub(super) fn charge(&self, length: u32) -> bool {
        let mut shared = self.shared.borrow_mut();
        shared.window -= i64::from(length);
        if shared.window <= 0 && shared.shut_since.is_none() {
            shared.shut_since = Some(self.visitor.now().nanos);
        }
        shared.window >= 0
    }

    /// Whether the connection's window lets the client send anything.
    pub(super) fn may_send(&self) -> bool {
        self.shared.borrow().shut_since.is_none()
    }

    /// For how long it did not, in all.
    pub(super) fn held_back(&self) -> Duration {
        let shared = self.shared.borrow();
        let now = |since| self.visitor.refresh_clock().nanos.saturating_sub(since);
        Duration::from_nanos(shared.shut_before.saturating_add(shared.shut_since.map_or(0, now)))
    }

    /// Nothing is asked for a while: what is there for requests is let go.
    pub(super) fn rest(&self) {
        let shared = &mut *self.shared.borrow_mut();
        shared.streams.shrink_to_fit();
        shared.turns.clear();
        shared.resets.rest(self.visitor.now().nanos);
        self.frames.borrow_mut().rest();
    }
}

impl Shared {
    /// So much of what came was taken: by how much the client's window is to be opened.
    fn reopened(&mut self, length: u32, now: u64) -> u32 {
        self.taken = self.taken.saturating_add(length);
        let more = reopened(&mut self.window, &mut self.taken, CONNECTION_WINDOW);
        if self.window > 0
            && let Some(since) = self.shut_since.take()
        {
            self.shut_before = self.shut_before.saturating_add(now.saturating_sub(since));
        }
        more
    }
}
