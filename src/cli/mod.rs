//! The commands, one file a verb, and the one way in: arguments to an exit code. They stand on top of everything else;
//! nothing imports them.

mod arguments;
mod completions;
pub mod demo;
pub mod exit;
mod hints;
mod key;
mod output;
mod version;

use std::ffi::OsString;

use clap::Parser as _;
use clap::error::ErrorKind;

use arguments::{Arguments, Command, with_check_for_t};
use exit::Exit;

/// Does what the command line says. Data goes to standard output, words for people to standard error.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments = with_check_for_t(arguments.collect());
    match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => obey(parsed),
        Err(error) => explain_usage(&error, &arguments),
    }
}

fn obey(arguments: Arguments) -> Exit {
    match arguments.command {
                                        Command::Key(key) => key::run(&key),
                        Command::Demo(demo) => Exit::of(demo::run(&demo)),
        Command::Completions { shell } => completions::run(shell),
        _ => Exit::Failed,
        Command::Version(printed) => version::run(printed.json),
    }
}

/// Help and version are data; anything else is a mistake, with a hint if it looks like another program's option.
fn explain_usage(error: &clap::Error, arguments: &[OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return output::data(&error.render().to_string()),
        _ => {}
    }
    // Nobody may be listening; the exit code still tells.
    let _ = error.print();
    let hint = match error.kind() {
        ErrorKind::MissingSubcommand => Some(hints::NO_COMMAND),
        _ => hints::hint(arguments),
    };
    if let Some(hint) = hint {
        output::say(&format!("\nhint: {hint}"));
    }
    Exit::Usage
}
