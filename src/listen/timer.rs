//! The one timer of a client connection, for all its time limits. Which limit is next, and what it means, its protocol
//! knows.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::Moment;
use crate::inbound::Visitor;

/// It is set when it would ring too late, and what rings too early is looked at and set anew: a connection that is
/// never slow touches it about once a second, not once a request.
#[derive(Default)]
pub(super) struct Timer {
    /// None until somebody is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it wakes the connection, in nanoseconds of `Moment`: it need not be asked again until then. None: it has
    /// rung, or was never set.
    rings_at: Option<u64>,
}

impl Timer {
    /// Ready once the time is past `nanos` (of `Moment`).
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, visitor: &Visitor, nanos: u64) -> Poll<()> {
        if self.will_ring_by(nanos) { Poll::Pending } else { self.poll_anew(cx, visitor, nanos) }
    }

    /// It is set, in time, and has not rung.
    fn will_ring_by(&self, nanos: u64) -> bool {
        let (Some(sleep), Some(rings_at)) = (&self.sleep, self.rings_at) else { return false };
        rings_at <= nanos && !sleep.is_elapsed()
    }

    /// It has rung, or would too late.
    fn poll_anew(&mut self, cx: &mut Context<'_>, visitor: &Visitor, nanos: u64) -> Poll<()> {
        loop {
            if self.rings_at.is_none_or(|rings_at| rings_at > nanos) {
                ready!(self.set(cx, nanos));
            }
            self.rings_at = None;
            if visitor.refresh_clock().nanos >= nanos {
                return Poll::Ready(());
            }
        }
    }

    /// Has it ring at `nanos`. Ready: that is over.
    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    fn set(&mut self, cx: &mut Context<'_>, nanos: u64) -> Poll<()> {
        let rings_at = Instant::from_std(Moment { nanos, unix_micros: 0 }.instant());
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(rings_at)));
        sleep.as_mut().reset(rings_at);
        self.rings_at = Some(nanos);
        // A connection that always has something to do uses up its task's turn, and a timer asked after that would
        // always say "later": it is asked beside tokio's budget.
        pin!(unconstrained(sleep.as_mut())).poll(cx)
    }
}

/// So long after `since` (nanoseconds of `Moment`, as what is returned).
pub(super) fn after(since: u64, time: Duration) -> u64 {
    since.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
