//! Bytes between a client and a worker, both ways, as they are: what a connection becomes after `101 Switching
//! Protocols` (RFC 9110 section 7.8), and all there is to a service of `protocol: tcp`.
//!
//! A tunnel has no buffers of its own: whatever is read goes through one scratch buffer of the shard and is written on
//! at once. Only what the other side does not take is kept, and nothing more is read in that direction until it is
//! gone. Who may have a tunnel is decided above.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::Active;
use super::pool::Open;
use crate::clock::ShardClock;
use crate::record::{Outcome, TunnelEnd};
use crate::socket::Socket;

/// The scratch buffer of a shard, in bytes: so much is read at once, and so much may wait in one direction.
pub const SCRATCH_BYTES: usize = 64 * 1024;
/// How long a tunnel may be silent once its service drains. Nobody can be asked to end one (a WebSocket's close belongs
/// to its two ends), so a busy one gets the whole of `shutdown.grace`, as with nginx, HAProxy and Envoy, and is cut
/// then; a silent one only keeps the process from ending, which those three accept.
pub const DRAIN_IDLE: Duration = Duration::from_secs(5);
/// How long a tunnel may go on of which one side has ended and takes nothing more: the other side's last bytes are still
/// on their way to it, and a close would destroy them while bytes of its own are unread.
const SPILL_IDLE: Duration = Duration::from_secs(5);
/// How often a direction is moved before the other one, and other connections, have their turn.
const ROUNDS: usize = 16;

thread_local! {
    /// Used within one poll and never across: a shard is one thread.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The client's end of a tunnel.
pub trait ClientSide: AsyncRead + AsyncWrite + Unpin {
    /// From now on a close breaks the connection (RST) instead of ending it.
    fn reset_on_close(&mut self);
}

impl ClientSide for Socket {
    fn reset_on_close(&mut self) {
        Self::reset_on_close(self);
    }
}

/// The worker's end of a tunnel. It counts as a connection of that worker, and as an attempt in progress.
#[derive(Debug)]
pub struct WorkerSide {
    socket: Socket,
    /// What the worker sent already.
    early: Vec<u8>,
    active: Active,
    _open: Open,
}

impl WorkerSide {
    pub(super) const fn new(socket: Socket, early: Vec<u8>, active: Active, open: Open) -> Self {
        Self { socket, early, active, _open: open }
    }
}

/// What goes first in both directions.
#[derive(Debug, Default)]
pub struct Opening {
    /// To the client, before anything of the worker's: the head of the answer. Not counted as carried.
    pub to_client: Vec<u8>,
    /// To the worker: what the client sent already.
    pub to_worker: Vec<u8>,
}

/// What a tunnel is held to.
#[derive(Debug)]
pub struct TunnelTerms<'a, D> {
    /// `timeouts.tunnel`: it ends when no byte has gone either way for so long.
    pub idle: Duration,
    /// The shard's clock.
    pub clock: &'a ShardClock,
    /// Ready once the service drains.
    pub drain: D,
}

/// Carries bytes until either side breaks, both have ended, or nothing has moved for too long. A side that ends is
/// ended towards the other one, which may go on sending. How it ended, and how much was carried, is left in `outcome`;
/// if this is dropped before, the outcome says that it was drained.
pub async fn carry<C: ClientSide, D: Future<Output = ()>>(
    mut client: C,
    mut worker: WorkerSide,
    opening: Opening,
    terms: TunnelTerms<'_, D>,
    outcome: &mut Outcome,
) {
    outcome.tunnel_opened();
    let early = std::mem::take(&mut worker.early);
    outcome.carried(opening.to_worker.len() as u64, early.len() as u64);
    let mut flows = Flows {
        up: Flow::new(opening.to_worker),
        down: Flow::new([opening.to_client, early].concat()),
        first: None,
    };
    let end = flows.run(&mut client, &mut worker.socket, terms, outcome).await;
    match end {
        TunnelEnd::ClientReset => worker.socket.reset_on_close(),
        TunnelEnd::WorkerReset => {
            worker.active.failed();
            client.reset_on_close();
        }
        TunnelEnd::Idle | TunnelEnd::Drained => {
            // TLS and HTTP/2 have an end of their own to tell; if the client does not take that at once, it goes without.
            poll_fn(|cx| Poll::Ready(drop(Pin::new(&mut client).poll_shutdown(cx)))).await;
        }
        TunnelEnd::ClientClosed | TunnelEnd::WorkerClosed => {}
    }
    outcome.tunnel_ended(end);
}

