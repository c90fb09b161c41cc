//! Requests at once, and what is looked at before anything is charged.

use super::*;
use crate::admit::limit::claims::CONCURRENCY_RETRY;

#[test]
fn requests_in_progress_count_until_their_grant_is_dropped() {
    let mut limits = limits(Some(at_once(quota("default", 1, 1_000), 2)));
    limits.total = Some(at_once(quota("total", 1, 1_000), 3));
    let ledger = ledger();
    let book = book(limits, &ledger);
    for first in [stranger(0), known(0)] {
        let held = [ask(&book, &first, START).unwrap(), ask(&book, &first, START).unwrap()];
        let refusal = ask(&book, &first, START).unwrap_err().refusal;
        assert_eq!(
            (refusal.reason, refusal.retry_after),
            (Reason::CallerConcurrency, Some(CONCURRENCY_RETRY))
        );
        let third = ask(&book, &stranger(9), START).unwrap();
        let refusal = ask(&book, &stranger(8), START).unwrap_err().refusal;
        assert_eq!((refusal.reason, refusal.retry_after), (Reason::ServiceLimit, Some(CONCURRENCY_RETRY)));
        drop(third);
        assert!(ask(&book, &stranger(8), START).is_ok());
        drop(held);
        assert!(ask(&book, &first, START).is_ok());
    }
    assert_eq!(ledger.strangers_in_progress().strangers(), 0, "refusals leak nothing either");
}

#[test]
fn a_check_says_what_a_charge_would_and_takes_nothing() {
    let mut limits = limits(Some(at_once(quota("default", SECOND, 3), 2)));
    limits.total = Some(quota("total", SECOND, 4));
    let ledger = ledger();
    let book = book(limits, &ledger);
    let check = |who: &Caller| book.check(who, &GET, START).map_err(|refused| refused.refusal.reason);
    let who = stranger(0);
    for _ in 0..10 {
        assert_eq!(check(&who), Ok(()));
    }
    assert_eq!(ledger.strangers_in_progress().strangers(), 0);
    let held = [ask(&book, &who, START).unwrap(), ask(&book, &who, START).unwrap()];
    assert_eq!(check(&who), Err(Reason::CallerConcurrency));
    drop(held);
    assert_eq!(check(&who), Ok(()));
    ask(&book, &who, START).unwrap();
    assert_eq!(check(&who), Err(Reason::CallerRate));
    assert_eq!(check(&stranger(1)), Ok(()));
    ask(&book, &stranger(1), START).unwrap();
    assert_eq!(check(&stranger(1)), Err(Reason::ServiceLimit));
    assert_eq!(book.peek(&stranger(1), START).unwrap().remaining, 2);
}

#[test]
fn a_look_refuses_as_the_charge_would_and_takes_nothing() {
    for caller in [known(0), stranger(0)] {
        let mut limits = limits(Some(at_once(quota("default", SECOND, 2), 9)));
        limits.total = Some(quota("total", 1, 1_000));
        let book = book(limits, &ledger());
        let look = |now| book.look(&caller, &GET, now, false).map(drop);
        let told = |refused: Refused| {
            (refused.refusal.reason, refused.refusal.retry_after, refused.standing.unwrap())
        };
        (0..5).for_each(|_| assert!(look(START).is_ok()));
        assert_eq!(pass(&book, &caller, START), 2, "nothing was charged by looking");
        let looked = told(look(START).unwrap_err());
        assert_eq!(looked, told(ask(&book, &caller, START).unwrap_err()));
        assert_eq!((looked.0, looked.1), (Reason::CallerRate, Some(Duration::from_secs(1))));
        assert_eq!(book.in_progress(&caller, START), Some((0, 9)));
        assert!(look(later(SECOND)).is_ok());
        assert_eq!(pass(&book, &caller, later(SECOND)), 1);
    }
}

#[test]
fn a_rate_that_stands_alone_is_looked_at_only_if_a_place_is_taken() {
    for caller in [known(0), stranger(0)] {
        let book = book(limits(Some(quota("default", SECOND, 1))), &ledger());
        assert_eq!(pass(&book, &caller, START), 1);
        let refused = book.look(&caller, &GET, START, true).map(drop).unwrap_err();
        assert_eq!(refused.refusal.reason, Reason::CallerRate);
        let claims = book.look(&caller, &GET, START, false).expect("the charge asks it");
        let refused = claims.charge(START, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.refusal.reason, Reason::CallerRate);
    }
}
