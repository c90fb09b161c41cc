//! The commands, one file a verb, and the one way in: arguments to an exit code. They stand on top of everything else;
//! nothing imports them.

mod arguments;
mod check;
mod completions;
mod config;
pub mod demo;
pub mod exit;
mod explain;
mod hints;
mod key;
mod load;
mod output;
mod reload;
mod run;
mod schema;
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
        Err(error) => report_usage(&error, &arguments),
    }
}

fn obey(arguments: Arguments) -> Exit {
    match arguments.command {
        Command::Run(file) => run::run(&file),
        Command::Check(check) => check::run(&check),
        Command::Config(effective) => config::run(&effective),
        Command::Schema => schema::run(),
        Command::Key(key) => key::run(&key),
        Command::Explain(explain) => explain::run(&explain),
        Command::Reload(reload) => reload::run(&reload),
        Command::Demo(demo) => Exit::of(demo::run(&demo)),
        Command::Completions { shell } => completions::run(shell),
        Command::Version(version) => version::run(version.json),
    }
}

/// Help and version are data; anything else is a mistake, with a hint if it looks like another program's option.
fn report_usage(error: &clap::Error, arguments: &[OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return output::data(&error.render().to_string());
        }
        _ => {}
    }
    // Nobody may be listening; the exit code still tells.
    let _ = error.print();
    if let Some(hint) = hints::hint(arguments) {
        output::say(&format!("\nhint: {hint}"));
    }
    Exit::Usage
}
