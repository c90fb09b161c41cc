//! All keys of the edge together: what they are by default, what each means, and which of them bytes can have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{
    ClientCertificate, ConnectionLife, Endpoint, Protocol, SocketFile, TlsVersion, WorkerProtocol,
    WorkerSource,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_service_without_a_word_about_its_edge_speaks_http_alone() {
    let config = sound(SERVICE);
    let service = only(&config);
    assert_eq!(service.listen, Endpoint::Tcp("127.0.0.1:4070".parse().unwrap()));
    assert_eq!((service.protocol, service.worker_protocol), (Protocol::Http, WorkerProtocol::Http1));
    assert!(!service.proxy_protocol && !service.send_proxy_protocol && !service.forward_client_certificate);
    assert!(service.tls.is_none());
    assert_eq!(service.connections, ConnectionLife { max_age: None, jitter_percent: 10, max_requests: None });
    assert_eq!(service.timeouts.handshake, Duration::from_secs(5));
    assert_eq!(service.timeouts.tunnel, Duration::from_secs(600));
    let bounds = &service.bounds;
    assert_eq!((bounds.handshakes, bounds.streams, bounds.worker_streams), (1000, 100, 100));
}

#[test]
fn every_key_of_the_edge_means_what_it_says() {
    let config = sound(
        "callers: { trusted_proxies: [10.0.0.0/8, 127.0.0.1] }\n\
         services:\n  a:\n    listen: unix:/run/b/./a.sock\n\
         \x20   socket: { mode: \"0600\", owner: www-data, group: \"33\" }\n\
         \x20   proxy_protocol: true\n\
         \x20   tls:\n      certificates: [{ chain: a.pem, key: /k/a.key }]\n\
         \x20     client_ca: ca.pem\n      crl: gone.pem\n\
         \x20     client_certificate: required\n      min_version: 1.3\n\
         \x20   forward_client_certificate: true\n    upgrades: [WebSocket, mqtt]\n\
         \x20   connections: { max_age: 30m, jitter: 20%, max_requests: 10000 }\n\
         \x20   workers: { addresses: [\"unix:w.sock\"], protocol: http2 }\n    limits: { default: { rate: 1/s } }\n\
         \x20   timeouts: { handshake: 1s, tunnel: 1h }\n    bounds: { handshakes: 7, streams: 8, worker_streams: 9 }\n",
    );
    let service = only(&config);
    assert_eq!(service.listen, Endpoint::Unix(Path::new("/run/b/a.sock").into()));
    let socket = SocketFile { mode: 0o600, owner: Some("www-data".into()), group: Some("33".into()) };
    assert_eq!((&service.socket, service.proxy_protocol), (&socket, true));
    let tls = service.tls.as_ref().unwrap();
    assert_eq!((tls.client_certificate, tls.min_version), (ClientCertificate::Required, TlsVersion::V1_3));
    assert_eq!(tls.certificates[0].key.path, Path::new("/k/a.key"));
    assert_eq!(tls.crl.as_ref().unwrap().path, Path::new("gone.pem"));
    assert!(service.forward_client_certificate);
    assert_eq!(service.upgrades, ["websocket".into(), "mqtt".into()] as [Arc<str>; 2]);
    let life = ConnectionLife {
        max_age: Some(Duration::from_secs(1800)),
        jitter_percent: 20,
        max_requests: Some(10_000),
    };
    assert_eq!(service.connections, life);
    assert_eq!(service.worker_protocol, WorkerProtocol::Http2);
    let WorkerSource::List(workers) = &service.workers else { panic!("a list") };
    assert_eq!(workers[0].address, Endpoint::Unix(Path::new("w.sock").into()));
    assert_eq!((service.timeouts.handshake, service.timeouts.tunnel), (SECOND, 3600 * SECOND));
    let bounds = &service.bounds;
    assert_eq!((bounds.handshakes, bounds.streams, bounds.worker_streams), (7, 8, 9));
}

#[test]
fn bytes_take_what_does_not_speak_of_requests() {
    let text = with(
        "protocol: tcp\ntls: { certificates: [{ chain: a.pem, key: a.key }] }\n\
         permissions: { default: deny, rules: [{ allow: { callers: ['address:10.*'] } }] }\n\
         timeouts: { handshake: 1s, connect: 1s, tunnel: 1s }\n\
         bounds: { connections: 1, handshakes: 1, worker_connections: 1 }",
    )
    .replace("9001\"] }", "9001\"], send_proxy_protocol: true }");
    let config = sound(&text);
    assert_eq!((only(&config).protocol, only(&config).send_proxy_protocol), (Protocol::Tcp, true));
    let shown = load_text(&text).effective().unwrap().to_yaml();
    assert!(
        !["head:", "streams:", "headers:", "protocol: http"].iter().any(|key| shown.contains(key)),
        "{shown}"
    );
    assert_eq!(load_text(&shown).render(), "", "{shown}");
}

#[test]
fn bytes_have_no_requests_to_speak_of() {
    let text = with(
        "protocol: tcp\nconnections: { max_age: 1h }\nforward_client_certificate: true\n\
         permissions: { rules: [{ deny: { methods: [GET], hosts: [a.test], paths: [/a] } }] }\n\
         timeouts: { head: 1s, body: 1s, keep_alive: 1s, response: 1s, idle: 1s, total: off, send: 1s }\n\
         bounds: { head_bytes: 1KiB, head_fields: 9, uri_bytes: 99B, body_bytes: none, response_head_bytes: 1KiB, streams: 1, worker_streams: 1, upload_rate: none }",
    )
    .replace("9001\"] }", "9001\"], protocol: http1 }")
    .replace("10/s } }", "10/s }, headers: never, costs: [] }");
    let keys = [
        (4, 57, "workers.protocol"),
        (5, 49, "limits.headers"),
        (5, 63, "limits.costs"),
        (7, 18, "connections"),
        (8, 33, "forward_client_certificate"),
        (9, 47, "methods"),
        (9, 61, "hosts"),
        (9, 78, "paths"),
        (10, 23, "timeouts.head"),
        (10, 33, "timeouts.body"),
        (10, 49, "timeouts.keep_alive"),
        (10, 63, "timeouts.response"),
        (10, 73, "timeouts.idle"),
        (10, 84, "timeouts.total"),
        (10, 95, "timeouts.send"),
        (11, 27, "bounds.head_bytes"),
        (11, 46, "bounds.head_fields"),
        (11, 60, "bounds.uri_bytes"),
        (11, 77, "bounds.body_bytes"),
        (11, 104, "bounds.response_head_bytes"),
        (11, 119, "bounds.streams"),
        (11, 138, "bounds.worker_streams"),
        (11, 154, "bounds.upload_rate"),
    ];
    let wanted: Vec<_> = keys
        .iter()
        .map(|(line, column, key)| {
            format!("t.yaml:{line}:{column}: `{key}` speaks of requests, and `protocol: tcp` carries bytes without any")
        })
        .collect();
    assert_eq!(told(&load_text(&text)), wanted);
    assert_eq!(first(&text).1, "remove it, or write `protocol: http`");
}
