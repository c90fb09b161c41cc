//! From the YAML as written to the checked configuration, collecting every error and warning. This file holds the top
//! level and what the parts share; each part of the file has its own beside it. How one value is read stands in
//! `value.rs`, how it is shown to people in `report.rs`.

mod agreements;
mod attempts;
mod bytes;
mod callers;
mod capacity;
mod edge;
mod health;
mod limits;
mod permissions;
mod ports;
mod timing;
mod workers;

pub(super) use permissions::glob;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::collect::{Located, Named};
use super::file::{self, Field, File, List};
use super::report::{Code, Collected, Spot};
use super::units::Span;
use super::value::SpanText;
use super::{
    AccessLog, Admin, Callers, Config, Dns, Log, LogFormat, Protocol, Service, ServiceName, WorkerProtocol,
};
use crate::clock::Moment;
use crate::refusal::RuleRef;

const SECOND: Duration = Duration::from_secs(1);

/// The checked configuration. None if there is any error among the problems.
pub(super) fn check(file: &Located<File>, today: Moment, problems: &mut Collected) -> Option<Config> {
    let nothing = Spot { file: file.at.file, line: 0, column: 0, length: 0 };
    let mut checker = Checker { problems, now: today.unix_micros / 1_000_000, numbers: Numbers::default() };
    let written = file.value.as_ref()?;
    checker.not_empty("include", &written.include);
    let callers = Arc::new(checker.callers(written.callers.as_ref()));
    let services = checker.services(&written.services, &callers, nothing);
    let admin = checker.admin(written.admin.as_ref());
    checker.ports(written);
    checker.certificates_asked(written);
    let config = Config {
        threads: checker.threads(&written.threads),
        admin,
        dns: checker.dns(written.dns.as_ref()),
        callers,
        services,
        access_log: checker.access_log(written.access_log.as_ref()),
        log: checker.log(written.log.as_ref()),
        shutdown_grace: checker.grace(written.shutdown.as_ref()),
    };
    (problems.errors() == 0).then_some(config)
}

/// What all parts of the check need.
struct Checker<'p> {
    problems: &'p mut Collected,
    /// Seconds since 1970, UTC.
    now: u64,
    numbers: Numbers,
}

/// A map with very many entries: a quick hash tells.
type Quick<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Numbers by names: there may be as many agreements as callers, and each names some.
#[derive(Default)]
struct Numbers {
    tiers: Quick<Arc<str>, usize>,
    callers: Quick<Arc<str>, usize>,
    /// How many callers each tier has.
    members: Vec<usize>,
}

/// A level, and levels of parts: `info,buckler::workers=debug`. tracing takes a word that is no level for the name of a
/// part, and then logs nothing but that.
fn is_level(text: &str) -> bool {
    use tracing_subscriber::filter::{EnvFilter, LevelFilter};
    let is_clear = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    text.split(',').all(is_clear) && text.parse::<EnvFilter>().is_ok()
}

/// The value of a key, if it is written and right.
fn value<T>(field: &Field<T>) -> Option<&T> {
    field.as_ref()?.value.as_ref()
}

/// The right values of a list, with their places.
fn items<T>(field: &Field<List<T>>) -> impl Iterator<Item = (&T, Spot)> {
    let list = field.as_ref().and_then(|list| list.value.as_deref()).unwrap_or_default();
    list.iter().filter_map(|item| Some((item.value.as_ref()?, item.at)))
}

/// All right values of a list, made into something else, in no more memory than they need.
fn each<T, U>(field: &Field<List<T>>, of: impl Fn(&T) -> U) -> Vec<U> {
    let written = field.as_ref().and_then(|list| list.value.as_deref()).map_or(0, <[_]>::len);
    let mut all = Vec::with_capacity(written);
    all.extend(items(field).map(|(item, _)| of(item)));
    all
}

/// The entries of a map of names.
fn entries<T>(field: &Field<Named<T>>) -> &[(Located<String>, Located<T>)] {
    field.as_ref().and_then(|map| map.value.as_ref()).map_or(&[], |map| map.0.as_slice())
}

