//! Active checks, over real sockets: what they ask of workers of every kind, and what follows for those that fail.
//! Single checks and their words are tested in `src/workers/check`.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::bind::{Bind, ZONE};
use crate::neighbours::nginx;
use crate::python::Server;
use crate::world::{Buckler, Worker, World, eventually, free_port, get, steady};

/// A check's time, which is its interval too: short, and yet more than a healthy worker takes on a busy machine.
const BEAT: &str = "interval: 150ms, timeout: 150ms";

const SICK: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nsick";

/// A service `api` with these workers, in the form of a list's entries; `check` stands in its check.
fn config(workers: &str, check: &str) -> String {
    format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ addresses: [{workers}], slow_start: 0s }}\n    health: {{ check: {{ {check} }} }}\n"
    )
}

/// The workers `a` and `b`, checked over HTTP.
fn two(check: &str) -> String {
    config("\"{worker:a}\", \"{worker:b}\"", check)
}

/// How this worker stands, and why.
fn standing(buckler: &Buckler, address: &str) -> (String, String) {
    let status = buckler.status_json();
    let workers = status["services"][0]["workers"].as_array().cloned().unwrap_or_default();
    let worker = workers.iter().find(|worker| worker["address"] == address);
    let text = |key: &str| worker.and_then(|worker| worker[key].as_str()).unwrap_or_default().to_owned();
    (text("state"), text("why"))
}

#[track_caller]
fn is_ejected(buckler: &Buckler, address: &str, why: &str) {
    let mut last = Default::default();
    eventually(&format!("{address} ejected: {why}"), || {
        last = standing(buckler, address);
        last.0 == "ejected" && last.1.contains(why)
    });
}

#[track_caller]
fn is_healthy(buckler: &Buckler, address: &str) {
    eventually(&format!("{address} healthy"), || standing(buckler, address).0 == "healthy");
}

/// A worker that is ejected gets nothing while the other serves, and is used again when it passes.
#[track_caller]
fn goes_and_comes_back(buckler: &Buckler, a: &Worker) {
    a.answers_checks(SICK);
    is_ejected(buckler, &a.address(), "status 503");
    // On a busy machine b's checks may be late too: for so long, both are used.
    eventually("nothing goes to it", || {
        let before = a.count();
        (0..20).for_each(|_| drop(buckler.answer(get("/")).is(200)));
        a.count() == before
    });
    a.passes_checks();
    eventually("in use again", || buckler.answer(get("/")).is(200).worker() == Some("a"));
    is_healthy(buckler, &a.address());
}

/// Fails as long as this worker is checked.
#[track_caller]
fn nobody_asks(worker: &Worker) {
    steady("the number of checks", Duration::from_millis(600), || worker.checks().len() as u64);
}

#[test]
fn a_worker_that_fails_its_checks_gets_nothing_and_comes_back_when_it_passes() {
    let world = World::new();
    let buckler = world.buckler(&two(&format!("path: /healthz, {BEAT}")));
    let a = world.worker("a");
    goes_and_comes_back(&buckler, &a);
    for check in a.checks() {
        assert_eq!((check.method.as_str(), check.target.as_str()), ("GET", "/healthz"));
        assert_eq!(check.field("host"), Some(a.address().as_str()));
        assert_eq!(check.field("connection"), Some("close"));
    }
}

#[test]
fn status_and_body_are_as_the_check_wants_them() {
    let world = World::new();
    let check = format!("path: /, host: a.test, status: [200, 500-599], body: all well, {BEAT}");
    world.worker("a").answers_checks("HTTP/1.1 503 So\r\ncontent-length: 9\r\n\r\nall well.");
    let buckler = world.buckler(&two(&check));
    let b = world.worker("b");
    is_ejected(&buckler, &b.address(), "the body does not hold `all well`");
    assert!(b.checks().iter().all(|check| check.field("host") == Some("a.test")));
    b.answers_checks("HTTP/1.1 204 No Content\r\n\r\n");
    is_ejected(&buckler, &b.address(), "status 204");
    is_healthy(&buckler, &world.worker("a").address());
}

#[test]
fn a_worker_that_takes_no_connection_is_found_without_a_request() {
    let world = World::new();
    let buckler = world.buckler(&two(&format!("kind: tcp, {BEAT}")));
    let a = world.worker("a");
    a.refuses();
    is_ejected(&buckler, &a.address(), "connection refused");
    a.accepts();
    is_healthy(&buckler, &a.address());
    assert_eq!(a.count() + world.worker("b").count(), 0);
}

