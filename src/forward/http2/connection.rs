//! One HTTP/2 connection to a worker, shared by the requests of one shard: its settings, the task that drives it, and
//! how a dead one is found out. Which connection a request gets is `pool.rs`'s choice.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::super::pool::Open;
use crate::clock::{Moment, ShardClock};
use crate::socket::Socket;

/// What a worker may send on one stream before the client has taken it, in bytes: what a slow client costs.
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// What a request's body may have waiting in its stream for the socket, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that h2 may reset for a worker's faults in them before it gives up the connection.
const FAULTY_STREAMS: usize = 64;
/// The longest frame that a worker may send, in bytes: the protocol's least (RFC 9113 section 6.5.2).
const FRAME_BYTES: u32 = 16 * 1024;

/// A connection from which nothing was heard for so long is asked for a sign of life when it gets a further request.
pub const QUIET_TIME: Duration = Duration::from_secs(10);
/// How long the sign may take. After that the connection is dead, and its requests with it.
pub const PING_WAIT: Duration = Duration::from_secs(5);
/// So many signs in a row are asked for while nothing else comes. gRPC's servers end connections that ask for more
/// (gRPC proposal A8: two go unpunished).
const PINGS_IN_SILENCE: u32 = 2;
/// How long the last words of a connection may take: GOAWAY, and the worker's end of it.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What stands for "as many streams as the worker allows" until its SETTINGS say it.
const NOT_TOLD: usize = usize::MAX - 1;

/// A connection that requests share.
#[derive(Debug)]
pub(super) struct Connection {
    sender: RefCell<SendRequest<Bytes>>,
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    clock: Rc<ShardClock>,
    streams: Cell<usize>,
    carried: Cell<bool>,
    retired: Cell<bool>,
    /// When the last stream ended, or the connection was made.
    rested_at: Cell<Moment>,
    heard_at: Cell<Moment>,
    heard_bytes: Cell<u64>,
    ping_wanted: Cell<bool>,
    /// Signs of life that were asked for since the last answer to a request.
    pings: Cell<u32>,
    /// Nobody will use it any more: it says its last words.
    left: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    /// None once it counts no more.
    open: RefCell<Option<Open>>,
}

/// Why a socket did not become a connection of HTTP/2.
#[derive(Debug)]
pub(super) struct NotHttp2;

/// What a connection is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// `bounds.response_head_bytes`.
    pub(super) head_bytes: usize,
    /// `bounds.worker_streams`.
    pub(super) streams: usize,
}

impl Connection {
    /// Begins HTTP/2 on a socket and waits for the worker's SETTINGS, which every connection of it begins with (RFC
    /// 9113 section 3.4): a worker that speaks something else is found out before a request is lost on it.
    pub(super) async fn begin(
        socket: Socket,
        open: Open,
        settings: Settings,
        clock: &Rc<ShardClock>,
    ) -> Result<Rc<Self>, NotHttp2> {
        let now = clock.now();
        let state = Rc::new(State {
            clock: Rc::clone(clock),
            streams: Cell::new(0),
            carried: Cell::new(false),
            retired: Cell::new(false),
            rested_at: Cell::new(now),
            heard_at: Cell::new(now),
            heard_bytes: Cell::new(0),
            ping_wanted: Cell::new(false),
            pings: Cell::new(0),
            left: Cell::new(false),
            driver: RefCell::new(None),
            open: RefCell::new(Some(open)),
        });
        let wire = Wire { socket, state: Rc::clone(&state) };
        let (sender, mut connection) =
            builder(settings).handshake::<_, Bytes>(wire).await.map_err(|_| NotHttp2)?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Err(NotHttp2)),
            Poll::Pending if connection.max_concurrent_send_streams() != NOT_TOLD => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        tokio::task::spawn_local(drive(connection, Rc::clone(&state)));
        Ok(Rc::new(Self { sender: RefCell::new(sender), state }))
    }

    /// Whether it is alive and takes new streams: the worker has neither gone nor said GOAWAY.
    pub(super) fn is_usable(&self) -> bool {
        let ready = self.sender.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        !self.state.retired.get() && matches!(ready, Poll::Ready(Ok(())))
    }

    /// Whether one more stream fits, by `most` and by the worker's own SETTINGS.
    pub(super) fn has_room(&self, most: usize) -> bool {
        let streams = self.state.streams.get();
        streams < most && streams < self.sender.borrow().current_max_send_streams()
    }

    /// A place for one stream.
    pub(super) fn slot(self: &Rc<Self>, now: Moment) -> Slot {
        let state = &self.state;
        if now.since(state.heard_at.get()) >= QUIET_TIME && state.pings.get() < PINGS_IN_SILENCE {
            state.ping_wanted.set(true);
            state.wake();
        }
        state.streams.set(state.streams.get() + 1);
        Slot { connection: Rc::clone(self), reused: state.carried.replace(true) }
    }

    /// How long it has had no stream; none while it has some.
    pub(super) fn idle(&self, now: Moment) -> Option<Duration> {
        self.is_idle().then(|| now.since(self.state.rested_at.get()))
    }

    /// Whether it has no stream.
    pub(super) fn is_idle(&self) -> bool {
        self.state.streams.get() == 0
    }

    /// It counts no more: it is being closed to make room.
    pub(super) fn count_no_more(&self) {
        self.state.open.borrow_mut().take();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without a sender the driver says GOAWAY and closes.
        self.state.left.set(true);
        self.state.wake();
    }
}

