//! What a reload leaves as it is: debts, accounts and requests in progress.

use super::*;

#[test]
fn requests_in_progress_are_still_counted_after_a_reload() {
    let (ledger, make) = (ledger(), || limits(Some(at_once(quota("default", 1, 1_000), 1))));
    for who in [stranger(0), known(0)] {
        let held = ask(&book(make(), &ledger), &who, START).unwrap();
        assert!(ask(&book(make(), &ledger), &who, START).is_err());
        drop(held);
        assert!(ask(&book(make(), &ledger), &who, START).is_ok());
    }
}

#[test]
fn a_reload_grants_nobody_a_token() {
    for who in [stranger(0), known(0)] {
        let ledger = ledger();
        let old = book(limits(Some(quota("default", SECOND / 10, 20))), &ledger);
        assert_eq!(pass(&old, &who, START), 20);
        for _ in 0..5 {
            let same = book(limits(Some(quota("default", SECOND / 10, 20))), &ledger);
            assert_eq!(pass(&same, &who, START), 0);
        }
        // The debt is 2 s. A burst of 30 at the same rate spans 3 s: 10 more, which is what the new rule says.
        let raised = book(limits(Some(quota("default", SECOND / 10, 30))), &ledger);
        assert_eq!(pass(&raised, &who, START), 10);
        let lowered = book(limits(Some(quota("default", SECOND / 10, 5))), &ledger);
        assert_eq!(pass(&lowered, &who, START), 0);
    }
}

#[test]
fn an_account_is_made_when_its_caller_first_asks_and_found_again_after_a_reload() {
    let ledger = ledger();
    let make = || book(limits(Some(quota("default", SECOND, 2))), &ledger);
    let (first, second) = (make(), make());
    assert_eq!(ledger.accounts(), 1, "the total's alone");
    assert_eq!(pass(&first, &known(1), START), 2);
    assert_eq!(ledger.accounts(), 2);
    assert_eq!(pass(&second, &known(1), START), 0, "both books charge the same account");
    drop((first, second));
    ledger.forget_settled_accounts(later(SECOND));
    assert_eq!(ledger.accounts(), 1, "what is owed is kept");
    assert_eq!(pass(&make(), &known(1), later(SECOND)), 1);
    ledger.forget_settled_accounts(later(9 * SECOND));
    assert_eq!(ledger.accounts(), 0);
}

#[test]
fn a_shared_agreement_keeps_its_debt_when_its_members_change() {
    let (ledger, shared) = (ledger(), |callers: &[usize]| {
        let mut limits = limits(None);
        limits.agreements.push(agreement(callers, true, quota("agreement a", SECOND, 6)));
        limits
    });
    assert_eq!(pass(&book(shared(&[0, 1]), &ledger), &known(0), START), 6);
    assert_eq!(pass(&book(shared(&[2, 1]), &ledger), &known(2), START), 0);
}

#[test]
fn a_debt_of_a_slow_rule_does_not_outlive_the_rule() {
    for who in [stranger(0), known(0)] {
        let ledger = ledger();
        let day = 86_400 * SECOND;
        let slow = book(limits(Some(quota("default", day / 10, 10))), &ledger);
        assert_eq!(pass(&slow, &who, START), 10);
        let fast = book(limits(Some(quota("default", SECOND / 100, 100))), &ledger);
        let wait = ask(&fast, &who, START).unwrap_err().refusal.retry_after.unwrap();
        assert_eq!(wait, Duration::from_millis(10));
        assert_eq!(pass(&fast, &who, later(SECOND / 100)), 1);
        assert_eq!(pass(&fast, &who, later(SECOND)), 99);
    }
}

#[test]
fn a_smaller_burst_in_between_forgives_nothing() {
    for who in [stranger(0), known(0)] {
        let (ledger, hour) = (ledger(), 3_600 * SECOND);
        let next = |before: Option<&LimitBook>, interval: u64, burst: u32| {
            let limits = limits(Some(quota("default", interval, burst)));
            LimitBook::after(before, &service(limits), &callers(), ledger.clone())
        };
        let first = next(None, hour, 5);
        assert_eq!(pass(&first, &who, START), 5);
        let smaller = next(Some(&first), hour, 3);
        assert_eq!(pass(&smaller, &who, START), 0);
        let slower = next(Some(&smaller), 2 * hour, 1);
        assert_eq!(pass(&slower, &who, START), 0);
        let again = next(Some(&slower), 2 * hour, 2);
        assert_eq!(pass(&again, &who, START), 0);
        let raised = next(Some(&again), SECOND, 3);
        assert_eq!(pass(&raised, &who, START), 0);
        assert_eq!(
            pass(&raised, &who, later(2 * SECOND)),
            2,
            "nobody waits for hours by a rule that is gone"
        );
    }
}
