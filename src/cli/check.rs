//! `buckler check`, also `buckler -t`: everything that is wrong with the configuration and with the certificates that
//! it names, at once. Reads files, opens no port and asks no name server.

use serde_json::json;

use super::arguments::Check;
use super::exit::Exit;
use super::{load, output};
use crate::clock::Moment;
use crate::config::Loaded;
use crate::tls::{Finding, TlsTerms};

/// Runs the command.
pub(super) fn run(arguments: &Check) -> Exit {
    let path = match load::find(&arguments.file) {
        Ok(path) => path,
        Err(exit) => return exit,
    };
    let mut loaded = load::load(&path);
    certificates(&mut loaded, Moment::read());
    let (errors, warnings) = (loaded.errors().count(), loaded.warnings().count());
    let is_valid = errors == 0 && (warnings == 0 || !arguments.strict);
    let printed = if arguments.json {
        output::json(&json!({
            "file": path.display().to_string(),
            "valid": is_valid,
            "errors": errors,
            "warnings": warnings,
            "problems": loaded.to_json(),
        }))
    } else {
        let problems = loaded.render();
        if !problems.is_empty() {
            output::say(&problems);
        }
        Exit::Fine
    };
    output::say(&format!("{}: {}", path.display(), summary(errors, warnings, arguments.strict)));
    if is_valid { printed } else { Exit::BadConfiguration }
}

/// Looks at the certificates too, once everything else is fine.
fn certificates(loaded: &mut Loaded, now: Moment) {
    let Some(config) = &loaded.config else { return };
    let found = config.services.values().flat_map(|service| TlsTerms::check(service, now));
    loaded.problems.extend(found.map(Finding::into_problem));
    // A certificate may serve several services, and is told of once.
    loaded.problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    loaded.problems.dedup();
}

fn summary(errors: usize, warnings: usize, strict: bool) -> String {
    match (errors, warnings) {
        (0, 0) => "fine".to_owned(),
        (0, _) if strict => format!("{}, and --strict takes none", counted(warnings, "warning")),
        (0, _) => format!("fine, with {}", counted(warnings, "warning")),
        (_, 0) => counted(errors, "error"),
        _ => format!("{} and {}", counted(errors, "error"), counted(warnings, "warning")),
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