impl State {
    fn wake(&self) {
        if let Some(waker) = &*self.driver.borrow() {
            waker.wake_by_ref();
        }
    }

    fn heard(&self, bytes: usize) {
        self.heard_bytes.set(self.heard_bytes.get() + bytes as u64);
        self.heard_at.set(self.clock.now());
    }
}

/// A place for one stream on a connection; given back on drop.
#[derive(Debug)]
pub(super) struct Slot {
    connection: Rc<Connection>,
    reused: bool,
}

impl Slot {
    /// Whether the connection has carried a request before.
    pub(super) const fn reused(&self) -> bool {
        self.reused
    }

    /// Whether its connection takes further streams.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.is_usable()
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.sender.borrow().clone()
    }

    /// The worker began to answer a request.
    pub(super) fn answered(&self) {
        self.connection.state.pings.set(0);
    }

    /// A request waited in vain. If nothing at all came for as long as it may last, the connection gets no further one;
    /// that the request itself had less time says nothing.
    pub(super) fn timed_out(&self, wait: Duration) {
        let state = &self.connection.state;
        if Moment::read().since(state.heard_at.get()) >= wait {
            state.retired.set(true);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let state = &self.connection.state;
        state.streams.set(state.streams.get() - 1);
        if state.streams.get() == 0 {
            state.rested_at.set(state.clock.now());
        }
    }
}

fn builder(settings: Settings) -> client::Builder {
    let all = STREAM_WINDOW.saturating_mul(u32::try_from(settings.streams).unwrap_or(u32::MAX));
    // One stream whose client is slow must not use up what the others have: there is room for all.
    let all = all.clamp(STREAM_WINDOW, (1 << 31) - 1);
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(all)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(FAULTY_STREAMS))
        .initial_max_send_streams(NOT_TOLD)
        // Small frames that wait for slow clients (gRPC's messages) end the connection when they cost more than this
        // beside their own bytes; h2's own measure is half the window, which a few slow readers reach.
        .data_frame_budget((all as usize).saturating_mul(2));
    builder
}

/// Moves the bytes of a connection until it has ended.
async fn drive(mut connection: client::Connection<Wire, Bytes>, state: Rc<State>) {
    let mut life = Life { pings: connection.ping_pong(), asked: None, closing: None };
    poll_fn(|cx| {
        let waker = state.driver.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !waker {
            state.driver.replace(Some(cx.waker().clone()));
        }
        life.ask(&state);
        if Pin::new(&mut connection).poll(cx).is_ready() || life.is_over(&state, cx) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    state.open.borrow_mut().take();
}

/// Whether the other end is still there.
struct Life {
    pings: Option<PingPong>,
    /// What had been heard when a sign of life was asked for, and when it has taken too long.
    asked: Option<(u64, Pin<Box<Sleep>>)>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl Life {
    fn ask(&mut self, state: &State) {
        if !state.ping_wanted.take() || self.asked.is_some() {
            return;
        }
        if let Some(pings) = &mut self.pings
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            state.pings.set(state.pings.get() + 1);
            self.asked = Some((state.heard_bytes.get(), Box::pin(tokio::time::sleep(PING_WAIT))));
        }
    }

    fn is_over(&mut self, state: &State, cx: &mut Context<'_>) -> bool {
        // Taken, so that h2 lets us ask again.
        let _ = self.pings.as_mut().map(|pings| pings.poll_pong(cx));
        if let Some((before, alarm)) = &mut self.asked {
            // Any byte is a sign of life.
            if state.heard_bytes.get() != *before {
                self.asked = None;
            } else if alarm.as_mut().poll(cx).is_ready() {
                return true;
            }
        }
        if !state.left.get() {
            return false;
        }
        let closing = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_WAIT)));
        closing.as_mut().poll(cx).is_ready()
    }
}

/// The worker's socket, with a note of when something came.
#[derive(Debug)]
struct Wire {
    socket: Socket,
    state: Rc<State>,
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.socket).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if came > 0 {
            this.state.heard(came);
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
