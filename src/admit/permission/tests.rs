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

/// The same for requests.
fn book(default: Verdict, rules: Vec<Rule>) -> RuleBook {
    let permissions = permissions(default, rules);
    RuleBook::new(&Arc::new(config::Service { permissions, ..config::plain_service() }))
}

fn caller(who: Who, tier: Option<usize>) -> Caller {
    Caller { who, tier, via: Via::Address, client: [192, 0, 2, 7].into(), hash: 1 }
}

fn known(number: usize) -> Caller {
    caller(Who::Known(number), Some(number))
}

/// None: allowed. Otherwise what the refusing rule is called.
fn asked(book: &RuleBook, (caller, name): (&Caller, &str), method: &Method, path: &str) -> Option<String> {
    let facts = Facts { method, host: "a.example.test", path };
    let mut shadows = Vec::new();
    let refusal = judge(book, (caller, name), &facts, NOW, &mut shadows).err()?;
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
    let all = book(Allow, vec![staff, nobody, delete]);
    assert_eq!(asked(&all, (&known(1), "web"), &Method::DELETE, "/admin/x"), None);
    assert_eq!(asked(&all, (&known(0), "other"), &Method::GET, "/admin"), Some("rules[1]".into()));
    assert_eq!(asked(&all, (&known(0), "other"), &Method::GET, "/admin;x/y"), Some("rules[1]".into()));
    assert_eq!(asked(&all, (&known(1), "web"), &Method::DELETE, "/"), Some("rules[2]".into()));
    assert_eq!(asked(&all, (&known(0), "other"), &Method::GET, "/"), None);
}

#[test]
fn the_default_decides_if_no_rule_matches() {
    let none = book(Deny, vec![]);
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
        let refused = asked(&book(Allow, vec![part]), (&stranger, "address:10.1.2.3"), &Method::GET, "/b/c");
        assert_eq!(refused.is_some(), fits);
    }
    let tier = book(Allow, vec![Rule { tiers: vec![7], ..rule(Deny, "r") }]);
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
        let told = permissions(verdict(default), rules.iter().map(make).collect());
        let with = rules.iter().map(make).collect();
        let without = rules.iter().filter(|rule| !rule.1).map(make).collect();
        let (with, without) = (book(verdict(default), with), book(verdict(default), without));
        let facts = Facts { method: &Method::GET, host: "h", path: "/x" };
        let (mut noted, mut none) = (Vec::new(), Vec::new());
        let all = judge(&with, (&known(0), "web"), &facts, NOW, &mut noted).is_ok();
        prop_assert_eq!(all, judge(&without, (&known(0), "web"), &facts, NOW, &mut none).is_ok());
        prop_assert!(none.is_empty());
        let before = rules.iter().position(|(_, shadow, fits)| !shadow && *fits).unwrap_or(rules.len());
        prop_assert_eq!(noted.len(), rules[..before].iter().filter(|(_, shadow, fits)| *shadow && *fits).count());
        // What people are told is what was decided.
        let told = trace(&told, (&known(0), "web"), &facts, NOW);
        let decided = told.iter().find_map(|rule| match rule {
            RuleTrace::Decides(verdict) => Some(*verdict),
            _ => None,
        });
        prop_assert_eq!(decided.unwrap_or(verdict(default)) == Allow, all);
    }

    /// However many rules there are, what is decided and noted is what asking all of them one after another would say.
    #[test]
    fn an_index_changes_no_verdict(
        rules in proptest::collection::vec(any_rule(), FEW..60),
        requests in proptest::collection::vec(any_request(), 1..40),
        default: bool,
    ) {
        let book = book(if default { Allow } else { Deny }, rules);
        for (who, name, tier, method, host, path) in requests {
            let who = who.map_or_else(|| Who::Other(name.as_str().into()), Who::Known);
            let facts = Facts { method: &method, host: &host, path: &path };
            let (mut noted, mut all_noted) = (Vec::new(), Vec::new());
            let caller = caller(who, tier);
            let found = judge(&book, (&caller, &name), &facts, NOW, &mut noted);
            let permissions = &book.service.permissions;
            let rules = permissions.rules.iter();
            let all = walk(permissions, rules, (&caller, &name), &facts, (NOW, &mut all_noted));
            let rule = |refusal: Refusal| refusal.rule.map(|rule| rule.name.clone());
            let word = |verdict: Result<(), Refusal>| verdict.map_err(rule);
            prop_assert_eq!(word(found), word(all), "{} {} {} {}", name, method, host, path);
            let names = |noted: &[Shadow]| noted.iter().map(|shadow| shadow.rule.name.clone()).collect::<Vec<_>>();
            prop_assert_eq!(names(&noted), names(&all_noted));
        }
    }
}

