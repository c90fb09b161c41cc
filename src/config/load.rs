//! From a file's name to a checked configuration, with everything that is wrong with it. The one place of `config` that
//! reads files; it reads no clock, no network and no environment of its own.

use std::path::Path;

use super::Config;
use super::check::check;
use super::collect::collect;
use super::file::File;
use super::include;
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

    /// The YAML as one tree, read once more, for the places of values: nobody else needs it, and it is large.
    pub(super) fn tree(&self) -> Option<Node<'_>> {
        // Everything that is wrong was told the first time, and what variables say is not asked for.
        let (mut told, env) = (Collected::default(), |_: &str| Some(String::new()));
        let mut texts = (0..).zip(self.sources.texts());
        let (number, text) = texts.next()?;
        let mut tree = parse(text, number, &env, &mut told)?;
        include::join(&mut tree, texts, &env, &mut told);
        Some(tree)
    }
}

/// Loads a file and those that it includes. `today` decides what has expired; `env` fills in `${NAME}`.
pub fn load(path: &Path, today: Moment, env: Env<'_>) -> Loaded {
    let name = path.display().to_string();
    match Disk.read(path) {
        Ok(text) => read(&name, text, &Disk, today, env),
        Err(why) => {
            let mut problems = Collected::default();
            let file = problems.file(&name);
            let at = Spot { file, line: 0, column: 0, length: 0 };
            problems.error(
                Code::Unreadable,
                at,
                why,
                Some("look at its name and permissions, or name another with `-c FILE`"),
            );
            finish(None, problems, Vec::new())
        }
    }
}

/// Loads a text under a name, with the files at hand. For tests and fuzzing.
pub fn load_str(name: &str, text: &str, files: &dyn Files, today: Moment, env: Env<'_>) -> Loaded {
    read(name, text.to_owned(), files, today, env)
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

fn read(name: &str, text: String, files: &dyn Files, today: Moment, env: Env<'_>) -> Loaded {
    let mut problems = Collected::default();
    let number = problems.file(name);
    if text.len() as u64 > MAX_BYTES {
        let at = Spot { file: number, line: 0, column: 0, length: 0 };
        problems.error(Code::TooMuch, at, format!("is larger than {} MiB", MAX_BYTES >> 20), None);
        return finish(None, problems, vec![text]);
    }
    let Some(mut tree) = parse(&text, number, env, &mut problems) else {
        return finish(None, problems, vec![text]);
    };
    let included = include::read(&tree, files, &mut problems);
    let texts = included.iter().map(|(number, text)| (*number, text.as_str()));
    include::join(&mut tree, texts, env, &mut problems);
    let file = collect::<File>(&tree, &mut problems);
    // Before the checked configuration is built: the two need not lie in memory at once.
    drop(tree);
    let config = check(&file, today, &mut problems);
    let included = included.into_iter().map(|(_, text)| text);
    finish(config, problems, std::iter::once(text).chain(included))
}

fn finish(config: Option<Config>, problems: Collected, texts: impl IntoIterator<Item = String>) -> Loaded {
    let (problems, sources) = problems.finish(texts);
    Loaded { config, problems, sources }
}
