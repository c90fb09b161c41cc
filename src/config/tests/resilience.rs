//! Balance, health, capacity, retries and fallback: what is accepted and what it means, then one mistake at a time with
//! its place and its words.

use std::time::Duration;

use super::*;
use crate::config::{Balance, CapacityFacts, Check, CheckKind, Health, Retries, RingKey, Service};

const SECOND: Duration = Duration::from_secs(1);

/// Like [`SERVICE`], with these keys in `workers` (line 4, from column 47) and these lines from line 6 on.
fn text(workers: &str, lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let workers = if workers.is_empty() { String::new() } else { format!(", {workers}") };
    format!("{}{lines}", SERVICE.replace("9001\"] }", &format!("9001\"]{workers} }}")))
}

/// The one service of this text, which loads without a word.
fn sound(workers: &str, lines: &str) -> Service {
    let loaded = load_text(&text(workers, lines));
    assert_eq!(loaded.render(), "");
    let (_, service) = loaded.config.unwrap().services.pop_first().unwrap();
    std::sync::Arc::into_inner(service).unwrap()
}

/// One problem: its place and words, and what its help begins with.
fn says(workers: &str, lines: &str, what: &str, help: &str) {
    let loaded = load_text(&text(workers, lines));
    assert_eq!(told(&loaded), [format!("t.yaml:{what}")], "{}", loaded.render());
    let told = loaded.problems[0].help.clone().unwrap_or_default();
    assert!(!help.is_empty() && told.starts_with(help), "{told}");
}

fn http_check(service: &Service) -> &Check {
    service.health.check.as_ref().unwrap()
}

#[test]
fn a_service_without_a_word_about_it_has_safe_defaults() {
    let service = sound("", "");
    assert_eq!((service.balance, service.concurrent_per_worker), (Balance::Weighted, None));
    assert_eq!(service.slow_start, 10 * SECOND);
    assert_eq!(service.health, Health { passive: true, max_ejected: 0.5, check: None });
    assert_eq!(service.retries, Retries { attempts: 2, budget: 0.2, on: Vec::new() });
    assert_eq!((service.capacity.concurrent, service.capacity.wait), (None, Duration::ZERO));
    assert!(service.fallback.is_none() && service.deadline_header.is_none());
    let service = sound("", "health: { check: {} }");
    let check = http_check(&service);
    let kind = CheckKind::Http { path: "/".into(), host: None, status: vec![200..=399], body: None };
    assert_eq!((&check.kind, check.required_at_start), (&kind, false));
    assert_eq!((check.interval, check.timeout), (5 * SECOND, SECOND));
    assert_eq!((check.healthy_after, check.unhealthy_after), (2, 3));
    // A check ends before the next begins.
    let service = sound("", "health: { check: { interval: 300ms } }");
    assert_eq!(http_check(&service).timeout, Duration::from_millis(300));
}

#[test]
fn every_key_means_what_it_says() {
    let service = sound(
        "balance: least_requests, concurrent_per_worker: 3, slow_start: 0s",
        "health:\n  passive: false\n  max_ejected: 100%\n  check:\n    kind: http\n    path: /healthz?full=1\n\
         \x20   host: playlist.example.test:80\n    status: [200, 204-299]\n    body: '\"ok\"'\n    interval: 1s\n\
         \x20   timeout: 1s\n    healthy_after: 4\n    unhealthy_after: 5\n    required_at_start: true\n\
         timeouts: { total: 5s, deadline_header: X-Timeout-Ms }\n\
         retry: { attempts: 10, budget: 10%, on: [502, 503] }\ncapacity: { concurrent: 2, wait: 5s }\n\
         fallback: { status: 203, headers: { Content-Type: application/json, x-count: 0 }, body: '[]' }",
    );
    assert_eq!((service.balance, service.slow_start), (Balance::LeastRequests, Duration::ZERO));
    assert_eq!(service.concurrent_per_worker.unwrap().get(), 3);
    assert_eq!((service.health.passive, service.health.max_ejected), (false, 1.0));
    let check = service.health.check.as_ref().unwrap();
    let kind = CheckKind::Http {
        path: "/healthz?full=1".into(),
        host: Some("playlist.example.test:80".into()),
        status: vec![200..=200, 204..=299],
        body: Some("\"ok\"".into()),
    };
    assert_eq!((&check.kind, check.timeout, check.required_at_start), (&kind, SECOND, true));
    assert_eq!((check.healthy_after, check.unhealthy_after), (4, 5));
    assert_eq!(service.deadline_header.unwrap(), "x-timeout-ms");
    assert_eq!((service.retries.attempts, service.retries.budget), (10, 0.1));
    assert_eq!(service.retries.on, [502, 503].map(|status| http::StatusCode::from_u16(status).unwrap()));
    assert_eq!((service.capacity.concurrent.unwrap().get(), service.capacity.wait), (2, 5 * SECOND));
    let fallback = service.fallback.unwrap();
    assert_eq!((fallback.status.as_u16(), &*fallback.body), (203, &b"[]"[..]));
    assert_eq!(fallback.headers["content-type"], "application/json");
    assert_eq!(fallback.headers["x-count"], "0");
}

