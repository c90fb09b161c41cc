//! `buckler run`: hands over to `lifecycle`, which starts, serves and stops.

use super::arguments::ConfigFile;
use super::exit::Exit;
use super::load;

/// Runs the command; comes back when Buckler has stopped.
pub(super) fn run(file: &ConfigFile) -> Exit {
    match load::find(file) {
        Ok(file) => Exit::of(lifecycle_run(&RunOptions { config: file })),
        Err(exit) => exit,
    }
}
