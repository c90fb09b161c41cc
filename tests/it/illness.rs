//! What makes a worker ill, what does not, and how long that is remembered, over real sockets: reloads, DNS changes,
//! slow start, clients that leave or break their own requests, and workers of which each fails a part. How scores are
//! made is tested in `src/workers`.

use serde_json::Value;

use crate::bind::{Bind, ZONE};
use crate::http2_workers::peers::{Act, Http2Worker};
use crate::world::{Buckler, Raw, Step, Worker, World, eventually, get, request, service};

const FAULT: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const SICK: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nsick";

fn api(buckler: &Buckler) -> Value {
    buckler.status_json()["services"][0].clone()
}

/// The worker of this address, as the status page tells it; null if it is none of the service's.
fn told(buckler: &Buckler, address: &str) -> Value {
    let workers = api(buckler)["workers"].as_array().cloned().unwrap_or_default();
    workers.into_iter().find(|worker| worker["address"] == address).unwrap_or_default()
}

/// Asks until the score of this worker has ejected it.
#[track_caller]
fn until_ejected(buckler: &Buckler, worker: &Worker) -> Value {
    let mut raw = buckler.connect();
    let mut last = Value::Null;
    eventually("ejected by its score", || {
        (0..20).for_each(|_| drop(raw.answer(&get("/"))));
        last = told(buckler, &worker.address());
        last["state"] == "ejected"
    });
    last
}

/// What must not change as long as an ejection lasts.
fn ejection(worker: &Value) -> [&Value; 4] {
    ["state", "since", "why", "ejections"].map(|key| &worker[key])
}

#[test]
fn an_ejection_by_score_survives_a_reload() {
    let world = World::new();
    let (a, b) = (world.worker("a"), world.worker("b"));
    a.answers(FAULT);
    let buckler = world.buckler(&service(&["a", "b"], ""));
    let before = until_ejected(&buckler, &a);
    world.reload(&buckler, &service(&["c", "b, weight: 5", "a, weight: 3"], "bounds: { uri_bytes: 4KiB }"));
    let after = told(&buckler, &a.address());
    assert_eq!(ejection(&after), ejection(&before), "a reload healed a worker");
    assert!(after["share"].as_f64().unwrap() < 0.1, "{after}");
    assert_eq!(told(&buckler, &b.address())["state"], "healthy");
    // One that joins workers that serve starts slowly.
    let joined = told(&buckler, &world.worker("c").address());
    assert_eq!(joined["state"], "returning", "{joined}");
    assert!(joined["share"].as_f64().unwrap() < 1.0, "{joined}");
    world.reload(&buckler, &service(&["b"], ""));
    assert!(told(&buckler, &a.address()).is_null());
}

#[test]
fn an_ejection_by_score_survives_a_change_in_dns() {
    let world = World::new();
    let (a, b, c) = (world.worker("a"), world.worker("b"), world.worker("c"));
    a.answers(FAULT);
    let port = |worker: &Worker| worker.address().rsplit(':').next().unwrap().to_owned();
    let record = |worker: &Worker| format!("_api._http 1 SRV 0 1 {} host\n", port(worker));
    let bind = Bind::serving(&format!("{}{}host 1 A 127.0.0.1\n", record(&a), record(&b)));
    let buckler = world.buckler(&format!(
        "dns: {{ servers: [\"{}\"], max_ttl: 1s }}\nservices:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ srv: _api._http.{ZONE} }}\n",
        bind.address()
    ));
    eventually("the first answer", || !told(&buckler, &b.address()).is_null());
    let before = until_ejected(&buckler, &a);
    bind.update(&format!(
        "update add _api._http.{ZONE} 1 SRV 0 1 {} host.{ZONE}.\n\
         update delete _api._http.{ZONE} SRV 0 1 {} host.{ZONE}.",
        port(&c),
        port(&b)
    ));
    let mut raw = buckler.connect();
    eventually("the other workers", || {
        // News of the ejected one, so that it is not tried for want of any.
        (0..20).for_each(|_| drop(raw.answer(&get("/"))));
        !told(&buckler, &c.address()).is_null() && told(&buckler, &b.address()).is_null()
    });
    assert_eq!(ejection(&told(&buckler, &a.address())), ejection(&before), "a DNS change healed a worker");
}

/// The workers `a` and `b` with a check and this `slow_start`.
fn checked(slow_start: &str) -> String {
    let check = "health: { passive: false, check: { interval: 500ms, timeout: 500ms } }";
    let keys = format!("      slow_start: {slow_start}\n      addresses:");
    service(&["a", "b"], check).replace("      addresses:", &keys)
}

/// Fails its checks until it is ejected, and passes them again.
fn fails_and_recovers(buckler: &Buckler, worker: &Worker) {
    worker.answers_checks(SICK);
    eventually("ejected by its checks", || told(buckler, &worker.address())["state"] == "ejected");
    worker.passes_checks();
}

#[test]
fn a_worker_that_passes_its_checks_again_gets_little_at_first() {
    let world = World::new();
    let a = world.worker("a");
    let buckler = world.buckler(&checked("1h"));
    fails_and_recovers(&buckler, &a);
    let mut now = Value::Null;
    eventually("returning", || {
        now = told(&buckler, &a.address());
        now["state"] == "returning"
    });
    let share = now["share"].as_f64().unwrap();
    assert!(share > 0.0 && share < 0.1, "{now}");
    assert!(now["slow_start"].as_f64().is_some_and(|part| part < 0.1), "{now}");
    assert!(now["why"].as_str().unwrap().contains("slow start"), "{now}");
    eventually("of 60 requests one or two", || {
        let before = a.count();
        (0..60).for_each(|_| drop(buckler.answer(get("/")).is(200)));
        a.count() - before <= 6
    });
}

