//! An ill worker `a` beside its well siblings `b` and `c`, and the course that an illness takes: what requests get that
//! meet it, that it is found and avoided, and that it comes back.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Buckler, Response, Step, Worker, World, eventually, get, request, service};

/// How much longer than its timeouts a request may take on a busy machine.
pub(super) const SLACK: Duration = Duration::from_secs(10);

/// How often a request may be sent: `retries.attempts`, which stays at its default.
pub(super) const ATTEMPTS: usize = 2;

/// Requests that show who is avoided, and how many of them may meet the ill one all the same: a trickle is one in 129.
const AFTERWARDS: usize = 60;
const FEW: usize = 8;

/// An ill worker and its siblings behind a Buckler.
pub(super) struct Ward {
    world: World,
    pub(super) buckler: Buckler,
    number: Cell<u32>,
}

/// What a worker does, and what follows for the clients.
#[derive(Default)]
pub(super) struct Fault {
    /// What a GET gets whose first attempt met it.
    pub(super) get: Gets,
    /// What a POST gets.
    pub(super) post: Gets,
    /// It cannot come earlier.
    pub(super) after: Duration,
    /// The worker waits at its gate after these bytes, until the client has seen them.
    pub(super) gated_after: Option<&'static str>,
}

/// What a request gets that met the ill worker.
#[derive(Clone, Copy, Default)]
pub(super) enum Gets {
    /// That of a sibling.
    #[default]
    AnotherAnswer,
    /// Buckler's own, with this status and reason.
    Refused(u16, &'static str),
    /// A 200 that is not whole; the log has this reason.
    Cut(&'static str),
}

/// What became of a request.
pub(super) struct Fate {
    target: String,
    pub(super) answer: Response,
    pub(super) took: Duration,
    /// Whether the ill worker saw it.
    met: bool,
}

impl Ward {
    /// Three workers that are well so far; `more` stands in the service.
    pub(super) fn new(more: &str) -> Self {
        let world = World::new();
        let text = service(&["a", "b", "c"], &format!("{more}\nretries: {{ budget: 100% }}"));
        // Slow start is tested where it belongs; here it would only make the tests longer.
        let text = text.replace("      addresses:", "      slow_start: 0s\n      addresses:");
        let buckler = world.buckler(&text);
        Self { world, buckler, number: Cell::new(0) }
    }

    pub(super) fn ill(&self) -> Worker {
        self.world.worker("a")
    }

    /// The ill worker as the status page tells it.
    pub(super) fn told(&self) -> Value {
        told(&self.buckler, &self.ill().address())
    }

    /// A request that has to succeed.
    #[track_caller]
    pub(super) fn is_served(&self, method: &str) {
        let fate = self.ask(method, None);
        assert!(fate.took < SLACK, "{:?}", fate.took);
        fate.answer.is(200);
    }

    /// Asks until a request meets the ill worker, and returns what became of that.
    #[track_caller]
    pub(super) fn meets_the_ill(&self, method: &str) -> Fate {
        let met = (0..AFTERWARDS).map(|_| self.ask(method, None)).find(|fate| fate.met);
        met.expect("a request at each of the workers")
    }

    /// The illness from its beginning to its end. The ill worker has its script already.
    #[track_caller]
    pub(super) fn takes_its_course(&self, fault: &Fault) {
        let mut ill = Value::Null;
        eventually("the worker ejected", || {
            self.both(fault);
            ill = self.told();
            ill["state"] == "ejected"
        });
        let why = ill["why"].as_str().unwrap_or_default();
        // Failures, whether in a row or by their part; or that it is slow, which is seen before they end.
        let words = ["requests in a row failed", "fails ", " to an answer"];
        assert!(words.iter().any(|words| why.contains(words)), "{ill}");
        assert!(ill["share"].as_f64().is_some_and(|share| share < 0.1), "{ill}");
        let met: usize = (0..AFTERWARDS / 2).map(|_| self.both(fault)).sum();
        assert!(met <= FEW, "{met} of {AFTERWARDS} requests met it after it was ejected");
        self.ill().always(&[Step::TakeBody, Step::Echo]);
        self.is_used_again();
        self.nothing_was_sent_twice();
    }

    /// The worker is well: it gets requests again, and is healthy in the end.
    #[track_caller]
    pub(super) fn is_used_again(&self) {
        let mut raw = self.buckler.connect();
        let mut answered = false;
        eventually("the worker in use again, and healthy", || {
            for _ in 0..50 {
                // Its trickle may still meet a connection that it ended; a GET is repeated then.
                answered |= raw.answer(&get(&self.target("get"))).is(200).worker() == Some("a");
            }
            answered && self.told()["state"] == "healthy"
        });
    }

    /// Each request came to each worker at most once, a POST to one of them, a GET to no more than may be tried.
    #[track_caller]
    pub(super) fn nothing_was_sent_twice(&self) {
        let mut counts: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
        for name in ["a", "b", "c"] {
            for seen in self.world.worker(name).seen() {
                counts.entry((seen.method, seen.target)).or_default().push(name);
            }
        }
        assert!(!counts.is_empty(), "the workers saw nothing");
        for ((method, target), mut workers) in counts {
            let most = if method == "POST" { 1 } else { ATTEMPTS };
            assert!(workers.len() <= most, "{method} {target} came to {workers:?}");
            let all = workers.len();
            workers.dedup();
            assert_eq!(workers.len(), all, "{method} {target} came twice to one of {workers:?}");
        }
    }

    /// A GET and a POST, each as it should go; how many met the ill worker.
    #[track_caller]
    fn both(&self, fault: &Fault) -> usize {
        let mut met = 0;
        for (method, gets) in [("GET", fault.get), ("POST", fault.post)] {
            let fate = self.ask(method, fault.gated_after);
            let time = fate.took;
            met += usize::from(fate.met);
            assert!(time < fault.after + SLACK, "{method}: {time:?}");
            if fate.met {
                assert!(time >= fault.after, "{method}: {time:?}");
                self.is_right(fate, gets);
            } else {
                assert_ne!(fate.answer.is(200).worker(), Some("a"));
            }
        }
        met
    }

    #[track_caller]
    fn is_right(&self, fate: Fate, gets: Gets) {
        let Fate { target, answer, .. } = fate;
        match gets {
            Gets::AnotherAnswer => assert_ne!(answer.is(200).worker(), Some("a")),
            Gets::Refused(status, reason) => assert_eq!(answer.is(status).reason(), reason),
            Gets::Cut(reason) => {
                assert_eq!(answer.status, 200, "{}", answer.head);
                assert!(answer.cut.is_some(), "whole: {answer:?}");
                let line = self.buckler.logged("the cut", |line| line["path"] == target);
                assert_eq!(line["reason"], reason, "{line}");
            }
        }
    }

    /// A request of its own name on a connection of its own.
    #[track_caller]
    fn ask(&self, method: &str, gated_after: Option<&str>) -> Fate {
        let target = self.target(&method.to_lowercase());
        let ask = match (method, self.number.get() % 4) {
            // Without a body there is nothing that would keep it from being sent twice but the rule.
            ("POST", 0) => request(method, &target).body(""),
            ("POST", _) => request(method, &target).body("x"),
            _ => request(method, &target),
        };
        let met = || self.ill().seen().iter().any(|seen| seen.target == target);
        let begun = Instant::now();
        let mut raw = self.buckler.connect();
        raw.send(ask.bytes());
        if let Some(bytes) = gated_after {
            raw.read_until(b"\r\n\r\n");
            if met() {
                raw.read_until(bytes.as_bytes());
                self.ill().let_one_pass();
            }
        }
        let answer = raw.read_response();
        let took = begun.elapsed();
        let met = met();
        Fate { target, answer, took, met }
    }

    fn target(&self, kind: &str) -> String {
        self.number.set(self.number.get() + 1);
        format!("/{kind}/{}", self.number.get())
    }
}

/// The worker of this address, as the status page tells it.
pub(super) fn told(buckler: &Buckler, address: &str) -> Value {
    let status = buckler.status_json();
    let workers = status["services"][0]["workers"].as_array().cloned().unwrap_or_default();
    workers.into_iter().find(|worker| worker["address"] == address).unwrap_or_default()
}
