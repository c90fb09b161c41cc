//! Several limits at once, and over time: charged all or none, shadows beside enforced ones, agreements that end,
//! and what clients are told of all this.

use std::time::{Duration, Instant};

use crate::world::{Buckler, Step, World, callers, eventually, get, one_service, request};

fn limited(world: &World, limits: &str) -> Buckler {
    world.buckler(&format!("{}{}", callers(), one_service(limits)))
}

/// How many of `n` requests pass.
fn passed(buckler: &Buckler, n: usize) -> usize {
    (0..n).filter(|_| buckler.answer(get("/")).status == 200).count()
}

#[test]
fn what_one_limit_refuses_no_other_is_charged_for() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let limits = "limits:\n  default: { rate: 1/h, burst: 3, concurrent: 2 }\n  \
                  total: { rate: 1/h, burst: 6, concurrent: 1 }";
    let buckler = limited(&world, limits);
    let mut busy = buckler.connect();
    busy.send(get("/").from("127.0.0.3").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    for _ in 0..5 {
        let other = get("/").from("127.0.0.5");
        assert_eq!(buckler.answer(other).is(503).reason(), "service_limit", "the total in progress");
    }
    worker.open_gate();
    busy.read_response().is(200);
    let other = || buckler.answer(get("/").from("127.0.0.5")).status;
    eventually("the place given back", || other() == 200);
    assert_eq!([other(), other(), other()], [200, 200, 429], "three in all: five refusals cost nothing");
    // One and three are taken of the total's six. The caller that is used up cannot take the rest.
    assert_eq!([other(), other(), other()], [429; 3]);
    let third = || buckler.answer(get("/").from("127.0.0.6")).status;
    assert_eq!([third(), third(), third()], [200, 200, 503]);
}

#[test]
fn a_shadow_limit_stands_beside_enforced_ones_and_decides_nothing() {
    let world = World::new();
    let limits =
        "limits:\n  default: { rate: 1/h, burst: 3 }\n  total: { rate: 1/h, burst: 1, mode: shadow }";
    let buckler = limited(&world, limits);
    assert_eq!(passed(&buckler, 6), 3, "the caller's own limit is enforced");
    let count = |buckler: &Buckler, mode: &str| {
        buckler.metrics().sum("buckler_limited_total", &[("mode", mode)]).round() as u32
    };
    assert_eq!((count(&buckler, "shadow"), count(&buckler, "enforce")), (2, 3));
    drop(buckler);
    let limits =
        "limits:\n  default: { rate: 1/h, burst: 1, mode: shadow }\n  total: { rate: 1/h, burst: 3 }";
    let buckler = limited(&world, limits);
    assert_eq!(passed(&buckler, 6), 3, "the total is enforced");
    assert_eq!((count(&buckler, "shadow"), count(&buckler, "enforce")), (2, 3));
}

#[test]
fn an_agreement_that_has_ended_falls_back_and_is_shown_as_expired() {
    let world = World::new();
    let limits = "limits:\n  default: { rate: 1/h, burst: 2 }\n  agreements:\n    \
                  - { caller: office, rate: 1/h, burst: 50, owner: batch, until: 2020-01-01 }\n    \
                  - { caller: web, rate: 1/h, burst: 50, until: 2020-01-01 }";
    let buckler = limited(&world, limits);
    assert!(buckler.stderr().contains("2020-01-01"), "a warning at the start:\n{}", buckler.stderr());
    for (ask, burst, rule) in
        [(get("/").from("127.0.0.9"), 2, "default"), (get("/").key("web-secret"), 30, "tier partner")]
    {
        let passed = (0..60).filter(|_| buckler.answer(ask.clone()).status == 200).count();
        assert_eq!(passed, burst, "{rule}");
        assert_eq!(buckler.answer(ask).is(429).json()["rule"], rule);
    }
    let status = buckler.status_json();
    let callers = status["services"][0]["callers"].as_array().unwrap();
    let office = callers.iter().find(|caller| caller["name"] == "office").unwrap();
    assert_eq!(office["agreement"]["expired"], true, "{office}");
    assert_eq!(office["left"]["policy"], "default", "{office}");
    assert_eq!(office["left"]["requests"], 0, "{office}");
}

#[test]
fn a_refused_request_passes_at_the_promised_time() {
    let world = World::new();
    let limits = "limits:\n  default: { rate: 1/s, burst: 2 }\n  costs: [{ paths: [/two], cost: 2 }]";
    let buckler = limited(&world, limits);
    buckler.answer(get("/two")).is(200);
    for (path, seconds) in [("/two", 2), ("/", 1)] {
        let refused = buckler.answer(get(path)).is(429);
        let (asked, wait) = (Instant::now(), Duration::from_secs(seconds));
        assert_eq!(refused.field("retry-after"), Some(seconds.to_string().as_str()));
        eventually("the promised time", || asked.elapsed() >= wait);
        buckler.answer(get(path)).is(200);
    }
}

#[test]
fn every_refusal_and_every_answer_to_a_named_caller_tells_the_limit() {
    let world = World::new();
    let config = "permissions:\n  rules:\n    - { deny: { paths: [/no] } }\nlimits: { default: { rate: 1/h, burst: 9 } }";
    let buckler = limited(&world, config);
    let told = |ask: &crate::world::Ask| {
        let answer = buckler.answer(ask.clone());
        let limit = answer.field("ratelimit").unwrap_or_else(|| panic!("no RateLimit in\n{}", answer.head));
        let policy = answer.field("ratelimit-policy").unwrap_or_else(|| panic!("{}", answer.head));
        (answer.status, limit.to_owned(), policy.to_owned())
    };
    let stranger = get("/no");
    let (status, limit, policy) = told(&stranger);
    assert_eq!(
        (status, limit.as_str(), policy.as_str()),
        (403, "\"default\";r=9;t=0", "\"default\";q=9;w=32400")
    );
    let web = |path: &str| get(path).key("web-secret");
    assert_eq!(told(&web("/no")).1, "\"tier partner\";r=30;t=0", "a refusal charges nothing");
    assert!(told(&web("/")).1.starts_with("\"tier partner\";r=29;t="));
    world.worker("a").refuses();
    let (status, limit, _) = told(&web("/"));
    assert!((502..=503).contains(&status) && limit.contains(";r=28;"), "{status} {limit}");
    // Nobody is told what is not known: a wrong key has no quota.
    assert_eq!(buckler.answer(get("/").key("wrong")).is(401).field("ratelimit"), None);
    let head = buckler.answer(request("HEAD", "/no")).is(403);
    assert!(head.field("ratelimit").is_some(), "{}", head.head);
}

#[test]
fn a_limit_in_shadow_is_told_to_nobody() {
    let world = World::new();
    let config = "permissions:\n  rules:\n    - { deny: { paths: [/no] } }\n\
                  limits: { headers: always, default: { rate: 1/h, burst: 9, mode: shadow } }";
    let buckler = limited(&world, config);
    for (path, status) in [("/", 200), ("/no", 403)] {
        assert_eq!(buckler.answer(get(path)).is(status).field("ratelimit"), None, "{path}");
    }
}
