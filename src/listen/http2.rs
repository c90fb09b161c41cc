//! HTTP/2 on a client connection, over TLS or with prior knowledge (RFC 9113 section 3): what drives it, one timer for
//! all its time limits, and its end, which asks the client to leave first.
//!
//! What comes in is cut, judged and counted by [`super::frames`], then read by `engine`; what goes out is gathered by
//! `wire`; `stream` is what both share with the request on a stream, which `http2_stream.rs` serves. While nothing is
//! asked, a connection holds no buffer.

mod code;
mod engine;
mod gathered;
mod head;
mod stream;
mod wire;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::frames::{self, Flood, FloodKind, FrameBounds};
use super::http1::{DRAIN_IDLE, part};
use super::transport::Transport;
use crate::clock::Moment;
use crate::config::Bounds;
use crate::forward::upgrade;
use crate::inbound::Visitor;
pub(super) use code::{CANCEL, INTERNAL_ERROR};
use engine::Engine;
pub(super) use head::Protocol;
pub(super) use stream::{Gone, Receiving, Sending};
use wire::Wire;

/// The window of a stream: what a client may send before a worker has taken any of it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The window of all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The window of a connection before anything was said about it (RFC 9113 section 6.9.2).
const FIRST_WINDOW: u32 = 65_535;
/// The largest frame that is taken, the least that RFC 9113 section 4.2 allows to ask for.
const FRAME_BYTES: u32 = 16_384;
/// Streams that we reset and that are remembered, since the client's frames for them may still be under way.
const RESET_STREAMS: usize = 256;
/// How long they are remembered, in nanoseconds.
const RESET_REMEMBERED: u64 = 1_000_000_000;
/// How long a connection that is to end may take over it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a connection came to its end.
enum End {
    /// All is said.
    Done,
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
    /// Nothing is asked.
    Idle,
    /// The client takes nothing of what is sent.
    Send,
    /// The connection has lived for its time.
    Age,
    /// The end itself.
    End,
}

/// Serves a connection until it closes.
pub(super) async fn serve(transport: Transport, visitor: Rc<Visitor>) {
    let (bounds, extends) = {
        let desk = visitor.desk();
        (desk.service.config.bounds, upgrade::carries_websocket(&desk.service.config))
    };
    let frames =
        FrameBounds { head_bytes: bounds.head_bytes, streams: bounds.streams, frame_bytes: FRAME_BYTES };
    let wire = Wire::new(transport, visitor, frames);
    let _guard = Guard(&wire);
    wire.say(frames::SETTINGS, 0, &settings(&bounds, extends));
    wire.say(frames::WINDOW_UPDATE, 0, &(CONNECTION_WINDOW - FIRST_WINDOW).to_be_bytes());
    let end = Watch::new(&wire, Engine::new(Rc::clone(&wire))).drive().await;
    wire.break_all();
    close(end, &wire).await;
}

/// Breaks what is under way when its connection goes.
struct Guard<'a>(&'a Wire);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.break_all();
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

/// Drives a connection, and watches the clock for it.
struct Watch<'a> {
    wire: &'a Rc<Wire>,
    engine: Engine,
    /// The client was asked to leave: since then.
    asked: Option<u64>,
    /// The connection is to end, whatever the client does: since then.
    ending: Option<u64>,
}