#[test]
fn a_ring_goes_by_the_caller_or_by_a_header() {
    let ring = |balance: &str| sound(&format!("balance: {balance}"), "").balance;
    assert_eq!(ring("ring"), Balance::Ring(RingKey::Caller));
    assert_eq!(ring("{ by: ring }"), Balance::Ring(RingKey::Caller));
    let by = RingKey::Header(http::HeaderName::from_static("x-user"));
    assert_eq!(ring("{ by: ring, header: X-User }"), Balance::Ring(by));
    assert_eq!(ring("{ by: weighted }"), Balance::Weighted);
}

#[test]
fn what_waits_for_a_place_has_a_default() {
    let wait = |workers: &str, lines: &str| sound(workers, lines).capacity.wait;
    let one = "concurrent_per_worker: 1";
    assert_eq!(wait(one, ""), SECOND);
    assert_eq!(wait(one, "timeouts: { total: 300ms }"), Duration::from_millis(300));
    assert_eq!(wait(one, "timeouts: { total: 1h }"), SECOND);
    assert_eq!(wait(one, "capacity: { concurrent: 1 }"), Duration::ZERO);
    assert_eq!(wait(one, "capacity: { wait: 7ms }"), Duration::from_millis(7));
    assert!(sound(one, "capacity: { wait: 7ms }").capacity.concurrent.is_none());
    assert_eq!(wait("", "capacity: { concurrent: 9 }"), Duration::ZERO);
}

#[test]
fn facts_are_rounded_up() {
    let of = |rps, latency, burst| {
        let capacity = CapacityFacts { rps, latency: Duration::from_micros(latency), burst }.capacity();
        (capacity.concurrent.unwrap().get(), capacity.wait.as_micros())
    };
    assert_eq!(of(200, 25_000, 10), (5, 50_000));
    assert_eq!(of(201, 25_000, 10), (6, 42_000));
    assert_eq!(of(1, 1, 0), (1, 0));
    assert_eq!(of(1, 1, 1), (1, 1_000));
    assert_eq!(of(1_000_000, 3_600_000_000, 1_000_000).0, 3_600_000_000);
    let service = sound("", "capacity: { rps: 200, latency: 25ms }");
    assert_eq!((service.capacity.concurrent.unwrap().get(), service.capacity.wait), (5, Duration::ZERO));
}

#[test]
fn bytes_take_what_does_not_speak_of_requests() {
    let service = sound(
        "balance: ring, concurrent_per_worker: 5, slow_start: 1s",
        "protocol: tcp\nhealth: { max_ejected: 20%, check: { interval: 1s } }\n\
         capacity: { rps: 10, latency: 100ms, burst: 3 }",
    );
    assert_eq!(service.health.check.as_ref().unwrap().kind, CheckKind::Tcp);
    assert_eq!(service.capacity.wait, Duration::from_millis(300));
}

