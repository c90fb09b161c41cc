//! The YAML exactly as it is written: one struct for each map, one field for each key. The comments are the reference
//! manual: `buckler schema` prints them. What a value must mean to be accepted stands in `check/`; what stands under a
//! service's name, in `file/service.rs`.

mod edge;
mod resilience;
mod service;

use schemars::JsonSchema;
use serde::Deserialize;

use super::collect::{Located, Named};
use super::value::{AddressText, CertificateName, HeaderText, KeyHash, NetworkText, RateText, SpanText};

pub(super) use edge::{
    CertificateFiles, ClientCertificate, Connections, Protocol, Socket, Tls, TlsVersion, WorkerProtocol,
};
pub(super) use resilience::{Balance, BalanceBy, Capacity, Check, CheckKind, Fallback, Health, Retries};
pub(super) use service::{
    Agreement, Bounds, Cost, LimitHeaders, Limits, Match, Mode, Permissions, Quota, Rule, Service, Timeouts,
    Verdict, Worker, Workers,
};

/// A key that may be left out. Required ones say so, and `check/` reports their absence.
pub(super) type Field<T> = Option<Located<T>>;
/// A list of located values.
pub(super) type List<T> = Vec<Located<T>>;

/// Maps that may be written as one value: the struct, and the key that the value then stands for.
pub(super) const ONE_VALUE: &[(&str, &str)] = &[("Worker", "address"), ("Balance", "by")];

/// Words that the contract already names and this version does not build: where, the word, what it will be.
pub(super) const PLANNED: &[(&str, &str, &str)] = &[
    ("File", "fleet", "limits shared between several Bucklers"),
    ("File", "outbound", "the way out, to remote services"),
    ("Workers", "tls", "TLS to workers"),
    ("Limits", "scope", "limits shared between several Bucklers"),
    ("Quota", "scope", "limits shared between several Bucklers"),
    ("Tier", "scope", "limits shared between several Bucklers"),
    ("Agreement", "scope", "limits shared between several Bucklers"),
    ("Admin", "tls", "TLS on the admin listener"),
    ("Shutdown", "handover", "handing listeners to a new process"),
    ("Shutdown", "delay", "waiting before the listeners close"),
];

/// Everything that a configuration file may say.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Buckler's configuration")]
pub(super) struct File {
    /// Further files of the same form, relative to this one. `*` in the last part of the path stands for any run of
    /// characters; the files are read in the order of their names. Maps are joined key by key, the lists `agreements`,
    /// `costs` and `rules` of a service one after another; anything else that two files define is an error. Only the
    /// first file may include.
    pub(super) include: Field<List<String>>,
    /// How many shards: threads with their own listeners and worker connections. Default: the number of CPUs.
    /// From 1 to 1024.
    pub(super) threads: Field<u32>,
    /// Where operators look: metrics, health, status. Default: no admin listener.
    pub(super) admin: Field<Admin>,
    /// How `srv` names are resolved.
    pub(super) dns: Field<Dns>,
    /// How a caller is known, the same for all services.
    pub(super) callers: Field<Callers>,
    /// The services, by name. A name has 1 to 63 of the characters `a-z A-Z 0-9 - _ .`.
    #[schemars(required)]
    pub(super) services: Field<Named<Service>>,
    /// One line for each request.
    pub(super) access_log: Field<AccessLog>,
    /// The operator's log, on standard error.
    pub(super) log: Field<Log>,
    /// What TERM does.
    pub(super) shutdown: Field<Shutdown>,
}

/// The admin listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Admin {
    /// Its address. Danger: whoever reaches it sees every caller's name and use; so an address that is not loopback
    /// needs `token_file`.
    #[schemars(required)]
    pub(super) listen: Field<AddressText>,
    /// A file whose first line must come as `Authorization: Bearer ...`. Relative to the file that names it.
    /// Default: no token, loopback only.
    pub(super) token_file: Field<String>,
}

/// DNS.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Dns {
    /// Servers, asked in this order. Default: the system's resolver.
    pub(super) servers: Field<List<AddressText>>,
    /// A longer TTL is asked again after this. Default 30s, from 1s to 1d.
    pub(super) max_ttl: Field<SpanText>,
    /// How long one question to one server may take. Default 1s, from 1ms to 1m.
    pub(super) timeout: Field<SpanText>,
}

