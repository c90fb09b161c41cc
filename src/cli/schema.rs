//! `buckler schema`.

use super::exit::Exit;
use super::output;
use crate::config;

/// Runs the command.
pub(super) fn run() -> Exit {
    output::data(&config::schema())
}
