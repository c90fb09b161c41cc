//! The checked configuration: typed, pure data, everything in it is meant and possible. What the YAML looks like
//! stands in `file.rs`; how one becomes the other, with every error at once, in `check/`.
//!
//! Nothing here reads a clock, a socket or, once loaded, a file. A text goes through these files in this order:
//! `tree.rs` (YAML with places), `include.rs` (several files as one), `collect.rs` and `file.rs` (the keys), `value.rs`
//! and `units.rs` (single values), `check/` (what it all means), `report.rs` (what is wrong). `effective.rs` prints it.

mod check;
mod collect;
mod effective;
mod file;
mod include;
mod load;
mod report;
mod schema;
mod tree;
pub mod units;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

use crate::refusal::RuleRef;

pub use effective::Effective;
pub use load::{Disk, Files, Loaded, NoFiles, load, load_str};
pub use report::{Code, Problem, Severity, Sources};
pub use schema::schema;
pub use tree::Env;

/// Everything the file says, with every default filled in.
#[derive(Debug)]
pub struct Config {
    /// `threads`: shards, one runtime each. Default: the number of CPUs.
    pub threads: NonZeroUsize,
    /// `admin`: where operators look. None: no admin listener.
    pub admin: Option<Admin>,
    /// `dns`: how SRV names are resolved.
    pub dns: Dns,
    /// `callers`: how a caller is known, the same for all services.
    pub callers: Arc<Callers>,
    /// `services`, by name.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// `access_log`.
    pub access_log: AccessLog,
    /// `log`: the operator's log.
    pub log: Log,
    /// `shutdown.grace`: how long TERM waits for requests in progress. Default 30 s.
    pub shutdown_grace: Duration,
}

/// The name of a service: 1 to 63 of `a-z A-Z 0-9 - _ .`, as it appears in logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// None unless the name is 1 to 63 characters of `a-z A-Z 0-9 - _ .`.
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=63).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        fits.then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where something is written. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file as it was named by the user or by `include`.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// `admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; loopback unless there is a token file.
    pub listen: SocketAddr,
    /// `token_file`: its first line must come as `Authorization: Bearer …`; without it only loopback is allowed.
    pub token_file: Option<PathBuf>,
    /// Where `listen` is written.
    pub at: At,
}

/// `dns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// `servers`, asked in this order. Empty: the system's resolver.
    pub servers: Vec<SocketAddr>,
    /// `max_ttl`: a longer TTL is asked again after this. Default 30 s.
    pub max_ttl: Duration,
    /// `timeout` for one question to one server. Default 1 s.
    pub timeout: Duration,
}

/// `callers`.
#[derive(Debug)]
pub struct Callers {
    /// `identify`: credentials in the order in which they are looked at; the first present one decides.
    pub identify: Vec<Credential>,
    /// `api_key.header`. Default `x-api-key`.
    pub api_key_header: HeaderName,
    /// `api_key.unknown`: what a key that matches nobody is.
    pub unknown_key: UnknownKey,
    /// `address.ipv4_prefix`, 0 to 32. Default 32.
    pub ipv4_prefix: u8,
    /// `address.ipv6_prefix`, 0 to 128. Default 64.
    pub ipv6_prefix: u8,
    /// `trusted_proxies`: peers whose X-Forwarded-For, X-Forwarded-Proto/-Host and X-Request-Id are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `known`, in the order written. A caller's place here is its number everywhere else.
    pub known: Vec<KnownCaller>,
    /// `tiers`, in the order written.
    pub tiers: Vec<Tier>,
    /// `ledger.max_keys`: how many callers' quotas are remembered at once; fixes the memory (16 bytes a key). The
    /// services of the start share them equally.
    pub max_keys: NonZeroUsize,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A key in a header.
    ApiKey,
    /// The peer's address, or what a trusted proxy says of it; always present.
    Address,
}

/// What a key is that matches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKey {
    /// Wrong: 401.
    Refuse,
    /// A caller of its own: `api_key:` and the first 12 hex digits of its hash.
    Anonymous,
}

