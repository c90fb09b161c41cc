//! What a request leaves behind: counts, lines, refusals, metrics.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, Method, Version};
use proptest::prelude::*;
use serde_json::Value;

use super::access_log::AccessLog;
use super::callers::Tally;
use super::counts::ServiceCounts;
use super::labels::CODES;
use super::metrics::{
    CapacityReading, ChecksReading, DnsReading, ProcessReading, RoomReading, Scrape, SeatsReading,
    ServiceReading, WorkerReading, encode,
};
use super::{Asker, CallerNote, End, Outcome, Scribe, TunnelEnd};
use crate::clock::Moment;
use crate::config::{
    self, At, Callers, Credential, KnownCaller, LogFormat, Mode, Quota, ServiceName, Tier, UnknownKey,
};
use crate::fields::text;
use crate::message::{RequestHead, Target};
use crate::refusal::{Reason, Refusal, RuleRef};
use crate::shard::ShardId;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A service `playlist` with the caller `web`, whose log can be read.
struct World {
    counts: Arc<ServiceCounts>,
    scribe: Rc<Scribe>,
    log: Arc<AccessLog>,
    written: Written,
}

impl World {
    fn new(format: LogFormat, query: bool) -> Self {
        let settings = config::AccessLog { format, path: None, refusals_per_second: 2, query };
        let written = Written::default();
        let log = AccessLog::into_sink(&settings, Box::new(written.clone())).unwrap();
        let counts = ServiceCounts::new(2);
        let name = ServiceName::new("playlist").unwrap();
        let scribe =
            Scribe::new(&name, Arc::clone(&counts), ShardId(1), &Arc::new(callers()), Some(log.shard()));
        Self { counts, scribe, log, written }
    }

    fn json() -> Self {
        Self::new(LogFormat::Json, false)
    }

    fn begin(&self, uri: &str) -> Outcome {
        let mut outcome = self.scribe.begin(Moment::read(), peer());
        let mut head = RequestHead::new(Method::GET, Target::of(&uri.parse().unwrap()));
        head.fields.add("host", b"playlist.test");
        head.fields.add("user-agent", b"curl/8");
        outcome.request(&head);
        outcome
    }

    /// What was written to the log; the world ends with it.
    fn text(self) -> String {
        drop(self.scribe);
        self.log.finish();
        let bytes = self.written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn lines(self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn peer() -> SocketAddr {
    "192.0.2.1:4321".parse().unwrap()
}

fn callers() -> Callers {
    let at = At { file: "buckler.yaml".into(), line: 3, column: 1 };
    Callers {
        identify: vec![Credential::ApiKey, Credential::Address],
        api_key_header: HeaderName::from_static("x-api-key"),
        unknown_key: UnknownKey::Refuse,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        trusted_proxies: vec![],
        known: vec![KnownCaller {
            name: "web".into(),
            api_keys: vec![],
            certificates: vec![],
            addresses: vec![],
            tier: None,
            at,
        }],
        tiers: vec![Tier {
            name: "partner".into(),
            quota: Quota { rate: None, concurrent: None, mode: Mode::Enforce, rule_ref: by_default() },
        }],
        max_keys: NonZeroUsize::new(100).unwrap(),
    }
}

fn web() -> CallerNote {
    CallerNote { who: Asker::Known(0), via: "api_key", tier: Some(0) }
}

fn stranger() -> CallerNote {
    CallerNote { who: Asker::Other("address:192.0.2.1".into()), via: "address", tier: None }
}

fn by_default() -> Arc<RuleRef> {
    Arc::new(RuleRef { name: "default".into(), at: "buckler.yaml:34".into(), reason: None })
}

fn good(outcome: &mut Outcome) {
    outcome.attempt(&"127.0.0.1:9001".into(), 10);
    outcome.first_byte(outcome.begun().plus(Duration::from_millis(2)));
    outcome.status(200);
    outcome.bytes_out(5);
    outcome.ended(End::Complete);
}

#[test]
fn a_good_request_is_counted_once_and_gives_one_line() {
    let world = World::json();
    let mut outcome = world.begin("/song/1?secret=1");
    outcome.request_id(b"r-1");
    outcome.client("198.51.100.7".parse().unwrap());
    outcome.caller(web());
    outcome.connected(Duration::from_micros(70));
    good(&mut outcome);
    assert_eq!(world.counts.active(), 1);
    drop(outcome);
    assert_eq!(world.counts.active(), 0);
    let requests = world.counts.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].1, requests[0].2), (None, 1));
    assert_eq!(world.counts.durations()[0].2.count(), 1);
    assert_eq!(world.counts.callers().named, [("web".into(), Tally { allowed: 1, refused: 0 })]);
    assert!(world.counts.refusals(None, 10).is_empty());
    let lines = world.lines();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let expected = serde_json::json!({
        "request_id": "r-1", "service": "playlist", "client_ip": "198.51.100.7", "peer_ip": "192.0.2.1",
        "caller": "web", "caller_via": "api_key", "tier": "partner", "method": "GET", "host": "playlist.test",
        "path": "/song/1", "status": 200, "worker": "127.0.0.1:9001", "worker_priority": 10, "attempts": 1,
        "bytes_in": 0, "bytes_out": 5, "t_connect": 0.000_07, "t_ttfb": 0.002, "proto": "HTTP/1.1",
        "user_agent": "curl/8",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key}");
    }
    for absent in ["reason", "fallback", "rule", "shadow", "suppressed", "t_queue"] {
        assert!(line.get(absent).is_none(), "{absent}");
    }
    assert!(line["t_total"].is_f64());
}

