//! Until when a request holds its place (`capacity`) and its seat at a worker (`concurrent_per_worker`), whatever
//! becomes of it: tunnels, HEAD, fallbacks, refusals, a drain, HTTP/2, bytes, a reload. See also `capacity.rs`.

use serde_json::Value;

use crate::http2_workers::peers::{Act, Http2Worker};
use crate::world::{Buckler, Raw, Step, Worker, World, eventually, get, one_service, request, service};

/// One place, and nobody waits for it.
const ONE: &str = "capacity: { concurrent: 1 }";

/// A request to go on as a WebSocket.
const SWITCH_ASKED: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const GATED: [Step; 3] = [Step::TakeBody, Step::Gate, Step::Echo];

fn api(buckler: &Buckler) -> Value {
    buckler.status_json()["services"][0].clone()
}

/// Waits until so many places of the service are in use.
#[track_caller]
fn eventually_in_use(buckler: &Buckler, count: u64) {
    eventually(&format!("{count} places in use"), || api(buckler)["capacity"]["in_use"] == count);
}

/// The seats taken at each worker, in the order of the workers.
fn taken(buckler: &Buckler) -> Vec<u64> {
    let workers = api(buckler)["workers"].as_array().unwrap().clone();
    workers.iter().map(|worker| worker["seats"]["taken"].as_u64().unwrap_or_default()).collect()
}

#[track_caller]
fn eventually_taken(buckler: &Buckler, seats: &[u64]) {
    eventually(&format!("{seats:?} seats taken"), || taken(buckler) == seats);
}

#[track_caller]
fn is_overload(buckler: &Buckler) {
    assert_eq!(buckler.answer(get("/too-many")).is(503).reason(), "overload");
}

/// Adds these keys to `workers` of a configuration.
fn with_workers(config: &str, keys: &str) -> String {
    config.replace("      addresses:", &format!("      {keys}\n      addresses:"))
}

#[test]
fn a_tunnel_holds_its_place_to_its_end() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::Agree(Vec::new()), Step::Mirror]);
    let buckler = world.one_service(ONE);
    let mut raw = buckler.connect();
    raw.send(SWITCH_ASKED).read_response().is(101);
    is_overload(&buckler);
    raw.send(b"\x81\x00ping").read_until(b"\x81\x00ping");
    is_overload(&buckler);
    drop(raw);
    eventually_in_use(&buckler, 0);
    buckler.answer(get("/")).is(200);
    assert_eq!(worker.count(), 2, "what had no place was not sent");
}

#[test]
fn a_head_request_gives_its_place_back_with_its_answer() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&GATED);
    let buckler = world.one_service(ONE);
    let mut raw = buckler.connect();
    raw.send(request("HEAD", "/").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    is_overload(&buckler);
    worker.open_gate();
    raw.read_head().is(200);
    eventually_in_use(&buckler, 0);
    buckler.answer(get("/")).is(200);
}

#[test]
fn a_fallback_gives_its_place_back() {
    let world = World::new();
    world.worker("a").refuses();
    let buckler = world.one_service(&format!("{ONE}\nfallback: {{ status: 200, body: \"[]\" }}"));
    for _ in 0..3 {
        assert_eq!(buckler.answer(get("/")).is(200).text(), "[]");
        eventually_in_use(&buckler, 0);
    }
    assert_eq!((buckler.refused("overload"), buckler.refused("worker_connect")), (0.0, 3.0));
}

#[test]
fn who_is_refused_by_the_total_after_it_had_a_place_gives_it_back() {
    let world = World::new();
    let callers = "callers: { identify: [address], address: { ipv4_prefix: 32, ipv6_prefix: 64 } }\n";
    let limits = "limits: { default: { rate: 1/h, burst: 2 }, total: { rate: 1/h, burst: 2 } }";
    let buckler = world.buckler(&format!("{callers}{}", one_service(&format!("{ONE}\n{limits}"))));
    for _ in 0..2 {
        buckler.answer(get("/")).is(200);
        eventually_in_use(&buckler, 0);
    }
    for _ in 0..3 {
        // Its own rate is looked at before it takes a place, the total is charged when it has one.
        assert_eq!(buckler.answer(get("/")).is(429).reason(), "caller_rate");
        assert_eq!(buckler.answer(get("/").from("127.0.0.7")).is(503).reason(), "service_limit");
        eventually_in_use(&buckler, 0);
    }
    assert_eq!(buckler.refused("overload"), 0.0);
}

#[test]
fn a_drain_ends_what_has_a_place_and_what_waits_for_one() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&GATED);
    let buckler = world.one_service("capacity: { concurrent: 1, wait: 60s }");
    let mut raws: Vec<Raw> = (0..2).map(|_| buckler.connect()).collect();
    for raw in &mut raws {
        raw.send(get("/").bytes());
    }
    eventually("one at the worker", || worker.count() == 1);
    eventually("the other in line", || api(&buckler)["capacity"]["waiting"] == 1);
    buckler.term();
    eventually("not ready", || buckler.look("/readyz").status == 503);
    assert!(buckler.runs(), "requests in progress were dropped");
    worker.open_gate();
    for raw in &mut raws {
        raw.read_response().is(200);
    }
    assert_eq!(buckler.wait_exit(), 0);
}

