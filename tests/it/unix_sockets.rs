//! Unix sockets: to listen on, whose file comes, changes and goes with the configuration, and to reach workers by.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::neighbours::{curl_unix, nginx};
use crate::world::{Raw, World, eventually, free_port, get};

/// A service `api` on `{dir}/NAME.sock` in front of the worker `a`; `more` stands in the service.
fn on_socket(name: &str, more: &str) -> String {
    format!(
        "services:\n  api:\n    listen: unix:{{dir}}/{name}.sock\n    {more}\n    \
         workers: {{ addresses: [\"{{worker:a}}\"] }}\n"
    )
}

fn inode(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).unwrap().ino()
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    assert!(metadata.file_type().is_socket());
    metadata.mode() & 0o7777
}

#[track_caller]
fn serves(socket: &Path) {
    let (status, body) = curl_unix(socket, "/");
    assert_eq!(status, 200, "{body}");
}

#[test]
fn requests_come_over_a_socket_and_its_file_goes_at_the_end() {
    let world = World::new();
    let socket = world.dir().join("api.sock");
    let buckler = world.buckler(&on_socket("api", ""));
    assert_eq!(mode(&socket), 0o660);
    serves(&socket);
    let seen = world.worker("a").last();
    assert_eq!(seen.field("x-buckler-caller"), Some("address:127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    buckler.term();
    assert_eq!(buckler.wait_exit(), 0);
    assert!(!socket.exists());
}

#[test]
fn every_shard_serves_a_socket() {
    let world = World::new();
    let _buckler = world.buckler(&format!("threads: 4\n{}", on_socket("api", "socket: { mode: \"0600\" }")));
    let socket = world.dir().join("api.sock");
    assert_eq!(mode(&socket), 0o600);
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let socket = socket.clone();
            std::thread::spawn(move || serves(&socket))
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(world.worker("a").count(), 32);
}

#[test]
fn a_socket_that_a_crash_left_is_replaced() {
    let world = World::new();
    let socket = world.dir().join("api.sock");
    drop(world.buckler(&on_socket("api", "")));
    assert!(socket.exists(), "it was killed");
    let _buckler = world.buckler(&on_socket("api", ""));
    serves(&socket);
}

#[test]
fn a_path_in_use_is_refused_and_left_alone() {
    let world = World::new();
    let socket = world.dir().join("api.sock");
    let first = world.buckler(&on_socket("api", ""));
    for (path, why) in [("api.sock", "another program listens there"), ("file.sock", "no socket: remove it")]
    {
        world.file("file.sock", "precious");
        let second = world.buckler_starting(&on_socket(path.trim_end_matches(".sock"), ""));
        assert_ne!(second.wait_exit(), 0);
        eventually("the reason", || second.stderr().contains(why));
        assert!(
            second.stderr().contains(&format!("cannot listen on unix:{}", world.dir().join(path).display()))
        );
    }
    assert_eq!(std::fs::read_to_string(world.dir().join("file.sock")).unwrap(), "precious");
    serves(&socket);
    assert!(first.runs());
}

#[test]
fn a_reload_keeps_changes_moves_and_closes_sockets() {
    let world = World::new();
    let port = free_port();
    let (socket, other) = (world.dir().join("api.sock"), world.dir().join("other.sock"));
    let buckler = world.buckler(&on_socket("api", ""));
    let first = inode(&socket);
    world.reload(&buckler, &on_socket("api", "bounds: { uri_bytes: 4KiB }"));
    assert_eq!((inode(&socket), mode(&socket)), (first, 0o660), "nothing changed");
    world.reload(&buckler, &on_socket("api", "socket: { mode: \"0666\" }"));
    assert_eq!((inode(&socket), mode(&socket)), (first, 0o666));
    serves(&socket);
    // What cannot be had changes nothing.
    world.reload(&buckler, &on_socket("api", "socket: { mode: \"0600\", owner: no-such-user }"));
    assert!(
        buckler.status_json()["config"]["last_reload"]["failure"]
            .to_string()
            .contains("no user `no-such-user`")
    );
    assert_eq!((inode(&socket), mode(&socket)), (first, 0o666));
    world.reload(&buckler, &on_socket("other", ""));
    assert!(!socket.exists());
    serves(&other);
    world.reload(
        &buckler,
        &on_socket("other", "").replace("unix:{dir}/other.sock", &format!("127.0.0.1:{port}")),
    );
    assert!(!other.exists());
    Raw::connect(port).answer(&get("/")).is(200);
    world.reload(&buckler, &on_socket("api", ""));
    serves(&socket);
}

#[test]
fn a_socket_whose_file_was_removed_is_made_again_by_a_reload() {
    let world = World::new();
    let socket = world.dir().join("api.sock");
    let buckler = world.buckler(&on_socket("api", ""));
    std::fs::remove_file(&socket).unwrap();
    buckler.hup();
    serves(&socket);
    // Somebody else's file stays, at a reload as at the end.
    std::fs::remove_file(&socket).unwrap();
    let _theirs = UnixListener::bind(&socket).unwrap();
    buckler.hup();
    assert!(
        buckler.status_json()["config"]["last_reload"]["failure"].to_string().contains("another program")
    );
    buckler.term();
    assert_eq!(buckler.wait_exit(), 0);
    assert!(UnixStream::connect(&socket).is_ok());
}

#[test]
fn a_reload_may_give_a_socket_to_another_service() {
    let world = World::new();
    let socket = world.dir().join("api.sock");
    let buckler = world.buckler(&on_socket("api", ""));
    let first = inode(&socket);
    world.reload(&buckler, &on_socket("api", "").replace("  api:", "  renamed:"));
    assert_eq!(inode(&socket), first);
    serves(&socket);
    buckler.logged("the new name", |line| line["service"] == "renamed");
}

#[test]
fn a_header_in_front_of_a_unix_connection_names_the_client() {
    use std::io::{Read as _, Write as _};
    let world = World::new();
    let config = format!(
        "callers: {{ trusted_proxies: [127.0.0.1/32] }}\n{}",
        on_socket("api", "proxy_protocol: true")
    );
    let _buckler = world.buckler(&config);
    let mut stream = UnixStream::connect(world.dir().join("api.sock")).unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 33333 443\r\n").unwrap();
    stream.write_all(&get("/").header("connection", "close").bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(world.worker("a").last().field("x-buckler-caller"), Some("address:192.0.2.7"));
}

#[test]
fn a_worker_on_a_unix_socket_answers_under_its_name() {
    let world = World::new();
    let socket = world.dir().join("worker.sock");
    let server =
        format!("    listen unix:{};\n    location / {{ return 200 \"$http_host\"; }}", socket.display());
    let nginx = nginx(&world, &server, || UnixStream::connect(&socket).is_ok());
    let buckler = world.buckler(
        "services:\n  api:\n    listen: 127.0.0.1:{port}\n    workers: { addresses: [\"unix:{dir}/worker.sock\"] }\n",
    );
    let mut raw = buckler.connect();
    for _ in 0..3 {
        assert_eq!(raw.answer(&get("/")).is(200).text(), "api.example.test");
    }
    raw.answer(&get("/").header("host", "other.example.test")).is(200);
    let name = format!("unix:{}", socket.display());
    let line = buckler.logged("the worker", |line| line["path"] == "/");
    assert_eq!(line["worker"], name.as_str());
    assert!(buckler.metrics().text.contains(&format!("worker=\"{name}\"")), "{}", buckler.metrics().text);
    assert!(buckler.status_json().to_string().contains(&name));
    drop(nginx);
    std::fs::remove_file(&socket).unwrap();
    raw.answer(&get("/")).is(502);
    eventually("ejected", || buckler.status_json().to_string().contains("\"ejected\""));
    let _nginx = self::nginx(&world, &server, || UnixStream::connect(&socket).is_ok());
    eventually("it returns", || raw.answer(&get("/")).status == 200);
}

#[test]
fn a_worker_without_a_socket_file_is_passed_over() {
    let world = World::new();
    let buckler = world.buckler(
        "services:\n  api:\n    listen: 127.0.0.1:{port}\n    workers:\n      addresses:\n        \
         - { address: \"unix:{dir}/none.sock\", weight: 100 }\n        - { address: \"{worker:a}\" }\n",
    );
    for _ in 0..8 {
        buckler.answer(get("/")).is(200);
    }
    assert_eq!(world.worker("a").count(), 8);
}
