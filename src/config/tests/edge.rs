//! The outer side of a service: what is accepted and what it means, then one mistake at a time with its exact words.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{
    ClientCertificate, Config, ConnectionLife, Credential, Endpoint, Protocol, Service, SocketFile,
    TlsVersion, WorkerProtocol, WorkerSource,
};

const SECOND: Duration = Duration::from_secs(1);

/// The one service of this text, which loads without a word.
fn sound(text: &str) -> Config {
    let loaded = load_text(text);
    assert_eq!(loaded.render(), "");
    loaded.config.unwrap()
}

fn only(config: &Config) -> &Service {
    config.services.values().next().unwrap()
}

/// Like [`SERVICE`], with these lines in the service from line 6 on.
fn with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("{SERVICE}{lines}")
}

fn inside(lines: &str) -> Vec<String> {
    told(&load_text(&with(lines)))
}

/// The first problem: where, what, and what to do.
fn first(text: &str) -> (String, String) {
    let loaded = load_text(text);
    let help = loaded.problems.first().and_then(|problem| problem.help.clone()).unwrap_or_default();
    (told(&loaded).into_iter().next().unwrap_or_default(), help)
}

fn says(text: &str, what: &str, help: &str) {
    assert_eq!(first(text), (what.to_owned(), help.to_owned()));
    assert_eq!(load_text(text).problems.len(), 1, "{}", load_text(text).render());
}

const TLS: &str =
    "tls: { certificates: [{ chain: a.pem, key: a.key }], client_ca: ca.pem, client_certificate: optional }";

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

#[test]
fn sockets_are_files() {
    let listen = |text: &str| SERVICE.replace("127.0.0.1:4070", text);
    let what =
        |text: &str, why: &str| format!("t.yaml:3:13: `{text}` is not a socket of the file system: {why}");
    let help = "write `unix:/run/buckler/a.sock`";
    says(&listen("'unix:'"), &what("unix:", "the path is missing"), help);
    says(&listen("'unix:@a'"), &what("unix:@a", "sockets without a file have neither owner nor mode"), help);
    says(&listen("unix:/run/"), &what("unix:/run/", "this is a folder"), help);
    says(&listen("\"unix:/a\\0\""), &what("unix:/a\\0", "a NUL byte cannot stand in a path"), help);
    let long = format!("unix:/{}", "a".repeat(107));
    says(
        &listen(&long),
        "t.yaml:3:13: the path of this socket has 108 bytes",
        "the system takes at most 107: choose a shorter folder",
    );
    assert_eq!(told(&load_text(&listen(&long[..long.len() - 1]))), [""; 0]);
    says(
        &listen("localhost"),
        "t.yaml:3:13: `localhost` is not an address with a port: the port is missing",
        "write `127.0.0.1:4070` or `\"[::1]:4070\"`, or `unix:/path`",
    );
}

#[test]
fn a_path_is_relative_to_the_file_that_names_it() {
    let text =
        SERVICE.replace("127.0.0.1:4070", "unix:a.sock").replace("\"127.0.0.1:9001\"", "unix:../w.sock");
    let loaded = load_str("etc/b.yaml", &text, &NoFiles, today(), &|_| None);
    let config = loaded.config.unwrap();
    assert_eq!(only(&config).listen.to_string(), "unix:etc/a.sock");
    let WorkerSource::List(workers) = &only(&config).workers else { panic!("a list") };
    assert_eq!(workers[0].address.to_string(), "unix:etc/../w.sock");
}

#[test]
fn a_socket_of_the_file_system_elsewhere_is_an_error_that_says_so() {
    let help = "write `127.0.0.1:4070` or `\"[::1]:4070\"`";
    let what = |place: &str| {
        format!("t.yaml:6:{place}: `unix:/a`: only services and workers can be sockets of the file system")
    };
    says(&format!("{SERVICE}admin: {{ listen: unix:/a }}"), &what("18"), help);
    says(&format!("{SERVICE}dns: {{ servers: [unix:/a] }}"), &what("18"), help);
}

