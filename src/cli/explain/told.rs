//! What `buckler explain` tells, as JSON and as text. Decides nothing.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::admit::Shadow;
use crate::admit::caller::{Caller, Who};
use crate::admit::permission::RuleTrace;
use crate::cli::arguments::Explain;
use crate::clock::Moment;
use crate::config::{Config, Mode, Permissions, Quota, Rate, Service, Verdict};
use crate::fields::Fields;
use crate::refusal::{Refusal, RuleRef};

/// Everything that is told of one request. What was never asked, because a refusal came before, is left out.
#[derive(Default, Serialize)]
pub(super) struct Told {
    service: String,
    method: String,
    host: String,
    /// As rules and worker see it.
    path: String,
    /// As it was given, if that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_as_sent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Named>,
    /// Each rule and last the default.
    rules: Vec<RuleSaid>,
    /// The caller's own quota first.
    limits: Vec<Limited>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<u32>,
    /// What rules and limits in shadow mode would have said.
    shadows: Vec<ShadowSaid>,
    pub(super) answer: Answer,
}

#[derive(Serialize)]
struct Named {
    name: String,
    via: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

#[derive(Serialize)]
struct RuleSaid {
    rule: String,
    at: String,
    verdict: &'static str,
    decides: bool,
    /// What came of it, in words.
    said: String,
}

#[derive(Serialize)]
struct Limited {
    /// `own` or `total`.
    kind: &'static str,
    rule: String,
    at: String,
    quota: String,
    shadow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize)]
struct ShadowSaid {
    rule: String,
    at: String,
    would: &'static str,
    reason: &'static str,
}

/// What the client would get.
#[derive(Default, Serialize)]
pub(super) struct Answer {
    /// The request goes to a worker.
    passes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// The operator's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
    /// Fields that the limits add to it.
    headers: Vec<String>,
}

impl Told {
    /// What was asked, before anything is judged.
    pub(super) fn about(service: &Service, asked: &Explain, host: &str) -> Self {
        Self {
            service: service.name.to_string(),
            method: asked.method.clone(),
            host: host.to_owned(),
            path: asked.path.clone(),
            ..Self::default()
        }
    }

    /// Host and path in the form that rules judge.
    pub(super) fn judges(&mut self, host: &str, path: &str) {
        host.clone_into(&mut self.host);
        let sent = std::mem::replace(&mut self.path, path.to_owned());
        self.path_as_sent = (sent.split('?').next() != Some(&self.path)).then_some(sent);
    }

    /// Who the caller is.
    pub(super) fn names(&mut self, caller: &Caller, name: &str, config: &Config) {
        let known = match caller.who {
            Who::Known(number) => config.callers.known.get(number),
            Who::Other(_) => None,
        };
        let tier = caller.tier.and_then(|tier| config.callers.tiers.get(tier));
        self.caller = Some(Named {
            name: name.to_owned(),
            via: caller.via.word(),
            tier: tier.map(|tier| tier.name.to_string()),
            at: known.map(|known| known.at.to_string()),
        });
    }

    /// What each rule says.
    pub(super) fn traces(&mut self, permissions: &Permissions, traces: &[RuleTrace]) {
        for (rule, trace) in permissions.rules.iter().zip(traces) {
            let (decides, said) = match trace {
                RuleTrace::Decides(_) => (true, "matches and decides".to_owned()),
                RuleTrace::Shadows(_) => (false, "matches, but is a shadow".to_owned()),
                RuleTrace::Passes(mismatch) => (false, format!("does not match: {}", mismatch.word())),
                RuleTrace::TooLate(_) => (false, "matches too late".to_owned()),
            };
            self.add_rule(&rule.rule_ref, rule.verdict, decides, said);
        }
        let decides = !traces.iter().any(|trace| matches!(trace, RuleTrace::Decides(_)));
        let said = if decides { "decides, as no rule does" } else { "is not asked" };
        self.add_rule(&permissions.default_ref, permissions.default, decides, said.to_owned());
    }

    fn add_rule(&mut self, rule: &RuleRef, verdict: Verdict, decides: bool, said: String) {
        let (rule, at) = (rule.name.clone(), place(rule));
        self.rules.push(RuleSaid { rule, at, verdict: word(verdict), decides, said });
    }

    /// The quotas that the request is held to, and what it takes from them.
    pub(super) fn limits(
        &mut self,
        service: &Service,
        config: &Config,
        (caller, own): (&Caller, Option<&Arc<RuleRef>>),
        cost: NonZeroU32,
        now: Moment,
    ) {
        self.cost = Some(cost.get());
        let limits = &service.limits;
        let agreed = limits.agreements.iter().map(|agreement| &agreement.quota);
        let tiers = config.callers.tiers.iter().map(|tier| &tier.quota);
        let mut all = agreed.chain(tiers).chain(&limits.default);
        let own = own.and_then(|own| all.find(|quota| Arc::ptr_eq(&quota.rule_ref, own)));
        let is_ended = |until: Option<u64>| until.is_some_and(|until| now.unix_micros / 1_000_000 >= until);
        let ended = limits.agreements.iter().find(|agreement| {
            is_ended(agreement.until)
                && matches!(caller.who, Who::Known(number) if agreement.callers.contains(&number))
        });
        let note = ended.map(|agreement| {
            let rule = &agreement.quota.rule_ref;
            format!("{} ({}) has ended", rule.name, place(rule))
        });
        let own = own.map(|quota| ("own", quota, note));
        let total = limits.total.as_ref().map(|quota| ("total", quota, None));
        self.limits.extend(own.into_iter().chain(total).map(|(kind, quota, note)| Limited {
            kind,
            rule: quota.rule_ref.name.clone(),
            at: place(&quota.rule_ref),
            quota: quota_text(quota),
            shadow: quota.mode == Mode::Shadow,
            note,
        }));
    }

