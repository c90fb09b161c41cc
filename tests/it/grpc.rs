//! gRPC through Buckler with grpcio on both sides: every kind of call as without Buckler, and Buckler's own refusals as
//! gRPC clients expect them: HTTP 200, no message, the status in the trailers (grpc's PROTOCOL-HTTP2).

use serde_json::Value;

use crate::python::{self, Server, assert_same};
use crate::world::{Buckler, CLIENT, World};

const TLS: &str = "tls: { certificates: [{ chain: localhost.pem, key: localhost.key }] }";

fn echo() -> Server {
    Server::start("grpc_echo.py", &[])
}

/// A service whose worker speaks HTTP/2 at this address.
fn service(worker: &str, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ addresses: [\"{worker}\"], protocol: http2 }}\n{lines}"
    )
}

fn address(buckler: &Buckler) -> String {
    format!("127.0.0.1:{}", buckler.port())
}

/// Makes a call with these arguments of `grpc_call.py`; how each ended.
fn call(buckler: &Buckler, arguments: &[&str]) -> Vec<Value> {
    let address = address(buckler);
    let mut all = vec![address.as_str()];
    all.extend(arguments);
    serde_json::from_value(python::run("grpc_call.py", &all)).unwrap()
}

/// The status codes. None may be grpcio's own guess from an HTTP status, which it makes where there is no grpc-status.
#[track_caller]
fn codes(ends: &[Value]) -> Vec<&str> {
    for end in ends {
        let message = end["message"].as_str().unwrap_or("none needed");
        assert!(!message.is_empty() && !message.contains("http2 header with status"), "{end}");
    }
    ends.iter().map(|end| end["code"].as_str().unwrap()).collect()
}

#[test]
fn every_kind_of_call_is_as_without_buckler() {
    let (world, server) = (World::new(), echo());
    let direct = python::cases("grpc_check.py", &[&server.address()]);
    let buckler = world.buckler(&service(&server.address(), ""));
    assert_same(&direct, &python::cases("grpc_check.py", &[&address(&buckler)]));
}

#[test]
fn every_kind_of_call_is_as_without_buckler_over_tls_too() {
    let (world, server) = (World::new(), echo());
    world.certificates();
    let direct = python::cases("grpc_check.py", &[&server.address()]);
    let buckler = world.buckler(&service(&server.address(), TLS));
    let through = python::cases("grpc_check.py", &[&address(&buckler), "--ca", &world.path("ca.pem")]);
    assert_same(&direct, &through);
}

#[test]
fn a_client_is_known_by_its_certificate() {
    let (world, server) = (World::new(), echo());
    world.certificates();
    let callers = format!(
        "callers:\n  identify: [certificate, address]\n  known:\n    playlist: {{ certificates: [\"{CLIENT}\"] }}\n"
    );
    let tls = "tls:\n  certificates: [{ chain: localhost.pem, key: localhost.key }]\n  client_ca: ca.pem\n  \
               client_certificate: optional\n\
               permissions:\n  default: deny\n  rules:\n    - { allow: { callers: [playlist] } }";
    let buckler = world.buckler(&format!("{callers}{}", service(&server.address(), tls)));
    let (ca, certificate, key) = (world.path("ca.pem"), world.path("client.pem"), world.path("client.key"));
    let known = call(&buckler, &["--ca", &ca, "--certificate", &certificate, "--key", &key]);
    assert_eq!(codes(&known), ["OK"]);
    assert_eq!(codes(&call(&buckler, &["--ca", &ca])), ["PERMISSION_DENIED"]);
}

#[test]
fn over_the_limit_is_resource_exhausted() {
    let (world, server) = (World::new(), echo());
    let limits = "limits: { default: { rate: 1/h, burst: 2 } }";
    let buckler = world.buckler(&service(&server.address(), limits));
    let ends = call(&buckler, &["--times", "4"]);
    assert_eq!(codes(&ends), ["OK", "OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]);
    assert_eq!(codes(&call(&buckler, &["--method", "Chat"])), ["RESOURCE_EXHAUSTED"]);
}

#[test]
fn a_rule_that_denies_is_permission_denied() {
    let (world, server) = (World::new(), echo());
    let rules =
        "permissions:\n  rules:\n    - { deny: { paths: [\"/test.Echo/Chat\"] }, reason: not for you }";
    let buckler = world.buckler(&service(&server.address(), rules));
    assert_eq!(codes(&call(&buckler, &["--method", "Chat"])), ["PERMISSION_DENIED"]);
    assert_eq!(codes(&call(&buckler, &[])), ["OK"]);
}

#[test]
fn a_wrong_key_is_unauthenticated() {
    let (world, server) = (World::new(), echo());
    let callers = "callers:\n  identify: [api_key, address]\n  api_key: { header: x-api-key }\n";
    let buckler = world.buckler(&format!("{callers}{}", service(&server.address(), "")));
    assert_eq!(codes(&call(&buckler, &["--metadata", "x-api-key=wrong"])), ["UNAUTHENTICATED"]);
    assert_eq!(codes(&call(&buckler, &[])), ["OK"]);
}

#[test]
fn no_worker_is_unavailable() {
    let (world, mut server) = (World::new(), echo());
    let buckler = world.buckler(&service(&server.address(), ""));
    assert_eq!(codes(&call(&buckler, &[])), ["OK"]);
    server.kill();
    assert_eq!(codes(&call(&buckler, &["--times", "2"])), ["UNAVAILABLE", "UNAVAILABLE"]);
}

#[test]
fn a_worker_that_is_too_slow_is_deadline_exceeded() {
    let (world, server) = (World::new(), echo());
    let buckler = world.buckler(&service(&server.address(), "timeouts: { response: 300ms }"));
    assert_eq!(codes(&call(&buckler, &["--metadata", "wait=9"])), ["DEADLINE_EXCEEDED"]);
    assert_eq!(codes(&call(&buckler, &[])), ["OK"]);
}
