//! Workers from SRV records, as a real BIND serves them: read whole, followed while the zone changes, kept while the
//! server is ill or gone.

#![allow(clippy::unwrap_used, reason = "a test stops where something unexpected happens")]

use std::sync::Arc;
use std::time::Duration;

use buckler::clock::Moment;
use buckler::workers::resolver::{Answer, LookupFailure, Resolver};
use buckler::workers::srv::Addresses;
use buckler::workers::{DnsAnswer, Workers, discovery};
use tokio::task::JoinHandle;

use crate::bind::Bind;

const NAME: &str = "_web._http.example.test";

/// How long anything may take that is waited for; far longer than it takes.
const LIMIT: Duration = Duration::from_secs(20);

const TWO_TIERS: &str = "
_web._http IN SRV 10 3 8001 a
_web._http IN SRV 10 1 8002 b
_web._http IN SRV 20 65535 8003 c
_web._http IN SRV 20 0 8004 a
a IN A 127.0.0.11
b IN A 127.0.0.12
c IN AAAA ::1
";

const ONE: &str = "_web._http IN SRV 0 1 8001 a\na IN A 127.0.0.11";

async fn ask(bind: &Bind, name: &str) -> Result<Answer, LookupFailure> {
    Resolver::new(&bind.dns()).unwrap().lookup(name, &Addresses::new()).await
}

/// `priority weight address` of each worker.
fn shown(answer: &Answer) -> Vec<String> {
    answer.records.iter().map(|one| format!("{} {} {}", one.priority, one.weight, one.address)).collect()
}

/// A discovery that runs until it is dropped.
struct Running {
    workers: Arc<Workers>,
    task: JoinHandle<()>,
}

impl Running {
    fn of(bind: &Bind) -> Self {
        let workers = Workers::new(1);
        let resolver = Arc::new(Resolver::new(&bind.dns()).unwrap());
        let task = tokio::spawn(discovery::run(NAME.into(), resolver, Arc::clone(&workers)));
        Self { workers, task }
    }

    /// Waits until the workers' ports are these, in order of priority and address.
    async fn ports(&self, wanted: &[u16]) {
        let now = || -> Vec<u16> {
            self.workers
                .load()
                .members
                .iter()
                .map(|member| member.worker.address.tcp().unwrap().port())
                .collect()
        };
        self.until(|| now() == wanted).await.unwrap_or_else(|| panic!("{:?} instead of {wanted:?}", now()));
    }

    /// Waits for a DNS state that fits, and returns it.
    async fn dns(&self, fits: impl Fn(&DnsAnswer) -> bool) -> DnsAnswer {
        let now = || self.workers.load().dns.clone();
        self.until(|| now().is_some_and(|dns| fits(&dns)))
            .await
            .unwrap_or_else(|| panic!("it is {:?}", now()));
        now().unwrap()
    }

