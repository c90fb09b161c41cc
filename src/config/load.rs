//! From a file's name to a checked configuration, with everything that is wrong with it. The one place of `config` that
//! reads files; it reads no clock, no network and no environment of its own.

use std::path::Path;

use super::Config;
use super::check::check;
use super::collect::collect;
use super::file::File;
use super::include::include;
use super::report::{Code, Collected, Problem, Severity, Sources, Spot};
use super::tree::{Env, MAX_BYTES, Node, parse};
use crate::clock::Moment;

/// What came of loading: the configuration, if it has no error, and everything to say about it.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration; None if there is an error.
    pub config: Option<Config>,
    /// Errors and warnings, by place.
    pub problems: Vec<Problem>,
    /// The files, to show lines of.
    pub sources: Sources,
    /// The YAML as one tree, for the places of values.
    pub(super) tree: Option<Node>,
}

impl Loaded {
    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// The warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Warning)
    }

    /// All problems as text for people, an empty line between two. Empty if there are none.
    pub fn render(&self) -> String {
        let shown: Vec<_> = self.problems.iter().map(|problem| self.sources.render(problem)).collect();
        shown.join("\n")
    }

    /// All problems as a JSON array.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.problems).unwrap_or_default()
    }
}

/// Loads a file and those that it includes. `today` decides what has expired; `env` fills in `${NAME}`.
pub fn load(path: &Path, today: Moment, env: Env<'_>) -> Loaded {
    let name = path.display().to_string();
    match Disk.read(path) {
        Ok(text) => read(&name, &text, &Disk, today, env),
        Err(why) => {
            let mut problems = Collected::default();
            let file = problems.sources.add(&name, String::new());
            let at = Spot { file, line: 0, column: 0, length: 0 };
            problems.error(
                Code::Unreadable,
                at,
                why,
                Some("look at its name and permissions, or name another with `-c FILE`"),
            );
            finish(None, None, problems)
        }
    }
}

/// Loads a text under a name, with the files at hand. For tests and fuzzing.
pub fn load_str(name: &str, text: &str, files: &dyn Files, today: Moment, env: Env<'_>) -> Loaded {
    read(name, text, files, today, env)
}

/// Where files come from: the disk, or a test.
pub trait Files {
    /// The text of a file, or why there is none.
    fn read(&self, path: &Path) -> Result<String, String>;
    /// The names in a folder, or why there are none.
    fn list(&self, folder: &Path) -> Result<Vec<String>, String>;
}

/// The files of this machine.
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<String, String> {
        use std::io::Read as _;
        let cannot = |error: std::io::Error| format!("cannot be read: {error}");
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(cannot)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("is larger than {} MiB", MAX_BYTES >> 20));
        }
        String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, String> {
        let cannot = |error: std::io::Error| format!("cannot be listed: {error}");
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let entries = std::fs::read_dir(folder).map_err(cannot)?;
        entries.map(|entry| Ok(entry.map_err(cannot)?.file_name().to_string_lossy().into_owned())).collect()
    }
}

/// No other files than the one given.
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> Result<String, String> {
        Err("cannot be read: there are no files here".to_owned())
    }

    fn list(&self, _: &Path) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

fn read(name: &str, text: &str, files: &dyn Files, today: Moment, env: Env<'_>) -> Loaded {
    let mut problems = Collected::default();
    let too_large = text.len() as u64 > MAX_BYTES;
    let number = problems.sources.add(name, text.to_owned());
    if too_large {
        let at = Spot { file: number, line: 0, column: 0, length: 0 };
        problems.error(Code::TooMuch, at, format!("is larger than {} MiB", MAX_BYTES >> 20), None);
        return finish(None, None, problems);
    }
    let Some(mut tree) = parse(text, number, env, &mut problems) else {
        return finish(None, None, problems);
    };
    include(&mut tree, files, env, &mut problems);
    let file = collect::<File>(&tree, &mut problems);
    let config = check(&file, today, &mut problems);
    finish(config, Some(tree), problems)
}

fn finish(config: Option<Config>, tree: Option<Node>, problems: Collected) -> Loaded {
    let (problems, sources) = problems.finish();
    Loaded { config, problems, sources, tree }
}
