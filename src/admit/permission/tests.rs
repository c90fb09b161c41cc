//! Which rule decides.

use std::sync::Arc;

use http::Method;
use proptest::prelude::*;

use crate::config::HostPattern;
use crate::refusal::RuleRef;

use super::super::caller::Via;
use super::super::pattern::tests::pattern;
use super::*;

const NOW: Moment = Moment::at(1_000_000_000_000);

fn rule_ref(name: &str) -> Arc<RuleRef> {
    Arc::new(RuleRef { name: name.into(), at: "t.yaml:1".into(), reason: None })
}

fn rule(verdict: Verdict, name: &str) -> Rule {
    Rule {
        verdict,
        callers: vec![],
        tiers: vec![],
        methods: vec![],
        hosts: vec![],
        paths: vec![],
        until: None,
        mode: Mode::Enforce,
        rule_ref: rule_ref(name),
    }
}

fn on(paths: &[&str], rule: Rule) -> Rule {
    Rule { paths: paths.iter().map(|path| pattern(path)).collect(), ..rule }
}

fn permissions(default: Verdict, rules: Vec<Rule>) -> Permissions {
    Permissions { default, default_ref: rule_ref("default"), rules }
}

fn caller(who: Who, tier: Option<usize>) -> Caller {
    Caller { who, tier, via: Via::Address, client: [192, 0, 2, 7].into(), hash: 1 }
}

fn known(number: usize) -> Caller {
    caller(Who::Known(number), Some(number))
}

/// None: allowed. Otherwise what the refusing rule is called.
fn asked(
    permissions: &Permissions,
    (caller, name): (&Caller, &str),
    method: &Method,
    path: &str,
) -> Option<String> {
    let facts = Facts { method, host: "a.example.test", path };
    let mut shadows = Vec::new();
    let refusal = judge(permissions, (caller, name), &facts, NOW, &mut shadows).err()?;
    assert_eq!(refusal.reason, Reason::DeniedByRule);
    refusal.rule.map(|rule| rule.name.clone())
}

use Verdict::{Allow, Deny};

#[test]
fn the_first_rule_that_matches_decides() {
    let staff =
        Rule { callers: vec![CallerPattern::Known(1)], ..on(&["/admin/**"], rule(Allow, "rules[0]")) };
    let nobody = on(&["/admin/**"], rule(Deny, "rules[1]"));
    let delete = Rule { methods: vec![Method::DELETE], ..rule(Deny, "rules[2]") };
    let all = permissions(Allow, vec![staff, nobody, delete]);
    assert_eq!(asked(&all, (&known(1), "web"), &Method::DELETE, "/admin/x"), None);
    assert_eq!(asked(&all, (&known(0), "other"), &Method::GET, "/admin"), Some("rules[1]".into()));
    assert_eq!(asked(&all, (&known(0), "other"), &Method::GET, "/admin;x/y"), Some("rules[1]".into()));
    assert_eq!(asked(&all, (&known(1), "web"), &Method::DELETE, "/"), Some("rules[2]".into()));
    assert_eq!(asked(&all, (&known(0), "other"), &Method::GET, "/"), None);
}

#[test]
fn the_default_decides_if_no_rule_matches() {
    let none = permissions(Deny, vec![]);
    assert_eq!(asked(&none, (&known(0), "web"), &Method::GET, "/"), Some("default".into()));
}