#[test]
fn bytes_have_no_requests_to_speak_of() {
    let lines = "protocol: tcp\ntimeouts: { deadline_header: x-a }\nretries: { on: [502] }\nfallback: {}\n\
                 health: { check: { kind: http } }";
    let loaded = load_text(&text("balance: { by: ring, header: x-user }", lines));
    let of_requests = |at: &str, key: &str| {
        format!("t.yaml:{at}: `{key}` speaks of requests, and `protocol: tcp` carries bytes without any")
    };
    assert_eq!(
        told(&loaded),
        [
            of_requests("4:76", "workers.balance.header"),
            of_requests("7:34", "timeouts.deadline_header"),
            "t.yaml:7:34: `deadline_header` without `total`: there is no time to tell of".to_owned(),
            of_requests("8:14", "retries"),
            of_requests("9:15", "fallback"),
            "t.yaml:10:30: this check speaks of requests, and `protocol: tcp` carries bytes without any"
                .to_owned(),
        ]
    );
    says(
        "",
        "protocol: tcp\nhealth: { check: { path: /a } }",
        "7:30: `path` belongs to a check of `kind: http`, and this one is tcp by default with `protocol: tcp`",
        "remove it",
    );
}

#[test]
fn a_balance_is_one_of_three_words() {
    says(
        "balance: least_request",
        "",
        "4:56: `least_request` is not one of `weighted`, `least_requests`, `ring`",
        "did you mean `least_requests`?",
    );
    says(
        "balance: { by: weighted, header: x-user }",
        "",
        "4:80: `header` says what a ring goes by, and `by` at t.yaml:4:62 is none",
        "write `by: ring`",
    );
    says("balance: { header: x-user }", "", "4:56: `by` is missing", "write `balance: ring`");
    says(
        "balance: { by: ring, header: te }",
        "",
        "4:76: `te` frames a message and tells nobody apart",
        "write one like `x-user`",
    );
    says("concurrent_per_worker: 0", "", "4:70: 0 is out of bounds", "write 1 to 1000000");
    says("slow_start: 2h", "", "4:59: `2h` is out of bounds", "write 0s to 1h");
    says("slow_star: 2s", "", "4:47: unknown key `slow_star`", "did you mean `slow_start`?");
}

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
        let loaded = load_text(&text("", &format!("health: {{ check: {check} }}")));
        let found = told(&loaded);
        assert!(found.len() == 1 && found[0].starts_with(&format!("t.yaml:6:{what}")), "{check}: {found:?}");
        let told = loaded.problems[0].help.clone().unwrap_or_default();
        assert!(told.starts_with(help), "{check}: {told}");
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

#[test]
fn a_capacity_has_one_form_that_can_be_kept() {
    for (workers, lines, what, help) in [
        (
            "",
            "capacity: { concurrent: 5, burst: 3 }",
            "6:39: `burst` stands beside `concurrent` at t.yaml:6:29, which says the same otherwise",
            "write `capacity: { concurrent: 60",
        ),
        (
            "",
            "capacity: { rps: 5, latency: 3ms, wait: 1s }",
            "6:45: `wait` stands beside `rps` at t.yaml:6:22, which says the same otherwise",
            "write `capacity: { concurrent: 60",
        ),
        ("", "capacity: {}", "6:15: `concurrent` is missing, or `rps` and `latency`", "write `capacity: {"),
        ("", "capacity: { rps: 5 }", "6:15: `latency` is missing", "write `capacity: {"),
        ("", "capacity: { latency: 5ms }", "6:15: `rps` is missing", "write `capacity: {"),
        (
            "",
            "capacity: { wait: 5ms }",
            "6:23: `wait` for a place, and nothing bounds the places",
            "write `concurrent: 60` beside it",
        ),
        ("", "capacity: { concurrent: 0 }", "6:29: 0 is out of bounds", "write 1 to 1000000"),
        ("", "capacity: { concurrent: 1, wait: 61s }", "6:38: `1m1s` is out of bounds", "write 0s to 1m"),
        ("", "capacity: { rps: 0, latency: 1s }", "6:22: 0 is out of bounds", "write 1 to 1000000"),
        ("", "capacity: { rps: 1, latency: 0s }", "6:34: `0s` is out of bounds", "write 1us to 1h"),
        (
            "",
            "capacity: { rps: 1000000, latency: 2s }",
            "6:22: these facts mean 2000000 requests at once, more than 1000000",
            "look at `rps`",
        ),
        (
            "",
            "capacity: { rps: 1, latency: 1s, burst: 61 }",
            "6:45: this burst means a wait of 1m1s, more than 1m",
            "nobody waits so long",
        ),
        (
            "",
            "timeouts: { total: 1s }\ncapacity: { concurrent: 1, wait: 2s }",
            "7:38: a `wait` of 2s is longer than `timeouts.total: 1s` at t.yaml:6:24",
            "let requests wait",
        ),
        (
            "",
            "timeouts: { total: 1s }\ncapacity: { rps: 1, latency: 1s, burst: 2 }",
            "7:45: a `wait` of 2s is longer than `timeouts.total: 1s` at t.yaml:6:24",
            "let requests wait",
        ),
        (
            "concurrent_per_worker: 5",
            "capacity: { concurrent: 6 }",
            "6:29: 6 requests at once, and all workers together take 5 (`concurrent_per_worker` at t.yaml:4:70)",
            "write a smaller number",
        ),
    ] {
        says(workers, lines, what, help);
    }
    let none = load_text(&text("concurrent_per_worker: 5", "capacity: { concurrent: 6 }"));
    assert!(none.config.is_some(), "a warning only");
}

