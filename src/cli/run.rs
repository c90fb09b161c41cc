//! `buckler run`: hands over to `lifecycle`, which starts, serves and stops.

use super::arguments::ConfigFile;
use super::exit::Exit;
use super::load;
use crate::lifecycle::{self, RunOptions};

/// Runs the command; comes back when Buckler has stopped.
pub(super) fn run(file: &ConfigFile) -> Exit {
    match load::find(file) {
        Ok(config) => Exit::of(lifecycle::run(&RunOptions { config })),
        Err(exit) => exit,
    }
}
