//! The YAML as a tree: every key and every value with its place, duplicate keys found, environment variables filled in.
//! What keys there may be stands in `file.rs`; how several files become one tree in `include.rs`.
//!
//! Bounds: a file of at most 8 MiB, 32 levels deep, and aliases that add at most 10,000 nodes.

use std::collections::{BTreeMap, HashMap};

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, options};

use super::report::{Code, Collected, Spot};

/// The largest file that is read.
pub(super) const MAX_BYTES: u64 = 8 << 20;
const MAX_DEPTH: usize = 32;
const MAX_ALIASED_NODES: usize = 10_000;

/// An environment variable by name; a function, so that tests have their own environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its first character, and for a scalar its length.
    pub(super) spot: Spot,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing: `key:` with no value, `~` or `null`.
    Null,
    /// Any other scalar, not yet a number or a word.
    Text(Text),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order written, no key twice.
    Map(Vec<Entry>),
}

/// A scalar.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// What it says, environment variables filled in.
    pub(super) value: String,
    /// What may be shown of it in a message: as written, so a variable's content stays unseen.
    pub(super) shown: String,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key is written.
    pub(super) at: Spot,
    /// The value.
    pub(super) value: Node,
}

impl Node {
    /// The value of `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What it is, in words for a message.
    pub(super) fn what(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".into(),
            Kind::Text(text) => format!("`{}`", shorten(&text.shown)),
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
pub(super) fn parse(text: &str, file: usize, env: Env<'_>, problems: &mut Collected) -> Option<Node> {
    if let Some(at) = bare_return(text, file) {
        let message = "a carriage return without a line feed".to_owned();
        problems.error(Code::Syntax, at, message, Some("end lines with LF or CRLF"));
        return None;
    }
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options! { emit_comments: false }),
        file,
        env,
        problems,
        anchors: HashMap::new(),
        aliased: 0,
    };
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
fn bare_return(text: &str, file: usize) -> Option<Spot> {
    let (line, column) = text.split('\n').zip(1..).find_map(|(line, number)| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.chars().position(|c| c == '\r').map(|at| (number, at))
    })?;
    let column = u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1);
    Some(Spot { file, line, column, length: 1 })
}

struct Reader<'t, 'p> {
    parser: Parser<'t, serde_yaml::granit_parser::StrInput<'t>>,
    file: usize,
    env: Env<'p>,
    problems: &'p mut Collected,
    anchors: HashMap<usize, Node>,
    aliased: usize,
}

/// What ends the reading of a file at once.
struct Stop {
    at: Spot,
    code: Code,
    message: String,
    help: Option<&'static str>,
}

impl<'t> Reader<'t, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        while let Some(next) = self.parser.next() {
            let (event, span) = next.map_err(|error| self.syntax(&error))?;
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_none() => {}
                Event::DocumentStart(..) => {
                    let message = "a second YAML document begins here".to_owned();
                    return Err(self.stop(
                        &span,
                        Code::Syntax,
                        message,
                        Some("write one document in one file"),
                    ));
                }
                event => root = Some(self.node(event, &span, 0)?),
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

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => {
                let at = Spot { file: self.file, line: 1, column: 1, length: 1 };
                let message = "the file ends in the middle of a value".to_owned();
                Err(Stop { at, code: Code::Syntax, message, help: None })
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Node, Stop> {
        if depth > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(self.stop(span, Code::TooMuch, message, None));
        }
        let (anchor, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        let spot = self.spot(span, matches!(event, Event::Scalar(..) | Event::Alias(_)));
        if tagged {
            let help = "leave the tag out: every key has one form";
            self.problems.error(Code::Syntax, spot, "a YAML tag (`!...`) stands here".into(), Some(help));
        }
        let kind = match event {
            Event::Scalar(text, style, ..) => self.scalar(&text, style, spot),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(id) => return self.alias(id, span),
            _ => return Err(self.stop(span, Code::Syntax, "a value is missing here".into(), None)),
        };
        let node = Node { spot, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Kind::List(items));
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: BTreeMap<String, Spot> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Kind::Map(entries)),
                Event::Scalar(text, ..) => Some(text.into_owned()),
                other => {
                    self.node(other, &span, depth + 1)?;
                    None
                }
            };
            let at = self.spot(&span, key.is_some());
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            let Some(key) = key else {
                self.problems.error(Code::WrongKind, at, "a key must be a word".into(), None);
                continue;
            };
            if let Some(first) = seen.get(&key) {
                self.problems.hide_secrets(&key, &value);
                let message = format!(
                    "duplicate key `{}`; it is first written at {}",
                    shorten(&key),
                    self.problems.place(*first)
                );
                self.problems.error(Code::Duplicate, at, message, Some("keep one of the two"));
                continue;
            }
            self.problems.hide_secrets(&key, &value);
            seen.insert(key.clone(), at);
            entries.push(Entry { key, at, value });
        }
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<Node, Stop> {
        let Some(target) = self.anchors.get(&id).cloned() else {
            return Err(self.stop(
                span,
                Code::Syntax,
                "this alias names a value that contains it".into(),
                None,
            ));
        };
        self.aliased = self.aliased.saturating_add(target.size());
        if self.aliased > MAX_ALIASED_NODES {
            let message = format!("aliases stand for more than {MAX_ALIASED_NODES} values");
            return Err(self.stop(span, Code::TooMuch, message, None));
        }
        Ok(target)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, spot: Spot) -> Kind {
        if style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return Kind::Null;
        }
        let value = self.fill_in(text, spot);
        Kind::Text(Text { value, shown: text.to_owned() })
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

    fn spot(&self, span: &Span, scalar: bool) -> Spot {
        let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
        let length = if scalar { span.end.index().saturating_sub(span.start.index()) } else { 1 };
        Spot {
            file: self.file,
            line: narrow(span.start.line()).max(1),
            column: narrow(span.start.col()).saturating_add(1),
            length: narrow(length).max(1),
        }
    }

    fn syntax(&self, error: &ScanError) -> Stop {
        let mark = error.marker();
        let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
        let at = Spot {
            file: self.file,
            line: narrow(mark.line()).max(1),
            column: narrow(mark.col()).saturating_add(1),
            length: 1,
        };
        let help = if error.kind().to_string().starts_with("tab") {
            "YAML indents with spaces only; the rest of this file is not read until this is right"
        } else {
            "the rest of this file is not read until this is right"
        };
        Stop {
            at,
            code: Code::Syntax,
            message: format!("not valid YAML: {}", error.kind()),
            help: Some(help),
        }
    }

    fn stop(&self, span: &Span, code: Code, message: String, help: Option<&'static str>) -> Stop {
        Stop { at: self.spot(span, false), code, message, help }
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