#[test]
fn the_query_is_logged_only_if_it_is_wanted() {
    let world = World::new(LogFormat::Json, true);
    good(&mut world.begin("/song/1?q=%22"));
    assert_eq!(world.lines()[0]["path"], "/song/1?q=%22");
}

#[test]
fn a_request_that_is_dropped_is_the_clients_going() {
    let world = World::json();
    drop(world.begin("/a"));
    let mut begun = world.begin("/b");
    begun.attempt(&"127.0.0.1:9001".into(), 10);
    begun.status(200);
    drop(begun);
    let lines = world.lines();
    assert_eq!((&lines[0]["status"], &lines[0]["reason"]), (&499.into(), &"client_closed".into()));
    assert_eq!((&lines[1]["status"], &lines[1]["reason"]), (&200.into(), &"client_closed".into()));
}

#[test]
fn an_answer_that_is_cut_off_keeps_its_status_and_says_why() {
    let world = World::json();
    let mut outcome = world.begin("/");
    good(&mut outcome);
    outcome.ended(End::Cut(Reason::WorkerReset));
    drop(outcome);
    assert_eq!(world.counts.requests()[0].1, Some(Reason::WorkerReset));
    let lines = world.lines();
    assert_eq!((&lines[0]["status"], &lines[0]["reason"]), (&200.into(), &"worker_reset".into()));
}

#[test]
fn rules_and_callers_that_take_turns_are_counted_each_for_itself() {
    let world = World::json();
    let rule = |name: &str| Arc::new(RuleRef { name: name.into(), at: String::new(), reason: None });
    // Two of one name, as before and after a reload.
    let rules = [rule("a"), rule("b"), rule("a")];
    for n in 0..9 {
        let mut outcome = world.begin("/");
        outcome.caller(if n % 2 == 0 { web() } else { stranger() });
        outcome.refused(Refusal::new(Reason::CallerRate, "the rate is used up").by(&rules[n % 3]));
        outcome.ended(End::Complete);
    }
    let counted = |rule: &str, n| (rule.into(), false, Reason::CallerRate, n);
    assert_eq!(world.counts.limited(), [counted("a", 6), counted("b", 3)]);
    assert_eq!(world.counts.callers().named[0].1, Tally { allowed: 0, refused: 5 });
}

