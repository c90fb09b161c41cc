//! `permissions`: the rules, who they name, and whether each can ever decide.

use std::sync::Arc;

use super::{Checker, items, value};
use crate::config::collect::Located;
use crate::config::file;
use crate::config::report::{Code, Spot};
use crate::config::tree::shorten;
use crate::config::{
    CallerPattern, Callers, HostPattern, Mode, PathPattern, Permissions, Rule, Segment, Verdict,
};

/// So many rules one service may have; `explain` shows them all, and each is compared with those before it.
const MOST_RULES: usize = 1_000;
/// The longest `reason` and `owner`: they go into answers and logs.
const MOST_WORDS: usize = 200;

impl Checker<'_> {
    pub(super) fn permissions(
        &mut self,
        field: Option<&Located<file::Permissions>>,
        callers: &Callers,
    ) -> Permissions {
        let written = field.and_then(|field| field.value.as_ref());
        let default = written.and_then(|w| w.default.as_ref());
        let default_ref = self.rule_ref("permissions.default", default.map(|default| default.at), None);
        let default = match default.and_then(|default| default.value) {
            None | Some(file::Verdict::Allow) => Verdict::Allow,
            Some(file::Verdict::Deny) => Verdict::Deny,
        };
        let mut rules: Vec<(Rule, Spot)> = Vec::new();
        let list = written.and_then(|w| value(&w.rules)).map_or(&[][..], Vec::as_slice);
        if let Some(located) = list.get(MOST_RULES) {
            let message = format!("more than {MOST_RULES} rules");
            self.error(
                Code::TooMuch,
                located.at,
                message,
                "join some of them: one rule may name many callers, hosts and paths",
            );
        }
        for (i, located) in list.iter().enumerate().take(MOST_RULES) {
            let Some(rule) = &located.value else { continue };
            let before = self.problems.errors();
            let Some(checked) = self.rule(i + 1, rule, located.at, callers) else { continue };
            // What was left out of a rule because it is wrong would make it seem to match more than it will.
            if complete(rule) && self.problems.errors() == before {
                self.reachable(&checked, located.at, &rules, callers);
                rules.push((checked, located.at));
            }
        }
        Permissions { default, default_ref, rules: rules.into_iter().map(|(rule, _)| rule).collect() }
    }

    fn rule(&mut self, number: usize, rule: &file::Rule, at: Spot, callers: &Callers) -> Option<Rule> {
        let (verdict, matches) = match (&rule.allow, &rule.deny) {
            (Some(matches), None) => (Verdict::Allow, matches),
            (None, Some(matches)) => (Verdict::Deny, matches),
            (Some(_), Some(deny)) => {
                self.error(Code::Contradiction, deny.at, "`deny` stands beside `allow`", "write two rules");
                return None;
            }
            (None, None) => {
                let help = "write `allow: {...}` or `deny: {...}`; `{}` matches every request";
                self.error(Code::MissingKey, at, "the rule says neither `allow` nor `deny`", help);
                return None;
            }
        };
        let written = matches.value.as_ref()?;
        self.words("reason", &rule.reason);
        let patterns = self.patterns(written, callers);
        let tiers = items(&written.tiers).collect::<Vec<_>>();
        let tiers: Vec<_> =
            tiers.into_iter().filter_map(|(tier, at)| self.tier(tier, at, &callers.tiers)).collect();
        let until = value(&rule.until).map(|day| day.0.0);
        self.until_of_rule(&rule.until, number);
        Some(Rule {
            verdict,
            callers: patterns,
            tiers,
            methods: self.filled("methods", &written.methods, |method| method.0.clone()),
            hosts: self.filled("hosts", &written.hosts, |host| host.0.clone()),
            paths: self.filled("paths", &written.paths, |path| path.0.clone()),
            until,
            mode: mode(&rule.mode),
            rule_ref: self.rule_ref(format!("permissions.rules[{number}]"), Some(at), value(&rule.reason)),
        })
    }

    /// A list that, if it is written, is not empty: empty it would match everything, which nobody means.
    pub(super) fn filled<T, U>(
        &mut self,
        key: &str,
        list: &file::Field<file::List<T>>,
        read: fn(&T) -> U,
    ) -> Vec<U> {
        self.not_empty(key, list);
        items(list).map(|(item, _)| read(item)).collect()
    }

    pub(super) fn not_empty<T>(&mut self, key: &str, list: &file::Field<file::List<T>>) {
        if let Some(located) = list
            && located.value.as_ref().is_some_and(Vec::is_empty)
        {
            let help = "leave it out to match everything, or remove the entry to match nothing";
            self.error(Code::BadValue, located.at, format!("the list `{key}` is empty"), help);
        }
    }

    fn patterns(&mut self, matches: &file::Match, callers: &Callers) -> Vec<CallerPattern> {
        self.not_empty("callers", &matches.callers);
        self.not_empty("tiers", &matches.tiers);
        let written: Vec<_> = items(&matches.callers).collect();
        written.into_iter().filter_map(|(text, at)| self.pattern(text, at, callers)).collect()
    }

    fn pattern(&mut self, text: &str, at: Spot, callers: &Callers) -> Option<CallerPattern> {
        let unnamed = ["address:", "api_key:", "certificate:"];
        if let Some((before, _)) = text.split_once('*') {
            let may_be_unnamed =
                unnamed.iter().any(|kind| kind.starts_with(before) || before.starts_with(kind));
            if !may_be_unnamed && !callers.known.iter().any(|caller| glob(text, &caller.name)) {
                let message = format!("`{}` fits no caller that is known", shorten(text));
                let help = "`*` stands for any run of characters; unnamed callers are `address:...`, `api_key:...` and `certificate:...`";
                self.error(Code::UnknownName, at, message, help);
            }
            return Some(CallerPattern::Glob(text.into()));
        }
        if unnamed.iter().any(|kind| text.starts_with(kind)) {
            self.canonical_address(text, at);
            self.canonical_certificate(text, at, callers);
            return Some(CallerPattern::Glob(text.into()));
        }
        self.caller(text, at, callers).map(CallerPattern::Known)
    }

    /// An address that is spelled otherwise than Buckler spells it would never match.
    fn canonical_address(&mut self, text: &str, at: Spot) {
        let Some(address) = text.strip_prefix("address:") else { return };
        let spelled = match address.parse::<std::net::IpAddr>() {
            Ok(ip) => Some(ip.to_string()),
            Err(_) => address.parse::<ipnet::IpNet>().ok().map(|net| net.trunc().to_string()),
        };
        if spelled.as_deref() != Some(address) {
            let help = match spelled {
                Some(spelled) => format!("write `address:{spelled}`"),
                None => {
                    "write `address:192.0.2.7`, `address:2001:db8:1:2::/64`, or a pattern with `*`".to_owned()
                }
            };
            let message = format!("`{}` is no caller's name", shorten(text));
            self.error(Code::BadValue, at, message, &help);
        }
    }

    /// The same of a certificate, whose name is compared in lower case (the path of a SPIFFE id as it is), and which is
    /// the caller of `known` that has this name, if there is one.
    fn canonical_certificate(&mut self, text: &str, at: Spot, callers: &Callers) {
        let Some(name) = text.strip_prefix("certificate:") else { return };
        let path = name.strip_prefix("spiffe://").and_then(|rest| Some(rest.len() - rest.find('/')?));
        let (compared, path) = name.split_at(name.len() - path.unwrap_or(0));
        let spelled = format!("{}{path}", compared.to_ascii_lowercase());
        let owner = callers.known.iter().find(|known| known.certificates.iter().any(|one| **one == *spelled));
        let help = match owner {
            Some(owner) => format!("write `{}`, who has this certificate", owner.name),
            None if spelled != name => format!("write `certificate:{spelled}`"),
            None => return,
        };
        self.error(Code::BadValue, at, format!("`{}` is no caller's name", shorten(text)), &help);
    }

    fn until_of_rule(&mut self, until: &file::Field<crate::config::value::DayText>, number: usize) {
        let Some(located) = until else { return };
        let Some(day) = located.value.as_ref().map(|day| day.0) else { return };
        if day.0 <= self.now {
            let message =
                format!("`until` has passed: permissions.rules[{number}] no longer applies since {day}");
            self.problems.warn(
                Code::Expired,
                located.at,
                message,
                Some("remove the rule, or give it a later day"),
            );
        }
    }

    /// Words for people: one line, not endless.
    pub(super) fn words(&mut self, key: &str, field: &file::Field<String>) {
        let Some(located) = field else { return };
        let Some(text) = &located.value else { return };
        if text.trim().is_empty() || text.chars().count() > MOST_WORDS || text.chars().any(char::is_control) {
            let help = format!("write one line of 1 to {MOST_WORDS} characters");
            self.error(
                Code::BadValue,
                located.at,
                format!("`{key}` is empty, too long or not one line"),
                &help,
            );
        }
    }

    fn reachable(&mut self, rule: &Rule, at: Spot, earlier: &[(Rule, Spot)], callers: &Callers) {
        let expired = |rule: &Rule| rule.until.is_some_and(|until| until <= self.now);
        if expired(rule) {
            return;
        }
        let lasts = |other: &Rule| other.until.is_none_or(|end| rule.until.is_some_and(|until| until <= end));
        let covering = earlier.iter().find(|(other, _)| {
            other.mode == Mode::Enforce && !expired(other) && lasts(other) && covers(other, rule, callers)
        });
        if let Some((other, place)) = covering {
            let (name, place) = (&other.rule_ref.name, self.problems.place(*place));
            let message =
                format!("this rule can never decide: {name} at {place} matches all that it matches");
            self.error(Code::Unreachable, at, message, "move it before that one, or remove it");
        }
    }
}

