//! Reloads: what may change while Buckler runs, what may not, and that nothing is lost or half done either way.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::bind::{Bind, ZONE};
use crate::world::{Buckler, Raw, World, eventually, get, one_service, service};

/// Reloads under load. A thousand would say no more than this: each is the same, and a test run has to end.
const RELOADS: usize = 200;

/// A second and a third service; the ports are `{port:two}` and `{port:three}`, the workers `b` and `c`.
fn more(two: &str, three: &str) -> String {
    format!(
        "  two:\n    listen: 127.0.0.1:{{port:{two}}}\n    workers: {{ addresses: [\"{{worker:b}}\"] }}\n  \
         three:\n    listen: 127.0.0.1:{{port:{three}}}\n    workers: {{ addresses: [\"{{worker:c}}\"] }}\n"
    )
}

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
