//! A worker that is a process of its own, killed and stopped while requests are at it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::ward::{ATTEMPTS, SLACK, told};
use crate::python::Server;
use crate::world::{Buckler, Response, Step, World, eventually, free_port, request, service};

/// So many clients ask at once.
const CLIENTS: usize = 8;

/// How long the news of a process's end may take to Buckler's sockets: what is sent meanwhile may be lost as well.
const NEWS: Duration = Duration::from_secs(1);

/// A process beside the workers `b` and `c` of the world, which are no quicker than it.
struct Ward {
    world: World,
    buckler: Buckler,
    process: RefCell<Server>,
    port: u16,
}

/// What became of a request.
struct Fate {
    method: &'static str,
    target: String,
    begun: Instant,
    took: Duration,
    answer: Response,
}

impl Ward {
    fn new(more: &str) -> Self {
        let world = World::new();
        for name in ["b", "c"] {
            world.worker(name).always(&[Step::TakeBody, Step::Pause(Duration::from_millis(30)), Step::Echo]);
        }
        let port = free_port();
        let process = RefCell::new(start(&log(&world), port));
        let text = service(&["b", "c"], &format!("{more}\nretries: {{ budget: 100% }}"));
        let addresses = format!(
            "      slow_start: 1s\n      addresses:\n        - {{ address: \"127.0.0.1:{port}\" }}\n"
        );
        let buckler = world.buckler(&text.replace("      addresses:\n", &addresses));
        Self { world, buckler, process, port }
    }

    /// Kills the process: nothing of it is left when this returns.
    fn kill(&self) {
        self.process.borrow_mut().kill();
    }

    fn restart(&self) {
        self.process.replace(start(&log(&self.world), self.port));
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.process.borrow().pid(), signal).unwrap();
    }

    fn state(&self) -> String {
        self.status()["state"].as_str().unwrap_or_default().to_owned()
    }

    fn why(&self) -> String {
        self.status()["why"].as_str().unwrap_or_default().to_owned()
    }

    fn status(&self) -> serde_json::Value {
        told(&self.buckler, &format!("127.0.0.1:{}", self.port))
    }

    /// The requests that the process has read in all its lives, as `GET /x`.
    fn read(&self) -> Vec<String> {
        let text = std::fs::read_to_string(log(&self.world)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whom each request came to: a POST to one at most, a GET to no more than may be tried.
    fn nothing_was_sent_twice(&self) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let siblings = ["b", "c"].into_iter().flat_map(|name| self.world.worker(name).seen());
        let all = siblings.map(|seen| format!("{} {}", seen.method, seen.target)).chain(self.read());
        all.for_each(|request| *counts.entry(request).or_default() += 1);
        for (request, count) in counts {
            let most = if request.starts_with("POST ") { 1 } else { ATTEMPTS };
            assert!(count <= most, "{request} was sent {count} times");
        }
    }
}

fn log(world: &World) -> PathBuf {
    world.dir().join("process.log")
}

fn start(log: &Path, port: u16) -> Server {
    let (log, port) = (log.to_str().unwrap(), port.to_string());
    Server::start("counting_worker.py", &["--log", log, "--port", &port])
}

fn ask(buckler: &Buckler, method: &'static str, target: String) -> Fate {
    let ask = request(method, &target);
    let begun = Instant::now();
    // Without a body, nothing but the rule keeps it from being sent twice.
    let answer = buckler.answer(if method == "POST" { ask.body("") } else { ask });
    Fate { method, target, begun, took: begun.elapsed(), answer }
}

/// Clients that ask until they are told to stop.
#[derive(Default)]
struct Crowd {
    stop: AtomicBool,
    asked: AtomicUsize,
}

impl Crowd {
    fn ask(&self, buckler: &Buckler, name: usize) -> Vec<Fate> {
        let mut fates = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let n = self.asked.fetch_add(1, Ordering::SeqCst);
            fates.push(ask(buckler, "GET", format!("/get/{name}/{n}")));
            fates.push(ask(buckler, "POST", format!("/post/{name}/{n}")));
        }
        fates
    }

    /// Waits until so many more rounds have begun.
    #[track_caller]
    fn goes_on(&self, rounds: usize) {
        let wanted = self.asked.load(Ordering::SeqCst) + rounds;
        eventually("further requests", || self.asked.load(Ordering::SeqCst) >= wanted);
    }
}

