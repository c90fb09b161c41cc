//! Which limit is whose: agreements, tiers, the default, and accounts that nobody else can use up.

use super::*;

#[test]
fn the_agreement_goes_before_the_tier_and_the_tier_before_the_default() {
    let mut limits = limits(Some(quota("default", SECOND, 5)));
    let mut ending = agreement(&[0, 2], false, quota("agreement a", SECOND, 9));
    ending.until = Some(1_010);
    limits.agreements.push(ending);
    let book = book(limits, &ledger());
    assert_eq!(pass(&book, &known(0), START), 9);
    assert_eq!(pass(&book, &known(2), START), 9);
    assert_eq!(pass(&book, &known(1), START), 5);
    assert_eq!(pass(&book, &stranger(0), START), 5);
    // After `until` the agreement is not there; the debt is.
    assert_eq!(book.own_rule(&known(0), later(10 * SECOND)).unwrap().name, "default");
    assert_eq!(book.own_rule(&known(2), later(10 * SECOND)).unwrap().name, "tier slow");
    assert_eq!(pass(&book, &known(0), later(10 * SECOND)), 5);
    assert_eq!(pass(&book, &known(2), later(10 * SECOND)), 1);
}

#[test]
fn a_shared_agreement_is_one_bucket() {
    let mut limits = limits(None);
    limits.agreements.push(agreement(&[0, 1], true, quota("agreement a", SECOND, 6)));
    let book = book(limits, &ledger());
    assert_eq!(pass(&book, &known(0), START), 6);
    assert_eq!(pass(&book, &known(1), START), 0);
    assert!(ask(&book, &stranger(0), START).unwrap().standing.is_none(), "no default: no limit");
}

#[test]
fn many_callers_have_accounts_of_their_own() {
    let mut many = Arc::into_inner(callers()).unwrap();
    let one = many.known[0].clone();
    many.known =
        (0..1_000).map(|n| KnownCaller { name: format!("known-{n}").into(), ..one.clone() }).collect();
    let many = Arc::new(many);
    let mut limits = limits(Some(quota("default", SECOND, 1)));
    limits.agreements = vec![
        agreement(&[5, 999], true, quota("shared", SECOND, 3)),
        agreement(&[64], false, quota("own", SECOND, 2)),
    ];
    let book = LimitBook::new(&service(limits), &many, ledger());
    let numbered = |number| Caller { who: Who::Known(number), ..known(0) };
    assert_eq!(pass(&book, &numbered(5), START) + pass(&book, &numbered(999), START), 3);
    assert_eq!(pass(&book, &numbered(64), START), 2);
    for number in [0, 63, 65, 127, 128, 998] {
        assert_eq!(pass(&book, &numbered(number), START), 1, "{number}");
        assert_eq!(pass(&book, &numbered(number), START), 0, "{number}");
    }
    assert!(book.peek(&numbered(1_000), START).is_none(), "nobody has this number");
}

#[test]
fn a_flood_of_strangers_changes_nothing_for_named_callers() {
    let mut limits = limits(Some(quota("default", SECOND, 2)));
    limits.agreements.push(agreement(&[0], false, quota("agreement a", SECOND, 50)));
    let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
    let book = book(limits, &ledger);
    assert_eq!(pass(&book, &known(0), START), 50);
    let template = stranger(0);
    for hash in 1..20_000_u64 {
        let spoofed = Caller { hash: hash.wrapping_mul(0x9E37_79B9_7F4A_7C15), ..template.clone() };
        let _ = ask(&book, &spoofed, START);
    }
    assert!(ledger.evictions() > 0);
    assert_eq!(ledger.capacity(), 64);
    assert_eq!(pass(&book, &known(0), later(SECOND)), 1);
    assert_eq!(pass(&book, &known(1), START), 2);
}
