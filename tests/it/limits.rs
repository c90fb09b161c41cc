//! How much a caller may: rates, bursts, costs, totals, requests in progress; exactly so much, and for everybody.

use crate::world::{
    Ask, Buckler, ONE_PORT, Raw, Response, Step, World, callers, eventually, get, one_service, request,
};

/// How many of these requests pass before the first refusal, and that refusal.
#[track_caller]
fn passes(buckler: &Buckler, ask: &Ask) -> (usize, Response) {
    for n in 0..1000 {
        let answer = buckler.answer(ask.clone());
        if answer.status != 200 {
            return (n, answer);
        }
    }
    panic!("a thousand requests passed");
}

#[track_caller]
fn refused(answer: Response, status: u16, reason: &str) -> Response {
    let answer = answer.is(status);
    assert_eq!(answer.reason(), reason);
    answer
}

fn limited(world: &World, limits: &str) -> Buckler {
    world.buckler(&format!("{}{}", callers(), one_service(limits)))
}

#[test]
fn the_agreed_limits_mean_what_they_say() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    for (ask, burst, rule) in [
        (get("/"), 20, "default"),
        (get("/").from("127.0.0.3"), 20, "default"),
        (get("/").key("web-secret"), 30, "tier partner"),
        (get("/").from("127.0.0.9"), 50, "agreement office"),
        (get("/search/a").from("127.0.0.4"), 4, "default"),
        (get("/search").from("127.0.0.6"), 4, "default"),
    ] {
        let (passed, refusal) = passes(&buckler, &ask);
        assert_eq!(passed, burst, "{rule}");
        let body = refused(refusal, 429, "caller_rate").json();
        assert_eq!(body["rule"], rule);
    }
}

