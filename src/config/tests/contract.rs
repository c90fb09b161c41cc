//! The contract's files: four load and mean what they say, the others name what is not built yet.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{
    Balance, CallerPattern, Capacity, CapacityFacts, CheckKind, ClientCertificate, Config, Credential,
    LimitHeaders, LogFormat, Mode, Protocol, Quota, Retries, Segment, Service, TlsVersion, UnknownKey,
    Verdict, WorkerProtocol, WorkerSource,
};

fn contract(name: &str) -> Loaded {
    load(Path::new(&format!("tests/it/contract/{name}.yaml")), today(), &|_| None)
}

fn sound(name: &str) -> Config {
    let loaded = contract(name);
    assert_eq!(loaded.render(), "");
    loaded.config.unwrap()
}

fn service<'c>(config: &'c Config, name: &str) -> &'c Service {
    config.services.iter().find(|(found, _)| found.as_str() == name).unwrap().1
}

fn rate(quota: &Quota) -> (Duration, u32) {
    let rate = quota.rate.unwrap();
    (rate.interval, rate.burst.get())
}

#[test]
fn one_port_names_its_callers() {
    let config = sound("one-port");
    let admin = config.admin.as_ref().unwrap();
    assert_eq!(
        (admin.listen.to_string().as_str(), admin.at.line, admin.at.column),
        ("127.0.0.1:9900", 3, 11)
    );
    let callers = &config.callers;
    assert_eq!(callers.identify, [Credential::ApiKey, Credential::Address]);
    assert_eq!(callers.trusted_proxies, ["127.0.0.2/32".parse().unwrap()]);
    assert_eq!((callers.api_key_header.as_str(), callers.unknown_key), ("x-api-key", UnknownKey::Refuse));
    assert_eq!((callers.ipv4_prefix, callers.ipv6_prefix, callers.max_keys.get()), (32, 64, 1_000_000));
    let names: Vec<_> = callers.known.iter().map(|caller| &*caller.name).collect();
    assert_eq!(names, ["web", "scraper", "office"]);
    assert_eq!(callers.known[0].tier, Some(0));
    assert_eq!(callers.known[0].api_keys[0][..4], [0x76, 0x1f, 0xed, 0x9d]);
    assert_eq!(callers.known[2].addresses, ["127.0.0.9/32".parse().unwrap()]);
    assert_eq!(callers.known[2].at.line, 18);
    assert_eq!(&*callers.tiers[0].name, "partner");
    assert_eq!(rate(&callers.tiers[0].quota), (Duration::from_millis(1), 2000));
    assert_eq!(callers.tiers[0].quota.rule_ref.name, "tier partner");
}

#[test]
fn one_port_names_its_rules() {
    let config = sound("one-port");
    let permissions = &service(&config, "playlist").permissions;
    assert_eq!(permissions.default, Verdict::Allow);
    assert_eq!(permissions.default_ref.at, "tests/it/contract/one-port.yaml:33");
    let verdicts: Vec<_> = permissions.rules.iter().map(|rule| rule.verdict).collect();
    assert_eq!(verdicts, [Verdict::Deny, Verdict::Allow, Verdict::Deny, Verdict::Deny]);
    let [scraper, staff, admin, delete] = &permissions.rules[..] else { panic!("four rules") };
    assert_eq!(scraper.callers, [CallerPattern::Known(1)]);
    assert_eq!(scraper.rule_ref.reason.as_deref(), Some("crawls without an agreement"));
    assert_eq!(staff.callers, [CallerPattern::Known(0), CallerPattern::Known(2)]);
    assert_eq!(staff.paths[0].segments, [Segment::Literal("admin".into()), Segment::Rest]);
    assert_eq!(admin.rule_ref.name, "permissions.rules[3]");
    assert_eq!(admin.rule_ref.at, "tests/it/contract/one-port.yaml:37");
    assert_eq!(delete.methods, [http::Method::DELETE]);
    assert!(permissions.rules.iter().all(|rule| rule.mode == Mode::Enforce && rule.until.is_none()));
}

