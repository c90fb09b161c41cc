//! `limits`: quotas, and costs that fit into them. Agreements stand in `agreements.rs`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::permissions::mode;
use super::{Checker, items, value};
use crate::config::collect::Located;
use crate::config::file::{self, Field};
use crate::config::report::{Code, Spot};
use crate::config::units::Span;
use crate::config::value::RateText;
use crate::config::{Agreement, Callers, Cost, LimitHeaders, Limits, Mode, Quota, Rate};
use crate::refusal::RuleRef;

/// A used-up burst is whole again after at most this; so the ledger's times can never overflow.
const LONGEST_REFILL: Duration = Duration::from_secs(365 * 86_400);

/// The keys that every quota has, wherever it stands.
pub(super) struct Parts<'f> {
    rate: &'f Field<RateText>,
    burst: &'f Field<u32>,
    concurrent: &'f Field<u32>,
    mode: &'f Field<file::Mode>,
    reason: Option<&'f String>,
    at: Spot,
}

impl<'f> Parts<'f> {
    fn of_quota(q: &'f file::Quota, at: Spot) -> Self {
        Self { rate: &q.rate, burst: &q.burst, concurrent: &q.concurrent, mode: &q.mode, reason: None, at }
    }

    pub(super) fn of_tier(t: &'f file::Tier, at: Spot) -> Self {
        Self { rate: &t.rate, burst: &t.burst, concurrent: &t.concurrent, mode: &t.mode, reason: None, at }
    }

    pub(super) fn of_agreement(a: &'f file::Agreement, at: Spot) -> Self {
        let reason = value(&a.reason);
        Self { rate: &a.rate, burst: &a.burst, concurrent: &a.concurrent, mode: &a.mode, reason, at }
    }
}

/// A quota that limits nothing: stands in for one that was wrong, until all errors are told.
pub(super) fn unlimited(rule_ref: Arc<RuleRef>) -> Quota {
    Quota { rate: None, concurrent: None, mode: Mode::Enforce, rule_ref }
}

