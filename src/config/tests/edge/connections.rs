//! Connections before and behind the first request: PROXY headers, upgrades, how long they last and how many there are.

use std::sync::Arc;

use super::*;

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
