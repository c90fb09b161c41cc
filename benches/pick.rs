//! What one choice of a worker costs: few and many workers, short cycles and long rotations, with all workers well,
//! and once the whole table of turns, which a shard makes anew when a worker's health or the set changes.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use buckler::balance::Picker;
use buckler::clock::Moment;
use buckler::config::{Balance, RingKey};
use buckler::workers::{Wanted, Workers};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Workers of one priority with these weights.
fn workers(weights: impl Iterator<Item = u16>, now: Moment) -> Arc<Workers> {
    let workers = Workers::new(1);
    let wanted = (1..).zip(weights).map(|(port, weight)| Wanted {
        address: SocketAddr::from(([127, 0, 0, 1], port)).into(),
        priority: 0,
        weight,
    });
    workers.replace(wanted.collect(), None, now);
    workers
}

/// Weights that have nothing in common, from 1 to 65535.
fn different(count: u32) -> impl Iterator<Item = u16> {
    (1..=count).map(|n| u16::try_from(n * 7_919 % 65_521).unwrap_or(1))
}

fn pick(c: &mut Criterion) {
    let now = Moment::at(1_000_000_000);
    let cases = [
        ("1", workers([1].into_iter(), now)),
        ("4 by 3:1:1:1", workers([3, 1, 1, 1].into_iter(), now)),
        ("4 different", workers(different(4), now)),
        ("1000 alike", workers([1; 1000].into_iter(), now)),
        ("1000 different", workers(different(1_000), now)),
        ("10000 different", workers(different(10_000), now)),
    ];
    let mut group = c.benchmark_group("pick");
    for (name, workers) in &cases {
        let mut picker = Picker::new(7, &Balance::Weighted);
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(picker.pick(workers, now, &[], 0)));
        });
    }
    group.finish();

    for (name, balance) in
        [("pick by least requests", Balance::LeastRequests), ("pick by ring", Balance::Ring(RingKey::Caller))]
    {
        let mut group = c.benchmark_group(name);
        for count in [1, 4, 1_000, 10_000] {
            let workers = workers(different(count), now);
            let (mut picker, mut key) = (Picker::new(7, &balance), 0_u64);
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| {
                    key += 1;
                    black_box(picker.pick(&workers, now, &[], key))
                });
            });
        }
        group.finish();
    }

    let mut group = c.benchmark_group("pick after a change");
    for (name, workers) in &cases {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(Picker::new(7, &Balance::Weighted).pick(workers, now, &[], 0)));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("pick another");
    for (name, workers) in &cases[1..] {
        let mut picker = Picker::new(7, &Balance::Weighted);
        let tried = [workers.load().members[0].worker.address.clone()];
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(picker.pick(workers, now, &tried, 0)));
        });
    }
    group.finish();
}

criterion_group!(benches, pick);
criterion_main!(benches);
