//! What a picker promises, with workers that refuse and return. How even the turns are is tested in `order.rs`.

mod ejected;
mod every_pick;
mod keys;
mod simulation;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::RingKey;
use crate::shard::ShardId;
use crate::workers::health::{TRIAL_LIMIT, Use};
use crate::workers::ring::mixed;
use crate::workers::{Terms, Wanted, Worker};

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
    // Those that were tried are usable, and better than one that takes no connections.
    assert!(matches!(pick(&mut picker, &workers, now(1), &[2, 3]), Some(2)));
    eject(&workers, 2, now(0));
    eject(&workers, 3, now(0));
    assert_eq!(pick(&mut picker, &workers, now(1), &[2, 3]), Some(1));
}

#[test]
fn a_single_worker_is_tried_again_unless_it_takes_no_connection() {
    let workers = workers(&[(0, 1)]);
    let mut picker = Picker::new(1, &Balance::Weighted);
    assert_eq!(pick(&mut picker, &workers, now(0), &[1]), Some(1));
    let returns = eject(&workers, 1, now(0));
    assert_eq!(pick(&mut picker, &workers, now(1), &[1]), None);
    assert_eq!(pick(&mut picker, &workers, returns, &[1]), None, "a trial is for another request");
    assert_eq!(pick(&mut picker, &workers, returns, &[]), Some(1));
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

fn share(share: u8) -> Use {
    Use::Share(share)
}

/// A picker that sees these workers so, whatever their health says.
fn seeing(balance: &Balance, workers: &Workers, uses: &[Use]) -> Picker {
    let mut picker = Picker::new(5, balance);
    see(&mut picker, workers, uses);
    picker
}

fn see(picker: &mut Picker, workers: &Workers, uses: &[Use]) {
    let outlooks: Vec<Outlook> =
        uses.iter().map(|usable| Outlook { usable: *usable, changes_at: u64::MAX }).collect();
    picker.version = Some(workers.version());
    picker.lay_out(Arc::clone(&workers.load()), &outlooks, &workers.terms());
}

fn methods() -> [Balance; 3] {
    [Balance::Weighted, Balance::LeastRequests, Balance::Ring(RingKey::Caller)]
}

fn with_seats(places: &[(u16, u16)], seats_each: u32) -> Arc<Workers> {
    let workers = workers(places);
    workers.adopt(Terms { seats_each, ..Terms::default() });
    workers
}

#[test]
fn shares_hold_although_the_table_is_made_anew_every_seven_picks() {
    let workers = workers(&[(0, 3), (0, 1), (0, 2), (0, 1)]);
    let mut picker = Picker::new(11, &Balance::Weighted);
    let mut counts = [0.0_f64; 4];
    let mut due = [0.0_f64; 4];
    for round in 0..100_000 / 7 {
        // Shares that move all the time, so cycles and rotations of all lengths follow each other.
        let uses = [share(64), share(1 + (round % 64) as u8), share(64 - (round % 7) as u8), share(64)];
        see(&mut picker, &workers, &uses);
        let parts = [(3, uses[0]), (1, uses[1]), (2, uses[2]), (1, uses[3])].map(|(weight, usable)| {
            if let Use::Share(n) = usable { f64::from(weight * u16::from(n)) } else { 0.0 }
        });
        for _ in 0..7 {
            let Picked::One(pick) = picker.pick(&workers, now(0), &[], 0) else { panic!("one is free") };
            counts[pick.index] += 1.0;
            for (due, part) in due.iter_mut().zip(parts) {
                *due += part / parts.iter().sum::<f64>();
            }
        }
    }
    for (count, due) in counts.iter().zip(due) {
        assert!((count - due).abs() < due * 0.02, "{counts:?} for {due}");
    }
}

#[test]
fn a_table_made_anew_for_every_pick_starves_nobody() {
    let workers = workers(&[(0, 3), (0, 1), (0, 1), (0, 1)]);
    let mut picker = Picker::new(3, &Balance::Weighted);
    let mut last = [0; 4];
    for turn in 1..10_000_usize {
        // Two layouts that follow each other: whoever sits behind the beginning of both would never be reached.
        see(
            &mut picker,
            &workers,
            &[share(64), share(64), share(if turn % 2 == 0 { 64 } else { 63 }), share(64)],
        );
        let Picked::One(pick) = picker.pick(&workers, now(0), &[], 0) else { panic!("one is free") };
        last[pick.index] = turn;
        assert!(last.iter().all(|last| turn - last < 60), "{last:?} at {turn}");
    }
}

#[test]
fn a_worker_that_hangs_leaves_room_for_the_others() {
    for balance in methods() {
        let workers = workers(&[(0, 1), (0, 1), (0, 2), (1, 1)]);
        workers.adopt(Terms { concurrent: 20, ..Terms::default() });
        let mut picker = Picker::new(1, &balance);
        let mut stuck = Vec::new();
        for key in 0..2_000_u64 {
            let Picked::One(pick) = picker.pick(&workers, now(0), &[], mixed(key)) else {
                panic!("there is room")
            };
            if pick.index == 0 {
                stuck.push(pick);
            }
        }
        // Three halves of its quarter.
        assert_eq!(stuck.len(), 8, "{balance:?}");
        // One that is alone has all the places.
        workers.adopt(Terms { concurrent: 20, max_ejected: 1.0, ..Terms::default() });
        see(&mut picker, &workers, &[Use::Ejected(0), share(64), Use::NotBefore(u64::MAX), Use::Unready]);
        let all: Vec<Picked> = (0..20).map(|key| picker.pick(&workers, now(0), &[], key)).collect();
        assert!(
            all.iter().all(|picked| matches!(picked, Picked::One(pick) if pick.index == 1)),
            "{balance:?}"
        );
    }
}

#[test]
fn a_lessened_share_counts_twice_among_idle_workers_under_least_requests() {
    let workers = workers(&[(0, 1), (0, 1)]);
    let mut picker = seeing(&Balance::LeastRequests, &workers, &[share(64), share(32)]);
    // Drawn once in three, and kept every second time.
    let second = counts(&mut picker, &workers, now(0), 12_000)[&2];
    assert!((1_850..2_150).contains(&second), "{second}");
    // One that is busier by its share never gets it.
    worker(&workers, 2).counts.of(ShardId(0)).active.add(1);
    assert_eq!(counts(&mut picker, &workers, now(0), 1_000), BTreeMap::from([(1, 1_000)]));
}

#[test]
fn nobody_queues_behind_a_busy_worker_while_another_is_free() {
    for balance in methods() {
        let workers = with_seats(&[(0, 60), (0, 1), (0, 9), (1, 1)], 1);
        let mut picker = Picker::new(1, &balance);
        for key in 0..200 {
            let mut seats = Vec::new();
            let mut taken = Vec::new();
            for _ in 0..3 {
                let Picked::One(pick) = picker.pick(&workers, now(0), &[], key) else {
                    panic!("one is free")
                };
                taken.push(pick.index);
                seats.push(pick.seat);
            }
            taken.sort_unstable();
            assert_eq!(taken, [0, 1, 2]);
            // Full is not unreachable: the next priority is not asked.
            assert!(matches!(picker.pick(&workers, now(0), &[], key), Picked::Full));
            assert!(matches!(picker.pick(&workers, now(0), &[address(1).into()], key), Picked::Full));
        }
        assert!(workers.load().members.iter().all(|member| member.worker.seats_taken() == 0));
    }
}

#[test]
fn who_has_a_place_is_not_counted_where_all_shards_read() {
    let workers = with_seats(&[(0, 1), (0, 1)], 9);
    let mut picker = Picker::new(1, &Balance::Weighted);
    let mut taken = vec![picker.pick(&workers, now(0), &[], 0)];
    let holders = Arc::strong_count(&workers);
    taken.extend((0..9).map(|_| picker.pick(&workers, now(0), &[], 0)));
    assert_eq!(workers.load().members.iter().map(|member| member.worker.seats_taken()).sum::<u32>(), 10);
    assert_eq!(Arc::strong_count(&workers), holders, "a count that every request would write");
    drop(taken);
    assert_eq!(workers.load().members.iter().map(|member| member.worker.seats_taken()).sum::<u32>(), 0);
}
