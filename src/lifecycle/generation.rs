//! What runs under one configuration, and how the next one takes its place: everything new is built first, and only
//! when nothing can fail any more is it swapped in. Ledgers, counts, workers' health and connections live on.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::logging::{self, Level};
use super::shards::{Assignment, Plan, Shard};
use super::{RunOptions, bind};
use crate::admin::{self, LedgerReading, Left, ProcessState, ReloadRequest, ServiceView, Token, View};
use crate::admit::caller::CallerBook;
use crate::admit::ledger::Ledger;
use crate::clock::Moment;
use crate::config::{Admin, Config, Dns, ServiceName, WorkerSource};
use crate::record::access_log::AccessLog;
use crate::service::Service;
use crate::shard::ShardId;
use crate::workers::resolver::Resolver;
use crate::workers::{Wanted, discovery};

/// Why a start or a reload failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A port cannot be bound.
    Bind(String),
    /// The configuration asks for what cannot be.
    Config(String),
    /// Anything else.
    Run(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Bind(why) | Self::Config(why) | Self::Run(why)) = self;
        f.write_str(why)
    }
}

/// The running process, as control holds it.
pub(super) struct Running {
    config: Config,
    hash: String,
    level: Level,
    shards: Vec<Shard>,
    callers: Arc<CallerBook>,
    ledger: Arc<Ledger>,
    services: BTreeMap<ServiceName, Arc<Service>>,
    access_log: Option<Arc<AccessLog>>,
    /// What asks DNS, by service.
    discoveries: HashMap<ServiceName, Asking>,
    admin: Option<Door>,
    state: Arc<ProcessState>,
}

/// The open admin listener.
struct Door {
    admin: Admin,
    desk: Arc<admin::Desk>,
    task: AbortHandle,
}

/// A running discovery; asking ends when it is dropped.
struct Asking {
    name: Arc<str>,
    task: AbortHandle,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The services of a configuration, built and bound, and not yet in use.
struct Prepared {
    callers: Arc<CallerBook>,
    services: BTreeMap<ServiceName, Arc<Service>>,
    listeners: HashMap<ServiceName, Vec<TcpListener>>,
    access_log: Option<Arc<AccessLog>>,
    resolver: Option<Arc<Resolver>>,
}

impl Running {
    /// Starts everything but the admin listener.
    ///
    /// # Errors
    /// A port is taken, a file cannot be opened, a thread cannot be started.
    pub(super) async fn start(
        config: Config,
        hash: String,
        level: Level,
        state: Arc<ProcessState>,
    ) -> Result<Self, Failure> {
        let ledger = Arc::new(Ledger::new(config.callers.max_keys));
        let prepared = prepare(&config, &ledger, None)?;
        let mut shards = Vec::new();
        for number in 0..config.threads.get() {
            let id = ShardId(u16::try_from(number).unwrap_or(u16::MAX));
            let shard = Shard::start(id, Arc::clone(&state));
            shards.push(shard.map_err(|error| Failure::Run(format!("cannot start a thread: {error}")))?);
        }
        let mut running = Self {
            config,
            hash,
            level,
            shards,
            callers: Arc::clone(&prepared.callers),
            ledger,
            services: BTreeMap::new(),
            access_log: None,
            discoveries: HashMap::new(),
            admin: None,
            state,
        };
        running.switch(prepared).await?;
        Ok(running)
    }

    /// Takes a new configuration, or fails and changes nothing.
    ///
    /// # Errors
    /// It asks for what cannot change while running, or cannot be had.
    pub(super) async fn reload(&mut self, config: Config, hash: String) -> Result<(), Failure> {
        fixed("threads", config.threads == self.config.threads)?;
        fixed("callers.ledger.max_keys", config.callers.max_keys == self.config.callers.max_keys)?;
        fixed("log.format", config.log.json == self.config.log.json)?;
        logging::filter(&config.log.level).map_err(Failure::Config)?;
        let prepared = prepare(&config, &self.ledger, Some(self))?;
        self.can_open_admin(&config)?;
        let dns_changed = config.dns != self.config.dns;
        if dns_changed {
            self.discoveries.clear();
        }
        logging::change(&self.level, &config.log).map_err(Failure::Config)?;
        (self.config, self.hash) = (config, hash);
        self.switch(prepared).await
    }

