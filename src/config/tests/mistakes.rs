//! One mistake at a time: where it is told and in which words.

use super::*;

/// What is told of `text` beside a service that is right.
fn beside(text: &str) -> Vec<String> {
    told(&load_text(&format!("{SERVICE}{text}")))
}

/// What is told of these lines in a service, from line 6 on, after four spaces.
fn inside(text: &str) -> Vec<String> {
    beside(&text.lines().map(|line| format!("    {line}\n")).collect::<String>())
}

/// The same with callers known before, in lines 1 and 2.
fn inside_knowing(text: &str) -> Vec<String> {
    let known = "callers: { tiers: { big: { rate: 100/s } }, known: { web: { addresses: [10.0.0.1], tier: big },\n  \
                 office: { addresses: [10.0.0.2] } } }\n";
    let text: String = text.lines().map(|line| format!("    {line}\n")).collect();
    let service = SERVICE.replace("    limits: { default: { rate: 10/s } }\n", "");
    told(&load_text(&format!("{known}{service}{text}")))
}

fn help(text: &str) -> String {
    let loaded = load_text(text);
    loaded.problems.first().and_then(|problem| problem.help.clone()).unwrap_or_default()
}

#[test]
fn a_service_alone_is_enough() {
    assert_eq!(beside(""), [""; 0]);
}

#[test]
fn not_yaml_is_one_error() {
    let loaded = load_text("services:\n  a: [1\nb: 2\n");
    assert_eq!(loaded.problems.len(), 1);
    assert!(told(&loaded)[0].starts_with("t.yaml:3:"), "{}", loaded.render());
    assert_eq!(told(&load_text("a: 1\n---\nb: 2\n")), ["t.yaml:2:1: a second YAML document begins here"]);
}

#[test]
fn a_tab_is_told_what_yaml_indents_with() {
    let text = SERVICE.replacen("    ", "\t", 1);
    assert_eq!(load_text(&text).problems.len(), 1);
    assert!(help(&text).starts_with("YAML indents with spaces only"), "{}", load_text(&text).render());
}

#[test]
fn a_duplicate_key_names_the_first() {
    assert_eq!(
        inside("listen: 127.0.0.1:1"),
        ["t.yaml:6:5: duplicate key `listen`; it is first written at t.yaml:3:5"]
    );
    assert_eq!(
        beside("log: { level: info, level: warn }"),
        ["t.yaml:6:21: duplicate key `level`; it is first written at t.yaml:6:8"]
    );
}

#[test]
fn an_unknown_key_is_told_the_nearest() {
    assert_eq!(inside("timouts: { head: 1s }"), ["t.yaml:6:5: unknown key `timouts`"]);
    let text = format!("{SERVICE}    timouts: {{}}\n");
    assert!(
        help(&text).starts_with("did you mean `timeouts`?\nexpected one of `listen`, `socket`, "),
        "{}",
        help(&text)
    );
    assert!(help(&format!("{SERVICE}xyzzy: 1\n")).starts_with("expected one of `include`, `threads`"));
}

#[test]
fn keys_of_later_versions_are_told_apart_from_unknown_ones() {
    assert_eq!(
        beside("fleet: {}"),
        [
            "t.yaml:6:1: `fleet` (limits shared between several Bucklers) is planned but not built in this version"
        ]
    );
    assert_eq!(
        beside("admin: { listen: 127.0.0.1:1, tls: {} }"),
        ["t.yaml:6:31: `tls` (TLS on the admin listener) is planned but not built in this version"]
    );
}

#[test]
fn missing_keys_are_told_at_their_parent() {
    assert_eq!(told(&load_text("")), ["t.yaml:0:0: `services` is missing"]);
    assert_eq!(told(&load_text("services: {}\n")), ["t.yaml:1:11: there is no service"]);
    assert_eq!(
        told(&load_text("services:\n  a:\n    limits: { default: { concurrent: 1 } }\n")),
        ["t.yaml:2:3: `listen` is missing", "t.yaml:2:3: `workers` is missing",]
    );
    assert_eq!(beside("admin: {}"), ["t.yaml:6:8: `listen` is missing"]);
}

