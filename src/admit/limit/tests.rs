//! What limits promise. The promises beside a model stand in `model.rs`.

mod model;
mod reloads;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http::Method;
use proptest::prelude::*;

use crate::config::{
    Agreement, At, Cost, Credential, KnownCaller, Limits, Permissions, Quota, Rate, Tier, UnknownKey,
};

use super::super::caller::{CachedCaller, CallerBook};
use super::super::pattern::tests::pattern;
use super::super::permission::RuleBook;
use super::claims::CONCURRENCY_RETRY;
use super::*;
use crate::fields::Fields;

const SECOND: u64 = 1_000_000_000;
const START: Moment = Moment::at(1_000 * SECOND);
const GET: Facts<'_> = Facts { method: &Method::GET, host: "h", path: "/" };

fn at() -> At {
    At { file: "t.yaml".into(), line: 1, column: 1 }
}

fn rule(name: &str) -> Arc<RuleRef> {
    Arc::new(RuleRef { name: name.into(), at: "t.yaml:1".into(), reason: None })
}

/// `burst` at once, then one every `interval` nanoseconds.
fn quota(name: &str, interval: u64, burst: u32) -> Quota {
    let rate = Rate { interval: Duration::from_nanos(interval), burst: NonZeroU32::new(burst).unwrap() };
    Quota { rate: Some(rate), concurrent: None, mode: Mode::Enforce, rule_ref: rule(name) }
}

fn at_once(mut quota: Quota, most: u32) -> Quota {
    quota.concurrent = NonZeroU32::new(most);
    quota
}

fn shadow(mut quota: Quota) -> Quota {
    quota.mode = Mode::Shadow;
    quota
}

fn agreement(callers: &[usize], shared: bool, quota: Quota) -> Agreement {
    Agreement { callers: callers.to_vec(), shared, quota, owner: None, until: None }
}

fn limits(default: Option<Quota>) -> Limits {
    Limits { headers: LimitHeaders::Named, default, total: None, agreements: vec![], costs: vec![] }
}

fn service(limits: Limits) -> Service {
    Service { limits, ..crate::config::plain_service() }
}

/// Three callers, `known-0` to `known-2`, from 10.0.0.0/32 to 10.0.0.2/32; the last is of the tier `slow` (1/s).
fn callers() -> Arc<Callers> {
    let known = |number: u8| KnownCaller {
        name: format!("known-{number}").into(),
        api_keys: vec![],
        certificates: vec![],
        addresses: vec![format!("10.0.0.{number}/32").parse().unwrap()],
        tier: (number == 2).then_some(0),
        at: at(),
    };
    Arc::new(Callers {
        identify: vec![Credential::Address],
        api_key_header: http::HeaderName::from_static("x-api-key"),
        unknown_key: UnknownKey::Refuse,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        trusted_proxies: vec![],
        known: (0..3).map(known).collect(),
        tiers: vec![Tier { name: "slow".into(), quota: quota("tier slow", SECOND, 1) }],
        max_keys: NonZeroUsize::new(64).unwrap(),
    })
}

/// The caller behind an address: `10.0.0.0` to `10.0.0.2` are known, all others strangers.
fn caller(address: u32) -> Caller {
    let peer = IpAddr::V4(Ipv4Addr::from_bits(address));
    CallerBook::new(callers())
        .identify(peer.into(), &Fields::default(), &mut CachedCaller::default())
        .unwrap()
}

fn known(number: u32) -> Caller {
    caller(0x0A00_0000 + number)
}

fn stranger(number: u32) -> Caller {
    caller(0xC000_0200 + number)
}

fn ledger() -> Arc<Ledger> {
    Arc::new(Ledger::new(NonZeroUsize::new(4096).unwrap()))
}

fn book(limits: Limits, ledger: &Arc<Ledger>) -> LimitBook {
    LimitBook::new(&service(limits), &callers(), ledger.clone())
}

fn ask(book: &LimitBook, caller: &Caller, now: Moment) -> Result<Grant, Refused> {
    let mut shadows = Vec::new();
    let answer = book.charge(caller, &GET, now, &mut shadows);
    assert!(shadows.is_empty(), "no shadow was configured");
    answer
}

/// How many requests pass at this moment; they end at once.
fn pass(book: &LimitBook, caller: &Caller, now: Moment) -> u32 {
    (0..10_000).take_while(|_| ask(book, caller, now).is_ok()).count() as u32
}

fn later(nanos: u64) -> Moment {
    START.plus(Duration::from_nanos(nanos))
}

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
fn what_is_left_is_told_to_the_second() {
    let book = book(limits(Some(quota("default", SECOND / 20, 40))), &ledger());
    let standing = ask(&book, &stranger(1), START).unwrap().standing.unwrap();
    assert_eq!((standing.quota, standing.window, standing.remaining, standing.reset), (40, 2, 39, 1));
    pass(&book, &stranger(1), START);
    let refused = ask(&book, &stranger(1), START).unwrap_err();
    assert_eq!(
        (refused.refusal.reason, refused.refusal.retry_after),
        (Reason::CallerRate, Some(Duration::from_millis(50)))
    );
    let standing = refused.standing.unwrap();
    assert_eq!((standing.remaining, standing.reset), (0, 2));
    assert_eq!(book.limit_name(standing.limit), "\"default\"");
    assert_eq!(book.peek(&stranger(1), later(SECOND)).unwrap().remaining, 20);
    assert_eq!(book.peek(&stranger(1), later(SECOND)).unwrap().remaining, 20, "looking charges nothing");
    assert_eq!(book.peek(&stranger(2), START).unwrap().remaining, 40);
}

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
    let refused = super::super::decide(
        (&rules(Verdict::Deny), &book),
        (&who, "address:192.0.2.0"),
        &GET,
        START,
        &mut shadows,
    )
    .unwrap_err();
    assert_eq!(refused.refusal.reason, Reason::DeniedByRule);
    assert_eq!(pass(&book, &who, START), 3);
    let refused = super::super::decide(
        (&rules(Verdict::Allow), &book),
        (&who, "address:192.0.2.0"),
        &GET,
        START,
        &mut shadows,
    )
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

#[test]
fn headers_go_to_whom_the_configuration_says() {
    for (mode, named, stranger_passes, stranger_refused) in [
        (LimitHeaders::Always, true, true, true),
        (LimitHeaders::Named, true, false, true),
        (LimitHeaders::Refused, false, false, true),
        (LimitHeaders::Never, false, false, false),
    ] {
        let mut limits = limits(Some(quota("default", SECOND, 1)));
        limits.headers = mode;
        let book = book(limits, &ledger());
        for (who, refused, want) in [
            (known(0), false, named),
            (stranger(0), false, stranger_passes),
            (stranger(0), true, stranger_refused),
        ] {
            assert_eq!(book.tells(&who, refused), want, "{mode:?}");
        }
    }
}
