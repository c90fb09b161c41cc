//! Whether a caller may: ordered rules, the first that matches decides, and the refusal says which and why.

use crate::world::{Ask, Buckler, ONE_PORT, World, callers, get, one_service, request};

/// One service with the callers of the agreed configuration and these permissions.
fn with_rules(world: &World, permissions: &str) -> Buckler {
    world.buckler(&format!("{}{}", callers(), one_service(permissions)))
}

fn web(ask: Ask) -> Ask {
    ask.key("web-secret")
}

#[test]
fn the_agreed_rules_mean_what_they_say() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    buckler.answer(get("/")).is(200);
    let scraper = buckler.answer(get("/").key("scraper-secret")).is(403);
    assert_eq!(scraper.reason(), "denied_by_rule");
    assert_eq!(scraper.json()["rule_reason"], "crawls without an agreement");
    let staff = buckler.answer(get("/admin/users")).is(403);
    assert_eq!(staff.json()["rule_reason"], "staff only");
    buckler.answer(web(get("/admin/users"))).is(200);
    buckler.answer(get("/admin/users").from("127.0.0.9")).is(200);
    buckler.answer(request("DELETE", "/list")).is(403);
    buckler.answer(web(request("DELETE", "/list"))).is(403);
    buckler.answer(web(request("DELETE", "/admin/users"))).is(200);
    buckler.answer(get("/admin/users").key("scraper-secret")).is(403);
}

#[test]
fn no_spelling_of_a_path_gets_round_a_rule() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    for spelling in [
        "/admin",
        "/admin/",
        "/admin/a",
        "/admin/a/b/c",
        "/admin?x=1",
        "/admin/?x",
        "//admin/a",
        "/./admin/a",
        "/x/../admin/a",
        "/x/%2e%2e/admin/a",
        "/x/.%2E/admin/a",
        "/%61dmin/a",
        "/%61%64%6d%69%6e",
        "/admin//a",
        "/admin%2fa",
        "/admin%2Fa",
        "/admin/..%2fadmin",
        "/admin;x=1/a",
        "/x/..;/admin/a",
        "/admin\\a",
        "/admin%5ca",
        "\\admin",
        "/x/..\\admin",
        "/admin%00",
        "/admin/%2e",
        "/admin/.",
        "/admin/a/..",
        "/x//..//admin/a",
    ] {
        let answer = buckler.answer(get(spelling));
        assert!(answer.status == 403 || answer.status == 400, "{spelling} got round it:\n{}", answer.head);
    }
    for other in ["/administrator", "/ADMIN/a", "/x/admin", "/", "/admin/../x"] {
        buckler.answer(get(other)).is(200);
    }
}

#[test]
fn a_refusal_names_its_rule_and_line() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    let line = 1 + ONE_PORT.lines().position(|line| line.contains("staff only")).unwrap();
    let answer = buckler.answer(get("/admin/a")).is(403);
    let status = answer.field("proxy-status").expect("RFC 9209");
    assert!(status.starts_with("buckler; error=http_request_denied"), "{status}");
    let body = answer.json();
    assert_eq!(body["status"], 403);
    assert!(!body["rule"].as_str().unwrap().is_empty());
    let logged = buckler.logged("the refusal", |line| line["status"] == 403);
    assert_eq!(logged["rule"], body["rule"]);
    assert_eq!(logged["reason"], "denied_by_rule");
    assert!(logged["rule_at"].as_str().unwrap().ends_with(&format!(":{line}")), "{logged}");
    assert_eq!(logged["request_id"], body["request_id"]);
    assert_eq!(answer.field("x-request-id"), body["request_id"].as_str());
    let kept = buckler.look("/api/v1/refusals").is(200).json();
    assert_eq!(kept["refusals"][0]["rule_at"], logged["rule_at"]);
    assert_eq!(kept["refusals"][0]["path"], "/admin/a");
}

#[test]
fn the_body_of_a_refusal_is_what_the_client_takes() {
    let world = World::new();
    let buckler = world.one_service("permissions: { default: deny }");
    for json in ["application/json", "application/problem+json", "*/*", "text/html, application/json;q=0.5"] {
        buckler.answer(get("/").header("accept", json)).is(403).reason();
    }
    for plain in ["text/plain", "text/html,application/xhtml+xml", "application/json;q=0"] {
        let answer = buckler.answer(get("/").header("accept", plain)).is(403);
        assert!(answer.field("content-type").unwrap().starts_with("text/plain"), "{}", answer.head);
        assert!(answer.text().contains("denied_by_rule"), "{}", answer.text());
    }
    let head = buckler.answer(request("HEAD", "/")).is(403);
    assert_eq!(head.text(), "");
}

