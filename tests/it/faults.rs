//! Faults of one worker beside two that are well, over real sockets. Of each: what the client gets and within which
//! time, that nothing is sent twice that must not be, that the siblings take over, what the operator is told of the ill
//! one, and that it is used again when it is well.
//!
//! Here are workers that misbehave by a script; real processes and networks that are ill stand in the folder. What a
//! single answer looks like for each malformed byte stands in `worker_faults.rs`, and the rule of retries in
//! `retries.rs`.

mod cut_off;
mod processes;
mod ward;

use std::time::Duration;

use crate::world::{Step, eventually, get, request};
use ward::{Fault, Gets, Ward};

/// A time that Buckler is given here to notice that a worker is silent.
const SHORT: Duration = Duration::from_millis(300);

const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// The heads of both kinds of body, and how each begins.
fn beginnings() -> [(&'static str, String); 4] {
    [
        ("\r\n\r\n", LENGTH.to_owned()),
        ("\r\n\r\n", CHUNKED.to_owned()),
        ("some", format!("{LENGTH}some")),
        ("some", format!("{CHUNKED}4\r\nsome\r\n")),
    ]
}

/// This text a byte at a time, `pause` apart.
fn drip(text: &str, pause: Duration) -> impl Iterator<Item = Step> {
    text.bytes().flat_map(move |byte| [Step::Send(vec![byte]), Step::Pause(pause)])
}

#[test]
fn one_that_refuses_is_passed_over_left_alone_and_used_again() {
    let ward = Ward::new("timeouts: { connect: 2s }");
    let ill = ward.ill();
    ill.refuses();
    eventually("the worker left alone", || {
        ward.is_served("GET");
        ward.is_served("POST");
        let told = ward.told();
        let why = told["why"].as_str().unwrap_or_default();
        told["connect_failures"].as_u64() > Some(0) && why.contains("left alone for")
    });
    for _ in 0..20 {
        ward.is_served("GET");
        ward.is_served("POST");
    }
    assert_eq!(ill.count(), 0);
    ill.accepts();
    ward.is_used_again();
    ward.nothing_was_sent_twice();
}

#[test]
fn one_that_ends_the_connection_before_its_answer_costs_a_post_and_no_get() {
    for end in [Step::Reset, Step::Close] {
        let ward = Ward::new("");
        ward.ill().always(&[Step::TakeBody, end]);
        ward.takes_its_course(&Fault {
            get: Gets::AnotherAnswer,
            post: Gets::Refused(502, "worker_reset"),
            ..Fault::default()
        });
    }
}

#[test]
fn one_that_ends_the_connection_inside_its_answer_cuts_it_and_nobody_else_is_asked() {
    for (begun, sent) in beginnings() {
        for end in [Step::Reset, Step::Close] {
            let ward = Ward::new("");
            // Held back until the client has seen the beginning: a reset may overtake what was sent before.
            ward.ill().always(&[Step::TakeBody, Step::send(&sent), Step::Gate, end]);
            ward.takes_its_course(&Fault {
                get: Gets::Cut("worker_reset"),
                post: Gets::Cut("worker_reset"),
                gated_after: Some(begun),
                ..Fault::default()
            });
        }
    }
}

#[test]
fn one_that_hangs_before_its_head_is_given_its_time_and_no_more() {
    let ward = Ward::new("timeouts: { response: 300ms }");
    ward.ill().always(&[Step::TakeBody, Step::Hang]);
    ward.takes_its_course(&Fault {
        get: Gets::AnotherAnswer,
        post: Gets::Refused(504, "worker_timeout"),
        after: SHORT,
        ..Fault::default()
    });
}

#[test]
fn one_that_stalls_inside_its_body_is_caught_by_the_idle_time() {
    for (_, sent) in beginnings() {
        let ward = Ward::new("timeouts: { idle: 300ms }");
        ward.ill().always(&[Step::TakeBody, Step::send(&sent), Step::Hang]);
        ward.takes_its_course(&Fault {
            get: Gets::Cut("worker_timeout"),
            post: Gets::Cut("worker_timeout"),
            after: SHORT,
            ..Fault::default()
        });
    }
}

#[test]
fn one_that_speaks_something_else_is_a_502_at_once() {
    // A mail server, a TLS alert, and somebody who speaks HTTP/2 only.
    for garbage in
        [&b"220 mail.example.test ESMTP\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x46", b"\0\0\x12\x04\0\0\0\0\0"]
    {
        let ward = Ward::new("timeouts: { response: 60s }");
        ward.ill().always(&[Step::TakeBody, Step::Send(garbage.to_vec()), Step::Hang]);
        ward.takes_its_course(&Fault {
            get: Gets::Refused(502, "worker_protocol"),
            post: Gets::Refused(502, "worker_protocol"),
            ..Fault::default()
        });
    }
}

#[test]
fn one_that_promises_to_keep_its_connections_and_does_not_costs_no_get() {
    let ward = Ward::new("");
    let ill = ward.ill();
    let lie = "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nkeep-alive: timeout=60\r\nx-worker: a\r\n\
               content-length: 2\r\n\r\nhi";
    ill.always(&[Step::TakeBody, Step::send(lie), Step::Close]);
    let mut raw = ward.buckler.connect();
    for n in 0..100 {
        raw.answer(&get(&format!("/get/{n}"))).is(200);
        let answer = raw.answer(&request("POST", &format!("/post/{n}")).body("x"));
        // Its end may be on its way when the next request is: nobody can know.
        if answer.status != 200 {
            assert_eq!(answer.is(502).reason(), "worker_reset");
        }
    }
    assert!(ill.count() > 1, "it was asked again");
    let mut connections: Vec<u64> = ill.seen().iter().map(|seen| seen.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), ill.count(), "it saw one request on each connection");
    ward.nothing_was_sent_twice();
    let address = ill.address();
    eventually("what it closed is not kept for the minute that it promised", || {
        ward.buckler.metrics().sum("buckler_worker_connections", &[("worker", &address)]) == 0.0
    });
    ill.always(&[Step::TakeBody, Step::Echo]);
    ward.is_used_again();
}

