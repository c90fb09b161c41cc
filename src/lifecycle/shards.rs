//! The shards: one thread each with a runtime of its own, that listens, serves and keeps time. Control tells them
//! what to serve; they tell it when it is done. Nothing of a request crosses from one to another.

use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::ProcessState;
use crate::clock::{Moment, ShardClock};
use crate::config::ServiceName;
use crate::listen::accept::{Open, Owner, accept};
use crate::listen::listener::{Bound, Listener};
use crate::record::access_log::{AccessLog, ShardLog};
use crate::service::{Desk, Place, Service};
use crate::shard::ShardId;

/// How often a shard reads its clock, hands over its log lines, and wakes those whose time has come.
const TICK: Duration = Duration::from_millis(100);
/// Every so many ticks, idle worker connections are looked through.
const SWEEP_TICKS: u64 = 10;
/// How long a shard works on a new plan before requests have their turn.
const SLICE: Duration = Duration::from_millis(1);
/// Commands that may wait for a shard; control sends one at a time and waits for it.
const COMMANDS: usize = 4;

/// One service as a shard is to serve it.
pub(super) struct Assignment {
    pub(super) service: Arc<Service>,
    pub(super) listens: Listens,
}

/// Where a service's listener comes from.
pub(super) enum Listens {
    /// It is open already: this service's, if it keeps its port, or that of another, which has given up the port.
    As(ServiceName),
    /// It is new.
    New(Bound),
}

/// Everything a shard is to serve from now on; what is not named any more is drained.
pub(super) struct Plan {
    pub(super) services: Vec<Assignment>,
    pub(super) access_log: Option<Arc<AccessLog>>,
    /// Told when the shard serves by this plan.
    pub(super) done: oneshot::Sender<()>,
}

enum Command {
    Serve(Plan),
    /// Close the listeners, ask connections to leave, and end when the last is gone.
    Drain,
}

/// A running shard, as control sees it.
pub(super) struct Shard {
    commands: mpsc::Sender<Command>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Shard {
    /// Starts a shard's thread.
    pub(super) fn start(id: ShardId, state: Arc<ProcessState>) -> io::Result<Self> {
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (ending, ended) = oneshot::channel();
        let runtime_failed = Arc::clone(&state);
        let thread = std::thread::Builder::new().name(format!("shard-{}", id.0)).spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    runtime.block_on(run(id, orders, state));
                    // Connections that outlived the grace time end here, with the runtime.
                    drop(runtime);
                }
                Err(error) => {
                    runtime_failed.counts.panicked();
                    tracing::error!(%error, shard = id.0, "a shard's runtime cannot start");
                }
            }
            let _ = ending.send(());
        })?;
        Ok(Self { commands, ended, thread })
    }

    /// Has the shard serve by this plan.
    ///
    /// # Errors
    /// The shard's thread has ended.
    pub(super) async fn serve(&self, plan: Plan) -> Result<(), &'static str> {
        self.commands.send(Command::Serve(plan)).await.map_err(|_| "a shard has ended")
    }

    /// Asks the shard to drain.
    pub(super) async fn drain(&self) {
        // A shard that has ended has drained.
        let _ = self.commands.send(Command::Drain).await;
    }

    /// Waits until the shard has drained, which ends it.
    pub(super) async fn drained(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Ends the shard with whatever it still serves, and waits for that.
    pub(super) async fn end(self) {
        // Without control, a shard ends.
        drop(self.commands);
        if !self.ended.is_terminated() {
            let _ = self.ended.await;
        }
        if self.thread.join().is_err() {
            tracing::error!("a shard panicked");
        }
    }
}

/// What a shard holds while it runs.
struct Hall {
    id: ShardId,
    state: Arc<ProcessState>,
    clock: Rc<ShardClock>,
    open: Rc<Open>,
    posts: HashMap<ServiceName, Post>,
    log: Option<(Arc<AccessLog>, Rc<ShardLog>)>,
    /// Ends of logs that a reload replaced; requests and connections from before still write to them.
    earlier_logs: Vec<Weak<ShardLog>>,
    /// Places that drain, for as long as a connection or a tunnel of theirs is left.
    leaving: Vec<Weak<Place>>,
}

/// One service on this shard.
struct Post {
    place: Rc<Place>,
    listening: Listening,
}

/// An open listener. Dropping this closes it.
struct Listening {
    owner: Rc<Owner>,
    _open: oneshot::Sender<()>,
}

/// A part of a long work.
struct Slice {
    clock: Rc<ShardClock>,
    begun: Moment,
}

impl Slice {
    /// Lets the others have their turn, if this part took its time.
    async fn rest_if_due(&mut self) {
        if self.clock.refresh().since(self.begun) >= SLICE {
            tokio::task::yield_now().await;
            self.begun = self.clock.refresh();
        }
    }
}

