//! `buckler config`: the effective configuration, each value marked with the line it comes from or as a default. As
//! YAML it can be loaded again and means the same.

use super::arguments::Effective;
use super::exit::Exit;
use super::{load, output};

/// Runs the command.
pub(super) fn run(arguments: &Effective) -> Exit {
    let path = match load::find(&arguments.file) {
        Ok(path) => path,
        Err(exit) => return exit,
    };
    let loaded = load::load(&path);
    match loaded.effective() {
        Some(effective) if arguments.json => output::json(&effective.to_json()),
        Some(effective) => output::data(&effective.to_yaml()),
        None => {
            output::say(loaded.render().trim_end());
            Exit::BadConfiguration
        }
    }
}
