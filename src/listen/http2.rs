//! HTTP/2 on a client connection, over TLS or with prior knowledge (RFC 9113 section 3): what drives it, one timer for
//! all its time limits, and its end, which asks the client to leave first.
//!
//! What comes in is cut, judged and counted by [`super::frames`], then read by `engine`; what goes out is gathered by
//! `wire`, in `turns`; `stream` is what both share with the request on a stream, which has its two `ends` and is served
//! by `http2_stream.rs`. After `PARK_AFTER` without a request a connection holds next to nothing.

mod code;
mod ends;
mod engine;
mod gathered;
mod head;
mod pieces;
mod resets;
mod stream;
#[cfg(test)]
mod tests;
mod turns;
mod wire;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::accept::Held;
use super::frames::{self, Flood, FloodKind, FrameBounds};
use super::http1::{DRAIN_IDLE, PARK_AFTER, discard, part_slowly};
use super::timer::{Timer, after};
use super::transport::Transport;
use crate::config::{Bounds, Timeouts};
use crate::forward::upgrade;
use crate::inbound::Visitor;
use crate::service::WakeCall;
pub(super) use code::{CANCEL, INTERNAL_ERROR};
pub(super) use ends::{Gone, Receiving, Sending};
use engine::Engine;
use wire::Wire;

/// The window of a stream: what a client may send before a worker has taken any of it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The window of all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The window of a connection, or a stream, before anything was said about it (RFC 9113 section 6.9.2).
const FIRST_WINDOW: u32 = 65_535;
/// The largest frame that is taken, the least that RFC 9113 section 4.2 allows to ask for.
const FRAME_BYTES: u32 = 16_384;
/// How long a client that was asked to leave, or told why it must, may take over it once it has all that was sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All is said.
    Done,
    /// The client broke the rules, and was told.
    TurnedOut,
    /// The client takes nothing, or never began.
    Abandoned,
    /// The socket takes nothing any more.
    Broken,
}

/// What has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    /// The preface or a header block.
    Head,
    /// Nothing is asked, though not for too long yet.
    Awake,
    /// Nothing is asked.
    Idle,
    /// The client takes nothing of what is sent.
    Send,
    /// The connection has lived for its time.
    Age,
    /// The client was asked to leave, and its word that it knows.
    Word,
    /// The end itself.
    End,
}

/// A client connection, as a future that ends with it. By hand and not an `async fn`, whose arguments would be there
/// twice: this is what each of thousands of idle connections is made of.
pub(super) struct Connection {
    state: State,
    /// What is given back with the end of the connection.
    _held: Option<Held>,
}

enum State {
    InUse(Box<Watch>),
    Last(Pin<Box<dyn Future<Output = ()>>>),
    Gone,
}

/// Serves a connection until it closes.
pub(super) fn serve(transport: Transport, visitor: Rc<Visitor>, held: Option<Held>) -> Connection {
    Connection { state: State::InUse(Box::new(Watch::new(transport, visitor))), _held: held }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut self.get_mut().state;
        if let State::InUse(watch) = state {
            let end = std::task::ready!(watch.poll(cx));
            if let State::InUse(watch) = std::mem::replace(state, State::Gone) {
                let send = watch.wire.visitor.timeouts().send;
                *state = State::Last(Box::pin(close(end, watch.parted(), send)));
            }
        }
        match state {
            State::Last(last) => last.as_mut().poll(cx),
            State::InUse(_) | State::Gone => Poll::Ready(()),
        }
    }
}

