//! When a request is sent once more, and when never; how it ends that nobody answers; and how requests wait for a place
//! at a worker. Every attempt is counted by the workers themselves.

use std::time::Duration;

use crate::http2_workers::peers::{Act, Http2Worker};
use crate::world::{Buckler, Raw, Step, World, eventually, get, request, service};

/// Workers that are asked in this order, since each has a priority of its own.
fn in_order(world: &World, more: &str) -> Buckler {
    world.buckler(&service(&["a, priority: 1", "b, priority: 2"], more))
}

const RESET: [Step; 2] = [Step::TakeBody, Step::Reset];

fn says(status: u16, text: &str) -> [Step; 2] {
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    [Step::TakeBody, Step::send(&head)]
}

#[test]
fn an_idempotent_request_that_was_reset_goes_to_another_worker() {
    let world = World::new();
    world.worker("a").always(&RESET);
    let buckler = in_order(&world, "");
    assert_eq!(buckler.answer(get("/")).is(200).worker(), Some("b"));
    assert_eq!((world.worker("a").count(), world.worker("b").count()), (1, 1));
    let line = buckler.logged("the request", |line| line["path"] == "/");
    assert_eq!(line["attempts"], 2, "{line}");
}

#[test]
fn a_post_is_never_sent_twice() {
    let world = World::new();
    world.worker("a").always(&RESET);
    let buckler = in_order(&world, "retries: { attempts: 5, budget: 100%, on: [503] }");
    buckler.answer(request("POST", "/").body("x")).is(502);
    buckler.answer(request("POST", "/")).is(502);
    world.worker("a").always(&says(503, "no"));
    buckler.answer(request("POST", "/").body("x")).is(503);
    assert_eq!((world.worker("a").count(), world.worker("b").count()), (3, 0));
}

#[test]
fn a_put_whose_body_has_begun_is_never_sent_twice() {
    let world = World::new();
    world.worker("a").always(&RESET);
    let buckler = in_order(&world, "");
    buckler.answer(request("PUT", "/").body("x")).is(502);
    assert_eq!((world.worker("a").count(), world.worker("b").count()), (1, 0));
}

