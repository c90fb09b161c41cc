//! Quotas, agreements and costs; and what lets everybody through, or has passed, which is a warning.

use super::*;

#[test]
fn quotas_limit_something() {
    assert_eq!(
        beside("callers: { tiers: { a: {}, b: { burst: 3, concurrent: 0 } } }"),
        [
            "t.yaml:6:21: `rate` or `concurrent` is missing",
            "t.yaml:6:40: `burst` without `rate`",
            "t.yaml:6:55: a `concurrent` of 0 lets nothing pass",
        ]
    );
    let text = SERVICE.replace("10/s", "1/d, burst: 400");
    assert_eq!(told(&load_text(&text)), ["t.yaml:5:44: a burst of 400 takes more than 365d to refill"]);
}

#[test]
fn an_agreement_has_callers_and_a_caller_one_agreement() {
    let text = "limits:\n  default: { rate: 1/s }\n  agreements:\n    - { rate: 1/s }\n    - { caller: web, callers: [office], rate: 1/s }\n    - { callers: [web], rate: 1/s }\n    - { callers: [], rate: 1/s }";
    assert_eq!(
        inside_knowing(text),
        [
            "t.yaml:10:11: `caller` is missing",
            "t.yaml:11:35: `callers` stands beside `caller`",
            "t.yaml:12:23: `web` already has an agreement at t.yaml:11:21",
            "t.yaml:13:22: the list `callers` is empty",
        ]
    );
}

#[test]
fn a_cost_fits_into_every_burst_that_it_can_meet() {
    let text = "limits:\n  default: { rate: 10/s, burst: 4 }\n  total: { rate: 1000/s }\n  agreements: [{ caller: office, rate: 3/s }]\n  costs: [{ cost: 5 }, { paths: [/a], cost: 200 }, { cost: 0 }, {}]";
    assert_eq!(
        inside_knowing(text),
        [
            "t.yaml:11:23: a cost of 5 is above the burst of 4 of `default` at t.yaml:8",
            "t.yaml:11:23: a cost of 5 is above the burst of 3 of `agreement office` at t.yaml:10",
            "t.yaml:11:49: a cost of 200 is above the burst of 4 of `default` at t.yaml:8",
            "t.yaml:11:49: a cost of 200 is above the burst of 100 of `tier big` at t.yaml:1",
            "t.yaml:11:49: a cost of 200 is above the burst of 3 of `agreement office` at t.yaml:10",
            "t.yaml:11:64: a `cost` of 0 lets nothing pass",
            "t.yaml:11:69: `cost` is missing",
        ]
    );
}

#[test]
fn what_has_passed_is_a_warning_and_nothing_more() {
    let text = "limits:\n  default: { rate: 1/s }\n  agreements:\n    - { caller: web, rate: 1/s, until: 2027-01-15 }\n    - { caller: office, rate: 1/s, until: 2027-01-29 }\npermissions: { rules: [{ deny: {}, until: 2001-01-01 }] }";
    assert_eq!(
        inside_knowing(text),
        [
            "t.yaml:10:44: `until` has passed: the agreement of web ended on 2027-01-15",
            "t.yaml:11:47: the agreement of office ends on 2027-01-29, in 14 days",
            "t.yaml:12:47: `until` has passed: permissions.rules[1] no longer applies since 2001-01-01",
        ]
    );
    let loaded =
        load_text(&format!("{SERVICE}    permissions: {{ rules: [{{ deny: {{}}, until: 2001-01-01 }}] }}\n"));
    assert!(loaded.config.is_some());
    assert_eq!((loaded.errors().count(), loaded.warnings().count()), (0, 1));
    assert!(loaded.render().starts_with("warning: t.yaml:6:47: "), "{}", loaded.render());
    assert_eq!(
        inside("permissions: { rules: [{ deny: {}, until: 2027-02-30 }] }"),
        ["t.yaml:6:47: `2027-02-30` is not a date"]
    );
}

#[test]
fn open_doors_are_warnings() {
    let text = SERVICE.replace("    limits: { default: { rate: 10/s } }\n", "");
    assert_eq!(
        told(&load_text(&text)),
        ["t.yaml:2:3: callers without an agreement or a tier have no limit here"]
    );
    assert_eq!(
        beside("callers: { trusted_proxies: [0.0.0.0/0, 10.0.0.0/8] }"),
        ["t.yaml:6:30: 0.0.0.0/0 makes every peer a trusted proxy: each can claim to be any address"]
    );
    assert!(load_text(&text).config.is_some());
}
