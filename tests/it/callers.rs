//! Who is calling: keys, addresses, trusted proxies; and that nobody can be somebody else.

use crate::world::{Buckler, World, callers, get, one_service};

/// The callers of the agreed configuration in front of one worker.
fn known_callers(world: &World) -> Buckler {
    world.buckler(&format!("{}{}", callers(), one_service("")))
}

/// The name under which the worker `a` saw the last request.
#[track_caller]
fn named(world: &World) -> String {
    world.worker("a").last().field("x-buckler-caller").expect("every request has a caller").to_owned()
}

#[test]
fn a_key_names_its_caller_for_the_worker_and_the_log() {
    let world = World::new();
    let buckler = known_callers(&world);
    buckler.answer(get("/keyed").key("web-secret")).is(200);
    assert_eq!(named(&world), "web");
    let line = buckler.logged("the request", |line| line["path"] == "/keyed");
    assert_eq!(line["caller"], "web");
    assert_eq!(line["tier"], "partner");
    buckler.answer(get("/").header("X-API-KEY", "scraper-secret")).is(200);
    assert_eq!(named(&world), "scraper");
}

#[test]
fn a_key_stays_here_and_the_worker_gets_the_name() {
    let world = World::new();
    let buckler = known_callers(&world);
    buckler.answer(get("/").key("web-secret")).is(200);
    assert_eq!(world.worker("a").last().field("x-api-key"), None);
    assert_eq!(named(&world), "web");
}

#[test]
fn a_wrong_key_is_refused_and_never_falls_through_to_an_address() {
    let world = World::new();
    let buckler = known_callers(&world);
    for wrong in ["wrong-secret", "web-secre", "web-secret2", "WEB-SECRET", "web-secret, web-secret", "web"] {
        for from in ["127.0.0.1", "127.0.0.9"] {
            let answer = buckler.answer(get("/").key(wrong).from(from)).is(401);
            assert_eq!(answer.reason(), "no_identity");
            assert!(answer.field("www-authenticate").is_some(), "RFC 9110 11.6.1 asks for a challenge");
        }
    }
    assert_eq!(world.worker("a").count(), 0);
    assert!(buckler.refused("no_identity") >= 12.0);
}

#[test]
fn an_empty_key_is_a_wrong_one() {
    let world = World::new();
    let buckler = known_callers(&world);
    let answer = buckler.answer(get("/").key(""));
    assert!(answer.status == 401 || answer.status == 400, "{}", answer.head);
    assert_eq!(world.worker("a").count(), 0);
}

#[test]
fn a_doubled_key_is_refused_even_if_both_are_right() {
    let world = World::new();
    let buckler = known_callers(&world);
    for second in ["web-secret", "scraper-secret", "wrong", ""] {
        let answer = buckler.answer(get("/").key("web-secret").header("X-Api-Key", second)).is(400);
        assert_eq!(answer.reason(), "bad_request");
    }
    assert_eq!(world.worker("a").count(), 0);
}

#[test]
fn a_look_alike_of_the_key_is_no_key() {
    let world = World::new();
    let buckler = known_callers(&world);
    for look_alike in ["x_api_key", "X-Api_Key", "x-api-key-"] {
        let answer = buckler.answer(get("/").header(look_alike, "web-secret"));
        if answer.status != 400 {
            assert_eq!(named(&world), "address:127.0.0.1", "known by {look_alike}");
        }
    }
}

#[test]
fn blanks_around_a_key_do_not_count() {
    let world = World::new();
    let buckler = known_callers(&world);
    buckler.answer_to("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: \t web-secret \t\r\n\r\n").is(200);
    assert_eq!(named(&world), "web");
}

#[test]
fn a_known_address_names_its_caller_and_others_name_themselves() {
    let world = World::new();
    let buckler = known_callers(&world);
    buckler.answer(get("/").from("127.0.0.9")).is(200);
    assert_eq!(named(&world), "office");
    buckler.answer(get("/").from("127.0.0.5")).is(200);
    assert_eq!(named(&world), "address:127.0.0.5");
}

#[test]
fn a_key_counts_before_an_address() {
    let world = World::new();
    let buckler = known_callers(&world);
    buckler.answer(get("/").key("web-secret").from("127.0.0.9")).is(200);
    assert_eq!(named(&world), "web");
}

