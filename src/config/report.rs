//! What is wrong with a configuration, and how it is shown: one line that says what and where, the line of the file
//! with a caret under the exact columns, and what to do. Keys and other secrets are never shown.
//!
//! | code | severity | what |
//! |---|---|---|
//! | B0001 | error | a file cannot be read |
//! | B0002 | error | not valid YAML |
//! | B0003 | error | a file is too large or nested too deep |
//! | B0004 | error | a key is defined twice |
//! | B0005 | error | an environment variable is missing or badly written |
//! | B0006 | error | an `include` is wrong |
//! | B0010 | error | an unknown key |
//! | B0011 | error | a key that is planned and not built in this version |
//! | B0012 | error | a key is missing |
//! | B0013 | error | a map, a list or a value stands where another is needed |
//! | B0014 | error | a value is not what its key takes |
//! | B0020 | error | a caller or tier that is defined nowhere |
//! | B0021 | error | the same thing is given to two (key, certificate, network, worker, agreement) |
//! | B0022 | error | two listeners on one port or path |
//! | B0023 | error | a rule that can never decide |
//! | B0024 | error | a key is written in clear |
//! | B0025 | error | a cost that is more than a burst |
//! | B0026 | error | keys that contradict each other |
//! | B0027 | error | open to everybody: an admin listener without a token |
//! | B0040 | error | a certificate, key, CA or CRL that cannot be read |
//! | B0041 | error | a certificate that cannot serve: wrong key, intermediate CA, not for servers, chain in disorder |
//! | B0042 | error | a certificate outside its dates; a start goes on with it, and says so |
//! | B0100 | warning | a service without a default limit |
//! | B0101 | warning | an `until` has passed: the rule or agreement no longer applies |
//! | B0102 | warning | an agreement ends within 14 days |
//! | B0103 | warning | every address is a trusted proxy |
//! | B0104 | warning | an `include` that no file fits |
//! | B0105 | warning | certificates of callers that nobody asks for or looks at |
//! | B0106 | warning | a bound that another one keeps from being reached |
//! | B0120 | warning | a certificate ends within 30 days, or a CRL has ended |
//! | B0121 | warning | a certificate that some clients refuse: incomplete chain, weak, nameless, a self-signed CA |
//! | B0122 | warning | a host of a rule that no certificate covers |

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::At;
use super::tree::{Kind, Node};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether Buckler starts all the same.
    pub severity: Severity,
    /// Its code; the table stands at the top of this file.
    pub code: Code,
    /// The file, as the user or `include` named it.
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// Line, from 1; 0 if it concerns no line.
    pub line: u32,
    /// Column in characters, from 1; 0 if it concerns no line.
    pub column: u32,
    /// How many characters it concerns.
    pub length: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing starts with it.
    Error,
    /// Worth a look; `check --strict` refuses it.
    Warning,
}

/// What kind of problem; the table stands at the top of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the table at the top of the file describes each")]
#[rustfmt::skip]
pub enum Code {
    Unreadable = 1, Syntax = 2, TooMuch = 3, Duplicate = 4, Environment = 5, Include = 6,
    UnknownKey = 10, Planned = 11, MissingKey = 12, WrongKind = 13, BadValue = 14,
    UnknownName = 20, GivenTwice = 21, SamePort = 22, Unreachable = 23, KeyInClear = 24, CostAboveBurst = 25,
    Contradiction = 26, Exposed = 27,
    CertificateFile = 40, CertificateUnfit = 41, CertificateDates = 42,
    NoDefault = 100, Expired = 101, EndsSoon = 102, TrustsEverybody = 103, IncludesNothing = 104,
    NeverAsked = 105, NeverReached = 106,
    CertificateEndsSoon = 120, CertificateDoubtful = 121, HostNotCovered = 122,
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "B{:04}", *self as u16)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A place in file number `file`; small, so that everything can carry one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The file's number in [`Sources`].
    pub file: u32,
    /// Line, from 1; 0 if it concerns no line.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters.
    pub length: u32,
}

