//! The tries of one request: whom it was sent to, what came of that, and whether it goes on. Both protocols bring their
//! failures here as a [`Failed`]; the rule itself stands in `retry.rs`.

use tokio::time::{Instant, sleep_until};

use super::answer::Answer;
use super::choice::Chosen;
use super::pool::ConnectFailure;
use super::refused::{beside_the_worker, no_workers, not_connected};
use super::retry::{self, Again, Asked, Attempted, Reached};
use super::{Active, Call, Route, verdict};
use crate::clock::Moment;
use crate::config::Endpoint;
use crate::message::Response;
use crate::record::Outcome;
use crate::refusal::{Refusal, Whose};
use crate::workers::{CallerGroup, Worker};

/// An attempt that brought nothing for the client yet.
pub(super) struct Failed {
    pub(super) reached: Reached,
    /// Whether its connection had carried a request before.
    pub(super) reused: bool,
    /// Whether the request is whole: then it can be sent once more.
    pub(super) whole: bool,
    /// Whether its method is idempotent.
    pub(super) idempotent: bool,
    /// Whether it is held against the worker.
    pub(super) blamed: bool,
    /// What the client gets if nothing better comes.
    pub(super) last: Result<Response<Answer>, Refusal>,
}

impl Failed {
    /// Nothing more can be done.
    pub(super) fn end(refusal: Refusal) -> Box<Self> {
        let (reached, last) = (Reached::TooFar, Err(refusal));
        Box::new(Self { reached, reused: false, whole: false, idempotent: false, blamed: true, last })
    }

    /// There was no connection for this request.
    pub(super) fn unconnected(failure: ConnectFailure) -> Box<Self> {
        match beside_the_worker(&failure) {
            Some(refusal) => Box::new(Self { blamed: false, ..*Self::end(refusal) }),
            None => Self::passed_over(not_connected(&failure)),
        }
    }

    /// The worker took no connection, or none that can be used.
    pub(super) fn passed_over(refusal: Refusal) -> Box<Self> {
        let (reached, last) = (Reached::NoConnection, Err(refusal));
        Box::new(Self { reached, reused: false, whole: true, idempotent: false, blamed: true, last })
    }

    /// What may be done about it after these tries.
    fn again(&self, replayed: bool) -> Again {
        let (reached, reused, repeatable) = (self.reached, self.reused, self.whole && self.idempotent);
        retry::again(Attempted { reached, reused, repeatable, replayed })
    }
}

/// The tries of one request so far.
pub(super) struct Tries {
    /// When the next one begins.
    pub(super) now: Moment,
    /// The next connection is to be a new one.
    pub(super) fresh: bool,
    /// Attempts that were sent, or refused by a worker of HTTP/2.
    sent: u32,
    replayed: bool,
    /// Whether anything is held against a worker.
    blamed: bool,
    asked: Asked,
    /// What the client gets if nothing better comes. None: nobody could be asked.
    last: Option<Result<Response<Answer>, Refusal>>,
}

impl Tries {
    /// None yet.
    pub(super) fn begin(now: Moment) -> Self {
        Self {
            now,
            fresh: false,
            sent: 0,
            replayed: false,
            blamed: false,
            asked: Asked::default(),
            last: None,
        }
    }

    /// Whether nobody was asked yet.
    pub(super) fn is_first(&self) -> bool {
        self.sent == 0 && self.asked.all().is_empty()
    }

    /// Attempts sent so far.
    pub(super) const fn sent(&self) -> u32 {
        self.sent
    }

    /// Workers that are asked only if there is no other, or not at all.
    pub(super) fn not_first(&self) -> &[Endpoint] {
        self.asked.all()
    }

    /// Workers that are not asked again.
    pub(super) fn barred(&self) -> &[Endpoint] {
        self.asked.barred()
    }

    /// Whether this worker is one of those.
    pub(super) fn bars(&self, worker: &Endpoint) -> bool {
        self.barred().contains(worker)
    }

    /// Whether any worker was asked that may be asked again.
    pub(super) const fn may_come_again(&self) -> bool {
        self.asked.may_come_again()
    }

    /// Nobody was asked, and this is why.
    pub(super) fn nobody_yet(&mut self, refusal: Refusal) {
        self.last = Some(Err(refusal));
    }

    /// Workers that took no connection may be chosen again.
    pub(super) fn forget(&mut self) {
        self.asked = Asked::default();
    }

    /// Whether a failure says only that its connection was over before the request came: the worker closed it between
    /// two requests, which nobody is blamed for, and the request goes out once more.
    fn is_replay(&self, failed: &Failed) -> bool {
        failed.whole && failed.again(self.replayed) == Again::Replay
    }

    /// A failure with what it says of the worker, which is told: nothing if it is `excused` or a replay.
    pub(super) fn judged(&self, active: &Active, mut failed: Failed, excused: bool) -> Box<Failed> {
        if excused || self.is_replay(&failed) {
            active.excused();
        } else {
            failed.blamed = active.failed();
        }
        Box::new(failed)
    }

    /// Whether anything is held against a worker.
    pub(super) const fn is_any_blamed(&self) -> bool {
        self.blamed
    }

    /// What is told where there is no answer that could be given.
    pub(super) fn into_refusal(self) -> Refusal {
        self.into_last().err().unwrap_or_else(no_workers)
    }

    /// What the client gets in the end.
    pub(super) fn into_last(self) -> Result<Response<Answer>, Refusal> {
        self.last.unwrap_or_else(|| Err(no_workers()))
    }

