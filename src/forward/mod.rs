//! Forwarding: one attempt after another under one deadline, until a worker's answer has begun or nothing is left to
//! try. Who may be forwarded is decided above; who gets it, by `balance`; what it sends back streams as an [`Answer`].

mod active;
mod alarm;
pub mod answer;
pub mod budget;
mod choice;
pub mod early;
mod exchange;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod pace;
pub mod pool;
pub mod proxy_header;
mod refused;
pub mod retry;
pub mod seen;
pub mod source;
mod tries;
pub mod tunnel;
pub mod upgrade;
pub mod upload;
mod verdict;
pub mod websocket;
pub mod whole;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tokio::time::Instant;

use crate::balance::Picker;
use crate::clock::{Moment, ShardClock};
use crate::config::{Balance, Bounds, Retries, Timeouts, WorkerProtocol};
use crate::message::{Request, Response};
use crate::record::Outcome;
use crate::refusal::Refusal;
use crate::shard::ShardId;
use crate::workers::{CallerGroup, WorkerSet, Workers};
use active::{Active, Fair};
pub use answer::Answer;
use budget::Budget;
pub use choice::Reserved;
use early::Early;
use http1::{Heads, unasked, withheld};
use pool::{ConnectFailure, ConnectTerms, ConnectionBound, EveryLane, Lanes};
use proxy_header::Spoken;
use refused::not_connected;
use tries::Tries;
use upgrade::Wish;
use upload::Upload;

/// Workers tried for one request, and connections tried at one worker that turn out to be dead: after so many failures
/// the last one is the answer.
pub const ATTEMPTS_MAX: u32 = 16;

/// The way from one shard to the workers of one service.
#[derive(Debug)]
pub struct Route {
    workers: Arc<Workers>,
    picker: RefCell<Picker>,
    lanes: RefCell<(Arc<WorkerSet>, Lanes)>,
    /// Those, and all others that are still in use.
    every_lane: Rc<EveryLane>,
    open: Arc<ConnectionBound>,
    timeouts: Timeouts,
    bounds: Bounds,
    heads: Heads,
    retries: Retries,
    /// What is left of `retries.budget` on this shard.
    budget: Cell<Budget>,
    /// `capacity.wait`: how long a request may wait for a place at a worker.
    wait: Duration,
    deadline_header: Option<HeaderName>,
    /// Whether what a worker answers, and when, says something of it: not with `balance: ring`.
    tells_answers: bool,
    /// `workers.send_proxy_protocol`.
    tells: bool,
    protocol: WorkerProtocol,
    shard: ShardId,
    clock: Rc<ShardClock>,
}

/// A request ready to be sent.
type Order = Request<Upload>;

/// What a request asks of its way beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// When all must be over, answer and all.
    pub until: Option<Instant>,
    /// The same, if it is the client's own word (`grpc-timeout`): no worker is blamed for what it did not do by then.
    pub haste: Option<Instant>,
    /// What `balance: ring` goes by: the same for the same caller or header, on every start. 0 where nothing asks.
    pub key: u64,
    /// The caller's group, in which its outcome is counted.
    pub group: CallerGroup,
    /// Where interim answers go. None for a client that cannot take them.
    pub early: Option<&'a Early>,
    /// Whose it is, for workers that are told.
    pub spoken: Spoken,
    /// What the request asks to go on with; an answer that agrees becomes [`Answer::Switched`].
    pub upgrade: Option<&'a Wish>,
}

impl Call<'_> {
    /// Who is to blame for the end of its time.
    fn fair(&self, outcome: &Outcome) -> Fair {
        Fair::new(outcome.begun(), self.until, self.haste.is_some())
    }
}

