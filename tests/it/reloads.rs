//! Reloads: what may change while Buckler runs, what may not, and that nothing is lost or half done either way.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::bind::{Bind, ZONE};
use crate::world::http2::Http2;
use crate::world::{Buckler, Raw, SWITCH, Step, World, eventually, get, one_service, service};

/// Reloads under load. A thousand would say no more than this: each is the same, and a test run has to end.
const RELOADS: usize = 200;

/// A second and a third service; the ports are `{port:two}` and `{port:three}`, the workers `b` and `c`.
fn more(two: &str, three: &str) -> String {
    format!(
        "  two:\n    listen: 127.0.0.1:{{port:{two}}}\n    workers: {{ addresses: [\"{{worker:b}}\"] }}\n  \
         three:\n    listen: 127.0.0.1:{{port:{three}}}\n    workers: {{ addresses: [\"{{worker:c}}\"] }}\n"
    )
}

/// All clients of the tests are the caller `web`, whose tier is `gold`.
const WEB: &str = "callers:\n  tiers: { gold: { rate: 1000000/s } }\n  \
                   known: { web: { addresses: [127.0.0.1], tier: gold } }\n";

/// Tells clients to stop, also when the test fails meanwhile: a scope waits for all its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn answers(buckler: &Buckler, port: &str, worker: &str) {
    let answer = Raw::connect(buckler.port_of(port)).answer(&get("/")).is(200);
    assert_eq!(answer.worker(), Some(worker), "on {port}");
}

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
fn failure(buckler: &Buckler) -> String {
    let last = buckler.status_json()["config"]["last_reload"].clone();
    assert_eq!(last["ok"], false, "{last}");
    last["failure"].as_str().unwrap().to_owned()
}

#[track_caller]
fn succeeded(buckler: &Buckler) {
    let last = buckler.status_json()["config"]["last_reload"].clone();
    assert_eq!(last["ok"], true, "{last}");
}

/// `buckler reload` for this admin port: exit code and what it says.
fn ask(world: &World, port: u16, token: Option<&str>) -> (i32, String) {
    let admin = format!("127.0.0.1:{port}");
    let mut arguments = vec!["reload", "--admin", &admin];
    arguments.extend(token.iter().flat_map(|file| ["--token-file", *file]));
    let (code, _, said) = world.command(&arguments);
    (code, said)
}

