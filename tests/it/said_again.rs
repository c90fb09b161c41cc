//! A client that says the same fields again and again on one connection: each request is judged as if it were the
//! first, by what it asks for and by the configuration of the moment.

use crate::world::{Ask, Raw, World, callers, get, one_service, request};

/// So often that what was said before is known again.
const TIMES: usize = 4;

/// Each of these answers has this status; the last reason is told.
#[track_caller]
fn asked(raw: &mut Raw, ask: &Ask, status: u16) -> String {
    let answers = (0..TIMES).map(|_| raw.answer(ask).is(status)).collect::<Vec<_>>();
    let last = answers.last().unwrap();
    if status == 200 { last.worker().unwrap_or_default().to_owned() } else { last.reason() }
}

#[track_caller]
fn named(world: &World) -> String {
    world.worker("a").last().field("x-buckler-caller").expect("every request has a caller").to_owned()
}

#[test]
fn what_is_asked_for_counts_and_not_what_was_asked_for_before() {
    let world = World::new();
    let rules = "permissions: { default: allow, rules: [{ deny: { methods: [DELETE] } }, \
                 { deny: { paths: [\"/admin/**\"] }, reason: staff }] }";
    let buckler = world.buckler(&format!("{}{}", callers(), one_service(rules)));
    let mut raw = buckler.connect();
    let ask = |method: &str, target: &str| request(method, target).key("web-secret");
    for _ in 0..2 {
        assert_eq!(asked(&mut raw, &ask("GET", "/a?b=c"), 200), "a");
        assert_eq!(world.worker("a").last().target, "/a?b=c");
        assert_eq!(asked(&mut raw, &ask("GET", "/admin/x"), 403), "denied_by_rule");
        assert_eq!(asked(&mut raw, &ask("GET", "http://api.example.test/d"), 200), "a");
        assert_eq!(asked(&mut raw, &ask("GET", "/a/../admin/x"), 403), "denied_by_rule");
    }
    assert_eq!(named(&world), "web");
    raw.answer(&ask("HEAD", "/a")).is(200);
    let other = raw.answer(&ask("GET", "http://b.test/d")).is(400);
    assert!(other.text().contains("different hosts"), "{}", other.text());
}

#[test]
fn each_body_is_read_as_its_fields_say_again() {
    let world = World::new();
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for n in 0..2 * TIMES {
        let body = format!("body {n}");
        raw.answer(&request("POST", "/").body(body.as_str())).is(200);
        assert_eq!(world.worker("a").last().body, body.as_bytes());
    }
    // Several in one write.
    let ask = |n: usize| request("POST", "/").body(format!("part {n}")).bytes();
    raw.send((0..TIMES).flat_map(ask).collect::<Vec<_>>());
    for _ in 0..TIMES {
        raw.read_response().is(200);
    }
    assert_eq!(world.worker("a").last().body, format!("part {}", TIMES - 1).as_bytes());
}

#[test]
fn who_calls_and_what_they_may_is_what_the_file_of_the_moment_says() {
    let world = World::new();
    let plain = format!("{}{}", callers(), one_service(""));
    let buckler = world.buckler(&plain);
    let mut raw = buckler.connect();
    let ask =
        get("/").key("web-secret").header("x-forwarded-for", "127.0.0.9").header("x-token", "scraper-secret");
    let mut reloaded = |file: &str, status: u16| {
        world.reload(&buckler, file);
        asked(&mut raw, &ask, status)
    };
    reloaded(&plain, 200);
    assert_eq!(named(&world), "web");
    // The key is another caller's.
    reloaded(&plain.replace("    web:", "    app:"), 200);
    assert_eq!(named(&world), "app");
    // It is nobody's.
    assert_eq!(reloaded(&plain.replace("761fed", "761fee"), 401), "no_identity");
    // Another field is the key header.
    reloaded(&plain.replace("header: x-api-key", "header: x-token"), 200);
    assert_eq!(named(&world), "scraper");
    assert_eq!(world.worker("a").last().field("x-api-key"), Some("web-secret"), "it is no key there");
    // Nobody is asked for a key, and the peer is not believed; then it is.
    let by_address = plain.replace("[api_key, address]", "[address]");
    reloaded(&by_address, 200);
    assert_eq!(named(&world), "address:127.0.0.1");
    reloaded(&by_address.replace("127.0.0.2/32", "127.0.0.1/32"), 200);
    assert_eq!(named(&world), "office");
    reloaded(&plain, 200);
    assert_eq!(named(&world), "web");
    assert_eq!(world.worker("a").last().field("x-api-key"), None);
    // The same caller may no more, and then less.
    let denied = "permissions: { default: deny, rules: [{ allow: { callers: [office] } }] }";
    assert_eq!(reloaded(&format!("{}{}", callers(), one_service(denied)), 403), "denied_by_rule");
    let limited = "limits: { default: { rate: 1/h, burst: 1 } }";
    let limited = format!("{}{}", callers(), one_service(limited)).replace("tier: partner", "");
    world.reload(&buckler, &limited);
    let statuses: Vec<_> = (0..TIMES).map(|_| raw.answer(&ask).status).collect();
    assert_eq!(statuses[1..], [429; TIMES - 1], "{statuses:?}");
}

#[test]
fn callers_whose_keys_are_of_one_length_are_told_apart_on_one_connection() {
    // Of `key-one` and `key-two`.
    let known = "callers:
  known:
    one: { api_keys: [\"sha256:9b346041bc9a49574eb2665b2ad2a0a3f9f9cce4e42f5d1f26deb8a256b5966a\"] }
    two: { api_keys: [\"sha256:c8df51469c308a59bfbd48a3e0bdd228ca922d6032035f5ef6e4ad45f473a9f3\"] }
";
    let world = World::new();
    let buckler = world.buckler(&format!("{known}{}", one_service("")));
    let mut raw = buckler.connect();
    for name in ["one", "two", "one", "one", "two", "two", "one", "two", "one"] {
        raw.answer(&get("/").key(&format!("key-{name}"))).is(200);
        assert_eq!(named(&world), name);
    }
}

#[test]
fn a_refused_credential_is_judged_each_time() {
    let world = World::new();
    let buckler = world.buckler(&format!("{}{}", callers(), one_service("")));
    let mut raw = buckler.connect();
    for _ in 0..2 {
        assert_eq!(asked(&mut raw, &get("/").key("web-secret"), 200), "a");
        assert_eq!(asked(&mut raw, &get("/").key("web-secreu"), 401), "no_identity");
        assert_eq!(asked(&mut raw, &get("/").key("scraper-secret"), 200), "a");
        assert_eq!(named(&world), "scraper");
    }
}
