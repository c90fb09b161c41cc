//! A service in virtual time: ten workers of which one takes ten times as long, and requests that arrive at random.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::*;
use crate::shard::ShardId;
use crate::workers::Wanted;

const WORKERS: usize = 10;
const REQUESTS: usize = 60_000;
/// Service times, in nanoseconds. A worker serves one request at a time; the others wait there.
const NORMAL: u64 = 10_000_000;
const SLOW: u64 = 100_000_000;
/// Of what all workers could serve together if none were slow.
const LOAD: f64 = 0.6;

/// The 99th percentile of the answer times in milliseconds: of the whole service, and of its healthy workers.
fn p99(balance: &Balance, seed: u64) -> (f64, f64) {
    let workers = Workers::new(1);
    let wanted = (1..=WORKERS as u16).map(|port| Wanted {
        address: SocketAddr::from(([127, 0, 0, 1], port)).into(),
        priority: 0,
        weight: 1,
    });
    workers.replace(wanted.collect(), None, Moment::at(1));
    let set = Arc::clone(&workers.load());
    let mut picker = Picker::new(seed, balance);
    let mut random = fastrand::Rng::with_seed(seed);
    // What waits at each worker since when, the one that is served included; and when each is done.
    let mut queues: Vec<VecDeque<u64>> = vec![VecDeque::new(); WORKERS];
    let mut done: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let (mut all, mut healthy) = (Vec::new(), Vec::new());
    let time = |worker: usize| if worker == 0 { SLOW } else { NORMAL };
    let mean = NORMAL as f64 / (WORKERS as f64 * LOAD);
    let (mut next, mut sent) = (0_u64, 0);
    loop {
        let arrival = if sent < REQUESTS { next } else { u64::MAX };
        if let Some(Reverse((at, worker))) = done.peek().copied()
            && at <= arrival
        {
            done.pop();
            let began = queues[worker].pop_front().unwrap();
            set.members[worker].worker.counts.of(ShardId(0)).active.sub(1);
            let millis = (at - began) as f64 / 1e6;
            all.push(millis);
            if worker > 0 {
                healthy.push(millis);
            }
            if !queues[worker].is_empty() {
                done.push(Reverse((at + time(worker), worker)));
            }
            continue;
        }
        if sent == REQUESTS {
            break;
        }
        let key = random.u64(..);
        let Picked::One(pick) = picker.pick(&workers, Moment::at(arrival + 1), &[], key) else {
            panic!("all are well")
        };
        set.members[pick.index].worker.counts.of(ShardId(0)).active.add(1);
        queues[pick.index].push_back(arrival);
        if queues[pick.index].len() == 1 {
            done.push(Reverse((arrival + time(pick.index), pick.index)));
        }
        sent += 1;
        next += (-(1.0 - random.f64()).ln() * mean) as u64;
    }
    assert_eq!(all.len(), REQUESTS);
    (percentile(all), percentile(healthy))
}

fn percentile(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

#[test]
fn one_worker_ten_times_slower_hardly_shows_in_the_tail_under_least_requests() {
    for seed in [1, 2, 3] {
        let (least, least_healthy) = p99(&Balance::LeastRequests, seed);
        let (weighted, weighted_healthy) = p99(&Balance::Weighted, seed);
        println!(
            "seed {seed}: p99 in ms of the service and of its healthy workers: least_requests {least:.0} and \
             {least_healthy:.0}, weighted {weighted:.0} and {weighted_healthy:.0}"
        );
        assert!(least < 1.5 * least_healthy, "seed {seed}: {least} for {least_healthy}");
        assert!(weighted > 5.0 * weighted_healthy, "seed {seed}: {weighted} for {weighted_healthy}");
    }
}
