//! One running service: its rules, its workers, its counts. [`Service`] is shared by all shards and built anew by a
//! reload, inheriting what must live on; a [`Desk`] is the service as one shard serves it; a [`Place`] is where a
//! shard's connections find the desk of the moment.

mod timer_wheel;

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;

use self::timer_wheel::TimerWheel;
use crate::admit::caller::CallerBook;
use crate::admit::capacity::{Capacity, Entrance};
use crate::admit::ledger::Ledger;
use crate::admit::limit::LimitBook;
use crate::admit::permission::RuleBook;
use crate::clock::{Moment, ShardClock};
use crate::config;
use crate::forward::Route;
use crate::forward::pool::ConnectionBound;
use crate::record::Scribe;
use crate::record::access_log::ShardLog;
use crate::record::counts::ServiceCounts;
use crate::shard::ShardId;
use crate::tls::TlsTerms;
use crate::workers::{Terms, Workers};

/// One service under one configuration, for all shards.
#[derive(Debug)]
pub struct Service {
    /// What the file says.
    pub config: Arc<config::Service>,
    /// On what terms TLS is spoken. None: it is not.
    pub tls: Option<Arc<TlsTerms>>,
    /// Who callers are.
    pub callers: Arc<CallerBook>,
    /// What they may do.
    pub rules: RuleBook,
    /// What they may use.
    pub limits: LimitBook,
    /// How many requests may be in progress.
    pub capacity: Arc<Capacity>,
    /// Where requests go.
    pub workers: Arc<Workers>,
    /// What happened.
    pub counts: Arc<ServiceCounts>,
    open: Arc<ConnectionBound>,
}

impl Service {
    /// Builds a service. What must outlive a reload comes from `before`, the same service as it runs now: counts,
    /// places in use, open connections, and the workers with their health; `tls` has been built so too. Quotas live
    /// in the `ledger`, which is handed on as well.
    pub fn new(
        (config, tls): (&Arc<config::Service>, Option<Arc<TlsTerms>>),
        callers: &Arc<CallerBook>,
        ledger: &Arc<Ledger>,
        shards: usize,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let limits = before.map(|before| &before.limits);
        let limits = LimitBook::after(limits, config, callers.callers(), Arc::clone(ledger));
        let workers = before
            .filter(|before| inherits_workers(&before.config.workers, &config.workers))
            .map_or_else(|| Workers::new(shards), |before| Arc::clone(&before.workers));
        workers.adopt(Terms::of(config));
        let capacity = before.map_or_else(Arc::default, |before| Arc::clone(&before.capacity));
        capacity.adopt(config.capacity.concurrent, config.capacity.wait);
        let counts = before.map_or_else(|| ServiceCounts::new(shards), |before| Arc::clone(&before.counts));
        let open = before.map_or_else(Arc::default, |before| Arc::clone(&before.open));
        Arc::new(Self {
            config: Arc::clone(config),
            tls,
            callers: Arc::clone(callers),
            rules: RuleBook::new(config),
            limits,
            capacity,
            workers,
            counts,
            open,
        })
    }
}

/// Whether the set of workers goes on: two lists do (workers that stay keep their health), and the same name in DNS.
fn inherits_workers(before: &config::WorkerSource, now: &config::WorkerSource) -> bool {
    use config::WorkerSource::{List, Srv};
    match (before, now) {
        (List(_), List(_)) => true,
        (Srv(before), Srv(now)) => before == now,
        _ => false,
    }
}

/// A service as one shard serves it.
#[derive(Debug)]
pub struct Desk {
    /// The service.
    pub service: Arc<Service>,
    /// The way to its places.
    pub entrance: Rc<Entrance>,
    /// The way to its workers.
    pub route: Route,
    /// Who writes down what happens.
    pub scribe: Rc<Scribe>,
}

