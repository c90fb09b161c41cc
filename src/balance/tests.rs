//! What a picker promises, with workers that refuse and return. How even the turns are is tested in `order.rs`.

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
fn few_ejected_workers_get_their_trickle_and_many_are_used_whole() {
    let workers = workers(&[(0, 1), (0, 1), (0, 1), (1, 1)]);
    for balance in [Balance::Weighted, Balance::LeastRequests] {
        let mut picker = seeing(&balance, &workers, &[share(64), share(64), Use::Ejected(1), share(64)]);
        let few = counts(&mut picker, &workers, now(0), 12_900);
        assert!((60..150).contains(&few[&3]) && !few.contains_key(&4), "{few:?} of {balance:?}");
        see(&mut picker, &workers, &[share(64), share(64), Use::Ejected(0), share(64)]);
        assert!(!counts(&mut picker, &workers, now(0), 1_000).contains_key(&3));
        // Two of three are more than half.
        see(&mut picker, &workers, &[share(64), Use::Ejected(0), Use::Ejected(1), Use::Ejected(0)]);
        let many = counts(&mut picker, &workers, now(0), 3_000);
        assert!([1, 2, 3].iter().all(|port| (900..1_100).contains(&many[port])), "{many:?} of {balance:?}");
        // Those that take no connections count, and are not used.
        see(&mut picker, &workers, &[share(64), Use::NotBefore(u64::MAX), Use::Ejected(1), Use::Ejected(0)]);
        let many = counts(&mut picker, &workers, now(0), 3_000);
        assert!((1_400..1_600).contains(&many[&3]) && many.len() == 2, "{many:?} of {balance:?}");
    }
}

#[test]
fn the_ill_of_a_priority_are_not_used_while_another_priority_is_well() {
    let workers = workers(&[(1, 1), (1, 1), (1, 1), (1, 1), (2, 1)]);
    for balance in methods() {
        // The first of the four is back and starts slowly.
        let mut uses = [share(1), Use::Ejected(0), Use::Ejected(1), Use::Ejected(0), share(64)];
        let mut picker = seeing(&balance, &workers, &uses);
        assert_eq!(counts(&mut picker, &workers, now(0), 1_000), BTreeMap::from([(1, 1_000)]), "{balance:?}");
        assert_eq!(pick(&mut picker, &workers, now(0), &[1]), Some(5), "a retry goes to nobody ill");
        uses[0] = Use::Ejected(0);
        see(&mut picker, &workers, &uses);
        assert_eq!(counts(&mut picker, &workers, now(0), 100), BTreeMap::from([(5, 100)]), "{balance:?}");
    }
}

