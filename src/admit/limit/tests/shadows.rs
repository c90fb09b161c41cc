//! Limits in shadow: counted, and without a say.

use super::*;

fn shadow(mut quota: Quota) -> Quota {
    quota.mode = Mode::Shadow;
    quota
}

#[test]
fn a_shadow_quota_counts_truthfully_and_decides_nothing() {
    let mut limits = limits(Some(shadow(at_once(quota("default", SECOND, 3), 100))));
    limits.total = Some(at_once(quota("total", SECOND, 5), 5));
    let book = book(limits, &ledger());
    let mut shadows = Vec::new();
    let grants: Vec<_> = (0..6).map(|_| book.charge(&stranger(0), &GET, START, &mut shadows)).collect();
    assert_eq!(grants.iter().filter(|grant| grant.is_ok()).count(), 5, "the total is enforced all the same");
    assert_eq!(shadows.len(), 2, "3 of the 5 that passed would have passed");
    assert!(
        shadows.iter().all(|shadow| shadow.reason == Reason::CallerRate && shadow.would == Verdict::Deny)
    );
    assert!(grants[0].as_ref().unwrap().standing.is_none(), "nobody is told of a shadow");
    assert!(
        book.charge(&stranger(1), &GET, later(2 * SECOND), &mut shadows).is_err(),
        "five are in progress"
    );
    drop(grants);
    assert!(book.charge(&stranger(1), &GET, later(2 * SECOND), &mut shadows).is_ok());
}

#[test]
fn a_shadow_total_lets_the_enforced_quota_decide() {
    let mut limits = limits(Some(quota("default", SECOND, 4)));
    limits.total = Some(shadow(quota("total", SECOND, 2)));
    let book = book(limits, &ledger());
    let mut shadows = Vec::new();
    let passed = (0..9).filter(|_| book.charge(&known(1), &GET, START, &mut shadows).is_ok()).count();
    assert_eq!((passed, shadows.len()), (4, 2));
    assert!(
        shadows.iter().all(|shadow| shadow.reason == Reason::ServiceLimit && shadow.rule.name == "total")
    );
}
