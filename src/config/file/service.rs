//! One entry of `services` as it is written: workers, permissions, limits, timeouts and bounds.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Balance, Capacity, Connections, Fallback, Field, Health, List, Protocol, Retries, Socket, Tls,
    WorkerProtocol,
};
use crate::config::value::{
    BytesOrNone, DayText, EndpointText, HeaderText, HostText, MethodText, PathText, RateText, SizeText,
    SpanOrOff, SpanText,
};

/// One service: one port in front of its workers.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Service {
    /// The address of its one port: `127.0.0.1:4070` or `"[::1]:4070"`; or a socket of the file system: `unix:/path`,
    /// of at most 107 bytes, relative to the file that names it.
    #[schemars(required)]
    pub(in crate::config) listen: Field<EndpointText>,
    /// Whose the file of a Unix socket is. Only with `listen: unix:/path`.
    pub(in crate::config) socket: Field<Socket>,
    /// What clients speak. `tcp`: bytes, of which Buckler understands none; keys about requests are then errors.
    /// Default `http`.
    pub(in crate::config) protocol: Field<Protocol>,
    /// Every connection begins with a PROXY header, version 1 or 2, which names the client; one without it is refused.
    /// It is believed of `callers.trusted_proxies`; who connects to a Unix socket counts as 127.0.0.1. Default false.
    pub(in crate::config) proxy_protocol: Field<bool>,
    /// TLS on the port. Default: none.
    pub(in crate::config) tls: Field<Tls>,
    /// Workers are told of the client's certificate in `x-forwarded-client-cert`. Whether or not, what clients send
    /// under that name is removed. Default false.
    pub(in crate::config) forward_client_certificate: Field<bool>,
    /// The protocols that a request may ask to go on with (`Upgrade`, RFC 9110 section 7.8); the wish for any other is
    /// not passed on. WebSocket needs no more than the default. Default `[websocket]`.
    pub(in crate::config) upgrades: Field<List<String>>,
    /// How long a client connection is kept. Default: as long as the client likes.
    pub(in crate::config) connections: Field<Connections>,
    /// Who does the work.
    #[schemars(required)]
    pub(in crate::config) workers: Field<Workers>,
    /// How it is seen that a worker is ill, and how many may be left out for it.
    pub(in crate::config) health: Field<Health>,
    /// How many requests the workers get at once, and how long others wait. Default: no bound but those of `bounds`
    /// and `workers.concurrent_per_worker`.
    pub(in crate::config) capacity: Field<Capacity>,
    /// When a request is sent again.
    pub(in crate::config) retries: Field<Retries>,
    /// Another name of `retries`; only one of the two may stand here.
    pub(in crate::config) retry: Field<Retries>,
    /// What is answered instead of a 502, 503 or 504 of Buckler's own, for a service that its callers can do without.
    /// A gRPC request keeps its own status. Default: they are told as they are.
    pub(in crate::config) fallback: Field<Fallback>,
    /// Who may do what. Default: everybody everything.
    pub(in crate::config) permissions: Field<Permissions>,
    /// How much. Default: no limits.
    pub(in crate::config) limits: Field<Limits>,
    /// How long. All have safe defaults.
    pub(in crate::config) timeouts: Field<Timeouts>,
    /// How large and how many. All have safe defaults.
    pub(in crate::config) bounds: Field<Bounds>,
}

/// Where the workers come from: `addresses` or `srv`, not both.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Workers {
    /// The workers, at least one, at most 10000, no two alike.
    pub(in crate::config) addresses: Field<List<Worker>>,
    /// The name of SRV records, from which priority and weight come too: `_playlist._http.example.test`.
    pub(in crate::config) srv: Field<String>,
    /// What is spoken with them. Default `http1`.
    pub(in crate::config) protocol: Field<WorkerProtocol>,
    /// Each connection to a worker begins with a PROXY header, version 2, which names the client; so each is of one
    /// client only. Default false.
    pub(in crate::config) send_proxy_protocol: Field<bool>,
    /// Who of the workers of one priority gets a request: a word, or a map of `by` and `header`. Default `weighted`.
    pub(in crate::config) balance: Field<Balance>,
    /// Requests in progress at each worker, over all shards, until the last byte of the answer; a free worker gets the
    /// next one, and if none is free it waits for `capacity.wait`: 503. Write 1 for a worker that does one thing at a
    /// time. Default: no bound. From 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) concurrent_per_worker: Field<u32>,
    /// How long a worker that returns, or joins others, takes to grow into its whole share. Default 10s, from 0s to 1h.
    pub(in crate::config) slow_start: Field<SpanText>,
}

