//! What a reload replaced: it stays for those that began under it, and nobody else keeps it in memory.

use crate::world::http2::Http2;
use crate::world::{Buckler, Raw, SWITCH, Step, World, eventually, get, one_service};

/// All clients of the tests are the caller `web`, whose tier is `gold`.
const WEB: &str = "callers:\n  tiers: { gold: { rate: 1000000/s } }\n  \
                   known: { web: { addresses: [127.0.0.1], tier: gold } }\n";

/// A second service; its port is `{port:two}`, its worker `b`.
const TWO: &str = "  two:\n    listen: 127.0.0.1:{port:two}\n    workers: { addresses: [\"{worker:b}\"] }\n";

/// A WebSocket through this port, whose other end this worker is.
#[track_caller]
fn tunnel(world: &World, worker: &str, port: u16) -> Raw {
    world.worker(worker).once(&[Step::send(SWITCH), Step::Mirror]);
    let mut tunnel = Raw::connect(port);
    tunnel
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n")
        .send("sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .read_response()
        .is(101);
    tunnel
}

#[track_caller]
fn reload(world: &World, buckler: &Buckler, config: &str) {
    world.reload(buckler, config);
    let last = buckler.status_json()["config"]["last_reload"].clone();
    assert_eq!(last["ok"], true, "{last}");
}

#[test]
fn what_a_reload_replaced_leaves_memory_with_the_last_request_that_needs_it() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.buckler(&format!("{WEB}{}", one_service("")));
    let held = || buckler.metrics().sum("buckler_config_held", &[]);
    assert_eq!(held(), 1.0);
    // Connections that stay idle, with and without a request behind them, one that is a tunnel, and one in the middle
    // of a request.
    let (mut idle, _silent, mut busy) = (buckler.connect(), buckler.connect(), buckler.connect());
    idle.answer(&get("/")).is(200);
    let mut http2 = Http2::connect(buckler.port());
    assert!(http2.get("/"));
    let mut tunnel = tunnel(&world, "a", buckler.port());
    worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
    busy.send(get("/slow").bytes());
    eventually("the request at the worker", || worker.count() == 4);
    for n in 0..5 {
        let rest = if n % 2 == 0 { "" } else { TWO };
        let limits = format!("limits: {{ default: {{ rate: {}/s, burst: 4000000 }} }}", 1_000_000 + n);
        reload(&world, &buckler, &format!("{WEB}{}{rest}", one_service(&limits)));
        eventually("only what the request in progress needs", || held() == 2.0);
    }
    worker.open_gate();
    busy.read_response().is(200);
    eventually("the one in use alone", || held() == 1.0);
    tunnel.send(b"\x81\x00ping").read_until(b"\x81\x00ping");
    idle.answer(&get("/")).is(200);
    assert!(http2.get("/"));
}

#[test]
fn a_tunnel_of_tcp_keeps_no_configuration_in_memory_and_is_told_of_as_it_began() {
    let world = World::new();
    world.worker("a").always(&[Step::send("welcome\n"), Step::Mirror]);
    let buckler = world.buckler(&format!("{WEB}{}", one_service("protocol: tcp")));
    let mut tunnel = buckler.connect();
    tunnel.send("HELLO\r\n\r\n").read_until(b"welcome\n");
    // The caller gets another number, and then another tier.
    let two = WEB.replace("known: {", "known: { app: { addresses: [192.0.2.1] },");
    for callers in [&two, &two.replace("gold", "silver")] {
        reload(&world, &buckler, &format!("{callers}{}", one_service("protocol: tcp")));
        eventually("the one in use alone", || buckler.metrics().sum("buckler_config_held", &[]) == 1.0);
    }
    tunnel.send("on").read_until(b"on");
    drop(tunnel);
    let line = buckler.logged("the tunnel", |line| line["proto"] == "TCP");
    assert_eq!((&line["caller"], &line["tier"]), (&"web".into(), &"gold".into()));
    let counted =
        |caller: &str| buckler.metrics().sum("buckler_caller_requests_total", &[("caller", caller)]);
    assert_eq!((counted("web"), counted("app")), (1.0, 0.0));
}

#[test]
fn a_long_tunnel_of_a_service_that_left_keeps_no_idle_worker_connection() {
    let world = World::new();
    let worker = world.worker("b");
    // One shard, so that both connections are of one place.
    let alone = format!("threads: 1\n{}", one_service(""));
    let buckler = world.buckler(&format!("{alone}{TWO}"));
    let mut tunnel = tunnel(&world, "b", buckler.port_of("two"));
    Raw::connect(buckler.port_of("two")).answer(&get("/")).is(200);
    assert_eq!(worker.connections(), 2);
    reload(&world, &buckler, &alone);
    eventually("the idle connection closed", || worker.open() == 1);
    tunnel.send(b"\x81\x00ping").read_until(b"\x81\x00ping");
}
