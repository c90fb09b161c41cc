//! `buckler reload`: what it asks, and what it makes of the answer. What a reload does is tested where traffic flows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use super::{GOOD, buckler, buckler_in, folder};

/// An admin listener that takes one request, answers it and gives back what it read.
fn admin_that_answers(answer: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let handle = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            read.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(read).unwrap()
    });
    (address, handle)
}

#[test]
fn reload_asks_the_admin_listener_and_tells_its_answer() {
    let (address, asked) =
        admin_that_answers("HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"result\":\"all is new\"}");
    let done = buckler(&["reload", "--admin", &address]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", "buckler: all is new\n"));
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("POST /api/v1/reload HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
}

#[test]
fn reload_takes_address_and_token_from_the_configuration_and_ends_with_4_when_refused() {
    let (address, asked) = admin_that_answers(
        "HTTP/1.1 422 Unprocessable Content\r\ntransfer-encoding: chunked\r\n\r\n\
         10\r\n{\"error\":\"no c\"}\r\n0\r\n\r\n",
    );
    let yaml = format!("admin: {{ listen: \"{address}\", token_file: token }}\n{GOOD}");
    let folder = folder("reload-token", &yaml);
    fs::write(folder.join("token"), "sesame\n").unwrap();
    let done = buckler_in(&folder, &["reload", "--json"], "");
    assert_eq!((done.code, done.out.as_str()), (4, "{\"error\":\"no c\"}\n"), "{}", done.err);
    assert_eq!(done.err, "buckler: not reloaded; what was in use stays in use\nno c\n");
    assert!(asked.join().unwrap().contains("authorization: Bearer sesame\r\n"));
}

#[test]
fn reload_says_why_nobody_could_be_asked() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let done = buckler(&["reload", "--admin", &nobody]);
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    assert!(done.err.contains(&nobody) && done.err.contains("is Buckler running"), "{}", done.err);
    let folder = folder("reload-without-admin", GOOD);
    let done = buckler_in(&folder, &["reload"], "");
    assert_eq!(done.code, 1);
    assert!(done.err.contains("has no admin listener to ask"), "{}", done.err);
    assert_eq!(buckler(&["reload", "--admin", "127.0.0.1:1", "-c", "x.yaml"]).code, 2);
}