#[test]
fn retries_are_written_once_and_of_failures() {
    for (lines, what, help) in [
        (
            "retry: { attempts: 2 }\nretries: { attempts: 3 }",
            "7:14: `retries` and `retry` are the same, and `retry` is already written at t.yaml:6:12",
            "write all of it under `retries`",
        ),
        (
            "retries: { attempts: 2 }\nretry: { attempts: 3 }",
            "7:12: `retries` and `retry` are the same, and `retries` is already written at t.yaml:6:14",
            "write all of it under `retries`",
        ),
        ("retries: { attempts: 0 }", "6:26: 0 is out of bounds", "write 1 to 10"),
        ("retries: { attempts: 11 }", "6:26: 11 is out of bounds", "write 1 to 10"),
        ("retries: { budget: 20 }", "6:24: `20` is not a share", "write a whole number"),
        (
            "retries: { on: [404] }",
            "6:21: a status of 404 is no failure of a worker",
            "write statuses from 500",
        ),
        (
            "retries: { on: [600] }",
            "6:21: a status of 600 is no failure of a worker",
            "write statuses from 500",
        ),
        ("retries: { on: [502, 502] }", "6:26: 502 is written twice", "remove one"),
        (
            "retries: { attempts: 1, on: [502] }",
            "6:33: `on`, and `attempts: 1` at t.yaml:6:26 never tries again",
            "write `attempts: 2`",
        ),
        (
            "retries: { budget: 0%, on: [502] }",
            "6:32: `on`, and `budget: 0%` at t.yaml:6:24 never tries again",
            "write `budget: 20%`",
        ),
        ("retrys: {}", "6:5: unknown key `retrys`", "did you mean `retry`?"),
        (
            "timeouts: { deadline_header: x-a }",
            "6:34: `deadline_header` without `total`: there is no time to tell of",
            "write `total: 5s`",
        ),
        (
            "timeouts: { total: off, deadline_header: x-a }",
            "6:46: `deadline_header`, and `total` is off at t.yaml:6:24: there is no time to tell of",
            "write `total: 5s`",
        ),
        (
            "timeouts: { total: 1s, deadline_header: Host }",
            "6:45: `host` already means something else in a request",
            "write a name of your own",
        ),
        (
            "timeouts: { total: 1s, deadline_header: Via }",
            "6:45: `via` already means something else in a request",
            "write a name of your own",
        ),
        (
            "timeouts: { total: 1s, deadline_header: x-api-key }",
            "6:45: `x-api-key` already means something else in a request",
            "write a name of your own",
        ),
    ] {
        says("", lines, what, help);
    }
}