#[test]
fn the_wrong_kind_says_what_is_expected() {
    assert_eq!(
        beside("dns: 5"),
        ["t.yaml:6:6: expected a map of `servers`, `max_ttl`, `timeout`, found `5`"]
    );
    assert_eq!(
        beside("dns: { servers: 127.0.0.1:53 }"),
        ["t.yaml:6:17: expected a list, found `127.0.0.1:53`"]
    );
    assert_eq!(beside("threads: [2]"), ["t.yaml:6:10: expected a whole number, found a list"]);
    assert_eq!(beside("[a]: 1"), ["t.yaml:6:1: a key must be a word"]);
    assert_eq!(beside("log: { level: !x info }"), ["t.yaml:6:18: a YAML tag (`!...`) stands here"]);
}

#[test]
fn a_number_without_its_unit_is_told_what_to_write() {
    assert_eq!(
        inside("timeouts: { head: 10 }"),
        ["t.yaml:6:23: `10` is not a duration: a number alone has no unit"]
    );
    assert_eq!(
        inside("bounds: { body_bytes: 1000 }"),
        ["t.yaml:6:27: `1000` is not a size: a number alone has no unit"]
    );
    assert_eq!(
        inside("bounds: { upload_rate: 240 }"),
        ["t.yaml:6:28: `240` is not a size: a number alone has no unit"]
    );
    let text = SERVICE.replace("10/s", "10");
    assert_eq!(told(&load_text(&text)), ["t.yaml:5:32: `10` is not a rate: a number alone has no unit"]);
    assert_eq!(help(&text), "write how many in which time: `100/s`, `6000/min`, `10/h` or `5/d`");
    let text = SERVICE.replace("10/s", "0/s");
    assert_eq!(told(&load_text(&text)), ["t.yaml:5:32: a rate of 0 lets nothing pass"]);
}

#[test]
fn values_out_of_bounds_are_told_the_bounds() {
    assert_eq!(beside("threads: 0"), ["t.yaml:6:10: 0 is out of bounds"]);
    assert_eq!(
        inside("timeouts: { head: 2d, total: 0s }"),
        ["t.yaml:6:23: `2d` is out of bounds", "t.yaml:6:34: `0s` is out of bounds",]
    );
    assert_eq!(
        inside("bounds: { head_bytes: 4KiB, uri_bytes: 8KiB }"),
        ["t.yaml:6:44: `8KiB` is out of bounds"]
    );
    // `http::Uri` holds no more than 65,534 bytes; a longer target would be let in and then refused.
    assert_eq!(
        inside("bounds: { head_bytes: 1MiB, uri_bytes: 64KiB }"),
        ["t.yaml:6:44: `64KiB` is out of bounds"]
    );
    assert!(inside("bounds: { head_bytes: 1MiB, uri_bytes: 65534B }").is_empty());
    assert_eq!(inside("bounds: { upload_rate: 0B }"), ["t.yaml:6:28: `0B` is out of bounds"]);
    assert_eq!(inside("bounds: { upload_rate: 2GiB }"), ["t.yaml:6:28: `2GiB` is out of bounds"]);
    assert!(inside("bounds: { upload_rate: none }").is_empty());
    assert_eq!(beside("callers: { address: { ipv4_prefix: 33 } }"), ["t.yaml:6:36: 33 is out of bounds"]);
    assert_eq!(beside("callers: { ledger: { max_keys: 7 } }"), ["t.yaml:6:32: 7 is out of bounds"]);
    assert_eq!(beside("log: { level: 'x=y=z' }"), ["t.yaml:6:15: `x=y=z` is not a level"]);
    assert_eq!(beside("log: { level: loud }"), ["t.yaml:6:15: `loud` is not a level"]);
    assert!(beside("log: { level: 'info,buckler::workers=debug' }").is_empty());
    assert_eq!(beside("access_log: { path: '' }"), ["t.yaml:6:21: `path` is empty"]);
    assert_eq!(
        beside("access_log: { format: jsn }"),
        ["t.yaml:6:23: `jsn` is not one of `json`, `combined`, `off`"]
    );
}