#[test]
fn grpc_servers_are_asked_for_their_health() {
    let world = World::new();
    let state = world.dir().join("state");
    let says = |lines: &str| {
        // At once as a whole: the server may be reading.
        let new = world.file("state.new", lines);
        std::fs::rename(new, &state).unwrap();
    };
    says("shop.Orders 1\n");
    let mut server = Server::start("health_server.py", &[state.to_str().unwrap()]);
    // A server of Python's takes longer.
    let check = "kind: grpc, service: shop.Orders, interval: 400ms, timeout: 400ms";
    let text = config(&format!("\"{}\"", server.address()), check)
        .replace("slow_start", "protocol: http2, slow_start");
    // Only a check that was passed makes it ready.
    let text = text.replace("kind: grpc", "required_at_start: true, kind: grpc");
    let buckler = world.buckler_starting(&text);
    buckler.wait_alive();
    is_healthy(&buckler, &server.address());
    for (lines, why) in [
        ("shop.Orders 2\n", "NOT_SERVING"),
        (" 1\nshop.Orders 0\n", "UNKNOWN"),
        (" 1\n", "NOT_FOUND"),
        ("not a number\n", "gRPC status 2"),
    ] {
        says(lines);
        is_ejected(&buckler, &server.address(), why);
    }
    says(" 2\nshop.Orders 1\n");
    is_healthy(&buckler, &server.address());
    server.kill();
    is_ejected(&buckler, &server.address(), "connection refused");
}

#[test]
fn a_worker_that_speaks_http1_after_all_is_told_so() {
    let world = World::new();
    let text = two(&format!("kind: grpc, {BEAT}")).replace("slow_start", "protocol: http2, slow_start");
    let buckler = world.buckler(&text);
    is_ejected(&buckler, &world.worker("a").address(), "the answer is not HTTP/2");
}

/// nginx that fails checks while the world has a file `sick`, listening as `listen` says.
fn nginx_lines(world: &World, listen: &str) -> String {
    format!(
        "    listen {listen};\n    \
         location /healthz {{ if (-f {}/sick) {{ return 503; }} return 200 \"$server_protocol $http_host\"; }}",
        world.dir().display()
    )
}

/// Fails and passes as the file `sick` comes and goes.
#[track_caller]
fn follows_the_file(world: &World, buckler: &Buckler, address: &str) {
    is_healthy(buckler, address);
    let sick = world.file("sick", "");
    is_ejected(buckler, address, "status 503");
    std::fs::remove_file(sick).unwrap();
    is_healthy(buckler, address);
}

#[test]
fn a_worker_on_a_unix_socket_is_checked_under_the_name_of_the_service() {
    let world = World::new();
    let socket = world.dir().join("worker.sock");
    let lines = nginx_lines(&world, &format!("unix:{}", socket.display()));
    let _nginx = nginx(&world, &lines, || UnixStream::connect(&socket).is_ok());
    let address = format!("unix:{}", socket.display());
    let check = format!("path: /healthz, body: HTTP/1.1 api, {BEAT}");
    let buckler = world.buckler(&config(&format!("\"{address}\""), &check));
    follows_the_file(&world, &buckler, &address);
}