#[test]
fn a_limit_is_one_for_all_connections_and_cores() {
    let world = World::new();
    let buckler = limited(&world, "limits: { default: { rate: 1/h, burst: 50 } }\n");
    let passed: usize = std::thread::scope(|scope| {
        let client = || {
            let mut raw = buckler.connect();
            (0..25).filter(|_| raw.answer(&get("/")).status == 200).count()
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(passed, 50, "of 200 requests on 8 connections");
    assert_eq!(world.worker("a").count(), 50);
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let world = World::new();
    let buckler = limited(&world, "limits: { default: { rate: 2/min, burst: 1 } }");
    buckler.answer(get("/")).is(200);
    let answer = refused(buckler.answer(get("/")), 429, "caller_rate");
    let wait: u64 = answer.field("retry-after").expect("Retry-After").parse().unwrap();
    assert!((25..=33).contains(&wait), "{wait} s for one in 30 s");
    assert_eq!(answer.json()["retry_after"], wait);
    let limit = answer.field("ratelimit").expect("RateLimit");
    assert!(limit.contains("\";r=0;t="), "{limit}");
    let policy = answer.field("ratelimit-policy").expect("RateLimit-Policy");
    assert!(policy.contains("\";q=") && policy.contains(";w="), "{policy}");
    assert!(answer.field("proxy-status").unwrap().contains("reason=caller_rate"), "{}", answer.head);
}

#[test]
fn a_refused_caller_passes_again_in_time() {
    let world = World::new();
    let buckler = limited(&world, "limits: { default: { rate: 5/s, burst: 1 } }");
    let (_, refusal) = passes(&buckler, &get("/"));
    refused(refusal, 429, "caller_rate");
    eventually("the next slot", || buckler.answer(get("/")).status == 200);
}

#[test]
fn a_burst_left_out_is_one_seconds_worth_and_at_least_one() {
    let world = World::new();
    let buckler = limited(&world, "limits: { default: { rate: 6/min } }");
    assert_eq!(passes(&buckler, &get("/")).0, 1);
}

#[test]
fn the_total_is_for_all_and_is_not_the_callers_fault() {
    let world = World::new();
    let buckler =
        limited(&world, "limits: { default: { rate: 1/h, burst: 5 }, total: { rate: 1/min, burst: 7 } }");
    assert_eq!(passes(&buckler, &get("/")).0, 5);
    let (passed, refusal) = passes(&buckler, &get("/").from("127.0.0.3"));
    assert_eq!(passed, 2, "what the first caller was refused has charged the total nothing");
    let answer = refused(refusal, 503, "service_limit");
    assert!(answer.field("retry-after").is_some(), "{}", answer.head);
    assert_eq!(answer.json()["rule"], "total");
}

#[test]
fn who_has_used_up_its_own_rate_hears_of_that_and_not_of_the_total() {
    let world = World::new();
    let buckler =
        limited(&world, "limits: { default: { rate: 1/h, burst: 1 }, total: { rate: 1/h, burst: 1 } }");
    buckler.answer(get("/").from("127.0.0.3")).is(200);
    refused(buckler.answer(get("/").from("127.0.0.3")), 429, "caller_rate");
    refused(buckler.answer(get("/").from("127.0.0.4")), 503, "service_limit");
}

#[test]
fn a_refusal_by_the_total_charges_the_caller_nothing() {
    let world = World::new();
    let limits =
        "limits: { headers: always, default: { rate: 1/h, burst: 5 }, total: { rate: 2/s, burst: 1 } }";
    let buckler = limited(&world, limits);
    let mut passed = 0;
    eventually("the caller's own quota used up", || {
        let answer = buckler.answer(get("/"));
        passed += usize::from(answer.status == 200);
        answer.status == 429
    });
    assert_eq!(passed, 5, "refusals by the total took from the caller's quota");
}

#[test]
fn costs_are_taken_by_path_and_method() {
    let world = World::new();
    let limits = "limits:\n  default: { rate: 1/h, burst: 10 }\n  costs:\n    - { paths: [\"/big/**\"], methods: [POST], cost: 4 }";
    let buckler = limited(&world, limits);
    let post = request("POST", "/big/a").body("x");
    buckler.answer(post.clone()).is(200);
    buckler.answer(post.clone()).is(200);
    refused(buckler.answer(post), 429, "caller_rate");
    buckler.answer(get("/big/a")).is(200);
    buckler.answer(get("/")).is(200);
    refused(buckler.answer(get("/")), 429, "caller_rate");
}

#[test]
fn a_shared_agreement_is_one_bucket_and_others_are_one_each() {
    let world = World::new();
    let shared =
        "limits:\n  agreements:\n    - { callers: [web, office], shared: true, rate: 1/h, burst: 6 }";
    let buckler = limited(&world, shared);
    assert_eq!(passes(&buckler, &get("/").key("web-secret")).0, 6);
    assert_eq!(passes(&buckler, &get("/").from("127.0.0.9")).0, 0);
    drop(buckler);
    let buckler = limited(&world, &shared.replace("shared: true", "shared: false"));
    assert_eq!(passes(&buckler, &get("/").key("web-secret")).0, 6);
    assert_eq!(passes(&buckler, &get("/").from("127.0.0.9")).0, 6);
}

#[test]
fn requests_in_progress_are_counted_until_their_last_byte() {
    let world = World::new();
    let worker = world.worker("a");
    let begun = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf");
    worker.once(&[Step::TakeBody, begun, Step::Gate, Step::send("half")]);
    worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let buckler = limited(&world, "limits: { default: { concurrent: 2 } }");
    let (mut first, mut second) = (buckler.connect(), buckler.connect());
    first.send(get("/").bytes()).read_head();
    second.send(get("/").bytes());
    eventually("both at the worker", || worker.count() == 2);
    refused(buckler.answer(get("/")), 429, "caller_concurrency");
    buckler.answer(get("/").from("127.0.0.3")).is(200);
    worker.open_gate();
    second.read_response().is(200);
    first.read_until(b"halfhalf");
    eventually("the places given back", || buckler.answer(get("/")).status == 200);
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Hang]);
    let buckler = limited(&world, "limits: { default: { concurrent: 1 } }");
    let mut raw = buckler.connect();
    raw.send(get("/").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    refused(buckler.answer(get("/")), 429, "caller_concurrency");
    raw.reset();
    eventually("the place given back", || buckler.answer(get("/")).status == 200);
}

#[test]
fn who_is_told_the_limits_is_configured() {
    let world = World::new();
    for (headers, known, stranger, refusal) in [
        ("always", true, true, true),
        ("named", true, false, true),
        ("refused", false, false, true),
        ("never", false, false, false),
    ] {
        let limits = format!("limits: {{ headers: {headers}, default: {{ rate: 1/h, burst: 1 }} }}");
        let buckler = limited(&world, &limits);
        let told = |answer: Response| {
            answer.field("ratelimit").is_some() && answer.field("ratelimit-policy").is_some()
        };
        assert_eq!(
            told(buckler.answer(get("/").key("web-secret")).is(200)),
            known,
            "{headers}, a known caller"
        );
        assert_eq!(told(buckler.answer(get("/")).is(200)), stranger, "{headers}, a stranger");
        assert_eq!(told(buckler.answer(get("/")).is(429)), refusal, "{headers}, a refusal");
    }
}

#[test]
fn a_named_caller_sees_what_is_left() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    let mut raw = Raw::connect(buckler.port());
    for left in (25..30).rev() {
        let answer = raw.answer(&get("/").key("web-secret")).is(200);
        let limit = answer.field("ratelimit").expect("RateLimit");
        assert!(limit.contains(&format!("\";r={left};t=")), "{limit} with {left} left");
    }
}

#[test]
fn a_shadow_limit_refuses_nobody_and_is_counted() {
    let world = World::new();
    let buckler = limited(&world, "limits: { default: { rate: 1/h, burst: 2, mode: shadow } }");
    for _ in 0..5 {
        buckler.answer(get("/")).is(200);
    }
    let metrics = buckler.metrics();
    assert!(
        (metrics.sum("buckler_limited_total", &[("mode", "shadow")]) - 3.0).abs() < 0.5,
        "{}",
        metrics.text
    );
    buckler.logged("what would have been", |line| line["shadow"][0]["reason"] == "caller_rate");
}

#[test]
fn a_reload_gives_nobody_tokens() {
    let world = World::new();
    let limits = |burst: u32| {
        format!(
            "{}{}",
            callers(),
            one_service(&format!("limits: {{ default: {{ rate: 1/h, burst: {burst} }} }}"))
        )
    };
    let buckler = world.buckler(&limits(5));
    assert_eq!(passes(&buckler, &get("/")).0, 5);
    for burst in [5, 3, 5] {
        world.reload(&buckler, &limits(burst));
        assert_eq!(passes(&buckler, &get("/")).0, 0, "after a reload with a burst of {burst}");
    }
    world.reload(&buckler, &limits(8));
    assert_eq!(passes(&buckler, &get("/")).0, 3, "a burst of 8 after 5 were used");
}

#[test]
fn a_denied_request_charges_nothing() {
    let world = World::new();
    let config = "permissions:\n  rules:\n    - { deny: { paths: [\"/no\"] } }\nlimits: { default: { rate: 1/h, burst: 2 } }";
    let buckler = limited(&world, config);
    for _ in 0..5 {
        buckler.answer(get("/no")).is(403);
    }
    assert_eq!(passes(&buckler, &get("/")).0, 2);
}