#[test]
fn one_path_is_one_listener() {
    let text = "services:\n  a: { listen: unix:/s, workers: { addresses: ['unix:/w', 'unix:/w'] }, limits: { default: { rate: 1/s } } }\n  \
                b: { listen: unix:/./s, workers: { addresses: ['unix:/w'] }, limits: { default: { rate: 1/s } } }\n";
    let loaded = load_text(text);
    assert_eq!(
        told(&loaded),
        [
            "t.yaml:2:59: the worker unix:/w is already written at t.yaml:2:48",
            "t.yaml:3:16: unix:/s is already taken by service `a` at t.yaml:2:16",
        ]
    );
    assert_eq!(loaded.problems[1].help.as_deref(), Some("give each listener a path of its own"));
}

#[test]
fn a_socket_file_belongs_to_a_unix_listener() {
    says(
        &with("socket: { mode: \"0660\" }"),
        "t.yaml:6:13: `socket` beside `listen: 127.0.0.1:4070`, which is no file",
        "remove it, or write `listen: unix:/path`",
    );
    let unix = |socket: &str| with(&format!("socket: {socket}")).replace("127.0.0.1:4070", "unix:/a");
    for wrong in ["0o660", "66", "00660", "0999", "4660", "rw-", "1777"] {
        let what = format!("t.yaml:6:21: `{wrong}` is not the mode of a socket");
        says(
            &unix(&format!("{{ mode: '{wrong}' }}")),
            &what,
            "write three octal digits, in quotes: `\"0660\"`",
        );
    }
    says(
        &unix("{ owner: 'a b' }"),
        "t.yaml:6:22: `a b` is no owner's name or number",
        "write `owner: www-data`, or a number",
    );
    says(
        &unix("{ group: '' }"),
        "t.yaml:6:22: `` is no group's name or number",
        "write `group: www-data`, or a number",
    );
    for (written, mode) in [("'0777'", 0o777), ("660", 0o660), ("000", 0)] {
        let config = sound(&unix(&format!("{{ mode: {written} }}")));
        assert_eq!(only(&config).socket.mode, mode);
    }
}

#[test]
fn proxy_headers_are_believed_of_somebody() {
    says(
        &with("proxy_protocol: true"),
        "t.yaml:6:21: nobody is trusted to send PROXY headers",
        "write `callers: { trusted_proxies: [192.0.2.0/24] }` with the networks of your load balancers",
    );
    assert_eq!(inside("proxy_protocol: false"), [""; 0]);
    assert_eq!(inside("proxy_protocol: yes"), ["t.yaml:6:21: `yes` is not true or false"]);
    // Who connects to a file counts as 127.0.0.1.
    let unix = with("proxy_protocol: true").replace("127.0.0.1:4070", "unix:/a");
    let trusting = |network: &str| format!("{unix}callers: {{ trusted_proxies: [{network}] }}\n");
    says(
        &trusting("192.0.2.0/24"),
        "t.yaml:6:21: nobody is trusted to send PROXY headers",
        "write `callers: { trusted_proxies: [127.0.0.1] }`: as that counts whoever may open the socket",
    );
    sound(&trusting("127.0.0.0/8"));
    let bytes = with("proxy_protocol: true\nprotocol: tcp\ntimeouts: { head: 1s }");
    let text = format!("{bytes}callers: {{ trusted_proxies: [192.0.2.1] }}\n");
    sound(&text);
    let shown = load_text(&text).effective().unwrap().to_yaml();
    assert_eq!(load_text(&shown).render(), "", "{shown}");
    assert!(shown.contains("head: 1s"), "{shown}");
    let two = SERVICE.replace("9001\"] }", "9001\"], protocol: http2, send_proxy_protocol: true }");
    says(
        &two,
        "t.yaml:4:85: `send_proxy_protocol` with `protocol: http2`, whose connections carry many clients",
        "write `protocol: http1`, or remove this",
    );
    assert_eq!(
        told(&load_text(&SERVICE.replace("9001\"] }", "9001\"], protocol: h2 }"))),
        ["t.yaml:4:57: `h2` is not one of `http1`, `http2`"]
    );
}