#[test]
fn one_that_drips_is_waited_for_as_long_as_it_is_never_silent() {
    let ward = Ward::new("timeouts: { idle: 3s }");
    let pause = Duration::from_millis(200);
    let mut script = vec![Step::TakeBody, Step::send("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n")];
    script.extend(drip("twenty bytes in all.", pause));
    ward.ill().always(&script);
    let fate = ward.meets_the_ill("GET");
    assert_eq!(fate.answer.is(200).text(), "twenty bytes in all.");
    assert!(fate.took > Duration::from_secs(3), "{:?} is longer than one silence may be", fate.took);
    ward.nothing_was_sent_twice();
}

#[test]
fn one_that_drips_its_head_is_given_its_time_and_no_more() {
    let ward = Ward::new("timeouts: { response: 300ms }");
    let mut script = vec![Step::TakeBody];
    script.extend(drip(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(500)), Duration::from_millis(20)));
    ward.ill().always(&script);
    ward.takes_its_course(&Fault {
        get: Gets::AnotherAnswer,
        post: Gets::Refused(504, "worker_timeout"),
        after: SHORT,
        ..Fault::default()
    });
}

#[test]
fn one_that_drips_its_body_is_ended_by_the_time_for_the_whole_request() {
    let ward = Ward::new("timeouts: { total: 400ms }");
    let mut script = vec![Step::TakeBody, Step::send("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")];
    script.extend(drip(&"y".repeat(500), Duration::from_millis(40)));
    ward.ill().always(&script);
    ward.takes_its_course(&Fault {
        get: Gets::Cut("worker_timeout"),
        post: Gets::Cut("worker_timeout"),
        after: Duration::from_millis(400),
        ..Fault::default()
    });
}