/// The files that were read, to show lines of.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    text: String,
    /// What no message may show: values of keys that hold secrets, unless they are hashes.
    secrets: Vec<Spot>,
}

impl Sources {
    /// Adds a file and gives its number. Its text is handed over in the end: until then the tree borrows from it.
    fn add(&mut self, name: &str) -> u32 {
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.files.push(Source { name: name.into(), text: String::new(), secrets: Vec::new() });
        number
    }

    fn get(&self, file: u32) -> Option<&Source> {
        self.files.get(usize::try_from(file).ok()?)
    }

    fn get_mut(&mut self, file: u32) -> Option<&mut Source> {
        self.files.get_mut(usize::try_from(file).ok()?)
    }

    /// The place in the form that is shown to people and kept in the checked configuration.
    pub fn at(&self, spot: Spot) -> At {
        let file = self.get(spot.file).map_or_else(|| "".into(), |source| source.name.clone());
        At { file, line: spot.line, column: spot.column }
    }

    /// The texts, in the order in which they were read.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|source| source.text.as_str())
    }

    /// The problem as text: what and where, the line with a caret, what to do. Ends with a newline.
    pub fn render(&self, problem: &Problem) -> String {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = match problem.line {
            0 => format!("{word}: {}: {} [{}]\n", problem.file, problem.message, problem.code),
            line => {
                let (file, column) = (&problem.file, problem.column);
                format!("{word}: {file}:{line}:{column}: {} [{}]\n", problem.message, problem.code)
            }
        };
        // After a syntax error nobody knows which characters are a secret.
        let risky = problem.code == Code::Syntax && self.near_secrets(&problem.file, problem.line);
        if let Some(line) = self.line(&problem.file, problem.line).filter(|_| !risky) {
            self.underline(&mut out, problem, &line);
        }
        for line in problem.help.iter().flat_map(|help| help.lines()) {
            let _ = writeln!(out, "  = {line}");
        }
        out
    }

    /// Whether this line or one shortly before it speaks of secrets.
    fn near_secrets(&self, file: &str, number: u32) -> bool {
        const BEFORE: usize = 8;
        let number = number as usize;
        let source = self.files.iter().find(|source| &*source.name == file);
        let lines = source.into_iter().flat_map(|source| source.text.lines()).take(number);
        lines.skip(number.saturating_sub(BEFORE)).any(|line| holds_secrets(line) && !line.contains("sha256:"))
    }

    fn underline(&self, out: &mut String, problem: &Problem, line: &str) {
        let number = problem.line.to_string();
        let margin = " ".repeat(number.len());
        let (window, before) = window(line, problem.column);
        let left = " ".repeat(before);
        let space = window.chars().count().saturating_sub(before).max(1);
        let carets = "^".repeat((problem.length as usize).clamp(1, space));
        let _ = writeln!(out, "{margin} |\n{number} | {window}\n{margin} | {left}{carets}");
    }

    /// A line of a file, with tabs as spaces and secrets as asterisks.
    fn line(&self, file: &str, number: u32) -> Option<String> {
        let source = self.files.iter().find(|source| &*source.name == file)?;
        let text = source.text.lines().nth((number as usize).checked_sub(1)?)?;
        let hidden = |column: usize| {
            source.secrets.iter().any(|spot| {
                let from = spot.column as usize;
                let inside = spot.line == number && column >= from;
                // A secret over several lines has an unknown end: hide all of the lines that it may stand on.
                let rows = number > spot.line && number - spot.line <= spot.length;
                (inside && column < from + spot.length as usize) || (rows && spot.length > 200)
            })
        };
        let shown = text.chars().enumerate().map(|(i, c)| match c {
            _ if hidden(i + 1) => '*',
            c if c.is_control() => ' ',
            c => c,
        });
        Some(shown.collect())
    }
}

/// Long lines are cut to the part around the column. Gives the part, and how many characters stand before the column.
fn window(line: &str, column: u32) -> (String, usize) {
    const WIDTH: usize = 160;
    let column = (column as usize).saturating_sub(1);
    let from = if column > WIDTH - 40 { column - 60 } else { 0 };
    (line.chars().skip(from).take(WIDTH).collect(), column - from)
}

