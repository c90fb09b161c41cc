//! The agreed configuration `contract/workers.yaml`, word for word but for its addresses, as a real process serves it.

use serde_json::Value;

use crate::world::{Buckler, Raw, World, eventually, get};

const AGREED: &str = include_str!("contract/workers.yaml");

const SICK: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nsick";

/// The agreed text, with the ports and workers of a test.
fn agreed() -> String {
    let places = [
        ("127.0.0.1:9900", "127.0.0.1:{admin}"),
        ("127.0.0.1:4071", "127.0.0.1:{port}"),
        ("127.0.0.1:4072", "127.0.0.1:{port:b}"),
        ("127.0.0.1:9001", "{worker:a1}"),
        ("127.0.0.1:9002", "{worker:a2}"),
        ("127.0.0.1:9003", "{worker:a3}"),
        ("127.0.0.1:9011", "{worker:b1}"),
    ];
    places.into_iter().fold(AGREED.to_owned(), |text, (theirs, ours)| {
        assert_eq!(text.matches(theirs).count(), 1, "{theirs} in the agreed file");
        text.replace(theirs, ours)
    })
}

fn told(buckler: &Buckler, service: &str) -> Value {
    let services = buckler.status_json()["services"].as_array().unwrap().clone();
    services.into_iter().find(|one| one["name"] == service).unwrap()
}

fn worker(buckler: &Buckler, service: &str, address: &str) -> Value {
    let workers = told(buckler, service)["workers"].as_array().unwrap().clone();
    workers.into_iter().find(|one| one["address"] == address).unwrap()
}

#[test]
fn the_agreed_workers_file_does_what_it_says() {
    let world = World::new();
    let buckler = world.buckler(&agreed());
    let (a1, b1) = (world.worker("a1"), world.worker("b1"));
    let on_b = || Raw::connect(buckler.port_of("b")).answer(&get("/list"));
    assert_eq!(told(&buckler, "a")["capacity"]["concurrent"], 60);
    let of_b = told(&buckler, "b")["capacity"].clone();
    assert_eq!((&of_b["concurrent"], of_b["wait_ms"].as_f64()), (&5.into(), Some(50.0)));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..12 {
        seen.insert(buckler.answer(get("/")).is(200).worker().unwrap().to_owned());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a1", "a2", "a3"]);
    assert_eq!(on_b().is(200).worker(), Some("b1"));

    b1.refuses();
    let answer = on_b().is(200);
    assert_eq!((answer.text().as_str(), answer.field("content-type")), ("[]", Some("application/json")));
    assert!(answer.field("proxy-status").is_some_and(|said| said.contains("fallback")), "{}", answer.head);
    b1.accepts();
    eventually("b's worker again", || on_b().is(200).worker() == Some("b1"));

    a1.answers_checks(SICK);
    let mut ill = Value::Null;
    eventually("a1 ejected by its checks", || {
        ill = worker(&buckler, "a", &a1.address());
        ill["state"] == "ejected" && ill["why"].as_str().unwrap().contains("status 503")
    });
    assert!(a1.checks().iter().all(|check| check.target == "/healthz"));
    eventually("the others serve, and a1 gets nothing", || {
        let before = a1.count();
        (0..20).for_each(|_| drop(buckler.answer(get("/")).is(200)));
        a1.count() == before
    });
    a1.passes_checks();
    eventually("a1 returns slowly", || worker(&buckler, "a", &a1.address())["state"] == "returning");
}
