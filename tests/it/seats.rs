//! Places at a worker (`concurrent_per_worker`) beside limits and deadlines: who gets none is charged nothing, and what
//! the wait for one took is not told as time left. How requests wait for the next free worker stands in `retries.rs`.

use std::time::{Duration, Instant};

use crate::capacity::{eventually_in_progress, is_overload};
use crate::world::{World, get, linger, one_service};

/// One place at the worker `a`.
fn one_seat(more: &str) -> String {
    one_service(more).replace("      addresses:", "      concurrent_per_worker: 1\n      addresses:")
}

#[test]
fn a_refusal_for_want_of_a_workers_place_takes_nothing_from_anybody() {
    let world = World::new();
    let limits = "limits: { default: { rate: 1/h, burst: 3 }, total: { rate: 1/h, burst: 10 } }";
    let buckler = world.buckler(&one_seat(&format!("capacity: {{ wait: 1ms }}\n{limits}")));
    let mut first = world.held(&buckler, "/held");
    for _ in 0..20 {
        is_overload(buckler.answer(get("/")));
    }
    world.worker("a").open_gate();
    first.read_response().is(200);
    for _ in 0..2 {
        eventually_in_progress(&buckler, 0.0);
        buckler.answer(get("/")).is(200);
    }
    eventually_in_progress(&buckler, 0.0);
    assert_eq!(buckler.answer(get("/")).is(429).reason(), "caller_rate");
}

#[test]
fn who_would_be_refused_by_its_limit_does_not_wait_for_a_worker() {
    let world = World::new();
    let limits = "limits: { default: { concurrent: 1 } }";
    let buckler = world.buckler(&one_seat(&format!("capacity: {{ wait: 60s }}\n{limits}")));
    let _first = world.held(&buckler, "/held");
    assert_eq!(buckler.answer(get("/")).is(429).reason(), "caller_concurrency");
}

#[test]
fn the_worker_is_told_what_the_wait_for_it_left() {
    let world = World::new();
    let more = "capacity: { wait: 60s }\ntimeouts: { total: 100s, deadline_header: x-timeout-ms }";
    let buckler = world.buckler(&one_seat(more));
    let mut first = world.held(&buckler, "/held");
    let mut second = buckler.connect();
    second.send(get("/second").bytes());
    eventually_in_progress(&buckler, 2.0);
    let in_line = Instant::now();
    // Time that passes is what the worker is told of.
    linger(Duration::from_millis(200));
    let waited = in_line.elapsed().as_millis();
    world.worker("a").open_gate();
    first.read_response().is(200);
    second.read_response().is(200);
    let told: u128 = world.worker("a").last().field("x-timeout-ms").unwrap().parse().unwrap();
    assert!(told <= 100_000 - waited, "{told} after {waited} ms in line");
}
