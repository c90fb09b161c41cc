//! The checked configuration: typed, pure data, everything in it is meant and possible; its larger parts stand in
//! `callers.rs`, `permissions.rs` and `limits.rs`. What the YAML looks like stands in `file.rs`; how one becomes the
//! other, with every error at once, in `check/`.
//!
//! Nothing here reads a clock, a socket or, once loaded, a file. A text goes through these files in this order:
//! `tree.rs` (YAML with places), `include.rs` (several files as one), `collect.rs` and `file.rs` (the keys), `value.rs`
//! and `units.rs` (single values), `check/` (what it all means), `report.rs` (what is wrong). `effective.rs` prints it.

mod callers;
mod check;
mod collect;
mod edge;
mod effective;
mod file;
mod include;
mod limits;
mod load;
mod permissions;
mod report;
mod resilience;
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

use http::HeaderName;

pub use callers::{Callers, Credential, KnownCaller, Tier, UnknownKey};
pub use edge::{
    CertificateFiles, ClientCertificate, ConnectionLife, Endpoint, NamedFile, Protocol, SocketFile, Tls,
    TlsVersion, WorkerProtocol,
};
pub use effective::Effective;
pub use limits::{Agreement, Cost, LimitHeaders, Limits, Quota, Rate};
pub use load::{Disk, Files, Loaded, NoFiles, load, load_str};
pub use permissions::{CallerPattern, HostPattern, Mode, PathPattern, Permissions, Rule, Segment, Verdict};
pub use report::{Code, Problem, Severity, Sources};
pub use resilience::{
    Balance, Capacity, CapacityFacts, Check, CheckKind, Fallback, Health, Retries, RingKey,
};
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

impl At {
    /// `file:line`, in no more memory than that takes: there may be as many as agreements.
    fn text(&self) -> String {
        [&*self.file, ":", itoa::Buffer::new().format(self.line)].concat()
    }
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

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its one port.
    pub listen: Endpoint,
    /// Where `listen` is written.
    pub listen_at: At,
    /// `socket`: the file, if `listen` is a Unix socket.
    pub socket: SocketFile,
    /// `protocol`.
    pub protocol: Protocol,
    /// `proxy_protocol`: every connection begins with a PROXY header, from one of `callers.trusted_proxies`.
    pub proxy_protocol: bool,
    /// `tls`. None: none.
    pub tls: Option<Arc<Tls>>,
    /// `forward_client_certificate`: workers are told of the client's certificate in X-Forwarded-Client-Cert.
    pub forward_client_certificate: bool,
    /// `upgrades`: names of protocols in lower case. Default `websocket`.
    pub upgrades: Vec<Arc<str>>,
    /// `connections`.
    pub connections: ConnectionLife,
    /// Its workers.
    pub workers: WorkerSource,
    /// `workers.protocol`.
    pub worker_protocol: WorkerProtocol,
    /// `workers.send_proxy_protocol`: connections to workers begin with a PROXY header, version 2.
    pub send_proxy_protocol: bool,
    /// `workers.balance`.
    pub balance: Balance,
    /// `workers.concurrent_per_worker`: requests in progress at each worker, over all shards. None: no bound.
    pub concurrent_per_worker: Option<NonZeroU32>,
    /// `workers.slow_start`: how long a worker that returns, or joins others, takes to its whole share. Default 10 s;
    /// 0: none.
    pub slow_start: Duration,
    /// `health`.
    pub health: Health,
    /// `capacity`.
    pub capacity: Capacity,
    /// `retries`.
    pub retries: Retries,
    /// `fallback`. None: refusals are told as they are.
    pub fallback: Option<Arc<Fallback>>,
    /// `timeouts.deadline_header`: workers are told how many milliseconds are left of `timeouts.total`.
    pub deadline_header: Option<HeaderName>,
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
    /// Where it is reached.
    pub address: Endpoint,
    /// Lower is tried first (RFC 2782). Default 0.
    pub priority: u16,
    /// Share inside a priority. Default 1.
    pub weight: u16,
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
    /// From accept to the end of the TLS handshake: close. Default 5 s.
    pub handshake: Duration,
    /// An upgraded connection, or one of `protocol: tcp`, without a byte either way: close. Default 10 min.
    pub tunnel: Duration,
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
    /// Bytes of a request's body a second, over all the time that the client is waited for, until the answer begins; so
    /// many bytes buy their time in addition to `timeouts.body`. Under it: 408. Default 240. None: no least rate.
    pub upload_rate: Option<u64>,
    /// Of a worker's answer's head. Over it: 502. Default 64 KiB.
    pub response_head_bytes: usize,
    /// Client connections at once, over all shards. Over it: 503 and close. Default 10,000.
    pub connections: u64,
    /// TLS handshakes in progress, over all shards. Over it: close. Default 1,000.
    pub handshakes: u64,
    /// HTTP/2 requests at once on one client connection. Over it: the stream is refused. Default 100.
    pub streams: u32,
    /// HTTP/2 requests at once on one worker connection. Over it: another connection. Default 100.
    pub worker_streams: u32,
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
pub use tests::{plain_callers, plain_service};

#[cfg(test)]
mod tests;
