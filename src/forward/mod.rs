//! Forwarding: one attempt after another under one deadline, until a worker's answer has begun or nothing is left to
//! try. Who may be forwarded is decided above; who gets it, by `balance`; what it sends back streams as an [`Answer`].

mod active;
mod alarm;
pub mod answer;
mod choice;
pub mod early;
mod exchange;
pub mod headers;
pub mod http2;
pub mod pace;
pub mod pool;
pub mod proxy_header;
mod refused;
pub mod retry;
pub mod source;
pub mod tunnel;
pub mod upgrade;
pub mod upload;
mod wake;
pub mod websocket;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::balance::Picker;
use crate::clock::{Moment, ShardClock};
use crate::config::{Bounds, Endpoint, Timeouts, WorkerProtocol};
use crate::record::Outcome;
use crate::refusal::{Reason, Refusal};
use crate::shard::ShardId;
use crate::workers::{WorkerSet, Workers};
use active::Active;
pub use answer::Answer;
use answer::{Silence, Streaming};
use early::Early;
use exchange::{Broken, Patience, exchange};
use pool::{ConnectFailure, ConnectTerms, ConnectionBound, Lane, Lanes, Link};
use proxy_header::Spoken;
use refused::{beside_the_worker, no_workers, not_connected};
use retry::{Attempted, Reached, again};
use upgrade::Wish;
use upload::{Upload, UploadWatch};

/// Workers tried for one request, and connections tried at one worker that turn out to be dead: after so many failures
/// the last one is the answer.
pub const ATTEMPTS_MAX: u32 = 16;

/// The way from one shard to the workers of one service.
#[derive(Debug)]
pub struct Route {
    workers: Arc<Workers>,
    picker: RefCell<Picker>,
    lanes: RefCell<(Arc<WorkerSet>, Lanes)>,
    open: Arc<ConnectionBound>,
    timeouts: Timeouts,
    bounds: Bounds,
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
    /// Where interim answers go. None for a client that cannot take them.
    pub early: Option<&'a Early>,
    /// Whose it is, for workers that are told.
    pub spoken: Spoken,
    /// What the request asks to go on with; an answer that agrees becomes [`Answer::Switched`].
    pub upgrade: Option<&'a Wish>,
}

impl Route {
    /// A route over these workers. Connections of `before`, the route that this one replaces, are kept.
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
        Self {
            workers,
            picker: RefCell::new(picker),
            lanes: RefCell::new(lanes),
            open,
            timeouts: config.timeouts,
            bounds: config.bounds,
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
        for lane in &self.lanes.borrow().1 {
            lane.sweep(now);
        }
    }

    /// Sends the request to a worker and returns its answer once the head is there.
    ///
    /// # Errors
    /// The refusal that the client gets: 502, 503 or 504, or what was wrong with the client's own body.
    pub async fn send(
        &self,
        mut order: Order,
        call: Call<'_>,
        outcome: &mut Outcome,
    ) -> Result<Response<Answer>, Refusal> {
        if self.protocol == WorkerProtocol::Http2 {
            return Box::pin(self.send_http2(order, call, outcome)).await;
        }
        let until = call.until;
        let spoken = self.tells.then_some(call.spoken);
        let mut tried: Vec<Endpoint> = Vec::new();
        let mut last = no_workers();
        let mut fresh = false;
        let mut now = outcome.begun();
        for _ in 0..ATTEMPTS_MAX {
            let Some((lane, priority, _held)) = self.choose(now, &tried, call.key) else { break };
            outcome.attempt(&lane.worker.name, priority);
            let idle = if fresh { None } else { lane.idle(now, spoken).await };
            let link = match idle {
                Some(link) => link,
                // In a box: connecting is rare, and its state would make every request's larger.
                None => match Box::pin(self.connect(&lane, spoken, call)).await {
                    Ok(link) => {
                        outcome.connected(Moment::read().since(now));
                        link
                    }
                    Err(failure) => {
                        if let Some(refusal) = beside_the_worker(&failure) {
                            return Err(refusal);
                        }
                        now = Moment::read();
                        last = not_connected(&failure);
                        self.pass_over(&lane, now, &mut tried);
                        // The next worker would be given no time, and be blamed for that.
                        if until.is_some_and(|until| until <= Instant::from_std(now.instant())) {
                            break;
                        }
                        continue;
                    }
                },
            };
            let reused = link.reused();
            match self.attempt(&lane, link, order, call).await {
                Ok(answer) => {
                    if outcome.is_logged() {
                        outcome.first_byte(Moment::read());
                    }
                    self.workers.connected(&lane.worker, self.clock.now());
                    return Ok(answer);
                }
                Err(Failed { order: Some(back), refusal }) => {
                    // It came back from a connection that was dead: the same worker may well take it on a new one. If
                    // it was a new one, that is as good as refused.
                    (order, fresh, last) = (back, true, refusal);
                    now = Moment::read();
                    if !reused {
                        self.pass_over(&lane, now, &mut tried);
                    }
                }
                Err(Failed { refusal, .. }) => return Err(refusal),
            }
        }
        Err(last)
    }

    /// What a new connection is held to.
    fn terms(&self, spoken: Option<Spoken>) -> ConnectTerms {
        ConnectTerms {
            timeout: self.timeouts.connect,
            response_head_bytes: self.bounds.response_head_bytes,
            most: self.bounds.worker_connections,
            spoken,
        }
    }

