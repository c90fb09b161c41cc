//! Every answer that Buckler gives by itself: one enum of reasons, one table from reason to status, word, title and
//! fault. How it looks on the wire stands in `refusal/page.rs` and `refusal/kept.rs`, for gRPC in `refusal/grpc.rs`;
//! what may be answered instead, in `refusal/fallback.rs`; who decides to refuse stands elsewhere.

pub mod fallback;
pub mod grpc;
mod kept;
pub mod page;
mod rule;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use rule::{HeldRule, RuleRef};

/// Why Buckler answered by itself. One cause, one status, one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The request is malformed or could be read in two ways (RFC 9112 section 11.2).
    BadRequest,
    /// Not HTTP/1.0 or HTTP/1.1.
    HttpVersion,
    /// CONNECT and TRACE are never forwarded (RFC 9110 sections 9.3.6 and 9.3.8).
    MethodRefused,
    /// A credential is present and wrong.
    NoIdentity,
    /// A permission rule, or the default, says no.
    DeniedByRule,
    /// The connection was made for another server than the one asked for (RFC 9110 section 15.5.20).
    Misdirected,
    /// The client was too slow with its head or its body.
    ClientTimeout,
    /// The body is longer than `bounds.body_bytes`.
    BodyTooLarge,
    /// The request target is longer than `bounds.uri_bytes`.
    UriTooLong,
    /// The head is longer than `bounds.head_bytes` or has more fields than `bounds.head_fields`.
    HeadTooLarge,
    /// The caller's own rate.
    CallerRate,
    /// The caller's own number of requests in progress.
    CallerConcurrency,
    /// The service's `total`, shared by all callers.
    ServiceLimit,
    /// More client connections than `bounds.connections`.
    Connections,
    /// No place is free: `capacity`, every worker's `concurrent_per_worker`, or `bounds.worker_connections`.
    Overload,
    /// Most of the newest requests failed at the workers, and this one was not among the few that still try.
    WorkersFailing,
    /// No worker is known for this service, or none has passed its first check.
    NoWorkers,
    /// No worker took the connection.
    WorkerConnect,
    /// The worker closed or reset before its answer was complete.
    WorkerReset,
    /// The worker's answer is not HTTP that may be passed on.
    WorkerProtocol,
    /// The worker did not answer in time.
    WorkerTimeout,
    /// The client went away first; never sent, only logged.
    ClientClosed,
    /// A fault of Buckler's own.
    Internal,
}

/// Whose doing a refusal is; alerts and people ask this first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The caller's own request, credential, rule or quota: 4xx.
    Caller,
    /// Something shared by all callers, or Buckler itself: 500 and 503.
    Ours,
    /// The worker's: 502 and 504.
    Worker,
}

/// One row of the table.
struct Row {
    reason: Reason,
    status: u16,
    word: &'static str,
    title: &'static str,
    /// Error type of RFC 9209 section 2.3 for `Proxy-Status`.
    proxy_error: &'static str,
    whose: Whose,
}

const fn row(
    reason: Reason,
    status: u16,
    word: &'static str,
    title: &'static str,
    proxy_error: &'static str,
    whose: Whose,
) -> Row {
    Row { reason, status, word, title, proxy_error, whose }
}

use Reason as R;
use Whose::{Caller, Ours, Worker};

