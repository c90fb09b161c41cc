//! What one decision costs, in nanoseconds: `cargo bench --bench decide`.
//!
//! Admission is measured as a request does it: who is calling, what the rules say (8 of them, the last one matches),
//! and the charge of two limits, over a ledger that holds a million strangers.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use buckler::admit::caller::{CachedCaller, CallerBook};
use buckler::admit::ledger::Ledger;
use buckler::admit::limit::LimitBook;
use buckler::admit::permission::RuleBook;
use buckler::admit::{Facts, decide, path};
use buckler::clock::Moment;
use buckler::config::{
    At, CallerPattern, Callers, Credential, KnownCaller, LimitHeaders, Limits, Mode, NoFiles, PathPattern,
    Permissions, Quota, Rate, Rule, Segment, Service, UnknownKey, Verdict, load_str,
};
use buckler::fields::Fields;
use buckler::refusal::RuleRef;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderName, Method};

criterion_group!(benches, admission);
criterion_main!(benches);

const MILLION: usize = 1_000_000;

/// One admission decision, passed and refused.
fn admission(c: &mut Criterion) {
    let mut group = c.benchmark_group("admission");
    let generous = world(Duration::from_nanos(1), u32::MAX);
    let strict = world(Duration::from_secs(3600), 1);
    let mut keyed = Fields::new();
    keyed.add("x-api-key", b"web-secret");
    let plain = Fields::new();

    for (name, world) in [("passed", &generous), ("refused", &strict)] {
        group.bench_function(format!("{name}: key, kept alive"), |b| {
            let mut cached = CachedCaller::default();
            b.iter(|| world.ask(peer(1), &keyed, &mut cached));
        });
        group.bench_function(format!("{name}: address, kept alive"), |b| {
            let mut cached = CachedCaller::default();
            b.iter(|| world.ask(peer(1), &plain, &mut cached));
        });
        group.bench_function(format!("{name}: a million addresses in turn, each a new connection"), |b| {
            let mut turn = 0;
            b.iter(|| {
                turn = (turn + 7919) % MILLION as u32;
                world.ask(peer(turn), &plain, &mut CachedCaller::default())
            });
        });
    }
    group.bench_function("passed: key, new connection", |b| {
        b.iter(|| generous.ask(peer(1), &keyed, &mut CachedCaller::default()));
    });
    group.bench_function("path: canonical already", |b| {
        b.iter(|| path::canonical(black_box("/api/v1/items/4711")).is_ok())
    });
    group.bench_function("path: rebuilt", |b| {
        b.iter(|| path::canonical(black_box("/api/./v1//items/%34711")).is_ok())
    });
    group.finish();
}

struct World {
    book: CallerBook,
    rules: RuleBook,
    limits: LimitBook,
}

impl World {
    fn ask(&self, peer: IpAddr, fields: &Fields, cached: &mut CachedCaller) -> bool {
        let now = Moment::at(NOW);
        let caller = self.book.identify(peer.into(), fields, cached).expect("the key is known");
        let facts =
            Facts { method: &Method::GET, host: "playlist.test", path: black_box("/api/v1/items/4711") };
        let name = self.book.name(&caller);
        decide((&self.rules, &self.limits), (&caller, name), &facts, now, &mut Vec::new()).is_ok()
    }
}

const NOW: u64 = 1_000_000_000_000;

/// Every caller may do `burst` at once and one more in each `interval`; a million strangers have a debt already.
fn world(interval: Duration, burst: u32) -> World {
    let callers = Arc::new(callers());
    let service = service(quota("default", interval, burst));
    let ledger = Arc::new(Ledger::new(NonZeroUsize::new(MILLION).expect("not zero")));
    let limits = LimitBook::new(&service, &callers, ledger);
    let rules = RuleBook::new(&Arc::new(service));
    let world = World { book: CallerBook::new(callers), rules, limits };
    let fields = Fields::new();
    for number in 0..MILLION as u32 {
        world.ask(peer(number), &fields, &mut CachedCaller::default());
    }
    world
}

fn peer(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0B00_0000 + number))
}

fn rule_ref(name: &str) -> Arc<RuleRef> {
    Arc::new(RuleRef { name: name.into(), at: "buckler.yaml:1".into(), reason: None })
}

fn quota(name: &str, interval: Duration, burst: u32) -> Quota {
    let rate = Rate { interval, burst: NonZeroU32::new(burst).expect("not zero") };
    Quota { rate: Some(rate), concurrent: None, mode: Mode::Enforce, rule_ref: rule_ref(name) }
}

fn at() -> At {
    At { file: "buckler.yaml".into(), line: 1, column: 1 }
}

fn callers() -> Callers {
    let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"web-secret");
    let web = KnownCaller {
        name: "web".into(),
        api_keys: vec![key.as_ref().try_into().expect("32 bytes")],
        certificates: vec![],
        addresses: vec![],
        tier: None,
        at: at(),
    };
    Callers {
        identify: vec![Credential::ApiKey, Credential::Address],
        api_key_header: HeaderName::from_static("x-api-key"),
        unknown_key: UnknownKey::Refuse,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        trusted_proxies: vec!["127.0.0.2/32".parse().expect("a network")],
        known: vec![web],
        tiers: vec![],
        max_keys: NonZeroUsize::MIN,
    }
}

/// Seven rules that do not match, and one that does.
fn rules() -> Vec<Rule> {
    let literal = |text: &str| Segment::Literal(text.into());
    let on = |number: usize, segments: Vec<Segment>| Rule {
        verdict: if number == 7 { Verdict::Allow } else { Verdict::Deny },
        callers: if number == 2 { vec![CallerPattern::Glob("certificate:*".into())] } else { vec![] },
        tiers: vec![],
        methods: if number == 3 { vec![Method::DELETE] } else { vec![] },
        hosts: vec![],
        paths: vec![PathPattern { written: "/…".into(), segments }],
        until: None,
        mode: Mode::Enforce,
        rule_ref: rule_ref("rules"),
    };
    (0..8)
        .map(|number| match number {
            7 => on(number, vec![literal("api"), Segment::One, Segment::Rest]),
            _ => on(
                number,
                vec![literal("api"), literal("v1"), literal(["admin", "staff"][number % 2]), Segment::Rest],
            ),
        })
        .collect()
}

fn service(default: Quota) -> Service {
    let text = "services: {playlist: {listen: 127.0.0.1:1, workers: {addresses: [127.0.0.1:2]}}}";
    let loaded = load_str("bench.yaml", text, &NoFiles, Moment::at(1), &|_| None);
    let config = loaded.config.expect("it is right");
    let plain = config.services.into_values().next().expect("there is one");
    Service {
        permissions: Permissions { default: Verdict::Deny, default_ref: rule_ref("default"), rules: rules() },
        limits: Limits {
            headers: LimitHeaders::Named,
            default: Some(default),
            total: Some(quota("total", Duration::from_nanos(1), u32::MAX)),
            agreements: vec![],
            costs: vec![],
        },
        ..Arc::into_inner(plain).expect("nobody else has it")
    }
}
