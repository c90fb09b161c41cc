//! Simulations in virtual time: traffic that follows the shares, workers that fail, lag and hang. Here is
//! how they are run.

mod changes;
mod failing;
mod slow;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::super::health::{FULL_SHARE, State, TRICKLE, Use};
use super::super::{Terms, Wanted};
use super::*;
use crate::shard::ShardId;

const SHARD: ShardId = ShardId(0);
const SLOW_START: Duration = Duration::from_secs(10);
/// No answer within this time is a failure.
const TIMEOUT: u64 = 2_000;

/// What a request at a worker comes to: the milliseconds that it takes, and whether it goes well.
type Fate = (u64, bool);

struct Simulation {
    workers: Arc<Workers>,
    random: fastrand::Rng,
    millis: u64,
    owed: f64,
    /// When it ends, at which worker, how well, and how long it took.
    running: BinaryHeap<Reverse<(u64, usize, bool, u64)>>,
    failed: u64,
    asked: u64,
}

impl Simulation {
    fn new(count: u16) -> Self {
        let workers = Workers::new(1);
        workers.adopt(Terms { slow_start: SLOW_START, ..Terms::default() });
        workers.replace((1..=count).map(wanted).collect(), None, at(0));
        let random = fastrand::Rng::with_seed(7);
        Self { workers, random, millis: 0, owed: 0.0, running: BinaryHeap::new(), failed: 0, asked: 0 }
    }

    /// Ten workers that have been well for so long, at 1,000 requests a second.
    fn ten_well_for(millis: u64) -> Self {
        let mut run = Self::new(10);
        run.run(millis, 1_000.0, well);
        run
    }

    fn worker(&self, index: usize) -> Arc<Worker> {
        Arc::clone(&self.workers.load().members[index].worker)
    }

    fn now(&self) -> Moment {
        at(self.millis)
    }

    fn share(&self, index: usize) -> u8 {
        match self.worker(index).usable(self.now()) {
            Use::Share(parts) | Use::Ejected(parts) => parts,
            Use::Trial | Use::NotBefore(_) | Use::Unready => 0,
        }
    }

    fn state(&self, index: usize) -> State {
        self.worker(index).standing(self.now()).state
    }

    fn acceptance(&self) -> f64 {
        self.workers.acceptance(self.now())
    }

    /// So many milliseconds at `rate` requests a second, each with the fate that its worker gives it.
    fn run(&mut self, millis: u64, rate: f64, mut fate: impl FnMut(&mut fastrand::Rng, usize) -> Fate) {
        for _ in 0..millis {
            self.millis += 1;
            self.end_some();
            self.owed += rate / 1_000.0;
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                self.request(&mut fate);
            }
        }
    }

    fn request(&mut self, fate: &mut impl FnMut(&mut fastrand::Rng, usize) -> Fate) {
        if self.random.f64() >= self.acceptance() {
            return;
        }
        let shares: Vec<u64> =
            (0..self.workers.load().members.len()).map(|i| u64::from(self.share(i))).collect();
        let mut left = self.random.u64(..shares.iter().sum::<u64>());
        let index = shares.iter().position(|parts| {
            let here = left < *parts;
            left = left.saturating_sub(*parts);
            here
        });
        let index = index.unwrap();
        let (takes, good) = fate(&mut self.random, index);
        let takes = takes.clamp(1, TIMEOUT);
        self.asked += 1;
        let worker = self.worker(index);
        let counts = worker.counts.of(SHARD);
        counts.attempts.add(1);
        counts.waiting.add(1);
        self.running.push(Reverse((self.millis + takes, index, good && takes < TIMEOUT, takes)));
    }

    fn end_some(&mut self) {
        while let Some(Reverse((end, index, good, takes))) = self.running.peek().copied()
            && end <= self.millis
        {
            self.running.pop();
            let worker = self.worker(index);
            let counts = worker.counts.of(SHARD);
            counts.waiting.sub(1);
            counts.waited.add(1);
            counts.waited_nanos.add(takes * 1_000_000);
            let requests = self.workers.requests.of(SHARD).of(CallerGroup::default());
            if good {
                counts.good.add(1);
                requests.good.add(1);
            } else {
                counts.bad.add(1);
                requests.bad.add(1);
                self.failed += 1;
            }
        }
    }
}

fn at(millis: u64) -> Moment {
    Moment::at(1_000_000_000 + millis * 1_000_000)
}

fn wanted(port: u16) -> Wanted {
    Wanted { address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(), priority: 0, weight: 1 }
}

fn well(_: &mut fastrand::Rng, _: usize) -> Fate {
    (10, true)
}

fn first_fails(_: &mut fastrand::Rng, index: usize) -> Fate {
    (10, index != 0)
}