/// Whether a key's name, or a line, speaks of secrets. Asked of every key of the file.
fn holds_secrets(text: &str) -> bool {
    let text = text.as_bytes();
    text.iter().enumerate().any(|(at, first)| {
        let word: &[u8] = match first.to_ascii_lowercase() {
            b'k' => b"key",
            b's' => b"secret",
            b't' => b"token",
            b'p' => b"password",
            _ => return false,
        };
        text.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word))
    })
}

/// Whether this is the name of a private key's file, not a key: the rule is narrow, since what is wrong may be that the
/// key itself stands here.
fn is_key_file(key: &str, text: &str) -> bool {
    key == "key" && (text.ends_with(".key") || text.ends_with(".pem")) && !text.contains(char::is_whitespace)
}

/// How many problems there were before a file was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    found: usize,
    errors: usize,
}

/// The problems found so far, of all files.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// The files read, without their texts.
    pub(super) sources: Sources,
    found: Vec<(Spot, Problem)>,
    errors: usize,
}

impl Collected {
    /// A further file, by its name; gives its number.
    pub(super) fn file(&mut self, name: &str) -> u32 {
        self.sources.add(name)
    }

    /// Adds an error.
    pub(super) fn error(&mut self, code: Code, at: Spot, message: String, help: Option<&str>) {
        self.add(Severity::Error, code, at, message, help);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, code: Code, at: Spot, message: String, help: Option<&str>) {
        self.add(Severity::Warning, code, at, message, help);
    }

    fn add(&mut self, severity: Severity, code: Code, spot: Spot, message: String, help: Option<&str>) {
        self.errors += usize::from(severity == Severity::Error);
        let At { file, line, column } = self.sources.at(spot);
        let (length, help) = (spot.length, help.map(str::to_owned));
        self.found.push((spot, Problem { severity, code, file, line, column, length, message, help }));
    }

    /// How far it is, to go back to before this file was read.
    pub(super) const fn mark(&self) -> Mark {
        Mark { found: self.found.len(), errors: self.errors }
    }

    /// Forgets what was found since in `file`, which is read anew.
    pub(super) fn back_to(&mut self, mark: Mark, file: u32) {
        self.found.truncate(mark.found);
        self.errors = mark.errors;
        if let Some(source) = self.sources.get_mut(file) {
            source.secrets.clear();
        }
    }

    /// How many errors there are.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// All of them by place, and the files; `texts` are theirs, by number.
    pub(super) fn finish(mut self, texts: impl IntoIterator<Item = String>) -> (Vec<Problem>, Sources) {
        for (source, text) in self.sources.files.iter_mut().zip(texts) {
            source.text = text;
        }
        self.found.sort_by_key(|(spot, _)| *spot);
        self.found.dedup();
        (self.found.into_iter().map(|(_, problem)| problem).collect(), self.sources)
    }

    /// A place as messages name it: `buckler.yaml:12:3`.
    pub(super) fn place(&self, spot: Spot) -> String {
        let at = self.sources.at(spot);
        format!("{at}:{}", at.column)
    }

    /// Notes which characters of the file no message may show, if `key` holds secrets.
    pub(super) fn hide_secrets(&mut self, key: &str, value: &Node<'_>) {
        if !holds_secrets(key) || key.ends_with("_file") || key.starts_with("max_") {
            return;
        }
        if let Kind::Map(entries) = &value.kind
            && key == "api_keys"
        {
            // `{key}` instead of `[key]`.
            for entry in entries {
                self.hide(entry.at);
                self.hide_secrets(key, &entry.value);
            }
        }
        let list = match &value.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        for item in list {
            if let Kind::Text(text) = &item.kind
                && !text.shown().starts_with("sha256:")
                && !is_key_file(key, text.shown())
            {
                self.hide(item.spot);
            }
        }
    }

    fn hide(&mut self, spot: Spot) {
        if let Some(source) = self.sources.get_mut(spot.file) {
            source.secrets.push(spot);
        }
    }
}