#[test]
fn a_refusal_is_told_with_its_rule_everywhere() {
    let world = World::json();
    let mut outcome = world.begin("/admin");
    outcome.caller(web());
    let wait = Duration::from_secs(3);
    outcome.refused(Refusal::new(Reason::CallerRate, "the rate is used up").by(&by_default()).after(wait));
    outcome.ended(End::Complete);
    drop(outcome);
    let counts = &world.counts;
    assert_eq!(counts.limited(), [("default".into(), false, Reason::CallerRate, 1)]);
    assert_eq!(counts.callers().named[0].1, Tally { allowed: 0, refused: 1 });
    let kept = counts.refusals(Some("web"), 10);
    assert_eq!((kept[0].status, kept[0].path.as_str(), kept[0].retry_after), (429, "/admin", Some(wait)));
    assert_eq!(kept[0].rule.as_ref().unwrap().at, "buckler.yaml:34");
    assert!(counts.refusals(Some("other"), 10).is_empty());
    let line = &world.lines()[0];
    assert_eq!((&line["status"], &line["reason"]), (&429.into(), &"caller_rate".into()));
    assert_eq!((&line["rule"], &line["rule_at"]), (&"default".into(), &"buckler.yaml:34".into()));
}

#[test]
fn a_fallback_keeps_the_cause_and_is_told_everywhere() {
    let world = World::json();
    let mut outcome = world.begin("/list");
    outcome.caller(web());
    outcome.refused(Refusal::new(Reason::WorkersFailing, "most of the newest requests failed"));
    outcome.fell_back();
    outcome.status(200);
    outcome.ended(End::Complete);
    drop(outcome);
    let counts = &world.counts;
    assert_eq!(counts.fallbacks(), [(Reason::WorkersFailing, 1)]);
    let code = |status: &str| CODES.iter().position(|code| *code == status).unwrap();
    assert_eq!(counts.requests(), [(code("200"), Some(Reason::WorkersFailing), 1)]);
    let kept = counts.refusals(None, 10);
    assert!(kept[0].fallback);
    assert_eq!((kept[0].status, kept[0].reason), (200, Reason::WorkersFailing));
    let line = &world.lines()[0];
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"workers_failing".into()));
    assert_eq!(line["fallback"], true);
}

#[test]
fn waits_for_a_place_add_up_and_only_those_who_waited_are_counted() {
    let world = World::json();
    good(&mut world.begin("/at-once"));
    assert_eq!(world.counts.queued().count(), 0);
    let mut outcome = world.begin("/waited");
    outcome.queued(Duration::from_millis(3));
    outcome.queued(Duration::from_millis(4));
    good(&mut outcome);
    drop(outcome);
    let queued = world.counts.queued();
    assert_eq!((queued.count(), queued.sum_micros), (1, 7_000));
    let lines = world.lines();
    assert!(lines[0].get("t_queue").is_none(), "{lines:?}");
    assert_eq!(lines[1]["t_queue"], 0.007);
}

#[test]
fn a_flood_of_refusals_is_counted_and_told_with_the_next_line() {
    let world = World::json();
    let refuse = |now: Moment| {
        let mut outcome = world.begin("/");
        outcome.caller(stranger());
        outcome.refused(Refusal::new(Reason::CallerRate, ""));
        outcome.write(now);
        // Written by hand at this moment; the second writing of its drop is not what is tested.
        std::mem::forget(outcome);
    };
    (0..100).for_each(|_| refuse(Moment::at(1_000_000_000)));
    refuse(Moment::at(2_000_000_000));
    assert_eq!(world.counts.shards.sum(|shard| &shard.suppressed), 98);
    assert_eq!(world.counts.callers().top[0].1, Tally { allowed: 0, refused: 101 });
    assert_eq!(world.counts.refusals(None, 10).len(), 3);
}

