//! Workers that speak HTTP/2, through the whole of Buckler: nginx as one, one of h2 that misbehaves as another; and
//! gRPC, whose refusals and cuts are said in `grpc-status`. What a route promises by itself is tested in
//! `forward/http2/tests.rs`.

mod never_indexed;
pub(crate) mod peers;

use std::time::{Duration, Instant};

use peers::{Act, Heard, Http2Worker, call, call_and, grpc};

use crate::neighbours::nginx;
use crate::world::{Raw, World, eventually, free_port, get, request};

/// A service `api` in front of HTTP/2 workers on these ports; `more` stands in the service.
fn config(ports: &[u16], more: &str) -> String {
    let addresses: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let mut text = format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    workers: {{ addresses: [{}], protocol: http2 }}\n",
        addresses.join(", ")
    );
    for line in more.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

#[test]
fn nginx_serves_many_requests_at_once_over_a_connection_of_each_shard() {
    let world = World::new();
    let port = free_port();
    let server = format!(
        "    listen 127.0.0.1:{port} http2;\n    location / {{ return 200 \"$server_protocol $http_host $request_uri\"; }}"
    );
    let _nginx = nginx(&world, &server, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let buckler = world.buckler(&config(&[port], ""));
    let mut raws: Vec<Raw> = (0..40).map(|_| buckler.connect()).collect();
    for round in 0..5 {
        for raw in &mut raws {
            raw.send(get(&format!("/{round}")).bytes());
        }
        for raw in &mut raws {
            let answer = raw.read_response().is(200);
            assert_eq!(answer.text(), format!("HTTP/2.0 api.example.test /{round}"));
            assert_eq!(answer.field("via"), Some("2.0 buckler"));
        }
    }
    let open = buckler.metrics().sum("buckler_worker_connections", &[]);
    assert!((1.0..=2.0).contains(&open), "{open} connections of two shards");
    assert_eq!(buckler.metrics().sum("buckler_worker_failures", &[]), 0.0);
}

#[test]
fn a_body_of_http1_reaches_an_http2_worker_and_comes_back() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::Echo);
    let buckler = world.buckler(&config(&[worker.port()], ""));
    let body = vec![b'x'; 3_000_000];
    let answer = buckler.answer(request("POST", "/echo").body(body.clone()));
    assert!(answer.is(200).body == body, "another body came back");
}

#[test]
fn an_answer_whose_worker_is_late_to_say_that_it_ends_is_complete() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::Linger);
    let buckler = world.buckler(&config(&[worker.port()], ""));
    let mut raw = buckler.connect();
    for path in ["/body", "/none"] {
        let answer = raw.send(get(path).bytes()).read_response();
        let body = if path == "/body" { "hello" } else { "" };
        assert_eq!(answer.text(), body);
        let line = buckler.logged("the answer", |line| line["path"] == path);
        assert_eq!(
            (line["status"].as_u64(), line.get("reason")),
            (Some(answer.status.into()), None),
            "{line}"
        );
    }
}

#[test]
fn a_worker_of_http1_behind_protocol_http2_is_told_of() {
    let world = World::new();
    let worker = world.worker("a");
    let port = worker.address().rsplit(':').next().unwrap().parse().unwrap();
    worker.answers("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let buckler = world.buckler(&config(&[port], "timeouts: { connect: 1s }"));
    let answer = buckler.answer(get("/")).is(502);
    assert!(answer.text().contains("does not speak HTTP/2"), "{}", answer.text());
}

#[test]
fn grpc_goes_through_with_its_trailers() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::GrpcEcho);
    let buckler = world.buckler(&config(&[worker.port()], ""));
    let heard = call(buckler.port(), grpc("/pkg.Service/Echo"), b"\0\0\0\0\x03abc");
    assert_eq!((heard.status, heard.body.as_slice()), (200, b"\0\0\0\0\x03abc".as_slice()));
    assert_eq!(heard.trailer("grpc-status"), Some("0"));
    let line = buckler.logged("a gRPC answer", |line| line["path"] == "/pkg.Service/Echo");
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &0.into()));
}

