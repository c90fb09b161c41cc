//! The checked `limits`: quotas, agreements, costs. Measuring by them is `admit`'s.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::{Mode, PathPattern};
use crate::refusal::RuleRef;

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
