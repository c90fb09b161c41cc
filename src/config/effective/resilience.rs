//! Balance, health, capacity, retries and fallback, written back key by key.

use crate::config::units::{Share, Span};
use crate::config::{
    Balance, Capacity, Check, CheckKind, Fallback, Health, Protocol, Retries, RingKey, Service,
};

use super::Map;

/// What `workers` says of who gets a request.
pub(super) fn workers(map: &mut Map<'_>, service: &Service) {
    match &service.balance {
        Balance::Weighted => map.text("balance", "weighted"),
        Balance::LeastRequests => map.text("balance", "least_requests"),
        Balance::Ring(RingKey::Caller) => map.text("balance", "ring"),
        Balance::Ring(RingKey::Header(header)) => map.map("balance", |map| {
            map.text("by", "ring");
            map.text("header", header);
        }),
    }
    if let Some(places) = service.concurrent_per_worker {
        map.put("concurrent_per_worker", places.get());
    }
    map.text("slow_start", &Span(service.slow_start));
}

/// What stands between `workers` and `permissions`.
pub(super) fn resilience(map: &mut Map<'_>, service: &Service) {
    map.map("health", |map| health(map, &service.health));
    if service.capacity.concurrent.is_some() || service.concurrent_per_worker.is_some() {
        map.map("capacity", |map| capacity(map, &service.capacity));
    }
    if service.protocol == Protocol::Http {
        let key = if map.has("retry") { "retry" } else { "retries" };
        map.map(key, |map| retries(map, &service.retries));
    }
    if let Some(of_service) = &service.fallback {
        map.map("fallback", |map| fallback(map, of_service));
    }
}

fn health(map: &mut Map<'_>, health: &Health) {
    map.put("passive", health.passive);
    map.text("max_ejected", &percent(health.max_ejected));
    if let Some(of_workers) = &health.check {
        map.map("check", |map| check(map, of_workers));
    }
}

fn check(map: &mut Map<'_>, check: &Check) {
    match &check.kind {
        CheckKind::Tcp => map.text("kind", "tcp"),
        CheckKind::Http { path, host, status, body } => {
            map.text("kind", "http");
            map.text("path", path);
            if let Some(host) = host {
                map.text("host", host);
            }
            map.texts(
                "status",
                status.iter().map(|range| match (range.start(), range.end()) {
                    (least, most) if least == most => least.to_string(),
                    (least, most) => format!("{least}-{most}"),
                }),
            );
            if let Some(body) = body {
                map.text("body", body);
            }
        }
        CheckKind::Grpc { service } => {
            map.text("kind", "grpc");
            map.text("service", service);
        }
    }
    map.text("interval", &Span(check.interval));
    map.text("timeout", &Span(check.timeout));
    map.put("healthy_after", check.healthy_after);
    map.put("unhealthy_after", check.unhealthy_after);
    map.put("required_at_start", check.required_at_start);
}

fn capacity(map: &mut Map<'_>, capacity: &Capacity) {
    let concurrent = capacity.concurrent.map(|bound| bound.get());
    let Some(facts) = capacity.facts else {
        if let Some(bound) = concurrent {
            map.put("concurrent", bound);
        }
        map.text("wait", &Span(capacity.wait));
        return;
    };
    map.put("rps", facts.rps);
    map.text("latency", &Span(facts.latency));
    map.put("burst", facts.burst);
    map.derived("concurrent", concurrent, "derived: rps times latency");
    map.derived("wait", Span(capacity.wait).to_string(), "derived: burst times latency by concurrent");
}

fn retries(map: &mut Map<'_>, retries: &Retries) {
    map.put("attempts", retries.attempts);
    map.text("budget", &percent(retries.budget));
    let on: Vec<_> = retries.on.iter().map(|status| status.as_u16()).collect();
    if !on.is_empty() {
        map.put("on", on);
    }
}

fn fallback(map: &mut Map<'_>, fallback: &Fallback) {
    map.put("status", fallback.status.as_u16());
    if !fallback.headers.is_empty() {
        map.map("headers", |map| {
            for (name, value) in &fallback.headers {
                map.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
            }
        });
    }
    map.text("body", &String::from_utf8_lossy(&fallback.body));
}

/// A share was a whole number of percents when it was written.
fn percent(share: f64) -> Share {
    Share((share * 100.0).round() as u8)
}
