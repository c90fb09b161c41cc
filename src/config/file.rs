//! The YAML exactly as it is written: one struct for each map, one field for each key. The comments are the reference
//! manual: `buckler schema` prints them. What a value must mean to be accepted stands in `check/`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::collect::{Located, Named};
use super::value::{
    AddressText, BytesOrNone, DayText, HeaderText, HostText, KeyHash, MethodText, NetworkText, PathText,
    RateText, SizeText, SpanOrOff, SpanText,
};

/// A key that may be left out. Required ones say so, and `check/` reports their absence.
pub(super) type Field<T> = Option<Located<T>>;
/// A list of located values.
pub(super) type List<T> = Vec<Located<T>>;

/// Maps that may be written as one value: the struct, and the key that the value then stands for.
pub(super) const ONE_VALUE: &[(&str, &str)] = &[("Worker", "address")];

/// Words that the contract already names and this version does not build: where, the word, what it will be.
pub(super) const PLANNED: &[(&str, &str, &str)] = &[
    ("File", "fleet", "limits shared between several Bucklers"),
    ("File", "outbound", "the way out, to remote services"),
    ("Service", "tls", "TLS on the port"),
    ("Service", "proxy_protocol", "the PROXY protocol"),
    ("Service", "health", "health checks and ejection"),
    ("Service", "retries", "retries"),
    ("Service", "retry", "retries"),
    ("Service", "capacity", "a bound on requests in progress with a queue"),
    ("Service", "fallback", "an answer of Buckler's own when no worker can"),
    ("Service", "connections", "the age of connections; `bounds.connections` is their number"),
    ("Service", "forward_client_certificate", "telling workers of client certificates"),
    ("Workers", "protocol", "HTTP/2 to workers"),
    ("Workers", "balance", "other ways to choose a worker"),
    ("Workers", "concurrent_per_worker", "a bound on requests in progress at each worker"),
    ("Workers", "slow_start", "slow start"),
    ("Workers", "tls", "TLS to workers"),
    ("Limits", "scope", "limits shared between several Bucklers"),
    ("Quota", "scope", "limits shared between several Bucklers"),
    ("Tier", "scope", "limits shared between several Bucklers"),
    ("Agreement", "scope", "limits shared between several Bucklers"),
    ("KnownCaller", "certificate", "callers known by their certificates"),
    ("KnownCaller", "certificates", "callers known by their certificates"),
    ("Credential", "certificate", "callers known by their certificates"),
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
    /// Default `[api_key, address]`.
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

/// A caller with a name of its own. It needs a key or an address.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct KnownCaller {
    /// The SHA-256 of each of its keys, as `buckler key` prints them. Never the key itself.
    pub(super) api_keys: Field<List<KeyHash>>,
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
    /// at the start. More callers than this are still limited, some of them together. From 1024 to 268435456.
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub(super) max_keys: Field<u32>,
}

/// One service: one port in front of its workers.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Service {
    /// The address of its one port: `127.0.0.1:4070` or `"[::1]:4070"`.
    #[schemars(required)]
    pub(super) listen: Field<AddressText>,
    /// Who does the work.
    #[schemars(required)]
    pub(super) workers: Field<Workers>,
    /// Who may do what. Default: everybody everything.
    pub(super) permissions: Field<Permissions>,
    /// How much. Default: no limits.
    pub(super) limits: Field<Limits>,
    /// How long. All have safe defaults.
    pub(super) timeouts: Field<Timeouts>,
    /// How large and how many. All have safe defaults.
    pub(super) bounds: Field<Bounds>,
}

/// Where the workers come from: `addresses` or `srv`, not both.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Workers {
    /// The workers, at least one, at most 10000, no two alike.
    pub(super) addresses: Field<List<Worker>>,
    /// The name of SRV records, from which priority and weight come too: `_playlist._http.example.test`.
    pub(super) srv: Field<String>,
}

/// One worker: its address alone, or with its place and share.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = super::schema::or_address)]
pub(super) struct Worker {
    /// Its address: `127.0.0.1:9001`.
    #[schemars(required)]
    pub(super) address: Field<AddressText>,
    /// Lower is tried first (RFC 2782). Default 0.
    pub(super) priority: Field<u16>,
    /// Its share among those of the same priority. Default 1. With 0 it gets very little.
    pub(super) weight: Field<u16>,
}

/// Who may do what: the first rule that matches decides.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Permissions {
    /// When no rule matches. Default `allow`.
    pub(super) default: Field<Verdict>,
    /// The rules, in the order in which they are tried.
    pub(super) rules: Field<List<Rule>>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The request goes on.
    Allow,
    /// The answer is 403.
    Deny,
}

/// One rule: `allow` or `deny`, not both.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Rule {
    /// Requests that may pass. `{}` matches all.
    pub(super) allow: Field<Match>,
    /// Requests that are refused with 403. `{}` matches all.
    pub(super) deny: Field<Match>,
    /// Why; whoever is refused reads it.
    pub(super) reason: Field<String>,
    /// From this day on the rule no longer applies. Default: it always applies.
    pub(super) until: Field<DayText>,
    /// `shadow`: counted and logged, decides nothing. Default `enforce`.
    pub(super) mode: Field<Mode>,
}

