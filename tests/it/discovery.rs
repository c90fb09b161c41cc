//! Workers found in DNS, seen from outside: traffic through Buckler while a real BIND changes, dies and comes back.
//! What an answer means in detail is tested in `srv_bind`.

use crate::bind::{Bind, ZONE};
use crate::world::{Buckler, Worker, World, eventually, get};

/// A service `api` whose workers are the SRV records of `_api._http`.
fn config(bind: &Bind) -> String {
    format!(
        "dns: {{ servers: [\"{}\"], max_ttl: 1s }}\nservices:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ srv: _api._http.{ZONE} }}\n",
        bind.address()
    )
}

fn port(worker: &Worker) -> String {
    worker.address().rsplit(':').next().unwrap().to_owned()
}

fn record(worker: &Worker, priority: u16, weight: u16) -> String {
    format!("_api._http 1 SRV {priority} {weight} {} host\nhost 1 A 127.0.0.1\n", port(worker))
}

/// Whether this many requests in a row are all answered by this worker.
fn all_by(buckler: &Buckler, worker: &str, n: usize) -> bool {
    (0..n).all(|_| buckler.answer(get("/")).worker() == Some(worker))
}

#[test]
fn priority_and_weight_come_from_dns() {
    let world = World::new();
    let (a, b, c) = (world.worker("a"), world.worker("b"), world.worker("c"));
    let records = record(&a, 10, 3) + &record(&b, 10, 1) + &record(&c, 20, 1);
    let bind = Bind::serving(&records);
    let buckler = world.buckler(&config(&bind));
    eventually("the first answer", || buckler.answer(get("/")).status == 200);
    let before = (a.count(), b.count());
    let mut raw = buckler.connect();
    for _ in 0..200 {
        raw.answer(&get("/")).is(200);
    }
    let share = a.count() - before.0;
    assert!(share.abs_diff(150) <= 10, "{share} of 200 instead of 150");
    assert_eq!(c.count(), 0);
    a.refuses();
    b.refuses();
    eventually("the next priority", || all_by(&buckler, "c", 3));
}

#[test]
fn workers_change_with_the_zone_while_traffic_flows() {
    let world = World::new();
    let (a, b) = (world.worker("a"), world.worker("b"));
    let bind = Bind::serving(&record(&a, 10, 1));
    let buckler = world.buckler(&config(&bind));
    eventually("the first answer", || buckler.answer(get("/")).status == 200);
    let (from, to) = (port(&a), port(&b));
    bind.update(&format!(
        "update add _api._http.{ZONE} 1 SRV 10 1 {to} host.{ZONE}.\n\
         update delete _api._http.{ZONE} SRV 10 1 {from} host.{ZONE}."
    ));
    eventually("the new worker alone", || {
        let answers = [(); 5].map(|()| buckler.answer(get("/")).is(200));
        answers.iter().all(|answer| answer.worker() == Some("b"))
    });
}

#[test]
fn a_dead_dns_server_changes_nothing_but_the_age() {
    let world = World::new();
    let a = world.worker("a");
    let mut bind = Bind::serving(&record(&a, 10, 1));
    let buckler = world.buckler(&config(&bind));
    eventually("the first answer", || buckler.answer(get("/")).status == 200);
    bind.kill();
    eventually("the failure in the status", || {
        buckler.answer(get("/")).is(200);
        let dns = &buckler.status_json()["services"][0]["dns"];
        dns["failure"].is_string() && dns["age_seconds"].as_f64().is_some_and(|age| age > 1.0)
    });
    let metrics = buckler.metrics();
    assert!(
        metrics.sum("buckler_dns_age_seconds", &[]) > 1.0
            && metrics.sum("buckler_dns_failures_total", &[]) > 0.5
    );
    bind.start();
    eventually("the failure gone", || buckler.status_json()["services"][0]["dns"]["failure"].is_null());
}

#[test]
fn buckler_starts_while_dns_is_down_and_recovers_by_itself() {
    let world = World::new();
    let a = world.worker("a");
    let mut bind = Bind::stopped(&record(&a, 10, 1));
    let buckler = world.buckler_starting(&config(&bind));
    buckler.wait_alive();
    let answer = buckler.answer(get("/")).is(503);
    assert_eq!(answer.reason(), "no_workers");
    assert!(answer.field("retry-after").is_some(), "{}", answer.head);
    eventually("the operator's log", || buckler.stderr().contains("`dns.servers`"));
    bind.start();
    eventually("the first answer", || all_by(&buckler, "a", 2));
}

#[test]
fn a_target_of_a_single_dot_is_no_worker() {
    let world = World::new();
    let bind = Bind::serving("_api._http 1 SRV 0 0 0 .\n");
    let buckler = world.buckler_starting(&config(&bind));
    buckler.wait_alive();
    assert_eq!(buckler.answer(get("/")).is(503).reason(), "no_workers");
}

#[test]
fn a_reload_keeps_the_workers_that_dns_named() {
    let world = World::new();
    let a = world.worker("a");
    let mut bind = Bind::serving(&record(&a, 10, 1));
    let buckler = world.buckler(&config(&bind));
    eventually("the first answer", || buckler.answer(get("/")).status == 200);
    bind.kill();
    for _ in 0..3 {
        world.reload(&buckler, &config(&bind));
        assert!(all_by(&buckler, "a", 5), "the reload forgot what a dead server had said");
    }
}

#[test]
fn before_the_first_answer_the_log_does_not_speak_of_a_last_one() {
    let world = World::new();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let buckler = world.buckler(&format!(
        "dns: {{ servers: [\"{}\"], timeout: 50ms }}\nservices:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ srv: _api._http.{ZONE} }}\n",
        silent.local_addr().unwrap()
    ));
    eventually("the operator's log", || buckler.stderr().contains("no worker is known yet"));
    assert_eq!(buckler.answer(get("/")).is(503).reason(), "no_workers");
}
