//! `buckler run`: hands over to `lifecycle`, which starts, serves and stops.

use super::arguments::ConfigFile;
use super::exit::Exit;
use super::load;
use lifecycle::RunOptions;

/// Runs the command; comes back when Buckler has stopped.
pub(super) fn run(file: &ConfigFile) -> Exit {
    match load::find(file) {
        Ok(config) => Exit::of(lifecycle::run(&RunOptions { config })),
        Err(exit) => exit,
    }
}

/// Stands in until `crate::lifecycle` has these two names.
mod lifecycle {
    use std::path::PathBuf;

    pub(super) struct RunOptions {
        pub(super) config: PathBuf,
    }

    pub(super) fn run(options: &RunOptions) -> u8 {
        crate::cli::output::say(&format!("buckler: cannot serve {} yet", options.config.display()));
        1
    }
}
