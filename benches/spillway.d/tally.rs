//! What the clients saw, counted by phase and service, and the report of it as JSON.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::scene::{PHASES, Phase, SERVICES, Scene, Service};

/// A's outcomes in the recovery are kept in bins of this width, and judged over windows of ten of them.
const BIN: Duration = Duration::from_millis(10);
const WINDOW_BINS: usize = 10;
const RECOVERED: f64 = 0.999;
/// What is delivered over time is told by this width.
const BEAT: Duration = Duration::from_millis(100);
const SECOND_BEATS: usize = 10;
/// The median latency is told for so many parts of a phase, to show how much it varies by itself.
const SLICES: usize = 10;
/// Failures later than this after the end of the failure are failures after recovery.
const RECOVER_WITHIN_BINS: usize = 100;

/// How one request ended for its client.
pub(crate) enum Outcome {
    /// A whole answer of 200.
    Delivered,
    /// Anything else. The text is the status, or what happened to the connection.
    Lost(String),
}

/// One phase of one service.
#[derive(Default)]
struct Part {
    delivered: u64,
    /// Not delivered, and no worker has seen it.
    refused: u64,
    /// Not delivered, although a worker has seen it.
    failed: u64,
    /// Arrivals at workers beyond the first of each request.
    repeated: u64,
    lost: BTreeMap<String, u64>,
    /// Microseconds of each delivered request, in the order of their ends until the report sorts them.
    latencies: Vec<u32>,
    /// Delivered in each [`BEAT`] of the phase.
    beats: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Bin {
    delivered: u32,
    lost: u32,
}

/// All that the clients counted.
#[derive(Default)]
pub(crate) struct Tally {
    parts: [[Part; PHASES.len()]; 2],
    recovery: Vec<Bin>,
}

impl Tally {
    /// Counts one request. `reached`: arrivals at workers. `since`: from the begin of the phase to the request's end.
    pub(crate) fn count(
        &mut self,
        (service, phase): (Service, Phase),
        outcome: Outcome,
        reached: u32,
        took: Duration,
        since: Duration,
    ) {
        if (service, phase) == (Service::A, Phase::Recovery) {
            let bin = at(&mut self.recovery, BIN, since);
            match outcome {
                Outcome::Delivered => bin.delivered += 1,
                Outcome::Lost(_) => bin.lost += 1,
            }
        }
        let part = &mut self.parts[service as usize][phase as usize];
        part.repeated += u64::from(reached.saturating_sub(1));
        match outcome {
            Outcome::Delivered => {
                part.delivered += 1;
                *at(&mut part.beats, BEAT, since) += 1;
                part.latencies.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
            Outcome::Lost(how) => {
                *if reached > 0 { &mut part.failed } else { &mut part.refused } += 1;
                *part.lost.entry(how).or_default() += 1;
            }
        }
    }

    /// The report: a map of phases, each with its seconds and both services.
    pub(crate) fn report(&mut self, scene: &Scene, seconds: f64) -> Value {
        let mut phases = Map::new();
        for phase in PHASES.into_iter().filter(|phase| *phase != Phase::WarmUp) {
            let mut services = Map::new();
            services.insert("seconds".to_owned(), json!(seconds));
            for service in SERVICES {
                let mut told = self.parts[service as usize][phase as usize].told();
                let work = scene.work(service, phase);
                told.insert("workers_got".to_owned(), json!(work.arrived.load(Relaxed)));
                told.insert("workers_answered".to_owned(), json!(work.answered.load(Relaxed)));
                told.insert("answers_delivered".to_owned(), json!(work.delivered.load(Relaxed)));
                told.insert("most_at_workers".to_owned(), json!(work.most_at_once.load(Relaxed)));
                services.insert(service.name().to_owned(), Value::Object(told));
            }
            phases.insert(phase.name().to_owned(), Value::Object(services));
        }
        let beats = &self.parts[Service::A as usize][Phase::Failure as usize].beats;
        json!({ "phases": phases, "failure_a_delivered_by_100_ms": beats, "recovery": self.recovery() })
    }

    /// When A had recovered, and what failed or was refused after that should have been so.
    fn recovery(&self) -> Value {
        let recovered = self.recovery.windows(WINDOW_BINS).position(|window| {
            let (delivered, lost) = sum(window);
            delivered > 0 && f64::from(delivered) >= RECOVERED * f64::from(delivered + lost)
        });
        let bins = |count: usize| count as f64 * BIN.as_secs_f64();
        let (delivered, lost) = sum(self.recovery.get(RECOVER_WITHIN_BINS..).unwrap_or_default());
        let last = self.recovery.iter().rposition(|bin| bin.lost > 0);
        json!({
            "recovered_after_s": recovered.map(|first| bins(first + WINDOW_BINS)),
            "last_failure_s": last.map_or(0.0, |bin| bins(bin + 1)),
            "requests_after_1_s": delivered + lost,
            "failures_after_1_s": lost,
        })
    }
}

impl Part {
    fn told(&mut self) -> Map<String, Value> {
        let slices = self.slices();
        let by_second: Vec<u32> = self.beats.chunks(SECOND_BEATS).map(|second| second.iter().sum()).collect();
        self.latencies.sort_unstable();
        let Value::Object(told) = json!({
            "requests": self.delivered + self.refused + self.failed,
            "delivered": self.delivered,
            "refused": self.refused,
            "failed": self.failed,
            "repeated": self.repeated,
            "lost": self.lost,
            "p50_ms": quantile(&self.latencies, 0.50),
            "p99_ms": quantile(&self.latencies, 0.99),
            "p50_ms_by_tenth": slices,
            "delivered_by_second": by_second,
        }) else {
            return Map::new();
        };
        told
    }

    /// The median latency of each tenth of the delivered requests, in milliseconds. Wants the latencies in the order of
    /// time, and sorts each tenth.
    fn slices(&mut self) -> Vec<Option<f64>> {
        let length = self.latencies.len().div_ceil(SLICES).max(1);
        let slices = self.latencies.chunks_mut(length).map(|slice| {
            slice.sort_unstable();
            quantile(slice, 0.50)
        });
        slices.collect()
    }
}

/// Milliseconds; the latencies, in microseconds, must be in order. None without any.
fn quantile(latencies: &[u32], part: f64) -> Option<f64> {
    let rank = (part * latencies.len() as f64).ceil() as usize;
    latencies.get(rank.saturating_sub(1)).map(|micros| f64::from(*micros) / 1e3)
}

/// The bin of this width in which `since` lies.
fn at<T: Default>(bins: &mut Vec<T>, width: Duration, since: Duration) -> &mut T {
    let bin = usize::try_from(since.as_nanos() / width.as_nanos()).unwrap_or(0);
    if bins.len() <= bin {
        bins.resize_with(bin + 1, T::default);
    }
    &mut bins[bin]
}

fn sum(bins: &[Bin]) -> (u32, u32) {
    bins.iter().fold((0, 0), |(delivered, lost), bin| (delivered + bin.delivered, lost + bin.lost))
}
