//! Bursts, intervals, totals and costs: what passes at which moment.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;
use crate::admit::decide;
use crate::admit::pattern::tests::pattern;
use crate::admit::permission::RuleBook;
use crate::config::{Cost, Permissions};

#[test]
fn a_burst_passes_and_then_one_every_interval() {
    let book = book(limits(Some(quota("default", SECOND / 20, 40))), &ledger());
    for caller in [known(0), stranger(1)] {
        assert_eq!(pass(&book, &caller, START), 40);
        assert_eq!(pass(&book, &caller, later(SECOND / 20 - 1)), 0);
        assert_eq!(pass(&book, &caller, later(SECOND / 20)), 1);
        assert_eq!(pass(&book, &caller, later(100 * SECOND)), 40);
    }
    assert_eq!(pass(&book, &stranger(2), START), 40, "strangers do not share");
}

#[test]
fn a_refusal_by_the_total_charges_the_caller_nothing() {
    let mut limits = limits(Some(quota("default", SECOND, 10)));
    limits.total = Some(quota("total", SECOND, 12));
    let book = book(limits, &ledger());
    assert_eq!(pass(&book, &stranger(0), START), 10);
    assert_eq!(
        pass(&book, &stranger(1), START),
        2,
        "refusals of the first caller took nothing from the total"
    );
    let refused = ask(&book, &stranger(1), START).unwrap_err();
    assert_eq!(refused.refusal.reason, Reason::ServiceLimit);
    assert_eq!(refused.refusal.rule.unwrap().name, "total");
    assert_eq!(refused.refusal.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(book.peek(&stranger(1), START).unwrap().remaining, 8);
}

#[test]
fn what_a_rule_denies_charges_nobody() {
    let book = book(limits(Some(quota("default", SECOND, 3))), &ledger());
    let rules = |default| {
        let permissions = Permissions { default, default_ref: rule("default"), rules: vec![] };
        RuleBook::new(&Arc::new(Service { permissions, ..crate::config::plain_service() }))
    };
    let (who, mut shadows) = (stranger(0), Vec::new());
    let refused =
        decide((&rules(Verdict::Deny), &book), (&who, "address:192.0.2.0"), &GET, START, &mut shadows)
            .unwrap_err();
    assert_eq!(refused.refusal.reason, Reason::DeniedByRule);
    assert_eq!(pass(&book, &who, START), 3);
    let refused =
        decide((&rules(Verdict::Allow), &book), (&who, "address:192.0.2.0"), &GET, START, &mut shadows)
            .unwrap_err();
    assert_eq!(refused.refusal.reason, Reason::CallerRate);
}

#[test]
fn a_costly_request_takes_more_from_both() {
    let mut limits = limits(Some(quota("default", SECOND, 10)));
    limits.total = Some(quota("total", SECOND, 100));
    let cost = |cost, path| Cost {
        paths: vec![pattern(path)],
        methods: vec![],
        cost: NonZeroU32::new(cost).unwrap(),
    };
    limits.costs = vec![cost(4, "/search/**"), cost(11, "/never")];
    let book = book(limits, &ledger());
    let search = Facts { path: "/search/x", ..GET };
    let mut no = Vec::new();
    assert!(book.charge(&stranger(0), &search, START, &mut no).is_ok());
    assert!(book.charge(&stranger(0), &search, START, &mut no).is_ok());
    let refused = book.charge(&stranger(0), &search, START, &mut no).unwrap_err();
    assert_eq!(refused.refusal.retry_after, Some(Duration::from_secs(2)));
    assert_eq!(refused.standing.unwrap().remaining, 2);
    assert_eq!(pass(&book, &stranger(0), START), 2);
    assert_eq!(pass(&book, &stranger(1), START), 10);
    let refused = book.charge(&stranger(2), &Facts { path: "/never", ..GET }, START, &mut no).unwrap_err();
    assert_eq!((refused.refusal.retry_after, refused.standing.unwrap().remaining), (None, 10));
}

#[test]
fn shards_together_admit_a_burst_and_not_one_more() {
    let mut limits = limits(Some(at_once(quota("default", SECOND, 500), 1_000)));
    limits.total = Some(quota("total", SECOND, 5_000));
    let book = book(limits, &ledger());
    for address in [0x0A00_0000, 0xC000_0201] {
        let passed = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    passed.fetch_add(pass(&book, &caller(address), START), Relaxed);
                });
            }
        });
        assert_eq!(passed.into_inner(), 500);
    }
    assert_eq!(pass(&book, &stranger(7), START), 500, "the total was charged 1,000 and not more");
    let left = (10..20).map(|number| pass(&book, &stranger(number), START)).sum::<u32>();
    assert_eq!(left, 5_000 - 1_500, "what races lost was given back exactly");
}
