//! Data to standard output, words for people to standard error. A reader that goes away (`buckler config | head`) is
//! no failure.

use std::io::{self, ErrorKind, Write as _};

use serde::Serialize;

use super::exit::Exit;

/// Writes data as it is.
pub(super) fn data(text: &str) -> Exit {
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => failed(&format!("cannot write to standard output: {error}")),
    }
}

/// Writes data as indented JSON and a newline.
pub(super) fn json(value: &impl Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(text) => data(&(text + "\n")),
        Err(error) => failed(&format!("cannot write this as JSON: {error}")),
    }
}

/// Tells people; nobody listening is fine.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says what failed.
pub(super) fn failed(text: &str) -> Exit {
    say(&format!("buckler: {text}"));
    Exit::Failed
}
