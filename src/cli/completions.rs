//! `buckler completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::arguments::Arguments;
use super::exit::Exit;
use super::output;

/// Runs the command.
pub(super) fn run(shell: Shell) -> Exit {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "buckler", &mut script);
    output::data(&String::from_utf8_lossy(&script))
}
