//! An attempt in progress at a worker, and what is counted of it: that it is there, how long it waits for the head of
//! its answer, and how it ended. Each attempt is told of its worker once, as good or bad, or as nothing if the client
//! left or was at fault; and one attempt of each request, the one whose answer the client gets, is told of the service.
//!
//! An answer is good when it is complete; when it goes on for more than [`SETTLED`], which streams do that have no end;
//! or when the client leaves in the middle of it: so far nothing was wrong. One that the worker cuts is bad, and that
//! is told in addition if it was told as good before.
//!
//! With `balance: ring` an answer says nothing against the worker, whatever its status and its time: there all requests
//! of a caller go to one worker, and what that caller asks for would be held against it. What broke does.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::Route;
use super::pool::{Lane, Link};
use super::verdict::{self, Verdict};
use crate::clock::{Moment, ShardClock};
use crate::shard::ShardId;
use crate::workers::seat::Seat;
use crate::workers::throttle::GroupCounts;
use crate::workers::{CallerGroup, WorkerCounts};

/// An answer that still comes so long after its head is good: a stream may go on for days, and a judge who saw only
/// those that fail would think that all do.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// When a worker is to blame for the end of a request's time: if it was waited for through half of it or more. What the
/// client took for its upload or its download, what others left of it, and what went by in line is not the worker's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fair {
    /// When the request's time ends. None: never.
    pub(super) until: Option<Instant>,
    /// A worker that was waited for less than this is not to blame.
    least: Duration,
}

impl Fair {
    /// For a request that began at `begun`. If its end is the client's own word (`hasty`), nobody is to blame: a
    /// stranger chose the time.
    pub(super) fn new(begun: Moment, until: Option<Instant>, hasty: bool) -> Self {
        let whole = until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::from_std(begun.instant()))
        });
        Self { until, least: if hasty { Duration::MAX } else { whole / 2 } }
    }

    /// Whether the time is over by `now`.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= Instant::from_std(now.instant()))
    }

    /// Whether a worker that was waited for so long is not to blame for the end.
    pub(super) fn excuses(&self, waited: Duration) -> bool {
        waited < self.least
    }
}

/// One attempt in progress at a worker; given back on drop: when the last byte has gone to the client or all is lost,
/// or, if the whole answer came together with its head, at once, since the worker has nothing more to do with it.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) lane: Rc<Lane>,
    shard: ShardId,
    pub(super) clock: Rc<ShardClock>,
    fair: Fair,
    /// Whether what it answers, and when, is told of the worker.
    tells_answers: bool,
    /// Since then the worker has had all that there was for it, and has been waited for.
    since: Cell<Option<Moment>>,
    /// So long it was waited for before that.
    took: Cell<Duration>,
    /// The whole request has been at the worker since then, and no head has come.
    waiting_since: Cell<Option<Moment>>,
    stage: Cell<Stage>,
    /// What is told of the worker is told of the service as well, as a request of this group.
    decides: Cell<Option<CallerGroup>>,
    _seat: Seat,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing is known.
    Open,
    /// An answer that began well at this time is on its way.
    Answering(Moment),
    /// It was told as good, and may still be cut.
    Good,
    /// It was told, or is not worth telling.
    Over,
}

impl Active {
    /// Begins an attempt, with its place at the worker.
    pub(super) fn begin(lane: &Rc<Lane>, route: &Route, seat: Seat, fair: Fair) -> Self {
        let counts = lane.worker.counts.of(route.shard);
        counts.attempts.add(1);
        counts.active.add(1);
        Self {
            lane: Rc::clone(lane),
            shard: route.shard,
            clock: Rc::clone(&route.clock),
            fair,
            tells_answers: route.tells_answers,
            since: Cell::new(Some(route.clock.now())),
            took: Cell::default(),
            waiting_since: Cell::new(None),
            stage: Cell::new(Stage::Open),
            decides: Cell::new(None),
            _seat: seat,
        }
    }

    /// The whole request is at the worker, as far as we can do anything about it.
    pub(super) fn sent(&self, now: Moment) {
        if self.tells_answers && self.waiting_since.replace(Some(now)).is_none() {
            self.counts().waiting.add(1);
        }
    }

