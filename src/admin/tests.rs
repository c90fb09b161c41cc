//! The admin listener over a real socket, with a view made by hand.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::{
    Agreement, At, Callers, Credential, KnownCaller, LimitHeaders, Limits, Mode, Quota, Rate, ServiceName,
    UnknownKey,
};
use crate::message::{RequestHead, Target};
use crate::record::labels::STATES;
use crate::record::{Asker, CallerNote, End, Scribe};
use crate::refusal::{Reason, Refusal, RuleRef};
use crate::shard::ShardId;
use crate::workers::Wanted;
use crate::workers::health::State;

/// A served admin listener and what stands behind it.
struct World {
    address: SocketAddr,
    state: Arc<ProcessState>,
    counts: Arc<ServiceCounts>,
    callers: Arc<Callers>,
    workers: Arc<Workers>,
    reloads: mpsc::Receiver<ReloadRequest>,
    open: oneshot::Sender<()>,
}

impl World {
    async fn new() -> Self {
        Self::with_token(None).await
    }

    async fn with_token(token: Option<&str>) -> Self {
        let now = Moment::read();
        let counts = ServiceCounts::new(1);
        let workers = Workers::new(1);
        let wanted = |port, priority, weight| Wanted {
            address: SocketAddr::from(([127, 0, 0, 1], port)).into(),
            priority,
            weight,
        };
        workers.replace(vec![wanted(9001, 10, 12), wanted(9002, 10, 36), wanted(9003, 20, 0)], None, now);
        let callers = Arc::new(callers());
        let service = ServiceView {
            config: Arc::new(service()),
            counts: Arc::clone(&counts),
            workers: Arc::clone(&workers),
            capacity: Arc::default(),
            tls: None,
            left: Box::new(|name, _| {
                (name == "office").then(|| Left { policy: "agreement office".into(), ..Left::default() })
            }),
            dns_failures: Box::new(|| 0),
        };
        let view = View {
            config_file: "buckler.yaml".into(),
            config_hash: "abc".into(),
            callers: Arc::clone(&callers),
            services: vec![service],
            ledger: Box::new(|| LedgerReading { keys: 3, max_keys: 100, evictions: 1 }),
            access_log: None,
        };
        let state = Arc::new(ProcessState::new(now));
        state.enter(Phase::Running);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reload, reloads) = mpsc::channel(1);
        let desk = Desk {
            view: Arc::new(ArcSwap::from_pointee(view)),
            state: Arc::clone(&state),
            reload,
            token: ArcSwapOption::new(token.map(Token::of).map(Arc::new)),
            listen: address,
        };
        let (open, closed) = oneshot::channel();
        tokio::spawn(serve(listener, Arc::new(desk), closed));
        Self { address, state, counts, callers, workers, reloads, open }
    }

    fn scribe(&self) -> std::rc::Rc<Scribe> {
        let name = ServiceName::new("playlist").unwrap();
        Scribe::new(&name, Arc::clone(&self.counts), ShardId(0), &self.callers, None)
    }

    fn refuse(&self, path: &str) {
        let mut outcome = self.scribe().begin(Moment::read(), "192.0.2.1:99".parse().unwrap());
        outcome.request(&RequestHead::new(http::Method::GET, Target::new("", "", path)));
        outcome.caller(CallerNote { who: Asker::Known(0), via: "address", tier: None });
        let rule =
            RuleRef { name: "rules[2]".into(), at: "buckler.yaml:34".into(), reason: Some("staff".into()) };
        outcome.refused(Refusal::new(Reason::DeniedByRule, "a rule says no").by(&Arc::new(rule)));
        outcome.ended(End::Complete);
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
    }

    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Answer::of(&String::from_utf8(bytes).unwrap())
    }
}

