//! Refusals, fallbacks and what a shadow rule would have refused: counted, kept and told with their rule.

use super::*;
use crate::record::labels::CODES;

#[test]
fn rules_and_callers_that_take_turns_are_counted_each_for_itself() {
    let world = World::json();
    let rule = |name: &str| Arc::new(RuleRef { name: name.into(), at: String::new(), reason: None });
    // Two of one name, as before and after a reload.
    let rules = [rule("a"), rule("b"), rule("a")];
    for n in 0..9 {
        let mut outcome = world.begin("/");
        outcome.caller(if n % 2 == 0 { web() } else { stranger() });
        outcome.refused(Refusal::new(Reason::CallerRate, "the rate is used up").by(&rules[n % 3]));
        outcome.ended(End::Complete);
    }
    let counted = |rule: &str, n| (rule.into(), false, Reason::CallerRate, n);
    assert_eq!(world.counts.limited(), [counted("a", 6), counted("b", 3)]);
    assert_eq!(world.counts.callers().named[0].1, Tally { allowed: 0, refused: 5 });
}

#[test]
fn a_refusal_is_told_with_its_rule_everywhere() {
    let world = World::json();
    let mut outcome = world.begin("/admin");
    outcome.caller(web());
    let wait = Duration::from_secs(3);
    outcome.refused(Refusal::new(Reason::CallerRate, "the rate is used up").by(&by_default()).after(wait));
    outcome.ended(End::Complete);
    drop(outcome);
    let counts = &world.counts;
    assert_eq!(counts.limited(), [("default".into(), false, Reason::CallerRate, 1)]);
    assert_eq!(counts.callers().named[0].1, Tally { allowed: 0, refused: 1 });
    let kept = counts.refusals(Some("web"), 10);
    assert_eq!((kept[0].status, kept[0].path.as_str(), kept[0].retry_after), (429, "/admin", Some(wait)));
    assert_eq!(kept[0].rule.as_ref().unwrap().at, "buckler.yaml:34");
    assert!(counts.refusals(Some("other"), 10).is_empty());
    let line = &world.lines()[0];
    assert_eq!((&line["status"], &line["reason"]), (&429.into(), &"caller_rate".into()));
    assert_eq!((&line["rule"], &line["rule_at"]), (&"default".into(), &"buckler.yaml:34".into()));
}

#[test]
fn a_fallback_keeps_the_cause_and_is_told_everywhere() {
    let world = World::json();
    let mut outcome = world.begin("/list");
    outcome.caller(web());
    outcome.refused(Refusal::new(Reason::WorkersFailing, "most of the newest requests failed"));
    outcome.fell_back();
    outcome.status(200);
    outcome.ended(End::Complete);
    drop(outcome);
    let counts = &world.counts;
    assert_eq!(counts.fallbacks(), [(Reason::WorkersFailing, 1)]);
    let code = |status: &str| CODES.iter().position(|code| *code == status).unwrap();
    assert_eq!(counts.requests(), [(code("200"), Some(Reason::WorkersFailing), 1)]);
    let kept = counts.refusals(None, 10);
    assert!(kept[0].fallback);
    assert_eq!((kept[0].status, kept[0].reason), (200, Reason::WorkersFailing));
    let line = &world.lines()[0];
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"workers_failing".into()));
    assert_eq!(line["fallback"], true);
}

#[test]
fn a_flood_of_refusals_is_counted_and_told_with_the_next_line() {
    let world = World::json();
    let refuse = |now: Moment| {
        let mut outcome = world.begin("/");
        outcome.caller(stranger());
        outcome.refused(Refusal::new(Reason::CallerRate, ""));
        outcome.write(now);
        // Written by hand at this moment; the second writing of its drop is not what is tested.
        std::mem::forget(outcome);
    };
    (0..100).for_each(|_| refuse(Moment::at(1_000_000_000)));
    refuse(Moment::at(2_000_000_000));
    assert_eq!(world.counts.shards.sum(|shard| &shard.suppressed), 98);
    assert_eq!(world.counts.callers().top[0].1, Tally { allowed: 0, refused: 101 });
    assert_eq!(world.counts.refusals(None, 10).len(), 3);
}

#[test]
fn a_shadow_rule_is_counted_apart_and_named_in_the_line() {
    let world = World::json();
    let mut outcome = world.begin("/");
    outcome.shadow(&by_default(), Reason::DeniedByRule);
    good(&mut outcome);
    drop(outcome);
    assert_eq!(world.counts.limited(), [("default".into(), true, Reason::DeniedByRule, 1)]);
    let line = &world.lines()[0];
    assert_eq!(line["status"], 200);
    let shadow =
        serde_json::json!([{ "rule": "default", "rule_at": "buckler.yaml:34", "reason": "denied_by_rule" }]);
    assert_eq!(line["shadow"], shadow);
}
