//! The harness itself: a client and a worker of it, face to face. What it would miss here, no other test could find.

use std::time::Duration;

use crate::world::{End, Raw, Step, World, eventually, get, request};

fn face_to_face(world: &World) -> Raw {
    let address = world.worker("a").address();
    Raw::connect(address.rsplit(':').next().unwrap().parse().unwrap())
}

#[test]
fn a_worker_tells_what_it_saw() {
    let world = World::new();
    let mut raw = face_to_face(&world);
    let answer = raw.answer(&request("POST", "/x?y").header("a", "1").body("hello")).is(200);
    assert_eq!(answer.worker(), Some("a"));
    assert_eq!(answer.json()["target"], "/x?y");
    assert_eq!(answer.json()["body_bytes"], 5);
    raw.answer(&request("HEAD", "/")).is(200);
    raw.answer(&get("/next")).is(200);
    let seen = world.worker("a").seen();
    assert_eq!((seen.len(), seen[0].field("a"), seen[0].whole), (3, Some("1"), true));
    assert_eq!(seen[0].body, b"hello");
}

#[test]
fn chunks_and_trailers_are_read_by_both() {
    let world = World::new();
    let worker = world.worker("a");
    worker
        .answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nsum: 7\r\n\r\n");
    let mut raw = face_to_face(&world);
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nup: 1\r\n\r\n");
    let answer = raw.read_response().is(200);
    assert_eq!((answer.text().as_str(), answer.trailers.len()), ("abc", 1));
    assert_eq!(worker.last().trailers, [("up".to_owned(), "1".to_owned())]);
}

#[test]
fn a_cut_answer_is_noticed() {
    let world = World::new();
    let worker = world.worker("a");
    let length = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    let chunk = Step::send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    for (step, end) in [(length.clone(), Step::Close), (length, Step::Reset), (chunk, Step::Close)] {
        worker.always(&[step, Step::Pause(Duration::from_millis(20)), end]);
        let mut raw = face_to_face(&world);
        raw.send(get("/").bytes());
        assert!(raw.read_response().cut.is_some());
    }
}

#[test]
fn ends_are_told_apart() {
    let world = World::new();
    let worker = world.worker("a");
    for (step, end) in [(Step::Close, End::Closed), (Step::Reset, End::Reset)] {
        worker.always(&[step]);
        let mut raw = face_to_face(&world);
        assert_eq!(raw.send(get("/").bytes()).closed(), end);
    }
    let port = worker.address().rsplit(':').next().unwrap().parse().unwrap();
    let mut open = Raw::connect(port);
    worker.refuses();
    open.read_to_end();
    assert!(Raw::try_connect(std::net::Ipv4Addr::LOCALHOST, port).is_err());
    worker.accepts();
    worker.always(&[Step::Echo]);
    Raw::connect(port).answer(&get("/")).is(200);
}

#[test]
fn a_worker_feels_back_pressure() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::send("HTTP/1.1 200 OK\r\n\r\n"), Step::Fill(256 << 20), Step::Close]);
    let mut raw = face_to_face(&world);
    raw.send(get("/").bytes()).read_head();
    eventually("bytes on their way", || worker.filled() > 0);
    let taken = crate::world::steady("a pause", Duration::from_millis(200), || worker.filled());
    assert!(taken < 256 << 20, "{taken}");
}

#[test]
fn a_gate_holds_until_it_is_opened() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::Gate, Step::Echo]);
    let mut raw = face_to_face(&world);
    raw.send(get("/").bytes());
    eventually("the request", || worker.count() == 1);
    worker.open_gate();
    raw.read_response().is(200);
}