/// One entry of `callers.known`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCaller {
    /// Its name.
    pub name: Arc<str>,
    /// SHA-256 of each of its keys.
    pub api_keys: Vec<[u8; 32]>,
    /// Networks it calls from.
    pub addresses: Vec<IpNet>,
    /// Its tier, as an index into [`Callers::tiers`].
    pub tier: Option<usize>,
    /// Where it is written.
    pub at: At,
}

/// One entry of `callers.tiers`.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its name.
    pub name: Arc<str>,
    /// What each of its callers may do, per service.
    pub quota: Quota,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its one port.
    pub listen: SocketAddr,
    /// Where `listen` is written.
    pub listen_at: At,
    /// Its workers.
    pub workers: WorkerSource,
    /// `permissions`.
    pub permissions: Permissions,
    /// `limits`.
    pub limits: Limits,
    /// `timeouts`.
    pub timeouts: Timeouts,
    /// `bounds`.
    pub bounds: Bounds,
}

/// Where the workers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerSource {
    /// `addresses`, at least one, no two alike.
    List(Vec<WorkerSpec>),
    /// `srv`: a DNS name without its trailing dot.
    Srv(Arc<str>),
}

/// One worker of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Its address.
    pub address: SocketAddr,
    /// Lower is tried first (RFC 2782). Default 0.
    pub priority: u16,
    /// Share inside a priority. Default 1.
    pub weight: u16,
}

/// `permissions`.
#[derive(Debug)]
pub struct Permissions {
    /// `default`, when no rule matches.
    pub default: Verdict,
    /// The default, as a refusal names it.
    pub default_ref: Arc<RuleRef>,
    /// The rules, in the order written.
    pub rules: Vec<Rule>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
}

/// Whether a rule or limit decides, or only counts and logs what it would have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It decides.
    Enforce,
    /// `mode: shadow`: counted and logged, decides nothing.
    Shadow,
}

/// One permission rule. An empty list matches everything.
#[derive(Debug)]
pub struct Rule {
    /// What it says to a request that it matches.
    pub verdict: Verdict,
    /// Names and patterns of names.
    pub callers: Vec<CallerPattern>,
    /// Tiers, as indices into [`Callers::tiers`].
    pub tiers: Vec<usize>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Hosts, canonical; `*.` in front stands for one label.
    pub hosts: Vec<HostPattern>,
    /// Path patterns.
    pub paths: Vec<PathPattern>,
    /// It no longer applies at or after this, in seconds since 1970 (UTC).
    pub until: Option<u64>,
    /// Shadow or not.
    pub mode: Mode,
    /// What a refusal says of it.
    pub rule_ref: Arc<RuleRef>,
}

/// The name of a caller, or a pattern of names with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerPattern {
    /// A caller of `known`, by its number: compared without looking at text.
    Known(usize),
    /// A text to compare; `*` stands for any run of characters.
    Glob(Arc<str>),
}

/// A canonical host (lower case, no port, no trailing dot).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(Arc<str>),
    /// `*.example.test`: one label and then this, which starts with a dot.
    OneLabel(Arc<str>),
}

/// A pattern of canonical paths: segments, `*` for one of them, `**` for any rest (also none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// As written, for messages.
    pub written: Arc<str>,
    /// The segments after the leading slash.
    pub segments: Vec<Segment>,
}

/// One segment of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text, canonical.
    Literal(Arc<str>),
    /// `*`: exactly one segment, whatever it is.
    One,
    /// `**`: any rest; only last.
    Rest,
}

/// `limits`.
#[derive(Debug)]
pub struct Limits {
    /// `headers`: who is told `RateLimit` and `RateLimit-Policy`. Default `named`.
    pub headers: LimitHeaders,
    /// `default`: each caller without an agreement or a tier. None: no limit for them.
    pub default: Option<Quota>,
    /// `total`: all callers together.
    pub total: Option<Quota>,
    /// `agreements`, in the order written; no caller stands in two of them.
    pub agreements: Vec<Agreement>,
    /// `costs`, the first that matches counts; otherwise a request costs 1.
    pub costs: Vec<Cost>,
}