impl Route {
    /// A route over these workers. Connections of `before`, the route that this one replaces, are kept, and so is what
    /// is left of its budget.
    pub fn new(
        workers: Arc<Workers>,
        open: Arc<ConnectionBound>,
        config: &crate::config::Service,
        (shard, clock): (ShardId, Rc<ShardClock>),
        before: Option<&Self>,
    ) -> Self {
        let picker = Picker::new(fastrand::u64(..), &config.balance);
        let lanes =
            before.map_or_else(|| (Arc::default(), Lanes::new()), |before| before.lanes.borrow().clone());
        let budget = Budget::new(config.retries.budget);
        let budget = before.map_or(budget, |before| budget.after(before.budget.get()));
        Self {
            workers,
            picker: RefCell::new(picker),
            lanes: RefCell::new(lanes),
            every_lane: before.map_or_else(Rc::default, |before| Rc::clone(&before.every_lane)),
            open,
            timeouts: config.timeouts,
            bounds: config.bounds,
            heads: Heads::new(config.bounds.response_head_bytes),
            retries: config.retries.clone(),
            budget: Cell::new(budget),
            wait: config.capacity.wait,
            deadline_header: config.deadline_header.clone(),
            tells_answers: !matches!(config.balance, Balance::Ring(_)),
            tells: config.send_proxy_protocol,
            protocol: config.worker_protocol,
            shard,
            clock,
        }
    }

    /// The connections' bound, to be kept over a reload.
    pub fn bound(&self) -> Arc<ConnectionBound> {
        Arc::clone(&self.open)
    }

    /// Closes idle connections whose time is over. Called once a second.
    pub fn sweep(&self, now: Moment) {
        self.every_lane.sweep(now);
    }

    /// Sends the request to a worker, the first time to the one that was `reserved`, and returns its answer once the
    /// head is there.
    ///
    /// # Errors
    /// The refusal that the client gets: 502, 503 or 504, or what was wrong with the client's own body.
    pub async fn send(
        &self,
        order: &mut Order,
        mut reserved: Reserved,
        call: &Call<'_>,
        outcome: &mut Outcome,
    ) -> Result<Response<Answer>, Refusal> {
        self.earn_retries();
        let mut tries = Tries::begin(outcome.begun().plus(outcome.has_queued()));
        for _ in 0..ATTEMPTS_MAX {
            let chosen = match reserved.take() {
                Some(chosen) => Some(chosen),
                None => self.next(&mut tries, (call.key, call.until), outcome).await,
            };
            let Some(mut chosen) = chosen else { break };
            outcome.attempt(&chosen.lane.worker.name, chosen.priority);
            let asking = (&tries, call);
            let attempt = match self.protocol {
                WorkerProtocol::Http1 => self.attempt_http1(&mut chosen, order, asking, outcome).await,
                WorkerProtocol::Http2 => {
                    Box::pin(self.attempt_http2(&mut chosen, order, asking, outcome)).await
                }
            };
            let failed = match attempt {
                Ok(answer) => {
                    self.decided(&answer, call.group);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            // In a box: failures are rare, and what follows from them would make every request's state larger.
            if !Box::pin(self.once_more(&mut tries, (chosen, failed), call, outcome)).await {
                break;
            }
        }
        let blamed = tries.is_any_blamed();
        match tries.into_last() {
            Ok(answer) => {
                self.decided(&answer, call.group);
                Ok(answer)
            }
            Err(refusal) => {
                self.gave_up(&refusal, blamed, call.group);
                Err(refusal)
            }
        }
    }

    fn earn_retries(&self) {
        let mut budget = self.budget.get();
        budget.request();
        self.budget.set(budget);
    }

    /// What a new connection is held to.
    fn terms(&self, spoken: Option<Spoken>) -> ConnectTerms {
        ConnectTerms { timeout: self.timeouts.connect, most: self.bounds.worker_connections, spoken }
    }

    /// Writes how much time is left, for the worker that is about to get the request.
    fn tell_deadline(&self, order: &mut Order, until: Option<Instant>) {
        if let Some(name) = &self.deadline_header {
            headers::tell_deadline(&mut order.head.fields, name.as_str(), until, self.clock.now());
        }
    }

    fn make_room(&self) -> bool {
        self.every_lane.close_one()
    }
}

/// Waits for a connection, from `begun` on, no longer than the request may take. If that ends first and the worker had
/// little of it, it is not to blame.
async fn in_time<T, E: From<ConnectFailure>>(
    (fair, begun): (Fair, Moment),
    connecting: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(until) = fair.until else { return connecting.await };
    match tokio::time::timeout_at(until, connecting).await {
        Ok(connected) => connected,
        Err(_) if fair.excuses(Moment::read().since(begun)) => Err(ConnectFailure::OutOfTime.into()),
        Err(_) => Err(ConnectFailure::TimedOut.into()),
    }
}
