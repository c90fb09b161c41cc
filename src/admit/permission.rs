//! Whether a caller is allowed to do this: the rules of a service in order, the first that matches decides.
//!
//! A shadow rule that matches is noted and passed over: it never decides and never ends the walk, so the rules behind
//! it decide exactly as if it were not there. Which rules are looked at at all says `index.rs`: a request meets only
//! those that some part of it leads to, however many there are.

mod index;

use std::sync::Arc;

use crate::clock::Moment;
use crate::config::{self, CallerPattern, Mode, Permissions, Rule, Verdict};
use crate::refusal::{Reason, Refusal};

use super::caller::{Caller, Who};
use super::pattern::{any_path, glob_matches, host_matches};
use super::{Facts, Shadow};
use index::Index;

/// Fewer rules than this are asked one after another, which is quicker.
const FEW: usize = 8;

/// The permissions of a service, made ready for requests.
#[derive(Debug)]
pub struct RuleBook {
    service: Arc<config::Service>,
    /// None: there are few rules.
    index: Option<Index>,
}

impl RuleBook {
    /// Those of this service.
    pub fn new(service: &Arc<config::Service>) -> Self {
        let rules = &service.permissions.rules;
        let index = (rules.len() >= FEW).then(|| Index::new(rules));
        Self { service: Arc::clone(service), index }
    }
}

/// Whether `caller`, whose name is `name`, may do what `facts` say. Shadow rules that match go to `shadows`.
///
/// # Errors
/// 403 by the rule that denies, or by the default.
pub fn judge(
    book: &RuleBook,
    (caller, name): (&Caller, &str),
    facts: &Facts<'_>,
    now: Moment,
    shadows: &mut Vec<Shadow>,
) -> Result<(), Refusal> {
    let permissions = &book.service.permissions;
    let candidates = book.index.as_ref().and_then(|index| index.candidates(caller, name, facts));
    match candidates {
        Some(numbers) => {
            let rules = numbers.filter_map(|number| permissions.rules.get(number as usize));
            walk(permissions, rules, (caller, name), facts, (now, shadows))
        }
        None => walk(permissions, permissions.rules.iter(), (caller, name), facts, (now, shadows)),
    }
}

/// The first of these rules that matches decides.
fn walk<'r>(
    permissions: &Permissions,
    rules: impl Iterator<Item = &'r Rule>,
    (caller, name): (&Caller, &str),
    facts: &Facts<'_>,
    (now, shadows): (Moment, &mut Vec<Shadow>),
) -> Result<(), Refusal> {
    for rule in rules {
        if mismatch(rule, (caller, name), facts, now).is_some() {
            continue;
        }
        match (rule.mode, rule.verdict) {
            (Mode::Shadow, would) => {
                shadows.push(Shadow { rule: rule.rule_ref.clone(), reason: Reason::DeniedByRule, would });
            }
            (Mode::Enforce, Verdict::Allow) => return Ok(()),
            (Mode::Enforce, Verdict::Deny) => {
                return Err(Refusal::new(Reason::DeniedByRule, "a rule denies it").by(&rule.rule_ref));
            }
        }
    }
    match permissions.default {
        Verdict::Allow => Ok(()),
        Verdict::Deny => {
            let refusal = Refusal::new(Reason::DeniedByRule, "no rule allows it");
            Err(refusal.by(&permissions.default_ref))
        }
    }
}

/// What one rule says to one request; for people who ask why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleTrace {
    /// It matches and decides.
    Decides(Verdict),
    /// It matches, but is a shadow: it only would have said this.
    Shadows(Verdict),
    /// It does not match, because of this.
    Passes(Mismatch),
    /// It matches, but an earlier rule has decided.
    TooLate(Verdict),
}

/// The first part of a rule that does not fit a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Its `until` is past.
    Expired,
    /// The caller is not among `callers`.
    Caller,
    /// The caller's tier is not among `tiers`.
    Tier,
    /// The method is not among `methods`.
    Method,
    /// The host is not among `hosts`.
    Host,
    /// The path matches none of `paths`.
    Path,
}

impl Mismatch {
    /// In words: why the rule does not match.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Expired => "its until is past",
            Self::Caller => "another caller",
            Self::Tier => "another tier",
            Self::Method => "another method",
            Self::Host => "another host",
            Self::Path => "another path",
        }
    }
}

/// What each rule says, in their order. The request is decided by the one that [`RuleTrace::Decides`], or if there
/// is none by the default; [`judge`] says the same.
pub fn trace(
    permissions: &Permissions,
    (caller, name): (&Caller, &str),
    facts: &Facts<'_>,
    now: Moment,
) -> Vec<RuleTrace> {
    let mut decided = false;
    let say = |rule: &Rule| match (mismatch(rule, (caller, name), facts, now), rule.mode) {
        (Some(part), _) => RuleTrace::Passes(part),
        (None, _) if decided => RuleTrace::TooLate(rule.verdict),
        (None, Mode::Shadow) => RuleTrace::Shadows(rule.verdict),
        (None, Mode::Enforce) => {
            decided = true;
            RuleTrace::Decides(rule.verdict)
        }
    };
    permissions.rules.iter().map(say).collect()
}

/// The first part that does not fit; None if the rule matches. Cheap comparisons stand first.
#[inline(always)]
fn mismatch(
    rule: &Rule,
    (caller, name): (&Caller, &str),
    facts: &Facts<'_>,
    now: Moment,
) -> Option<Mismatch> {
    if is_past(rule.until, now) {
        return Some(Mismatch::Expired);
    }
    if !rule.methods.is_empty() && !rule.methods.contains(facts.method) {
        return Some(Mismatch::Method);
    }
    if !rule.tiers.is_empty() && !caller.tier.is_some_and(|tier| rule.tiers.contains(&tier)) {
        return Some(Mismatch::Tier);
    }
    if !rule.callers.is_empty() && !rule.callers.iter().any(|pattern| is_caller(pattern, caller, name)) {
        return Some(Mismatch::Caller);
    }
    if !rule.hosts.is_empty() && !rule.hosts.iter().any(|pattern| host_matches(pattern, facts.host)) {
        return Some(Mismatch::Host);
    }
    (!any_path(&rule.paths, facts.path)).then_some(Mismatch::Path)
}

/// Whether an `until` (seconds since 1970) is reached.
pub(super) fn is_past(until: Option<u64>, now: Moment) -> bool {
    until.is_some_and(|until| now.unix_micros / 1_000_000 >= until)
}

fn is_caller(pattern: &CallerPattern, caller: &Caller, name: &str) -> bool {
    match pattern {
        CallerPattern::Known(number) => matches!(caller.who, Who::Known(known) if known == *number),
        CallerPattern::Glob(glob) => glob_matches(glob, name),
    }
}

#[cfg(test)]
mod tests;