#[test]
fn one_port_names_its_limits() {
    let config = sound("one-port");
    let limits = &service(&config, "playlist").limits;
    assert_eq!(limits.headers, LimitHeaders::Named);
    let default = limits.default.as_ref().unwrap();
    assert_eq!(rate(default), (Duration::from_millis(50), 40));
    assert_eq!(default.concurrent, NonZeroU32::new(50));
    assert_eq!(rate(limits.total.as_ref().unwrap()), (Duration::from_micros(50), 20_000));
    let [office] = &limits.agreements[..] else { panic!("one agreement") };
    assert_eq!((office.callers.as_slice(), office.shared), (&[2][..], false));
    assert_eq!(rate(&office.quota), (Duration::from_micros(200), 10_000));
    assert_eq!(office.owner.as_deref(), Some("playlist-squad"));
    assert_eq!(office.quota.rule_ref.name, "agreement office");
    assert_eq!(office.quota.rule_ref.reason.as_deref(), Some("batch import every night"));
    assert_eq!(office.until, Some(4_076_006_400));
    assert_eq!((limits.costs.len(), limits.costs[0].cost.get()), (1, 5));
    assert_eq!(&*limits.costs[0].paths[0].written, "/search/**");
}

#[test]
fn one_port_names_its_workers_and_the_rest_is_default() {
    let config = sound("one-port");
    let playlist = service(&config, "playlist");
    assert_eq!(playlist.listen.to_string(), "127.0.0.1:4070");
    let WorkerSource::List(workers) = &playlist.workers else { panic!("a list") };
    let workers: Vec<_> =
        workers.iter().map(|w| (w.address.tcp().unwrap().port(), w.priority, w.weight)).collect();
    assert_eq!(workers, [(9001, 10, 12), (9002, 10, 12), (9003, 10, 24), (9004, 20, 1)]);
    let timeouts = &playlist.timeouts;
    assert_eq!((timeouts.head, timeouts.keep_alive), (Duration::from_secs(10), Duration::from_secs(75)));
    assert_eq!((timeouts.connect, timeouts.total), (Duration::from_secs(1), None));
    let bounds = &playlist.bounds;
    assert_eq!((bounds.head_bytes, bounds.head_fields, bounds.uri_bytes), (32 << 10, 100, 8 << 10));
    assert_eq!(bounds.upload_rate, Some(240));
    assert_eq!((bounds.body_bytes, bounds.response_head_bytes, bounds.connections), (None, 64 << 10, 10_000));
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert_eq!((config.access_log.format, config.access_log.refusals_per_second), (LogFormat::Json, 10));
    assert_eq!((config.log.level.as_str(), config.log.json), ("info", false));
}

#[test]
fn discovery_finds_its_workers_in_dns() {
    let config = sound("discovery");
    assert_eq!(config.dns.servers, ["127.0.0.1:5300".parse().unwrap()]);
    assert_eq!((config.dns.max_ttl, config.dns.timeout), (Duration::from_secs(30), Duration::from_secs(1)));
    let playlist = service(&config, "playlist");
    assert_eq!(playlist.workers, WorkerSource::Srv("_playlist._http.example.test".into()));
    assert_eq!(rate(playlist.limits.default.as_ref().unwrap()), (Duration::from_micros(10), 100_000));
    assert!(config.callers.known.is_empty());
}

