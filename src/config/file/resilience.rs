//! What keeps a service up while its workers or callers misbehave, as it is written: balance, health, capacity,
//! retries, fallback.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Field, List};
use crate::config::collect::Named;
use crate::config::value::{AuthorityText, HeaderText, ShareText, SpanText, StatusText, TargetText};

/// Who of the workers of one priority gets a request: one word, or with a header.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = crate::config::schema::or_balance_word)]
pub(in crate::config) struct Balance {
    /// The way.
    #[schemars(required)]
    pub(in crate::config) by: Field<BalanceBy>,
    /// Only with `ring`: requests with the same value of this header go to the same worker; those without it go by
    /// their caller. Default: all go by their caller.
    pub(in crate::config) header: Field<HeaderText>,
}

/// A way to choose a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum BalanceBy {
    /// Turns in proportion to weight.
    Weighted,
    /// Of two drawn at random the one with fewer requests in progress, by weight.
    LeastRequests,
    /// Always the same one for the same caller or header, as long as it has room.
    Ring,
}

/// How it is seen that a worker is ill.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// A worker that fails or is slow, compared with its siblings, gets a smaller share of the requests, and a service
    /// whose workers all fail is asked less. Default true.
    pub(in crate::config) passive: Field<bool>,
    /// If a greater part of the workers of one priority is ejected and no other priority has a usable one, all of them
    /// are used: bad workers are better than none. Default `50%`, from 0% to 100%.
    pub(in crate::config) max_ejected: Field<ShareText>,
    /// Workers are asked how they are, on connections of their own. Default: they are not asked.
    pub(in crate::config) check: Field<Check>,
}

/// What workers are asked, how often, and what follows.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Check {
    /// What is asked. Default `http`, and `tcp` for a service of `protocol: tcp`.
    pub(in crate::config) kind: Field<CheckKind>,
    /// Of an HTTP check: what is asked for. Default `/`.
    pub(in crate::config) path: Field<TargetText>,
    /// Of an HTTP check: what stands in `Host`. Default: the worker's address.
    pub(in crate::config) host: Field<AuthorityText>,
    /// Of an HTTP check: statuses that are good, alone or from one to another: `[200, 204-299]`. Default `[200-399]`.
    #[schemars(transform = crate::config::schema::or_numbers)]
    pub(in crate::config) status: Field<List<StatusText>>,
    /// Of an HTTP check: a text that the first 64 KiB of the body must hold. Default: whatever they hold.
    pub(in crate::config) body: Field<String>,
    /// Of a gRPC check: the service that is asked for. Default: the server as a whole.
    pub(in crate::config) service: Field<String>,
    /// From the beginning of one check of a worker to the next, give or take a tenth. Default 5s, from 10ms to 1h.
    pub(in crate::config) interval: Field<SpanText>,
    /// How long a check may take, all of it. Default 1s, or `interval` if that is shorter; from 1ms to `interval`.
    pub(in crate::config) timeout: Field<SpanText>,
    /// So many successes in a row bring an ejected worker back. Default 2, from 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) healthy_after: Field<u32>,
    /// So many failures in a row eject a worker. Default 3, from 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) unhealthy_after: Field<u32>,
    /// A worker gets nothing before its first success. Default false: it is usable at once.
    pub(in crate::config) required_at_start: Field<bool>,
}

/// What a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum CheckKind {
    /// A GET in the protocol that is spoken with the workers.
    Http,
    /// Whether a connection can be made.
    Tcp,
    /// `grpc.health.v1.Health/Check`. It needs workers of `protocol: http2`.
    Grpc,
}

/// When a request is sent again. A worker that takes no connection is passed over, which is no retry; all others are:
/// only of requests that may be sent twice or that no worker has begun with, after a short pause, and never to the same
/// worker while another is usable.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Retries {
    /// How often a request may be sent in all. 1: never again. Default 2, from 1 to 10.
    #[schemars(range(min = 1, max = 10))]
    pub(in crate::config) attempts: Field<u32>,
    /// Retries as a share of the requests. Default `20%`, from 0% to 100%.
    pub(in crate::config) budget: Field<ShareText>,
    /// Statuses of a worker that are asked of another one instead of passed on, from 500 to 599. Default none.
    #[schemars(inner(range(min = 500, max = 599)))]
    pub(in crate::config) on: Field<List<u16>>,
}

/// How many requests the workers get at once: `concurrent` and `wait`, or the facts that both follow from: `rps`,
/// `latency` and `burst`. Over it the answer is 503. Of `protocol: tcp` it bounds connections.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Capacity {
    /// Requests in progress, over all shards, until the last byte of the answer. While several workers are used, each
    /// of them holds at most 1.5 times its part of these places. From 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) concurrent: Field<u32>,
    /// How long a request may wait for a place, in this bound or at a worker. Default 0s, from 0s to 1m. If
    /// `workers.concurrent_per_worker` is the only bound: default 1s, or `timeouts.total` if that is shorter.
    pub(in crate::config) wait: Field<SpanText>,
    /// Requests in the busiest normal second. `concurrent` is `rps` times `latency`, rounded up. From 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) rps: Field<u32>,
    /// What a normal request takes. From 1us to 1h.
    pub(in crate::config) latency: Field<SpanText>,
    /// Requests that may come at once on top and wait: `wait` is `burst` times `latency` by `concurrent`, rounded up
    /// to a whole millisecond. Default 0, from 0 to 1000000.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) burst: Field<u32>,
}

/// A fixed answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Fallback {
    /// Its status. Default 200, from 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub(in crate::config) status: Field<u16>,
    /// Its headers, by name. None that frames or routes a message, or that Buckler sets itself.
    pub(in crate::config) headers: Field<Named<String>>,
    /// Its body, at most 64 KiB. Default: empty.
    pub(in crate::config) body: Field<String>,
}