    /// Puts what was prepared to use. Nothing here can fail but a shard that is gone.
    async fn switch(&mut self, mut prepared: Prepared) -> Result<(), Failure> {
        let now = Moment::read();
        for (name, service) in &prepared.services {
            if let WorkerSource::List(list) = &service.config.workers {
                let wanted = list.iter().map(|spec| Wanted {
                    address: spec.address,
                    priority: spec.priority,
                    weight: spec.weight,
                });
                service.workers.replace(wanted.collect(), None, now);
            }
            service.counts.keep_only(&self.config.callers);
            self.ask_dns(name, service, prepared.resolver.as_ref());
        }
        self.discoveries.retain(|name, _| prepared.services.contains_key(name));
        let mut listeners: HashMap<_, _> =
            prepared.listeners.drain().map(|(name, bound)| (name, bound.into_iter())).collect();
        for shard in &self.shards {
            let services = prepared.services.iter().map(|(name, service)| Assignment {
                service: Arc::clone(service),
                listener: listeners.get_mut(name).and_then(Iterator::next),
            });
            let (done, is_done) = oneshot::channel();
            let access_log = prepared.access_log.clone();
            let plan = Plan { services: services.collect(), access_log, done };
            shard.serve(plan).await.map_err(|why| Failure::Run(why.into()))?;
            is_done.await.map_err(|_| Failure::Run("a shard has ended".into()))?;
        }
        (self.callers, self.services) = (prepared.callers, prepared.services);
        let old_log = std::mem::replace(&mut self.access_log, prepared.access_log);
        let same = match (&old_log, &self.access_log) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if let Some(old) = old_log.filter(|_| !same) {
            // It ends when the last request that writes to it has; that may take as long as a download.
            let finish =
                std::thread::Builder::new().name("old-access-log".into()).spawn(move || old.finish());
            if let Err(error) = finish {
                tracing::warn!(%error, "the old access log may lose its last lines");
            }
        }
        Ok(())
    }

    fn ask_dns(&mut self, name: &ServiceName, service: &Service, resolver: Option<&Arc<Resolver>>) {
        let (WorkerSource::Srv(srv), Some(resolver)) = (&service.config.workers, resolver) else {
            self.discoveries.remove(name);
            return;
        };
        if self.discoveries.get(name).is_some_and(|asking| asking.name == *srv) {
            return;
        }
        let ask = discovery::run(Arc::clone(srv), Arc::clone(resolver), Arc::clone(&service.workers));
        let task = tokio::task::spawn_local(ask).abort_handle();
        self.discoveries.insert(name.clone(), Asking { name: Arc::clone(srv), task });
    }

    fn can_open_admin(&self, config: &Config) -> Result<(), Failure> {
        let (Some(wanted), current) = (&config.admin, &self.admin) else { return Ok(()) };
        token(wanted)?;
        if current.as_ref().is_some_and(|open| open.admin.listen == wanted.listen) {
            return Ok(());
        }
        bind::bind(wanted.listen, 1, false)
            .map(drop)
            .map_err(|error| cannot_bind(&wanted.at, wanted.listen, &error))
    }

    /// Opens the admin listener as configured, if it is not open already; closes one that is not wanted any more.
    ///
    /// # Errors
    /// Its port is taken, or the token file cannot be read.
    pub(super) fn open_admin(
        &mut self,
        view: &Arc<ArcSwap<View>>,
        state: &Arc<ProcessState>,
        reload: &mpsc::Sender<ReloadRequest>,
    ) -> Result<(), Failure> {
        let wanted = self.config.admin.clone();
        let token = wanted.as_ref().map(token).transpose()?.flatten();
        // An open door stays open, also for whoever asked for this reload and waits for the answer.
        if let (Some(open), Some(wanted)) = (&mut self.admin, &wanted)
            && open.admin.listen == wanted.listen
        {
            open.admin = wanted.clone();
            open.desk.token.store(token.map(Arc::new));
            return Ok(());
        }
        if let Some(open) = self.admin.take() {
            open.task.abort();
        }
        let Some(admin) = wanted else { return Ok(()) };
        let bound = bind::bind(admin.listen, 1, false).ok().and_then(|mut bound| bound.pop());
        let listener = match bound.map(tokio::net::TcpListener::from_std) {
            Some(Ok(listener)) => listener,
            Some(Err(error)) => return Err(cannot_bind(&admin.at, admin.listen, &error)),
            None => {
                let error = std::io::Error::from(std::io::ErrorKind::AddrInUse);
                return Err(cannot_bind(&admin.at, admin.listen, &error));
            }
        };
        let desk = Arc::new(admin::Desk {
            view: Arc::clone(view),
            state: Arc::clone(state),
            reload: reload.clone(),
            token: ArcSwapOption::from(token.map(Arc::new)),
            listen: admin.listen,
        });
        let task = tokio::task::spawn_local(admin::serve(listener, Arc::clone(&desk))).abort_handle();
        self.admin = Some(Door { admin, desk, task });
        Ok(())
    }

    /// What the admin listener shows of this configuration.
    pub(super) fn view(&self, options: &RunOptions) -> View {
        let ledger = Arc::clone(&self.ledger);
        View {
            config_file: options.config.display().to_string(),
            config_hash: self.hash.clone(),
            callers: Arc::clone(&self.config.callers),
            services: self.services.values().map(service_view).collect(),
            ledger: Box::new(move || LedgerReading {
                keys: ledger.live_keys(Moment::read()),
                max_keys: ledger.capacity() as u64,
                evictions: ledger.evictions(),
            }),
            access_log: self.access_log.clone(),
        }
    }

