//! The YAML as a tree: every key and every value with its place, duplicate keys found, environment variables filled in.
//! What keys there may be stands in `file.rs`; how several files become one tree in `include.rs`.
//!
//! Bounds: a file of at most 8 MiB, 32 levels deep, and aliases that add at most 10,000 nodes.

mod plain;
mod steps;
mod text;

use std::borrow::Cow;
use std::collections::HashMap;

use self::steps::{Fault, Marks, Place, Step, Steps, Taken};
use self::text::Text;
use super::report::{Code, Collected, Spot};

/// The largest file that is read.
pub(super) const MAX_BYTES: u64 = 8 << 20;
const MAX_DEPTH: usize = 32;
const MAX_ALIASED_NODES: usize = 10_000;
/// In a map with fewer keys, a key that is there twice is looked for one by one.
const FEW_KEYS: usize = 16;

/// An environment variable by name; a function, so that tests have their own environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value and where it is written. It borrows from the text of its file: a tree of 100,000 callers copies none of it.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    /// Its first character, and for a scalar its length.
    pub(super) spot: Spot,
    /// What it is.
    pub(super) kind: Kind<'t>,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind<'t> {
    /// Nothing: `key:` with no value, `~` or `null`.
    Null,
    /// Any other scalar, not yet a number or a word.
    Text(Text<'t>),
    /// A list.
    List(Vec<Node<'t>>),
    /// A map, in the order written, no key twice.
    Map(Vec<Entry<'t>>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    /// The key.
    pub(super) key: Cow<'t, str>,
    /// Where the key is written.
    pub(super) at: Spot,
    /// The value.
    pub(super) value: Node<'t>,
}

/// Where in a map each of its keys stands.
pub(super) type Places<'t> = HashMap<Cow<'t, str>, usize, foldhash::fast::RandomState>;

impl<'t> Node<'t> {
    /// The value of `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Entry<'t>> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What it is, in words for a message.
    pub(super) fn what(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".into(),
            Kind::Text(text) => format!("`{}`", shorten(text.shown())),
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a map".into(),
        }
    }

    fn size(&self) -> usize {
        match &self.kind {
            Kind::Null | Kind::Text(_) => 1,
            Kind::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|entry| 1 + entry.value.size()).sum::<usize>(),
        }
    }
}

/// At most 60 characters of a text that came from the file.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 60 {
        short.push_str("...");
    }
    short
}

/// Reads the text of file number `file`. None after a syntax error, which is then among the problems.
pub(super) fn parse<'t>(
    text: &'t str,
    file: u32,
    env: Env<'_>,
    problems: &mut Collected,
) -> Option<Node<'t>> {
    if let Some(at) = bare_return(text, file) {
        let message = "a carriage return without a line feed".to_owned();
        problems.error(Code::Syntax, at, message, Some("end lines with LF or CRLF"));
        return None;
    }
    let before = problems.mark();
    if let Some(steps) = Steps::plain(text) {
        if let Ok(node) = Reader::new(steps, file, env, problems).document() {
            return Some(node);
        }
        problems.back_to(before, file);
    }
    let mut reader = Reader::new(Steps::whole(text), file, env, problems);
    match reader.document() {
        Ok(node) => Some(node),
        Err(Stop { at, code, message, help }) => {
            reader.problems.error(code, at, message, help);
            None
        }
    }
}

/// Where a CR stands that no LF follows. YAML takes it for the end of a line and every editor and `grep` does not: the
/// lines of messages would be others than those of the file, and so would those that hide secrets.
fn bare_return(text: &str, file: u32) -> Option<Spot> {
    if !text.as_bytes().contains(&b'\r') {
        return None;
    }
    let (line, column) = text.split('\n').zip(1..).find_map(|(line, number)| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.chars().position(|c| c == '\r').map(|at| (number, at))
    })?;
    let column = u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1);
    Some(Spot { file, line, column, length: 1 })
}

struct Reader<'t, 'p> {
    steps: Steps<'t>,
    file: u32,
    env: Env<'p>,
    problems: &'p mut Collected,
    anchors: HashMap<usize, Node<'t>>,
    aliased: usize,
}

/// What ends the reading of a file at once.
struct Stop {
    at: Spot,
    code: Code,
    message: String,
    help: Option<&'static str>,
}

impl<'t, 'p> Reader<'t, 'p> {
    fn new(steps: Steps<'t>, file: u32, env: Env<'p>, problems: &'p mut Collected) -> Self {
        Self { steps, file, env, problems, anchors: HashMap::new(), aliased: 0 }
    }

