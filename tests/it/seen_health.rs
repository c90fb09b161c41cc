//! What people and machines see of workers that are ill, of room for requests, of retries and of the fallback.

use serde_json::Value;

use crate::world::{Buckler, Metrics, Raw, Step, World, eventually, get, one_service, service};

const FAULT: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

fn api(buckler: &Buckler) -> Value {
    buckler.status_json()["services"][0].clone()
}

/// The worker of this address, as the status page tells it.
fn told(buckler: &Buckler, address: &str) -> Value {
    let service = api(buckler);
    let workers = service["workers"].as_array().unwrap();
    workers.iter().find(|worker| worker["address"] == address).unwrap().clone()
}

fn whole(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> i64 {
    metrics.sum(name, labels).round() as i64
}

#[test]
fn capacity_is_shown_with_the_facts_that_it_was_derived_from() {
    let world = World::new();
    let buckler = world.one_service("capacity: { rps: 200, latency: 25ms, burst: 10 }");
    let service = api(&buckler);
    let capacity = &service["capacity"];
    for (key, value) in [("concurrent", 5), ("effective", 5), ("in_use", 0), ("waiting", 0)] {
        assert_eq!(capacity[key], value, "{key} in {capacity}");
    }
    assert_eq!(capacity["wait_ms"].as_f64(), Some(50.0));
    let facts = &capacity["derived_from"];
    assert_eq!((&facts["rps"], &facts["burst"]), (&200.into(), &10.into()));
    assert_eq!(facts["latency_ms"].as_f64(), Some(25.0));
    assert_eq!((&service["balance"], &service["fallbacks"]), (&"weighted".into(), &0.into()));
    assert_eq!(service["throttle"]["acceptance"].as_f64(), Some(1.0));
    assert_eq!((&service["retries"]["attempts"], &service["retries"]["sent"]), (&2.into(), &0.into()));
    let metrics = buckler.metrics();
    assert_eq!(whole(&metrics, "buckler_capacity_limit", &[("service", "api")]), 5);
    assert_eq!(whole(&metrics, "buckler_acceptance_ratio", &[("service", "api")]), 1);
}

#[test]
fn a_service_without_bounds_shows_none() {
    let world = World::new();
    let buckler = world.one_service("");
    assert!(api(&buckler)["capacity"].is_null());
    let metrics = buckler.metrics();
    assert!(!metrics.has("buckler_capacity_limit") && !metrics.has("buckler_worker_seats"));
    assert!(metrics.has("buckler_capacity_waiting") && metrics.has("buckler_worker_share"));
}

#[test]
fn a_request_is_seen_while_it_waits_for_a_place_and_its_wait_afterwards() {
    let world = World::new();
    world.worker("a").always(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let buckler = world.one_service("capacity: { concurrent: 1, wait: 30s }");
    let ask = |path: &str| {
        let mut raw = buckler.connect();
        raw.send(get(path).bytes());
        raw
    };
    let mut first = ask("/first");
    eventually("the first in", || api(&buckler)["capacity"]["in_use"] == 1);
    let mut second = ask("/second");
    eventually("the second waiting", || api(&buckler)["capacity"]["waiting"] == 1);
    let metrics = buckler.metrics();
    assert_eq!(whole(&metrics, "buckler_capacity_in_use", &[]), 1);
    assert_eq!(whole(&metrics, "buckler_capacity_waiting", &[]), 1);
    assert_eq!(whole(&metrics, "buckler_queue_duration_seconds_count", &[]), 0);
    world.worker("a").open_gate();
    let both: [&mut Raw; 2] = [&mut first, &mut second];
    for raw in both {
        raw.read_response().is(200);
    }
    let waited = buckler.logged("the second", |line| line["path"] == "/second");
    assert!(waited["t_queue"].as_f64().is_some_and(|t| t > 0.0), "{waited}");
    let at_once = buckler.logged("the first", |line| line["path"] == "/first");
    assert!(at_once["t_queue"].is_null(), "{at_once}");
    eventually("the wait counted", || {
        let metrics = buckler.metrics();
        whole(&metrics, "buckler_queue_duration_seconds_count", &[("service", "api")]) == 1
            && whole(&metrics, "buckler_capacity_in_use", &[]) == 0
    });
}

#[test]
fn places_at_workers_are_shown() {
    let world = World::new();
    let a = world.worker("a");
    a.always(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let config = one_service("").replace("    workers:\n", "    workers:\n      concurrent_per_worker: 3\n");
    let buckler = world.buckler(&config);
    let mut raw = buckler.connect();
    raw.send(get("/").bytes());
    eventually("one place taken", || told(&buckler, &a.address())["seats"]["taken"] == 1);
    assert_eq!(told(&buckler, &a.address())["seats"]["each"], 3);
    let metrics = buckler.metrics();
    assert_eq!(whole(&metrics, "buckler_worker_seats", &[]), 3);
    assert_eq!(whole(&metrics, "buckler_worker_seats_taken", &[]), 1);
    a.open_gate();
    raw.read_response().is(200);
    eventually("given back", || told(&buckler, &a.address())["seats"]["taken"] == 0);
}

#[test]
fn a_worker_that_fails_is_shown_with_its_share_and_why() {
    let world = World::new();
    let (a, b) = (world.worker("a"), world.worker("b"));
    a.answers(FAULT);
    let buckler = world.buckler(&service(&["a", "b"], ""));
    let mut raw = buckler.connect();
    let mut ill = Value::Null;
    eventually("a smaller share", || {
        (0..20).for_each(|_| drop(raw.answer(&get("/"))));
        ill = told(&buckler, &a.address());
        ill["share"].as_f64().unwrap() < 0.5
    });
    assert_ne!(ill["state"], "healthy");
    assert!(!ill["why"].as_str().unwrap().is_empty(), "{ill}");
    let well = told(&buckler, &b.address());
    assert_eq!((&well["state"], well["share"].as_f64()), (&"healthy".into(), Some(1.0)));
    let metrics = buckler.metrics();
    let (of_a, of_b) = (a.address(), b.address());
    assert!(metrics.sum("buckler_worker_share", &[("worker", &of_a)]) < 0.5);
    assert_eq!(whole(&metrics, "buckler_worker_share", &[("worker", &of_b)]), 1);
    for worker in [&of_a, &of_b] {
        assert_eq!(whole(&metrics, "buckler_worker_state", &[("worker", worker)]), 1, "one state each");
    }
    assert_eq!(whole(&metrics, "buckler_worker_state", &[("worker", &of_b), ("state", "healthy")]), 1);
    assert_eq!(whole(&metrics, "buckler_worker_state", &[("worker", &of_a), ("state", "healthy")]), 0);
}

#[test]
fn a_service_whose_workers_all_fail_shows_what_part_of_its_requests_still_goes_on() {
    let world = World::new();
    world.worker("a").answers("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    eventually("less than all", || {
        (0..20).for_each(|_| drop(raw.answer(&get("/"))));
        api(&buckler)["throttle"]["acceptance"].as_f64().unwrap() < 0.5
    });
    let throttle = api(&buckler)["throttle"].clone();
    assert!(throttle["requests"].as_f64().unwrap() > throttle["good"].as_f64().unwrap(), "{throttle}");
    assert!(buckler.metrics().sum("buckler_acceptance_ratio", &[]) < 1.0);
    eventually("some refused at once", || {
        raw.answer(&get("/"));
        buckler.refused("workers_failing") > 0.5
    });
    let refusals = buckler.look("/api/v1/refusals").is(200).json();
    assert_eq!(refusals["refusals"][0]["reason"], "workers_failing");
    buckler.look("/readyz").is(200);
}

#[test]
fn a_fallback_is_marked_wherever_the_request_is_told_of() {
    let world = World::new();
    world.worker("a").refuses();
    let buckler = world.one_service("fallback: { status: 200, body: \"[]\" }");
    let answer = buckler.answer(get("/list")).is(200);
    assert_eq!(answer.text(), "[]");
    let line = buckler.logged("the request", |line| line["path"] == "/list");
    let reason = line["reason"].as_str().unwrap();
    assert_eq!((&line["fallback"], &line["status"]), (&true.into(), &200.into()));
    let kept = buckler.look("/api/v1/refusals").is(200).json()["refusals"][0].clone();
    assert_eq!((&kept["fallback"], kept["reason"].as_str()), (&true.into(), Some(reason)));
    eventually("the fallback counted", || {
        whole(&buckler.metrics(), "buckler_fallbacks_total", &[("service", "api"), ("reason", reason)]) == 1
    });
    assert_eq!(api(&buckler)["fallbacks"], 1);
}

#[test]
fn checks_are_counted_and_the_newest_is_told() {
    let world = World::new();
    let a = world.worker("a");
    let check = "health: { check: { path: /healthz, interval: 100ms, timeout: 100ms, unhealthy_after: 2 } }";
    let buckler = world.buckler(&one_service(check));
    let checks =
        |result: &str| whole(&buckler.metrics(), "buckler_worker_checks_total", &[("result", result)]);
    eventually("checks that went well", || checks("ok") > 1);
    eventually("told", || told(&buckler, &a.address())["last_check"]["ok"] == true);
    a.answers_checks(FAULT);
    eventually("checks that failed", || checks("failed") > 1);
    let mut ill = Value::Null;
    // On a busy machine one of them may be late instead.
    eventually("ejected, and the status that it answered", || {
        ill = told(&buckler, &a.address());
        let text = ill["last_check"]["text"].as_str().unwrap_or_default();
        ill["state"] == "ejected" && text.contains("500")
    });
    assert_eq!((&ill["last_check"]["ok"], ill["share"].as_f64()), (&false.into(), Some(0.0)));
    assert!(ill["ejections"].as_u64().unwrap() >= 1, "{ill}");
    let metrics = buckler.metrics();
    assert!(whole(&metrics, "buckler_worker_ejections_total", &[]) >= 1);
    assert_eq!(whole(&metrics, "buckler_worker_up", &[]), 0);
}

#[test]
fn workers_that_have_yet_to_pass_a_check_are_told_and_do_not_make_buckler_unready() {
    let world = World::new();
    world.worker("a").answers_checks(FAULT);
    let check =
        "health: { check: { path: /healthz, interval: 50ms, timeout: 50ms, required_at_start: true } }";
    let buckler = world.buckler(&one_service(check));
    let verbose = || buckler.look("/readyz?verbose").is(200).text();
    assert!(verbose().contains("[-] service api: no usable worker: "), "{}", verbose());
    assert!(verbose().contains("has passed its first check"), "{}", verbose());
    world.worker("a").passes_checks();
    eventually("a worker", || verbose().contains("[+] service api: has workers"));
}