#[test]
fn two_hundred_reloads_of_everything_fail_no_request() {
    let world = World::new();
    let first = format!("{}{}", one_service(""), more("two", "three"));
    let buckler = world.buckler(&first);
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let client = |fresh: bool| {
            let mut raw = buckler.connect();
            while !done.load(Ordering::Relaxed) {
                if fresh {
                    raw = buckler.connect();
                }
                let answer = raw.answer(&get("/"));
                if answer.status != 200 || answer.cut.is_some() {
                    failures.lock().unwrap().push(format!("{}{}", answer.head, answer.text()));
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        };
        let _stop = Stop(&done);
        (0..4).for_each(|n| drop(scope.spawn(move || client(n % 2 == 0))));
        for n in 0..RELOADS {
            let rest = match n % 4 {
                0 => String::new(),
                1 => more("two", "three"),
                2 => more("three", "two"),
                _ => more("two", "three").replace("{worker:b}", "{worker:d}"),
            };
            let workers: &[&str] = if n % 3 == 0 { &["a", "b"] } else { &["a, weight: 3"] };
            let rate = format!("limits: {{ default: {{ rate: {}/s, burst: 4000000 }} }}", 1_000_000 + n);
            world.reload(&buckler, &format!("{}{rest}", service(workers, &rate)));
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} failed, such as\n{}", failures.len(), failures[0]);
    assert!(served.into_inner() > RELOADS);
    succeeded(&buckler);
    assert!(!buckler.stderr().contains("the reload failed"), "{}", buckler.stderr());
}

#[test]
fn services_swap_move_and_take_over_ports() {
    let world = World::new();
    let buckler = world.buckler(&format!("{}{}", one_service(""), more("two", "three")));
    answers(&buckler, "two", "b");
    answers(&buckler, "three", "c");
    let mut held = Raw::connect(buckler.port_of("two"));
    held.answer(&get("/")).is(200);
    world.reload(&buckler, &format!("{}{}", one_service(""), more("three", "two")));
    succeeded(&buckler);
    answers(&buckler, "two", "c");
    answers(&buckler, "three", "b");
    assert_eq!(held.answer(&get("/")).is(200).worker(), Some("b"), "a connection stays with its service");
    let moved = one_service("").replace("{port}", "{port:two}");
    world.reload(&buckler, &moved);
    succeeded(&buckler);
    answers(&buckler, "two", "a");
    eventually("the port that nobody wants given up", || {
        Raw::try_connect(Ipv4Addr::LOCALHOST, buckler.port_of("three")).is_err()
    });
    let wide = one_service("").replace("127.0.0.1:{port}", "0.0.0.0:{port:two}");
    world.reload(&buckler, &wide);
    succeeded(&buckler);
    answers(&buckler, "two", "a");
}

#[test]
fn ports_that_change_hands_lose_no_connection() {
    let world = World::new();
    let buckler = world.buckler(&format!("{}{}", one_service(""), more("two", "three")));
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _stop = Stop(&done);
        for port in ["two", "three"].map(|port| buckler.port_of(port)) {
            let (done, served) = (&done, &served);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let answer = Raw::connect(port).answer(&get("/").header("connection", "close")).is(200);
                    assert!(["b", "c"].map(Some).contains(&answer.worker()));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 0..40 {
            let rest = if n % 2 == 0 { more("three", "two") } else { more("two", "three") };
            world.reload(&buckler, &format!("{}{rest}", one_service("")));
        }
    });
    assert!(served.into_inner() > 40);
    succeeded(&buckler);
}

#[test]
fn a_reload_that_fails_takes_no_connection_from_what_runs() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let buckler = world.buckler(&format!("{}{}", one_service(""), more("two", "three")));
    let swapped = format!("{}{}", one_service(""), more("three", "two"));
    let address = taken.local_addr().unwrap().to_string();
    let extra = format!("  zzz:\n    listen: {address}\n    workers: {{ addresses: [\"{{worker:a}}\"] }}\n");
    for _ in 0..10 {
        world.reload(&buckler, &format!("{swapped}{extra}"));
        assert!(failure(&buckler).contains(&address));
        for _ in 0..5 {
            answers(&buckler, "two", "b");
            answers(&buckler, "three", "c");
        }
    }
}

#[test]
fn what_cannot_change_while_running_is_refused_and_named() {
    let world = World::new();
    let buckler = world.one_service("");
    for (change, key) in [
        ("threads: 1\n", "threads"),
        ("callers: { ledger: { max_keys: 4096 } }\n", "max_keys"),
        ("log: { format: json }\n", "log.format"),
    ] {
        world.reload(&buckler, &format!("{change}{}", one_service("permissions: { default: deny }")));
        let why = failure(&buckler);
        assert!(why.contains(key) && why.contains("restart"), "{why}");
        buckler.answer(get("/")).is(200);
    }
    world.reload(&buckler, &one_service("permissions: { default: deny }"));
    buckler.answer(get("/")).is(403);
}

