//! Sockets of the file system, to listen on and as workers.

use super::*;
use crate::config::WorkerSource;

#[test]
fn sockets_are_files() {
    let listen = |text: &str| SERVICE.replace("127.0.0.1:4070", text);
    let what =
        |text: &str, why: &str| format!("t.yaml:3:13: `{text}` is not a socket of the file system: {why}");
    let help = "write `unix:/run/buckler/a.sock`";
    says(&listen("'unix:'"), &what("unix:", "the path is missing"), help);
    says(&listen("'unix:@a'"), &what("unix:@a", "sockets without a file have neither owner nor mode"), help);
    says(&listen("unix:/run/"), &what("unix:/run/", "this is a folder"), help);
    says(&listen("\"unix:/a\\0\""), &what("unix:/a\\0", "a NUL byte cannot stand in a path"), help);
    let long = format!("unix:/{}", "a".repeat(107));
    says(
        &listen(&long),
        "t.yaml:3:13: the path of this socket has 108 bytes",
        "the system takes at most 107: choose a shorter folder",
    );
    assert_eq!(told(&load_text(&listen(&long[..long.len() - 1]))), [""; 0]);
    says(
        &listen("localhost"),
        "t.yaml:3:13: `localhost` is not an address with a port: the port is missing",
        "write `127.0.0.1:4070` or `\"[::1]:4070\"`, or `unix:/path`",
    );
}

#[test]
fn a_path_is_relative_to_the_file_that_names_it() {
    let text =
        SERVICE.replace("127.0.0.1:4070", "unix:a.sock").replace("\"127.0.0.1:9001\"", "unix:../w.sock");
    let loaded = load_str("etc/b.yaml", &text, &NoFiles, today(), &|_| None);
    let config = loaded.config.unwrap();
    assert_eq!(only(&config).listen.to_string(), "unix:etc/a.sock");
    let WorkerSource::List(workers) = &only(&config).workers else { panic!("a list") };
    assert_eq!(workers[0].address.to_string(), "unix:etc/../w.sock");
}

#[test]
fn a_socket_of_the_file_system_elsewhere_is_an_error_that_says_so() {
    let help = "write `127.0.0.1:4070` or `\"[::1]:4070\"`";
    let what = |place: &str| {
        format!("t.yaml:6:{place}: `unix:/a`: only services and workers can be sockets of the file system")
    };
    says(&format!("{SERVICE}admin: {{ listen: unix:/a }}"), &what("18"), help);
    says(&format!("{SERVICE}dns: {{ servers: [unix:/a] }}"), &what("18"), help);
}

#[test]
fn one_path_is_one_listener() {
    let text = "services:\n  a: { listen: unix:/s, workers: { addresses: ['unix:/w', 'unix:/w'] }, limits: { default: { rate: 1/s } } }\n  \
                b: { listen: unix:/./s, workers: { addresses: ['unix:/w'] }, limits: { default: { rate: 1/s } } }\n";
    let loaded = load_text(text);
    assert_eq!(
        told(&loaded),
        [
            "t.yaml:2:59: the worker unix:/w is already written at t.yaml:2:48",
            "t.yaml:3:16: unix:/s is already taken by service `a` at t.yaml:2:16",
        ]
    );
    assert_eq!(loaded.problems[1].help.as_deref(), Some("give each listener a path of its own"));
}

#[test]
fn a_socket_file_belongs_to_a_unix_listener() {
    says(
        &with("socket: { mode: \"0660\" }"),
        "t.yaml:6:13: `socket` beside `listen: 127.0.0.1:4070`, which is no file",
        "remove it, or write `listen: unix:/path`",
    );
    let unix = |socket: &str| with(&format!("socket: {socket}")).replace("127.0.0.1:4070", "unix:/a");
    for wrong in ["0o660", "66", "00660", "0999", "4660", "rw-", "1777"] {
        let what = format!("t.yaml:6:21: `{wrong}` is not the mode of a socket");
        says(
            &unix(&format!("{{ mode: '{wrong}' }}")),
            &what,
            "write three octal digits, in quotes: `\"0660\"`",
        );
    }
    says(
        &unix("{ owner: 'a b' }"),
        "t.yaml:6:22: `a b` is no owner's name or number",
        "write `owner: www-data`, or a number",
    );
    says(
        &unix("{ group: '' }"),
        "t.yaml:6:22: `` is no group's name or number",
        "write `group: www-data`, or a number",
    );
    for (written, mode) in [("'0777'", 0o777), ("660", 0o660), ("000", 0)] {
        let config = sound(&unix(&format!("{{ mode: {written} }}")));
        assert_eq!(only(&config).socket.mode, mode);
    }
}