#[test]
fn a_weight_over_65535_is_an_error() {
    let text = SERVICE.replace("\"127.0.0.1:9001\"", "{ address: 127.0.0.1:9001, weight: 65536 }");
    assert_eq!(told(&load_text(&text)), ["t.yaml:4:63: `65536` is not a whole number from 0 to 65535"]);
}

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
fn names_that_are_defined_nowhere_are_told_the_nearest() {
    let rules = "limits: { default: { rate: 1/s } }\npermissions:\n  rules:\n    - deny: { callers: [ofice, 'we*', 'x*', 'address:*'] }\n    - deny: { tiers: [bg] }";
    assert_eq!(
        inside_knowing(rules),
        [
            "t.yaml:10:29: the caller `ofice` is known nowhere",
            "t.yaml:10:43: `x*` fits no caller that is known",
            "t.yaml:11:27: the tier `bg` is defined nowhere",
        ]
    );
    let text = format!(
        "callers: {{ known: {{ office: {{ addresses: [10.0.0.2] }} }} }}\n{SERVICE}    permissions: {{ rules: [{{ deny: {{ callers: [ofice] }} }}] }}\n"
    );
    assert_eq!(help(&text), "did you mean `office`?");
    assert_eq!(
        inside_knowing("limits: { default: { rate: 1/s }, agreements: [{ caller: wbe, rate: 1/s }] }"),
        ["t.yaml:7:62: the caller `wbe` is known nowhere"]
    );
    assert_eq!(
        beside("callers: { known: { a: { addresses: [10.0.0.1], tier: x } } }"),
        ["t.yaml:6:55: the tier `x` is defined nowhere"]
    );
}

#[test]
fn addresses_as_names_are_spelled_as_buckler_spells_them() {
    let rules = "limits: { default: { rate: 1/s } }\npermissions: { rules: [{ deny: { callers: ['address:2001:DB8::/64', 'address:10.1', 'address:10.0.0.7'] } }] }";
    assert_eq!(
        inside_knowing(rules),
        [
            "t.yaml:8:48: `address:2001:DB8::/64` is no caller's name",
            "t.yaml:8:73: `address:10.1` is no caller's name",
        ]
    );
}

#[test]
fn rules_that_can_never_decide_are_told() {
    let rules = |rules: &str| {
        inside_knowing(&format!("limits: {{ default: {{ rate: 1/s }} }}\npermissions:\n  rules:\n{rules}"))
    };
    let never = |line: u32, first: u32, place: &str| {
        format!(
            "t.yaml:{line}:11: this rule can never decide: permissions.rules[{first}] at t.yaml:{place} matches all that it matches"
        )
    };
    assert_eq!(rules("    - allow: {}\n    - deny: { methods: [GET] }"), [never(11, 1, "10:11")]);
    assert_eq!(
        rules("    - deny: { paths: ['/a/**'] }\n    - allow: { paths: ['/a/b', /a], callers: [web] }").len(),
        1
    );
    assert_eq!(rules("    - deny: { callers: ['*'] }\n    - allow: { callers: [web] }").len(), 1);
    assert_eq!(rules("    - deny: { hosts: ['*.a.test'] }\n    - allow: { hosts: [b.A.test.] }").len(), 1);
    for fine in [
        "    - { deny: {}, mode: shadow }\n    - allow: { methods: [GET] }",
        "    - { deny: {}, until: 2099-01-01 }\n    - allow: { methods: [GET] }",
        "    - deny: { paths: ['/a/*'] }\n    - allow: { paths: ['/a/**'] }",
        "    - deny: { paths: ['/a/*'] }\n    - allow: { paths: ['/a/'] }",
        "    - deny: { callers: [web] }\n    - allow: { callers: [web, office] }",
        "    - deny: { methods: [GET], paths: [/a] }\n    - allow: { paths: [/a] }",
        "    - deny: { hosts: ['*.a.test'] }\n    - allow: { hosts: [c.b.a.test, a.test] }",
    ] {
        assert_eq!(rules(fine), [""; 0], "{fine}");
    }
}

#[test]
fn rules_say_one_thing() {
    let rules = "limits: { default: { rate: 1/s } }\npermissions:\n  rules:\n    - reason: x\n    - { allow: {}, deny: {} }\n    - deny: { methods: [], callers: [] }\n    - { deny: { methods: [get] }, reason: '' }";
    assert_eq!(
        inside_knowing(rules),
        [
            "t.yaml:10:11: the rule says neither `allow` nor `deny`",
            "t.yaml:11:30: `deny` stands beside `allow`",
            "t.yaml:12:28: the list `methods` is empty",
            "t.yaml:12:41: the list `callers` is empty",
            "t.yaml:13:31: `get`: methods are compared with their case (RFC 9110 section 9.1)",
            "t.yaml:13:47: `reason` is empty, too long or not one line",
        ]
    );
}

