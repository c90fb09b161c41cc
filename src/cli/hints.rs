//! What people type who know nginx, HAProxy, Envoy or Caddy, and what it is called here. Only words: nothing is done.

use std::ffi::OsString;

/// The hint for a command line that was refused, if it looks like an old habit.
pub(super) fn hint(arguments: &[OsString]) -> Option<&'static str> {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).collect();
    words.iter().enumerate().find_map(|(at, word)| match (*word, words.get(at + 1).copied()) {
        ("-s", Some("reload")) | ("-sreload" | "--reload", _) => Some("use `buckler reload` or send HUP"),
        ("-s", Some("stop" | "quit")) | ("stop" | "quit", _) => {
            Some("send TERM: it finishes the requests in progress; a second TERM ends at once")
        }
        ("-s", Some("reopen")) => Some("send USR1: it opens the access log again"),
        ("-sf" | "-st", _) => Some("no second process takes over; use `buckler reload` or send HUP"),
        ("-T" | "adapt" | "config_dump", _) => Some("use `buckler config`"),
        ("-V" | "-v" | "-vv", _) => Some("use `buckler version`"),
        ("-f" | "--config-path" | "--file", _) => Some("name the configuration with -c FILE"),
        ("-D" | "-d" | "--daemon" | "-g", _) => Some(
            "`buckler run` stays in the foreground; let systemd or a container keep it in the background",
        ),
        ("validate" | "test" | "configtest" | "--mode", _) => Some("use `buckler check`"),
        ("start" | "serve" | "server" | "up", _) => Some("use `buckler run`"),
        ("hash-password" | "hash" | "keygen" | "genkey", _) => Some("use `buckler key`"),
        ("completion", _) => Some("use `buckler completions SHELL`"),
        ("help", _) => Some("use `buckler --help`"),
        ("-c" | "--config", _) if at == 0 => {
            Some("the command comes first: `buckler run -c FILE`, `buckler check -c FILE`")
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_for(line: &str) -> Option<&'static str> {
        hint(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn old_habits_are_told_the_new_word() {
        assert_eq!(hint_for("buckler -s reload"), Some("use `buckler reload` or send HUP"));
        assert_eq!(hint_for("buckler -s reopen"), Some("send USR1: it opens the access log again"));
        assert_eq!(hint_for("buckler validate --config x"), Some("use `buckler check`"));
        assert_eq!(hint_for("buckler -f haproxy.cfg"), Some("name the configuration with -c FILE"));
        assert_eq!(hint_for("buckler fly"), None);
    }
}
