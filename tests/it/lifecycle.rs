//! Start, reload, drain, end: nothing is lost, and what goes wrong is said with a code that scripts can rely on.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::world::{End, PARKED, Raw, Step, World, eventually, get, linger, one_service, service};

/// The grace of a drain by default is 30 s; whatever ends "at once" ends well within this.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A second service on `{port:two}`.
const TWO: &str =
    "  two:\n    listen: 127.0.0.1:{port:two}\n    workers: { addresses: [{ address: \"{worker:b}\" }] }\n";

#[test]
fn reloads_under_load_lose_nothing() {
    let world = World::new();
    world.worker("b");
    let buckler = world.one_service("");
    let (done, failures) = (AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
    let served: usize = std::thread::scope(|scope| {
        let client = |fresh: bool| {
            let mut raw = buckler.connect();
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                if fresh {
                    raw = buckler.connect();
                }
                let answer = raw.answer(&get("/"));
                if answer.status != 200 || answer.cut.is_some() {
                    failures.lock().unwrap().push(format!("{}{}", answer.head, answer.text()));
                }
                served += 1;
            }
            served
        };
        let clients: Vec<_> = (0..4).map(|n| scope.spawn(move || client(n % 2 == 0))).collect();
        for n in 0..20 {
            let more = if n % 2 == 0 { TWO } else { "" };
            let workers: &[&str] = if n % 3 == 0 { &["a", "b"] } else { &["a"] };
            world.reload(&buckler, &format!("{}{more}", service(workers, "")));
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {served} failed, such as\n{}", failures.len(), failures[0]);
    assert!(served > 100, "only {served} requests");
}

#[test]
fn a_connection_lives_over_a_reload_and_sees_the_new_truth() {
    let world = World::new();
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    raw.answer(&get("/")).is(200);
    world.reload(&buckler, &one_service("permissions: { default: deny }"));
    raw.answer(&get("/")).is(403);
    world.reload(&buckler, &one_service(""));
    raw.answer(&get("/")).is(200);
}

#[test]
fn a_request_in_progress_outlives_a_reload() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = world.held(&buckler, "/");
    world.reload(&buckler, &service(&["b"], ""));
    worker.open_gate();
    assert_eq!(raw.read_response().is(200).worker(), Some("a"));
    assert_eq!(raw.answer(&get("/")).is(200).worker(), Some("b"));
}

#[test]
fn a_bad_file_changes_nothing_and_is_seen() {
    let world = World::new();
    let buckler = world.one_service("limits: { default: { rate: 1/h, burst: 3 } }");
    buckler.answer(get("/")).is(200);
    for bad in ["services: [", "services:\n  api: { listen: nowhere }\n", "servces: {}\n", ""] {
        world.reload(&buckler, bad);
        let metrics = buckler.metrics();
        assert!(metrics.sum("buckler_config_last_reload_success", &[]) < 0.5, "after {bad:?}");
        let ready = buckler.look("/readyz?verbose").is(200).text();
        assert!(ready.contains("failed"), "{ready}");
        assert_eq!(buckler.status_json()["config"]["last_reload"]["ok"], false);
    }
    buckler.answer(get("/")).is(200);
    buckler.answer(get("/")).is(200);
    buckler.answer(get("/")).is(429);
    world.reload(&buckler, &one_service("limits: { default: { rate: 1/h, burst: 3 } }"));
    assert!(buckler.metrics().sum("buckler_config_last_reload_success", &[]) > 0.5);
    assert!(!buckler.look("/readyz?verbose").is(200).text().contains("failed"));
    buckler.answer(get("/")).is(429);
}

#[test]
fn a_reload_that_cannot_bind_changes_nothing() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let buckler = world.one_service("");
    let address = taken.local_addr().unwrap();
    let two = TWO.replace("127.0.0.1:{port:two}", &address.to_string());
    world.reload(&buckler, &format!("{}{two}", one_service("permissions: { default: deny }")));
    assert_eq!(buckler.status_json()["config"]["last_reload"]["ok"], false);
    buckler.answer(get("/")).is(200);
}

#[test]
fn services_come_and_go_by_reload() {
    let world = World::new();
    let buckler = world.buckler(&format!("{}{TWO}", one_service("")));
    let two = buckler.port_of("two");
    let on_two = || Raw::try_connect(Ipv4Addr::LOCALHOST, two);
    let mut held = on_two().unwrap();
    assert_eq!(held.answer(&get("/")).is(200).worker(), Some("b"));
    world.reload(&buckler, &one_service(""));
    eventually("the port given up", || on_two().is_err());
    buckler.answer(get("/")).is(200);
    world.reload(&buckler, &format!("{}{TWO}", one_service("")));
    eventually("the port back", || on_two().is_ok_and(|mut raw| raw.answer(&get("/")).status == 200));
}

#[test]
fn term_finishes_what_is_in_progress_and_ends_with_0() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut idle = buckler.connect();
    idle.answer(&get("/")).is(200);
    let mut busy = world.held(&buckler, "/long");
    buckler.term();
    eventually("no new connections, or none that is served", || {
        Raw::try_connect(Ipv4Addr::LOCALHOST, buckler.port()).is_err()
    });
    idle.closed();
    assert!(buckler.runs(), "a request in progress was dropped");
    worker.open_gate();
    let answer = busy.read_response().is(200);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(buckler.wait_exit(), 0);
}

