//! Bytes between a client and a worker, both ways, as they are: what a connection becomes after `101 Switching
//! Protocols` (RFC 9110 section 7.8), and all there is to a service of `protocol: tcp`.
//!
//! A tunnel has no buffers of its own: whatever is read goes through one scratch buffer of the shard and is written on
//! at once. Only what the other side does not take is kept, and nothing more is read in that direction until it is
//! gone. Who may have a tunnel is decided above.

mod flow;
mod worker;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use crate::clock::ShardClock;
use crate::record::{Outcome, TunnelEnd};
use crate::socket::Socket;
pub(super) use flow::with_scratch;
use flow::{Broken, Flow, Stage};
pub use worker::WorkerSide;
pub(super) use worker::switch;

/// How long a tunnel may be silent once its service drains. Nobody can be asked to end one (a WebSocket's close
/// belongs to its two ends), so a busy one gets the whole of `shutdown.grace`, as with nginx, HAProxy and Envoy, and
/// is cut then; a silent one only keeps the process from ending, which those three accept.
pub const DRAIN_IDLE: Duration = Duration::from_secs(5);
/// How long a tunnel may go on of which one side has ended and takes nothing more: what it said last is still on its
/// way to the other side, and a close would destroy that while bytes of the other side are unread.
const SPILL_IDLE: Duration = Duration::from_secs(5);
/// The client's end of a tunnel.
pub trait ClientSide: AsyncRead + AsyncWrite + Unpin {
    /// From now on a close breaks the connection (RST) instead of ending it.
    fn reset_on_close(&mut self);

    /// Ready once the client is gone; asked while nothing is read from it. A connection of its own says so when it is
    /// used again, and takes no room but its own meanwhile.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Whether the client took bytes, since this was last asked, that were written before and held back for it.
    fn has_moved(&mut self) -> bool {
        false
    }
}

impl ClientSide for Socket {
    fn reset_on_close(&mut self) {
        Self::reset_on_close(self);
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
    client: &mut C,
    worker: &mut WorkerSide,
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
    let end = flows.run(client, &mut worker.socket, terms, outcome).await;
    match end {
        TunnelEnd::ClientReset => worker.socket.reset_on_close(),
        TunnelEnd::WorkerReset => {
            worker.active.failed();
            client.reset_on_close();
        }
        TunnelEnd::Idle | TunnelEnd::Drained => {
            // TLS and HTTP/2 have an end of their own to tell; a client that does not take it at once goes without.
            poll_fn(|cx| {
                let _ = Pin::new(&mut *client).poll_shutdown(cx);
                Poll::Ready(())
            })
            .await;
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
            if self.has_moved(client) {
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
        let (up, down) = with_scratch(|scratch| {
            let up = self.up.poll(cx, client, worker, scratch);
            // Nobody else would notice.
            let left = self.up.reads_nothing() && client.poll_gone(cx).is_ready();
            let down = match left && matches!(self.down.stage, Stage::Open | Stage::Ending) {
                true => Err(Broken::Target),
                false => self.down.poll(cx, worker, client, scratch),
            };
            // A side that has ended need not take what it is sent, so that is no break.
            (self.up.forgiven(cx, up, &self.down), self.down.forgiven(cx, down, &self.up))
        });
        match (up, down) {
            (Ok(()), Ok(())) => {}
            (Err(Broken::Source), _) | (_, Err(Broken::Target)) => return Some(TunnelEnd::ClientReset),
            (Err(Broken::Target), _) | (_, Err(Broken::Source)) => return Some(TunnelEnd::WorkerReset),
        }
        if self.first.is_none() {
            self.first = match (self.up.has_ended(), self.down.has_ended()) {
                (false, false) => None,
                (false, true) => Some(TunnelEnd::WorkerClosed),
                (true, _) => Some(TunnelEnd::ClientClosed),
            };
        }
        let over = self.up.stage == Stage::Ended && self.down.stage == Stage::Ended;
        self.first.filter(|_| over)
    }

    /// Whether bytes have moved since this was last asked.
    fn has_moved<C: ClientSide>(&mut self, client: &mut C) -> bool {
        std::mem::take(&mut self.up.moved) | std::mem::take(&mut self.down.moved) | client.has_moved()
    }

    /// The side that ended everything, if one did and the other only has to see that.
    fn spilled(&self) -> Option<TunnelEnd> {
        let spills = self.up.stage == Stage::Spilling || self.down.stage == Stage::Spilling;
        self.first.filter(|_| spills)
    }
}

#[cfg(test)]
mod tests;
