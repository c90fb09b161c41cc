//! HTTP/2 on a client connection, over TLS or with prior knowledge (RFC 9113 section 3): the engine over a guarded
//! socket, one timer for all the connection's time limits, and its end, which asks the client to leave first. What
//! happens on a stream stands in `http2_stream.rs`.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection, Handshake};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::frames::{Flood, FloodKind, FrameBounds};
use super::http1::{DRAIN_IDLE, discard, part};
use super::http2_socket::{Http2Socket, Wire};
use super::http2_stream;
use super::transport::Transport;
use crate::clock::Moment;
use crate::config::Bounds;
use crate::forward::upgrade;
use crate::inbound::Visitor;

/// The window of a stream: what a client may send before a worker has taken any of it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The window of all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The largest frame that is taken, the least that RFC 9113 section 4.2 allows to ask for.
const FRAME_BYTES: u32 = 16_384;
/// What waits in the engine to be sent on one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client reset and that are remembered, since its frames for them may still be under way.
const RESET_STREAMS: usize = 256;
/// How long they are remembered.
const RESET_REMEMBERED: Duration = Duration::from_secs(1);
/// Streams that a client may have reset before they were looked at (CVE-2023-44487). A browser that leaves a page ends
/// a hundred in one packet; how often it may do so, `frames` says.
const PENDING_RESETS: usize = 1024;
/// Small DATA frames that wait unread, by the engine's count: 256 bytes for each, less what it holds. This is a whole
/// window of a stream full of messages of eight bytes, so that a client that streams faster than its worker takes is
/// held back by its window; the engine's own bound (half the connection's window) would end its connection.
const SMALL_DATA_BYTES: usize = 8 * 1024 * 1024;
/// How long a connection that is to end may take over it.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Engine = Connection<Http2Socket, Bytes>;

/// How a connection came to its end.
enum End {
    /// All is said.
    Done,
    /// The engine met an error: the client broke the protocol or off.
    Failed(h2::Error),
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
    let end = {
        let shaking = engine(&bounds, extends).handshake(Http2Socket::new(Rc::clone(&wire)));
        Watch::new(&wire).drive(shaking).await
    };
    close(end, &wire).await;
}

fn engine(bounds: &Bounds, extends: bool) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(bounds.streams)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(u32::try_from(bounds.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_REMEMBERED)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        // The engine counts over a connection's whole life (CVE-2025-8671); `frames` counts by time.
        .max_local_error_reset_streams(None)
        .data_frame_budget(SMALL_DATA_BYTES);
    // Who reads that it may not asks for a WebSocket over HTTP/1.1 instead (RFC 8441 section 3).
    if extends {
        builder.enable_connect_protocol();
    }
    builder
}

/// Drives the engine, and watches the clock for it.
struct Watch<'a> {
    wire: &'a Rc<Wire>,
    /// The client was asked to leave: since then.
    asked: Option<u64>,
    /// The connection is to end, whatever the client does: since then.
    ending: Option<u64>,
}

impl<'a> Watch<'a> {
    const fn new(wire: &'a Rc<Wire>) -> Self {
        Self { wire, asked: None, ending: None }
    }

    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    async fn drive(mut self, shaking: Handshake<Http2Socket, Bytes>) -> End {
        let visitor = Rc::clone(&self.wire.visitor);
        let mut shaking = pin!(shaking);
        let mut engine: Option<Engine> = None;
        let mut rings_at = u64::MAX;
        let mut timer = pin!(sleep_until(Instant::now() + Duration::from_secs(86_400)));
        let mut draining = pin!(visitor.drain_begins());
        let mut asked_to_be_woken = false;
        poll_fn(|cx| {
            self.wire.begin_turn();
            loop {
                match &mut engine {
                    None => match shaking.as_mut().poll(cx) {
                        Poll::Ready(Ok(open)) => {
                            engine = Some(open);
                            continue;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                        Poll::Pending => {}
                    },
                    Some(open) => {
                        if let Poll::Ready(end) = self.accept(open, cx) {
                            return Poll::Ready(end);
                        }
                    }
                }
                self.count_refused();
                if let Some(flood) = self.wire.take_flood() {
                    self.count(flood);
                    let Some(open) = &mut engine else { return Poll::Ready(End::Abandoned) };
                    self.end(open, flood.code.into());
                    continue;
                }
                if let Some(open) = &mut engine
                    && self.asked.is_none()
                    && visitor.is_to_leave()
                {
                    self.ask(open);
                    continue;
                }
                if !asked_to_be_woken {
                    // Once is enough: the waker of a task stays the same, and whether it drains is a flag.
                    asked_to_be_woken = true;
                    let _ = draining.as_mut().poll(cx);
                }
                if let Poll::Ready(Err(_)) = self.wire.poll_out(cx) {
                    return Poll::Ready(End::Broken);
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
                if visitor.refresh_clock().nanos < deadline {
                    continue;
                }
                if let Some(end) = self.overdue(overdue, engine.as_mut()) {
                    return Poll::Ready(end);
                }
            }
        })
        .await
    }

    /// What comes of a time that is over: the end, or the beginning of one.
    fn overdue(&mut self, what: Overdue, engine: Option<&mut Engine>) -> Option<End> {
        match (what, engine) {
            (Overdue::Send, _) => {
                self.wire.visitor.desk().scribe.flood(FloodKind::Stalled.name());
                return Some(End::Abandoned);
            }
            // Asked to leave, and nothing is under way: a plain close takes nothing away from the client.
            (Overdue::End, Some(_)) if self.ending.is_none() => return Some(End::Done),
            (Overdue::End, _) | (_, None) => return Some(End::Abandoned),
            (Overdue::Head, Some(open)) => self.end(open, Reason::NO_ERROR),
            (Overdue::Idle | Overdue::Age, Some(open)) => self.ask(open),
        }
        None
    }

    /// Takes the streams that have come.
    fn accept(&self, engine: &mut Engine, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match engine.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.wire.frames.borrow_mut().handed_out(respond.stream_id().as_u32());
                    let visitor = Rc::clone(&self.wire.visitor);
                    tokio::task::spawn_local(http2_stream::serve(visitor, request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Failed(error)),
                Poll::Ready(None) => return Poll::Ready(End::Done),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Asks the client to leave: what it has asked so far is answered (RFC 9113 section 6.8).
    fn ask(&mut self, engine: &mut Engine) {
        self.asked = Some(self.wire.visitor.now().nanos);
        engine.graceful_shutdown();
    }

    /// Ends the connection with this reason.
    fn end(&mut self, engine: &mut Engine, reason: Reason) {
        let now = self.wire.visitor.now().nanos;
        self.asked = self.asked.or(Some(now));
        if self.ending.is_none() {
            self.ending = Some(now);
            engine.abrupt_shutdown(reason);
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
        End::Failed(error) => {
            let broke_the_rules = error.is_library() && !error.is_io();
            if !broke_the_rules {
                return;
            }
            let desk = Rc::clone(&wire.visitor.desk());
            let kind = wire.frames.borrow().engine_flood().unwrap_or(FloodKind::Protocol);
            desk.scribe.flood(kind.name());
            tracing::debug!(%error, kind = kind.name(), service = %desk.service.config.name, "a client breaks HTTP/2");
            // The client is to read why before the socket closes.
            discard(&mut wire.stream.borrow_mut()).await;
        }
        End::Abandoned => wire.stream.borrow().reset_on_close(),
        End::Broken => {}
    }
}