impl Checker<'_> {
    pub(super) fn limits(
        &mut self,
        field: Option<&Located<file::Limits>>,
        callers: &Callers,
        of: Spot,
    ) -> Limits {
        let written = field.and_then(|field| field.value.as_ref());
        let unread = field.is_some_and(|field| field.value.is_none());
        if written.is_none_or(|limits| limits.default.is_none()) && !unread {
            let message = "callers without an agreement or a tier have no limit here".to_owned();
            let help = "write `limits:` with `default: { rate: 100/s }`";
            self.problems.warn(Code::NoDefault, field.map_or(of, |field| field.at), message, Some(help));
        }
        let headers = match written.and_then(|w| value(&w.headers)) {
            Some(file::LimitHeaders::Always) => LimitHeaders::Always,
            None | Some(file::LimitHeaders::Named) => LimitHeaders::Named,
            Some(file::LimitHeaders::Refused) => LimitHeaders::Refused,
            Some(file::LimitHeaders::Never) => LimitHeaders::Never,
        };
        let default = self.own_quota(written.and_then(|w| w.default.as_ref()), "default");
        let total = self.own_quota(written.and_then(|w| w.total.as_ref()), "total");
        let agreements = written.map(|w| self.agreements(&w.agreements, callers)).unwrap_or_default();
        let mut limits = Limits { headers, default, total, agreements, costs: Vec::new() };
        let costs = written.map(|w| self.costs(&w.costs, &limits, callers)).unwrap_or_default();
        limits.costs = costs;
        limits
    }

    fn own_quota(&mut self, field: Option<&Located<file::Quota>>, name: &str) -> Option<Quota> {
        let located = field?;
        let quota = located.value.as_ref()?;
        Some(self.quota(&Parts::of_quota(quota, located.at), name.to_owned()))
    }

    pub(super) fn quota(&mut self, parts: &Parts<'_>, name: String) -> Quota {
        let rule_ref = self.rule_ref(name, Some(parts.at), parts.reason);
        if parts.rate.is_none() && parts.concurrent.is_none() {
            let help = "write `rate: 100/s`, or `concurrent: 50`";
            self.error(Code::MissingKey, parts.at, "`rate` or `concurrent` is missing", help);
        }
        if let (Some(burst), None) = (parts.burst, parts.rate) {
            self.error(
                Code::Contradiction,
                burst.at,
                "`burst` without `rate`",
                "write `rate: 100/s` beside it",
            );
        }
        let burst = self.at_least_one(parts.burst, "burst");
        let concurrent = self.at_least_one(parts.concurrent, "concurrent");
        let rate = value(parts.rate).map(|RateText(frequency)| {
            let own = NonZeroU32::new(frequency.per_second).unwrap_or(NonZeroU32::MIN);
            Rate { interval: frequency.interval, burst: burst.unwrap_or(own) }
        });
        if let (Some(rate), Some(burst)) = (rate, parts.burst) {
            let refill = rate.interval.checked_mul(rate.burst.get()).unwrap_or(Duration::MAX);
            if refill > LONGEST_REFILL {
                let message =
                    format!("a burst of {} takes more than {} to refill", rate.burst, Span(LONGEST_REFILL));
                self.error(Code::BadValue, burst.at, message, "write a smaller burst or a higher rate");
            }
        }
        Quota { rate, concurrent, mode: mode(parts.mode), rule_ref }
    }

    fn at_least_one(&mut self, field: &Field<u32>, key: &str) -> Option<NonZeroU32> {
        let located = field.as_ref()?;
        let number = NonZeroU32::new(located.value?);
        if number.is_none() {
            let help = "write at least 1, or a `deny` rule to refuse somebody";
            self.error(Code::BadValue, located.at, format!("a `{key}` of 0 lets nothing pass"), help);
        }
        number
    }

    fn costs(
        &mut self,
        list: &Field<file::List<file::Cost>>,
        limits: &Limits,
        callers: &Callers,
    ) -> Vec<Cost> {
        // Not asked where nothing has a cost: there may be very many.
        let quotas = if items(list).next().is_some() { self.quotas_met(limits, callers) } else { Vec::new() };
        let mut costs = Vec::new();
        for (cost, at) in items(list) {
            let methods = self.filled("methods", &cost.methods, |method| method.0.clone());
            let paths = self.filled("paths", &cost.paths, |path| path.0.clone());
            self.needed(&cost.cost, "cost", at, "write `cost: 5`: how many such a request takes");
            let Some(number) = self.at_least_one(&cost.cost, "cost") else { continue };
            let at = cost.cost.as_ref().map_or(at, |cost| cost.at);
            for (name, place, burst) in &quotas {
                if number > *burst {
                    let message =
                        format!("a cost of {number} is above the burst of {burst} of `{name}` at {place}");
                    let help = format!(
                        "such a request could never pass; write at most {burst}, or `burst: {number}` there"
                    );
                    self.error(Code::CostAboveBurst, at, message, &help);
                }
            }
            costs.push(Cost { paths, methods, cost: number });
        }
        costs
    }

    /// Every quota that a request to this service can meet: its name, its place and its burst.
    fn quotas_met(&self, limits: &Limits, callers: &Callers) -> Vec<(String, String, NonZeroU32)> {
        let in_force = |agreement: &&Agreement| agreement.until.is_none_or(|until| until > self.now);
        let agreements: Vec<_> = limits.agreements.iter().filter(in_force).collect();
        // Who has an agreement for a time falls back to the tier when it ends, so that one is met too.
        let forever = agreements.iter().filter(|agreement| agreement.until.is_none());
        let agreed = forever.flat_map(|agreement| agreement.callers.iter());
        // A tier is met if not all of its callers have an agreement for ever; no caller has two.
        let mut met = self.numbers.members.clone();
        for tier in agreed.filter_map(|number| callers.known.get(*number)?.tier) {
            met[tier] = met[tier].saturating_sub(1);
        }
        let tiers = callers.tiers.iter().enumerate().filter(|(number, _)| met[*number] > 0);
        let own = limits.default.iter().chain(&limits.total);
        let all = own
            .chain(tiers.map(|(_, tier)| &tier.quota))
            .chain(agreements.iter().map(|agreement| &agreement.quota));
        all.filter_map(|quota| {
            Some((quota.rule_ref.name.clone(), quota.rule_ref.at.clone(), quota.rate?.burst))
        })
        .collect()
    }
}