#[test]
fn a_trusted_proxy_is_believed_from_right_to_left() {
    let world = World::new();
    let buckler = known_callers(&world);
    for (line, caller) in [
        ("127.0.0.9", "office"),
        ("203.0.113.5", "address:203.0.113.5"),
        ("127.0.0.9, 203.0.113.5", "address:203.0.113.5"),
        ("203.0.113.5, 127.0.0.9", "office"),
        ("203.0.113.5, 127.0.0.2", "address:203.0.113.5"),
        ("127.0.0.9,203.0.113.5,127.0.0.2, 127.0.0.2", "address:203.0.113.5"),
        ("2001:db8:1:2:aaaa::1", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "address:2001:db8:1:2::/64"),
        ("::ffff:127.0.0.9", "office"),
    ] {
        buckler.answer(get("/").header("x-forwarded-for", line).from("127.0.0.2")).is(200);
        assert_eq!(named(&world), caller, "X-Forwarded-For: {line}");
    }
    let two = get("/").header("x-forwarded-for", "127.0.0.9").header("x-forwarded-for", "203.0.113.5");
    buckler.answer(two.from("127.0.0.2")).is(200);
    assert_eq!(named(&world), "address:203.0.113.5", "two lines are one list");
}

#[test]
fn what_a_trusted_proxy_garbles_makes_nobody_somebody() {
    let world = World::new();
    let buckler = known_callers(&world);
    for garbled in ["127.0.0.9, x", "127.0.0.9, unknown", "127.0.0.9, 1.2.3", ", ,", "127.0.0.9 127.0.0.9"] {
        let answer = buckler.answer(get("/").header("x-forwarded-for", garbled).from("127.0.0.2"));
        if answer.status != 400 {
            assert_ne!(named(&world), "office", "by X-Forwarded-For: {garbled}");
        }
    }
}

#[test]
fn a_stranger_is_not_believed() {
    let world = World::new();
    let buckler = known_callers(&world);
    for field in ["x-forwarded-for", "x-real-ip", "forwarded", "x_forwarded_for", "client-ip"] {
        let value = if field == "forwarded" { "for=127.0.0.9" } else { "127.0.0.9" };
        buckler.answer(get("/").header(field, value).from("127.0.0.7")).is(200);
        assert_eq!(named(&world), "address:127.0.0.7", "by {field}");
    }
}

#[test]
fn the_log_tells_the_peer_and_the_client_apart() {
    let world = World::new();
    let buckler = known_callers(&world);
    buckler.answer(get("/far").header("x-forwarded-for", "203.0.113.5").from("127.0.0.2")).is(200);
    let line = buckler.logged("the request", |line| line["path"] == "/far");
    assert_eq!(line["client_ip"], "203.0.113.5");
    assert_eq!(line["peer_ip"], "127.0.0.2");
}

#[test]
fn an_unknown_key_can_be_a_caller_of_its_own() {
    let world = World::new();
    let callers = "callers: { identify: [api_key, address], api_key: { unknown: anonymous } }\n";
    let buckler = world.buckler(&format!("{callers}{}", one_service("")));
    buckler.answer(get("/").key("web-secret")).is(200);
    // The first twelve digits of the SHA-256 of `web-secret`.
    assert_eq!(named(&world), "api_key:761fed9dbb22");
    buckler.answer(get("/")).is(200);
    assert_eq!(named(&world), "address:127.0.0.1");
}

#[test]
fn addresses_can_be_counted_by_wider_prefixes() {
    let world = World::new();
    let callers = "callers: { address: { ipv4_prefix: 24 } }\n";
    let limits = "limits: { default: { rate: 1/h, burst: 2 } }";
    let buckler = world.buckler(&format!("{callers}{}", one_service(limits)));
    buckler.answer(get("/").from("127.0.7.1")).is(200);
    buckler.answer(get("/").from("127.0.7.2")).is(200);
    buckler.answer(get("/").from("127.0.7.3")).is(429);
    buckler.answer(get("/").from("127.0.8.1")).is(200);
}

#[test]
fn no_key_is_ever_written_down() {
    let world = World::new();
    let buckler = known_callers(&world);
    buckler.answer(get("/?key=1").key("web-secret")).is(200);
    let refused = buckler.answer(get("/").key("wrong-secret")).is(401);
    buckler.logged("the refusal", |line| line["status"] == 401);
    let places = [
        refused.head.clone() + &refused.text(),
        buckler.stderr(),
        format!("{:?}", buckler.access_log()),
        buckler.metrics().text,
        buckler.look("/api/v1/status").text(),
        buckler.look("/api/v1/refusals").text(),
    ];
    for place in places {
        assert!(!place.contains("web-secret") && !place.contains("wrong-secret"), "{place}");
    }
}