/// How a caller is known.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Callers {
    /// Peers whose X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Request-Id are believed. Default: none.
    /// Danger: whoever calls from here can claim to be any address.
    pub(super) trusted_proxies: Field<List<NetworkText>>,
    /// Credentials in the order in which they are looked at. The first that is present decides: right, it names the
    /// caller; wrong, the answer is 401. `address` is always present and so must stand last.
    /// Default `[api_key, address]`, with `certificate` first if any caller of `known` has certificates.
    pub(super) identify: Field<List<Credential>>,
    /// Keys in a header.
    pub(super) api_key: Field<ApiKey>,
    /// How callers without a key are told apart.
    pub(super) address: Field<AddressPrefixes>,
    /// Callers with a name of their own.
    pub(super) known: Field<Named<KnownCaller>>,
    /// Quotas to be shared by name: each caller of a tier has its own bucket, per service.
    pub(super) tiers: Field<Named<Tier>>,
    /// How many callers are remembered.
    pub(super) ledger: Field<Ledger>,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Credential {
    /// The client's certificate. One that is valid and names nobody of `known` is a caller of its own.
    Certificate,
    /// A key in a header.
    ApiKey,
    /// The address of the peer, or what a trusted proxy says of it.
    Address,
}

/// Keys in a header.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ApiKey {
    /// The header. Default `x-api-key`. The worker never sees it.
    pub(super) header: Field<HeaderText>,
    /// What a key is that matches nobody. Default `refuse`: 401. `anonymous`: a caller of its own, named by the key's
    /// hash. Danger: then whoever invents keys has as many quotas as keys.
    pub(super) unknown: Field<UnknownKey>,
}

/// What a key is that matches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UnknownKey {
    /// Wrong: 401.
    Refuse,
    /// A caller of its own: `api_key:` and the first 12 hex digits of its hash.
    Anonymous,
}

/// How callers without a key are told apart: addresses with the same prefix are one caller.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct AddressPrefixes {
    /// For IPv4, 0 to 32 bits. Default 32.
    #[schemars(range(min = 0, max = 32))]
    pub(super) ipv4_prefix: Field<u8>,
    /// For IPv6, 0 to 128 bits. Default 64: what one customer usually has. Danger: with more, one customer is many
    /// callers.
    #[schemars(range(min = 0, max = 128))]
    pub(super) ipv6_prefix: Field<u8>,
}

/// A caller with a name of its own. It needs a key, a certificate or an address.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct KnownCaller {
    /// The SHA-256 of each of its keys, as `buckler key` prints them. Never the key itself.
    pub(super) api_keys: Field<List<KeyHash>>,
    /// Names in its certificates: the SPIFFE id `spiffe://example.test/playlist`, or the DNS name
    /// `playlist.example.test`.
    pub(super) certificates: Field<List<CertificateName>>,
    /// Networks it calls from; the longest prefix wins.
    pub(super) addresses: Field<List<NetworkText>>,
    /// Its tier.
    pub(super) tier: Field<String>,
}

/// What each caller of a tier may do, per service.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Tier {
    /// How often. Default: no limit on the rate.
    pub(super) rate: Field<RateText>,
    /// How many at once. Default: one second's worth, at least 1.
    #[schemars(range(min = 1))]
    pub(super) burst: Field<u32>,
    /// How many in progress. Default: no limit.
    #[schemars(range(min = 1))]
    pub(super) concurrent: Field<u32>,
    /// `shadow`: counted and logged, refuses nothing. Default `enforce`.
    pub(super) mode: Field<Mode>,
}

/// How many callers are remembered.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Ledger {
    /// How many callers' quotas are remembered at once. Default 1000000, which takes 16 MB (16 bytes each), all of it
    /// at the start; the services of the start share it equally. More callers than this are still limited, some of
    /// them together. From 1024 to 268435456.
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub(super) max_keys: Field<u32>,
}

/// One line for each request.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct AccessLog {
    /// Its form. Default `json`.
    pub(super) format: Field<LogFormat>,
    /// A file, or `stdout`. Relative to the file that names it. USR1 opens it anew. Default `stdout`.
    pub(super) path: Field<String>,
    /// So many refusals of one caller are logged each second, the rest is counted. Default 10.
    pub(super) refusals_per_second: Field<u32>,
    /// Whether query strings are logged. Default false. Danger: they often hold what nobody should read.
    pub(super) query: Field<bool>,
}

/// The form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Apache's combined format.
    Combined,
    /// Nothing.
    Off,
}

/// The operator's log.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, and so for parts: `info,buckler::workers=debug`.
    /// Default `info`.
    pub(super) level: Field<String>,
    /// Its form. Default `text`.
    pub(super) format: Field<OperatorFormat>,
}

/// The form of the operator's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OperatorFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What TERM does.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Shutdown {
    /// How long requests in progress are waited for. Default 30s, at most 1h.
    pub(super) grace: Field<SpanText>,
}