/// Whether every value of the rule could be read.
fn complete(rule: &file::Rule) -> bool {
    fn whole<T>(list: &file::Field<file::List<T>>) -> bool {
        list.as_ref().is_none_or(|list| {
            list.value.as_ref().is_some_and(|items| items.iter().all(|item| item.value.is_some()))
        })
    }
    let matches = rule.allow.iter().chain(&rule.deny).filter_map(|located| located.value.as_ref());
    matches.into_iter().all(|m| {
        whole(&m.callers) && whole(&m.tiers) && whole(&m.methods) && whole(&m.hosts) && whole(&m.paths)
    })
}

/// Whether a rule or limit decides.
pub(super) fn mode(field: &file::Field<file::Mode>) -> Mode {
    match value(field) {
        None | Some(file::Mode::Enforce) => Mode::Enforce,
        Some(file::Mode::Shadow) => Mode::Shadow,
    }
}

/// Whether `wide` matches every request that `narrow` matches. May say no where the answer is yes, never the reverse.
fn covers(wide: &Rule, narrow: &Rule, callers: &Callers) -> bool {
    let name = |pattern: &CallerPattern| -> Option<Arc<str>> {
        match pattern {
            CallerPattern::Known(number) => callers.known.get(*number).map(|caller| caller.name.clone()),
            CallerPattern::Glob(text) => (!text.contains('*')).then(|| text.clone()),
        }
    };
    let caller = |wide: &CallerPattern, narrow: &CallerPattern| match wide {
        _ if wide == narrow => true,
        CallerPattern::Known(_) => false,
        CallerPattern::Glob(text) => &**text == "*" || name(narrow).is_some_and(|name| glob(text, &name)),
    };
    all_in(&wide.callers, &narrow.callers, caller)
        && all_in(&wide.tiers, &narrow.tiers, PartialEq::eq)
        && all_in(&wide.methods, &narrow.methods, PartialEq::eq)
        && all_in(&wide.hosts, &narrow.hosts, host_covers)
        && all_in(&wide.paths, &narrow.paths, path_covers)
}

/// Whether each of `narrow` is covered by one of `wide`; an empty list is everything.
fn all_in<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|n| wide.iter().any(|w| covers(w, n))))
}

fn host_covers(wide: &HostPattern, narrow: &HostPattern) -> bool {
    match (wide, narrow) {
        _ if wide == narrow => true,
        (HostPattern::OneLabel(rest), HostPattern::Exact(host)) => {
            host.find('.').is_some_and(|dot| dot > 0 && host[dot..] == **rest)
        }
        _ => false,
    }
}

fn path_covers(wide: &PathPattern, narrow: &PathPattern) -> bool {
    let (mut wide, mut narrow) = (wide.segments.iter(), narrow.segments.iter());
    loop {
        match (wide.next(), narrow.next()) {
            (Some(Segment::Rest), _) | (None, None) => return true,
            (Some(Segment::One), Some(Segment::One)) => {}
            (Some(Segment::One), Some(Segment::Literal(text))) if !text.is_empty() => {}
            (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a == b => {}
            _ => return false,
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
pub(in crate::config) fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}
