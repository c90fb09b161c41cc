//! What a picker promises, with workers that refuse and return. How even the turns are is tested in `order.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::workers::health::TRIAL_LIMIT;
use crate::workers::{Wanted, Worker};

fn now(millis: u64) -> Moment {
    Moment::at(1_000_000_000 + millis * 1_000_000)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Workers on ports 1, 2, 3, … with these priorities and weights.
fn workers(places: &[(u16, u16)]) -> Arc<Workers> {
    let workers = Workers::new(1);
    let wanted = |(port, (priority, weight)): (u16, &(u16, u16))| Wanted {
        address: address(port).into(),
        priority: *priority,
        weight: *weight,
    };
    workers.replace((1..).zip(places).map(wanted).collect(), None, now(0));
    workers
}

fn worker(workers: &Workers, port: u16) -> Arc<Worker> {
    let set = workers.load();
    Arc::clone(
        &set.members
            .iter()
            .find(|member| member.worker.address.tcp().unwrap().port() == port)
            .unwrap()
            .worker,
    )
}

fn pick(picker: &mut Picker, workers: &Arc<Workers>, at: Moment, tried: &[u16]) -> Option<u16> {
    let tried: Vec<Endpoint> = tried.iter().copied().map(address).map(Endpoint::from).collect();
    let Picked::One(pick) = picker.pick(workers, at, &tried, 0) else { return None };
    Some(picker.set().members[pick.index].worker.address.tcp().unwrap().port())
}

fn counts(picker: &mut Picker, workers: &Arc<Workers>, at: Moment, picks: usize) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        *counts.entry(pick(picker, workers, at, &[]).unwrap()).or_default() += 1;
    }
    counts
}

/// Lets the worker refuse until its state says "ejected" at `at`; returns when the back-off ends.
fn eject(workers: &Workers, port: u16, at: Moment) -> Moment {
    let worker = worker(workers, port);
    workers.connect_failed(&worker, at);
    worker.standing(at).until.unwrap()
}

#[test]
fn an_empty_set_gives_nobody() {
    assert_eq!(pick(&mut Picker::new(1, &Balance::Weighted), &workers(&[]), now(0), &[]), None);
}

#[test]
fn the_lowest_priority_number_serves_by_weight() {
    let workers = workers(&[(0, 3), (0, 1), (1, 100)]);
    assert_eq!(
        counts(&mut Picker::new(1, &Balance::Weighted), &workers, now(0), 400),
        BTreeMap::from([(1, 300), (2, 100)])
    );
}

#[test]
fn the_next_priority_serves_while_the_better_one_has_no_usable_worker() {
    let workers = workers(&[(0, 1), (0, 1), (1, 1), (2, 1)]);
    let mut picker = Picker::new(1, &Balance::Weighted);
    eject(&workers, 1, now(0));
    assert_eq!(counts(&mut picker, &workers, now(0), 10), BTreeMap::from([(2, 10)]));
    eject(&workers, 2, now(0));
    assert_eq!(counts(&mut picker, &workers, now(0), 10), BTreeMap::from([(3, 10)]));
}

#[test]
fn one_request_tries_a_returning_worker_and_its_success_brings_the_share_back() {
    let workers = workers(&[(0, 1), (0, 1)]);
    let mut picker = Picker::new(1, &Balance::Weighted);
    let returns = eject(&workers, 1, now(0));
    assert_eq!(counts(&mut picker, &workers, now(10), 20), BTreeMap::from([(2, 20)]));
    assert_eq!(counts(&mut picker, &workers, returns, 20), BTreeMap::from([(1, 1), (2, 19)]));
    workers.connected(&worker(&workers, 1), returns);
    assert_eq!(counts(&mut picker, &workers, returns, 20), BTreeMap::from([(1, 10), (2, 10)]));
}

#[test]
fn a_failed_trial_ejects_again_and_a_lost_one_is_repeated() {
    let workers = workers(&[(0, 1), (0, 1)]);
    let mut picker = Picker::new(1, &Balance::Weighted);
    let returns = eject(&workers, 1, now(0));
    assert_eq!(counts(&mut picker, &workers, returns, 20)[&1], 1);
    let returns = eject(&workers, 1, returns);
    assert_eq!(counts(&mut picker, &workers, returns, 20)[&1], 1);
    let lost = returns.plus(TRIAL_LIMIT);
    assert_eq!(counts(&mut picker, &workers, lost, 20)[&1], 1);
}

#[test]
fn shards_share_the_one_trial() {
    let workers = workers(&[(0, 1), (1, 1)]);
    let mut shards: Vec<Picker> = (0..8).map(|seed| Picker::new(seed, &Balance::Weighted)).collect();
    let returns = eject(&workers, 1, now(0));
    let mut trials = 0;
    for _ in 0..50 {
        for shard in &mut shards {
            let Picked::One(pick) = shard.pick(&workers, returns, &[], 0) else { panic!() };
            trials += usize::from(pick.trial);
            assert_eq!(pick.trial, shard.set().members[pick.index].priority == 0);
        }
    }
    assert_eq!(trials, 1);
}