async fn run(id: ShardId, mut orders: mpsc::Receiver<Command>, state: Arc<ProcessState>) {
    let (clock, open) = (ShardClock::new(), Open::new());
    let (posts, earlier_logs, leaving) = (HashMap::new(), Vec::new(), Vec::new());
    let mut hall = Hall { id, state, clock, open, posts, log: None, earlier_logs, leaving };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tick = 0_u64;
    let mut draining = false;
    loop {
        let open = Rc::clone(&hall.open);
        tokio::select! {
            command = orders.recv() => match command {
                Some(Command::Serve(plan)) => hall.serve(plan).await,
                Some(Command::Drain) => {
                    hall.drain();
                    draining = true;
                }
                // Control is gone: the process ends.
                None => break,
            },
            _ = ticks.tick() => {
                tick += 1;
                hall.tick(tick.is_multiple_of(SWEEP_TICKS));
            }
            // Yield first: the listeners closed by a drain still take what the kernel had accepted.
            () = async { tokio::task::yield_now().await; open.none().await }, if draining => break,
        }
    }
    hall.tick(false);
}

impl Hall {
    /// In slices: with very many services, requests go on between them. A service changes as a whole.
    async fn serve(&mut self, plan: Plan) {
        self.take_log(plan.access_log);
        let log = self.log.as_ref().map(|(_, log)| Rc::clone(log));
        let (mut places, mut open) = (HashMap::new(), HashMap::new());
        for (name, post) in self.posts.drain() {
            places.insert(name.clone(), post.place);
            open.insert(name, post.listening);
        }
        let mut slice = self.slice();
        for Assignment { service, listens } in plan.services {
            slice.rest_if_due().await;
            let name = service.config.name.clone();
            let before = places.remove(&name);
            let desk = {
                let old = before.as_ref().map(|place| Rc::clone(&place.desk()));
                Desk::new(service, (self.id, &self.clock), log.clone(), old.as_deref())
            };
            let place = match before {
                Some(place) => {
                    place.replace(desk);
                    place
                }
                None => Place::new(desk, Rc::clone(&self.clock)),
            };
            let listening = match listens {
                Listens::As(whose) => open.remove(&whose),
                Listens::New(listener) => Some(self.listen(listener, &place)),
            };
            let Some(listening) = listening else {
                self.see_off(&place);
                continue;
            };
            listening.owner.change(Rc::clone(&place));
            self.posts.insert(name, Post { place, listening });
        }
        // Listeners that nobody took close here.
        for left in open.into_values() {
            slice.rest_if_due().await;
            drop(left);
        }
        for place in places.into_values() {
            slice.rest_if_due().await;
            self.see_off(&place);
        }
        let _ = plan.done.send(());
    }

    fn slice(&self) -> Slice {
        Slice { clock: Rc::clone(&self.clock), begun: self.clock.refresh() }
    }

    fn take_log(&mut self, log: Option<Arc<AccessLog>>) {
        let same = match (&self.log, &log) {
            (Some((old, _)), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            if let Some((_, old)) = &self.log {
                old.flush();
                self.earlier_logs.push(Rc::downgrade(old));
            }
            self.log = log.map(|log| (Arc::clone(&log), log.shard()));
        }
    }

    fn listen(&self, listener: Bound, place: &Rc<Place>) -> Listening {
        let (open, stop) = oneshot::channel();
        let owner = Owner::new(Rc::clone(place));
        match Listener::new(listener) {
            Ok(listener) => {
                let counts = Arc::clone(&self.state.counts);
                let accepting = accept(listener, Rc::clone(&owner), Rc::clone(&self.open), counts, stop);
                tokio::task::spawn_local(accepting);
            }
            Err(error) => tracing::error!(%error, shard = self.id.0, "a listener cannot be used"),
        }
        Listening { owner, _open: open }
    }

    fn drain(&mut self) {
        for post in std::mem::take(&mut self.posts).into_values() {
            self.see_off(&post.place);
            drop(post.listening);
        }
    }

    /// Asks the connections of a place to leave. Until the last has left, connections to its workers that are idle are
    /// still looked through: one long tunnel must not keep them all.
    fn see_off(&mut self, place: &Rc<Place>) {
        place.drain();
        self.leaving.push(Rc::downgrade(place));
    }

    fn tick(&mut self, sweep: bool) {
        let now = self.clock.refresh();
        if let Some((_, log)) = &self.log {
            log.flush();
        }
        self.earlier_logs.retain(|log| log.upgrade().inspect(|log| log.flush()).is_some());
        for post in self.posts.values() {
            post.place.turn(now);
            if sweep {
                post.place.desk().route.sweep(now);
            }
        }
        if sweep {
            self.leaving
                .retain(|place| place.upgrade().inspect(|place| place.desk().route.sweep(now)).is_some());
        }
    }
}