struct Answer {
    status: u16,
    fields: HashMap<String, String>,
    body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { status, fields: lines.map(field).collect(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn at() -> At {
    At { file: "buckler.yaml".into(), line: 7, column: 1 }
}

fn rule(name: &str) -> Arc<RuleRef> {
    Arc::new(RuleRef { name: name.into(), at: "buckler.yaml:40".into(), reason: Some("agreed".into()) })
}

fn callers() -> Callers {
    let office = KnownCaller {
        name: "office".into(),
        api_keys: vec![],
        certificates: vec![],
        addresses: vec![],
        tier: None,
        at: at(),
    };
    Callers {
        identify: vec![Credential::Address],
        api_key_header: HeaderName::from_static("x-api-key"),
        unknown_key: UnknownKey::Refuse,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        trusted_proxies: vec![],
        known: vec![office],
        tiers: vec![],
        max_keys: NonZeroUsize::new(100).unwrap(),
    }
}

fn service() -> config::Service {
    let second = Duration::from_secs(1);
    let one = NonZeroU32::new(1).unwrap();
    let quota = Quota {
        rate: Some(Rate { interval: second, burst: one }),
        concurrent: None,
        mode: Mode::Enforce,
        rule_ref: rule("agreement office"),
    };
    let agreement = Agreement {
        callers: vec![0],
        shared: false,
        quota,
        owner: Some("squad".into()),
        until: Some(86_400),
    };
    let limits = Limits {
        headers: LimitHeaders::Named,
        default: None,
        total: None,
        agreements: vec![agreement],
        costs: vec![],
    };
    config::Service { limits, ..config::plain_service() }
}

#[tokio::test]
async fn metrics_are_openmetrics_with_the_process_in_them() {
    let world = World::new().await;
    world.refuse("/");
    let answer = world.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.fields["content-type"], kind);
    assert!(answer.body.ends_with("# EOF\n"));
    for line in [
        "buckler_requests_total{service=\"playlist\",code=\"403\",reason=\"denied_by_rule\"} 1",
        "buckler_worker_weight{service=\"playlist\",worker=\"127.0.0.1:9002\"} 36",
        "buckler_limiter_keys 3",
        "buckler_limiter_evictions_total 1",
        "buckler_config_last_reload_success 1",
    ] {
        assert!(answer.body.lines().any(|written| written == line), "{line} not in {}", answer.body);
    }
    let memory = answer.body.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).unwrap();
    assert!(memory.split(' ').nth(1).unwrap().parse::<u64>().unwrap() > 100_000);
}

#[tokio::test]
async fn readiness_follows_the_phase_and_tells_details_when_asked() {
    let world = World::new().await;
    let ready = world.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    let now = Moment::read();
    world.state.reload_failed(now, "buckler.yaml:3: no such key".into());
    world.workers.replace(vec![], None, now);
    let verbose = world.get("/readyz?verbose").await;
    assert_eq!(verbose.status, 200);
    assert!(verbose.body.contains("buckler.yaml:3: no such key"), "{}", verbose.body);
    assert!(
        verbose.body.contains("[-] service playlist: no usable worker: none is known"),
        "{}",
        verbose.body
    );
    assert!(world.get("/metrics").await.body.contains("buckler_config_last_reload_success 0\n"));
    world.state.enter(Phase::Draining);
    let draining = world.get("/readyz").await;
    assert_eq!((draining.status, draining.body.as_str()), (503, "draining\n"));
    assert_eq!(world.get("/livez").await.status, 200);
}

#[tokio::test]
async fn the_status_tells_workers_callers_and_agreements() {
    let world = World::new().await;
    world.refuse("/");
    let set = world.workers.load();
    set.members[1].worker.counts.of(ShardId(0)).attempts.add(3);
    set.members[0].worker.counts.of(ShardId(0)).attempts.add(1);
    world.workers.connect_failed(&set.members[2].worker, Moment::read());
    drop(set);
    let status = world.get("/api/v1/status").await.json();
    assert_eq!(status["phase"], "running");
    assert_eq!(status["config"]["last_reload"]["ok"], true);
    let service = &status["services"][0];
    assert_eq!((&service["requests"], &service["by_reason"]["denied_by_rule"]), (&1.into(), &1.into()));
    let workers = service["workers"].as_array().unwrap();
    assert_eq!((&workers[0]["share_configured"], &workers[0]["share_actual"]), (&0.25.into(), &0.25.into()));
    assert_eq!((&workers[1]["address"], &workers[1]["state"]), (&"127.0.0.1:9002".into(), &"healthy".into()));
    assert_eq!((&workers[2]["share_configured"], &workers[2]["share_actual"]), (&1.0.into(), &Value::Null));
    assert_ne!(workers[2]["state"], "healthy");
    assert!(!workers[2]["why"].as_str().unwrap().is_empty());
    assert_eq!((&workers[0]["share"], &workers[2]["share"]), (&1.0.into(), &0.0.into()));
    for absent in ["seats", "last_check", "slow_start"] {
        assert!(workers[0].get(absent).is_none(), "{absent}");
    }
    assert!(service.get("capacity").is_none(), "nothing bounds it");
    assert_eq!(service["throttle"]["acceptance"], 1.0);
    assert_eq!((&service["retries"]["denied"], &service["fallbacks"]), (&0.into(), &0.into()));
    assert_eq!(service["balance"], "weighted");
    let office = &service["callers"][0];
    assert_eq!((&office["name"], &office["refused"]), (&"office".into(), &1.into()));
    assert_eq!(office["left"]["policy"], "agreement office");
    assert_eq!(office["agreement"]["expired"], true);
    assert_eq!(office["agreement"]["until"], "1970-01-02T00:00:00.000000Z");
    assert_eq!(office["agreement"]["owner"], "squad");
    assert_eq!(service["callers"][1]["name"], "_other");
}

#[tokio::test]
async fn every_state_of_a_worker_has_its_series() {
    let world = World::new().await;
    let words = [State::Healthy, State::Suspect, State::Ejected, State::Returning].map(State::word);
    assert_eq!(words, STATES);
    let set = world.workers.load();
    world.workers.connect_failed(&set.members[2].worker, Moment::read());
    drop(set);
    let page = world.get("/metrics").await.body;
    for line in [
        r#"buckler_worker_state{service="playlist",worker="127.0.0.1:9001",state="healthy"} 1"#,
        r#"buckler_worker_state{service="playlist",worker="127.0.0.1:9003",state="healthy"} 0"#,
        r#"buckler_worker_share{service="playlist",worker="127.0.0.1:9001"} 1.0"#,
        r#"buckler_acceptance_ratio{service="playlist"} 1.0"#,
        r#"buckler_capacity_waiting{service="playlist"} 0"#,
        r#"buckler_retries_denied_total{service="playlist"} 0"#,
        r#"buckler_queue_duration_seconds_count{service="playlist"} 0"#,
    ] {
        assert!(page.lines().any(|written| written == line), "{line} not in {page}");
    }
    assert!(!page.contains("buckler_capacity_limit{"), "nothing bounds it");
}

#[tokio::test]
async fn refusals_are_told_with_rule_and_line_and_can_be_chosen() {
    let world = World::new().await;
    world.refuse("/one");
    world.refuse("/two");
    let all = world.get("/api/v1/refusals").await.json();
    let newest = &all["refusals"][0];
    assert_eq!((&newest["path"], &newest["rule_at"]), (&"/two".into(), &"buckler.yaml:34".into()));
    assert_eq!((&newest["reason"], &newest["rule_reason"]), (&"denied_by_rule".into(), &"staff".into()));
    assert_eq!(all["refusals"].as_array().unwrap().len(), 2);
    let limited = world.get("/api/v1/refusals?service=playlist&caller=office&limit=1").await.json();
    assert_eq!(limited["refusals"].as_array().unwrap().len(), 1);
    let others = world.get("/api/v1/refusals?caller=nobody").await.json();
    assert!(others["refusals"].as_array().unwrap().is_empty());
    assert_eq!(world.get("/api/v1/refusals?service=other").await.status, 404);
    assert_eq!(world.get("/api/v1/refusals?limit=x").await.status, 400);
}

#[tokio::test]
async fn a_reload_answers_with_its_result() {
    let mut world = World::new().await;
    let ask =
        "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let mut reloads = std::mem::replace(&mut world.reloads, mpsc::channel(1).1);
    let answering = tokio::spawn(async move {
        reloads.recv().await.unwrap().answer.send(Ok("2 services".into())).unwrap();
        reloads.recv().await.unwrap().answer.send(Err("buckler.yaml:3: wrong".into())).unwrap();
    });
    let good = world.ask(ask).await;
    assert_eq!((good.status, good.json()["result"].clone()), (200, "2 services".into()));
    let bad = world.ask(ask).await;
    assert_eq!((bad.status, bad.json()["error"].clone()), (422, "buckler.yaml:3: wrong".into()));
    answering.await.unwrap();
    assert_eq!(world.ask(ask).await.status, 503);
    assert_eq!(world.get("/api/v1/reload").await.status, 405);
}

#[tokio::test]
async fn a_page_in_a_browser_gets_nothing() {
    let world = World::new().await;
    let rebound = "GET /api/v1/status HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
    assert_eq!(world.ask(rebound).await.status, 403);
    let posted = "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.test\r\n\
                  Connection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(world.ask(posted).await.status, 403);
}

#[tokio::test]
async fn with_a_token_only_its_holder_is_let_in() {
    let world = World::with_token(Some("secret")).await;
    let ask = |field: &str| {
        format!("GET /api/v1/status HTTP/1.1\r\nHost: any.test\r\n{field}Connection: close\r\n\r\n")
    };
    let without = world.ask(&ask("")).await;
    assert_eq!((without.status, without.fields["www-authenticate"].as_str()), (401, "Bearer"));
    assert_eq!(world.ask(&ask("Authorization: Bearer wrong\r\n")).await.status, 401);
    assert_eq!(world.ask(&ask("Authorization: Basic secret\r\n")).await.status, 401);
    assert_eq!(world.ask(&ask("Authorization: bearer secret\r\n")).await.status, 200);
    // Probes need none, but learn nothing more than the one word.
    assert_eq!(world.get("/readyz").await.status, 200);
    assert_eq!(world.get("/readyz?verbose").await.status, 401);
}

#[tokio::test]
async fn an_unknown_path_is_told_what_there_is() {
    let world = World::new().await;
    let answer = world.get("/nothing").await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["paths"].as_array().unwrap().contains(&"/api/v1/status".into()));
}

#[tokio::test]
async fn a_listener_that_is_closed_finishes_what_it_is_answering() {
    let World { address, mut reloads, open, .. } = World::new().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = b"POST /api/v1/reload HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let request = reloads.recv().await.unwrap();
    drop(open);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    request.answer.send(Ok("moved".to_owned())).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("moved"), "{answer}");
}
