//! `capacity` and `workers.concurrent_per_worker`: two numbers or the facts that they follow from, and whether they can
//! mean anything beside each other and beside `timeouts.total`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Checker, SECOND, value};
use crate::config::collect::Located;
use crate::config::file;
use crate::config::report::{Code, Spot};
use crate::config::units::Span;
use crate::config::{Capacity, CapacityFacts, Timeouts, WorkerSource};

/// Requests at once, in a bound or in facts.
const MOST: u32 = 1_000_000;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const SHORTEST_LATENCY: Duration = Duration::from_micros(1);
const LONGEST_LATENCY: Duration = Duration::from_secs(3_600);

const HELP: &str = "write `capacity: { concurrent: 60, wait: 10ms }`, or what you know: \
                    `capacity: { rps: 200, latency: 25ms, burst: 10 }`";

impl Checker<'_> {
    pub(super) fn concurrent_per_worker(&mut self, service: &file::Service) -> Option<NonZeroU32> {
        let workers = value(&service.workers)?;
        NonZeroU32::new(self.number(Some(&workers.concurrent_per_worker), 0, 1, MOST))
    }

    pub(super) fn capacity(
        &mut self,
        service: &file::Service,
        workers: Option<&WorkerSource>,
        timeouts: &Timeouts,
    ) -> Capacity {
        let each = value(&service.workers).and_then(|workers| workers.concurrent_per_worker.as_ref());
        let Some(located) = &service.capacity else {
            // Who bounds workers alone wants requests to wait for the next free one, and no longer than they may take.
            let wait = timeouts.total.map_or(SECOND, |total| total.min(SECOND));
            return Capacity { wait: if each.is_some() { wait } else { Duration::ZERO }, ..nothing() };
        };
        let Some(written) = &located.value else { return nothing() };
        let Some(capacity) = self.bound(written, located.at, each.is_some()) else { return nothing() };
        let bound = written.concurrent.as_ref().or(written.rps.as_ref());
        let bound = bound.map_or(located.at, |bound| bound.at);
        let wait = written.wait.as_ref().map(|wait| wait.at);
        let wait = wait.or(written.burst.as_ref().map(|burst| burst.at)).unwrap_or(located.at);
        self.wait_fits(capacity, wait, service);
        if let (Some(each), Some(WorkerSource::List(list))) = (each, workers) {
            self.places_suffice(capacity, bound, each, list.len());
        }
        capacity
    }

    /// The two numbers, in whichever form they are written.
    fn bound(&mut self, written: &file::Capacity, of: Spot, has_places: bool) -> Option<Capacity> {
        let first =
            |keys: [(&'static str, Option<Spot>); 3]| keys.into_iter().find_map(|(key, at)| Some((key, at?)));
        let numbers = first([
            ("concurrent", written.concurrent.as_ref().map(|field| field.at)),
            ("wait", written.wait.as_ref().map(|field| field.at)),
            ("", None),
        ]);
        let facts = first([
            ("rps", written.rps.as_ref().map(|field| field.at)),
            ("latency", written.latency.as_ref().map(|field| field.at)),
            ("burst", written.burst.as_ref().map(|field| field.at)),
        ]);
        match (numbers, facts) {
            (Some((number, at)), Some((fact, other))) => {
                let (number, fact, at, other) =
                    if at < other { (number, fact, at, other) } else { (fact, number, other, at) };
                let first = self.problems.place(at);
                let message =
                    format!("`{fact}` stands beside `{number}` at {first}, which says the same otherwise");
                self.error(Code::Contradiction, other, message, HELP);
                None
            }
            (None, None) => {
                self.error(Code::MissingKey, of, "`concurrent` is missing, or `rps` and `latency`", HELP);
                None
            }
            (None, Some(_)) => self.facts(written, of),
            (Some((_, at)), None) => {
                if written.concurrent.is_none() && !has_places {
                    let message = "`wait` for a place, and nothing bounds the places";
                    let help =
                        "write `concurrent: 60` beside it, or `concurrent_per_worker: 1` under `workers`";
                    self.error(Code::Contradiction, at, message, help);
                }
                let concurrent = NonZeroU32::new(self.number(Some(&written.concurrent), 0, 1, MOST));
                let wait = self.span(Some(&written.wait), Duration::ZERO, Duration::ZERO, LONGEST_WAIT);
                Some(Capacity { concurrent, wait, facts: None })
            }
        }
    }

    fn facts(&mut self, written: &file::Capacity, of: Spot) -> Option<Capacity> {
        let is_whole = self.needed(&written.rps, "rps", of, HELP).is_some()
            & self.needed(&written.latency, "latency", of, HELP).is_some();
        let before = self.problems.errors();
        let rps = self.number(Some(&written.rps), 1, 1, MOST);
        let latency = self.span(Some(&written.latency), SHORTEST_LATENCY, SHORTEST_LATENCY, LONGEST_LATENCY);
        let burst = self.number(Some(&written.burst), 0, 0, MOST);
        if !is_whole || self.problems.errors() > before {
            return None;
        }
        let capacity = CapacityFacts { rps, latency, burst }.capacity();
        if let (Some(concurrent), Some(rps)) = (capacity.concurrent, &written.rps)
            && concurrent.get() > MOST
        {
            let message = format!("these facts mean {concurrent} requests at once, more than {MOST}");
            self.error(Code::BadValue, rps.at, message, "look at `rps` and `latency` again");
        }
        if let Some(burst) = written.burst.as_ref().filter(|_| capacity.wait > LONGEST_WAIT) {
            let (wait, most) = (Span(capacity.wait), Span(LONGEST_WAIT));
            let message = format!("this burst means a wait of {wait}, more than {most}");
            self.error(Code::BadValue, burst.at, message, "nobody waits so long: write a smaller `burst`");
        }
        Some(capacity)
    }

    /// Who may wait longer than everything may take waits for nothing.
    fn wait_fits(&mut self, capacity: Capacity, at: Spot, service: &file::Service) {
        let total = value(&service.timeouts).and_then(|timeouts| timeouts.total.as_ref());
        let Some((total, other)) = total.and_then(|total| Some((total.value.as_ref()?.0?.0, total.at)))
        else {
            return;
        };
        if capacity.wait > total {
            let (wait, total, other) = (Span(capacity.wait), Span(total), self.problems.place(other));
            let message = format!("a `wait` of {wait} is longer than `timeouts.total: {total}` at {other}");
            self.error(Code::Contradiction, at, message, "let requests wait for a part of that time only");
        }
    }

    /// A bound above all places of all workers is never reached.
    fn places_suffice(&mut self, capacity: Capacity, at: Spot, each: &Located<u32>, workers: usize) {
        let (Some(concurrent), Some(places)) = (capacity.concurrent, each.value) else { return };
        let places = u64::from(places) * workers as u64;
        if places > 0 && u64::from(concurrent.get()) > places {
            let other = self.problems.place(each.at);
            let message = format!(
                "{concurrent} requests at once, and all workers together take {places} \
                 (`concurrent_per_worker` at {other})"
            );
            let help = "write a smaller number, or leave this bound out and keep `wait`";
            self.problems.warn(Code::NeverReached, at, message, Some(help));
        }
    }
}

fn nothing() -> Capacity {
    Capacity { concurrent: None, wait: Duration::ZERO, facts: None }
}