#[test]
fn path_patterns_are_canonical() {
    let refused = "broken encodings, encoded slashes, backslashes and control bytes, and paths above the root are refused before";
    for (path, why, what) in [
        ("a", "the path pattern `a` must start with `/`", "write `/a`"),
        ("/a//b", "`/a//b` can match no request: paths are normalised before rules see them", "write `/a/b`"),
        (
            "/a/./b/..",
            "`/a/./b/..` can match no request: paths are normalised before rules see them",
            "write `/a/`",
        ),
        (
            "/%61%2c",
            "`/%61%2c` can match no request: paths are normalised before rules see them",
            "write `/a%2C`",
        ),
        ("/a b", "`/a b` can match no request: paths are normalised before rules see them", "write `/a%20b`"),
        ("/a%2Fb", "`/a%2Fb` can match no request: paths are normalised before rules see them", refused),
        ("/..", "`/..` can match no request: paths are normalised before rules see them", refused),
        ("/a?b", "`?` is never in a path that rules see", "write the path alone, without query or fragment"),
        ("/**/a", "`**` may only stand last, in `/**/a`", "write `*` for one segment"),
        ("/a*", "`*` stands for a whole segment, not for a part as in `a*`", "write `*` or the whole text"),
    ] {
        let text = format!("{SERVICE}    permissions: {{ rules: [{{ deny: {{ paths: ['{path}'] }} }}] }}\n");
        assert_eq!(told(&load_text(&text)), [format!("t.yaml:6:46: {why}")]);
        assert_eq!(help(&text), what);
    }
    for path in ["/", "/**", "/a/*/b", "/a/", "/a%2C", "/a;x=1/b", "/%C3%A9"] {
        assert_eq!(
            inside(&format!("permissions: {{ rules: [{{ deny: {{ paths: ['{path}'] }} }}] }}")),
            [""; 0],
            "{path}"
        );
    }
}

#[test]
fn hosts_are_hosts() {
    for (host, why) in [
        ("a.test:80", "`a.test:80` is not a host: hosts are compared without their port"),
        ("a..test", "`a..test` is not a host"),
        ("*", "`*` is not a host"),
    ] {
        assert_eq!(
            inside(&format!("permissions: {{ rules: [{{ deny: {{ hosts: ['{host}'] }} }}] }}")),
            [format!("t.yaml:6:46: {why}")]
        );
    }
}

#[test]
fn what_has_passed_is_a_warning_and_nothing_more() {
    let text = "limits:\n  default: { rate: 1/s }\n  agreements:\n    - { caller: web, rate: 1/s, until: 2027-01-15 }\n    - { caller: office, rate: 1/s, until: 2027-01-29 }\npermissions: { rules: [{ deny: {}, until: 2001-01-01 }] }";
    assert_eq!(
        inside_knowing(text),
        [
            "t.yaml:10:44: `until` has passed: the agreement of web ended on 2027-01-15",
            "t.yaml:11:47: the agreement of office ends on 2027-01-29, in 14 days",
            "t.yaml:12:47: `until` has passed: permissions.rules[1] no longer applies since 2001-01-01",
        ]
    );
    let loaded =
        load_text(&format!("{SERVICE}    permissions: {{ rules: [{{ deny: {{}}, until: 2001-01-01 }}] }}\n"));
    assert!(loaded.config.is_some());
    assert_eq!((loaded.errors().count(), loaded.warnings().count()), (0, 1));
    assert!(loaded.render().starts_with("warning: t.yaml:6:47: "), "{}", loaded.render());
    assert_eq!(
        inside("permissions: { rules: [{ deny: {}, until: 2027-02-30 }] }"),
        ["t.yaml:6:47: `2027-02-30` is not a date"]
    );
}

