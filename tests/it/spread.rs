//! `least_requests` and `ring` seen from outside, over two shards. The arithmetic is tested in `src/balance`.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Ask, Buckler, Raw, Step, World, eventually, get, service};

/// A service of these workers with this `balance`. Workers are not judged by their outcomes, so that a slow moment of
/// this machine moves nobody's share.
fn config(workers: &[&str], balance: &str) -> String {
    let keys = format!("      balance: {balance}\n      slow_start: 0s\n      addresses:");
    service(workers, "health: { passive: false }").replace("      addresses:", &keys)
}

/// Waits until the workers have no request in progress, as all shards see it.
#[track_caller]
fn eventually_idle(buckler: &Buckler) {
    eventually("idle workers", || buckler.metrics().sum("buckler_worker_active", &[]) == 0.0);
}

#[test]
fn least_requests_asks_no_busy_worker_while_another_has_fewer() {
    let world = World::new();
    let (a, b) = (world.worker("a"), world.worker("b"));
    for worker in [&a, &b] {
        worker.always(&[Step::TakeBody, Step::Gate, Step::Echo]);
    }
    let buckler = world.buckler(&config(&["a", "b"], "least_requests"));
    let mut held = Vec::new();
    for pair in 1..=6 {
        for one in 1..=2 {
            let mut raw = buckler.connect();
            raw.send(get("/held").bytes());
            held.push(raw);
            eventually("the request at a worker", || a.count() + b.count() == 2 * (pair - 1) + one);
        }
        assert_eq!((a.count(), b.count()), (pair, pair), "whichever shards took them");
    }
    b.open_gate();
    let of_b = b.address();
    eventually("b is done", || buckler.metrics().sum("buckler_worker_active", &[("worker", &of_b)]) == 0.0);
    for _ in 0..40 {
        assert_eq!(buckler.answer(get("/")).is(200).worker(), Some("b"), "a has six in progress");
    }
    assert_eq!(a.count(), 6);
    a.open_gate();
    for raw in &mut held {
        raw.read_response().is(200);
    }
}

/// Which worker answers each of these requests, each on a connection of its own.
fn asked(buckler: &Buckler, asks: &[(String, Ask)]) -> BTreeMap<String, String> {
    let worker = |ask: &Ask| {
        let answer = buckler.answer(ask.clone()).is(200);
        // A worker that has not given this request back might count as full for the next one.
        eventually_idle(buckler);
        answer.worker().unwrap().to_owned()
    };
    asks.iter().map(|(name, ask)| (name.clone(), worker(ask))).collect()
}

/// The same on one connection: the next request begins after the last one has given its place back.
fn asked_on(raw: &mut Raw, asks: &[(String, Ask)]) -> BTreeMap<String, String> {
    let worker = |(name, ask): &(String, Ask)| {
        let answer = raw.answer(ask).is(200);
        (name.clone(), answer.worker().unwrap().to_owned())
    };
    asks.iter().map(worker).collect()
}

fn users(count: u32) -> Vec<(String, Ask)> {
    (0..count).map(|n| (format!("user-{n}"), get("/").header("x-user", &format!("user-{n}")))).collect()
}

const BY_HEADER: &str = "{ by: ring, header: x-user }";

#[test]
fn on_a_ring_a_header_finds_the_same_worker_on_every_connection_and_after_a_restart() {
    let world = World::new();
    let text = config(&["a", "b", "c", "d"], BY_HEADER);
    let users = users(32);
    let buckler = world.buckler(&text);
    let first = asked_on(&mut buckler.connect(), &users);
    let workers: BTreeSet<_> = first.values().collect();
    assert!(workers.len() > 1, "other keys go elsewhere: {first:?}");
    // Whichever shard accepts a connection.
    for _ in 0..8 {
        eventually_idle(&buckler);
        assert_eq!(asked_on(&mut buckler.connect(), &users), first);
    }
    drop(buckler);
    let buckler = world.buckler(&text);
    assert_eq!(asked_on(&mut buckler.connect(), &users), first, "another process, the same ring");
}

#[test]
fn on_a_ring_a_worker_that_leaves_moves_only_its_own_keys() {
    let world = World::new();
    let users = users(48);
    let all = config(&["a", "b", "c", "d"], BY_HEADER);
    let buckler = world.buckler(&all);
    let before = asked_on(&mut buckler.connect(), &users);
    // One that has keys.
    let leaver = before["user-0"].clone();
    let left: Vec<&str> = ["a", "b", "c", "d"].into_iter().filter(|name| *name != leaver).collect();
    world.reload(&buckler, &config(&left, BY_HEADER));
    eventually_idle(&buckler);
    let after = asked_on(&mut buckler.connect(), &users);
    for (user, worker) in &before {
        if *worker == leaver {
            assert_ne!(after[user], leaver);
        } else {
            assert_eq!(after[user], *worker, "{user} moved without need");
        }
    }
    world.reload(&buckler, &all);
    eventually_idle(&buckler);
    assert_eq!(asked_on(&mut buckler.connect(), &users), before, "with the worker its keys are back");
}

#[test]
fn on_a_ring_a_caller_finds_the_same_worker_on_every_connection_and_after_a_restart() {
    let world = World::new();
    let callers = "callers: { identify: [address], address: { ipv4_prefix: 32, ipv6_prefix: 64 } }\n";
    let text = format!("{callers}{}", config(&["a", "b", "c"], "ring"));
    let addresses = (20..36).map(|n| format!("127.0.0.{n}"));
    let asks: Vec<_> = addresses.map(|ip| (ip.clone(), get("/").from(&ip))).collect();
    let buckler = world.buckler(&text);
    let first = asked(&buckler, &asks);
    let workers: BTreeSet<_> = first.values().collect();
    assert!(workers.len() > 1, "other callers go elsewhere: {first:?}");
    assert_eq!(asked(&buckler, &asks), first);
    drop(buckler);
    assert_eq!(asked(&world.buckler(&text), &asks), first, "another process, the same ring");
}