/// Stops the clients when it is dropped: if a test failed before, it would wait for them for ever.
struct Leash<'a>(&'a Crowd);

impl Drop for Leash<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

/// Lets clients ask while `happens` goes on, and returns what that gave and what became of each request.
#[track_caller]
fn meanwhile<T>(ward: &Ward, happens: impl FnOnce(&Crowd) -> T) -> (T, Vec<Fate>) {
    let (crowd, buckler) = (&Crowd::default(), &ward.buckler);
    std::thread::scope(|scope| {
        let leash = Leash(crowd);
        let clients: Vec<_> =
            (0..CLIENTS).map(|name| scope.spawn(move || crowd.ask(buckler, name))).collect();
        let given = happens(crowd);
        drop(leash);
        (given, clients.into_iter().flat_map(|client| client.join().unwrap()).collect())
    })
}

#[test]
fn one_that_is_killed_costs_the_posts_it_had_and_is_used_again_when_it_is_back() {
    let ward = Ward::new("");
    let (dead, fates) = meanwhile(&ward, |crowd| {
        eventually("the process at work", || ward.read().len() > 20);
        ward.kill();
        let dead = Instant::now();
        eventually("the process left alone", || ward.why().contains("left alone for"));
        crowd.goes_on(20);
        let before = ward.read().len();
        ward.restart();
        eventually("the process at work again", || ward.read().len() > before);
        eventually("the process healthy", || ward.state() == "healthy");
        dead
    });
    for fate in fates {
        let Fate { method, target, begun, took, answer } = fate;
        assert!(took < SLACK, "{method} {target}: {took:?}");
        if method == "POST" && answer.status != 200 {
            assert_eq!(answer.is(502).reason(), "worker_reset");
            assert!(begun < dead + NEWS, "{target} was not at the process when that was killed");
        } else {
            answer.is(200);
        }
    }
    ward.nothing_was_sent_twice();
}

#[test]
fn one_that_is_stopped_is_given_its_time_and_then_little_to_do_until_it_goes_on() {
    let response = Duration::from_secs(1);
    let ward = Ward::new("timeouts: { response: 1s }");
    let ((), fates) = meanwhile(&ward, |crowd| {
        eventually("the process at work", || ward.read().len() > 20);
        ward.signal(Signal::STOP);
        let attempts = || ward.status()["attempts"].as_u64().unwrap();
        eventually("the process ejected", || ward.state() == "ejected");
        let (before, why) = (attempts(), ward.why());
        assert!(why.contains(" to an answer") || why.contains("in a row failed"), "{why}");
        crowd.goes_on(50);
        let few = attempts() - before;
        assert!(few <= 10, "{few} of 100 requests were at the process after it was ejected");
        eventually("a POST that was given up", || ward.buckler.refused("worker_timeout") > 0.5);
        let before = ward.read().len();
        ward.signal(Signal::CONT);
        eventually("the process healthy", || ward.state() == "healthy");
        eventually("the process at work again", || ward.read().len() > before + 20);
    });
    let mut lost = Vec::new();
    for fate in fates {
        let Fate { method, target, took, answer, .. } = fate;
        assert!(took < 2 * response + SLACK, "{method} {target}: {took:?}");
        if method == "POST" && answer.status != 200 {
            assert_eq!(answer.is(504).reason(), "worker_timeout");
            assert!(took >= response, "{target}: {took:?}");
            lost.push(format!("POST {target}"));
        } else {
            answer.is(200);
        }
    }
    assert!(!lost.is_empty());
    // They were all in its sockets, and it reads them late: nobody else may have got them meanwhile.
    eventually("what it had not read", || {
        let read = ward.read();
        lost.iter().all(|request| read.contains(request))
    });
    ward.nothing_was_sent_twice();
}
