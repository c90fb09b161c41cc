//! `balance: ring`: who gets a key, and when it moves.

use super::*;

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
