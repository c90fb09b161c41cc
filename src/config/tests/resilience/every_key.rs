//! All these keys together: what they are by default, what each means, which of them bytes can have, and how they are
//! written back.

use super::*;
use crate::config::{Check, CheckKind, Health, Retries};

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