impl Checker<'_> {
    fn error(&mut self, code: Code, at: Spot, message: impl Into<String>, help: &str) {
        let help = Some(help).filter(|help| !help.is_empty());
        self.problems.error(code, at, message.into(), help);
    }

    /// The value of a key that must be there; `of` is where its absence shows.
    fn needed<'f, T>(&mut self, field: &'f Field<T>, key: &str, of: Spot, help: &str) -> Option<&'f T> {
        if field.is_none() {
            self.error(Code::MissingKey, of, format!("`{key}` is missing"), help);
        }
        value(field)
    }

    /// A duration within its bounds.
    fn span(
        &mut self,
        field: Option<&Field<SpanText>>,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let Some(located) = field.and_then(Option::as_ref) else { return default };
        let Some(SpanText(Span(span))) = located.value else { return default };
        if span < least || span > most {
            let message = format!("`{}` is out of bounds", Span(span));
            let help = format!("write {} to {}", Span(least), Span(most));
            self.error(Code::BadValue, located.at, message, &help);
            return default;
        }
        span
    }

    /// A number within its bounds.
    fn number(&mut self, field: Option<&Field<u32>>, default: u32, least: u32, most: u32) -> u32 {
        let Some(located) = field.and_then(Option::as_ref) else { return default };
        let Some(number) = located.value else { return default };
        if number < least || number > most {
            self.error(
                Code::BadValue,
                located.at,
                format!("{number} is out of bounds"),
                &format!("write {least} to {most}"),
            );
            return default;
        }
        number
    }

    /// How people are told of a rule; without a place for a built-in default.
    fn rule_ref(&self, name: impl Into<String>, at: Option<Spot>, reason: Option<&String>) -> Arc<RuleRef> {
        let at = at.map(|spot| self.problems.sources.at(spot).text()).unwrap_or_default();
        Arc::new(RuleRef { name: name.into(), at, reason: reason.cloned() })
    }

    /// A path of the file system, relative to the file that names it.
    fn path(&self, path: &str, at: Spot) -> PathBuf {
        let file = self.problems.sources.at(at).file;
        Path::new(&*file).parent().unwrap_or(Path::new("")).join(path)
    }

    fn threads(&mut self, field: &Field<u32>) -> NonZeroUsize {
        // Asked once: `threads` cannot change while Buckler runs, but the processors it is given can.
        static CPUS: OnceLock<NonZeroUsize> = OnceLock::new();
        let cpus = *CPUS.get_or_init(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        let wanted = self.number(Some(field), 0, 1, 1024);
        NonZeroUsize::new(wanted as usize).unwrap_or(cpus)
    }

    fn admin(&mut self, admin: Option<&Located<file::Admin>>) -> Option<Admin> {
        let located = admin?;
        let admin = located.value.as_ref()?;
        let listen = self.needed(&admin.listen, "listen", located.at, "write `listen: 127.0.0.1:9900`")?.0;
        let at = admin.listen.as_ref().map_or(located.at, |listen| listen.at);
        let token_file =
            admin.token_file.as_ref().and_then(|file| Some(self.path(file.value.as_ref()?, file.at)));
        if !listen.ip().is_loopback() && admin.token_file.is_none() {
            let message = format!("the admin listener on {listen} is open to everybody who reaches it");
            self.error(Code::Exposed, at, message, "add `token_file:` beside it, or listen on 127.0.0.1");
        }
        Some(Admin { listen, token_file, at: self.problems.sources.at(at) })
    }

    fn dns(&mut self, dns: Option<&Located<file::Dns>>) -> Dns {
        let dns = dns.and_then(|dns| dns.value.as_ref());
        let day = Duration::from_secs(86_400);
        let millisecond = Duration::from_millis(1);
        let mut servers = Vec::new();
        for (server, at) in dns.into_iter().flat_map(|dns| items(&dns.servers)) {
            if servers.contains(&server.0) {
                self.error(Code::GivenTwice, at, format!("{} is written twice", server.0), "remove one");
            }
            servers.push(server.0);
        }
        Dns {
            servers,
            max_ttl: self.span(dns.map(|dns| &dns.max_ttl), 30 * SECOND, SECOND, day),
            timeout: self.span(dns.map(|dns| &dns.timeout), SECOND, millisecond, 60 * SECOND),
        }
    }

    fn access_log(&mut self, log: Option<&Located<file::AccessLog>>) -> AccessLog {
        let log = log.and_then(|log| log.value.as_ref());
        let path = log.and_then(|log| log.path.as_ref());
        if let Some(empty) = path.filter(|path| path.value.as_ref().is_some_and(String::is_empty)) {
            let message = "`path` is empty".to_owned();
            self.error(Code::BadValue, empty.at, message, "write the name of a file, or `stdout`");
        }
        AccessLog {
            format: match log.and_then(|log| value(&log.format)) {
                None | Some(file::LogFormat::Json) => LogFormat::Json,
                Some(file::LogFormat::Combined) => LogFormat::Combined,
                Some(file::LogFormat::Off) => LogFormat::Off,
            },
            path: path.and_then(|path| {
                let text = path.value.as_ref().filter(|text| *text != "stdout")?;
                Some(self.path(text, path.at))
            }),
            refusals_per_second: self.number(log.map(|log| &log.refusals_per_second), 10, 0, 1_000_000),
            query: log.and_then(|log| value(&log.query)).copied().unwrap_or(false),
        }
    }

    fn log(&mut self, log: Option<&Located<file::Log>>) -> Log {
        let log = log.and_then(|log| log.value.as_ref());
        let level = log.and_then(|log| value(&log.level)).map_or("info", String::as_str);
        if let Some(at) = log.and_then(|log| log.level.as_ref()).map(|level| level.at)
            && !is_level(level)
        {
            let message = format!("`{}` is not a level", super::tree::shorten(level));
            self.error(
                Code::BadValue,
                at,
                message,
                "write `error`, `warn`, `info`, `debug`, `trace` or `off`",
            );
        }
        let json = log.and_then(|log| value(&log.format)) == Some(&file::OperatorFormat::Json);
        Log { level: level.to_owned(), json }
    }

    fn grace(&mut self, shutdown: Option<&Located<file::Shutdown>>) -> Duration {
        let grace = shutdown.and_then(|shutdown| shutdown.value.as_ref()).map(|shutdown| &shutdown.grace);
        self.span(grace, 30 * SECOND, Duration::ZERO, 3_600 * SECOND)
    }

    fn services(
        &mut self,
        field: &Field<Named<file::Service>>,
        callers: &Callers,
        of: Spot,
    ) -> BTreeMap<ServiceName, Arc<Service>> {
        const HELP: &str = "write `services:` and under it a name, with `listen:` and `workers:`";
        let written = self.needed(field, "services", of, HELP);
        if let (Some(empty), Some(at)) =
            (written.filter(|map| map.0.is_empty()), field.as_ref().map(|field| field.at))
        {
            let _: &Named<_> = empty;
            self.error(Code::MissingKey, at, "there is no service", HELP);
        }
        let mut services = BTreeMap::new();
        for (key, service) in entries(field) {
            let Some(text) = &key.value else { continue };
            let Some(name) = ServiceName::new(text) else {
                let message = format!("`{}` is not a name for a service", super::tree::shorten(text));
                self.error(
                    Code::BadValue,
                    key.at,
                    message,
                    "write 1 to 63 of the characters a-z A-Z 0-9 - _ .",
                );
                continue;
            };
            if let Some(service) = self.service(name.clone(), key.at, service, callers) {
                services.insert(name, Arc::new(service));
            }
        }
        services
    }

    fn service(
        &mut self,
        name: ServiceName,
        of: Spot,
        service: &Located<file::Service>,
        callers: &Callers,
    ) -> Option<Service> {
        let Some(service) = &service.value else { return None };
        let at = service.listen.as_ref().map_or(of, |listen| listen.at);
        let listen = self.needed(
            &service.listen,
            "listen",
            of,
            "write `listen: 127.0.0.1:4070`, the service's one port",
        );
        let listen = listen.map(|listen| self.endpoint(listen, at));
        let workers = self.workers(&service.workers, of);
        let send_proxy_protocol =
            value(&service.workers).is_some_and(|workers| self.send_proxy_protocol(workers));
        let socket = self.socket(service);
        let proxy_protocol = self.proxy_protocol(service, callers);
        let tls = self.tls(&service.tls);
        let forward_client_certificate = self.forward_certificate(service);
        let upgrades = self.upgrades(&service.upgrades);
        let connections = self.connections(&service.connections);
        let permissions = self.permissions(service.permissions.as_ref(), callers);
        let limits = self.limits(service.limits.as_ref(), callers, of);
        let timeouts = self.timeouts(service.timeouts.as_ref());
        let bounds = self.bounds(service.bounds.as_ref());
        let capacity = self.capacity(service, workers.as_ref(), &timeouts);
        self.only_bytes(service);
        Some(Service {
            name,
            listen: listen?,
            listen_at: self.problems.sources.at(at),
            socket,
            protocol: match value(&service.protocol) {
                None | Some(file::Protocol::Http) => Protocol::Http,
                Some(file::Protocol::Tcp) => Protocol::Tcp,
            },
            proxy_protocol,
            tls,
            forward_client_certificate,
            upgrades,
            connections,
            workers: workers?,
            worker_protocol: match value(&service.workers).and_then(|workers| value(&workers.protocol)) {
                None | Some(file::WorkerProtocol::Http1) => WorkerProtocol::Http1,
                Some(file::WorkerProtocol::Http2) => WorkerProtocol::Http2,
            },
            send_proxy_protocol,
            balance: self.balance(service),
            concurrent_per_worker: self.concurrent_per_worker(service),
            slow_start: self.slow_start(service),
            health: self.health(service),
            capacity,
            retries: self.retries(service),
            fallback: self.fallback(&service.fallback),
            deadline_header: self.deadline_header(service, callers),
            permissions,
            limits,
            timeouts,
            bounds,
        })
    }
}