/// Both directions.
struct Flows {
    /// From the client to the worker.
    up: Flow,
    /// From the worker to the client.
    down: Flow,
    /// The side that ended first.
    first: Option<TunnelEnd>,
}

/// One direction.
struct Flow {
    /// What was read and not taken yet; at most the scratch buffer, or what went first.
    held: Vec<u8>,
    sent: usize,
    unflushed: bool,
    stage: Stage,
    /// Bytes that were read and not told to the record yet.
    fresh: u64,
    /// Bytes moved since it was last asked.
    moved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The source has ended; the other side is to be told.
    Ending,
    /// The target has ended and takes nothing more: what comes is thrown away.
    Spilling,
    Ended,
}

/// Which side of a direction broke.
enum Broken {
    Source,
    Target,
}

impl Flows {
    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    async fn run<C: ClientSide, D: Future<Output = ()>>(
        &mut self,
        client: &mut C,
        worker: &mut Socket,
        terms: TunnelTerms<'_, D>,
        outcome: &mut Outcome,
    ) -> TunnelEnd {
        let (clock, mut idle) = (terms.clock, terms.idle);
        let mut drain = pin!(terms.drain);
        let mut draining = false;
        let mut moved_at = clock.now();
        // Set only when it would ring too late: a tunnel that is never silent touches it once in an idle time.
        let mut rings_at = moved_at.plus(idle);
        let mut timer = pin!(sleep_until(Instant::from_std(rings_at.instant())));
        poll_fn(|cx| {
            let ended = self.poll(cx, client, worker);
            outcome.carried(std::mem::take(&mut self.up.fresh), std::mem::take(&mut self.down.fresh));
            if let Some(end) = ended {
                return Poll::Ready(end);
            }
            if std::mem::take(&mut self.up.moved) | std::mem::take(&mut self.down.moved) {
                moved_at = clock.now();
            }
            if !draining && drain.as_mut().poll(cx).is_ready() {
                draining = true;
                idle = idle.min(DRAIN_IDLE);
            }
            if self.up.stage == Stage::Spilling || self.down.stage == Stage::Spilling {
                idle = idle.min(SPILL_IDLE);
            }
            loop {
                let deadline = moved_at.plus(idle);
                if deadline.nanos < rings_at.nanos {
                    timer.as_mut().reset(Instant::from_std(deadline.instant()));
                    rings_at = deadline;
                }
                // Beside tokio's budget: a tunnel that always has something to do would never see its timer ring.
                if pin!(unconstrained(timer.as_mut())).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if clock.refresh().nanos >= deadline.nanos {
                    let idle = if draining { TunnelEnd::Drained } else { TunnelEnd::Idle };
                    return Poll::Ready(self.spilled().unwrap_or(idle));
                }
                timer.as_mut().reset(Instant::from_std(deadline.instant()));
                rings_at = deadline;
            }
        })
        .await
    }

    /// Moves what can be moved; how it ended, if it has.
    fn poll<C: ClientSide>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        worker: &mut Socket,
    ) -> Option<TunnelEnd> {
        let (up, down) = SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_BYTES, 0);
            let up = self.up.poll(cx, client, worker, scratch);
            let down = self.down.poll(cx, worker, client, scratch);
            // A side that has ended need not take what it is sent, so that is no break.
            (self.up.forgiven(cx, up, &self.down), self.down.forgiven(cx, down, &self.up))
        });
        match (up, down) {
            (Ok(()), Ok(())) => {}
            (Err(Broken::Source), _) | (_, Err(Broken::Target)) => return Some(TunnelEnd::ClientReset),
            (Err(Broken::Target), _) | (_, Err(Broken::Source)) => return Some(TunnelEnd::WorkerReset),
        }
        if self.first.is_none() {
            self.first = match (self.up.stage, self.down.stage) {
                (Stage::Open, Stage::Open) => None,
                (Stage::Open, _) => Some(TunnelEnd::WorkerClosed),
                _ => Some(TunnelEnd::ClientClosed),
            };
        }
        let over = self.up.stage == Stage::Ended && self.down.stage == Stage::Ended;
        self.first.filter(|_| over)
    }

    /// The side that ended everything, if one did and the other only has to see that.
    fn spilled(&self) -> Option<TunnelEnd> {
        let spills = self.up.stage == Stage::Spilling || self.down.stage == Stage::Spilling;
        self.first.filter(|_| spills)
    }
}