/// Sends a PUT, and its body only once `b` is asked as the second: `b` gets all of it.
#[track_caller]
fn put_once_b_is_asked(world: &World, buckler: &Buckler) {
    let mut raw = buckler.connect();
    raw.send("PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    eventually("the second attempt", || world.worker("b").count() == 1);
    raw.send("hello");
    let mut answer = raw.read_response();
    if answer.status == 100 {
        answer = raw.read_response();
    }
    assert_eq!(answer.is(200).worker(), Some("b"));
    assert_eq!(world.worker("b").last().body, b"hello");
}

#[test]
fn a_put_whose_body_still_waits_for_100_continue_goes_to_another_worker() {
    let world = World::new();
    // Without a word of 100: of the body nothing is taken.
    world.worker("a").always(&[Step::Reset]);
    let buckler = in_order(&world, "");
    put_once_b_is_asked(&world, &buckler);
}

#[test]
fn a_put_of_whose_body_nothing_was_taken_goes_to_another_worker_after_an_unwanted_answer_that_came_whole() {
    let world = World::new();
    // It answers in one piece, and reads nothing of the body.
    world.worker("a").always(&[Step::send("HTTP/1.1 503 Said\r\ncontent-length: 4\r\n\r\nmine")]);
    let buckler = in_order(&world, "retries: { on: [503] }");
    put_once_b_is_asked(&world, &buckler);
}

#[test]
fn a_status_that_is_not_wanted_is_asked_of_another_worker_and_kept_if_that_has_nothing_better() {
    let world = World::new();
    world.worker("a").always(&says(503, "mine"));
    let buckler = in_order(&world, "retries: { on: [503] }");
    assert_eq!(buckler.answer(get("/")).is(200).worker(), Some("b"));
    world.worker("b").always(&RESET);
    assert_eq!(buckler.answer(get("/")).is(503).text(), "mine");
    world.worker("b").always(&says(503, "and mine"));
    assert_eq!(buckler.answer(get("/")).is(503).text(), "and mine");
    // One that is not all here yet is kept as well.
    let begun = "HTTP/1.1 503 Said\r\ncontent-length: 9\r\n\r\nlong";
    world.worker("a").always(&[Step::TakeBody, Step::send(begun), Step::Gate, Step::send("-long")]);
    world.worker("b").always(&RESET);
    world.worker("a").let_one_pass();
    assert_eq!(buckler.answer(get("/")).is(503).text(), "long-long");
}

#[test]
fn a_status_that_is_not_listed_passes_at_once() {
    let world = World::new();
    world.worker("a").always(&says(500, "mine"));
    let buckler = in_order(&world, "retries: { on: [503] }");
    assert_eq!(buckler.answer(get("/")).is(500).text(), "mine");
    assert_eq!(world.worker("b").count(), 0);
}

#[test]
fn no_request_is_sent_more_often_than_attempts_allow_and_first_to_everybody_else() {
    let world = World::new();
    let names = ["a", "b", "c"];
    for name in names {
        world.worker(name).always(&RESET);
    }
    let buckler = world.buckler(&service(&names, "retries: { attempts: 3, budget: 100% }"));
    for n in 1..=5 {
        assert_eq!(buckler.answer(get("/")).is(502).reason(), "worker_reset");
        for name in names {
            assert_eq!(world.worker(name).count(), n, "each of three attempts goes to another worker");
        }
    }
    let world = World::new();
    world.worker("a").always(&RESET);
    let buckler = world.one_service("retries: { attempts: 1 }");
    buckler.answer(get("/")).is(502);
    assert_eq!(world.worker("a").count(), 1);
}

#[test]
fn retries_are_no_more_than_their_budget() {
    let world = World::new();
    world.worker("a").always(&RESET);
    world.worker("b").always(&RESET);
    let more = "health: { passive: false }\nretries: { budget: 20% }";
    let buckler = world.buckler(&format!("{}threads: 1\n", service(&["a", "b"], more)));
    for _ in 0..200 {
        buckler.answer(get("/")).is(502);
    }
    let sent = world.worker("a").count() + world.worker("b").count();
    assert!((200 + 40..=200 + 40 + 10).contains(&sent), "{sent}");
}

#[test]
fn all_attempts_have_one_deadline() {
    let world = World::new();
    let pause = Duration::from_millis(1500);
    world.worker("a").always(&[Step::TakeBody, Step::Pause(pause), Step::Reset]);
    world.worker("b").always(&[Step::TakeBody, Step::Hang]);
    let times = "timeouts: { response: 60s, total: 2500ms, deadline_header: x-timeout-ms }";
    let buckler = in_order(&world, &format!("{times}\nretries: {{ attempts: 10 }}"));
    let late = buckler.answer(get("/")).is(504);
    assert_eq!(late.reason(), "worker_timeout");
    assert!(late.text().contains("`timeouts.total`"), "{}", late.text());
    let told =
        |name: &str| -> u64 { world.worker(name).last().field("x-timeout-ms").unwrap().parse().unwrap() };
    assert!(told("a") <= 2_500, "{}", told("a"));
    assert!(told("b") <= 1_000, "what the first attempt left: {}", told("b"));
    let line = buckler.logged("the request", |line| line["path"] == "/");
    let took = line["t_total"].as_f64().unwrap();
    // With a deadline for each attempt it would end after four seconds.
    assert!((2.4..3.9).contains(&took), "{line}");
    assert_eq!((&line["attempts"], world.worker("a").count(), world.worker("b").count()), (&2.into(), 1, 1));
}

#[test]
fn who_did_not_answer_in_time_is_not_asked_again() {
    let world = World::new();
    world.worker("a").always(&[Step::TakeBody, Step::Hang]);
    world.worker("b").always(&[Step::TakeBody, Step::Hang]);
    let buckler = in_order(&world, "timeouts: { response: 200ms }\nretries: { attempts: 10, budget: 100% }");
    assert_eq!(buckler.answer(get("/")).is(504).reason(), "worker_timeout");
    assert_eq!((world.worker("a").count(), world.worker("b").count()), (1, 1));
    world.worker("b").always(&[Step::TakeBody, Step::Echo]);
    assert_eq!(buckler.answer(get("/")).is(200).worker(), Some("b"));
}

#[test]
fn what_is_tried_again_and_what_the_budget_denies_is_counted() {
    let world = World::new();
    world.worker("a").always(&RESET);
    let more = "health: { passive: false }\nretries: { budget: 20% }";
    let config = service(&["a, priority: 1", "b, priority: 2"], more);
    let buckler = world.buckler(&format!("{config}threads: 1\n"));
    let mut raw = buckler.connect();
    let ok = (0..40).filter(|_| raw.answer(&get("/")).status == 200).count() as u64;
    assert_eq!((world.worker("a").count(), world.worker("b").count() as u64), (40, ok));
    // The bucket is full at first, with ten, and gets a fifth for each request.
    assert!((10..=19).contains(&ok), "{ok}");
    let metrics = buckler.metrics();
    assert_eq!(metrics.sum("buckler_retries_total", &[("service", "api")]) as u64, ok);
    assert_eq!(metrics.sum("buckler_retries_denied_total", &[("service", "api")]) as u64, 40 - ok);
    let told = buckler.status_json()["services"][0]["retries"].clone();
    assert_eq!((told["sent"].as_u64(), told["denied"].as_u64()), (Some(ok), Some(40 - ok)), "{told}");
}

#[test]
fn retry_is_another_name_of_retries() {
    let world = World::new();
    world.worker("a").always(&says(503, "mine"));
    let buckler = in_order(&world, "retry: { attempts: 2, on: [502, 503] }");
    assert_eq!(buckler.answer(get("/")).is(200).worker(), Some("b"));
    assert_eq!(buckler.metrics().sum("buckler_retries_total", &[]), 1.0);
    let both = service(&["a"], "retry: { attempts: 2 }\nretries: { attempts: 2 }");
    let (code, said) = world.check(&both);
    assert!(code == 78 && said.contains("retry"), "{code}: {said}");
}

#[test]
fn a_refused_stream_goes_to_another_worker_whatever_its_method() {
    let world = World::new();
    let (a, b) = (Http2Worker::start(|_| Act::Refuse), Http2Worker::start(|_| Act::Echo));
    let config = format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    workers:\n      protocol: http2\n      addresses:\n        \
         - {{ address: \"127.0.0.1:{}\", priority: 1 }}\n        - {{ address: \"127.0.0.1:{}\", priority: 2 }}\n",
        a.port(),
        b.port()
    );
    let buckler = world.buckler(&config);
    for _ in 0..3 {
        assert_eq!(buckler.answer(request("POST", "/").body("whole")).is(200).text(), "whole");
    }
}

#[test]
fn an_answer_that_stalls_ends_after_its_idle_time() {
    let world = World::new();
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome";
    world.worker("a").always(&[Step::TakeBody, Step::send(begun), Step::Hang]);
    let buckler = world.one_service("timeouts: { idle: 200ms }");
    let mut raw = buckler.connect();
    raw.send(get("/stalls").bytes());
    assert!(raw.read_response().cut.is_some());
    buckler.logged("the cut", |line| line["path"] == "/stalls" && line["reason"] == "worker_timeout");
    assert_eq!(world.worker("a").count(), 1);
    assert_eq!(buckler.metrics().sum("buckler_worker_failures_total", &[]), 1.0);
}

/// Two workers, each of which serves one request at a time and waits at its gate.
fn one_at_a_time(world: &World, wait: &str) -> Buckler {
    for name in ["a", "b"] {
        world.worker(name).always(&[Step::TakeBody, Step::Gate, Step::Echo]);
    }
    let config = service(&["a", "b"], &format!("capacity: {{ wait: {wait} }}"));
    world.buckler(&config.replace("      addresses:", "      concurrent_per_worker: 1\n      addresses:"))
}

fn both(world: &World) -> (usize, usize) {
    (world.worker("a").count(), world.worker("b").count())
}

#[test]
fn the_next_free_worker_gets_the_request_that_waits() {
    let world = World::new();
    let buckler = one_at_a_time(&world, "20s");
    let mut raws: Vec<Raw> = (0..6).map(|_| buckler.connect()).collect();
    for raw in &mut raws {
        raw.send(get("/").bytes());
    }
    eventually("a request at each worker", || both(&world) == (1, 1));
    let waiting = || buckler.metrics().sum("buckler_capacity_waiting", &[]);
    eventually("the others in the line", || waiting() == 4.0);
    assert_eq!(both(&world), (1, 1), "nobody gets a second one");
    for n in 2..=4 {
        world.worker("b").let_one_pass();
        eventually("the next one at the worker that is free", || both(&world) == (1, n));
    }
    world.worker("a").open_gate();
    world.worker("b").open_gate();
    for raw in &mut raws {
        raw.read_response().is(200);
    }
    assert_eq!(world.worker("a").count() + world.worker("b").count(), 6);
}

#[test]
fn who_waits_too_long_for_a_worker_is_told_so() {
    let world = World::new();
    let buckler = one_at_a_time(&world, "200ms");
    let mut raws: Vec<Raw> = (0..2).map(|_| buckler.connect()).collect();
    for raw in &mut raws {
        raw.send(get("/").bytes());
    }
    eventually("a request at each worker", || both(&world) == (1, 1));
    let answer = buckler.answer(get("/late")).is(503);
    assert_eq!((answer.reason(), answer.field("retry-after")), ("overload".to_owned(), Some("1")));
    // Who leaves gives his place back.
    drop(raws);
    world.worker("a").open_gate();
    world.worker("b").open_gate();
    eventually("a place", || buckler.answer(get("/")).status == 200);
}

/// One of two workers holds a request, the other is free: (busy, free), and who holds it.
fn one_busy(world: &World, buckler: &Buckler) -> (&'static str, &'static str, Raw) {
    let mut held = buckler.connect();
    held.send(get("/held").bytes());
    eventually("a request at a worker", || both(world) != (0, 0));
    let (busy, free) = if both(world) == (1, 0) { ("a", "b") } else { ("b", "a") };
    (busy, free, held)
}

#[test]
fn a_retry_does_not_wait_for_a_worker_that_is_busy() {
    let world = World::new();
    // Far longer than the test waits for an answer.
    let buckler = one_at_a_time(&world, "60s");
    let (busy, free, mut held) = one_busy(&world, &buckler);
    world.worker(free).always(&RESET);
    assert_eq!(buckler.answer(get("/")).is(502).reason(), "worker_reset");
    assert_eq!(world.worker(free).count(), 2, "the one that is free may have it again");
    world.worker(free).always(&[Step::TakeBody, Step::Echo]);
    buckler.answer(get("/")).is(200);
    world.worker(busy).open_gate();
    held.read_response().is(200);
}

#[test]
fn a_retry_that_wants_another_worker_gives_up_if_that_is_busy() {
    let world = World::new();
    for name in ["a", "b"] {
        world.worker(name).always(&[Step::TakeBody, Step::Gate, Step::Echo]);
    }
    let more = "capacity: { wait: 60s }\nretries: { on: [503] }";
    let config = service(&["a", "b"], more);
    let config = config.replace("      addresses:", "      concurrent_per_worker: 1\n      addresses:");
    let buckler = world.buckler(&config);
    let (_, free, _held) = one_busy(&world, &buckler);
    world.worker(free).always(&says(503, "mine"));
    assert_eq!(buckler.answer(get("/")).is(503).text(), "mine");
    assert_eq!(world.worker(free).count(), 1);
}

#[test]
fn a_request_that_found_no_connection_waits_for_the_worker_that_is_busy() {
    let world = World::new();
    let buckler = one_at_a_time(&world, "60s");
    let (busy, free, mut held) = one_busy(&world, &buckler);
    world.worker(free).refuses();
    let mut second = buckler.connect();
    second.send(get("/second").bytes());
    let waiting = || buckler.metrics().sum("buckler_capacity_waiting", &[]);
    eventually("the second in the line", || waiting() == 1.0);
    world.worker(busy).open_gate();
    held.read_response().is(200);
    assert_eq!(second.read_response().is(200).worker(), Some(busy));
}