    /// One line on what runs.
    pub(super) fn summary(&self) -> String {
        let named: Vec<String> =
            self.services.values().map(|s| format!("{} on {}", s.config.name, s.config.listen)).collect();
        let shown = named.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        let more = named.len().saturating_sub(8);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} threads serve {shown}{rest}", self.shards.len())
    }

    /// How long a drain may take.
    pub(super) const fn grace(&self) -> Duration {
        self.config.shutdown_grace
    }

    /// Opens the access log's file anew.
    pub(super) fn reopen_logs(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Closes the listeners, waits for requests in progress, and ends the shards. The admin listener stays to the end.
    pub(super) async fn drain(self) {
        for shard in &self.shards {
            shard.drain().await;
        }
        for shard in self.shards {
            shard.ended().await;
        }
        let in_use = self.state.phase();
        tracing::debug!(phase = in_use.word(), "all shards have ended");
        drop((self.callers, self.services));
        if let Some(log) = self.access_log {
            log.finish();
        }
    }
}

/// What cannot change while running says so, instead of being ignored.
fn fixed(key: &str, same: bool) -> Result<(), Failure> {
    if same {
        return Ok(());
    }
    Err(Failure::Config(format!("`{key}` cannot change while Buckler runs; restart it to change that")))
}

fn prepare(config: &Config, ledger: &Arc<Ledger>, before: Option<&Running>) -> Result<Prepared, Failure> {
    let now = Moment::read();
    let threads = config.threads.get();
    let callers = Arc::new(CallerBook::new(Arc::clone(&config.callers)));
    let mut services = BTreeMap::new();
    let mut listeners = HashMap::new();
    let ours: Vec<SocketAddr> =
        before.iter().flat_map(|running| running.services.values().map(|s| s.config.listen)).collect();
    for (name, wanted) in &config.services {
        let old = before.and_then(|running| running.services.get(name));
        let service = Service::new(wanted, &callers, ledger, threads, old.map(Arc::as_ref), now);
        if old.is_none_or(|old| old.config.listen != wanted.listen) {
            let bound = bind::bind(wanted.listen, threads, ours.contains(&wanted.listen));
            let bound = bound.map_err(|error| cannot_bind(&wanted.listen_at, wanted.listen, &error))?;
            listeners.insert(name.clone(), bound);
        }
        services.insert(name.clone(), service);
    }
    let access_log = match before {
        Some(running) if running.config.access_log == config.access_log => running.access_log.clone(),
        _ => AccessLog::start(&config.access_log)
            .map_err(|error| Failure::Config(format!("`access_log.path` cannot be opened: {error}")))?,
    };
    let asks = config.services.values().any(|service| matches!(service.workers, WorkerSource::Srv(_)));
    let resolver = if asks { Some(resolver(&config.dns)?) } else { None };
    Ok(Prepared { callers, services, listeners, access_log, resolver })
}

fn resolver(dns: &Dns) -> Result<Arc<Resolver>, Failure> {
    Resolver::new(dns).map(Arc::new).map_err(|why| Failure::Config(format!("`dns`: {why}")))
}

fn token(admin: &Admin) -> Result<Option<Token>, Failure> {
    admin
        .token_file
        .as_deref()
        .map(Token::read)
        .transpose()
        .map_err(|error| Failure::Config(format!("{}: the token file cannot be used: {error}", admin.at)))
}

fn cannot_bind(at: &crate::config::At, listen: SocketAddr, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program listens there: stop it, or choose another port",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    };
    Failure::Bind(format!("{at}: cannot listen on {listen}: {error}{hint}"))
}

fn service_view(service: &Arc<Service>) -> ServiceView {
    let (asked, workers) = (Arc::clone(service), Arc::clone(&service.workers));
    ServiceView {
        config: Arc::clone(&service.config),
        counts: Arc::clone(&service.counts),
        workers: Arc::clone(&service.workers),
        left: Box::new(move |name, now| left(&asked, name, now)),
        dns_failures: Box::new(move || workers.dns_failures()),
    }
}

/// What is left of a caller's quota.
fn left(service: &Service, name: &str, now: Moment) -> Option<Left> {
    let caller = service.callers.of_name(name)?;
    let rule = service.limits.own_rule(&caller, now)?;
    let standing = service.limits.peek(&caller, now);
    let in_progress = service.limits.in_progress(&caller, now);
    Some(Left {
        policy: rule.name.clone(),
        requests: standing.as_ref().map(|standing| u64::from(standing.remaining)),
        burst: standing.as_ref().map(|standing| u64::from(standing.quota)),
        in_progress: in_progress.map(|(now, _)| now),
        concurrent: in_progress.map(|(_, most)| most),
    })
}
