//! WebSocket (RFC 6455) through Buckler with the clients and servers of `websockets` and of `autobahn`: each pair sees
//! what it sees without Buckler.

use crate::python::{self, Server, assert_same};
use crate::world::{Buckler, World};

fn service(server: &Server, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("    {line}\n")).collect();
    let worker = server.address();
    format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    workers: {{ addresses: [\"{worker}\"] }}\n{lines}"
    )
}

fn url(buckler: &Buckler) -> String {
    format!("ws://127.0.0.1:{}", buckler.port())
}

/// All cases with this client at this server, directly and through Buckler.
#[track_caller]
fn the_same_through_buckler(client: &str, server: &str) {
    let (world, server) = (World::new(), Server::start("ws_server.py", &[server]));
    let direct = python::cases("ws_check.py", &[client, &format!("ws://{}", server.address())]);
    let buckler = world.buckler(&service(&server, ""));
    assert_same(&direct, &python::cases("ws_check.py", &[client, &url(&buckler)]));
}

#[test]
fn a_websockets_client_at_a_websockets_server() {
    the_same_through_buckler("websockets", "websockets");
}

#[test]
fn a_websockets_client_at_an_autobahn_server() {
    the_same_through_buckler("websockets", "autobahn");
}

#[test]
fn an_autobahn_client_at_a_websockets_server() {
    the_same_through_buckler("autobahn", "websockets");
}

#[test]
fn an_autobahn_client_at_an_autobahn_server() {
    the_same_through_buckler("autobahn", "autobahn");
}

#[test]
fn the_same_over_tls() {
    for library in ["websockets", "autobahn"] {
        let (world, server) = (World::new(), Server::start("ws_server.py", &[library]));
        world.certificates();
        let direct = python::cases("ws_check.py", &[library, &format!("ws://{}", server.address())]);
        let tls = "tls: { certificates: [{ chain: localhost.pem, key: localhost.key }] }";
        let buckler = world.buckler(&service(&server, tls));
        let url = format!("wss://localhost:{}", buckler.port());
        assert_same(&direct, &python::cases("ws_check.py", &[library, &url, "--ca", &world.path("ca.pem")]));
    }
}

#[test]
fn a_refused_upgrade_reaches_no_server() {
    let (world, server) = (World::new(), Server::start("ws_server.py", &["websockets"]));
    let rules = "permissions:\n  rules:\n    - { deny: { paths: [/echo] } }";
    let buckler = world.buckler(&service(&server, rules));
    let results = python::run("ws_check.py", &["websockets", &url(&buckler), "--only", "text"]);
    assert_eq!(results["text"]["saw"], "Refused: refused with 403", "{results}");
    assert!(buckler.refused("denied_by_rule") > 0.5);
}
