//! An attempt in progress at a worker, and what is counted of it.

use std::rc::Rc;

use http::StatusCode;
use tokio::time::Instant;

use super::Route;
use super::pool::{Lane, Link};
use crate::clock::{Moment, ShardClock};
use crate::shard::ShardId;

/// One attempt in progress at a worker; given back on drop, which is when the last byte has gone or all is lost.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) lane: Rc<Lane>,
    shard: ShardId,
    pub(super) clock: Rc<ShardClock>,
    /// When the client's own patience ends.
    haste: Option<Instant>,
}

impl Active {
    pub(super) fn begin(lane: &Rc<Lane>, route: &Route, haste: Option<Instant>) -> Self {
        let counts = lane.worker.counts.of(route.shard);
        counts.attempts.add(1);
        counts.active.add(1);
        Self { lane: Rc::clone(lane), shard: route.shard, clock: Rc::clone(&route.clock), haste }
    }

    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.lane.worker.counts.of(self.shard).answers[class].add(1);
    }

    pub(super) fn failed(&self) {
        if self.haste.is_some_and(|haste| haste <= Instant::from_std(Moment::read().instant())) {
            return;
        }
        self.lane.worker.counts.of(self.shard).failures.add(1);
    }

    pub(super) fn give_back(&self, link: Link) {
        self.lane.give_back(link, self.clock.now());
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.lane.worker.counts.of(self.shard).active.sub(1);
    }
}