    /// Leaves a worker alone that took no connection, for this request and for a while.
    fn pass_over(&self, lane: &Lane, now: Moment, tried: &mut Vec<Endpoint>) {
        self.workers.connect_failed(&lane.worker, now);
        tried.push(lane.worker.address.clone());
    }

    async fn connect(
        &self,
        lane: &Lane,
        spoken: Option<Spoken>,
        call: Call<'_>,
    ) -> Result<Link, ConnectFailure> {
        let terms = self.terms(spoken);
        match in_time(call, lane.connect(&self.open, terms)).await {
            // All may be in use, or some idle at other workers: one of those makes room.
            Err(ConnectFailure::Bound) if self.make_room() => {
                in_time(call, lane.connect(&self.open, terms)).await
            }
            connected => {
                if connected.is_ok() {
                    self.workers.connected(&lane.worker, Moment::read());
                }
                connected
            }
        }
    }

    fn make_room(&self) -> bool {
        self.lanes.borrow().1.iter().any(|lane| lane.close_one())
    }

    /// One attempt over one connection.
    async fn attempt(
        &self,
        lane: &Rc<Lane>,
        mut link: Link,
        mut order: Order,
        call: Call<'_>,
    ) -> Result<Response<Answer>, Failed> {
        let until = call.until;
        let active = Active::begin(lane, self, call.haste);
        let reused = link.reused();
        let upload = order.body().watch();
        let repeatable = headers::idempotent(order.method()) && order.body().is_none();
        // hyper takes the head apart as it writes it, so what may have to be sent again is copied first.
        let spare = (reused && repeatable).then(|| copy(&order));
        exchange::notice_early(&mut order, call.early);
        let patience = Patience { from: self.clock.now(), response: self.timeouts.response, until };
        let (reached, back, refusal) = match exchange(&mut link, order, &upload, patience).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return tunnel::switch(link, response, active, call.upgrade).await;
            }
            Ok(response) => return self.begin_answer(link, response, upload, active, until).await,
            Err(Broken::Unsent(order, refusal)) => (Reached::Unsent, Some(*order), refusal),
            Err(Broken::Sent(refusal)) => (Reached::MaybeSent, spare, refusal),
            Err(Broken::TooLate(refusal)) => (Reached::TooFar, None, refusal),
        };
        if let Some(refusal) = upload.failure() {
            return Err(Failed { order: None, refusal });
        }
        active.failed();
        let may = again(Attempted { reached, reused, repeatable });
        Err(Failed { order: back.filter(|_| may), refusal })
    }

    /// Checks the head of an answer and turns the rest into an [`Answer`].
    async fn begin_answer(
        &self,
        link: Link,
        mut response: Response<Incoming>,
        upload: UploadWatch,
        active: Active,
        until: Option<Instant>,
    ) -> Result<Response<Answer>, Failed> {
        let status = response.status();
        if status.as_u16() >= 600 {
            return Err(unasked(&active));
        }
        if !headers::is_plainly_framed(response.headers()) {
            active.failed();
            let detail = "the worker's answer has a transfer coding besides `chunked`, or a list of lengths";
            return Err(Failed { order: None, refusal: Refusal::new(Reason::WorkerProtocol, detail) });
        }
        if let Some(seconds) = headers::keep_alive_timeout(response.headers()) {
            active.lane.keep_alive_said(seconds);
        }
        let version = response.version();
        headers::to_client(response.headers_mut(), status, version);
        *response.version_mut() = Version::HTTP_11;
        let silence = Silence::new(self.timeouts.idle, until);
        let (parts, body) = response.into_parts();
        let ended = http_body::Body::is_end_stream(&body);
        let mut streaming = Streaming::new(body, link, upload, active, silence);
        poll_fn(|cx| {
            if ended {
                streaming.finish(cx);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(streaming.look(cx))
        })
        .await
        .map_err(|refusal| Failed { order: None, refusal })?;
        streaming.answered(status);
        Ok(Response::from_parts(parts, Answer::Worker(Box::new(streaming))))
    }
}

fn unasked(active: &Active) -> Failed {
    active.failed();
    let detail = "the worker's status is not one that was asked for";
    Failed { order: None, refusal: Refusal::new(Reason::WorkerProtocol, detail) }
}

/// Waits for a connection no longer than the request may take. If that ends first by the client's own word, the worker
/// is not to blame: a stranger chose the time.
async fn in_time<T, E: From<ConnectFailure>>(
    call: Call<'_>,
    connecting: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(until) = call.until else { return connecting.await };
    match tokio::time::timeout_at(until, connecting).await {
        Ok(connected) => connected,
        Err(_) if call.haste.is_some() => Err(ConnectFailure::OutOfTime.into()),
        Err(_) => Err(ConnectFailure::TimedOut.into()),
    }
}

/// An attempt that failed: with the request, if it may be sent again.
struct Failed {
    order: Option<Order>,
    refusal: Refusal,
}

fn copy(order: &Order) -> Order {
    let mut copy = Request::new(Upload::none());
    *copy.method_mut() = order.method().clone();
    *copy.uri_mut() = order.uri().clone();
    *copy.headers_mut() = order.headers().clone();
    copy
}