#[test]
fn every_part_of_a_rule_must_match() {
    let stranger = caller(Who::Other(Arc::from("address:10.1.2.3")), None);
    let glob = |glob: &str| vec![CallerPattern::Glob(glob.into())];
    let host = |host: &str| vec![HostPattern::OneLabel(host.into())];
    for (part, fits) in [
        (Rule { callers: glob("address:10.*"), ..rule(Deny, "r") }, true),
        (Rule { callers: glob("address:11.*"), ..rule(Deny, "r") }, false),
        (Rule { callers: vec![CallerPattern::Known(0)], ..rule(Deny, "r") }, false),
        (Rule { tiers: vec![0], ..rule(Deny, "r") }, false),
        (Rule { methods: vec![Method::PUT, Method::GET], ..rule(Deny, "r") }, true),
        (Rule { methods: vec![Method::PUT], ..rule(Deny, "r") }, false),
        (Rule { hosts: host(".example.test"), ..rule(Deny, "r") }, true),
        (Rule { hosts: host(".test"), ..rule(Deny, "r") }, false),
        (Rule { until: Some(1_001), ..rule(Deny, "r") }, true),
        (Rule { until: Some(1_000), ..rule(Deny, "r") }, false),
        (on(&["/a", "/b/*"], rule(Deny, "r")), true),
        (on(&["/a", "/c/*"], rule(Deny, "r")), false),
    ] {
        let refused =
            asked(&permissions(Allow, vec![part]), (&stranger, "address:10.1.2.3"), &Method::GET, "/b/c");
        assert_eq!(refused.is_some(), fits);
    }
    let tier = permissions(Allow, vec![Rule { tiers: vec![7], ..rule(Deny, "r") }]);
    assert!(asked(&tier, (&known(7), "web"), &Method::GET, "/").is_some());
}

#[test]
fn a_trace_says_why_each_rule_matched_or_not() {
    let expired = Rule { until: Some(5), ..rule(Deny, "r") };
    let shadow = Rule { mode: Mode::Shadow, ..rule(Deny, "r") };
    let rules = vec![expired, on(&["/b"], rule(Deny, "r")), shadow, rule(Allow, "r"), rule(Deny, "r")];
    let facts = Facts { method: &Method::GET, host: "h", path: "/" };
    assert_eq!(
        trace(&permissions(Deny, rules), (&known(0), "web"), &facts, NOW),
        [
            RuleTrace::Passes(Mismatch::Expired),
            RuleTrace::Passes(Mismatch::Path),
            RuleTrace::Shadows(Deny),
            RuleTrace::Decides(Allow),
            RuleTrace::TooLate(Deny),
        ]
    );
}

proptest! {
    /// Each rule: verdict, shadow, whether it matches.
    #[test]
    fn shadows_decide_nothing_and_stop_nothing(
        rules in proptest::collection::vec(any::<(bool, bool, bool)>(), 0..8),
        default: bool,
    ) {
        let verdict = |allow| if allow { Allow } else { Deny };
        let make = |&(allow, shadow, fits): &(bool, bool, bool)| Rule {
            mode: if shadow { Mode::Shadow } else { Mode::Enforce },
            ..on(&[if fits { "/x" } else { "/y" }], rule(verdict(allow), "r"))
        };
        let with: Vec<Rule> = rules.iter().map(make).collect();
        let without = rules.iter().filter(|rule| !rule.1).map(make).collect();
        let (with, without) = (permissions(verdict(default), with), permissions(verdict(default), without));
        let facts = Facts { method: &Method::GET, host: "h", path: "/x" };
        let (mut noted, mut none) = (Vec::new(), Vec::new());
        let all = judge(&with, (&known(0), "web"), &facts, NOW, &mut noted).is_ok();
        prop_assert_eq!(all, judge(&without, (&known(0), "web"), &facts, NOW, &mut none).is_ok());
        prop_assert!(none.is_empty());
        let before = rules.iter().position(|(_, shadow, fits)| !shadow && *fits).unwrap_or(rules.len());
        prop_assert_eq!(noted.len(), rules[..before].iter().filter(|(_, shadow, fits)| *shadow && *fits).count());
        // What people are told is what was decided.
        let told = trace(&with, (&known(0), "web"), &facts, NOW);
        let decided = told.iter().find_map(|rule| match rule { RuleTrace::Decides(verdict) => Some(*verdict), _ => None });
        prop_assert_eq!(decided.unwrap_or(verdict(default)) == Allow, all);
    }
}
