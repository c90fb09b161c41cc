//! How long an HTTP/2 connection lasts, and what it may count on meanwhile.

use std::time::Duration;

use crate::world::http2::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, RST_STREAM, ask, frame, stream};
use crate::world::{Step, World, eventually, linger, one_service};

fn get(index: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream(index), &ask("GET", "/"))
}

#[test]
fn a_connection_whose_last_request_was_taken_back_is_closed_once_it_is_idle() {
    let world = World::new();
    world.worker("a").always(&[Step::Gate, Step::Echo]);
    let keep_alive = Duration::from_millis(300);
    let buckler = world.one_service("timeouts: { head: 200ms, keep_alive: 300ms }");
    let mut client = Http2::connect(buckler.port());
    client.send(get(0));
    eventually("the request with its worker", || buckler.metrics().sum("buckler_active_requests", &[]) > 0.5);
    // Every time limit of an idle connection is over meanwhile, and none of them holds.
    linger(keep_alive * 2);
    assert_eq!(client.count(GOAWAY), 0);
    client.send(frame(RST_STREAM, 0, stream(0), &8_u32.to_be_bytes()));
    eventually("the client asked to leave", || client.count(GOAWAY) > 0);
    assert_eq!(client.goaway(), 0);
}

#[test]
fn a_reload_that_allows_fewer_streams_refuses_none_of_those_that_were_promised() {
    let world = World::new();
    world.worker("a").always(&[Step::Gate, Step::TakeBody, Step::Echo]);
    let buckler = world.one_service("bounds: { streams: 10 }");
    let mut client = Http2::connect(buckler.port());
    client.send(get(0));
    eventually("the first with its worker", || buckler.metrics().sum("buckler_active_requests", &[]) > 0.5);
    world.reload(&buckler, &one_service("bounds: { streams: 1 }"));
    eventually("the reload", || buckler.status_json()["config"]["last_reload"]["ok"] == true);
    client.flood(9, |n| get(n + 1));
    eventually("all with their worker", || buckler.metrics().sum("buckler_active_requests", &[]) > 9.5);
    world.worker("a").open_gate();
    assert!((0..10).all(|index| client.answered(stream(index))));
    assert_eq!(client.count(RST_STREAM), 0);
}