#[test]
fn edge_speaks_tls_and_knows_callers_by_their_certificates() {
    let config = sound("edge");
    let callers = &config.callers;
    assert_eq!(callers.identify, [Credential::Certificate, Credential::ApiKey, Credential::Address]);
    let names: Vec<_> = callers.known[0].certificates.iter().map(|name| &**name).collect();
    assert_eq!(names, ["spiffe://example.test/playlist", "playlist.example.test"]);
    let service = service(&config, "user-data");
    assert_eq!((service.protocol, service.proxy_protocol), (Protocol::Http, false));
    assert!(!service.forward_client_certificate && !service.send_proxy_protocol);
    let tls = service.tls.as_ref().unwrap();
    let files: Vec<_> =
        tls.certificates.iter().map(|files| (files.chain.path.as_path(), files.key.path.as_path())).collect();
    let path = |name| Path::new("tests/it/contract/tls").join(name);
    assert_eq!(files[0], (path("user-data.pem").as_path(), path("user-data.key").as_path()));
    assert_eq!(files[1], (path("wildcard.pem").as_path(), path("wildcard.key").as_path()));
    assert_eq!((tls.certificates[1].key.at.line, tls.certificates[1].key.at.column), (19, 43));
    assert_eq!(tls.client_ca.as_ref().unwrap().path, path("ca.pem"));
    assert_eq!((tls.client_certificate, tls.min_version), (ClientCertificate::Optional, TlsVersion::V1_2));
    assert!(tls.crl.is_none());
    assert_eq!(service.worker_protocol, WorkerProtocol::Http1);
    let WorkerSource::List(workers) = &service.workers else { panic!("a list") };
    let reached: Vec<_> = workers.iter().map(|worker| worker.address.to_string()).collect();
    assert_eq!(reached, ["127.0.0.1:9001", "unix:/run/user-data/worker-2.sock"]);
}

#[test]
fn workers_says_what_keeps_a_service_up() {
    let config = sound("workers");
    let milliseconds = Duration::from_millis;
    let a = service(&config, "a");
    assert_eq!((&a.balance, a.slow_start), (&Balance::Weighted, Duration::from_secs(10)));
    assert_eq!(a.concurrent_per_worker, NonZeroU32::new(100));
    assert!(a.health.passive);
    assert_eq!(a.health.max_ejected, 0.5);
    let check = a.health.check.as_ref().unwrap();
    let kind = CheckKind::Http { path: "/healthz".into(), host: None, status: vec![200..=399], body: None };
    assert_eq!(check.kind, kind);
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(1), milliseconds(500)));
    assert_eq!((check.healthy_after, check.unhealthy_after, check.required_at_start), (2, 2, false));
    assert_eq!((a.timeouts.connect, a.timeouts.total), (milliseconds(500), Some(Duration::from_secs(5))));
    assert_eq!(a.retries, Retries { attempts: 2, budget: 0.2, on: Vec::new() });
    let bound = Capacity { concurrent: NonZeroU32::new(60), wait: milliseconds(7), facts: None };
    assert_eq!((a.capacity, a.fallback.is_none()), (bound, true));
    let b = service(&config, "b");
    let facts = CapacityFacts { rps: 200, latency: milliseconds(25), burst: 10 };
    let bound = Capacity { concurrent: NonZeroU32::new(5), wait: milliseconds(50), facts: Some(facts) };
    assert_eq!((b.capacity, b.concurrent_per_worker), (bound, None));
    let fallback = b.fallback.as_ref().unwrap();
    assert_eq!((fallback.status.as_u16(), &*fallback.body), (200, &b"[]"[..]));
    assert_eq!(fallback.headers["content-type"], "application/json");
}

/// The place and the word of each thing that is not built.
fn not_built(name: &str) -> Vec<(u32, u32, String)> {
    let loaded = contract(name);
    assert!(loaded.config.is_none());
    let planned = loaded.problems.iter().filter(|problem| {
        problem.code.to_string() == "B0011"
            && problem.message.ends_with("is planned but not built in this version")
    });
    let word = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    planned.map(|problem| (problem.line, problem.column, word(&problem.message))).collect()
}

#[test]
fn what_is_not_built_is_an_error_at_its_place() {
    let at = |line, column, word: &str| (line, column, word.to_owned());
    assert_eq!(not_built("fleet"), [at(5, 1, "fleet"), at(15, 45, "scope")]);
    assert_eq!(not_built("sidecar"), [at(8, 1, "outbound")]);
}
