//! What holds of every pick, whatever the workers are and whatever happened to them.

use super::*;

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