#[test]
fn tls_has_certificates_with_their_keys() {
    let certificates = "write `certificates: [{ chain: tls/a.pem, key: tls/a.key }]`";
    says(&with("tls: {}"), "t.yaml:6:10: `certificates` is missing", certificates);
    says(
        &with("tls: { certificates: [] }"),
        "t.yaml:6:26: the list of certificates is empty",
        "write 1 to 1000, each with `chain` and `key`",
    );
    assert_eq!(
        inside("tls: { certificates: [{ chain: a }, { key: a }, { chain: '', key: b }] }"),
        [
            "t.yaml:6:27: `key` is missing",
            "t.yaml:6:41: `chain` is missing",
            "t.yaml:6:62: `chain` is not the name of a file",
        ]
    );
    says(
        &with("tls: { certificates: [{ chain: a, key: b }, { chain: a, key: c }] }"),
        "t.yaml:6:58: the chain a is already written at t.yaml:6:36",
        "remove one, or name another certificate's file",
    );
    let one = "{ chain: CHAIN, key: b }, ";
    let many: String = (0..1001).map(|i| one.replace("CHAIN", &i.to_string())).collect();
    assert_eq!(inside(&format!("tls: {{ certificates: [{many}] }}")), ["t.yaml:6:26: too many certificates"]);
    says(
        &with("tls: { certificates: [{ chain: a, key: b }], min_version: '1.1' }"),
        "t.yaml:6:63: `1.1` is not one of `1.2`, `1.3`",
        "did you mean `1.2`?",
    );
}