    async fn until(&self, condition: impl Fn() -> bool) -> Option<()> {
        let poll = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, poll).await.ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn priorities_weights_ports_and_addresses_are_read() {
    let bind = Bind::serving(TWO_TIERS);
    let wanted =
        ["10 3 127.0.0.11:8001", "10 1 127.0.0.12:8002", "20 0 127.0.0.11:8004", "20 65535 [::1]:8003"];
    assert_eq!(shown(&ask(&bind, NAME).await.unwrap()), wanted);
}

#[tokio::test]
async fn addresses_that_the_answer_does_not_bring_along_are_looked_up() {
    let bind = Bind::serving_with("minimal-responses yes;", TWO_TIERS);
    let answer = ask(&bind, NAME).await.unwrap();
    assert_eq!(answer.records.len(), 4);
    assert_eq!(answer.addresses.len(), 3);
    assert_eq!(answer.incomplete, None);
}

#[tokio::test]
async fn the_shortest_ttl_of_records_and_addresses_counts_within_its_bounds() {
    let bind = Bind::serving_with(
        "minimal-responses yes;",
        "_web._http 20 IN SRV 0 1 8001 a\na 7 IN A 127.0.0.11\n\
         _long._http 3600 IN SRV 0 1 8001 b\nb 3600 IN A 127.0.0.11\n\
         _zero._http 0 IN SRV 0 1 8001 b",
    );
    assert_eq!(ask(&bind, NAME).await.unwrap().ttl, Duration::from_secs(7));
    assert_eq!(ask(&bind, "_long._http.example.test").await.unwrap().ttl, Duration::from_secs(30));
    assert_eq!(ask(&bind, "_zero._http.example.test").await.unwrap().ttl, Duration::from_secs(1));
}

#[tokio::test]
async fn several_addresses_share_the_weight_of_their_target() {
    let zone = "_web._http IN SRV 0 4 8001 many\n_web._http IN SRV 0 4 8002 one\n\
                many IN A 127.0.0.11\nmany IN A 127.0.0.12\nmany IN AAAA ::1\none IN A 127.0.0.13";
    for options in ["minimal-responses no;", "minimal-responses yes;"] {
        let answer = ask(&Bind::serving_with(options, zone), NAME).await.unwrap();
        let wanted = ["0 4 127.0.0.11:8001", "0 4 127.0.0.12:8001", "0 12 127.0.0.13:8002", "0 4 [::1]:8001"];
        assert_eq!(shown(&answer), wanted, "{options}");
    }
}

#[tokio::test]
async fn a_cname_in_front_of_the_srv_records_is_followed() {
    let bind = Bind::serving(&format!(
        "{TWO_TIERS}\n_alias._http IN CNAME _second._http\n_second._http IN CNAME _web._http\n\
         _loop._http IN CNAME _loop._http\n_lost._http IN CNAME _nowhere._http"
    ));
    assert_eq!(ask(&bind, "_alias._http.example.test").await.unwrap().records.len(), 4);
    let looped = ask(&bind, "_loop._http.example.test").await.unwrap_err();
    assert!(matches!(looped, LookupFailure::Broken { .. }), "{looped:?}");
    let lost = ask(&bind, "_lost._http.example.test").await.unwrap_err();
    assert!(matches!(lost, LookupFailure::Absent { .. }), "{lost:?}");
}

#[tokio::test]
async fn a_target_behind_a_cname_is_tolerated() {
    let bind = Bind::serving("_web._http IN SRV 0 1 8001 alias\nalias IN CNAME a\na IN A 127.0.0.11");
    assert_eq!(shown(&ask(&bind, NAME).await.unwrap()), ["0 1 127.0.0.11:8001"]);
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_comes_whole() {
    let records: String = (1..=90).map(|n| format!("_web._http IN SRV 0 {n} {} a\n", 8_000 + n)).collect();
    let bind = Bind::serving(&format!("{records}a IN A 127.0.0.11"));
    let answer = ask(&bind, NAME).await.unwrap();
    assert_eq!(answer.records.len(), 90);
    assert!(answer.records.iter().all(|one| one.address.tcp().unwrap().port() == 8_000 + one.weight));
}

#[tokio::test]
async fn the_target_dot_means_explicitly_none() {
    let bind = Bind::serving("_web._http 5 IN SRV 0 0 0 .");
    let answer = ask(&bind, NAME).await.unwrap();
    assert_eq!((answer.records.len(), answer.ttl), (0, Duration::from_secs(5)));
}

#[tokio::test]
async fn absent_and_broken_are_told_apart() {
    let mut bind = Bind::serving("_empty._http IN TXT \"no SRV here\"\n_bare._http IN SRV 0 1 80 nowhere");
    let second = Duration::from_secs(1);
    for (name, word) in [(NAME, "NXDOMAIN"), ("_empty._http.example.test", "no SRV records")] {
        let failure = ask(&bind, name).await.unwrap_err();
        assert!(failure.to_string().contains(word), "{failure}");
        assert!(matches!(failure, LookupFailure::Absent { ttl, .. } if ttl == second), "{failure:?}");
    }
    let bare = ask(&bind, "_bare._http.example.test").await.unwrap_err();
    assert!(matches!(bare, LookupFailure::Absent { .. }), "{bare:?}");
    let refused = ask(&bind, "_web._http.elsewhere.test").await.unwrap_err();
    assert!(matches!(refused, LookupFailure::Broken { .. }), "{refused:?}");

    bind.kill();
    bind.break_zone();
    bind.start();
    let servfail = ask(&bind, NAME).await.unwrap_err();
    assert!(matches!(servfail, LookupFailure::Broken { .. }), "{servfail:?}");
    assert!(servfail.to_string().to_lowercase().contains("server fail"), "{servfail}");

    bind.kill();
    let gone = ask(&bind, NAME).await.unwrap_err();
    assert!(matches!(gone, LookupFailure::Broken { .. }), "{gone:?}");
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_up_keeps_its_old_address() {
    // The server refuses names outside its zone.
    let bind = Bind::serving(
        "_web._http IN SRV 0 1 8001 a\n_web._http IN SRV 0 1 8002 w.elsewhere.test.\na IN A 127.0.0.11",
    );
    let resolver = Resolver::new(&bind.dns()).unwrap();
    let first = resolver.lookup(NAME, &Addresses::new()).await.unwrap();
    assert_eq!(shown(&first), ["0 1 127.0.0.11:8001"]);
    assert!(first.incomplete.unwrap().contains("w.elsewhere.test"));

    let mut known = first.addresses;
    let elsewhere = "w.elsewhere.test.".parse().unwrap();
    known.insert(elsewhere, vec!["127.0.0.99".parse().unwrap()]);
    let second = resolver.lookup(NAME, &known).await.unwrap();
    assert_eq!(shown(&second), ["0 1 127.0.0.11:8001", "0 1 127.0.0.99:8002"]);
    assert!(second.incomplete.is_some());
}

#[tokio::test]
async fn the_next_server_is_asked_when_the_first_is_dead_or_ill() {
    let (dead, ill, well) = (Bind::stopped(ONE), Bind::stopped(ONE), Bind::serving(ONE));
    let mut ill = ill;
    ill.break_zone();
    ill.start();
    let mut dns = well.dns();
    dns.servers = vec![dead.address(), ill.address(), well.address()];
    let answer = Resolver::new(&dns).unwrap().lookup(NAME, &Addresses::new()).await.unwrap();
    assert_eq!(answer.records.len(), 1);
}

#[tokio::test]
async fn a_change_of_the_zone_changes_the_workers_and_those_that_stay_keep_their_health() {
    let bind = Bind::serving(ONE);
    let running = Running::of(&bind);
    running.ports(&[8001]).await;
    let first = Arc::clone(&running.workers.load().members[0].worker);

    bind.update(&format!("update add {NAME}. 1 SRV 0 5 8002 a.example.test."));
    running.ports(&[8001, 8002]).await;
    assert!(Arc::ptr_eq(&first, &running.workers.load().members[0].worker));
    assert_eq!(running.workers.load().members[1].weight, 5);

    bind.update(&format!("update delete {NAME}. SRV 0 1 8001 a.example.test."));
    running.ports(&[8002]).await;
}

#[tokio::test]
async fn the_target_dot_empties_a_working_set_at_once() {
    let bind = Bind::serving(ONE);
    let running = Running::of(&bind);
    running.ports(&[8001]).await;
    bind.update(&format!("update delete {NAME}. SRV\nupdate add {NAME}. 1 SRV 0 0 0 ."));
    running.ports(&[]).await;
    assert_eq!(running.dns(|_| true).await.failure, None);
}

#[tokio::test]
async fn a_name_that_stays_away_empties_the_set_and_says_so_before() {
    let bind = Bind::serving(ONE);
    let running = Running::of(&bind);
    running.ports(&[8001]).await;
    bind.update(&format!("update delete {NAME}. SRV"));
    let says = |text: &'static str| {
        move |dns: &DnsAnswer| dns.failure.as_ref().is_some_and(|why| why.contains(text))
    };
    running.dns(says("1 of 3")).await;
    assert_eq!(running.workers.load().members.len(), 1);
    running.dns(says("2 of 3")).await;
    assert_eq!(running.workers.load().members.len(), 1);
    running.ports(&[]).await;
    bind.update(&format!("update add {NAME}. 1 SRV 0 5 8002 a.example.test."));
    running.ports(&[8002]).await;
}

#[tokio::test]
async fn workers_outlive_a_dead_and_an_ill_server_with_their_age_shown() {
    let mut bind = Bind::serving(ONE);
    let running = Running::of(&bind);
    running.ports(&[8001]).await;

    bind.kill();
    let dead = running.dns(|dns| dns.failure.is_some()).await;
    assert!(Moment::read().since(dead.answered_at.unwrap()) > Duration::ZERO);
    assert_eq!(running.workers.load().members.len(), 1);

    bind.break_zone();
    bind.start();
    let says_servfail =
        |dns: &DnsAnswer| dns.failure.as_ref().is_some_and(|why| why.to_lowercase().contains("server fail"));
    let ill = running.dns(says_servfail).await;
    assert_eq!(ill.answered_at, dead.answered_at, "the age goes on");
    assert_eq!(ill.failing_since, dead.failing_since);
    assert_eq!(running.workers.load().members.len(), 1);

    bind.kill();
    bind.write_zone("_web._http IN SRV 0 1 8009 a\na IN A 127.0.0.11");
    bind.start();
    running.ports(&[8009]).await;
    assert_eq!(running.dns(|_| true).await.failure, None);
}

#[tokio::test]
async fn it_starts_while_dns_is_down_and_recovers_by_itself() {
    let mut bind = Bind::stopped(ONE);
    let running = Running::of(&bind);
    let down = running.dns(|dns| dns.failure.is_some()).await;
    assert_eq!(down.answered_at, None);
    bind.start();
    running.ports(&[8001]).await;
    assert!(running.dns(|_| true).await.answered_at.is_some());
}
