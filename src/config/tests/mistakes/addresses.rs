//! Addresses of workers, listeners and networks.

use super::*;

#[test]
fn addresses_say_what_is_wrong_with_them() {
    for (address, why) in [
        ("localhost:80", "`localhost:80` is not an address with a port: names are not looked up here"),
        ("127.0.0.1", "`127.0.0.1` is not an address with a port: the port is missing"),
        ("::1:80", "`::1:80` is not an address with a port: an IPv6 address needs brackets"),
        ("0.0.0.0:80", "nobody can be reached at 0.0.0.0:80"),
        ("unix:", "`unix:` is not a socket of the file system: the path is missing"),
    ] {
        let text = SERVICE.replace("127.0.0.1:9001", address);
        assert_eq!(told(&load_text(&text)), [format!("t.yaml:4:28: {why}")]);
    }
}

#[test]
fn worker_lists_are_not_empty_and_hold_nobody_twice() {
    let with = |list: &str| told(&load_text(&SERVICE.replace("{ addresses: [\"127.0.0.1:9001\"] }", list)));
    assert_eq!(with("{ addresses: [] }"), ["t.yaml:4:27: the list of workers is empty"]);
    assert_eq!(with("{}"), ["t.yaml:4:14: `addresses` or `srv` is missing"]);
    assert_eq!(with("{ srv: a.test, addresses: [] }"), ["t.yaml:4:21: `srv` stands beside `addresses`"]);
    assert_eq!(with("{ srv: 'a..test' }"), ["t.yaml:4:21: `a..test` is not a DNS name"]);
    assert_eq!(
        with("{ addresses: ['127.0.0.1:1', { address: 127.0.0.1:1 }, { weight: 1 }] }"),
        [
            "t.yaml:4:54: the worker 127.0.0.1:1 is already written at t.yaml:4:28",
            "t.yaml:4:69: `address` is missing",
        ]
    );
}

#[test]
fn two_listeners_on_one_port_name_both() {
    let other = "  b:\n    listen: 0.0.0.0:4070\n    workers: { srv: a.test }\n    limits: { default: { rate: 1/s } }\n";
    assert_eq!(beside(other), ["t.yaml:7:13: 0.0.0.0:4070 is already taken by service `a` at t.yaml:3:13"]);
    assert_eq!(
        beside("admin: { listen: 127.0.0.1:4070 }"),
        ["t.yaml:3:13: 127.0.0.1:4070 is already taken by the admin listener at t.yaml:6:18"]
    );
    assert_eq!(beside("admin: { listen: 127.0.0.2:4070 }"), [""; 0]);
    assert_eq!(beside("admin: { listen: '[::]:4070', token_file: t }").len(), 1);
}

#[test]
fn an_open_admin_listener_needs_a_token() {
    assert_eq!(
        beside("admin: { listen: 10.0.0.1:99 }"),
        ["t.yaml:6:18: the admin listener on 10.0.0.1:99 is open to everybody who reaches it"]
    );
    assert_eq!(beside("admin: { listen: 10.0.0.1:99, token_file: t }"), [""; 0]);
}

#[test]
fn networks_say_what_is_wrong_with_them() {
    assert_eq!(
        beside("callers: { trusted_proxies: [10.0.0.1/8, '::ffff:10.0.0.0/104', 10.0.0.0/33] }"),
        [
            "t.yaml:6:30: `10.0.0.1/8` has bits after its prefix",
            "t.yaml:6:42: `::ffff:10.0.0.0/104`: such callers are known by their IPv4 address",
            "t.yaml:6:65: `10.0.0.0/33` is not a network",
        ]
    );
}