#[test]
fn slow_start_ends_with_the_whole_share() {
    let world = World::new();
    let a = world.worker("a");
    let buckler = world.buckler(&checked("300ms"));
    fails_and_recovers(&buckler, &a);
    let mut now = Value::Null;
    eventually("healthy", || {
        now = told(&buckler, &a.address());
        now["state"] == "healthy"
    });
    assert_eq!((now["share"].as_f64(), &now["slow_start"]), (Some(1.0), &Value::Null), "{now}");
    assert!(now["ejections"].as_u64().unwrap() >= 1, "{now}");
}

/// Nothing bad is known of any worker, and nobody is turned away.
#[track_caller]
fn all_is_well(buckler: &Buckler) {
    eventually("nothing in progress", || buckler.metrics().sum("buckler_worker_active", &[]) == 0.0);
    let service = api(buckler);
    for worker in service["workers"].as_array().unwrap() {
        assert_eq!((&worker["state"], worker["share"].as_f64()), (&"healthy".into(), Some(1.0)), "{worker}");
        assert_eq!((&worker["failures"], &worker["ejections"]), (&0.into(), &0.into()), "{worker}");
        assert!(worker["failure_share"].as_f64().unwrap_or_default() == 0.0, "{worker}");
    }
    let throttle = &service["throttle"];
    assert_eq!(throttle["acceptance"].as_f64(), Some(1.0), "{throttle}");
    assert_eq!(throttle["requests"], throttle["good"], "a bad one: {throttle}");
    let metrics = buckler.metrics();
    assert_eq!(metrics.sum("buckler_worker_failures_total", &[]), 0.0);
    assert_eq!(metrics.sum("buckler_acceptance_ratio", &[]), 1.0);
    assert_eq!(buckler.refused("workers_failing"), 0.0);
}

/// So many are more than would be needed to eject a worker that is to blame for each of them.
const TIMES: usize = 12;

#[test]
fn a_client_that_leaves_says_nothing_of_the_worker() {
    let world = World::new();
    let worker = world.worker("a");
    let begun = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome");
    let buckler = world.one_service("");
    worker.always(&[Step::TakeBody, Step::Hang]);
    for n in 1..=TIMES {
        let mut raw = buckler.connect();
        raw.send(get("/").bytes());
        eventually("the request at the worker", || worker.count() == n);
        raw.reset();
    }
    all_is_well(&buckler);
    worker.always(&[Step::TakeBody, begun, Step::Hang]);
    for _ in 0..TIMES {
        let mut raw = buckler.connect();
        raw.send(get("/").bytes()).read_head().is(200);
        raw.reset();
    }
    all_is_well(&buckler);
}

#[test]
fn a_client_that_leaves_says_nothing_of_a_worker_of_http2() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::Wait);
    let buckler = world.buckler(&format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ addresses: [\"127.0.0.1:{}\"], protocol: http2 }}\n",
        worker.port()
    ));
    for n in 1..=TIMES {
        let mut raw = buckler.connect();
        raw.send(get("/").header("x-n", "1").bytes());
        eventually("the request at the worker", || worker.seen("x-n").len() == n);
        raw.reset();
        eventually("cancelled", || worker.cancelled() == n);
    }
    all_is_well(&buckler);
}

#[test]
fn a_body_that_its_client_breaks_says_nothing_of_the_worker() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for n in 1..=TIMES {
        let mut raw = buckler.connect();
        raw.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n");
        eventually("the beginning at the worker", || worker.count() == n);
        raw.send("nonsense\r\n").read_response().is(400);
    }
    all_is_well(&buckler);
    for n in 1..=TIMES {
        let mut raw = buckler.connect();
        raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nsome");
        eventually("the beginning at the worker", || worker.count() == TIMES + n);
        raw.reset();
    }
    all_is_well(&buckler);
    buckler.answer(request("POST", "/").body("whole")).is(200);
}

#[test]
fn workers_that_all_fail_a_third_still_serve_the_rest() {
    let world = World::new();
    // Three of ten, at other times at each worker.
    for (name, failing) in [("a", [0, 4, 7]), ("b", [2, 5, 9])] {
        let worker = world.worker(name);
        for n in 0..1200 {
            if failing.contains(&(n % 10)) {
                worker.once(&[Step::TakeBody, Step::send(SICK)]);
            } else {
                worker.once(&[Step::TakeBody, Step::Echo]);
            }
        }
    }
    let buckler = world.buckler(&service(&["a", "b"], ""));
    let mut raws: Vec<Raw> = (0..4).map(|_| buckler.connect()).collect();
    let ok = (0..600).filter(|n| raws[n % 4].answer(&get("/")).status == 200).count();
    assert!(ok * 100 >= 600 * 64, "{ok} of 600");
    assert_eq!(buckler.refused("workers_failing"), 0.0, "no request is refused for what others met");
    assert_eq!(api(&buckler)["throttle"]["acceptance"].as_f64(), Some(1.0));
}

#[test]
fn one_worker_of_two_that_fails_takes_nothing_from_the_other() {
    let world = World::new();
    world.worker("a").answers(SICK);
    let buckler = world.buckler(&service(&["a", "b"], ""));
    until_ejected(&buckler, &world.worker("a"));
    let mut raw = buckler.connect();
    let ok = (0..200).filter(|_| raw.answer(&get("/")).status == 200).count();
    assert!(ok >= 190, "{ok} of 200 beside an ejected worker");
    assert_eq!(buckler.refused("workers_failing"), 0.0);
}
