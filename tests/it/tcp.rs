//! `protocol: tcp`: bytes as they are, from whom they may come, how many connections at once, and to which worker.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::world::{Buckler, End, Raw, Step, World, eventually, get, service};

const TCP: &str = "protocol: tcp";

/// A worker's script that speaks first, and then sends back what it gets.
fn greeter() -> [Step; 2] {
    [Step::send("welcome\n"), Step::Mirror]
}

/// A connection whose first line went to the worker and came back.
fn open(buckler: &Buckler) -> Raw {
    let mut raw = buckler.connect();
    raw.send("HELLO\r\n\r\n").read_until(b"welcome\n");
    raw
}

#[test]
fn http_goes_through_untouched() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service(TCP);
    let mut raw = buckler.connect();
    let asked = "GET /a/../b?c HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nX_Odd: 1\r\n\r\n";
    raw.send(asked).read_response().is(200);
    assert_eq!(worker.last().head, asked);
    assert_eq!(raw.answer(&get("/again")).is(200).json()["target"], "/again");
    drop(raw);
    let line = buckler.logged("the connection", |line| line["proto"] == "TCP");
    assert_eq!((&line["tunnel_end"], &line["worker"]), (&"client_closed".into(), &worker.address().into()));
    assert_eq!(line["caller"], "address:127.0.0.1");
    assert!(line["bytes_in"].as_u64().unwrap() > 80 && line["bytes_out"].as_u64().unwrap() > 80, "{line}");
    assert!(line.get("status").is_none() && line.get("method").is_none(), "{line}");
    assert_eq!(buckler.metrics().sum("buckler_requests_total", &[("code", "000"), ("reason", "")]), 1.0);
}

#[test]
fn the_side_that_ends_first_may_still_be_answered() {
    let world = World::new();
    world.worker("a").always(&[Step::Mirror]);
    let buckler = world.one_service(TCP);
    let mut raw = buckler.connect();
    raw.send("HELLO\r\n\r\nand more").finish();
    assert_eq!(raw.read_to_end(), (b"and more".to_vec(), End::Closed));
}

#[test]
fn who_may_not_is_closed_without_a_byte() {
    let world = World::new();
    world.worker("a").always(&greeter());
    let rules = "permissions: { rules: [ { deny: { callers: [\"address:127.0.0.3\"] } } ] }";
    let buckler = world.one_service(&format!("{TCP}\n{rules}"));
    open(&buckler);
    let mut denied = Raw::connect_from(Ipv4Addr::new(127, 0, 0, 3), buckler.port());
    assert_eq!(denied.closed(), End::Closed);
    let line = buckler.logged("the refusal", |line| line["reason"] == "denied_by_rule");
    assert_eq!((&line["caller"], &line["proto"]), (&"address:127.0.0.3".into(), &"TCP".into()));
    assert_eq!(world.worker("a").count(), 1);
    assert_eq!(buckler.refused("denied_by_rule"), 1.0);
}

#[test]
fn new_connections_are_limited_and_open_ones_counted() {
    let world = World::new();
    world.worker("a").always(&greeter());
    let buckler = world.one_service(&format!("{TCP}\nlimits: {{ default: {{ concurrent: 2 }} }}"));
    let (first, _second) = (open(&buckler), open(&buckler));
    assert_eq!(buckler.connect().closed(), End::Closed);
    assert_eq!(buckler.refused("caller_concurrency"), 1.0);
    assert_eq!(buckler.metrics().sum("buckler_tunnels", &[]), 2.0);
    drop(first);
    eventually("room", || buckler.metrics().sum("buckler_tunnels", &[]) == 1.0);
    let _third = open(&buckler);
    let rated = world.one_service(&format!("{TCP}\nlimits: {{ default: {{ rate: 1/h, burst: 2 }} }}"));
    drop((open(&rated), open(&rated)));
    assert_eq!(rated.connect().closed(), End::Closed);
    assert_eq!(rated.refused("caller_rate"), 1.0);
}

#[test]
fn one_connection_too_many_is_closed_without_a_byte() {
    let world = World::new();
    world.worker("a").always(&greeter());
    let buckler = world.one_service(&format!("{TCP}\nbounds: {{ connections: 1 }}"));
    let _open = open(&buckler);
    assert_eq!(buckler.connect().closed(), End::Closed);
    assert_eq!(buckler.refused("connections"), 1.0);
}

#[test]
fn a_worker_that_takes_no_connection_is_passed_over() {
    let world = World::new();
    world.worker("a").refuses();
    world.worker("b").always(&greeter());
    let buckler = world.buckler(&service(&["a", "b"], TCP));
    for _ in 0..4 {
        open(&buckler);
    }
    assert_eq!(world.worker("b").count(), 4);
    world.worker("b").refuses();
    eventually("nobody to connect to", || buckler.connect().read_to_end().0.is_empty());
    assert!(buckler.refused("worker_connect") >= 1.0);
}

#[test]
fn a_worker_that_breaks_off_breaks_the_client_off() {
    let world = World::new();
    world.worker("a").always(&[Step::send("half of"), Step::Await(b"go".to_vec()), Step::Reset]);
    let buckler = world.one_service(TCP);
    let mut raw = buckler.connect();
    raw.send("HELLO\r\n\r\n").read_until(b"half of");
    assert_eq!(raw.send("go").read_to_end().1, End::Reset);
    assert!(buckler.metrics().sum("buckler_worker_failures_total", &[]) >= 1.0);
}

#[test]
fn silence_is_bounded_and_a_drain_does_not_wait_for_it() {
    let world = World::new();
    world.worker("a").always(&greeter());
    let buckler = world.one_service(&format!("{TCP}\ntimeouts: {{ tunnel: 1s }}"));
    assert_eq!(open(&buckler).read_to_end().1, End::Closed);
    buckler.logged("the silent one", |line| line["tunnel_end"] == "idle");
    let drained = world.one_service(TCP);
    let mut raw = open(&drained);
    let begun = Instant::now();
    drained.term();
    assert_eq!(raw.read_to_end().1, End::Closed);
    assert_eq!(drained.wait_exit(), 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "a silent connection held up the drain");
    assert_eq!(drained.logged("it", |line| line["proto"] == "TCP")["tunnel_end"], "drained");
}