    /// What shadows would have said.
    pub(super) fn shadows(&mut self, shadows: &[Shadow]) {
        self.shadows.extend(shadows.iter().map(|shadow| ShadowSaid {
            rule: shadow.rule.name.clone(),
            at: place(&shadow.rule),
            would: word(shadow.would),
            reason: shadow.reason.word(),
        }));
    }
}

impl Answer {
    /// The request goes to a worker.
    pub(super) fn passes(headers: &Fields) -> Self {
        Self { passes: true, headers: lines(headers), ..Self::default() }
    }

    /// Buckler answers by itself.
    pub(super) fn refused(refusal: &Refusal, headers: &Fields) -> Self {
        let rule = refusal.rule.as_deref();
        Self {
            passes: false,
            status: Some(refusal.reason.status()),
            reason: Some(refusal.reason.word()),
            title: Some(refusal.reason.title()),
            detail: Some(refusal.detail),
            rule: rule.map(|rule| rule.name.clone()),
            at: rule.map(place),
            words: rule.and_then(|rule| rule.reason.clone()),
            headers: lines(headers),
        }
    }
}

fn lines(headers: &Fields) -> Vec<String> {
    let line = |(name, value): (&[u8], &[u8])| {
        format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    headers.iter().map(line).collect()
}

fn place(rule: &RuleRef) -> String {
    if rule.at.is_empty() { "built in".to_owned() } else { rule.at.clone() }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

fn quota_text(quota: &Quota) -> String {
    let rate = quota.rate.map(|rate| format!("{}, burst {}", rate_text(rate), rate.burst));
    let concurrent = quota.concurrent.map(|most| format!("{most} in progress"));
    rate.into_iter().chain(concurrent).collect::<Vec<_>>().join(", ")
}

/// The rate in the longest unit in which it is at least one.
fn rate_text(rate: Rate) -> String {
    const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3600), ("d", 86_400)];
    let interval = rate.interval.max(Duration::from_nanos(1));
    let fitting = UNITS.iter().find(|(_, seconds)| interval <= Duration::from_secs(*seconds));
    let (unit, seconds) = fitting.unwrap_or(&UNITS[3]);
    let count = Duration::from_secs(*seconds).as_secs_f64() / interval.as_secs_f64();
    let shown = format!("{count:.2}");
    format!("{}/{unit}", shown.trim_end_matches('0').trim_end_matches('.'))
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "request     {} {} for {} to service {}",
            self.method, self.path, self.host, self.service
        )?;
        if let Some(sent) = &self.path_as_sent {
            writeln!(f, "            sent as {sent}")?;
        }
        if let Some(caller) = &self.caller {
            let tier = caller.tier.as_ref().map(|tier| format!(", tier {tier}")).unwrap_or_default();
            let at = caller.at.as_ref().map(|at| format!("  [{at}]")).unwrap_or_default();
            writeln!(f, "caller      {} by {}{tier}{at}", caller.name, caller.via)?;
        }
        let column = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or(0);
        let name = column(&mut self.rules.iter().map(|rule| rule.rule.len()));
        let at = column(&mut self.rules.iter().map(|rule| rule.at.len()));
        for (number, rule) in self.rules.iter().enumerate() {
            let title = if number == 0 { "rules" } else { "" };
            let RuleSaid { rule, at: place, verdict, said, .. } = rule;
            writeln!(f, "{title:<12}{rule:<name$}  {verdict:<5}  {place:<at$}  {said}")?;
        }
        for limit in &self.limits {
            let title = if limit.kind == "own" { "quota" } else { "total" };
            let shadow = if limit.shadow { ", a shadow" } else { "" };
            write!(f, "{title:<12}{}: {}{shadow}  [{}]", limit.rule, limit.quota, limit.at)?;
            match &limit.note {
                Some(note) => writeln!(f, "; {note}")?,
                None => writeln!(f)?,
            }
        }
        if self.caller.is_some() && !self.limits.iter().any(|limit| limit.kind == "own") {
            writeln!(f, "quota       none of its own")?;
        }
        if let Some(cost) = self.cost {
            writeln!(f, "cost        {cost}")?;
        }
        for shadow in &self.shadows {
            writeln!(
                f,
                "shadow      {} would {} ({})  [{}]",
                shadow.rule, shadow.would, shadow.reason, shadow.at
            )?;
        }
        self.answer.fmt(f)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.reason, self.detail) {
            (Some(status), Some(reason), Some(detail)) => {
                write!(f, "answer      {status} {reason}: {detail}")?;
                if let (Some(rule), Some(at)) = (&self.rule, &self.at) {
                    write!(f, ", by {rule}  [{at}]")?;
                }
                match &self.words {
                    Some(words) => writeln!(f, " \"{words}\"")?,
                    None => writeln!(f)?,
                }
            }
            _ => writeln!(f, "answer      goes to a worker")?,
        }
        self.headers.iter().try_for_each(|header| writeln!(f, "            {header}"))
    }
}