#[test]
fn the_admin_listener_moves_and_tells_who_asked() {
    let world = World::new();
    let admin = |port: &str| format!("admin: {{ listen: \"127.0.0.1:{{{port}}}\" }}\n");
    // The other port is reserved by a service that is gone after the first reload.
    let buckler = world.buckler(&format!("{}{}{}", admin("admin"), one_service(""), more("two", "three")));
    let filled = |text: &str| {
        let ports = ["admin", "port", "port:two", "port:three"];
        ports.iter().fold(text.replace("{worker:a}", &world.worker("a").address()), |text, port| {
            let number = buckler.port_of(port.trim_start_matches("port:")).to_string();
            text.replace(&format!("{{{port}}}"), &number)
        }) + "threads: 2\n"
    };
    std::fs::write(buckler.config_file(), filled(&format!("{}{}", admin("port:two"), one_service(""))))
        .unwrap();
    let (code, said) = ask(&world, buckler.admin(), None);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("reloaded"), "{said}");
    let two = buckler.port_of("two");
    eventually("the old port given up", || Raw::try_connect(Ipv4Addr::LOCALHOST, buckler.admin()).is_err());
    let status = |port: u16, token: &str| {
        let ask = get("/api/v1/status").header("host", "localhost").header("authorization", token);
        Raw::connect(port).answer(&ask).status
    };
    assert_eq!(status(two, ""), 200);

    // A token comes, changes, and may be wrong: the listener stays open and the asker is always told.
    let token = world.file("token", "one\n");
    let name = token.to_str().unwrap();
    let with =
        format!("admin: {{ listen: \"127.0.0.1:{two}\", token_file: \"{name}\" }}\n{}", one_service(""));
    std::fs::write(buckler.config_file(), filled(&with)).unwrap();
    assert_eq!(ask(&world, two, None).0, 0);
    assert_eq!((status(two, ""), status(two, "Bearer one")), (401, 200));
    std::fs::write(&token, "two\n").unwrap();
    let one = world.file("one", "one\n");
    assert_eq!(ask(&world, two, one.to_str()).0, 0, "who asks with the old token is still answered");
    assert_eq!((status(two, "Bearer one"), status(two, "Bearer two")), (401, 200));
    assert_eq!(ask(&world, two, one.to_str()).0, 4, "the old token is no good any more");
    let deny = with.replace("    workers", "    permissions: { default: deny }\n    workers");
    std::fs::write(buckler.config_file(), filled(&deny)).unwrap();
    std::fs::rename(&token, world.dir().join("two")).unwrap();
    let (code, said) = ask(&world, two, world.dir().join("two").to_str());
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("token"), "{said}");
    buckler.answer(get("/")).is(200);
    assert_eq!((status(two, ""), status(two, "Bearer two")), (401, 200), "the door is as it was");
}

#[test]
fn an_admin_port_that_is_taken_fails_the_whole_reload() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let buckler = world.one_service("");
    let address = taken.local_addr().unwrap();
    let admin = format!("admin: {{ listen: \"{address}\" }}\n");
    world.reload(&buckler, &format!("{admin}{}", one_service("permissions: { default: deny }")));
    assert!(failure(&buckler).contains(&address.to_string()));
    buckler.answer(get("/")).is(200);
}

#[test]
fn buckler_reload_reloads_the_running_one() {
    let world = World::new();
    let buckler = world.one_service("");
    let file = buckler.config_file().to_str().unwrap();
    let (code, _, said) = world.command(&["reload", "-c", file]);
    assert_eq!(code, 0, "{said}");
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replace("threads: 2", "threads: 3")).unwrap();
    let (code, _, said) = world.command(&["reload", "-c", file]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("threads"), "{said}");
    std::fs::write(file, text.replace("workers", "wrkers")).unwrap();
    let (code, _, said) = world.command(&["reload", "-c", file]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("wrkers") && said.contains("workers"), "{said}");
    buckler.answer(get("/")).is(200);
}

#[test]
fn other_dns_servers_are_asked_after_a_reload() {
    let world = World::new();
    let record = |name: &str| {
        let port = world.worker(name).address().rsplit(':').next().unwrap().to_owned();
        Bind::serving(&format!("_api._http 60 SRV 1 1 {port} host\nhost 60 A 127.0.0.1\n"))
    };
    let (first, second) = (record("a"), record("b"));
    let config = |bind: &Bind| {
        format!(
            "dns: {{ servers: [\"{}\"] }}\nservices:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
             workers: {{ srv: _api._http.{ZONE} }}\n",
            bind.address()
        )
    };
    let buckler = world.buckler(&config(&first));
    eventually("the first answer", || buckler.answer(get("/")).status == 200);
    assert_eq!(buckler.answer(get("/")).worker(), Some("a"));
    world.reload(&buckler, &config(&second));
    eventually("the worker that the other server names", || {
        buckler.answer(get("/")).is(200).worker() == Some("b")
    });
}

