//! Rules that say too much, too little or what can never be.

use super::*;

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