#[test]
fn a_fallback_is_an_answer_that_can_be_given() {
    for (fallback, what, help) in [
        ("{ status: 199 }", "25: 199 is out of bounds", "write 200 to 599"),
        ("{ status: ok }", "25: `ok` is not a whole number from 0 to 65535", ""),
        ("{ status: 204, body: x }", "36: a `body`, and `status: 204` at t.yaml:6:25 has none", "remove it"),
        ("{ status: 304, body: x }", "36: a `body`, and `status: 304` at t.yaml:6:25 has none", "remove it"),
        ("{ headers: { 'a b': x } }", "28: `a b` is not the name of a header", "write one like"),
        ("{ headers: { a: x, A: y } }", "34: the header `a` is written twice", "remove one"),
        ("{ headers: { a: \"x\\ny\" } }", "31: `x", "write characters of ASCII"),
        ("{ headers: { a: ' x' } }", "31: ` x` cannot be the value of a header", "write characters of ASCII"),
        (
            "{ headers: { a: \u{fc} } }",
            "31: `\u{fc}` cannot be the value of a header",
            "write characters of ASCII",
        ),
        ("{ header: {} }", "17: unknown key `header`", "did you mean `headers`?"),
    ] {
        let loaded = load_text(&text("", &format!("fallback: {fallback}")));
        let found = told(&loaded);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("t.yaml:6:{what}")),
            "{fallback}: {found:?}"
        );
        let told = loaded.problems[0].help.clone().unwrap_or_default();
        assert!(told.starts_with(help), "{fallback}: {told}");
    }
    for name in [
        "Content-Length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "trailer",
        "te",
        "keep-alive",
        "proxy-status",
        "x-request-id",
    ] {
        let lower = name.to_ascii_lowercase();
        says(
            "",
            &format!("fallback: {{ headers: {{ {name}: x }} }}"),
            &format!("6:28: `{lower}` is set by Buckler where it is due"),
            "remove it",
        );
    }
    let long = "x".repeat((64 << 10) + 1);
    says(
        "",
        &format!("fallback: {{ body: {long} }}"),
        "6:23: this body has 65537 bytes",
        "write at most 65536",
    );
    assert_eq!(
        sound("", &format!("fallback: {{ body: {} }}", &long[1..])).fallback.unwrap().body.len(),
        64 << 10
    );
    assert_eq!(sound("", "fallback: { status: 204 }").fallback.unwrap().status.as_u16(), 204);
}

#[test]
fn what_is_written_back_is_the_same_and_shows_what_follows_from_facts() {
    let every = text(
        "balance: { by: ring, header: x-user }, concurrent_per_worker: 9, protocol: http2",
        "health: { passive: false, max_ejected: 29%, check: { kind: grpc, service: a.B, required_at_start: true } }\n\
         timeouts: { total: 5s, deadline_header: x-timeout-ms }\nretry: { attempts: 3, budget: 7%, on: [500, 599] }\n\
         capacity: { rps: 200, latency: 25ms, burst: 10 }\n\
         fallback: { status: 404, headers: { Content-Type: text/plain }, body: \"a: ${NO}\\n\\t\\\"#\" }"
            .replace("${", "$${")
            .as_str(),
    );
    let first = load_text(&every);
    assert_eq!(first.render(), "");
    let effective = first.effective().unwrap();
    let yaml = effective.to_yaml();
    for line in [
        "by: ring  # t.yaml:4",
        "# concurrent: 5  # derived: rps times latency",
        "# wait: 50ms  # derived: burst times latency by concurrent",
        "max_ejected: \"29%\"  # t.yaml:6",
        "service: a.B  # t.yaml:6",
        "\"on\": [500, 599]  # t.yaml:8",
        "content-type: text/plain  # t.yaml:10",
    ] {
        assert!(yaml.lines().any(|found| found.trim() == line), "{line}\n{yaml}");
    }
    let again = load_text(&yaml);
    assert_eq!(again.render(), "", "{yaml}");
    let facts = |loaded: &Loaded| {
        let service = loaded.config.as_ref().unwrap().services.values().next().unwrap().clone();
        let one =
            (service.balance.clone(), service.health.clone(), service.capacity, service.retries.clone());
        (one, service.fallback.clone(), service.deadline_header.clone(), service.concurrent_per_worker)
    };
    assert_eq!(facts(&first), facts(&again), "{yaml}");
    let json = effective.to_json();
    assert_eq!(json["services.a.capacity.concurrent"]["value"], 5);
    assert_eq!(json["services.a.capacity.wait"]["from"], "derived: burst times latency by concurrent");
}

#[test]
fn a_wait_by_default_is_written_back() {
    let loaded = load_text(&text("concurrent_per_worker: 1, balance: ring", "timeouts: { total: 200ms }"));
    let yaml = loaded.effective().unwrap().to_yaml();
    assert!(yaml.contains("      wait: 200ms  # default\n"), "{yaml}");
    assert!(yaml.contains("      balance: ring  # t.yaml:4\n"), "{yaml}");
    assert_eq!(load_text(&yaml).render(), "");
}
