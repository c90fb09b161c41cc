//! The lines of the access log. Those of refusals stand in `refusals.rs`.

use http::Version;
use proptest::prelude::*;

use super::*;
use crate::fields::text;

#[test]
fn a_good_request_is_counted_once_and_gives_one_line() {
    let world = World::json();
    let mut outcome = world.begin("/song/1?secret=1");
    outcome.request_id(b"r-1");
    outcome.client("198.51.100.7".parse().unwrap());
    outcome.caller(web());
    outcome.connected(Duration::from_micros(70));
    good(&mut outcome);
    assert_eq!(world.counts.active(), 1);
    drop(outcome);
    assert_eq!(world.counts.active(), 0);
    let requests = world.counts.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].1, requests[0].2), (None, 1));
    assert_eq!(world.counts.durations()[0].2.count(), 1);
    assert_eq!(world.counts.callers().named, [("web".into(), Tally { allowed: 1, refused: 0 })]);
    assert!(world.counts.refusals(None, 10).is_empty());
    let lines = world.lines();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let expected = serde_json::json!({
        "request_id": "r-1", "service": "playlist", "client_ip": "198.51.100.7", "peer_ip": "192.0.2.1",
        "caller": "web", "caller_via": "api_key", "tier": "partner", "method": "GET", "host": "playlist.test",
        "path": "/song/1", "status": 200, "worker": "127.0.0.1:9001", "worker_priority": 10, "attempts": 1,
        "bytes_in": 0, "bytes_out": 5, "t_connect": 0.000_07, "t_ttfb": 0.002, "proto": "HTTP/1.1",
        "user_agent": "curl/8",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key}");
    }
    for absent in ["reason", "fallback", "rule", "shadow", "suppressed", "t_queue"] {
        assert!(line.get(absent).is_none(), "{absent}");
    }
    assert!(line["t_total"].is_f64());
}

#[test]
fn the_query_is_logged_only_if_it_is_wanted() {
    let world = World::new(LogFormat::Json, true);
    good(&mut world.begin("/song/1?q=%22"));
    assert_eq!(world.lines()[0]["path"], "/song/1?q=%22");
}

#[test]
fn a_request_that_is_dropped_is_the_clients_going() {
    let world = World::json();
    drop(world.begin("/a"));
    let mut begun = world.begin("/b");
    begun.attempt(&"127.0.0.1:9001".into(), 10);
    begun.status(200);
    drop(begun);
    let lines = world.lines();
    assert_eq!((&lines[0]["status"], &lines[0]["reason"]), (&499.into(), &"client_closed".into()));
    assert_eq!((&lines[1]["status"], &lines[1]["reason"]), (&200.into(), &"client_closed".into()));
}

#[test]
fn an_answer_that_is_cut_off_keeps_its_status_and_says_why() {
    let world = World::json();
    let mut outcome = world.begin("/");
    good(&mut outcome);
    outcome.ended(End::Cut(Reason::WorkerReset));
    drop(outcome);
    assert_eq!(world.counts.requests()[0].1, Some(Reason::WorkerReset));
    let lines = world.lines();
    assert_eq!((&lines[0]["status"], &lines[0]["reason"]), (&200.into(), &"worker_reset".into()));
}

#[test]
fn waits_for_a_place_add_up_and_only_those_who_waited_are_counted() {
    let world = World::json();
    good(&mut world.begin("/at-once"));
    assert_eq!(world.counts.queued().count(), 0);
    let mut outcome = world.begin("/waited");
    outcome.queued(Duration::from_millis(3));
    outcome.queued(Duration::from_millis(4));
    good(&mut outcome);
    drop(outcome);
    let queued = world.counts.queued();
    assert_eq!((queued.count(), queued.sum_micros), (1, 7_000));
    let lines = world.lines();
    assert!(lines[0].get("t_queue").is_none(), "{lines:?}");
    assert_eq!(lines[1]["t_queue"], 0.007);
}

#[test]
fn the_combined_format_is_apaches() {
    let world = World::new(LogFormat::Combined, true);
    let mut outcome = world.scribe.begin(Moment::read(), peer());
    let mut head = RequestHead::new(Method::POST, Target::new("", "", "/a?b=1"));
    head.version = Version::HTTP_10;
    head.fields.add("referer", b"http://a.test/\"x");
    head.fields.add("user-agent", b"\xff agent");
    outcome.request(&head);
    outcome.caller(web());
    good(&mut outcome);
    outcome.write(Moment { nanos: u64::MAX, unix_micros: 951_782_400_000_000 });
    std::mem::forget(outcome);
    let expected = "192.0.2.1 - web [29/Feb/2000:00:00:00 +0000] \"POST /a?b=1 HTTP/1.0\" 200 5 \
                    \"http://a.test/\\\"x\" \"\\xff agent\"\n";
    // The forgotten outcome still holds the shard's log, so what it has must be handed over by hand.
    world.scribe.log.as_ref().unwrap().flush();
    assert_eq!(world.text(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_client_sends_gives_one_valid_json_line(
        agent in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            // UTF-8 with controls of two bytes.
            "[\u{0}-\u{ff}]{0,60}".prop_map(String::into_bytes),
        ],
        host in prop::collection::vec(any::<u8>(), 0..60),
        id in "[!-~]{1,128}",
        caller in any::<String>(),
    ) {
        let world = World::json();
        let mut outcome = world.scribe.begin(Moment::read(), peer());
        let mut head = RequestHead::new(Method::GET, Target::default());
        head.fields.add("user-agent", &agent);
        head.fields.add("host", &host);
        outcome.request(&head);
        outcome.request_id(id.as_bytes());
        outcome.caller(CallerNote { who: Asker::Other(caller.as_str().into()), ..stranger() });
        good(&mut outcome);
        drop(outcome);
        let written = world.text();
        let line = written.strip_suffix('\n').unwrap();
        prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        let line: Value = serde_json::from_str(line).unwrap();
        prop_assert_eq!(line["caller"].as_str(), Some(caller.as_str()));
        prop_assert_eq!(line["request_id"].as_str(), Some(id.as_str()));
        if let Some(agent) = head.fields.get("user-agent").and_then(text) {
            prop_assert_eq!(line["user_agent"].as_str(), Some(agent));
        }
    }
}
