//! What may be read in two ways is refused and never forwarded: raw bytes in, what the client and the worker see.
//!
//! The tables stand in `framing/`; here is how a case is run. After every refused case a second request follows on
//! the same connection: the worker must never see it, since nobody knows where the first one ended.

mod bodies;
mod fields;
mod lines;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use buckler::refusal::Reason;

use crate::world::{Buckler, Raw, Worker, World, eventually, get, one_service};

/// Sent behind every request that must be refused.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// One case.
struct Case {
    name: &'static str,
    /// Where it is written that this is wrong, or who fell for it.
    source: &'static str,
    send: &'static [u8],
    /// What the worker may see; with it goes what the client must see.
    fate: Fate,
}

/// What may become of a request.
enum Fate {
    /// Refused with one of these codes before the worker hears of it.
    Refused(&'static [u16]),
    /// The head is fine: the worker may see it, but never a whole request; the client sees one of these codes.
    Broken(&'static [u16]),
    /// Forwarded as these targets with these bodies, each answered with 200.
    Passed(&'static [(&'static str, &'static str)]),
    /// Either refused with 400, or forwarded as this target with this body.
    Either(&'static str, &'static str),
}

const fn case(name: &'static str, source: &'static str, send: &'static [u8], fate: Fate) -> Case {
    Case { name, source, send, fate }
}

#[test]
fn ambiguous_fields_are_refused() {
    run(fields::CASES);
}

#[test]
fn malformed_lines_are_refused() {
    run(lines::CASES);
}

#[test]
fn malformed_bodies_are_never_whole() {
    run(bodies::CASES);
}

#[test]
fn there_are_many_cases() {
    assert!(fields::CASES.len() + lines::CASES.len() + bodies::CASES.len() >= 100);
}

/// Runs all cases against one Buckler and reports every one that went wrong.
fn run(cases: &[Case]) {
    // What breaks in its body may reach its worker while the next case is under way already: it has one of its own.
    let (plain, broken): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| !matches!(case.fate, Fate::Broken(_)));
    let mut faults = judged(&plain);
    faults.extend(judged(&broken));
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

/// What went wrong with these cases, each of which had its turn at one Buckler.
fn judged(cases: &[&Case]) -> Vec<String> {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("timeouts: { head: 5s, body: 5s }");
    let mut faults = Vec::new();
    let mut codes = BTreeMap::new();
    for case in cases {
        let before = worker.count();
        match catch_unwind(AssertUnwindSafe(|| judge(case, &buckler, &worker, before))) {
            Ok(Ok(Some(code))) => *codes.entry(code).or_insert(0_u32) += 1,
            Ok(Ok(None)) => {}
            Ok(Err(fault)) => faults.push(format!("{} ({}): {fault}", case.name, case.source)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                faults.push(format!("{} ({}): {text}", case.name, case.source));
            }
        }
    }
    buckler.answer(get("/last")).is(200);
    let smuggled = worker.seen().iter().filter(|seen| seen.target.contains("smuggled")).count();
    assert_eq!(smuggled, 0, "a hidden request reached the worker");
    if faults.is_empty() {
        codes.into_iter().for_each(|(code, count)| counted_and_logged(&buckler, code, count));
    }
    faults
}

/// Runs one case. The code of a refusal, if it was one; an error says what was wrong.
fn judge(case: &Case, buckler: &Buckler, worker: &Worker, before: usize) -> Result<Option<u16>, String> {
    let mut raw = buckler.connect();
    raw.send(case.send);
    match case.fate {
        Fate::Passed(requests) => {
            for _ in requests {
                raw.read_response().is(200);
            }
            forwarded(worker, before, requests).map(|()| None)
        }
        Fate::Either(target, body) => {
            let answer = raw.read_response();
            match answer.status {
                200 => forwarded(worker, before, &[(target, body)]).map(|()| None),
                400 => untouched(worker, before).map(|()| Some(400)),
                other => Err(format!("neither refused nor forwarded but {other}")),
            }
        }
        Fate::Refused(codes) => {
            raw.send(SMUGGLED);
            let code = refused(&mut raw, codes)?;
            untouched(worker, before).map(|()| Some(code))
        }
        Fate::Broken(codes) => {
            raw.send(SMUGGLED);
            let code = refused(&mut raw, codes)?;
            let whole = worker.seen()[before..].iter().filter(|seen| seen.whole).count();
            if whole == 0 { Ok(Some(code)) } else { Err("the worker saw it as a whole request".to_owned()) }
        }
    }
}

/// Reads a refusal: its code is one of these, it gives its reason, and the connection ends behind it.
fn refused(raw: &mut Raw, codes: &[u16]) -> Result<u16, String> {
    let answer = raw.read_response();
    if !codes.contains(&answer.status) {
        return Err(format!("{} instead of {codes:?}", answer.status));
    }
    let (rest, _) = raw.read_to_end();
    if !rest.is_empty() {
        return Err(format!("a second answer on the connection: {}", String::from_utf8_lossy(&rest)));
    }
    let (reason, word) = (answer.reason(), reason_of(answer.status).word());
    if reason == word { Ok(answer.status) } else { Err(format!("reason {reason} instead of {word}")) }
}

fn untouched(worker: &Worker, before: usize) -> Result<(), String> {
    match worker.seen().get(before) {
        None => Ok(()),
        Some(seen) => Err(format!("the worker saw\n{}", seen.head)),
    }
}

/// The worker saw exactly these, framed in one way only.
fn forwarded(worker: &Worker, before: usize, requests: &[(&str, &str)]) -> Result<(), String> {
    let seen = &worker.seen()[before..];
    let got: Vec<_> = seen.iter().map(|s| (s.target.as_str(), String::from_utf8_lossy(&s.body))).collect();
    let same = got.len() == requests.len()
        && got.iter().zip(requests).all(|(got, want)| got.0 == want.0 && got.1 == want.1);
    if !same {
        return Err(format!("the worker saw {got:?} instead of {requests:?}"));
    }
    for seen in seen {
        let (lengths, codings) = (seen.all("content-length"), seen.all("transfer-encoding"));
        let framed_once = match (&lengths[..], &codings[..]) {
            ([], []) => true,
            ([length], []) => length.bytes().all(|b| b.is_ascii_digit()),
            ([], [coding]) => *coding == "chunked",
            _ => false,
        };
        let look_alike = seen.fields.iter().any(|(name, _)| name.contains('_'));
        if !framed_once || look_alike || seen.all("host").len() != 1 || !seen.head.contains(" HTTP/1.1\r\n") {
            return Err(format!("a request that can be read in two ways:\n{}", seen.head));
        }
    }
    Ok(())
}

fn reason_of(status: u16) -> Reason {
    Reason::all().find(|reason| reason.status() == status).expect("a code of the table of refusals")
}

/// As many refusals as the client saw stand in the metrics and in the access log.
fn counted_and_logged(buckler: &Buckler, code: u16, count: u32) {
    let word = reason_of(code).word();
    let what = format!("{count} times {word} in the metrics");
    eventually(&what, || (buckler.refused(word) - f64::from(count)).abs() < 0.5);
    eventually(&format!("{count} times {word} in the access log"), || {
        let log = buckler.access_log();
        log.iter().filter(|line| line["reason"] == word && line["status"] == code).count() == count as usize
    });
}

#[test]
fn a_head_over_its_bounds_is_refused() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("timeouts: { head: 5s }");
    let big = "b".repeat(33 * 1024);
    let long = "u".repeat(9 * 1024);
    let many: String = (0..120).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (what, code, head) in [
        ("one huge field", 431, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {big}\r\n\r\n")),
        ("too many fields", 431, format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")),
        ("a long target", 414, format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")),
        ("a huge target", 414, format!("GET /{big} HTTP/1.1\r\nhost: a\r\n\r\n")),
        ("a head without end", 431, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", big.repeat(4))),
    ] {
        let mut raw = buckler.connect();
        raw.send(head);
        refused(&mut raw, &[code]).unwrap_or_else(|fault| panic!("{what}: {fault}"));
    }
    assert_eq!(worker.count(), 0);
    counted_and_logged(&buckler, 431, 3);
    counted_and_logged(&buckler, 414, 2);
}

#[test]
fn the_bounds_are_as_the_configuration_says() {
    let world = World::new();
    let worker = world.worker("a");
    let bounds = "bounds: { head_bytes: 8KiB, head_fields: 10, uri_bytes: 1KiB }";
    let buckler = world.buckler(&one_service(bounds));
    let fields = |count: usize| (0..count).fold(get("/"), |ask, n| ask.header(&format!("x-{n}"), "1"));
    buckler.answer(fields(9)).is(200);
    buckler.answer(fields(10)).is(431);
    buckler.answer(get(&format!("/{}", "u".repeat(1023)))).is(200);
    buckler.answer(get(&format!("/{}", "u".repeat(1024)))).is(414);
    buckler.answer(get("/").header("x", &"b".repeat(9000))).is(431);
    assert_eq!(worker.count(), 2);
}

#[test]
fn a_body_over_its_bound_is_refused() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.buckler(&one_service("bounds: { body_bytes: 1KiB }"));
    buckler.answer(crate::world::request("POST", "/fits").body("b".repeat(1024))).is(200);
    assert_eq!(worker.count(), 1);
    let mut raw = buckler.connect();
    raw.send("POST /said HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n");
    let answer = raw.read_response().is(413);
    assert_eq!(answer.field("connection"), Some("close"), "the body is not read, so the connection ends");
    assert_eq!(worker.count(), 1, "a length over the bound is refused before the worker hears of it");
    let mut raw = buckler.connect();
    raw.send("POST /grows HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        raw.send("190\r\n").send("b".repeat(400)).send("\r\n");
    }
    refused(&mut raw, &[413]).unwrap();
    let grown = worker.seen().into_iter().filter(|seen| seen.target == "/grows" && seen.whole).count();
    assert_eq!(grown, 0);
    counted_and_logged(&buckler, 413, 2);
}