    /// A piece of the request went to the worker.
    pub(super) fn moved(&self, now: Moment) {
        self.since.set(Some(now));
    }

    /// The worker was silent in the middle of its answer since `began`, and no longer is.
    pub(super) fn was_silent(&self, began: Moment) {
        self.took.set(self.took.get() + Moment::read().since(began));
    }

    /// The head of an answer came, as the clock has it that was just read.
    pub(super) fn head(&self, status: StatusCode, grpc: Option<u16>) {
        let now = self.clock.now();
        self.waited(now);
        self.took.set(self.had(now));
        self.since.set(None);
        match verdict::of_worker(status, grpc) {
            Verdict::Bad if self.tells_answers => self.tell_bad(),
            Verdict::Good | Verdict::Bad => self.stage.set(Stage::Answering(now)),
        }
    }

    /// The answer is one that goes to the client.
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.counts().answers[class].add(1);
    }

    /// The client gets this answer: what becomes of it is told of the service too.
    pub(super) fn decides(&self, service: Verdict, group: CallerGroup) {
        match (service, self.stage.get()) {
            (Verdict::Bad, _) => self.requests(group).bad.add(1),
            (Verdict::Good, Stage::Answering(_)) => self.decides.set(Some(group)),
            (Verdict::Good, _) => self.requests(group).good.add(1),
        }
    }

    /// It is a connection and nothing more, and the worker took it.
    pub(super) fn connected(&self, group: CallerGroup) {
        self.stage.set(Stage::Answering(self.clock.now()));
        self.decides(Verdict::Good, group);
        self.complete();
    }

    /// A piece of the answer came.
    pub(super) fn goes_on(&self) {
        if let Stage::Answering(since) = self.stage.get()
            && self.clock.now().since(since) >= SETTLED
        {
            self.complete();
        }
    }

    /// The last byte of the answer came, or the protocol was switched.
    pub(super) fn complete(&self) {
        if matches!(self.stage.get(), Stage::Answering(_)) {
            self.stage.set(Stage::Good);
            self.counts().good.add(1);
            if let Some(group) = self.decides.get() {
                self.requests(group).good.add(1);
            }
        }
    }

    /// The worker failed: no answer, or one that is not whole. False: the request's time is over, and it is not to
    /// blame for that.
    pub(super) fn failed(&self) -> bool {
        let now = Moment::read();
        if self.fair.is_over(now) && self.fair.excuses(self.had(now)) {
            self.excused();
            return false;
        }
        self.waited(now);
        self.counts().failures.add(1);
        if !matches!(self.stage.get(), Stage::Over) {
            self.tell_bad();
        }
        true
    }

    /// What went wrong says nothing of the worker.
    pub(super) fn excused(&self) {
        self.stage.set(Stage::Over);
    }

    /// The connection can carry another request, if nothing that was read stood behind the answer. What is still to be
    /// read is looked at when it is chosen again.
    pub(super) fn give_back(&self, link: Box<Link>) {
        if link.inflow.ahead.is_empty() {
            self.lane.give_back(link, self.clock.now());
        }
    }

    fn tell_bad(&self) {
        self.stage.set(Stage::Over);
        self.counts().bad.add(1);
        if let Some(group) = self.decides.get() {
            self.requests(group).bad.add(1);
        }
    }

    /// How long it was waited for.
    fn had(&self, now: Moment) -> Duration {
        self.took.get() + self.since.get().map_or(Duration::ZERO, |since| now.since(since))
    }

    fn waited(&self, now: Moment) {
        if let Some(since) = self.waiting_since.take() {
            let counts = self.counts();
            counts.waiting.sub(1);
            counts.waited.add(1);
            counts.waited_nanos.add(now.nanos.saturating_sub(since.nanos));
        }
    }

    fn counts(&self) -> &WorkerCounts {
        self.lane.worker.counts.of(self.shard)
    }

    fn requests(&self, group: CallerGroup) -> &GroupCounts {
        self.lane.workers.requests.of(self.shard).of(group)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.counts().active.sub(1);
        if self.waiting_since.take().is_some() {
            self.counts().waiting.sub(1);
        }
        self.complete();
    }
}

#[cfg(test)]
mod tests;