#[rustfmt::skip]
const TABLE: [Row; Reason::COUNT] = [
    row(R::BadRequest,        400, "bad_request",        "The request is malformed or ambiguous",          "http_request_error",          Caller),
    row(R::HttpVersion,       505, "http_version",       "Only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here", "http_request_error",          Caller),
    row(R::MethodRefused,     405, "method_refused",     "This method is never forwarded",                 "http_request_denied",         Caller),
    row(R::NoIdentity,        401, "no_identity",        "The credential is not known here",               "http_request_denied",         Caller),
    row(R::DeniedByRule,      403, "denied_by_rule",     "A rule does not allow this request",             "http_request_denied",         Caller),
    row(R::Misdirected,       421, "misdirected",        "This connection is for another server name",     "http_request_error",          Caller),
    row(R::ClientTimeout,     408, "client_timeout",     "The request did not arrive in time",             "http_request_error",          Caller),
    row(R::BodyTooLarge,      413, "body_too_large",     "The body is longer than allowed",                "http_request_error",          Caller),
    row(R::UriTooLong,        414, "uri_too_long",       "The request target is longer than allowed",      "http_request_error",          Caller),
    row(R::HeadTooLarge,      431, "head_too_large",     "The header section is larger than allowed",      "http_request_error",          Caller),
    row(R::CallerRate,        429, "caller_rate",        "The caller's rate is used up",                   "http_request_denied",         Caller),
    row(R::CallerConcurrency, 429, "caller_concurrency", "Too many requests of this caller in progress",   "http_request_denied",         Caller),
    row(R::ServiceLimit,      503, "service_limit",      "The service's total rate is used up",            "http_request_denied",         Ours),
    row(R::Connections,       503, "connections",        "Too many client connections",                    "connection_limit_reached",    Ours),
    row(R::Overload,          503, "overload",           "The service has no place free for this request", "connection_limit_reached",    Ours),
    row(R::WorkersFailing,    503, "workers_failing",    "Most requests fail at the workers now",          "destination_unavailable",     Ours),
    row(R::NoWorkers,         503, "no_workers",         "No worker of this service can be asked",           "destination_unavailable",     Ours),
    row(R::WorkerConnect,     502, "worker_connect",     "No worker took the connection",                  "connection_refused",          Worker),
    row(R::WorkerReset,       502, "worker_reset",       "The worker ended the connection early",          "connection_terminated",       Worker),
    row(R::WorkerProtocol,    502, "worker_protocol",    "The worker's answer is not valid HTTP",          "http_protocol_error",         Worker),
    row(R::WorkerTimeout,     504, "worker_timeout",     "The worker did not answer in time",              "http_response_timeout",       Worker),
    row(R::ClientClosed,      499, "client_closed",      "The client went away",                           "http_request_error",          Caller),
    row(R::Internal,          500, "internal",           "A fault of the proxy itself",                    "proxy_internal_error",        Ours),
];

impl Reason {
    /// How many reasons there are; sizes the arrays of counters.
    pub const COUNT: usize = Self::Internal as usize + 1;

    /// All reasons, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.reason)
    }

    /// The place of this reason in arrays of [`Reason::COUNT`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The status code that the client sees.
    pub const fn status(self) -> u16 {
        TABLE[self as usize].status
    }

    /// The word in logs, metrics and bodies.
    pub const fn word(self) -> &'static str {
        TABLE[self as usize].word
    }

    /// The same in a sentence.
    pub const fn title(self) -> &'static str {
        TABLE[self as usize].title
    }

    /// The error type for `Proxy-Status` (RFC 9209 section 2.3).
    pub const fn proxy_error(self) -> &'static str {
        TABLE[self as usize].proxy_error
    }

    /// Whose doing it is.
    pub const fn whose(self) -> Whose {
        TABLE[self as usize].whose
    }
}

/// A refusal: the reason and what is known about it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The row of the table.
    pub reason: Reason,
    /// What exactly was wrong, for the log and the body. Never holds what the client sent.
    pub detail: &'static str,
    /// The rule that decided, if one did.
    pub rule: Option<HeldRule>,
    /// How long to wait before the same request may pass, where waiting helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with nothing more to say than its reason and a detail.
    pub const fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail, rule: None, retry_after: None }
    }

    /// The same, by this rule.
    #[must_use]
    pub fn by(mut self, rule: &Arc<RuleRef>) -> Self {
        self.rule = Some(HeldRule::of(rule));
        self
    }

    /// The same, to be tried again after `wait`.
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.word(), self.detail)
    }
}

impl std::error::Error for Refusal {}