#[test]
fn a_shadow_rule_is_counted_apart_and_named_in_the_line() {
    let world = World::json();
    let mut outcome = world.begin("/");
    outcome.shadow(&by_default(), Reason::DeniedByRule);
    good(&mut outcome);
    drop(outcome);
    assert_eq!(world.counts.limited(), [("default".into(), true, Reason::DeniedByRule, 1)]);
    let line = &world.lines()[0];
    assert_eq!(line["status"], 200);
    let shadow =
        serde_json::json!([{ "rule": "default", "rule_at": "buckler.yaml:34", "reason": "denied_by_rule" }]);
    assert_eq!(line["shadow"], shadow);
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let world = World::json();
    let (one, two) = (world.scribe.connection(), world.scribe.connection());
    assert_eq!(world.counts.connections(), 2);
    drop(one);
    assert_eq!(world.counts.connections_on(ShardId(1)), 1);
    drop(two);
    assert_eq!(world.counts.connections(), 0);
    assert_eq!(world.counts.shards.sum(|shard| &shard.connections_total), 2);
}

#[test]
fn of_very_many_callers_those_are_shown_that_asked() {
    let mut many = callers();
    let one = many.known[0].clone();
    many.known = (0..1_000).map(|n| KnownCaller { name: format!("c-{n}").into(), ..one.clone() }).collect();
    let counts = ServiceCounts::new(1);
    let scribe =
        Scribe::new(&ServiceName::new("a").unwrap(), Arc::clone(&counts), ShardId(0), &Arc::new(many), None);
    assert!(counts.callers().named.is_empty());
    for number in [999, 7, 999, 1_000] {
        let mut outcome = scribe.begin(Moment::read(), peer());
        outcome.caller(CallerNote { who: Asker::Known(number), ..web() });
        good(&mut outcome);
    }
    let table = counts.callers();
    let named: Vec<_> = table.named.iter().map(|(name, tally)| (&**name, tally.allowed)).collect();
    assert_eq!(named, [("c-7", 1), ("c-999", 2)]);
    assert!(
        table.top.is_empty(),
        "a number that the configuration does not have is nobody that can be named"
    );
}

#[test]
fn callers_that_left_the_configuration_are_forgotten() {
    let world = World::json();
    let mut outcome = world.begin("/");
    outcome.caller(web());
    good(&mut outcome);
    drop(outcome);
    world.counts.keep_only(&HashSet::from(["web"]));
    assert_eq!(world.counts.callers().named.len(), 1);
    world.counts.keep_only(&HashSet::new());
    assert!(world.counts.callers().named.is_empty());
}

#[test]
fn a_tunnel_outlives_its_configuration_in_memory_and_is_told_of_as_before() {
    let world = World::json();
    let before = Arc::downgrade(world.scribe.callers.as_ref().unwrap());
    let mut outcome = world.begin("/chat");
    outcome.caller(web());
    good(&mut outcome);
    outcome.tunnel_opened();
    // A reload, after which the caller has another number.
    let World { counts, scribe, log, written } = world;
    drop(scribe);
    assert!(before.upgrade().is_none(), "an open tunnel keeps all callers in memory");
    let mut next = callers();
    next.known.insert(0, KnownCaller { name: "other".into(), ..next.known[0].clone() });
    let name = ServiceName::new("playlist").unwrap();
    let scribe = Scribe::new(&name, Arc::clone(&counts), ShardId(1), &Arc::new(next), None);
    counts.keep_only(&HashSet::from(["web", "other"]));
    outcome.carried(3, 4);
    assert_eq!(counts.shards.sum(|shard| &shard.tunnels), 1);
    outcome.tunnel_ended(TunnelEnd::ClientClosed);
    drop(outcome);
    assert_eq!((counts.shards.sum(|shard| &shard.tunnels), counts.active()), (0, 0));
    let none = Tally::default();
    let one = Tally { allowed: 1, refused: 0 };
    assert_eq!(counts.callers().named, [("other".into(), none), ("web".into(), one)]);
    assert_eq!(counts.callers().others, none);
    let line = &World { counts, scribe, log, written }.lines()[0];
    let told = (&line["service"], &line["caller"], &line["caller_via"], &line["tier"], &line["tunnel_end"]);
    assert_eq!(
        told,
        (&"playlist".into(), &"web".into(), &"api_key".into(), &"partner".into(), &"client_closed".into())
    );
}

