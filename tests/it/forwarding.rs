//! What of a request and of its answer crosses Buckler: the fields. Bodies are in `streaming.rs`.

use crate::world::{Buckler, Raw, World, get, one_service, request};

/// One service behind which 127.0.0.2 is a trusted proxy.
fn behind_a_proxy(world: &World) -> Buckler {
    world.buckler(&format!("callers: {{ trusted_proxies: [127.0.0.2/32] }}\n{}", one_service("")))
}

#[test]
fn the_request_line_and_the_host_arrive_as_they_were_sent() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    buckler.answer(request("PATCH", "/a/b%20c?q=%2F&q=..").header("host", "Shop.Example.test:8080")).is(200);
    let seen = worker.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PATCH", "/a/b%20c?q=%2F&q=.."));
    assert_eq!(seen.field("host"), Some("Shop.Example.test:8080"));
}

#[test]
fn the_worker_sees_the_path_that_the_rules_judge() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    for (sent, arrives) in [
        ("/a/./b", "/a/b"),
        ("/a/x/../b", "/a/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/%61b", "/ab"),
        ("//a///b", "/a/b"),
        ("/../../a", "/a"),
        ("/a/%c3%a9", "/a/%C3%A9"),
        ("/a?x=/../b//c", "/a?x=/../b//c"),
    ] {
        let answer = buckler.answer(get(sent));
        if answer.status == 400 {
            continue;
        }
        answer.is(200);
        assert_eq!(worker.last().target, arrives, "sent as {sent}");
    }
}

#[test]
fn hop_by_hop_fields_of_the_request_stay_on_their_hop() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let ask = get("/")
        .header("connection", "keep-alive, x-mine, X-Other")
        .header("x-mine", "1")
        .header("x-other", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "gzip")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")
        .header("proxy-authorization", "Basic YTpi")
        .header("x-stays", "1");
    buckler.answer(ask).is(200);
    let seen = worker.last();
    for gone in
        ["x-mine", "x-other", "keep-alive", "proxy-connection", "te", "upgrade", "proxy-authorization"]
    {
        assert_eq!(seen.all(gone), [""; 0], "{gone} crossed:\n{}", seen.head);
    }
    assert!(!seen.all("connection").concat().to_lowercase().contains("x-mine"), "{}", seen.head);
    assert_eq!(seen.field("x-stays"), Some("1"));
}

#[test]
fn hop_by_hop_fields_of_the_answer_stay_on_their_hop() {
    let world = World::new();
    world.worker("a").answers(
        "HTTP/1.1 200 OK\r\nconnection: x-mine, keep-alive\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: keep-alive\r\nupgrade: h2c\r\nx-stays: 1\r\ncontent-length: 2\r\n\r\nhi",
    );
    let answer = world.one_service("").answer(get("/")).is(200);
    for gone in ["x-mine", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(answer.all(gone), [""; 0], "{gone} crossed:\n{}", answer.head);
    }
    assert_eq!(answer.field("x-stays"), Some("1"));
    assert_eq!(answer.text(), "hi");
}

#[test]
fn connection_cannot_strip_what_buckler_says() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let stolen = "close, x-buckler-caller, x-forwarded-for, X-Forwarded-Proto, x-forwarded-host, x-request-id, via, host";
    let answer = buckler.answer(get("/").header("connection", stolen));
    // Naming Host may also be refused; then nothing was forwarded.
    if answer.status == 400 {
        assert_eq!(worker.count(), 0);
        return;
    }
    let seen = worker.last();
    assert_eq!(seen.field("x-buckler-caller"), Some("address:127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("host"), Some("api.example.test"));
    assert!(seen.field("x-request-id").is_some() && seen.field("via").is_some(), "{}", seen.head);
}

#[test]
fn the_callers_name_is_never_accepted_from_outside() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = behind_a_proxy(&world);
    let forged =
        ["x-buckler-caller", "X-BUCKLER-CALLER", "x_buckler_caller", "X-Buckler_Caller", "x-buckler-tier"];
    for from in ["127.0.0.1", "127.0.0.2"] {
        for name in forged {
            let answer = buckler.answer(get("/").header(name, "office").from(from));
            if answer.status == 400 {
                continue;
            }
            let seen = worker.last();
            assert_eq!(
                seen.field("x-buckler-caller"),
                Some(format!("address:{from}").as_str()),
                "forged as {name}"
            );
            assert!(!seen.head.contains("office"), "{name} crossed:\n{}", seen.head);
        }
        let twice =
            get("/").header("x-buckler-caller", "office").header("x-buckler-caller", "web").from(from);
        buckler.answer(twice).is(200);
        assert!(worker.last().field("x-buckler-caller").unwrap().starts_with("address:"));
    }
}

#[test]
fn the_callers_name_in_a_trailer_does_not_cross() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let chunks = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-buckler-caller, x-sum\r\n\r\n\
                  2\r\nhi\r\n0\r\nx-buckler-caller: office\r\nx-sum: 7\r\n\r\n";
    // Refused as a whole, or forwarded without it.
    let answer = buckler.answer_to(chunks);
    let forged = |(name, _): &(String, String)| name.eq_ignore_ascii_case("x-buckler-caller");
    assert!(answer.status == 400 || answer.status == 200, "{}", answer.head);
    assert!(!worker.seen().iter().any(|seen| seen.trailers.iter().any(forged)), "{:?}", worker.seen());
}

