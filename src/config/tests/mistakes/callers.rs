//! Who is known by what, and names that are nobody's.

use super::*;

#[test]
fn names_that_are_defined_nowhere_are_told_the_nearest() {
    let rules = "limits: { default: { rate: 1/s } }\npermissions:\n  rules:\n    - deny: { callers: [ofice, 'we*', 'x*', 'address:*'] }\n    - deny: { tiers: [bg] }";
    assert_eq!(
        inside_knowing(rules),
        [
            "t.yaml:10:29: the caller `ofice` is known nowhere",
            "t.yaml:10:43: `x*` fits no caller that is known",
            "t.yaml:11:27: the tier `bg` is defined nowhere",
        ]
    );
    let text = format!(
        "callers: {{ known: {{ office: {{ addresses: [10.0.0.2] }} }} }}\n{SERVICE}    permissions: {{ rules: [{{ deny: {{ callers: [ofice] }} }}] }}\n"
    );
    assert_eq!(help(&text), "did you mean `office`?");
    assert_eq!(
        inside_knowing("limits: { default: { rate: 1/s }, agreements: [{ caller: wbe, rate: 1/s }] }"),
        ["t.yaml:7:62: the caller `wbe` is known nowhere"]
    );
    assert_eq!(
        beside("callers: { known: { a: { addresses: [10.0.0.1], tier: x } } }"),
        ["t.yaml:6:55: the tier `x` is defined nowhere"]
    );
}

#[test]
fn addresses_as_names_are_spelled_as_buckler_spells_them() {
    let rules = "limits: { default: { rate: 1/s } }\npermissions: { rules: [{ deny: { callers: ['address:2001:DB8::/64', 'address:10.1', 'address:10.0.0.7'] } }] }";
    assert_eq!(
        inside_knowing(rules),
        [
            "t.yaml:8:48: `address:2001:DB8::/64` is no caller's name",
            "t.yaml:8:73: `address:10.1` is no caller's name",
        ]
    );
}

#[test]
fn what_belongs_to_one_caller_belongs_to_no_other() {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let text = format!(
        "callers:\n  known:\n    a: {{ api_keys: ['{hash}'], addresses: [10.0.0.1] }}\n    b: {{ api_keys: ['{hash}'], addresses: [10.0.0.1/32] }}\n    c: {{}}\n    'd:e': {{ addresses: [10.0.0.2] }}\n"
    );
    assert_eq!(
        beside(&text),
        [
            "t.yaml:9:21: this key already belongs to `a` at t.yaml:8:21",
            "t.yaml:9:109: this network already belongs to `a` at t.yaml:8:109",
            "t.yaml:10:5: nothing says how to know `c`",
            "t.yaml:11:5: `d:e` is not a name for a caller",
        ]
    );
}

#[test]
fn credentials_end_with_the_address() {
    assert_eq!(
        beside("callers: { identify: [address, api_key] }"),
        ["t.yaml:6:22: `identify` must end with `address`, which is always present"]
    );
    assert_eq!(
        beside("callers: { identify: [api_key, api_key, address] }"),
        ["t.yaml:6:32: this credential is written twice"]
    );
    for header in ["Connection", "x-buckler-caller", "Host"] {
        let name = header.to_ascii_lowercase();
        assert_eq!(
            beside(&format!("callers: {{ api_key: {{ header: {header} }} }}")),
            [format!("t.yaml:6:31: the header `{name}` has a meaning of its own and cannot carry a key")]
        );
    }
    assert_eq!(
        beside("callers: { api_key: { header: 'a b' } }"),
        ["t.yaml:6:31: `a b` is not the name of a header"]
    );
}