#[test]
fn a_worker_of_http2_is_checked_in_http2() {
    let world = World::new();
    let port = free_port();
    let lines = nginx_lines(&world, &format!("127.0.0.1:{port} http2"));
    let _nginx = nginx(&world, &lines, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let address = format!("127.0.0.1:{port}");
    let check = format!("path: /healthz, body: \"HTTP/2.0 {address}\", {BEAT}");
    let text = config(&format!("\"{address}\""), &check);
    let buckler = world.buckler(&text.replace("slow_start", "protocol: http2, slow_start"));
    follows_the_file(&world, &buckler, &address);
}

#[test]
fn workers_from_dns_are_checked_like_listed_ones() {
    let world = World::new();
    let (a, b, c) = (world.worker("a"), world.worker("b"), world.worker("c"));
    let port = |worker: &Worker| worker.address().rsplit(':').next().unwrap().to_owned();
    let record = |worker: &Worker| format!("_api._http 1 SRV 0 1 {} host\n", port(worker));
    let bind = Bind::serving(&format!("{}{}host 1 A 127.0.0.1\n", record(&a), record(&b)));
    let text = config("", &format!("path: /healthz, {BEAT}"));
    let srv = format!("srv: _api._http.{ZONE}");
    let text = text.replace("addresses: []", &srv);
    let text = format!("dns: {{ servers: [\"{}\"], max_ttl: 1s }}\n{text}", bind.address());
    let buckler = world.buckler(&text);
    eventually("the first answer", || buckler.answer(get("/")).status == 200);
    goes_and_comes_back(&buckler, &a);
    // One that comes later is asked too, and one that has left is not any more.
    c.answers_checks(SICK);
    bind.update(&format!(
        "update add _api._http.{ZONE} 1 SRV 0 1 {} host.{ZONE}.\n\
         update delete _api._http.{ZONE} SRV 0 1 {} host.{ZONE}.",
        port(&c),
        port(&a)
    ));
    is_ejected(&buckler, &c.address(), "status 503");
    nobody_asks(&a);
    let of_b = b.checks().len();
    eventually("more checks of the one that stays", || b.checks().len() > of_b);
}

#[test]
fn a_worker_is_used_at_once_unless_a_check_must_be_passed_first() {
    let world = World::new();
    let a = world.worker("a");
    a.answers_checks(SICK);
    let one = |check: &str| config("\"{worker:a}\"", check);
    let usable = world.buckler(&one("interval: 1h"));
    usable.answer(get("/")).is(200);
    let waits = world.buckler_starting(&one(&format!("required_at_start: true, {BEAT}")));
    waits.wait_alive();
    let before = a.checks().len();
    eventually("three failures", || a.checks().len() >= before + 3);
    let seen = a.count();
    for _ in 0..5 {
        waits.answer(get("/")).is(503);
    }
    assert_eq!(a.count(), seen, "nothing was sent to it");
    a.passes_checks();
    eventually("ready", || waits.answer(get("/")).status == 200);
}

#[test]
fn when_all_fail_all_are_used() {
    let world = World::new();
    let (a, b) = (world.worker("a"), world.worker("b"));
    a.answers_checks(SICK);
    b.answers_checks(SICK);
    let buckler = world.buckler(&two(&format!("path: /healthz, {BEAT}")));
    is_ejected(&buckler, &a.address(), "status 503");
    is_ejected(&buckler, &b.address(), "status 503");
    for _ in 0..20 {
        buckler.answer(get("/")).is(200);
    }
    assert!(a.count() > 0 && b.count() > 0, "{} and {}", a.count(), b.count());
    assert_eq!(buckler.status_json()["services"][0]["panic"], 0, "the priority that is used whole");
    assert!(buckler.metrics().sum("buckler_panic", &[]) > 0.5);
    a.passes_checks();
    eventually("one of two is well", || buckler.metrics().sum("buckler_panic", &[]) < 0.5);
    assert!(buckler.status_json()["services"][0]["panic"].is_null());
}

#[test]
fn checks_have_connections_of_their_own() {
    let world = World::new();
    let buckler = world.buckler(&config("\"{worker:a}\"", &format!("path: /healthz, {BEAT}")));
    let a = world.worker("a");
    let mut raw = buckler.connect();
    for checks in [1, 3, 5] {
        eventually("checks", || a.checks().len() >= checks);
        raw.answer(&get("/")).is(200);
    }
    let mut connections: Vec<_> = a.checks().iter().map(|check| check.connection).collect();
    let all = connections.len();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), all, "one check each");
    let requests: Vec<_> = a.seen().iter().map(|seen| seen.connection).collect();
    assert!(requests.iter().all(|request| !connections.contains(request)));
    assert!(requests.iter().all(|request| *request == requests[0]), "the pool keeps its own: {requests:?}");
}

#[test]
fn a_reload_asks_nobody_again_unless_the_check_has_changed() {
    let world = World::new();
    let once = |path: &str, more: &str| {
        format!("{}    bounds: {{ uri_bytes: {more} }}\n", two(&format!("path: {path}, interval: 1h")))
    };
    let (a, b) = (world.worker("a"), world.worker("b"));
    let buckler = world.buckler(&once("/one", "4KiB"));
    eventually("the first checks", || a.checks().len() == 1 && b.checks().len() == 1);
    for more in ["5KiB", "6KiB", "7KiB"] {
        world.reload(&buckler, &once("/one", more));
    }
    world.reload(&buckler, &once("/two", "7KiB"));
    for worker in [&a, &b] {
        let paths = || worker.checks().into_iter().map(|check| check.target).collect::<Vec<_>>();
        eventually("the other check", || paths().contains(&"/two".to_owned()));
        assert_eq!(paths(), ["/one", "/two"]);
    }
}

#[test]
fn a_reload_keeps_what_checks_found_and_the_end_of_checks_frees_the_ejected() {
    let world = World::new();
    let checked = two(&format!("path: /healthz, {BEAT}"));
    let a = world.worker("a");
    a.answers_checks(SICK);
    let buckler = world.buckler(&checked);
    is_ejected(&buckler, &a.address(), "status 503");
    let since = |buckler: &Buckler| -> Value {
        let workers = buckler.status_json()["services"][0]["workers"].as_array().unwrap().clone();
        workers.into_iter().find(|worker| worker["address"] == a.address().as_str()).unwrap()["since"].take()
    };
    let before = since(&buckler);
    world.reload(&buckler, &format!("{checked}    bounds: {{ uri_bytes: 4KiB }}\n"));
    assert_eq!((standing(&buckler, &a.address()).0.as_str(), since(&buckler)), ("ejected", before));
    let (health, _) = checked.split_at(checked.find("    health:").unwrap());
    world.reload(&buckler, health);
    eventually("in use again", || buckler.answer(get("/")).is(200).worker() == Some("a"));
    nobody_asks(&a);
}
