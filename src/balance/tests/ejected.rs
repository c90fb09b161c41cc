//! Workers that are ejected, come back or have yet to pass a check: who gets something beside them, and what they get.

use super::*;

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
fn what_is_too_much_for_the_others_does_not_go_to_an_ejected_worker() {
    let workers = with_seats(&[(0, 1), (0, 1), (0, 1)], 1);
    let mut picker = seeing(&Balance::Weighted, &workers, &[share(64), share(64), Use::Ejected(0)]);
    let _seats: Vec<Picked> = (0..2).map(|_| picker.pick(&workers, now(0), &[], 0)).collect();
    assert!(matches!(picker.pick(&workers, now(0), &[], 0), Picked::Full));
}
