//! Limits beside a model that keeps true times and forgets nothing.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::admit::pattern::tests::pattern;
use crate::config::Cost;

/// GCRA as the papers have it, one number per caller.
#[derive(Default)]
struct Model(HashMap<u32, u64>);

impl Model {
    /// How long this charge has to wait; charges if that is zero.
    fn charge(&mut self, who: u32, (interval, burst): (u64, u64), cost: u64, now: u64) -> u64 {
        let tat = self.0.entry(who).or_default();
        let start = (*tat).max(now);
        let wait = (start + cost * interval).saturating_sub(now + burst * interval);
        if wait == 0 {
            *tat = start + cost * interval;
        }
        wait
    }
}

proptest! {
    #[test]
    fn any_course_of_requests_agrees_with_the_model(
        interval in 1..3 * SECOND,
        burst in 5..60_u32,
        steps in proptest::collection::vec((0..5_u32, 1..6_u32, 0..40_u64), 1..300),
    ) {
        let mut limits = limits(Some(quota("default", interval, burst)));
        limits.costs = (2..6).map(|cost| Cost {
            paths: vec![pattern(&format!("/{cost}"))],
            methods: vec![],
            cost: NonZeroU32::new(cost).unwrap(),
        }).collect();
        let book = book(limits, &ledger());
        let person = |who| if who < 2 { known(who) } else { stranger(who) };
        let people: BTreeMap<u32, Caller> = (0..5).map(|who| (who, person(who))).collect();
        let (mut model, mut now) = (Model::default(), START);
        let rule = (interval, u64::from(burst));
        for (who, cost, tenths) in steps {
            now = now.plus(Duration::from_nanos(interval * tenths / 10));
            let path = format!("/{cost}");
            let facts = Facts { path: &path, ..GET };
            let wait = model.charge(who, rule, u64::from(cost), now.nanos);
            let answer = book.charge(&people[&who], &facts, now, &mut Vec::new());
            match answer {
                Ok(_) => prop_assert_eq!(wait, 0),
                Err(refused) => {
                    prop_assert_eq!(refused.refusal.retry_after, Some(Duration::from_nanos(wait)));
                    // A moment before the promised time it is refused still; at that time it passes.
                    now = now.plus(Duration::from_nanos(wait - 1));
                    prop_assert!(book.charge(&people[&who], &facts, now, &mut Vec::new()).is_err());
                    now = now.plus(Duration::from_nanos(1));
                    prop_assert!(book.charge(&people[&who], &facts, now, &mut Vec::new()).is_ok());
                    prop_assert_eq!(model.charge(who, rule, u64::from(cost), now.nanos), 0);
                }
            }
        }
    }

    #[test]
    fn two_limits_are_charged_both_or_neither(
        steps in proptest::collection::vec((0..4_u32, 0..20_u64), 1..200),
    ) {
        let mut limits = limits(Some(quota("default", SECOND / 2, 4)));
        limits.total = Some(quota("total", SECOND / 4, 6));
        let book = book(limits, &ledger());
        let (mut own, mut total, mut now) = (Model::default(), Model::default(), START);
        for (who, tenths) in steps {
            now = now.plus(Duration::from_nanos(SECOND * tenths / 40));
            let before = (own.0.clone(), total.0.clone());
            let waits = (
                own.charge(who, (SECOND / 2, 4), 1, now.nanos),
                total.charge(0, (SECOND / 4, 6), 1, now.nanos),
            );
            if waits != (0, 0) {
                (own.0, total.0) = before;
            }
            match ask(&book, &stranger(who), now) {
                Ok(_) => prop_assert_eq!(waits, (0, 0)),
                Err(refused) if refused.refusal.reason == Reason::CallerRate => {
                    prop_assert_eq!(refused.refusal.retry_after, Some(Duration::from_nanos(waits.0)));
                }
                Err(refused) => {
                    prop_assert_eq!(refused.refusal.reason, Reason::ServiceLimit);
                    prop_assert_eq!((0, refused.refusal.retry_after), (waits.0, Some(Duration::from_nanos(waits.1))));
                }
            }
        }
    }
}