/// Who is told `RateLimit` and `RateLimit-Policy`. Refusals by a limit tell unless it is `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitHeaders {
    /// Every answer.
    Always,
    /// Answers to callers of `known`, and refusals.
    Named,
    /// Refusals by a limit only.
    Refused,
    /// Nobody.
    Never,
}

/// What somebody may do.
#[derive(Clone, Debug)]
pub struct Quota {
    /// `rate` and `burst`. None: only `concurrent` is limited.
    pub rate: Option<Rate>,
    /// `concurrent`: requests in progress.
    pub concurrent: Option<NonZeroU32>,
    /// Shadow or not.
    pub mode: Mode,
    /// What a refusal says of it: `default`, `total`, `tier partner`, `agreement office`.
    pub rule_ref: Arc<RuleRef>,
}

/// GCRA's two numbers: `burst` requests at once, then one every `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time that one request costs: 1 / rate; 1 ns to 1 day.
    pub interval: Duration,
    /// How many at once; left out in the file: one second's worth, at least 1.
    pub burst: NonZeroU32,
}

/// One entry of `agreements`.
#[derive(Debug)]
pub struct Agreement {
    /// The callers of `known` that it names, by number.
    pub callers: Vec<usize>,
    /// `shared: true`: one bucket for all of them together.
    pub shared: bool,
    /// What was agreed.
    pub quota: Quota,
    /// `owner`.
    pub owner: Option<Arc<str>>,
    /// As if it were not there at or after this, in seconds since 1970 (UTC).
    pub until: Option<u64>,
}

/// One entry of `costs`.
#[derive(Debug)]
pub struct Cost {
    /// Paths; empty matches all.
    pub paths: Vec<PathPattern>,
    /// Methods; empty matches all.
    pub methods: Vec<Method>,
    /// What a matching request takes from the caller's and the total's quota.
    pub cost: NonZeroU32,
}

/// `timeouts`: each runs between two events (see the field docs); every one has an end by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept, or the first byte of a further request, to the end of its head: 408, then close. Default 10 s.
    pub head: Duration,
    /// Between two reads of the request body: 408. Default 30 s.
    pub body: Duration,
    /// Between two writes that the client takes: close. Default 30 s.
    pub send: Duration,
    /// An idle client connection: close. Default 75 s.
    pub keep_alive: Duration,
    /// To a worker: the next worker, at last 504. Default 1 s.
    pub connect: Duration,
    /// From the end of the request to the worker's head: 504. Default 60 s.
    pub response: Duration,
    /// Between two reads of the worker's body: cut. Default 60 s.
    pub idle: Duration,
    /// From the request's head to the answer's end. None (the default): off.
    pub total: Option<Duration>,
}

/// `bounds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of a request's head. Over it: 431. Default 32 KiB.
    pub head_bytes: usize,
    /// Fields in a request's head. Over it: 431. Default 100.
    pub head_fields: usize,
    /// Of the request target. Over it: 414. Default 8 KiB.
    pub uri_bytes: usize,
    /// Of a request's body. Over it: 413. None (the default): no bound.
    pub body_bytes: Option<u64>,
    /// Of a worker's answer's head. Over it: 502. Default 64 KiB.
    pub response_head_bytes: usize,
    /// Client connections at once, over all shards. Over it: 503 and close. Default 10,000.
    pub connections: u64,
    /// Worker connections at once, over all shards and workers. Over it: 503. Default 10,000.
    pub worker_connections: u64,
}

/// `access_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// `format`.
    pub format: LogFormat,
    /// `path`. None: standard output.
    pub path: Option<PathBuf>,
    /// `refusals_per_second`: so many refusals of one caller are logged each second, the rest is counted. Default 10.
    pub refusals_per_second: u32,
    /// `query`: whether query strings are logged. Default false.
    pub query: bool,
}

/// The form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Apache's combined format.
    Combined,
    /// Nothing.
    Off,
}

/// `log`: the operator's log, on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `level`: a filter as in RUST_LOG. Default `info`.
    pub level: String,
    /// `format: json` instead of text.
    pub json: bool,
}

#[cfg(test)]
mod tests;
