//! Which worker a request goes to, seen from outside: priorities and shares. The arithmetic is tested in `src/balance`.

use std::collections::BTreeMap;

use crate::world::{Buckler, World, eventually, get, service};

/// How many of `n` requests each worker answers.
fn shares(buckler: &Buckler, n: usize) -> BTreeMap<String, usize> {
    let mut raw = buckler.connect();
    let mut shares = BTreeMap::new();
    for _ in 0..n {
        let answer = raw.answer(&get("/")).is(200);
        *shares.entry(answer.worker().unwrap().to_owned()).or_default() += 1;
    }
    shares
}

#[test]
fn requests_are_shared_by_weight() {
    let world = World::new();
    let buckler = world.buckler(&service(&["a, weight: 3", "b, weight: 1", "c, weight: 1", "d"], ""));
    let shares = shares(&buckler, 600);
    for (worker, part) in [("a", 300), ("b", 100), ("c", 100), ("d", 100)] {
        let share = shares[worker];
        assert!(share.abs_diff(part) <= 12, "{worker} got {share} of 600 instead of {part}: {shares:?}");
    }
}

#[test]
fn short_runs_are_even_too() {
    let world = World::new();
    let buckler = world.buckler(&service(&["a", "b"], ""));
    let mut raw = buckler.connect();
    for _ in 0..10 {
        let mut pair = [(); 2].map(|()| raw.answer(&get("/")).is(200).worker().unwrap().to_owned());
        pair.sort();
        assert_eq!(pair, ["a", "b"]);
    }
}

#[test]
fn the_next_priority_serves_only_while_the_better_one_cannot() {
    let world = World::new();
    let (a, b) = (world.worker("a"), world.worker("b"));
    let workers = ["a, priority: 10", "b, priority: 10", "c, priority: 20"];
    let buckler = world.buckler(&service(&workers, ""));
    assert!(!shares(&buckler, 40).contains_key("c"));
    a.refuses();
    let left = shares(&buckler, 40);
    assert!(left.get("b").copied().unwrap_or_default() == 40, "{left:?}");
    b.refuses();
    assert_eq!(shares(&buckler, 20).into_keys().collect::<Vec<_>>(), ["c"]);
    b.accepts();
    eventually("the better priority again", || {
        let now = shares(&buckler, 10);
        now.get("b").copied().unwrap_or_default() == 10
    });
}

#[test]
fn a_worker_of_weight_zero_is_asked_rarely_or_never_beside_others() {
    let world = World::new();
    let buckler = world.buckler(&service(&["a, weight: 100", "b, weight: 0"], ""));
    let shares = shares(&buckler, 300);
    assert!(shares.get("b").copied().unwrap_or_default() <= 15, "{shares:?}");
}

#[test]
fn workers_that_all_have_weight_zero_share_alike() {
    let world = World::new();
    let buckler = world.buckler(&service(&["a, weight: 0", "b, weight: 0"], ""));
    let shares = shares(&buckler, 100);
    assert!(shares["a"].abs_diff(shares["b"]) <= 40, "{shares:?}");
}