#[test]
fn forwarded_fields_of_a_stranger_are_replaced() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = behind_a_proxy(&world);
    let ask = get("/")
        .header("host", "shop.test")
        .header("x-forwarded-for", "9.9.9.9")
        .header("x-forwarded-for", "8.8.8.8")
        .header("x_forwarded_for", "7.7.7.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "bank.test")
        .from("127.0.0.3");
    buckler.answer(ask).is(200);
    let seen = worker.last();
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.3"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-host"), Some("shop.test"));
    assert!(!seen.head.contains("7.7.7.7"), "{}", seen.head);
}

#[test]
fn forwarded_fields_of_a_trusted_proxy_are_extended() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = behind_a_proxy(&world);
    let ask = get("/")
        .header("x-forwarded-for", "192.0.2.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.test")
        .from("127.0.0.2");
    buckler.answer(ask).is(200);
    let seen = worker.last();
    let line: Vec<_> = seen.all("x-forwarded-for").iter().flat_map(|v| v.split(',')).map(str::trim).collect();
    assert_eq!(line, ["192.0.2.7", "127.0.0.2"]);
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.field("x-forwarded-host"), Some("shop.test"));
}

#[test]
fn via_names_buckler_both_ways() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let answer = buckler.answer(get("/").header("via", "1.0 before")).is(200);
    let seen = worker.last();
    assert_eq!(seen.all("via").join(", "), "1.0 before, 1.1 buckler");
    assert!(answer.all("via").join(", ").ends_with("1.1 buckler"), "{}", answer.head);
}

#[test]
fn a_request_id_is_believed_from_a_trusted_proxy_only() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = behind_a_proxy(&world);
    let ask = |id: &str, from: &str| get("/").header("x-request-id", id).from(from);
    let answer = buckler.answer(ask("abc-123", "127.0.0.2")).is(200);
    assert_eq!(worker.last().field("x-request-id"), Some("abc-123"));
    assert_eq!(answer.field("x-request-id"), Some("abc-123"));
    for (id, from) in [("abc-123", "127.0.0.3"), (&*"x".repeat(200), "127.0.0.2"), ("a b\tc", "127.0.0.2")] {
        let answer = buckler.answer(ask(id, from)).is(200);
        let made = worker.last().field("x-request-id").expect("an id was made").to_owned();
        assert_ne!(made, id);
        assert!(made.len() >= 16, "{made}");
        assert_eq!(answer.field("x-request-id"), Some(made.as_str()));
    }
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    for _ in 0..20 {
        raw.answer(&get("/")).is(200);
    }
    let seen = worker.seen();
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|s| s.field("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), 20);
}

#[test]
fn the_trace_passes() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    buckler.answer(get("/").header("traceparent", parent).header("tracestate", "a=1,b=2")).is(200);
    let seen = worker.last();
    assert_eq!(seen.field("traceparent"), Some(parent));
    assert_eq!(seen.field("tracestate"), Some("a=1,b=2"));
}

#[test]
fn fields_that_stand_twice_stay_twice_and_in_order() {
    let world = World::new();
    let worker = world.worker("a");
    let head = "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n";
    worker.answers(head);
    let buckler = world.one_service("");
    let answer = buckler.answer(get("/").header("accept", "a").header("accept", "b")).is(200);
    assert_eq!(worker.last().all("accept"), ["a", "b"]);
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn a_client_of_http_1_0_is_served_and_closed() {
    let world = World::new();
    let worker = world.worker("a");
    worker.answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    let buckler = world.one_service("");
    let mut raw = Raw::connect(buckler.port());
    raw.send("GET /old HTTP/1.0\r\n\r\n");
    let (bytes, _) = raw.read_to_end();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 ") && text.contains(" 200 OK\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nhi"), "chunks sent to a client that cannot read them: {text}");
    let seen = worker.last();
    assert!(seen.head.starts_with("GET /old HTTP/1.1\r\n"), "Buckler speaks its own version:\n{}", seen.head);
    assert_eq!(seen.all("host").len(), 1);
}

#[test]
fn a_worker_of_http_1_0_is_understood() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[
        crate::world::Step::TakeBody,
        crate::world::Step::send("HTTP/1.0 200 OK\r\n\r\nuntil the end"),
        crate::world::Step::Close,
    ]);
    let answer = world.one_service("").answer(get("/")).is(200);
    assert_eq!(answer.text(), "until the end");
}

#[test]
fn a_client_that_says_close_is_closed() {
    let world = World::new();
    let buckler = world.one_service("");
    let mut raw = buckler.connect();
    let answer = raw.answer(&get("/").header("connection", "close")).is(200);
    assert_eq!(answer.field("connection"), Some("close"));
    raw.closed();
    let mut raw = buckler.connect();
    raw.answer(&get("/")).is(200);
    raw.answer(&get("/")).is(200);
}

#[test]
fn options_goes_as_far_as_it_asks_to() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    buckler.answer(request("OPTIONS", "/").header("max-forwards", "3")).is(200);
    assert_eq!(worker.last().all("max-forwards").join(", "), "2");
    let answer = buckler.answer(request("OPTIONS", "/last").header("max-forwards", "0")).is(200);
    assert!(answer.all("allow").join(", ").contains("OPTIONS"), "{}", answer.head);
    assert_eq!(worker.last().all("max-forwards").join(", "), "2", "the second question went no further");
}