#[test]
fn workers_of_a_better_priority_are_tried_while_the_next_one_serves() {
    for balance in methods() {
        let workers = workers(&[(1, 1), (1, 1), (1, 1), (2, 1)]);
        let mut picker = Picker::new(1, &balance);
        let back = (1..=3).map(|port| eject(&workers, port, now(0)).nanos).max().map(Moment::at).unwrap();
        assert_eq!(counts(&mut picker, &workers, now(1), 10), BTreeMap::from([(4, 10)]));
        let tried = counts(&mut picker, &workers, back, 100);
        assert_eq!(tried, BTreeMap::from([(1, 1), (2, 1), (3, 1), (4, 97)]), "{balance:?}");
        workers.connected(&worker(&workers, 2), back);
        assert_eq!(counts(&mut picker, &workers, back, 100), BTreeMap::from([(2, 100)]), "{balance:?}");
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
fn an_ejected_worker_has_one_request_at_a_time_however_long_it_takes() {
    for balance in methods() {
        let workers = workers(&[(0, 1), (0, 1), (0, 1)]);
        let mut picker = seeing(&balance, &workers, &[share(64), Use::Ejected(1), share(64)]);
        let mut trickle = |keys: std::ops::Range<u64>| {
            let mut count = 0;
            for key in keys {
                let Picked::One(pick) = picker.pick(&workers, now(0), &[], ring::key_of(&key.to_be_bytes()))
                else {
                    panic!("two are free")
                };
                if pick.index == 1 {
                    count += 1;
                    picker.set().members[1].worker.counts.of(ShardId(0)).active.add(1);
                }
            }
            count
        };
        assert_eq!(trickle(0..5_000), 1, "{balance:?}");
        worker(&workers, 2).counts.of(ShardId(0)).active.sub(1);
        assert_eq!(trickle(0..5_000), 1, "{balance:?}");
    }
}

#[test]
fn when_all_are_used_the_ill_are_not_preferred_to_the_well() {
    let workers = workers(&[(0, 1); 10]);
    let mut uses = [Use::Ejected(0); 10];
    uses[3] = share(1);
    for balance in [Balance::Weighted, Balance::LeastRequests] {
        let mut picker = seeing(&balance, &workers, &uses);
        let counts = counts(&mut picker, &workers, now(0), 10_000);
        assert!(counts.len() == 10 && (850..1_150).contains(&counts[&4]), "{counts:?} of {balance:?}");
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
fn the_part_that_may_be_ejected_is_configured() {
    let workers = workers(&[(0, 1), (0, 1), (0, 1), (0, 1)]);
    let uses = [share(64), share(64), Use::Ejected(0), share(64)];
    for (max_ejected, used) in [(0.0, 4), (0.24, 4), (0.25, 3), (1.0, 3)] {
        workers.adopt(Terms { max_ejected, ..Terms::default() });
        let mut picker = seeing(&Balance::Weighted, &workers, &uses);
        assert_eq!(counts(&mut picker, &workers, now(0), 100).len(), used, "{max_ejected}");
    }
}

#[test]
fn all_ejected_are_all_used_and_a_later_priority_that_is_well_comes_before() {
    let workers = workers(&[(0, 1), (0, 1), (1, 1)]);
    workers.adopt(Terms { max_ejected: 1.0, ..Terms::default() });
    for balance in methods() {
        let mut picker = seeing(&balance, &workers, &[Use::Ejected(0), Use::Ejected(1), share(1)]);
        assert_eq!(pick(&mut picker, &workers, now(0), &[]), Some(3));
        see(&mut picker, &workers, &[Use::Ejected(0), Use::Ejected(1), Use::Ejected(1)]);
        let mut all = BTreeMap::new();
        for key in 0..1_000 {
            let Picked::One(pick) = picker.pick(&workers, now(0), &[], key) else { panic!("one is free") };
            *all.entry(pick.index).or_insert(0) += 1;
        }
        assert!(all.len() == 2 && all[&0] > 300 && all[&1] > 300, "{all:?} of {balance:?}");
        assert_eq!(pick(&mut picker, &workers, now(0), &[1, 2]).map(|port| port < 3), Some(true));
    }
}

#[test]
fn a_worker_that_has_yet_to_pass_a_check_gets_nothing_at_all() {
    let workers = workers(&[(0, 1), (0, 1)]);
    for balance in methods() {
        let mut picker = seeing(&balance, &workers, &[Use::Unready, Use::Unready]);
        assert_eq!(pick(&mut picker, &workers, now(0), &[]), None);
        see(&mut picker, &workers, &[Use::Unready, Use::NotBefore(u64::MAX)]);
        assert_eq!(pick(&mut picker, &workers, now(0), &[]), Some(2));
        assert_eq!(pick(&mut picker, &workers, now(0), &[2]), None);
    }
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

#[test]
fn what_is_too_much_for_the_others_does_not_go_to_an_ejected_worker() {
    let workers = with_seats(&[(0, 1), (0, 1), (0, 1)], 1);
    let mut picker = seeing(&Balance::Weighted, &workers, &[share(64), share(64), Use::Ejected(0)]);
    let _seats: Vec<Picked> = (0..2).map(|_| picker.pick(&workers, now(0), &[], 0)).collect();
    assert!(matches!(picker.pick(&workers, now(0), &[], 0), Picked::Full));
}

/// Who gets each of these keys while nobody has anything to do.
fn homes(workers: &Arc<Workers>, picker: &mut Picker) -> Vec<u16> {
    let home = |n: u32| {
        let key = ring::key_of(format!("caller {n}").as_bytes());
        let Picked::One(pick) = picker.pick(workers, now(0), &[], key) else { panic!("one is free") };
        picker.set().members[pick.index].worker.address.tcp().unwrap().port()
    };
    (0..20_000).map(home).collect()
}

fn moved(before: &[u16], after: &[u16]) -> f64 {
    before.iter().zip(after).filter(|(before, after)| before != after).count() as f64 / before.len() as f64
}

#[test]
fn a_key_stays_at_its_worker_over_restarts_and_when_others_come_and_go() {
    let ring = Balance::Ring(RingKey::Caller);
    let ten = workers(&[(0, 1); 10]);
    let before = homes(&ten, &mut Picker::new(1, &ring));
    assert_eq!(before, homes(&workers(&[(0, 1); 10]), &mut Picker::new(2, &ring)), "another process");

    let nine = homes(&workers(&[(0, 1); 9]), &mut Picker::new(1, &ring));
    assert!(before.iter().zip(&nine).all(|(before, after)| before == after || *before == 10));

    let eleven = homes(&workers(&[(0, 1); 11]), &mut Picker::new(1, &ring));
    assert!(before.iter().zip(&eleven).all(|(before, after)| before == after || *after == 11));
    let part = moved(&before, &eleven);
    assert!((0.06..0.13).contains(&part), "{part} for one in 11");
}

#[test]
fn a_shrinking_share_moves_keys_away_bit_by_bit_and_they_come_back() {
    let ring = Balance::Ring(RingKey::Caller);
    let workers = workers(&[(0, 1); 4]);
    let mut picker = seeing(&ring, &workers, &[share(64); 4]);
    let whole = homes(&workers, &mut picker);
    let of_first = whole.iter().filter(|port| **port == 1).count() as f64;
    let mut last = whole.clone();
    for parts in [48_u8, 32, 16, 1] {
        see(&mut picker, &workers, &[share(parts), share(64), share(64), share(64)]);
        let now = homes(&workers, &mut picker);
        // Only keys of the first one move, none of them comes back, and as many stay as its share says.
        assert!(last.iter().zip(&now).all(|(last, now)| last == now || *last == 1));
        let stay = now.iter().filter(|port| **port == 1).count() as f64 / of_first;
        assert!((stay - f64::from(parts) / 64.0).abs() < 0.03, "{stay} at {parts}");
        last = now;
    }
    see(&mut picker, &workers, &[share(32); 4]);
    assert_eq!(homes(&workers, &mut picker), whole, "all shrunk alike");
}

#[test]
fn a_hot_key_spills_over_to_the_next_worker_and_no_worker_gets_much_more_than_its_part() {
    let workers = workers(&[(0, 1), (0, 1), (0, 2)]);
    let mut picker = Picker::new(1, &Balance::Ring(RingKey::Caller));
    for _ in 0..400 {
        let Picked::One(pick) = picker.pick(&workers, now(0), &[], 7) else { panic!("one is free") };
        picker.set().members[pick.index].worker.counts.of(ShardId(0)).active.add(1);
    }
    let active: Vec<u64> = (1..=3).map(|port| worker(&workers, port).active()).collect();
    assert!(active[0] <= 126 && active[1] <= 126 && active[2] <= 251, "{active:?}");
}

#[test]
fn a_failed_request_goes_on_to_the_next_around_the_circle() {
    let workers = workers(&[(0, 1); 5]);
    let mut picker = Picker::new(1, &Balance::Ring(RingKey::Caller));
    let mut picked = |tried: &[u16]| {
        let tried: Vec<Endpoint> = tried.iter().copied().map(address).map(Endpoint::from).collect();
        let Picked::One(pick) = picker.pick(&workers, now(0), &tried, 99) else { panic!("one is free") };
        picker.set().members[pick.index].worker.address.tcp().unwrap().port()
    };
    let first = picked(&[]);
    let second = picked(&[first]);
    assert_ne!(first, second);
    assert!((0..20).all(|_| picked(&[first]) == second));
}

/// The priority that serves by the rule, if anybody is well enough to be used.
fn serving(set: &WorkerSet, uses: &[Use]) -> Option<u16> {
    let of = |wanted: fn(&Use) -> bool| {
        let found = set.members.iter().zip(uses).find(|(_, usable)| wanted(usable));
        found.map(|(member, _)| member.priority)
    };
    of(|usable| matches!(usable, Use::Share(_))).or_else(|| of(|usable| *usable == Use::Trial))
}

fn use_of_any_kind() -> impl Strategy<Value = Use> {
    prop_oneof![
        (1_u8..=64).prop_map(Use::Share),
        Just(Use::Trial),
        Just(Use::NotBefore(u64::MAX)),
        (0_u8..2).prop_map(Use::Ejected),
        Just(Use::Unready),
    ]
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
            let used = |index: &usize| matches!(before[*index], Use::Share(_) | Use::Trial);
            let all = || 0..set.members.len();
            let serving = serving(&set, &before);
            let find = |wanted: &dyn Fn(&usize) -> bool| all().find(wanted);
            let passed_over = |index: &usize| {
                tried.is_empty() && serving.is_some_and(|serving| set.members[*index].priority < serving)
            };
            // The best there is: to be tried at last, untried and usable, tried but well, untried and away.
            let best = all()
                .find(|index| passed_over(index) && before[*index] == Use::Trial)
                .or_else(|| find(&|index| used(index) && untried(index)))
                .or_else(|| find(&|index| matches!(before[*index], Use::Share(_))))
                .or_else(|| all().find(untried));
            let picked = match picker.pick(&workers, at, &tried, seed) {
                Picked::One(pick) => Some(pick),
                Picked::Full | Picked::Nobody => None,
            };
            prop_assert_eq!(picked.is_none(), best.is_none());
            if let (Some(pick), Some(best)) = (picked, best) {
                prop_assert_eq!(untried(&pick.index), untried(&best));
                prop_assert_eq!(used(&pick.index), used(&best));
                prop_assert_eq!(set.members[pick.index].priority, set.members[best].priority);
                prop_assert_eq!(pick.trial, before[pick.index] == Use::Trial);
            }
        }
    }

    #[test]
    fn the_ejected_are_used_only_if_they_are_many_and_no_other_priority_is_better(
        seen in prop::collection::vec((0_u16..4, use_of_any_kind()), 0..12),
        max_ejected in prop::sample::select(vec![0.0, 0.29, 0.5, 1.0]),
    ) {
        let places: Vec<(u16, u16)> = seen.iter().map(|(priority, _)| (*priority, 1)).collect();
        let workers = workers(&places);
        workers.adopt(Terms { max_ejected, ..Terms::default() });
        let set = Arc::clone(&workers.load());
        let port = |member: &Member| usize::from(member.worker.address.tcp().unwrap().port());
        let uses: Vec<Use> = set.members.iter().map(|member| seen[port(member) - 1].1).collect();
        let picker = seeing(&Balance::Weighted, &workers, &uses);
        let turns: Vec<usize> = picker.turns.iter().map(|place| *place as usize).collect();
        let is_used = |usable: Use| matches!(usable, Use::Share(_) | Use::Trial);
        let is_ejected = |usable: Use| matches!(usable, Use::Ejected(_));
        let serving = serving(&set, &uses);
        let of_all = |wanted: &dyn Fn(usize) -> bool| (0..uses.len()).filter(|place| wanted(*place)).count() as f64;
        if let Some(serving) = serving {
            prop_assert!(turns.iter().all(|place| set.members[*place].priority == serving));
            let serves = |place: usize| set.members[place].priority == serving && uses[place] != Use::Unready;
            let is_well = |place: usize| matches!(uses[place], Use::Share(_));
            let (all, well) = (of_all(&serves), of_all(&|place| serves(place) && is_well(place)));
            let others = of_all(&|place| is_well(place) && !serves(place)) > 0.0;
            let panics = (well == 0.0 || all - well > max_ejected * all) && !others;
            for place in (0..uses.len()).filter(|place| serves(*place) && is_ejected(uses[*place])) {
                let used = turns.contains(&place) && picker.table.share(place) == FULL_SHARE;
                prop_assert_eq!(used, panics);
            }
        } else {
            prop_assert!(turns.iter().all(|place| !is_used(uses[*place])));
            prop_assert_eq!(turns.is_empty(), uses.iter().all(|usable| *usable == Use::Unready));
        }
        // No ejected one has a greater share than one that is not.
        for (ill, well) in turns.iter().flat_map(|ill| turns.iter().map(move |well| (*ill, *well))) {
            if is_ejected(uses[ill]) && is_used(uses[well]) {
                prop_assert!(picker.table.share(ill) <= picker.table.share(well));
            }
        }
    }

    #[test]
    fn whoever_is_less_busy_by_weight_of_two_is_picked(
        weights in prop::collection::vec((1_u16..100, 1_u8..=64, 0_u64..50), 2), seed in 0_u64..,
    ) {
        let workers = workers(&[(0, weights[0].0), (0, weights[1].0)]);
        let set = Arc::clone(&workers.load());
        for (member, (_, _, active)) in set.members.iter().zip(&weights) {
            member.worker.counts.of(ShardId(0)).active.add(*active);
        }
        let mut picker = Picker::new(seed, &Balance::LeastRequests);
        see(&mut picker, &workers, &[share(weights[0].1), share(weights[1].1)]);
        let Picked::One(pick) = picker.pick(&workers, now(0), &[], 0) else { panic!("one is free") };
        let (one, other) = (weights[pick.index], weights[1 - pick.index]);
        let part = |(weight, share, _): (u16, u8, u64)| u64::from(weight) * u64::from(share);
        // Not by a whole request busier than the other; of equals, never the busier one.
        prop_assert!(one.2 * part(other) <= (other.2 + 1) * part(one));
        prop_assert!(part(one) != part(other) || one.2 <= other.2);
    }

    #[test]
    fn whatever_is_picked_and_dropped_no_place_is_lost(
        places in prop::collection::vec((0_u16..3, 0_u16..9), 1..8),
        steps in prop::collection::vec((0_u8..4, 0_usize..8), 0..80),
        method in 0_usize..3, most in 1_u32..4, seed in 0_u64..,
    ) {
        let workers = with_seats(&places, most);
        let mut picker = Picker::new(seed, &methods()[method]);
        let mut held: Vec<Pick> = Vec::new();
        let mut at = now(0);
        for (step, place) in steps {
            at = at.plus(Duration::from_millis(40));
            let set = Arc::clone(&workers.load());
            let worker = &set.members[place % set.members.len()].worker;
            match step {
                0 if !held.is_empty() => drop(held.swap_remove(place % held.len())),
                1 => workers.connect_failed(worker, at),
                2 => workers.connected(worker, at),
                _ => if let Picked::One(pick) = picker.pick(&workers, at, &[], place as u64) { held.push(pick) },
            }
            let taken: u32 = set.members.iter().map(|member| member.worker.seats_taken()).sum();
            prop_assert_eq!(taken as usize, held.len());
            prop_assert!(set.members.iter().all(|member| member.worker.seats_taken() <= most));
        }
        drop(held);
        prop_assert!(workers.load().members.iter().all(|member| member.worker.seats_taken() == 0));
    }
}