impl<'a> Watch<'a> {
    const fn new(wire: &'a Rc<Wire>, engine: Engine) -> Self {
        Self { wire, engine, asked: None, ending: None }
    }

    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    async fn drive(mut self) -> End {
        let visitor = Rc::clone(&self.wire.visitor);
        let mut rings_at = u64::MAX;
        let mut timer = pin!(sleep_until(Instant::now() + Duration::from_secs(86_400)));
        let mut draining = pin!(visitor.drain_begins());
        let mut asked_to_be_woken = false;
        poll_fn(|cx| {
            self.wire.begin_turn(cx);
            loop {
                if let Some(end) = self.turn(cx) {
                    return Poll::Ready(end);
                }
                if !asked_to_be_woken {
                    // Once is enough: the waker of a task stays the same, and whether it drains is a flag.
                    asked_to_be_woken = true;
                    let _ = draining.as_mut().poll(cx);
                }
                let Some((deadline, overdue)) = self.deadline() else { return Poll::Pending };
                if deadline < rings_at {
                    let left = Duration::from_nanos(deadline.saturating_sub(Moment::read().nanos));
                    timer.as_mut().reset(Instant::now() + left);
                    rings_at = deadline;
                }
                // Beside tokio's budget: see `http1.rs`.
                if pin!(unconstrained(timer.as_mut())).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                rings_at = u64::MAX;
                if visitor.refresh_clock().nanos >= deadline
                    && let Some(end) = self.overdue(overdue)
                {
                    return Poll::Ready(end);
                }
            }
        })
        .await
    }

    /// Takes what has come, and sends what there is to send.
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let mut gone = false;
        if self.ending.is_none() {
            match self.engine.poll_read(cx) {
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
            if self.asked.is_none() && self.wire.visitor.is_to_leave() {
                self.ask();
            }
            if self.ending.is_none() && self.engine.is_over() {
                self.end(code::NO_ERROR);
            }
            let out = self.wire.poll_out(cx);
            self.count_refused();
            match out {
                Poll::Ready(Err(_)) => return Some(End::Broken),
                Poll::Ready(Ok(())) if self.ending.is_some() => return Some(End::Done),
                _ if gone => return Some(End::Done),
                _ if self.wire.has_flood() && self.ending.is_none() => {}
                Poll::Ready(Ok(())) if self.engine.was_held() => {
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
            // Asked to leave, and nothing is under way: a plain close takes nothing away from the client.
            Overdue::End if self.ending.is_none() => return Some(End::Done),
            Overdue::End => return Some(End::Abandoned),
            _ if !begun => return Some(End::Abandoned),
            Overdue::Head => self.end(code::NO_ERROR),
            Overdue::Idle | Overdue::Age => self.ask(),
        }
        None
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
            self.ending = Some(now);
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
    fn deadline(&self) -> Option<(u64, Overdue)> {
        let visitor = &self.wire.visitor;
        let timeouts = visitor.timeouts();
        let after = |since: u64, time: Duration| {
            since.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        };
        let sending = self.wire.writing_since().map(|since| (after(since, timeouts.send), Overdue::Send));
        if let Some(since) = self.ending {
            return [Some((after(since, LAST_WORDS), Overdue::End)), sending]
                .into_iter()
                .flatten()
                .min_by_key(|(at, _)| *at);
        }
        let head = self.wire.frames.borrow().head_since();
        let head = head.map(|since| (after(since, timeouts.head), Overdue::Head));
        let idle = (!visitor.is_busy()).then(|| {
            let rested = visitor.rested_at();
            match (self.asked, visitor.begun()) {
                (Some(asked), _) => (after(rested.max(asked), LAST_WORDS), Overdue::End),
                (None, 0) => (after(rested, timeouts.head), Overdue::Idle),
                (None, _) if visitor.is_draining() => (after(rested, DRAIN_IDLE), Overdue::Idle),
                (None, _) => (after(rested, timeouts.keep_alive), Overdue::Idle),
            }
        });
        let age = visitor.old_by_age_at().filter(|_| self.asked.is_none()).map(|at| (at, Overdue::Age));
        [sending, head, idle, age].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

/// Closes the connection in the way that its end asks for.
#[allow(clippy::await_holding_refcell_ref, reason = "the connection's task is the only user of its socket")]
async fn close(end: End, wire: &Wire) {
    match end {
        End::Done => part(&mut wire.stream.borrow_mut()).await,
        End::Abandoned => wire.stream.borrow().reset_on_close(),
        End::Broken => {}
    }
}
