//! What limits promise. Here are the limits and callers for it.

mod agreements;
mod in_progress;
mod model;
mod rates;
mod reloads;
mod shadows;
mod told;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use http::Method;

use super::super::caller::{CachedCaller, CallerBook};
use super::*;
use crate::config::{Agreement, At, Credential, KnownCaller, Limits, Quota, Rate, Tier, UnknownKey};
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
