//! The configuration from the outside: what loads, what it means, what every mistake is told. One test for each rule
//! that a file can break, with the line, the column and the words.

mod contract;
mod edge;
mod effective;
mod files;
mod mistakes;
mod never_panics;
mod resilience;

use super::{Files, Loaded, NoFiles, load, load_str};
use crate::clock::Moment;

/// 2027-01-15, in the middle of a day.
fn today() -> Moment {
    Moment::at(1_800_012_345_000_000_000)
}

/// Loads a text as `t.yaml`, alone and without an environment.
fn load_text(text: &str) -> Loaded {
    load_str("t.yaml", text, &NoFiles, today(), &|_| None)
}

/// The head and the caret line of every problem, without the source: what and where.
fn told(loaded: &Loaded) -> Vec<String> {
    let line = |problem: &super::Problem| {
        let (file, line, column) = (&problem.file, problem.line, problem.column);
        format!("{file}:{line}:{column}: {}", problem.message)
    };
    loaded.problems.iter().map(line).collect()
}

/// What to do about the first problem.
fn help(loaded: &Loaded) -> String {
    loaded.problems.first().and_then(|problem| problem.help.clone()).unwrap_or_default()
}

/// These lines as those of a service stand in a file.
fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}

/// A service that is right, to put mistakes beside.
const SERVICE: &str = "\
services:
  a:
    listen: 127.0.0.1:4070
    workers: { addresses: [\"127.0.0.1:9001\"] }
    limits: { default: { rate: 10/s } }
";

/// The service `playlist` with one worker and every default, for the tests of other modules.
pub fn plain_service() -> super::Service {
    let (_, service) = plain_config().services.pop_first().expect("there is one");
    std::sync::Arc::into_inner(service).expect("nobody else has it")
}

/// No callers by name, and every default, for the tests of other modules.
pub fn plain_callers() -> std::sync::Arc<super::Callers> {
    plain_config().callers
}

fn plain_config() -> super::Config {
    let text = "services: {playlist: {listen: 127.0.0.1:4070, workers: {addresses: [127.0.0.1:9001]}}}";
    load_text(text).config.expect("it is right")
}