#[test]
fn no_worker_gets_more_than_its_seats_from_all_shards_together() {
    let world = World::new();
    let workers = [world.worker("a"), world.worker("b")];
    for worker in &workers {
        worker.always(&GATED);
    }
    let config = service(&["a", "b"], "capacity: { wait: 60s }\nhealth: { passive: false }");
    let buckler = world.buckler(&with_workers(&config, "concurrent_per_worker: 2"));
    let mut raws: Vec<Raw> = (0..24).map(|_| buckler.connect()).collect();
    for raw in &mut raws {
        raw.send(get("/").bytes());
    }
    eventually("all seats taken", || workers.iter().all(|worker| worker.count() == 2));
    eventually("the others in line", || api(&buckler)["capacity"]["waiting"] == 20);
    for passed in 1..=8 {
        for worker in &workers {
            worker.let_one_pass();
        }
        eventually("the next ones", || workers.iter().all(|worker| worker.count() >= 2 + passed));
        assert!(workers.iter().all(|worker| worker.count() == 2 + passed), "a seat too many");
    }
    workers.iter().for_each(Worker::open_gate);
    for raw in &mut raws {
        raw.read_response().is(200);
    }
    eventually_taken(&buckler, &[0, 0]);
}

#[test]
fn requests_to_http2_workers_have_seats_too_and_give_them_back_when_their_client_leaves() {
    let world = World::new();
    let workers = [Http2Worker::start(|_| Act::Wait), Http2Worker::start(|_| Act::Wait)];
    let config = format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    workers: {{ addresses: [\"127.0.0.1:{}\", \
         \"127.0.0.1:{}\"], protocol: http2, concurrent_per_worker: 1 }}\n    capacity: {{ wait: 100ms }}\n    \
         health: {{ passive: false }}\n",
        workers[0].port(),
        workers[1].port()
    );
    let buckler = world.buckler(&config);
    let ask = || {
        let mut raw = buckler.connect();
        raw.send(get("/").header("x-held", "1").bytes());
        raw
    };
    let seen = || workers.iter().map(|worker| worker.seen("x-held").len()).collect::<Vec<_>>();
    let cancelled = || workers.iter().map(Http2Worker::cancelled).sum::<usize>();
    let first = ask();
    eventually("the first", || seen().iter().sum::<usize>() == 1);
    let second = ask();
    eventually("one at each", || seen() == [1, 1]);
    eventually_taken(&buckler, &[1, 1]);
    is_overload(&buckler);
    first.reset();
    eventually("the stream cancelled", || cancelled() == 1);
    eventually("one seat", || taken(&buckler).iter().sum::<u64>() == 1);
    let third = ask();
    eventually("the next one where the first was", || seen().iter().sum::<usize>() == 3);
    eventually_taken(&buckler, &[1, 1]);
    second.reset();
    third.reset();
    eventually_taken(&buckler, &[0, 0]);
}

#[test]
fn connections_of_tcp_have_seats() {
    let world = World::new();
    let workers = [world.worker("a"), world.worker("b")];
    for worker in &workers {
        worker.always(&[Step::send("welcome\n"), Step::Mirror]);
    }
    let config = service(&["a", "b"], "protocol: tcp\ncapacity: { wait: 100ms }");
    let buckler = world.buckler(&with_workers(&config, "concurrent_per_worker: 1"));
    let open = || {
        let mut raw = buckler.connect();
        raw.send("HELLO\r\n\r\n").read_until(b"welcome\n");
        raw
    };
    let (first, _second) = (open(), open());
    assert_eq!(workers.each_ref().map(Worker::count), [1, 1], "one at each");
    assert!(buckler.connect().read_to_end().0.is_empty());
    eventually("the refusal counted", || buckler.refused("overload") == 1.0);
    drop(first);
    eventually("one seat", || taken(&buckler).iter().sum::<u64>() == 1);
    let _third = open();
    assert_eq!(workers.iter().map(Worker::count).sum::<usize>(), 3);
}

#[test]
fn a_reload_changes_the_seats_of_workers_and_loses_none() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&GATED);
    let config = |seats: u32| {
        with_workers(&one_service("capacity: { wait: 60s }"), &format!("concurrent_per_worker: {seats}"))
    };
    let buckler = world.buckler(&config(2));
    let mut raws: Vec<Raw> = (0..4).map(|_| buckler.connect()).collect();
    let mut ask = |number: usize| {
        raws[number].send(get(&format!("/{number}")).bytes());
    };
    ask(0);
    ask(1);
    eventually("both at the worker", || worker.count() == 2);
    world.reload(&buckler, &config(1));
    assert_eq!(taken(&buckler), [2], "a lower number turns nobody out");
    ask(2);
    eventually("the third in line", || api(&buckler)["capacity"]["waiting"] == 1);
    worker.let_one_pass();
    eventually_taken(&buckler, &[1]);
    // The seat that came free was one too many: the third is in line when the fourth comes behind it.
    ask(3);
    eventually("both in line", || api(&buckler)["capacity"]["waiting"] == 2);
    assert_eq!(worker.count(), 2);
    world.reload(&buckler, &config(3));
    eventually("a higher number lets in at once", || worker.count() == 4);
    eventually_taken(&buckler, &[3]);
    worker.open_gate();
    for raw in &mut raws {
        raw.read_response().is(200);
    }
    eventually_taken(&buckler, &[0]);
}