/// One worker: its address alone, or with its place and share.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = crate::config::schema::or_address)]
pub(in crate::config) struct Worker {
    /// Its address: `127.0.0.1:9001`, or `unix:/path`, relative to the file that names it.
    #[schemars(required)]
    pub(in crate::config) address: Field<EndpointText>,
    /// Lower is tried first (RFC 2782). Default 0.
    pub(in crate::config) priority: Field<u16>,
    /// Its share among those of the same priority. Default 1. With 0 it gets very little.
    pub(in crate::config) weight: Field<u16>,
}

/// Who may do what: the first rule that matches decides.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Permissions {
    /// When no rule matches. Default `allow`.
    pub(in crate::config) default: Field<Verdict>,
    /// The rules, in the order in which they are tried. At most 1000.
    pub(in crate::config) rules: Field<List<Rule>>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Verdict {
    /// The request goes on.
    Allow,
    /// The answer is 403.
    Deny,
}

/// One rule: `allow` or `deny`, not both.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// Requests that may pass. `{}` matches all.
    pub(in crate::config) allow: Field<Match>,
    /// Requests that are refused with 403. `{}` matches all.
    pub(in crate::config) deny: Field<Match>,
    /// Why; whoever is refused reads it.
    pub(in crate::config) reason: Field<String>,
    /// From this day on the rule no longer applies. Default: it always applies.
    pub(in crate::config) until: Field<DayText>,
    /// `shadow`: counted and logged, decides nothing. Default `enforce`.
    pub(in crate::config) mode: Field<Mode>,
}

/// Which requests: those that fit everything written. What is left out fits all.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Match {
    /// Names of callers, and patterns of names in which `*` stands for any run of characters: `web`, `address:10.*`.
    pub(in crate::config) callers: Field<List<String>>,
    /// Tiers.
    pub(in crate::config) tiers: Field<List<String>>,
    /// Methods, as in the request: `GET`, `DELETE`.
    pub(in crate::config) methods: Field<List<MethodText>>,
    /// Hosts, compared without case, port or a trailing dot; `*.example.test` stands for one label more.
    pub(in crate::config) hosts: Field<List<HostText>>,
    /// Path patterns: `*` one segment, `**` any rest, also none: `/admin/**` matches `/admin` too.
    pub(in crate::config) paths: Field<List<PathText>>,
}

/// Whether it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Mode {
    /// It decides.
    Enforce,
    /// Counted and logged, decides nothing.
    Shadow,
}

/// How much. A caller's own quota is the agreement that names it, else its tier's, else `default`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Who is told `RateLimit` and `RateLimit-Policy`. Default `named`.
    pub(in crate::config) headers: Field<LimitHeaders>,
    /// Each caller without an agreement or a tier. Default: no limit for them.
    pub(in crate::config) default: Field<Quota>,
    /// All callers together. Over it the answer is 503. Default: no limit.
    pub(in crate::config) total: Field<Quota>,
    /// What was agreed with callers of `known`. No caller may stand in two.
    pub(in crate::config) agreements: Field<List<Agreement>>,
    /// Requests that take more than 1 from the caller's and the total's quota. The first that matches counts.
    pub(in crate::config) costs: Field<List<Cost>>,
}

/// Who is told how much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum LimitHeaders {
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
pub(in crate::config) struct Quota {
    /// How often. Default: no limit on the rate.
    pub(in crate::config) rate: Field<RateText>,
    /// How many at once. Default: one second's worth, at least 1.
    #[schemars(range(min = 1))]
    pub(in crate::config) burst: Field<u32>,
    /// How many in progress. Default: no limit.
    #[schemars(range(min = 1))]
    pub(in crate::config) concurrent: Field<u32>,
    /// `shadow`: counted and logged, refuses nothing. Default `enforce`.
    pub(in crate::config) mode: Field<Mode>,
}

/// What was agreed with one caller, or with several.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Agreement {
    /// The caller of `known` that it names.
    pub(in crate::config) caller: Field<String>,
    /// The callers of `known` that it names, instead of `caller`.
    pub(in crate::config) callers: Field<List<String>>,
    /// One bucket for all of `callers` together. Default false: each has its own.
    pub(in crate::config) shared: Field<bool>,
    /// How often. Default: no limit on the rate.
    pub(in crate::config) rate: Field<RateText>,
    /// How many at once. Default: one second's worth, at least 1.
    #[schemars(range(min = 1))]
    pub(in crate::config) burst: Field<u32>,
    /// How many in progress. Default: no limit.
    #[schemars(range(min = 1))]
    pub(in crate::config) concurrent: Field<u32>,
    /// Who answers for it.
    pub(in crate::config) owner: Field<String>,
    /// Why it was agreed.
    pub(in crate::config) reason: Field<String>,
    /// From this day on it is as if it were not there, and is shown as expired. Default: it does not end.
    pub(in crate::config) until: Field<DayText>,
    /// `shadow`: counted and logged, refuses nothing. Default `enforce`.
    pub(in crate::config) mode: Field<Mode>,
}

