//! `capacity`: places and the wait for one, as they are written or as they follow from facts.

use super::*;
use crate::config::CapacityFacts;

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
fn a_wait_by_default_is_written_back() {
    let loaded = load_text(&text("concurrent_per_worker: 1, balance: ring", "timeouts: { total: 200ms }"));
    let yaml = loaded.effective().unwrap().to_yaml();
    assert!(yaml.contains("      wait: 200ms  # default\n"), "{yaml}");
    assert!(yaml.contains("      balance: ring  # t.yaml:4\n"), "{yaml}");
    assert_eq!(load_text(&yaml).render(), "");
}
