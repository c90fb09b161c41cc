//! May this request pass? Three questions in a fixed order, each a plain call on pure data and a `now`:
//!
//! ```text
//! caller (who is it?)  →  permission (is that one allowed to do this?)  →  limit (does it still have quota?)
//! ```
//!
//! The order is the point. A quota belongs to somebody, so [`caller`] comes first, and a wrong credential ends the
//! request before anything is counted for anyone. What is forbidden stays forbidden however little is used, and it
//! must not eat anybody's quota, so [`permission`] stands before [`limit`]. The limit is last because it is the only
//! question whose answer changes the state: whoever passes it is charged.
//!
//! All three judge the canonical [`path`] and [`host`], which are also what the worker gets: there is no second
//! reading of a target that could disagree with the first. [`pattern`] compares both with what rules say.
//!
//! For the time that a request is in progress it also needs a place of the service's [`capacity`]. That is asked
//! between the last two questions, by `inbound/room.rs`: who gets none has been charged nothing.
//!
//! The state lies in the [`ledger`], which outlives every [`limit::LimitBook`] (reloads build new books over the old
//! ledger); [`concurrency`] counts requests in progress; [`cost`] says what a request takes; [`headers`] tells clients.
//!
//! Nothing here reads a clock or touches a socket.

pub mod caller;
pub mod capacity;
pub mod concurrency;
pub mod cost;
pub mod forwarded;
pub mod headers;
pub mod host;
pub mod ledger;
pub mod limit;
mod meter;
pub mod path;
pub mod pattern;
pub mod permission;
mod seed;

use std::sync::Arc;

use http::Method;

use crate::clock::Moment;
use crate::config::Verdict;
use crate::refusal::{Reason, RuleRef};

use caller::Caller;
use limit::{Grant, LimitBook, Refused};
use permission::RuleBook;

/// What rules and limits look at beside the caller. Host and path are canonical ([`host`], [`path`]).
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host: lower case, no port, no trailing dot.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
}

/// What a rule or limit in `mode: shadow` would have decided. It is counted and logged and changes nothing.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// The rule or limit.
    pub rule: Arc<RuleRef>,
    /// The word a refusal would have had.
    pub reason: Reason,
    /// What it would have said.
    pub would: Verdict,
}

/// Asks the last two questions in their order: permission, then limit. `name` is what
/// [`caller::CallerBook::name`] says of `caller`. `shadows` takes what shadow rules and limits would have said.
///
/// # Errors
/// The refusal of the rule or limit that said no. A refusal has charged nothing.
pub fn decide(
    (rules, limits): (&RuleBook, &LimitBook),
    (caller, name): (&Caller, &str),
    facts: &Facts<'_>,
    now: Moment,
    shadows: &mut Vec<Shadow>,
) -> Result<Grant, Refused> {
    permission::judge(rules, (caller, name), facts, now, shadows).map_err(Refused::without_standing)?;
    limits.charge(caller, facts, now, shadows)
}