#[test]
fn a_refused_grpc_request_is_told_in_a_head_alone() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::GrpcEcho);
    let more = "limits: { default: { rate: 1/h, burst: 1 } }\n\
                permissions: { default: allow, rules: [{ deny: { paths: [\"/pkg.Admin/**\"] } }] }";
    let buckler = world.buckler(&config(&[worker.port()], more));
    let refused = |heard: Heard, status: &str| {
        assert_eq!((heard.status, heard.body.len()), (200, 0));
        assert!(
            heard.ended_with_head && heard.field("content-type") == Some("application/grpc"),
            "{heard:?}"
        );
        assert_eq!(heard.field("grpc-status"), Some(status), "{heard:?}");
        assert!(heard.field("x-request-id").is_some());
        heard
    };
    refused(call(buckler.port(), grpc("/pkg.Admin/Do"), b""), "7");
    assert_eq!(call(buckler.port(), grpc("/pkg.Service/Echo"), b"").trailer("grpc-status"), Some("0"));
    let limited = refused(call(buckler.port(), grpc("/pkg.Service/Echo"), b""), "8");
    assert!(limited.field("retry-after").is_some() && limited.field("grpc-retry-pushback-ms").is_some());
    assert!(limited.field("grpc-message").unwrap().starts_with("caller_rate: "));
    let line = buckler.logged("the limit", |line| line["reason"] == "caller_rate");
    assert_eq!((&line["status"], &line["grpc_status"]), (&429.into(), &8.into()));
    assert_eq!(buckler.refused("caller_rate"), 1.0);
}

#[test]
fn without_a_worker_grpc_is_told_unavailable() {
    let world = World::new();
    let buckler = world.buckler(&config(&[free_port()], ""));
    let heard = call(buckler.port(), grpc("/pkg.Service/Echo"), b"");
    assert_eq!((heard.status, heard.field("grpc-status")), (200, Some("14")));
}

#[test]
fn a_grpc_deadline_ends_the_request_on_both_sides() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::Wait);
    let buckler = world.buckler(&config(&[worker.port()], "timeouts: { total: 5s }"));
    let begun = Instant::now();
    let heard = call(buckler.port(), grpc("/pkg.Service/Wait").header("grpc-timeout", "300m"), b"");
    assert_eq!(heard.field("grpc-status"), Some("4"), "{heard:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    eventually("the worker's stream was cancelled", || worker.cancelled() == 1);
    assert_eq!(worker.seen("grpc-timeout"), ["300m"]);
    let bad = call(buckler.port(), grpc("/pkg.Service/Wait").header("grpc-timeout", "soon"), b"");
    assert_eq!(bad.field("grpc-status"), Some("13"), "{bad:?}");
    assert_eq!(worker.seen("grpc-timeout").len(), 1);
}

#[test]
fn a_worker_is_not_blamed_for_the_haste_of_a_client() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::GrpcEcho);
    let buckler = world.buckler(&config(&[worker.port()], ""));
    for _ in 0..5 {
        let heard = call(buckler.port(), grpc("/pkg.Service/Echo").header("grpc-timeout", "1n"), b"");
        // Timers count in milliseconds: a worker may be quicker than that.
        let status = heard.field("grpc-status").or_else(|| heard.trailer("grpc-status"));
        assert!(matches!(status, Some("4" | "0")), "{heard:?}");
    }
    let metrics = buckler.metrics();
    assert_eq!(metrics.sum("buckler_worker_up", &[]), 1.0);
    assert_eq!(metrics.sum("buckler_worker_connect_failures_total", &[]), 0.0);
    assert_eq!(call(buckler.port(), grpc("/pkg.Service/Echo"), b"").trailer("grpc-status"), Some("0"));
}

#[test]
fn an_answer_whose_last_frame_is_empty_ends_well() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::Echo);
    let buckler = world.buckler(&config(&[worker.port()], ""));
    let heard = call(buckler.port(), grpc("/pkg.Service/Echo").header("te", "trailers"), b"whole");
    assert_eq!((heard.status, heard.body.as_slice()), (200, &b"whole"[..]), "{heard:?}");
}

#[test]
fn a_grpc_answer_that_is_cut_ends_with_a_status() {
    let world = World::new();
    let worker = Http2Worker::start(|_| Act::Cut);
    let buckler = world.buckler(&config(&[worker.port()], ""));
    let heard = call_and(buckler.port(), grpc("/pkg.Service/Cut"), b"", || worker.was_heard());
    assert_eq!((heard.status, heard.body.as_slice()), (200, b"some".as_slice()));
    assert_eq!(heard.trailer("grpc-status"), Some("14"), "{heard:?}");
    let line = buckler.logged("a cut answer", |line| line["path"] == "/pkg.Service/Cut");
    assert_eq!((&line["reason"], &line["grpc_status"]), (&"worker_reset".into(), &14.into()));
}

#[test]
fn a_worker_that_restarts_loses_no_request() {
    let world = World::new();
    // Every tenth request on a connection is its last one: GOAWAY, as a worker says that restarts.
    let worker = Http2Worker::start(|number| if number % 10 == 0 { Act::Leave } else { Act::Echo });
    let buckler = world.buckler(&config(&[worker.port()], ""));
    let mut raws: Vec<Raw> = (0..20).map(|_| buckler.connect()).collect();
    for _ in 0..20 {
        for raw in &mut raws {
            raw.send(get("/").bytes());
        }
        for raw in &mut raws {
            raw.read_response().is(200);
        }
    }
    assert!(worker.connections() > 5, "{}", worker.connections());
}
