//! What runs under one configuration, and how the next one takes its place: everything new is built first, and only
//! when nothing can fail any more is it swapped in. Ledgers, counts, workers' health and connections live on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::certificates::{self, Watching};
use super::checks::Checks;
use super::door::{self, Behind, Door};
use super::listeners::{self, Current, Files, Listeners};
use super::logging::{self, Level};
use super::retired::Retired;
use super::shards::{Assignment, Listens, Plan, Shard};
use super::{RunOptions, shown};
use crate::admin::{LedgerReading, ProcessState, View};
use crate::admit::caller::CallerBook;
use crate::admit::ledger::Ledger;
use crate::clock::Moment;
use crate::config::{self, Config, Dns, ServiceName, WorkerSource};
use crate::record::access_log::AccessLog;
use crate::service::Service;
use crate::shard::ShardId;
use crate::workers::resolver::Resolver;
use crate::workers::{Wanted, discovery};

/// How long the shards may take to give up what they still serve at the end of the grace time, and to log it.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    checks: Checks,
    certificates: Option<Watching>,
    door: Option<Door>,
    /// The files of the Unix sockets.
    files: Files,
    state: Arc<ProcessState>,
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

/// Everything of a configuration, built and bound, and not yet in use.
struct Prepared {
    door: door::Change,
    callers: Arc<CallerBook>,
    services: BTreeMap<ServiceName, Arc<Service>>,
    listeners: Listeners,
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
    ) -> Result<(Self, door::Change), Failure> {
        let names = config.services.keys().map(ServiceName::as_str);
        let ledger = Arc::new(Ledger::for_services(config.callers.max_keys, names));
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
            checks: Checks::default(),
            certificates: None,
            door: None,
            files: Files::new(),
            state,
        };
        let door = running.switch(prepared).await?;
        Ok((running, door))
    }

    /// Takes a new configuration, or fails and changes nothing. The admin listener is the caller's to change.
    ///
    /// # Errors
    /// It asks for what cannot change while running, or cannot be had.
    pub(super) async fn reload(&mut self, config: Config, hash: String) -> Result<door::Change, Failure> {
        fixed("threads", config.threads == self.config.threads)?;
        fixed("callers.ledger.max_keys", config.callers.max_keys == self.config.callers.max_keys)?;
        fixed("log.format", config.log.json == self.config.log.json)?;
        logging::filter(&config.log.level).map_err(Failure::Config)?;
        let prepared = prepare(&config, &self.ledger, Some(self))?;
        let dns_changed = config.dns != self.config.dns;
        if dns_changed {
            self.discoveries.clear();
        }
        logging::change(&self.level, &config.log).map_err(Failure::Config)?;
        (self.config, self.hash) = (config, hash);
        self.switch(prepared).await
    }

    /// Puts what was prepared to use. Nothing here can fail but a shard that is gone.
    async fn switch(&mut self, prepared: Prepared) -> Result<door::Change, Failure> {
        let now = Moment::read();
        let known: HashSet<&str> = match self.services.is_empty() {
            true => HashSet::new(),
            false => prepared.callers.callers().known.iter().map(|known| &*known.name).collect(),
        };
        for (name, service) in &prepared.services {
            if let WorkerSource::List(list) = &service.config.workers {
                let wanted = list.iter().map(|spec| Wanted {
                    address: spec.address.clone(),
                    priority: spec.priority,
                    weight: spec.weight,
                });
                service.workers.replace(wanted.collect(), None, now);
            }
            service.counts.keep_only(&known);
            self.ask_dns(name, service, prepared.resolver.as_ref());
        }
        self.discoveries.retain(|name, _| prepared.services.contains_key(name));
        self.checks.follow(&prepared.services);
        let Listeners { mut new, heirs, files } = prepared.listeners;
        for shard in &self.shards {
            let services = prepared.services.iter().map(|(name, service)| Assignment {
                service: Arc::clone(service),
                listens: match new.get_mut(name).and_then(Iterator::next) {
                    Some(listener) => Listens::New(listener),
                    None => Listens::As(heirs.get(name).unwrap_or(name).clone()),
                },
            });
            let (done, is_done) = oneshot::channel();
            let access_log = prepared.access_log.clone();
            let plan = Plan { services: services.collect(), access_log, done };
            shard.serve(plan).await.map_err(|why| Failure::Run(why.into()))?;
            is_done.await.map_err(|_| Failure::Run("a shard has ended".into()))?;
        }
        let callers = std::mem::replace(&mut self.callers, prepared.callers);
        let services = std::mem::replace(&mut self.services, prepared.services);
        // At the start nothing is replaced.
        if !Arc::ptr_eq(&callers, &self.callers) {
            let retired = Retired::new(services.into_values(), callers, &self.state);
            tokio::task::spawn_local(retired.fade());
        }
        // A path that is given up goes, and one that was lost and made anew has a new file.
        self.files.retain(|path, _| {
            self.services.values().any(|service| service.config.listen.path() == Some(path))
        });
        self.files.extend(files);
        // A log that is replaced ends by itself, with the last request that writes to it; that may be a long download.
        self.access_log = prepared.access_log;
        self.certificates = certificates::watch(&self.services);
        Ok(prepared.door)
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

    /// Changes the admin listener as was prepared.
    ///
    /// # Errors
    /// The runtime does not take it.
    pub(super) fn change_door(&mut self, to: door::Change, behind: &Behind) -> Result<(), Failure> {
        self.door = door::change(self.door.take(), to, behind)?;
        Ok(())
    }

    /// Where this process listens.
    fn addresses(&self) -> Vec<SocketAddr> {
        let services = self.services.values().filter_map(|service| service.config.listen.tcp());
        services.chain(self.config.admin.as_ref().map(|admin| admin.listen)).collect()
    }

    /// What the admin listener shows of this configuration.
    pub(super) fn view(&self, options: &RunOptions) -> View {
        let ledger = Arc::clone(&self.ledger);
        View {
            config_file: options.config.display().to_string(),
            config_hash: self.hash.clone(),
            callers: Arc::clone(&self.config.callers),
            services: self.services.values().map(shown::service).collect(),
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

    /// Closes the listeners, waits for requests in progress, at most for `grace`, and ends the shards. False if some
    /// requests were cut off; the access log tells of those too. The admin listener stays to the end.
    pub(super) async fn drain(mut self, grace: Duration) -> bool {
        // First, so that nobody comes while the listeners close, and another Buckler may take the paths.
        self.files.clear();
        let drained = timeout(grace, async {
            for shard in &self.shards {
                shard.drain().await;
            }
            for shard in &mut self.shards {
                shard.drained().await;
            }
        });
        let drained = drained.await.is_ok();
        let ended = timeout(LAST_WORDS, async {
            for shard in self.shards {
                shard.end().await;
            }
        });
        if ended.await.is_err() {
            tracing::error!("a shard did not end when told to; its last lines are missing in the access log");
        }
        tracing::debug!(phase = self.state.phase().word(), "all shards have ended");
        drop((self.callers, self.services));
        if let Some(log) = self.access_log {
            log.finish();
        }
        drained
    }
}

/// What cannot change while running says so, instead of being ignored.
fn fixed(key: &str, same: bool) -> Result<(), Failure> {
    if same {
        return Ok(());
    }
    Err(Failure::Config(format!("`{key}` cannot change while Buckler runs; restart it to change that")))
}

/// Builds and binds. Whatever can fail stands first, so that a failure has touched neither ports nor ledger.
fn prepare(config: &Config, ledger: &Arc<Ledger>, before: Option<&Running>) -> Result<Prepared, Failure> {
    let now = Moment::read();
    let threads = config.threads.get();
    let ours = before.map(Running::addresses).unwrap_or_default();
    let service_before = |name: &ServiceName| before.and_then(|running| running.services.get(name));
    let mut terms = certificates::prepare(config, &service_before, now)?;
    let (no_services, no_files) = (BTreeMap::new(), Files::new());
    let current = Current {
        services: before.map_or(&no_services, |running| &running.services),
        files: before.map_or(&no_files, |running| &running.files),
        addresses: &ours,
    };
    let reserved = listeners::reserve(config, current)?;
    let asks = config.services.values().any(|service| matches!(service.workers, WorkerSource::Srv(_)));
    let resolver = if asks { Some(resolver(&config.dns)?) } else { None };
    let door = door::prepare(config.admin.as_ref(), before.and_then(|running| running.door.as_ref()), &ours)?;
    let access_log = match before {
        Some(running) if running.config.access_log == config.access_log => running.access_log.clone(),
        _ => AccessLog::start(&config.access_log)
            .map_err(|error| no_access_log(config.access_log.path.as_deref(), &error))?,
    };
    // Last: it may change files.
    let listeners = reserved.open(threads)?;
    let callers = Arc::new(CallerBook::new(Arc::clone(&config.callers)));
    let build = |(name, wanted): (&ServiceName, &Arc<config::Service>)| {
        let old = service_before(name).map(Arc::as_ref);
        let wanted = (wanted, terms.remove(name));
        (name.clone(), Service::new(wanted, &callers, ledger, threads, old))
    };
    let services = config.services.iter().map(build).collect();
    ledger.forget_settled_accounts(now);
    Ok(Prepared { door, callers, services, listeners, access_log, resolver })
}

fn resolver(dns: &Dns) -> Result<Arc<Resolver>, Failure> {
    Resolver::new(dns).map(Arc::new).map_err(|why| Failure::Config(format!("`dns`: {why}")))
}

fn no_access_log(path: Option<&Path>, error: &std::io::Error) -> Failure {
    let path = path.map_or_else(|| "stdout".into(), Path::to_string_lossy);
    Failure::Config(format!("`access_log.path`: {path} cannot be opened: {error}{}", file_hint(error)))
}

pub(super) fn file_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "; its folder, or the file itself, must be there first",
        std::io::ErrorKind::PermissionDenied => "; the user that Buckler runs as may not",
        _ => "",
    }
}
