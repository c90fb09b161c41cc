//! `buckler version`.

use super::exit::Exit;
use super::output;

/// Runs the command.
pub(super) fn run(json: bool) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        output::json(&serde_json::json!({ "name": "buckler", "version": version }))
    } else {
        output::data(&format!("buckler {version}\n"))
    }
}