#[test]
fn term_turns_readiness_off_at_once() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut busy = world.held(&buckler, "/");
    buckler.term();
    eventually("not ready", || buckler.look("/readyz").status == 503);
    buckler.look("/livez").is(200);
    worker.open_gate();
    busy.read_response().is(200);
    assert_eq!(buckler.wait_exit(), 0);
}

#[test]
fn a_drain_does_not_wait_for_clients_that_say_nothing() {
    let world = World::new();
    let buckler = world.one_service("timeouts: { head: 60s, keep_alive: 60s }");
    let mut silent = buckler.connect();
    let mut idle = buckler.connect();
    let mut parked = buckler.connect();
    parked.answer(&get("/")).is(200);
    // Silence of a second is what parks it.
    linger(PARKED);
    idle.answer(&get("/")).is(200);
    let begin = Instant::now();
    buckler.term();
    assert_eq!(buckler.wait_exit(), 0);
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!((silent.closed(), idle.closed(), parked.closed()), (End::Closed, End::Closed, End::Closed));
}

#[test]
fn a_second_signal_ends_at_once() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::Hang]);
    let buckler = world.one_service("");
    let mut busy = buckler.connect();
    busy.send(get("/").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    buckler.term();
    eventually("not ready", || buckler.look("/readyz").status == 503);
    let (code, _, said) = world.command(&["reload", "--admin", &format!("127.0.0.1:{}", buckler.admin())]);
    assert_eq!((code, said.contains("Buckler is ending")), (4, true), "{said}");
    let begin = Instant::now();
    buckler.term();
    buckler.wait_exit();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}

#[test]
fn a_drain_lasts_no_longer_than_its_grace() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::TakeBody, Step::Hang]);
    let buckler = world.buckler(&format!("{}shutdown: {{ grace: 500ms }}\n", one_service("")));
    let mut busy = buckler.connect();
    busy.send(get("/").bytes());
    eventually("the request at the worker", || worker.count() == 1);
    let begin = Instant::now();
    buckler.term();
    buckler.wait_exit();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    let log = buckler.access_log();
    let cut = log.iter().find(|line| line["path"] == "/").expect("what was cut off is logged");
    assert_eq!(cut["worker"], worker.address());
}

#[test]
fn restarts_under_load_refuse_but_never_cut() {
    let world = World::new();
    let config = one_service("");
    for _ in 0..3 {
        let buckler = world.buckler(&config);
        let cut = std::thread::scope(|scope| {
            let client = || {
                let mut cut = 0;
                while let Ok(mut raw) = Raw::try_connect(Ipv4Addr::LOCALHOST, buckler.port()) {
                    raw.send(get("/").bytes());
                    let (bytes, _) = raw.read_to_end_or_answer();
                    // Accepted in the very moment of the end: closed before a byte, and safe to send again.
                    cut += usize::from(!bytes.is_empty() && !bytes.starts_with(b"HTTP/1.1 200 "));
                }
                cut
            };
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
            eventually("some load", || world.worker("a").count() > 50);
            buckler.term();
            clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
        });
        assert_eq!(cut, 0);
        assert_eq!(buckler.wait_exit(), 0);
    }
}