#[test]
fn a_private_key_in_clear_is_never_shown() {
    let text = with(
        "tls:\n  certificates:\n    - chain: a.pem\n      key: |\n        -----BEGIN PRIVATE KEY-----\n        hunter2",
    );
    let loaded = load_text(&text);
    assert_eq!(told(&loaded), ["t.yaml:10:13: `key` is not the name of a file"]);
    assert!(!loaded.render().contains("hunter2"), "{}", loaded.render());
    let shown = load_text(&with("tls: { certificates: [{ chain: '', key: tls/a.key }] }")).render();
    assert!(shown.contains("key: tls/a.key"), "{shown}");
    let shown = load_text(&with("tls: { certificates: [{ chain: '', key: hunter2 }] }")).render();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn asking_for_certificates_goes_with_the_files_for_it() {
    let tls = |rest: &str| with(&format!("tls: {{ certificates: [{{ chain: a, key: b }}], {rest} }}"));
    says(
        &tls("client_certificate: optional"),
        "t.yaml:6:70: nobody is named who may issue client certificates",
        "write `client_ca: tls/ca.pem` beside it",
    );
    let ask = "write `client_certificate: optional` or `required` beside it, or remove this";
    says(&tls("client_ca: c"), "t.yaml:6:61: `client_ca`, and clients are not asked for a certificate", ask);
    says(
        &tls("client_certificate: none, crl: c"),
        "t.yaml:6:81: `crl`, and clients are not asked for a certificate",
        ask,
    );
    assert_eq!(
        told(&load_text(&tls("client_ca: c, client_certificate: yes"))),
        ["t.yaml:6:84: `yes` is not one of `none`, `optional`, `required`"]
    );
    let forward = "there is no client certificate to forward: clients are not asked for one";
    let help = "write `tls:` with `client_ca:` and `client_certificate: optional`, or remove this";
    says(&with("forward_client_certificate: true"), &format!("t.yaml:6:33: {forward}"), help);
    says(
        &with("forward_client_certificate: true\ntls: { certificates: [{ chain: a, key: b }] }"),
        &format!("t.yaml:6:33: {forward}"),
        help,
    );
    sound(&with(&format!("forward_client_certificate: true\n{TLS}")));
}

#[test]
fn upgrades_hide_no_requests() {
    assert_eq!(only(&sound(&with("upgrades: []"))).upgrades, [] as [Arc<str>; 0]);
    says(
        &with("upgrades: [websocket, H2C]"),
        "t.yaml:6:27: `h2c` would carry requests that no rule and no limit sees",
        "remove it; HTTP/2 and TLS have keys of their own",
    );
    says(
        &with("upgrades: [websocket/13]"),
        "t.yaml:6:16: `websocket/13` is no name of a protocol",
        "write it without a version: `websocket`",
    );
    says(&with("upgrades: [a, A]"), "t.yaml:6:19: `a` is written twice", "remove one");
}

#[test]
fn connections_end_within_bounds() {
    says(
        &with("connections: { jitter: 5% }"),
        "t.yaml:6:28: `jitter` without `max_age`",
        "write `max_age: 30m` beside it",
    );
    for (age, bad) in [("999ms", "999ms"), ("31d", "31d")] {
        let what = format!("t.yaml:6:29: `{bad}` is out of bounds");
        says(&with(&format!("connections: {{ max_age: {age} }}")), &what, "write 1s to 30d");
    }
    says(
        &with("connections: { max_age: 1h, jitter: 101% }"),
        "t.yaml:6:41: `101%` is not a share",
        "write a whole number from 0 to 100 with a percent sign: `20%`",
    );
    says(
        &with("connections: { max_requests: 0 }"),
        "t.yaml:6:34: a `max_requests` of 0 lets nothing pass",
        "write at least 1, or leave it out for no bound",
    );
    let config = sound(&with("connections: { max_age: 1h }"));
    assert_eq!(only(&config).connections.jitter_percent, 10);
    assert_eq!(inside("bounds: { streams: 0, worker_streams: 10001, handshakes: 0 }").len(), 3);
    says(&with("bounds: { streams: 1001 }"), "t.yaml:6:24: 1001 is out of bounds", "write 1 to 1000");
    says(&with("timeouts: { tunnel: 25h }"), "t.yaml:6:25: `1d1h` is out of bounds", "write 1ms to 1d");
    says(
        &with("timeouts: { handshake: 5 }"),
        "t.yaml:6:28: `5` is not a duration: a number alone has no unit",
        "write a number with its unit: `500us`, `7ms`, `2s`, `5m`, `1h` or `30d`",
    );
}

/// A service that asks for certificates, and callers that have these names.
fn certificates(names: &str) -> String {
    format!("{}callers: {{ known: {{ web: {{ certificates: [{names}] }} }} }}\n", with(TLS))
}

#[test]
fn callers_are_known_by_names_in_certificates() {
    let config = sound(&certificates("'spiffe://a.test/x/Y_z', Web.Example.TEST., localhost"));
    let names: Vec<_> = config.callers.known[0].certificates.iter().map(|name| &**name).collect();
    assert_eq!(names, ["spiffe://a.test/x/Y_z", "web.example.test", "localhost"]);
    assert_eq!(config.callers.identify, [Credential::Certificate, Credential::ApiKey, Credential::Address]);
    assert_eq!(sound(SERVICE).callers.identify, [Credential::ApiKey, Credential::Address]);
}

#[test]
fn names_in_certificates_say_what_is_wrong_with_them() {
    let dns = "write a DNS name, `playlist.example.test`, or a SPIFFE id, `spiffe://example.test/playlist`";
    for (name, why) in [
        ("https://a.test/x", ": of URIs only SPIFFE ids are read"),
        ("10.0.0.1", ": addresses stand under `addresses`"),
        ("*.a.test", ": with a wildcard it would name more than one caller"),
        ("a..test", ""),
        ("CN=web", ""),
        ("", ""),
        ("10.0.0.300", ""),
    ] {
        let what = format!("t.yaml:7:43: `{name}` is not a name in a certificate{why}");
        says(&certificates(&format!("'{name}'")), &what, dns);
    }
    let spiffe = "write it as in the certificate: `spiffe://example.test/playlist`";
    let path = "a path has segments of the characters a-z A-Z 0-9 . - _, none of them empty, `.` or `..`";
    let domain = "a trust domain has the characters a-z 0-9 . - _";
    for (name, why) in [
        ("SPIFFE://a.test/x", "`spiffe` stands in lower case"),
        ("spiffe://a.test", "its path names the caller, and is missing"),
        ("spiffe://A.test/x", domain),
        ("spiffe://a.test:80/x", domain),
        ("spiffe:///x", domain),
        ("spiffe://a.test/x/", path),
        ("spiffe://a.test/../x", path),
        ("spiffe://a.test/x?y", path),
        ("spiffe://a.test/%41", path),
    ] {
        let what = format!("t.yaml:7:43: `{name}` is not a SPIFFE id: {why}");
        says(&certificates(&format!("'{name}'")), &what, spiffe);
    }
}

#[test]
fn a_name_in_a_certificate_belongs_to_one_caller() {
    let text = format!(
        "{}callers:\n  known:\n    a: {{ certificates: [a.test] }}\n    b: {{ certificates: [A.test] }}\n",
        with(TLS)
    );
    says(
        &text,
        "t.yaml:10:25: this name already belongs to `a` at t.yaml:9:25",
        "each belongs to one caller only; remove one",
    );
}

#[test]
fn certificates_that_nobody_asks_for_are_a_warning() {
    let known = "callers: { known: { web: { certificates: [web.test] } } }\n";
    says(
        &format!("{SERVICE}{known}"),
        "t.yaml:6:42: `web` is never known by its certificates: no service asks for client certificates",
        "write `tls:` with `client_ca:` and `client_certificate: optional` in a service",
    );
    assert!(load_text(&format!("{SERVICE}{known}")).config.is_some());
    says(
        &format!("{SERVICE}callers: {{ identify: [certificate, address] }}\n"),
        "t.yaml:6:23: `certificate` is never present: no service asks for client certificates",
        "write `tls:` with `client_ca:` and `client_certificate: optional` in a service",
    );
    let unlooked = known.replace("known:", "identify: [address], known:");
    says(
        &format!("{}{unlooked}", with(TLS)),
        "t.yaml:7:63: `web` is never known by its certificates: `identify` has no `certificate`",
        "write `identify: [certificate, api_key, address]`",
    );
    assert_eq!(told(&load_text(&format!("{}{known}", with(TLS)))), [""; 0]);
}

#[test]
fn rules_name_certificates_as_buckler_spells_them() {
    let rule = |name: &str| {
        let rules = format!("permissions: {{ rules: [{{ deny: {{ callers: ['{name}'] }} }}] }}");
        let known = "callers: { known: { web: { certificates: ['spiffe://a.test/Web', web.test] } } }\n";
        format!("{}{known}", with(&format!("{TLS}\n{rules}")))
    };
    let what = |name: &str| format!("t.yaml:7:48: `certificate:{name}` is no caller's name");
    says(&rule("certificate:A.test"), &what("A.test"), "write `certificate:a.test`");
    says(
        &rule("certificate:spiffe://A.test/X"),
        &what("spiffe://A.test/X"),
        "write `certificate:spiffe://a.test/X`",
    );
    says(&rule("certificate:web.test"), &what("web.test"), "write `web`, who has this certificate");
    says(
        &rule("certificate:spiffe://a.test/Web"),
        &what("spiffe://a.test/Web"),
        "write `web`, who has this certificate",
    );
    for fine in ["certificate:*", "certificate:spiffe://a.test/*", "certificate:other.test", "web"] {
        assert_eq!(told(&load_text(&rule(fine))), [""; 0], "{fine}");
    }
}