impl Flow {
    const fn new(held: Vec<u8>) -> Self {
        Self { held, sent: 0, unflushed: false, stage: Stage::Open, fresh: 0, moved: false }
    }

    /// Moves bytes as long as the one side has some and the other takes them.
    fn poll<S: AsyncRead + Unpin, T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        target: &mut T,
        scratch: &mut [u8],
    ) -> Result<(), Broken> {
        for _ in 0..ROUNDS {
            if !self.send_held(cx, target)? {
                return self.flush(cx, target);
            }
            match self.stage {
                Stage::Open => {}
                Stage::Ending => return self.end(cx, target),
                Stage::Ended => return Ok(()),
                Stage::Spilling => return self.spill(cx, source, scratch),
            }
            let mut piece = ReadBuf::new(scratch);
            match Pin::new(&mut *source).poll_read(cx, &mut piece) {
                Poll::Pending => return self.flush(cx, target),
                Poll::Ready(Err(_)) => return Err(Broken::Source),
                Poll::Ready(Ok(())) => self.pass(cx, target, piece.filled())?,
            }
        }
        cx.waker().wake_by_ref();
        self.flush(cx, target)
    }

    /// What a break means, if the target had ended before: no more than that nothing is to be sent to it.
    fn forgiven(&mut self, cx: &Context<'_>, polled: Result<(), Broken>, other: &Self) -> Result<(), Broken> {
        if matches!(polled, Err(Broken::Target)) && other.stage != Stage::Open {
            self.held = Vec::new();
            self.stage = if self.stage == Stage::Open { Stage::Spilling } else { Stage::Ended };
            cx.waker().wake_by_ref();
            return Ok(());
        }
        polled
    }

    fn spill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        scratch: &mut [u8],
    ) -> Result<(), Broken> {
        for _ in 0..ROUNDS {
            let mut piece = ReadBuf::new(scratch);
            match Pin::new(&mut *source).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {}
                Poll::Ready(_) => {
                    self.stage = Stage::Ended;
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Whether nothing is held any more.
    fn send_held<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut T,
    ) -> Result<bool, Broken> {
        if self.held.is_empty() {
            return Ok(true);
        }
        let held = std::mem::take(&mut self.held);
        self.sent += self.send(cx, target, &held[self.sent..])?;
        if self.sent < held.len() {
            self.held = held;
            return Ok(false);
        }
        self.sent = 0;
        Ok(true)
    }

    /// Passes on what was just read, and holds what is not taken.
    fn pass<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut T,
        bytes: &[u8],
    ) -> Result<(), Broken> {
        if bytes.is_empty() {
            self.stage = Stage::Ending;
            return Ok(());
        }
        self.fresh += bytes.len() as u64;
        self.moved = true;
        let sent = self.send(cx, target, bytes)?;
        self.held = bytes[sent..].to_vec();
        Ok(())
    }

    /// How many bytes the target took.
    fn send<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut T,
        bytes: &[u8],
    ) -> Result<usize, Broken> {
        let mut sent = 0;
        while sent < bytes.len() {
            match Pin::new(&mut *target).poll_write(cx, &bytes[sent..]) {
                Poll::Ready(Ok(n @ 1..)) => {
                    sent += n;
                    self.moved = true;
                    self.unflushed = true;
                }
                Poll::Ready(_) => return Err(Broken::Target),
                Poll::Pending => break,
            }
        }
        Ok(sent)
    }

    /// A socket holds nothing back; TLS does.
    fn flush<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, target: &mut T) -> Result<(), Broken> {
        if self.unflushed {
            match Pin::new(target).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed.map_err(|_| Broken::Target)?;
                    self.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn end<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, target: &mut T) -> Result<(), Broken> {
        if let Poll::Ready(ended) = Pin::new(target).poll_shutdown(cx) {
            // A side that is gone already needs no goodbye.
            let _ = ended;
            self.stage = Stage::Ended;
        }
        Ok(())
    }
}