#[test]
fn a_tunnel_counts_for_its_caller_if_that_is_still_one_or_is_again() {
    let tunnel = |world: &World, who: CallerNote| {
        let mut outcome = world.begin("/chat");
        outcome.caller(who);
        good(&mut outcome);
        outcome.tunnel_opened();
        outcome
    };
    let one = Tally { allowed: 1, refused: 0 };
    let world = World::json();
    let (first, second) = (tunnel(&world, web()), tunnel(&world, web()));
    world.counts.keep_only(&HashSet::new());
    drop(first);
    let table = world.counts.callers();
    assert!(table.named.is_empty(), "it is named no more");
    assert_eq!(table.others, one);
    let name = ServiceName::new("playlist").unwrap();
    let _again = Scribe::new(&name, Arc::clone(&world.counts), ShardId(1), &Arc::new(callers()), None);
    drop(second);
    assert_eq!(world.counts.callers().named, [("web".into(), one)]);
    drop(tunnel(&world, stranger()));
    assert_eq!(world.counts.callers().top, [("address:192.0.2.1".into(), one)]);
}

#[test]
fn the_combined_format_is_apaches() {
    let world = World::new(LogFormat::Combined, true);
    let mut outcome = world.scribe.begin(Moment::read(), peer());
    let mut head = RequestHead::new(Method::POST, Target::new("", "", "/a?b=1"));
    head.version = Version::HTTP_10;
    head.fields.add("referer", b"http://a.test/\"x");
    head.fields.add("user-agent", b"\xff agent");
    outcome.request(&head);
    outcome.caller(web());
    good(&mut outcome);
    outcome.write(Moment { nanos: u64::MAX, unix_micros: 951_782_400_000_000 });
    std::mem::forget(outcome);
    let expected = "192.0.2.1 - web [29/Feb/2000:00:00:00 +0000] \"POST /a?b=1 HTTP/1.0\" 200 5 \
                    \"http://a.test/\\\"x\" \"\\xff agent\"\n";
    // The forgotten outcome still holds the shard's log, so what it has must be handed over by hand.
    world.scribe.log.as_ref().unwrap().flush();
    assert_eq!(world.text(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_client_sends_gives_one_valid_json_line(
        agent in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            // UTF-8 with controls of two bytes.
            "[\u{0}-\u{ff}]{0,60}".prop_map(String::into_bytes),
        ],
        host in prop::collection::vec(any::<u8>(), 0..60),
        id in "[!-~]{1,128}",
        caller in any::<String>(),
    ) {
        let world = World::json();
        let mut outcome = world.scribe.begin(Moment::read(), peer());
        let mut head = RequestHead::new(Method::GET, Target::default());
        head.fields.add("user-agent", &agent);
        head.fields.add("host", &host);
        outcome.request(&head);
        outcome.request_id(id.as_bytes());
        outcome.caller(CallerNote { who: Asker::Other(caller.as_str().into()), ..stranger() });
        good(&mut outcome);
        drop(outcome);
        let written = world.text();
        let line = written.strip_suffix('\n').unwrap();
        prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        let line: Value = serde_json::from_str(line).unwrap();
        prop_assert_eq!(line["caller"].as_str(), Some(caller.as_str()));
        prop_assert_eq!(line["request_id"].as_str(), Some(id.as_str()));
        if let Some(agent) = head.fields.get("user-agent").and_then(text) {
            prop_assert_eq!(line["user_agent"].as_str(), Some(agent));
        }
    }
}

/// A worker that is not well, in a service that has few places left.
fn under_pressure() -> (WorkerReading, RoomReading) {
    let worker = WorkerReading {
        name: "127.0.0.1:9001".into(),
        up: true,
        state: "suspect",
        share: 0.5,
        weight: 12,
        active: 1,
        connections: 2,
        answers: [0, 7, 0, 0, 1],
        failures: 0,
        connect_failures: 3,
        ejections: 2,
        checks: Some(ChecksReading { ok: 5, failed: 1 }),
        seats: Some(SeatsReading { all: 100, taken: 40 }),
    };
    let room = RoomReading {
        capacity: Some(CapacityReading { limit: 60, effective: 30, in_use: 12 }),
        waiting: 3,
        acceptance: 0.5,
        panic: true,
    };
    (worker, room)
}

#[test]
fn the_metrics_page_names_what_happened_and_stays_well_formed() {
    let world = World::json();
    let mut outcome = world.begin("/");
    outcome.caller(CallerNote { who: Asker::Other("bad\"name\n\\".into()), ..stranger() });
    good(&mut outcome);
    drop(outcome);
    let mut outcome = world.begin("/");
    outcome.refused(Refusal::new(Reason::CallerRate, "").by(&by_default()));
    drop(outcome);
    let (worker, room) = under_pressure();
    let dns = Some(DnsReading { age: Some(Duration::from_millis(1500)), failures: 4 });
    let service = ServiceReading {
        name: ServiceName::new("playlist").unwrap(),
        counts: Arc::clone(&world.counts),
        workers: vec![worker],
        room,
        dns,
        tls: None,
    };
    let process = ProcessReading { reload_ok: true, config_hash: "abc".into(), ..ProcessReading::default() };
    let page = encode(Scrape { services: vec![service], process }).unwrap();
    for line in [
        r#"buckler_requests_total{service="playlist",code="200",reason=""} 1"#,
        r#"buckler_requests_total{service="playlist",code="429",reason="caller_rate"} 1"#,
        r#"http_server_request_duration_seconds_count{service="playlist",method="GET",code="200"} 1"#,
        r#"http_server_request_duration_seconds_bucket{le="+Inf",service="playlist",method="GET",code="200"} 1"#,
        r#"buckler_limited_total{service="playlist",rule="default",mode="enforce",reason="caller_rate"} 1"#,
        r#"buckler_caller_requests_total{service="playlist",caller="bad\"name\n\\",verdict="allowed"} 1"#,
        r#"buckler_caller_requests_total{service="playlist",caller="web",verdict="refused"} 0"#,
        r#"buckler_caller_requests_total{service="playlist",caller="_other",verdict="allowed"} 0"#,
        r#"buckler_connections{service="playlist",shard="1"} 0"#,
        r#"buckler_worker_requests_total{service="playlist",worker="127.0.0.1:9001",code_class="2xx"} 7"#,
        r#"buckler_worker_connect_failures_total{service="playlist",worker="127.0.0.1:9001"} 3"#,
        r#"buckler_worker_up{service="playlist",worker="127.0.0.1:9001"} 1"#,
        r#"buckler_worker_share{service="playlist",worker="127.0.0.1:9001"} 0.5"#,
        r#"buckler_worker_state{service="playlist",worker="127.0.0.1:9001",state="suspect"} 1"#,
        r#"buckler_worker_state{service="playlist",worker="127.0.0.1:9001",state="healthy"} 0"#,
        r#"buckler_worker_ejections_total{service="playlist",worker="127.0.0.1:9001"} 2"#,
        r#"buckler_worker_checks_total{service="playlist",worker="127.0.0.1:9001",result="failed"} 1"#,
        r#"buckler_worker_seats{service="playlist",worker="127.0.0.1:9001"} 100"#,
        r#"buckler_worker_seats_taken{service="playlist",worker="127.0.0.1:9001"} 40"#,
        r#"buckler_capacity_limit{service="playlist"} 60"#,
        r#"buckler_capacity_effective{service="playlist"} 30"#,
        r#"buckler_capacity_in_use{service="playlist"} 12"#,
        r#"buckler_capacity_waiting{service="playlist"} 3"#,
        r#"buckler_acceptance_ratio{service="playlist"} 0.5"#,
        r#"buckler_panic{service="playlist"} 1"#,
        r#"buckler_dns_age_seconds{service="playlist"} 1.5"#,
        r#"buckler_dns_failures_total{service="playlist"} 4"#,
        r#"buckler_config_hash_info{hash="abc"} 1"#,
        "buckler_config_last_reload_success 1",
    ] {
        assert!(page.lines().any(|written| written == line), "{line}\nis not in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    for line in page.lines() {
        assert!(
            line.starts_with('#')
                || line.starts_with("buckler_")
                || line.starts_with("process_")
                || line.starts_with("http_"),
            "{line}"
        );
    }
}