#[test]
fn a_port_that_is_taken_ends_with_3() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let buckler = world.buckler_starting(&one_service("").replace("127.0.0.1:{port}", &address));
    assert_eq!(buckler.wait_exit(), 3);
    eventually("the address in the message", || buckler.stderr().contains(&address));
    let admin = format!("admin: {{ listen: \"{address}\" }}\n{}", one_service(""));
    assert_eq!(world.buckler_starting(&admin).wait_exit(), 3);
}

#[test]
fn a_bad_configuration_ends_with_78_and_says_where() {
    let world = World::new();
    let config = one_service("limts: { default: { rate: 1/s } }\ntimeouts: { head: 5 }");
    let buckler = world.buckler_starting(&config);
    assert_eq!(buckler.wait_exit(), 78);
    let (code, said) = world.check(&config);
    assert_eq!(code, 78);
    for wants in ["check.yaml:7", "limts", "limits", "check.yaml:8", "^"] {
        assert!(said.contains(wants), "no {wants:?} in\n{said}");
    }
    let (code, said) = world.check(&one_service(""));
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let world = World::new();
    for wrong in [&["run", "--nonsense"][..], &["nonsense"], &["check", "-c"]] {
        let (code, _, said) = world.command(wrong);
        assert_eq!(code, 2, "{wrong:?}: {said}");
        assert!(said.contains("--help"), "{wrong:?} is not told where to read more: {said}");
    }
    let (code, _, said) = world.command(&["run", "-c", "is-not-there.yaml"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("is-not-there.yaml"), "{said}");
}

#[test]
fn buckler_starts_while_its_workers_are_down() {
    let world = World::new();
    let worker = world.worker("a");
    worker.refuses();
    let buckler = world.one_service("");
    let status = buckler.answer(get("/")).status;
    assert!(status == 502 || status == 503, "{status}");
    worker.accepts();
    eventually("the first answer", || buckler.answer(get("/")).status == 200);
}

#[test]
fn a_drain_answers_what_was_begun_and_says_that_it_is_the_last() {
    let world = World::new();
    let worker = world.worker("a");
    worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
    let buckler = world.one_service("");
    let mut busy = buckler.connect();
    busy.send([get("/first").bytes(), get("/second").bytes(), get("/third").bytes()].concat());
    eventually("the first request at the worker", || worker.count() == 1);
    buckler.term();
    eventually("not ready", || buckler.look("/readyz").status == 503);
    worker.open_gate();
    let mut answers = 0;
    while let Some(answer) = busy.response_or_end() {
        assert!(answer.status == 200 && answer.cut.is_none(), "{}", answer.head);
        answers += 1;
        if answer.field("connection") == Some("close") {
            break;
        }
    }
    assert!((1..=3).contains(&answers));
    busy.closed();
    assert_eq!(
        worker.count(),
        answers,
        "a request was sent to the worker whose answer was not sent to the client"
    );
    assert_eq!(buckler.wait_exit(), 0);
}

#[test]
fn a_file_that_cannot_be_used_at_the_start_is_named() {
    let world = World::new();
    for (head, told) in [
        ("access_log: { path: nowhere/access.log }", "nowhere/access.log cannot be opened: No such file"),
        (
            "admin: { listen: \"127.0.0.1:{admin}\", token_file: nix.token }",
            "nix.token cannot be used: No such file",
        ),
    ] {
        let buckler = world.buckler_starting(&format!("{head}\n{}", one_service("")));
        assert_eq!(buckler.wait_exit(), 78, "{}", buckler.stderr());
        eventually("the reason", || buckler.stderr().contains(told));
    }
}