    /// Keeps what the client gets if nothing better comes: a worker's own words are better than ours.
    fn keep(&mut self, last: Result<Response<Answer>, Refusal>) {
        if last.is_ok() || !matches!(self.last, Some(Ok(_))) {
            self.last = Some(last);
        }
    }
}

impl Route {
    /// What to do after an attempt failed: true when it is time to send the request to the next worker. False: `tries`
    /// knows what the client gets.
    pub(super) async fn once_more(
        &self,
        tries: &mut Tries,
        (chosen, failed): (Chosen, Box<Failed>),
        call: &Call<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let Chosen { lane, .. } = chosen;
        let again = failed.again(tries.replayed);
        let Failed { reached, whole, blamed, last, .. } = *failed;
        tries.now = self.clock.refresh();
        tries.keep(last);
        tries.blamed |= blamed;
        let worker = &lane.worker;
        if again != Again::PassOver {
            tries.sent += 1;
        }
        if !whole {
            return false;
        }
        match again {
            Again::Never => return false,
            Again::PassOver => self.leave_alone(tries, worker),
            Again::Replay => {
                tries.fresh = true;
                // Whoever took nothing is well; whoever broke off may be on its way out.
                if reached == Reached::MaybeSent {
                    tries.replayed = true;
                    tries.asked.ask_last(&worker.address);
                }
            }
            Again::Retry { same, pause } => {
                if same {
                    tries.asked.ask_last(&worker.address);
                } else {
                    tries.asked.bar(&worker.address);
                }
                if !self.may_retry(tries, outcome) {
                    return false;
                }
                if pause {
                    self.pause(tries, call.until).await;
                }
            }
        }
        // The next worker would be given no time, and be blamed for that.
        call.until.is_none_or(|until| until > Instant::from_std(tries.now.instant()))
    }

    /// Goes on to another worker from one that took no connection.
    pub(super) fn pass_over(&self, tries: &mut Tries, worker: &Worker, last: Refusal) {
        tries.now = self.clock.refresh();
        tries.keep(Err(last));
        self.leave_alone(tries, worker);
    }

    /// Leaves a worker alone that took no connection, for this request and for a while.
    fn leave_alone(&self, tries: &mut Tries, worker: &Worker) {
        self.workers.connect_failed(worker, tries.now);
        tries.blamed = true;
        tries.asked.bar(&worker.address);
    }

    fn may_retry(&self, tries: &Tries, outcome: &mut Outcome) -> bool {
        let members = &self.workers.load().members;
        if tries.sent >= self.retries.attempts
            || members.iter().all(|member| tries.bars(&member.worker.address))
        {
            return false;
        }
        let mut budget = self.budget.get();
        let granted = budget.take();
        self.budget.set(budget);
        if !granted {
            outcome.retry_denied();
        }
        granted
    }

    async fn pause(&self, tries: &mut Tries, until: Option<Instant>) {
        let pause = retry::pause(tries.sent, fastrand::f64());
        let end = Instant::from_std(tries.now.instant()) + pause;
        sleep_until(until.map_or(end, |until| end.min(until))).await;
        tries.now = self.clock.refresh();
    }

    /// The answer that the client gets: what becomes of it is told of the service.
    pub(super) fn decided(&self, response: &Response<Answer>, group: CallerGroup) {
        let status = response.head.status;
        match &response.body {
            Answer::Worker(streaming) => streaming.active().decides(verdict::of_service(status, None), group),
            Answer::Shared(streaming) => {
                let grpc = crate::refusal::grpc::told(&response.head.fields);
                streaming.active().decides(verdict::of_service(status, grpc), group);
            }
            Answer::Switched(side) => side.active().decides(verdict::of_service(status, None), group),
            Answer::Own(_) | Answer::Came(_) => match verdict::of_service(status, None) {
                verdict::Verdict::Good => self.workers.requests.of(self.shard).of(group).good.add(1),
                verdict::Verdict::Bad => self.workers.requests.of(self.shard).of(group).bad.add(1),
            },
        }
    }

    /// No worker answered: that is told of the service if any of them was to `blame`.
    pub(super) fn gave_up(&self, refusal: &Refusal, blame: bool, group: CallerGroup) {
        if refusal.reason.whose() == Whose::Worker && blame {
            self.workers.requests.of(self.shard).of(group).bad.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Reason;

    fn worker(port: u16) -> Endpoint {
        std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()
    }

    #[test]
    fn who_is_barred_never_comes_again_and_who_was_asked_comes_last() {
        let mut tries = Tries::begin(Moment::at(1));
        assert!(tries.is_first() && !tries.may_come_again());
        tries.asked.ask_last(&worker(1));
        tries.asked.ask_last(&worker(1));
        tries.asked.bar(&worker(2));
        assert_eq!(tries.not_first().len(), 2);
        assert_eq!(tries.barred(), [worker(2)]);
        assert!(tries.may_come_again() && !tries.is_first());
        tries.asked.bar(&worker(1));
        tries.asked.bar(&worker(1));
        assert_eq!(tries.barred(), [worker(2), worker(1)]);
        assert!(!tries.may_come_again());
    }

    #[test]
    fn a_workers_own_words_are_kept_and_the_last_of_ours() {
        let refused = |detail| Err(Refusal::new(Reason::WorkerReset, detail));
        let mut tries = Tries::begin(Moment::at(1));
        tries.keep(refused("first"));
        tries.keep(refused("second"));
        assert!(matches!(&tries.last, Some(Err(refusal)) if refusal.detail == "second"));
        tries.keep(Ok(Response::new(http::StatusCode::OK, Answer::Own(None))));
        tries.keep(refused("third"));
        assert!(tries.into_last().is_ok());
    }
}