/// What we ask of the client (RFC 9113 section 6.5.2).
fn settings(bounds: &Bounds, extends: bool) -> Vec<u8> {
    let head = u32::try_from(bounds.head_bytes).unwrap_or(u32::MAX);
    // Who reads that it may not ask so asks for a WebSocket over HTTP/1.1 instead (RFC 8441 section 3).
    let asked =
        [(3, bounds.streams), (4, STREAM_WINDOW), (5, FRAME_BYTES), (6, head), (8, u32::from(extends))];
    let entry = |(name, value): (u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    asked.into_iter().filter(|entry| *entry != (8, 0)).flat_map(entry).collect()
}

/// By how much a window is to be opened: by all that was taken of it, once that is half of what the client has left.
/// A fixed share would never come together where other streams hold the rest.
fn reopened(window: &mut i64, taken: &mut u32, most: u32) -> u32 {
    if i64::from(*taken) * 2 < *window {
        return 0;
    }
    let more = std::mem::take(taken);
    *window += i64::from(more);
    debug_assert!(*window <= i64::from(most), "more was given back than was taken");
    more
}

/// Drives a connection, and watches the clock for it.
struct Watch {
    transport: Option<Transport>,
    wire: Rc<Wire>,
    engine: Engine,
    timer: Timer,
    /// Wakes the connection when its service drains, and ends its rest. Asked for once, since the waker of a task stays
    /// the same, and whether it drains is a flag.
    call: Option<WakeCall>,
    /// The wheel was asked to end the rest.
    called: bool,
    /// The client was asked to leave: since then.
    asked: Option<u64>,
    /// The connection is to end, whatever the client does: since then, and the code that it was told.
    ending: Option<(u64, u32)>,
    /// Nothing was asked for so long that all that can be was let go.
    parked: bool,
}

impl Watch {
    fn new(transport: Transport, visitor: Rc<Visitor>) -> Self {
        let (bounds, extends) = {
            let desk = visitor.desk();
            (desk.service.config.bounds, upgrade::carries_websocket(&desk.service.config))
        };
        let frames = FrameBounds {
            head_bytes: bounds.head_bytes,
            head_fields: bounds.head_fields,
            streams: bounds.streams,
            frame_bytes: FRAME_BYTES,
        };
        let wire = Wire::new(visitor, frames);
        wire.say(frames::SETTINGS, 0, &settings(&bounds, extends));
        wire.say(frames::WINDOW_UPDATE, 0, &(CONNECTION_WINDOW - FIRST_WINDOW).to_be_bytes());
        let engine = Engine::new(Rc::clone(&wire), &frames);
        Self {
            transport: Some(transport),
            wire,
            engine,
            timer: Timer::default(),
            call: None,
            called: false,
            asked: None,
            ending: None,
            parked: false,
        }
    }

    /// The connection without its streams, which are no more.
    fn parted(mut self) -> Option<Transport> {
        self.transport.take()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.call.get_or_insert_with(|| self.wire.visitor.wake_call(cx.waker()));
        self.wire.begin_turn(cx);
        loop {
            if let Some(end) = self.turn(cx) {
                return Poll::Ready(end);
            }
            let overdue = std::task::ready!(self.poll_overdue(cx));
            if let Some(end) = self.overdue(overdue) {
                return Poll::Ready(end);
            }
        }
    }

    /// Ready once something has lasted too long. A parked connection is woken by the wheel of its shard, which needs no
    /// timer; in a drain nobody turns that.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let deadline = self.deadline();
        let visitor = &self.wire.visitor;
        let rests = self.parked && !visitor.is_draining() && self.wire.writing_since().is_none();
        let Some((nanos, overdue)) = deadline.filter(|_| rests) else {
            if std::mem::take(&mut self.called)
                && let Some(call) = &self.call
            {
                call.cancel();
            }
            let Some((nanos, overdue)) = deadline else { return Poll::Pending };
            return self.timer.poll(cx, visitor, nanos).map(|()| overdue);
        };
        self.timer = Timer::default();
        if visitor.refresh_clock().nanos >= nanos {
            return Poll::Ready(overdue);
        }
        if let Some(call) = &self.call {
            call.at(nanos);
            self.called = true;
        }
        Poll::Pending
    }

    /// Takes what has come, and sends what there is to send.
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let Some(transport) = &mut self.transport else { return Some(End::Broken) };
        let mut gone = false;
        if self.ending.is_none() {
            match self.engine.poll_read(transport, cx) {
                Poll::Ready(Ok(())) => gone = true,
                Poll::Ready(Err(_)) => return Some(End::Broken),
                Poll::Pending => {}
            }
        }
        loop {
            if let Some(flood) = self.wire.take_flood() {
                self.count(flood);
                self.end(flood.code);
            }
            if self.asked.is_none() && self.wire.visitor.is_to_leave_after(self.engine.brought()) {
                self.ask();
            }
            if self.ending.is_none() && self.engine.is_over() {
                self.end(code::NO_ERROR);
            }
            let Some(transport) = &mut self.transport else { return Some(End::Broken) };
            let out = self.wire.poll_out(transport, cx);
            self.count_refused();
            match (out, self.ending) {
                (Poll::Ready(Err(_)), _) => return Some(End::Broken),
                (Poll::Ready(Ok(())), Some((_, code::NO_ERROR))) => return Some(End::Done),
                (Poll::Ready(Ok(())), Some(_)) => return Some(End::TurnedOut),
                _ if gone => return Some(End::Done),
                (_, None) if self.wire.has_flood() => {}
                (Poll::Ready(Ok(())), None) if self.engine.was_held() => {
                    cx.waker().wake_by_ref();
                    return None;
                }
                _ => return None,
            }
        }
    }

    /// What comes of a time that is over: the end, or the beginning of one.
    fn overdue(&mut self, what: Overdue) -> Option<End> {
        let begun = self.wire.frames.borrow().preface_done();
        match what {
            Overdue::Send => {
                self.wire.visitor.desk().scribe.flood(FloodKind::Stalled.name());
                return Some(End::Abandoned);
            }
            // Asked to leave, and nothing is under way: it is told which stream was the last.
            Overdue::End if self.ending.is_none() => self.end(code::NO_ERROR),
            Overdue::End => return Some(End::Abandoned),
            Overdue::Awake => self.park(),
            _ if !begun => return Some(End::Abandoned),
            Overdue::Word => self.engine.tell_last(),
            Overdue::Head => self.end(code::NO_ERROR),
            Overdue::Idle | Overdue::Age => self.ask(),
        }
        None
    }

    /// Lets go of what is there for requests; the next one brings it back.
    fn park(&mut self) {
        self.parked = true;
        self.engine.rest();
        self.wire.rest();
        self.wire.visitor.rest();
    }

    /// Asks the client to leave: what it has asked so far is answered (RFC 9113 section 6.8).
    fn ask(&mut self) {
        self.asked = Some(self.wire.visitor.now().nanos);
        self.engine.ask_to_leave();
    }

    /// Ends the connection with this code.
    fn end(&mut self, code: u32) {
        let now = self.wire.visitor.now().nanos;
        self.asked = self.asked.or(Some(now));
        if self.ending.is_none() {
            self.ending = Some((now, code));
            self.engine.end(code);
        }
    }

    fn count_refused(&self) {
        let refused = self.wire.take_refused();
        if refused > 0 {
            self.wire.visitor.desk().scribe.refused_streams(refused);
        }
    }

    fn count(&self, flood: Flood) {
        let desk = Rc::clone(&self.wire.visitor.desk());
        desk.scribe.flood(flood.kind.name());
        tracing::debug!(
            kind = flood.kind.name(),
            why = flood.reason,
            service = %desk.service.config.name,
            "an HTTP/2 connection is ended"
        );
    }

    /// The next time limit of this connection and what it means.
    fn deadline(&mut self) -> Option<(u64, Overdue)> {
        let visitor = &self.wire.visitor;
        let timeouts = visitor.timeouts();
        let sending = self.wire.writing_since().map(|since| (after(since, timeouts.send), Overdue::Send));
        match (self.ending, sending) {
            // What the client was promised it may take as slowly as any answer.
            (Some((_, code::NO_ERROR)), Some(sending)) => return Some(sending),
            (Some((since, _)), sending) => {
                return earliest([Some((after(since, LAST_WORDS), Overdue::End)), sending]);
            }
            (None, _) => {}
        }
        let head = self.wire.frames.borrow().head_since();
        let head = head.and_then(|since| self.engine.head_awaited(since));
        let head = head.map(|since| (after(since, timeouts.head), Overdue::Head));
        // A request is there before its task first runs.
        let is_busy = visitor.is_busy() || self.wire.open_streams() > 0;
        self.parked &= !self.engine.has_worked();
        let idle = (!is_busy && sending.is_none()).then(|| self.idle_ends(&timeouts));
        let word = self.asked.filter(|_| self.engine.waits_for_word());
        let word = word.map(|asked| {
            // What it is asked may still be on its way.
            let most = after(asked, timeouts.send.max(LAST_WORDS));
            let emptied = after(asked.max(self.wire.emptied_at()), LAST_WORDS);
            (if sending.is_some() { most } else { emptied.min(most) }, Overdue::Word)
        });
        let age = visitor.old_by_age_at().filter(|_| self.asked.is_none()).map(|at| (at, Overdue::Age));
        earliest([sending, head, idle, word, age])
    }

    /// When a connection on which nothing is asked, and all is sent, has been so for too long.
    fn idle_ends(&self, timeouts: &Timeouts) -> (u64, Overdue) {
        let visitor = &self.wire.visitor;
        let rested = visitor.rested_at();
        let end = match (self.asked, visitor.begun()) {
            (Some(asked), _) => {
                // Who reads slowly says so as it goes; but it may not go on for ever.
                let since = rested.max(asked).max(self.wire.emptied_at());
                let most = after(since, timeouts.send.max(LAST_WORDS));
                (after(since.max(self.engine.read_at()), LAST_WORDS).min(most), Overdue::End)
            }
            (None, 0) => (after(rested, timeouts.head), Overdue::Idle),
            (None, _) if visitor.is_draining() => (after(rested, DRAIN_IDLE), Overdue::Idle),
            (None, _) => (after(rested, timeouts.keep_alive), Overdue::Idle),
        };
        let awake = after(rested, PARK_AFTER);
        if self.parked || end.0 <= awake { end } else { (awake, Overdue::Awake) }
    }
}

impl Drop for Watch {
    /// What is under way breaks with its connection.
    fn drop(&mut self) {
        self.wire.break_all();
    }
}

fn earliest<const N: usize>(times: [Option<(u64, Overdue)>; N]) -> Option<(u64, Overdue)> {
    times.into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// Closes the connection in the way that its end asks for.
async fn close(end: End, transport: Option<Transport>, send: Duration) {
    let Some(mut transport) = transport else { return };
    match end {
        End::Done => part_slowly(&mut transport, LAST_WORDS, send).await,
        // So that it gets to read why, whatever it still sends.
        End::TurnedOut => discard(&mut transport).await,
        End::Abandoned => transport.reset_on_close(),
        End::Broken => {}
    }
}