#[test]
fn what_is_not_allowed_is_denied_if_the_default_says_so() {
    let world = World::new();
    let rules = "permissions:\n  default: deny\n  rules:\n    - { allow: { methods: [GET, HEAD], paths: [\"/open/*\"] } }";
    let buckler = with_rules(&world, rules);
    buckler.answer(get("/open/a")).is(200);
    buckler.answer(request("HEAD", "/open/a")).is(200);
    for (method, path) in [("GET", "/open"), ("GET", "/open/a/b"), ("POST", "/open/a"), ("GET", "/")] {
        let answer = buckler.answer(request(method, path)).is(403);
        if method != "HEAD" {
            assert_eq!(answer.json()["rule"], "default");
        }
    }
}

#[test]
fn callers_match_by_name_pattern_and_tier() {
    let world = World::new();
    let rules = "permissions:\n  default: deny\n  rules:\n    - { allow: { tiers: [partner], paths: [\"/tier\"] } }\n    \
                 - { allow: { callers: [\"address:127.0.0.*\"], paths: [\"/near\"] } }";
    let buckler = with_rules(&world, rules);
    buckler.answer(web(get("/tier"))).is(200);
    buckler.answer(get("/tier").key("scraper-secret")).is(403);
    buckler.answer(get("/tier")).is(403);
    buckler.answer(get("/near").from("127.0.0.77")).is(200);
    buckler.answer(get("/near").from("127.0.1.77")).is(403);
    buckler.answer(web(get("/near"))).is(403);
}

#[test]
fn hosts_match_without_case_port_or_final_dot() {
    let world = World::new();
    let rules = "permissions:\n  rules:\n    - { deny: { hosts: [secret.example.test, \"*.inner.test\"] } }";
    let buckler = with_rules(&world, rules);
    for host in [
        "secret.example.test",
        "SECRET.example.TEST",
        "secret.example.test:8080",
        "secret.example.test.",
        "a.inner.test",
    ] {
        buckler.answer(get("/").header("host", host)).is(403);
    }
    for host in
        ["example.test", "a.secret.example.test", "inner.test", "a.b.inner.test", "secret.example.test.com"]
    {
        buckler.answer(get("/").header("host", host)).is(200);
    }
    let absolute = "GET http://secret.example.test/ HTTP/1.1\r\nhost: secret.example.test\r\n\r\n";
    buckler.answer_to(absolute).is(403);
}

#[test]
fn a_shadow_rule_decides_nothing_and_is_counted() {
    let world = World::new();
    let rules = "permissions:\n  rules:\n    - { deny: { paths: [\"/a\", \"/b\"] }, mode: shadow }\n    - { deny: { paths: [\"/b\"] } }";
    let buckler = with_rules(&world, rules);
    buckler.answer(get("/a")).is(200);
    buckler.answer(get("/b")).is(403);
    let line = buckler.logged("what the shadow would have said", |line| line["path"] == "/a");
    assert_eq!(line["status"], 200);
    assert_eq!(line["shadow"][0]["reason"], "denied_by_rule");
    let metrics = buckler.metrics();
    assert!(
        (metrics.sum("buckler_limited_total", &[("mode", "shadow")]) - 2.0).abs() < 0.5,
        "{}",
        metrics.text
    );
    assert!(
        (metrics.sum("buckler_limited_total", &[("mode", "enforce")]) - 1.0).abs() < 0.5,
        "{}",
        metrics.text
    );
}

#[test]
fn a_rule_that_can_never_apply_is_an_error_at_start() {
    let world = World::new();
    let rules = "permissions:\n  rules:\n    - { deny: {} }\n    - { allow: { paths: [\"/a\"] } }";
    let (code, said) = world.check(&format!("{}{}", callers(), one_service(rules)));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("check.yaml:"), "{said}");
    let nobody = "permissions:\n  rules:\n    - { deny: { callers: [nobody] } }";
    let (code, said) = world.check(&format!("{}{}", callers(), one_service(nobody)));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("nobody"), "{said}");
}