#[test]
fn bad_workers_are_better_than_none() {
    let workers = workers(&[(0, 1), (0, 1), (1, 1)]);
    let mut picker = Picker::new(1, &Balance::Weighted);
    for port in 1..=3 {
        eject(&workers, port, now(0));
    }
    assert_eq!(counts(&mut picker, &workers, now(1), 10), BTreeMap::from([(1, 5), (2, 5)]));
    assert_eq!(pick(&mut picker, &workers, now(1), &[1]), Some(2));
    assert_eq!(pick(&mut picker, &workers, now(1), &[1, 2]), Some(3));
    assert_eq!(pick(&mut picker, &workers, now(1), &[1, 2, 3]), None);
}

#[test]
fn a_retry_goes_to_an_ejected_worker_only_when_nobody_else_is_left() {
    let workers = workers(&[(0, 1), (0, 1), (1, 1)]);
    let mut picker = Picker::new(1, &Balance::Weighted);
    eject(&workers, 1, now(0));
    assert_eq!(pick(&mut picker, &workers, now(1), &[2]), Some(3));
    assert_eq!(pick(&mut picker, &workers, now(1), &[2, 3]), Some(1));
}

#[test]
fn a_retry_goes_by_weight_too() {
    let workers = workers(&[(0, 1), (0, 30), (0, 10)]);
    let mut picker = Picker::new(7, &Balance::Weighted);
    let heavy = (0..4_000).filter(|_| pick(&mut picker, &workers, now(0), &[1]) == Some(2)).count();
    assert!((2_800..3_200).contains(&heavy), "{heavy} of 4000 for three quarters");
}

#[test]
fn a_changed_set_is_seen_at_the_next_pick() {
    let workers = workers(&[(0, 1)]);
    let mut picker = Picker::new(1, &Balance::Weighted);
    assert_eq!(pick(&mut picker, &workers, now(0), &[]), Some(1));
    workers.replace(vec![Wanted { address: address(9).into(), priority: 0, weight: 1 }], None, now(0));
    assert_eq!(pick(&mut picker, &workers, now(0), &[]), Some(9));
    workers.replace(Vec::new(), None, now(0));
    assert_eq!(pick(&mut picker, &workers, now(0), &[]), None);
    assert_eq!(pick(&mut picker, &workers, now(0), &[9]), None);
}

#[test]
fn shards_do_not_move_in_step() {
    let workers = workers(&[(0, 1); 10]);
    let firsts: BTreeMap<u16, usize> = (0..1_000).fold(BTreeMap::new(), |mut firsts, seed| {
        *firsts
            .entry(pick(&mut Picker::new(seed, &Balance::Weighted), &workers, now(0), &[]).unwrap())
            .or_default() += 1;
        firsts
    });
    assert_eq!(firsts.len(), 10);
    assert!(firsts.values().all(|count| (50..200).contains(count)), "{firsts:?}");
}

proptest! {
    #[test]
    fn every_pick_is_untried_and_of_the_best_usable_priority(
        places in prop::collection::vec((0_u16..4, 0_u16..), 0..12),
        events in prop::collection::vec((0_usize..12, 0_u8..3, 0_u64..400), 0..60),
        tried in prop::collection::vec(1_u16..13, 0..5),
        seed in 0_u64..,
    ) {
        let workers = workers(&places);
        let mut picker = Picker::new(seed, &Balance::Weighted);
        let mut at = now(0);
        for (place, event, wait) in events {
            at = at.plus(Duration::from_millis(wait));
            let set = Arc::clone(&workers.load());
            if let Some(member) = set.members.get(place) {
                match event {
                    0 => workers.connect_failed(&member.worker, at),
                    1 => workers.connected(&member.worker, at),
                    _ => {}
                }
            }
            let tried: Vec<Endpoint> = tried.iter().copied().map(address).map(Endpoint::from).collect();
            let before: Vec<Use> = set.members.iter().map(|member| member.worker.usable(at)).collect();
            let untried = |index: &usize| !tried.contains(&set.members[*index].worker.address);
            let usable = |index: &usize| not_before(&before[*index]).is_none() && untried(index);
            let best = (0..set.members.len()).find(usable).or_else(|| (0..set.members.len()).find(untried));
            let pick = match picker.pick(&workers, at, &tried, 0) { Picked::One(pick) => Some(pick), _ => None };
            prop_assert_eq!(pick.is_none(), best.is_none());
            if let (Some(pick), Some(best)) = (pick, best) {
                prop_assert!(untried(&pick.index));
                prop_assert_eq!(set.members[pick.index].priority, set.members[best].priority);
                prop_assert_eq!(pick.trial, before[pick.index] == Use::Trial);
            }
        }
    }
}
