//! Who is to blame: what clients and the line took of a request's time, what one caller asks for where its requests all
//! go to one worker, and a connection that ended between two requests say nothing against a worker.

use std::time::Duration;

use crate::http2_workers::peers::{Act, Http2Worker};
use crate::world::{Buckler, Raw, Response, Step, World, eventually, get, linger, service};

fn failures(buckler: &Buckler) -> f64 {
    buckler.metrics().sum("buckler_worker_failures_total", &[])
}

#[track_caller]
fn is_client_timeout(answer: Response) {
    assert_eq!(answer.is(408).reason(), "client_timeout");
}

const HALF_A_POST: &str = "POST /half HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhal";

#[test]
fn an_upload_that_does_not_end_in_time_is_the_clients_fault() {
    let world = World::new();
    let buckler = world.one_service("timeouts: { total: 300ms }");
    is_client_timeout(buckler.answer_to(HALF_A_POST));
    assert_eq!(world.worker("a").count(), 1, "it was at the worker");
    assert_eq!(failures(&buckler), 0.0);
    let acceptance = &buckler.status_json()["services"][0]["throttle"];
    assert!(acceptance.is_null() || acceptance["requests"].as_f64().is_none_or(|n| n < 0.5), "{acceptance}");
}

#[test]
fn so_it_is_at_a_worker_of_http2() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::Wait);
    let buckler = world.buckler(&format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    timeouts: {{ total: 300ms }}\n    \
         workers: {{ protocol: http2, addresses: [\"127.0.0.1:{}\"] }}\n",
        worker.port()
    ));
    is_client_timeout(buckler.answer_to(HALF_A_POST));
    assert_eq!(failures(&buckler), 0.0);
}

#[test]
fn an_upload_that_took_most_of_the_time_leaves_the_worker_without_blame() {
    let world = World::new();
    world.worker("a").always(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("timeouts: { total: 2s }");
    let mut raw = buckler.connect();
    raw.send(HALF_A_POST);
    // What is told apart is who took how much of the time.
    linger(Duration::from_millis(1200));
    raw.send([b'x'; 97]);
    // On a machine that stood still for long it is the upload that was late.
    let status = raw.read_response().status;
    assert!(status == 504 || status == 408, "{status}");
    assert_eq!(failures(&buckler), 0.0);
    buckler.answer(get("/")).is(504);
    assert_eq!(failures(&buckler), 1.0, "who had all the time is to blame");
}

#[test]
fn a_download_that_the_client_takes_too_slowly_is_not_held_against_the_worker() {
    let world = World::new();
    let size = 256_u64 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    world.worker("a").always(&[Step::TakeBody, Step::send(&head), Step::Fill(size)]);
    let buckler = world.one_service("timeouts: { total: 1s }");
    let mut raw = Raw::connect_narrow(buckler.port());
    raw.send(get("/slow").bytes()).read_head().is(200);
    assert!(raw.sip(Duration::from_millis(50), 2000).is_some(), "it is cut");
    let line = buckler.logged("the cut", |line| line["path"] == "/slow");
    assert_eq!(line["reason"], "client_timeout", "{line}");
    assert_eq!(failures(&buckler), 0.0);
}

#[test]
fn a_worker_that_stalls_in_its_answer_is_to_blame_for_the_time() {
    let world = World::new();
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome";
    world.worker("a").always(&[Step::TakeBody, Step::send(begun), Step::Hang]);
    let buckler = world.one_service("timeouts: { total: 400ms }");
    let mut raw = buckler.connect();
    raw.send(get("/stalls").bytes());
    assert!(raw.read_response().cut.is_some());
    let line = buckler.logged("the cut", |line| line["path"] == "/stalls");
    assert_eq!(line["reason"], "worker_timeout", "{line}");
    assert_eq!(failures(&buckler), 1.0);
}

#[test]
fn what_the_line_took_is_not_the_workers_time() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
    worker.once(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("capacity: { concurrent: 1, wait: 6s }\ntimeouts: { total: 6s }");
    let mut first = buckler.connect();
    first.send(get("/first").bytes());
    eventually("the first at the worker", || worker.count() == 1);
    let mut second = buckler.connect();
    second.send(get("/second").bytes());
    eventually("the second in line", || buckler.status_json()["services"][0]["capacity"]["waiting"] == 1);
    // More than half of the time: that much decides who is to blame for its end.
    linger(Duration::from_millis(3500));
    worker.open_gate();
    first.read_response().is(200);
    assert_eq!(second.read_response().is(504).reason(), "worker_timeout");
    assert_eq!(failures(&buckler), 0.0);
}

#[test]
fn on_a_ring_the_answers_to_one_caller_move_nobody_and_eject_nobody() {
    let world = World::new();
    let names = ["a", "b", "c", "d"];
    let text = service(&names, "health: { passive: true }");
    let ring = "      balance: { by: ring, header: x-user }\n      addresses:";
    let buckler = world.buckler(&text.replace("      addresses:", ring));
    let mut raw = buckler.connect();
    let evil = get("/").header("x-user", "evil");
    let theirs = raw.answer(&evil).is(200).worker().unwrap().to_owned();
    world.worker(&theirs).answers("HTTP/1.1 500 Bad\r\ncontent-length: 0\r\n\r\n");
    for n in 0..600 {
        raw.answer(&evil).is(500);
        // The siblings are well.
        raw.answer(&get("/").header("x-user", &format!("user-{n}")));
    }
    let status = buckler.status_json().to_string();
    assert!(!status.contains("\"ejected\"") && !status.contains("\"suspect\""), "{status}");
    // What breaks does count.
    world.worker(&theirs).always(&[Step::TakeBody, Step::Reset]);
    eventually("another worker", || {
        let answer = raw.answer(&evil);
        raw.answer(&get("/").header("x-user", "good"));
        buckler.status_json().to_string().contains("\"ejected\"") && answer.status == 200
    });
}

#[test]
fn a_connection_that_ended_between_two_requests_is_held_against_nobody() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Echo]);
    // To Buckler it looks as if the worker closed just as the request came.
    worker.once(&[Step::TakeBody, Step::Close]);
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.answer(&get("/first")).is(200);
    raw.answer(&get("/second")).is(200);
    assert_eq!(worker.count(), 3, "the second was sent once more");
    assert_eq!(failures(&buckler), 0.0);
}

#[test]
fn no_worker_that_is_ready_is_told_in_its_own_words() {
    let world = World::new();
    world.worker("a").answers_checks("HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let check = "health: { check: { kind: http, path: /, required_at_start: true } }";
    let buckler = world.buckler_starting(&crate::world::one_service(check));
    buckler.wait_alive();
    let answer = buckler.answer(get("/")).is(503);
    assert!(answer.text().contains("required_at_start"), "{}", answer.text());
    assert_eq!(answer.reason(), "no_workers");
}