fn some<T: std::fmt::Debug + Clone + 'static>(
    one: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![2 => Just(vec![]), 3 => proptest::collection::vec(one, 1..3)]
}

/// Names of which some match and some nearly do.
const NAMES: &str = "(address:10|api_key:ab|web|office)(\\.[12])?";
const HOSTS: &str = "([ab]\\.)?[ab]\\.test";
const SEGMENT: &str = "([abc]|a@|a%40|a;|a%3B|a;v=1|a%3Bv%3D1|%3F){0,2}";

fn any_method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::GET), Just(Method::PUT), Just(Method::from_bytes(b"OWN").unwrap())]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let caller = prop_oneof![
        (0..3_usize).prop_map(CallerPattern::Known),
        NAMES.prop_map(|name| CallerPattern::Glob(name.into())),
        Just(CallerPattern::Glob("address:*".into())),
    ];
    let host = prop_oneof![
        HOSTS.prop_map(|host| HostPattern::Exact(host.into())),
        HOSTS.prop_map(|host| HostPattern::OneLabel(format!(".{host}").into())),
    ];
    let segment = prop_oneof![4 => SEGMENT, 1 => Just("*".to_owned())];
    let path = (proptest::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, rest)| {
        let rest = if rest { "/**" } else { "" };
        pattern(&format!("/{}{rest}", segments.join("/")))
    });
    let until = prop_oneof![3 => Just(None), 1 => (999..1_002_u64).prop_map(Some)];
    let parts = (some(caller), some(0..3_usize), some(any_method()), some(host), some(path));
    (parts, until, any::<(bool, bool)>(), any::<u32>()).prop_map(
        |((callers, tiers, methods, hosts, paths), until, (allow, shadow), number)| Rule {
            verdict: if allow { Allow } else { Deny },
            callers,
            tiers,
            methods,
            hosts,
            paths,
            until,
            mode: if shadow { Mode::Shadow } else { Mode::Enforce },
            rule_ref: rule_ref(&number.to_string()),
        },
    )
}

type Asked = (Option<usize>, String, Option<usize>, Method, String, String);

fn any_request() -> impl Strategy<Value = Asked> {
    let path = prop_oneof![
        9 => proptest::collection::vec(SEGMENT, 1..5).prop_map(|segments| format!("/{}", segments.join("/"))),
        1 => Just("*".to_owned()),
    ];
    let number = || proptest::option::of(0..3_usize);
    (number(), NAMES, number(), any_method(), HOSTS, path)
}

#[test]
fn rules_that_a_request_does_not_lead_to_are_not_asked() {
    let kinds: [fn(usize) -> Rule; 4] = [
        |n| on(&[&format!("/v1/private-{n}/**"), &format!("/*/{n}")], rule(Deny, "r")),
        |n| Rule { callers: vec![CallerPattern::Known(n)], ..on(&["/**"], rule(Deny, "r")) },
        |n| Rule {
            hosts: vec![HostPattern::Exact(format!("{n}.test").into())],
            ..on(&["/v1/*"], rule(Deny, "r"))
        },
        |n| Rule { hosts: vec![HostPattern::OneLabel(format!(".{n}.test").into())], ..rule(Deny, "r") },
    ];
    let book = book(Allow, (4..1_000).map(|n| kinds[n % 4](n)).collect());
    let count = |number, host, path| {
        let facts = Facts { method: &Method::GET, host, path };
        book.index.as_ref().unwrap().candidates(&known(number), "web", &facts).unwrap().count()
    };
    assert_eq!(count(0, "a.test", "/v1/tracks"), 0);
    assert_eq!(count(5, "6.test", "/v1/private-8/x"), 3);
    assert_eq!(count(5, "x.7.test", "/x/8"), 3);
}

#[test]
fn more_ways_to_rules_than_are_walked_together_change_no_verdict() {
    // Every mixture of `a` and `*`: a path of many `a` leads to all of them.
    let written = |n: u32| (0..6).map(|bit| if n >> bit & 1 == 1 { "/a" } else { "/*" }).collect::<String>();
    let rules =
        (1..64).map(|n| Rule { mode: Mode::Shadow, ..on(&[&written(n)], rule(Deny, &n.to_string())) });
    let book = book(Allow, rules.collect());
    let facts = Facts { method: &Method::GET, host: "h", path: "/a/a/a/a/a/a" };
    let mut shadows = Vec::new();
    assert!(judge(&book, (&known(0), "web"), &facts, NOW, &mut shadows).is_ok());
    assert_eq!(shadows.len(), 63);
}
