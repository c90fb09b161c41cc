//! `health`: checks of every kind, and the share that may be ejected.

use super::*;

#[test]
fn a_check_is_of_one_kind() {
    for (check, what, help) in [
        (
            "{ kind: tcp, path: /a }",
            "41: `path` belongs to a check of `kind: http`, and this one is tcp at t.yaml:6:30",
            "remove it, or write `kind: http`",
        ),
        (
            "{ service: a.B }",
            "33: `service` belongs to a check of `kind: grpc`, and this one is http by default",
            "remove it, or write `kind: grpc`",
        ),
        (
            "{ kind: grpc }",
            "30: `kind: grpc` needs HTTP/2, and these workers speak HTTP/1.1 by default",
            "write `protocol: http2` under `workers`",
        ),
        ("{ kind: https }", "30: `https` is not one of `http`, `tcp`, `grpc`", "did you mean `http`?"),
        (
            "{ path: healthz }",
            "30: `healthz` is not a path to ask for: it must start with `/`",
            "write a path",
        ),
        ("{ path: '/a b' }", "30: `/a b` is not a path to ask for: spaces and others", "write a path"),
        ("{ path: '/a#b' }", "30: `/a#b` is not a path to ask for: a fragment is never sent", "write a path"),
        ("{ host: 'a b' }", "30: `a b` is not a host", "write it as a client would"),
        ("{ host: 'a@b' }", "30: `a@b` is not a host", "write it as a client would"),
        ("{ status: [] }", "32: with no good status no check can succeed", "write those that are good"),
        ("{ status: 200 }", "32: expected a list, found `200`", ""),
        ("{ status: [99] }", "33: `99` is not a status", "write a status from 200 to 599"),
        ("{ status: [2xx] }", "33: `2xx` is not a status", "write a status from 200 to 599"),
        (
            "{ status: [299-200] }",
            "33: `299-200` is not a status: its end comes before its beginning",
            "write a status from 200 to 599",
        ),
        ("{ body: '' }", "30: an empty text stands in every body", "write what a good answer holds"),
        (
            "{ interval: 1s, timeout: 2s }",
            "47: `timeout: 2s` is longer than `interval: 1s` at t.yaml:6:34",
            "give it less time",
        ),
        (
            "{ timeout: 6s }",
            "33: `timeout: 6s` is longer than `interval: 5s` by default",
            "give it less time",
        ),
        ("{ interval: 1ms }", "34: `1ms` is out of bounds", "write 10ms to 1h"),
        ("{ timeout: 0s }", "33: `0s` is out of bounds", "write 1ms to 1h"),
        ("{ healthy_after: 0 }", "39: 0 is out of bounds", "write 1 to 100"),
        ("{ unhealthy_after: 101 }", "41: 101 is out of bounds", "write 1 to 100"),
        ("{ required_at_start: yes }", "43: `yes` is not true or false", ""),
    ] {
        begins(&format!("health: {{ check: {check} }}"), what, help);
    }
}

#[test]
fn a_grpc_check_names_a_service_and_a_share_is_in_percent() {
    let grpc = |service: &str| {
        load_text(&text(
            "protocol: http2",
            &format!("health: {{ check: {{ kind: grpc, service: {service} }} }}"),
        ))
    };
    assert_eq!(grpc("a.v1.B").render(), "");
    assert_eq!(told(&grpc("'a b'")), ["t.yaml:6:45: `a b` is not the name of a gRPC service"]);
    says("", "health: { max_ejected: 101% }", "6:28: `101%` is not a share", "write a whole number");
    says("", "health: { max_ejected: 0.5 }", "6:28: `0.5` is not a share", "write a whole number");
    says("", "health: { checks: {} }", "6:15: unknown key `checks`", "did you mean `check`?");
}