#[test]
fn workers_that_stay_keep_their_health_and_counts() {
    let world = World::new();
    let buckler = world.buckler(&service(&["a", "b"], ""));
    world.worker("b").refuses();
    let worker = |name: &str| {
        let address = world.worker(name).address();
        let status = buckler.status_json();
        let workers = status["services"][0]["workers"].as_array().unwrap().clone();
        workers.into_iter().find(|worker| worker["address"] == address.as_str())
    };
    eventually("b noticed", || {
        buckler.answer(get("/")).is(200);
        worker("b").unwrap()["state"] != "healthy"
    });
    let (a, b) = (worker("a").unwrap(), worker("b").unwrap());
    world.reload(&buckler, &service(&["c", "b, weight: 5", "a"], ""));
    assert_eq!(worker("a").unwrap()["attempts"], a["attempts"]);
    assert_eq!(worker("b").unwrap()["connect_failures"], b["connect_failures"]);
    assert_ne!(worker("b").unwrap()["state"], "healthy", "a reload healed a worker");
    assert_eq!(worker("c").unwrap()["attempts"], 0);
    world.reload(&buckler, &service(&["a"], ""));
    assert!(worker("b").is_none());
    assert_eq!(buckler.answer(get("/")).is(200).worker(), Some("a"));
}

#[test]
fn requests_in_progress_count_over_a_reload() {
    let world = World::new();
    let worker = world.worker("a");
    let limits = "limits: { default: { concurrent: 1 }, total: { rate: 1000/s, concurrent: 5 } }";
    let buckler = world.one_service(limits);
    let mut busy = world.held(&buckler, "/");
    world.reload(&buckler, &one_service(&format!("{limits}\npermissions: {{ default: allow }}")));
    assert_eq!(buckler.answer(get("/")).is(429).reason(), "caller_concurrency");
    worker.open_gate();
    busy.read_response().is(200);
    eventually("the place given back", || buckler.answer(get("/")).status == 200);
}

#[test]
fn what_a_reload_replaced_leaves_memory_with_the_last_request_that_needs_it() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.buckler(&format!("{WEB}{}", one_service("")));
    let held = || buckler.metrics().sum("buckler_config_held", &[]);
    assert_eq!(held(), 1.0);
    // Connections that stay idle, with and without a request behind them, one that is a tunnel, and one in the middle of
    // a request.
    let (mut idle, _silent, mut busy) = (buckler.connect(), buckler.connect(), buckler.connect());
    idle.answer(&get("/")).is(200);
    let mut http2 = Http2::connect(buckler.port());
    assert!(http2.get("/"));
    let mut tunnel = tunnel(&world, "a", buckler.port());
    worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
    busy.send(get("/slow").bytes());
    eventually("the request at the worker", || worker.count() == 4);
    for n in 0..5 {
        let rest = if n % 2 == 0 { String::new() } else { more("three", "two") };
        let limits = format!("limits: {{ default: {{ rate: {}/s, burst: 4000000 }} }}", 1_000_000 + n);
        world.reload(&buckler, &format!("{WEB}{}{rest}", one_service(&limits)));
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
        world.reload(&buckler, &format!("{callers}{}", one_service("protocol: tcp")));
        succeeded(&buckler);
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
fn a_request_is_logged_where_it_was_begun() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut busy = world.held(&buckler, "/slow");
    let other = "access_log: { path: \"{dir}/other.log\" }\n";
    world.reload(&buckler, &format!("{other}{}", one_service("")));
    buckler.answer(get("/quick")).is(200);
    let read = || std::fs::read_to_string(world.dir().join("other.log")).unwrap_or_default();
    eventually("the line in the new log", || read().contains("/quick"));
    worker.open_gate();
    busy.read_response().is(200);
    buckler.logged("the request from before the reload", |line| line["path"] == "/slow");
    assert!(!read().contains("/slow"));
}

#[test]
fn a_long_tunnel_of_a_service_that_left_keeps_no_idle_worker_connection() {
    let world = World::new();
    let worker = world.worker("b");
    // One shard, so that both connections are of one place.
    let alone = format!("threads: 1\n{}", one_service(""));
    let buckler = world.buckler(&format!("{alone}{}", more("two", "three")));
    let mut tunnel = tunnel(&world, "b", buckler.port_of("two"));
    answers(&buckler, "two", "b");
    assert_eq!(worker.connections(), 2);
    world.reload(&buckler, &alone);
    succeeded(&buckler);
    eventually("the idle connection closed", || worker.open() == 1);
    tunnel.send(b"\x81\x00ping").read_until(b"\x81\x00ping");
}