    fn document(&mut self) -> Result<Node<'t>, Stop> {
        let mut root = None;
        while let Some(next) = self.steps.next() {
            let taken = next.map_err(|fault| self.syntax(&fault))?;
            match taken.0 {
                Step::Other => {}
                Step::Document if root.is_none() => {}
                Step::Document => {
                    let message = "a second YAML document begins here".to_owned();
                    let help = Some("write one document in one file");
                    return Err(self.stop(taken.2, Code::Syntax, message, help));
                }
                _ => root = Some(self.node(taken, 0)?),
            }
        }
        // A file of comments alone is a map without keys, not "nothing": then what is missing is named.
        match root {
            Some(Node { kind, spot }) if !matches!(kind, Kind::Null) => Ok(Node { kind, spot }),
            _ => Ok(Node {
                spot: Spot { file: self.file, line: 1, column: 1, length: 1 },
                kind: Kind::Map(Vec::new()),
            }),
        }
    }

    fn next(&mut self) -> Result<Taken<'t>, Stop> {
        match self.steps.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(fault)) => Err(self.syntax(&fault)),
            None => {
                let at = Spot { file: self.file, line: 1, column: 1, length: 1 };
                let message = "the file ends in the middle of a value".to_owned();
                Err(Stop { at, code: Code::Syntax, message, help: None })
            }
        }
    }

    fn node(&mut self, (step, marks, place): Taken<'t>, depth: usize) -> Result<Node<'t>, Stop> {
        if depth > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(self.stop(place, Code::TooMuch, message, None));
        }
        let Marks { anchor, tagged } = marks;
        let spot = self.spot(place, matches!(step, Step::Scalar { .. } | Step::Alias(_)));
        if tagged {
            let help = "leave the tag out: every key has one form";
            self.problems.error(Code::Syntax, spot, "a YAML tag (`!...`) stands here".into(), Some(help));
        }
        let kind = match step {
            Step::Scalar { text, bare } => self.scalar(text, bare, spot),
            Step::List => self.list(depth)?,
            Step::Map => self.map(depth)?,
            Step::Alias(id) => return self.alias(id, place),
            _ => return Err(self.stop(place, Code::Syntax, "a value is missing here".into(), None)),
        };
        let node = Node { spot, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Kind<'t>, Stop> {
        // Most have one: a Vec that grows begins with four.
        let mut items = Vec::with_capacity(1);
        loop {
            let taken = self.next()?;
            if taken.0 == Step::ListEnd {
                return Ok(Kind::List(items));
            }
            items.push(self.node(taken, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind<'t>, Stop> {
        let mut entries: Vec<Entry<'t>> = Vec::with_capacity(1);
        // Of maps with many keys, where each stands.
        let mut places = Places::default();
        loop {
            let taken = self.next()?;
            let place = taken.2;
            let key = match taken {
                (Step::MapEnd, ..) => return Ok(Kind::Map(entries)),
                (Step::Scalar { text, .. }, ..) => Some(text),
                other => {
                    self.node(other, depth + 1)?;
                    None
                }
            };
            let at = self.spot(place, key.is_some());
            let next = self.next()?;
            let value = self.node(next, depth + 1)?;
            let Some(key) = key else {
                self.problems.error(Code::WrongKind, at, "a key must be a word".into(), None);
                continue;
            };
            self.problems.hide_secrets(&key, &value);
            let first = match places.is_empty() {
                true => entries.iter().find(|entry| entry.key == key),
                false => places.get(&key).and_then(|place| entries.get(*place)),
            };
            if let Some(first) = first {
                let (shown, first) = (shorten(&key), self.problems.place(first.at));
                let message = format!("duplicate key `{shown}`; it is first written at {first}");
                self.problems.error(Code::Duplicate, at, message, Some("keep one of the two"));
                continue;
            }
            if !places.is_empty() {
                places.insert(key.clone(), entries.len());
            }
            entries.push(Entry { key, at, value });
            if places.is_empty() && entries.len() == FEW_KEYS {
                places.extend(entries.iter().zip(0..).map(|(entry, place)| (entry.key.clone(), place)));
            }
        }
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<Node<'t>, Stop> {
        let Some(target) = self.anchors.get(&id).cloned() else {
            return Err(self.stop(
                place,
                Code::Syntax,
                "this alias names a value that contains it".into(),
                None,
            ));
        };
        self.aliased = self.aliased.saturating_add(target.size());
        if self.aliased > MAX_ALIASED_NODES {
            let message = format!("aliases stand for more than {MAX_ALIASED_NODES} values");
            return Err(self.stop(place, Code::TooMuch, message, None));
        }
        Ok(target)
    }

    fn scalar(&mut self, text: Cow<'t, str>, bare: bool, spot: Spot) -> Kind<'t> {
        if bare && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
            return Kind::Null;
        }
        Kind::Text(match text {
            text if text.as_bytes().contains(&b'$') => {
                Text::made(self.fill_in(&text, spot), Some(text.into_owned()))
            }
            Cow::Borrowed(text) => Text::Written(text),
            Cow::Owned(value) => Text::made(value, None),
        })
    }

    /// `${NAME}` becomes the variable's content, `$${` becomes `${`.
    fn fill_in(&mut self, text: &str, spot: Spot) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(start) = rest.find("${") {
            let (before, after) = (&rest[..start], &rest[start + 2..]);
            if let Some(escaped) = before.strip_suffix('$') {
                out.push_str(escaped);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let name = after.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
            let Some(name) = name else {
                let help = "write `${NAME}`, or `$${` for the two characters themselves";
                self.problems.error(
                    Code::Environment,
                    spot,
                    "`${` without a variable's name and `}`".into(),
                    Some(help),
                );
                return out;
            };
            match (self.env)(name) {
                Some(content) => out.push_str(&content),
                None => {
                    let message = format!("the environment variable `{}` is not set", shorten(name));
                    let help = "set it where Buckler is started, or write the value here";
                    self.problems.error(Code::Environment, spot, message, Some(help));
                }
            }
            rest = &after[name.len() + 1..];
        }
        out.push_str(rest);
        out
    }

    fn spot(&self, place: Place, whole: bool) -> Spot {
        let Place { line, column, length } = place;
        Spot { file: self.file, line, column, length: if whole { length } else { 1 } }
    }

    fn syntax(&self, fault: &Fault) -> Stop {
        let at = self.spot(fault.at, false);
        let help = if fault.what.starts_with("tab") {
            "YAML indents with spaces only; the rest of this file is not read until this is right"
        } else {
            "the rest of this file is not read until this is right"
        };
        Stop { at, code: Code::Syntax, message: format!("not valid YAML: {}", fault.what), help: Some(help) }
    }

    fn stop(&self, place: Place, code: Code, message: String, help: Option<&'static str>) -> Stop {
        Stop { at: self.spot(place, false), code, message, help }
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