/// A request that takes more.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Cost {
    /// Path patterns. Default: all paths.
    pub(in crate::config) paths: Field<List<PathText>>,
    /// Methods. Default: all methods.
    pub(in crate::config) methods: Field<List<MethodText>>,
    /// How many it takes. No more than the burst of any quota that it can meet.
    #[schemars(required, range(min = 1))]
    pub(in crate::config) cost: Field<u32>,
}

/// How long. Each runs between two events and begins anew with each of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Timeouts {
    /// From accept to the end of the TLS handshake: close. Default 5s.
    pub(in crate::config) handshake: Field<SpanText>,
    /// From accept, or the first byte of a further request, to the end of its head: 408, then
    /// close. A PROXY header may take as long. Default 10s.
    pub(in crate::config) head: Field<SpanText>,
    /// Between two reads of the request body, until the answer begins: 408. Default 30s.
    pub(in crate::config) body: Field<SpanText>,
    /// Between two writes that the client takes: close. Default 30s.
    pub(in crate::config) send: Field<SpanText>,
    /// An idle client connection: close. Default 75s.
    pub(in crate::config) keep_alive: Field<SpanText>,
    /// An upgraded connection (WebSocket), or one of `protocol: tcp`, without a byte either way: close. Default 10m.
    pub(in crate::config) tunnel: Field<SpanText>,
    /// To a worker: the next worker, at last 504. Default 1s.
    pub(in crate::config) connect: Field<SpanText>,
    /// From the end of the request to the worker's head: 504. Default 60s.
    pub(in crate::config) response: Field<SpanText>,
    /// Between two reads of the worker's body: the answer is cut. Default 60s.
    pub(in crate::config) idle: Field<SpanText>,
    /// From the request's head to the answer's end. Default `off`.
    pub(in crate::config) total: Field<SpanOrOff>,
    /// The header in which workers are told how many milliseconds are left of `total`, at each attempt. What clients
    /// send under that name is removed. Only with `total`. Default: they are not told.
    pub(in crate::config) deadline_header: Field<HeaderText>,
}

/// How large and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Bounds {
    /// Of a request's head: 431. Default 32KiB, from 1KiB to 1MiB.
    pub(in crate::config) head_bytes: Field<SizeText>,
    /// Fields in a request's head: 431. Default 100, from 1 to 1000.
    pub(in crate::config) head_fields: Field<u32>,
    /// Of the request target: 414. Default 8KiB, from 64B to `head_bytes`, at most 65534B.
    pub(in crate::config) uri_bytes: Field<SizeText>,
    /// Of a request's body: 413. Default `none`.
    pub(in crate::config) body_bytes: Field<BytesOrNone>,
    /// Of a request's body in each second, at least, until the answer begins: all the waiting for it may last no longer
    /// than `timeouts.body` and the time that its bytes so far take at this rate: 408. A slow worker does not count.
    /// Default 240B, from 1B to 1GiB, or `none`.
    pub(in crate::config) upload_rate: Field<BytesOrNone>,
    /// Of a worker's answer's head: 502. Default 64KiB, from 1KiB to 1MiB.
    pub(in crate::config) response_head_bytes: Field<SizeText>,
    /// Client connections at once, over all shards: 503 and close. Default 10000.
    #[schemars(range(min = 1))]
    pub(in crate::config) connections: Field<u32>,
    /// TLS handshakes in progress, over all shards: close. Default 1000.
    #[schemars(range(min = 1))]
    pub(in crate::config) handshakes: Field<u32>,
    /// HTTP/2 requests at once on one client connection: the further one is refused, and may be tried again.
    /// Default 100, from 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) streams: Field<u32>,
    /// HTTP/2 requests at once on one worker connection: another connection. Default 100, from 1 to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::config) worker_streams: Field<u32>,
    /// Worker connections at once, over all shards and workers: 503. Default 10000.
    #[schemars(range(min = 1))]
    pub(in crate::config) worker_connections: Field<u32>,
}
