//! What is no YAML, keys that are too many, missing or unknown, and values of another kind.

use super::*;

#[test]
fn a_service_alone_is_enough() {
    assert_eq!(beside(""), [""; 0]);
}

#[test]
fn not_yaml_is_one_error() {
    let loaded = load_text("services:\n  a: [1\nb: 2\n");
    assert_eq!(loaded.problems.len(), 1);
    assert!(told(&loaded)[0].starts_with("t.yaml:3:"), "{}", loaded.render());
    assert_eq!(told(&load_text("a: 1\n---\nb: 2\n")), ["t.yaml:2:1: a second YAML document begins here"]);
}

#[test]
fn a_tab_is_told_what_yaml_indents_with() {
    let text = SERVICE.replacen("    ", "\t", 1);
    assert_eq!(load_text(&text).problems.len(), 1);
    assert!(help(&text).starts_with("YAML indents with spaces only"), "{}", load_text(&text).render());
}

#[test]
fn a_duplicate_key_names_the_first() {
    assert_eq!(
        inside("listen: 127.0.0.1:1"),
        ["t.yaml:6:5: duplicate key `listen`; it is first written at t.yaml:3:5"]
    );
    assert_eq!(
        beside("log: { level: info, level: warn }"),
        ["t.yaml:6:21: duplicate key `level`; it is first written at t.yaml:6:8"]
    );
}

#[test]
fn an_unknown_key_is_told_the_nearest() {
    assert_eq!(inside("timouts: { head: 1s }"), ["t.yaml:6:5: unknown key `timouts`"]);
    let text = format!("{SERVICE}    timouts: {{}}\n");
    assert!(
        help(&text).starts_with("did you mean `timeouts`?\nexpected one of `listen`, `socket`, "),
        "{}",
        help(&text)
    );
    assert!(help(&format!("{SERVICE}xyzzy: 1\n")).starts_with("expected one of `include`, `threads`"));
}

#[test]
fn keys_of_later_versions_are_told_apart_from_unknown_ones() {
    assert_eq!(
        beside("fleet: {}"),
        [
            "t.yaml:6:1: `fleet` (limits shared between several Bucklers) is planned but not built in this version"
        ]
    );
    assert_eq!(
        beside("admin: { listen: 127.0.0.1:1, tls: {} }"),
        ["t.yaml:6:31: `tls` (TLS on the admin listener) is planned but not built in this version"]
    );
}

#[test]
fn missing_keys_are_told_at_their_parent() {
    assert_eq!(told(&load_text("")), ["t.yaml:0:0: `services` is missing"]);
    assert_eq!(told(&load_text("services: {}\n")), ["t.yaml:1:11: there is no service"]);
    assert_eq!(
        told(&load_text("services:\n  a:\n    limits: { default: { concurrent: 1 } }\n")),
        ["t.yaml:2:3: `listen` is missing", "t.yaml:2:3: `workers` is missing",]
    );
    assert_eq!(beside("admin: {}"), ["t.yaml:6:8: `listen` is missing"]);
}

#[test]
fn the_wrong_kind_says_what_is_expected() {
    assert_eq!(
        beside("dns: 5"),
        ["t.yaml:6:6: expected a map of `servers`, `max_ttl`, `timeout`, found `5`"]
    );
    assert_eq!(
        beside("dns: { servers: 127.0.0.1:53 }"),
        ["t.yaml:6:17: expected a list, found `127.0.0.1:53`"]
    );
    assert_eq!(beside("threads: [2]"), ["t.yaml:6:10: expected a whole number, found a list"]);
    assert_eq!(beside("[a]: 1"), ["t.yaml:6:1: a key must be a word"]);
    assert_eq!(beside("log: { level: !x info }"), ["t.yaml:6:18: a YAML tag (`!...`) stands here"]);
}
