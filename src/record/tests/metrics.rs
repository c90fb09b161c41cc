//! The page of metrics, and the connections that it counts.

use super::*;
use crate::record::metrics::{
    CapacityReading, ChecksReading, DnsReading, ProcessReading, RoomReading, Scrape, SeatsReading,
    ServiceReading, WorkerReading, encode,
};

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
    drop(world.serve("/", CallerNote { who: Asker::Other("bad\"name\n\\".into()), ..stranger() }));
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