/// Which requests: those that fit everything written. What is left out fits all.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Match {
    /// Names of callers, and patterns of names in which `*` stands for any run of characters: `web`, `address:10.*`.
    pub(super) callers: Field<List<String>>,
    /// Tiers.
    pub(super) tiers: Field<List<String>>,
    /// Methods, as in the request: `GET`, `DELETE`.
    pub(super) methods: Field<List<MethodText>>,
    /// Hosts, compared without case, port or a trailing dot; `*.example.test` stands for one label more.
    pub(super) hosts: Field<List<HostText>>,
    /// Path patterns: `*` one segment, `**` any rest, also none: `/admin/**` matches `/admin` too.
    pub(super) paths: Field<List<PathText>>,
}

/// Whether it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// It decides.
    Enforce,
    /// Counted and logged, decides nothing.
    Shadow,
}

/// How much. A caller's own quota is the agreement that names it, else its tier's, else `default`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Limits {
    /// Who is told `RateLimit` and `RateLimit-Policy`. Default `named`.
    pub(super) headers: Field<LimitHeaders>,
    /// Each caller without an agreement or a tier. Default: no limit for them.
    pub(super) default: Field<Quota>,
    /// All callers together. Over it the answer is 503. Default: no limit.
    pub(super) total: Field<Quota>,
    /// What was agreed with callers of `known`. No caller may stand in two.
    pub(super) agreements: Field<List<Agreement>>,
    /// Requests that take more than 1 from the caller's and the total's quota. The first that matches counts.
    pub(super) costs: Field<List<Cost>>,
}

/// Who is told how much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LimitHeaders {
    /// Every answer.
    Always,
    /// Answers to callers of `known`, and refusals.
    Named,
    /// Refusals by a limit only.
    Refused,
    /// Nobody.
    Never,
}

/// How often, how many at once, how many in progress. It needs `rate` or `concurrent`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Quota {
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

/// What was agreed with one caller, or with several.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Agreement {
    /// The caller of `known` that it names.
    pub(super) caller: Field<String>,
    /// The callers of `known` that it names, instead of `caller`.
    pub(super) callers: Field<List<String>>,
    /// One bucket for all of `callers` together. Default false: each has its own.
    pub(super) shared: Field<bool>,
    /// How often. Default: no limit on the rate.
    pub(super) rate: Field<RateText>,
    /// How many at once. Default: one second's worth, at least 1.
    #[schemars(range(min = 1))]
    pub(super) burst: Field<u32>,
    /// How many in progress. Default: no limit.
    #[schemars(range(min = 1))]
    pub(super) concurrent: Field<u32>,
    /// Who answers for it.
    pub(super) owner: Field<String>,
    /// Why it was agreed.
    pub(super) reason: Field<String>,
    /// From this day on it is as if it were not there, and is shown as expired. Default: it does not end.
    pub(super) until: Field<DayText>,
    /// `shadow`: counted and logged, refuses nothing. Default `enforce`.
    pub(super) mode: Field<Mode>,
}

/// A request that takes more.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Cost {
    /// Path patterns. Default: all paths.
    pub(super) paths: Field<List<PathText>>,
    /// Methods. Default: all methods.
    pub(super) methods: Field<List<MethodText>>,
    /// How many it takes. No more than the burst of any quota that it can meet.
    #[schemars(required, range(min = 1))]
    pub(super) cost: Field<u32>,
}

/// How long. Each runs between two events and begins anew with each of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Timeouts {
    /// From accept, or the first byte of a further request, to the end of its head: 408, then close. Default 10s.
    pub(super) head: Field<SpanText>,
    /// Between two reads of the request body: 408. Default 30s.
    pub(super) body: Field<SpanText>,
    /// Between two writes that the client takes: close. Default 30s.
    pub(super) send: Field<SpanText>,
    /// An idle client connection: close. Default 75s.
    pub(super) keep_alive: Field<SpanText>,
    /// To a worker: the next worker, at last 504. Default 1s.
    pub(super) connect: Field<SpanText>,
    /// From the end of the request to the worker's head: 504. Default 60s.
    pub(super) response: Field<SpanText>,
    /// Between two reads of the worker's body: the answer is cut. Default 60s.
    pub(super) idle: Field<SpanText>,
    /// From the request's head to the answer's end. Default `off`.
    pub(super) total: Field<SpanOrOff>,
}

/// How large and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Bounds {
    /// Of a request's head: 431. Default 32KiB, from 1KiB to 1MiB.
    pub(super) head_bytes: Field<SizeText>,
    /// Fields in a request's head: 431. Default 100, from 1 to 1000.
    pub(super) head_fields: Field<u32>,
    /// Of the request target: 414. Default 8KiB, from 64B to `head_bytes`.
    pub(super) uri_bytes: Field<SizeText>,
    /// Of a request's body: 413. Default `none`.
    pub(super) body_bytes: Field<BytesOrNone>,
    /// Of a worker's answer's head: 502. Default 64KiB, from 1KiB to 1MiB.
    pub(super) response_head_bytes: Field<SizeText>,
    /// Client connections at once, over all shards: 503 and close. Default 10000.
    #[schemars(range(min = 1))]
    pub(super) connections: Field<u32>,
    /// Worker connections at once, over all shards and workers: 503. Default 10000.
    #[schemars(range(min = 1))]
    pub(super) worker_connections: Field<u32>,
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