#[test]
fn open_doors_are_warnings() {
    let text = SERVICE.replace("    limits: { default: { rate: 10/s } }\n", "");
    assert_eq!(
        told(&load_text(&text)),
        ["t.yaml:2:3: callers without an agreement or a tier have no limit here"]
    );
    assert_eq!(
        beside("callers: { trusted_proxies: [0.0.0.0/0, 10.0.0.0/8] }"),
        ["t.yaml:6:30: 0.0.0.0/0 makes every peer a trusted proxy: each can claim to be any address"]
    );
    assert!(load_text(&text).config.is_some());
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

#[test]
fn what_belongs_to_one_caller_belongs_to_no_other() {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let text = format!(
        "callers:\n  known:\n    a: {{ api_keys: ['{hash}'], addresses: [10.0.0.1] }}\n    b: {{ api_keys: ['{hash}'], addresses: [10.0.0.1/32] }}\n    c: {{}}\n    'd:e': {{ addresses: [10.0.0.2] }}\n"
    );
    assert_eq!(
        beside(&text),
        [
            "t.yaml:9:21: this key already belongs to `a` at t.yaml:8:21",
            "t.yaml:9:109: this network already belongs to `a` at t.yaml:8:109",
            "t.yaml:10:5: nothing says how to know `c`",
            "t.yaml:11:5: `d:e` is not a name for a caller",
        ]
    );
}

#[test]
fn credentials_end_with_the_address() {
    assert_eq!(
        beside("callers: { identify: [address, api_key] }"),
        ["t.yaml:6:22: `identify` must end with `address`, which is always present"]
    );
    assert_eq!(
        beside("callers: { identify: [api_key, api_key, address] }"),
        ["t.yaml:6:32: this credential is written twice"]
    );
    for header in ["Connection", "x-buckler-caller", "Host"] {
        let name = header.to_ascii_lowercase();
        assert_eq!(
            beside(&format!("callers: {{ api_key: {{ header: {header} }} }}")),
            [format!("t.yaml:6:31: the header `{name}` has a meaning of its own and cannot carry a key")]
        );
    }
    assert_eq!(
        beside("callers: { api_key: { header: 'a b' } }"),
        ["t.yaml:6:31: `a b` is not the name of a header"]
    );
}

#[test]
fn a_cost_fits_into_every_burst_that_it_can_meet() {
    let text = "limits:\n  default: { rate: 10/s, burst: 4 }\n  total: { rate: 1000/s }\n  agreements: [{ caller: office, rate: 3/s }]\n  costs: [{ cost: 5 }, { paths: [/a], cost: 200 }, { cost: 0 }, {}]";
    assert_eq!(
        inside_knowing(text),
        [
            "t.yaml:11:23: a cost of 5 is above the burst of 4 of `default` at t.yaml:8",
            "t.yaml:11:23: a cost of 5 is above the burst of 3 of `agreement office` at t.yaml:10",
            "t.yaml:11:49: a cost of 200 is above the burst of 4 of `default` at t.yaml:8",
            "t.yaml:11:49: a cost of 200 is above the burst of 100 of `tier big` at t.yaml:1",
            "t.yaml:11:49: a cost of 200 is above the burst of 3 of `agreement office` at t.yaml:10",
            "t.yaml:11:64: a `cost` of 0 lets nothing pass",
            "t.yaml:11:69: `cost` is missing",
        ]
    );
}

#[test]
fn quotas_limit_something() {
    assert_eq!(
        beside("callers: { tiers: { a: {}, b: { burst: 3, concurrent: 0 } } }"),
        [
            "t.yaml:6:21: `rate` or `concurrent` is missing",
            "t.yaml:6:40: `burst` without `rate`",
            "t.yaml:6:55: a `concurrent` of 0 lets nothing pass",
        ]
    );
    let text = SERVICE.replace("10/s", "1/d, burst: 400");
    assert_eq!(told(&load_text(&text)), ["t.yaml:5:44: a burst of 400 takes more than 365d to refill"]);
}

#[test]
fn an_agreement_has_callers_and_a_caller_one_agreement() {
    let text = "limits:\n  default: { rate: 1/s }\n  agreements:\n    - { rate: 1/s }\n    - { caller: web, callers: [office], rate: 1/s }\n    - { callers: [web], rate: 1/s }\n    - { callers: [], rate: 1/s }";
    assert_eq!(
        inside_knowing(text),
        [
            "t.yaml:10:11: `caller` is missing",
            "t.yaml:11:35: `callers` stands beside `caller`",
            "t.yaml:12:23: `web` already has an agreement at t.yaml:11:21",
            "t.yaml:13:22: the list `callers` is empty",
        ]
    );
}

#[test]
fn a_service_has_a_name_that_fits_into_a_log() {
    let text = SERVICE.replace("  a:", "  \"a b\":");
    assert_eq!(told(&load_text(&text)), ["t.yaml:2:3: `a b` is not a name for a service"]);
}