impl Desk {
    /// A desk for `service`; `before` is the one that it replaces, whose worker connections it keeps.
    pub fn new(
        service: Arc<Service>,
        (shard, clock): (ShardId, &Rc<ShardClock>),
        log: Option<Rc<ShardLog>>,
        before: Option<&Self>,
    ) -> Rc<Self> {
        let before = before.map(|before| &before.route);
        let route = Route::new(
            Arc::clone(&service.workers),
            Arc::clone(&service.open),
            &service.config,
            (shard, Rc::clone(clock)),
            before,
        );
        let entrance = Entrance::new(&service.capacity);
        let counts = Arc::clone(&service.counts);
        let scribe = Scribe::new(&service.config.name, counts, shard, service.callers.callers(), log);
        Rc::new(Self { service, entrance, route, scribe })
    }
}

/// Where the connections of one service on one shard find its desk, the time, and whether to leave.
#[derive(Debug)]
pub struct Place {
    desk: RefCell<Rc<Desk>>,
    clock: Rc<ShardClock>,
    draining: Cell<bool>,
    drain: Notify,
    waiting: RefCell<TimerWheel>,
}

impl Place {
    /// A place with this desk.
    pub fn new(desk: Rc<Desk>, clock: Rc<ShardClock>) -> Rc<Self> {
        let (draining, drain) = (Cell::new(false), Notify::new());
        let waiting = RefCell::new(TimerWheel::new());
        Rc::new(Self { desk: RefCell::new(desk), clock, draining, drain, waiting })
    }

    /// The desk of the moment. A request takes it once and stays with it.
    pub fn desk(&self) -> Ref<'_, Rc<Desk>> {
        self.desk.borrow()
    }

    /// A reload: from the next request on, this desk serves.
    pub fn replace(&self, desk: Rc<Desk>) {
        *self.desk.borrow_mut() = desk;
    }

    /// The shard's clock.
    pub fn clock(&self) -> &ShardClock {
        &self.clock
    }

    /// Asks every connection to leave after its present request.
    pub fn drain(&self) {
        self.draining.set(true);
        self.drain.notify_waiters();
        self.waiting.borrow().wake_all();
    }

    /// Whether connections are to leave.
    pub const fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Has this task woken when connections are to leave, and when it asks for it: less than a wait and a timer take,
    /// where thousands wait.
    pub fn wake_call(self: &Rc<Self>, waker: &Waker) -> WakeCall {
        let number = self.waiting.borrow_mut().add(waker.clone());
        WakeCall { place: Rc::clone(self), number }
    }

    /// Wakes the tasks whose time has come: the shard does it with each tick.
    pub fn turn(&self, now: Moment) {
        self.waiting.borrow_mut().turn(now);
    }

    /// Waits until connections are to leave.
    pub async fn drain_begins(&self) {
        while !self.draining.get() {
            self.drain.notified().await;
        }
    }
}

/// A task that is woken when its place drains, and when it asked for it; no more once this is dropped.
#[derive(Debug)]
pub struct WakeCall {
    place: Rc<Place>,
    number: u32,
}

impl WakeCall {
    /// Wakes the task once at `at`, nanoseconds of [`Moment`]: not before that, and as a rule at most 0.2 s after it (a
    /// step of the wheel and a tick of the shard). While the shard works on a new plan it does not tick: then as much
    /// later as that takes. If `at` is more than 100 s away, earlier, to be asked again. It replaces what was asked
    /// before.
    pub fn at(&self, at: u64) {
        self.place.waiting.borrow_mut().set(self.number, at, self.place.clock.now());
    }

    /// Has the task woken at no time.
    pub fn cancel(&self) {
        self.place.waiting.borrow_mut().unset(self.number);
    }
}

impl Drop for WakeCall {
    fn drop(&mut self) {
        // It goes after the borrow: with it may go its task.
        let waker = self.place.waiting.borrow_mut().remove(self.number);
        drop(waker);
    }
}
