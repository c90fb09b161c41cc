//! The effective configuration: every value, also those that nobody wrote, each with where it comes from. As YAML it
//! loads again to the same configuration; as JSON it is one entry for each value. What is written how stands in
//! `effective/parts.rs`.

mod edge;
mod parts;
mod resilience;

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::file::ONE_VALUE;
use super::load::Loaded;
use super::report::{Sources, Spot};
use super::tree::{Kind, Node};

/// Every value in force, and where it comes from.
#[derive(Debug)]
pub struct Effective(Shown);

impl Effective {
    /// As YAML: each value with `# default` or `# file:line`. Paths are as Buckler opens them. What follows from other
    /// values is a comment that says how.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.0.write(&mut out, 0);
        out
    }

    /// As JSON: `{"services.a.listen": {"value": "127.0.0.1:4070", "from": "buckler.yaml:12"}, ...}`.
    pub fn to_json(&self) -> Value {
        let mut flat = serde_json::Map::new();
        self.0.flatten("", &mut flat);
        Value::Object(flat)
    }
}

impl Loaded {
    /// The effective configuration; None if there is an error, or the configuration was taken out.
    pub fn effective(&self) -> Option<Effective> {
        let config = self.config.as_ref()?;
        let tree = self.tree();
        let mut root = Map { from: tree.as_ref(), sources: &self.sources, entries: Vec::new() };
        parts::config(&mut root, config);
        Some(Effective(Shown::Map(root.entries)))
    }
}

/// A value as it is shown.
#[derive(Debug)]
enum Shown {
    /// A value, or a list of them, and where it comes from.
    Value(Value, String),
    /// A value that follows from those beside it, and how; a comment in YAML, since to write it would be an error.
    Derived(Value, String),
    Map(Vec<(String, Self)>),
    List(Vec<Self>),
}

/// A map in the making, and the map of the file that it shows, if there is one.
struct Map<'t> {
    from: Option<&'t Node<'t>>,
    sources: &'t Sources,
    entries: Vec<(String, Shown)>,
}

impl<'t> Map<'t> {
    /// A value: a text, a number, true or false, or a list of texts.
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        let written = self.from.and_then(|node| match &node.kind {
            // Maps that were written as one value.
            Kind::Text(_) if ONE_VALUE.iter().any(|(_, main)| *main == key) => Some(node.spot),
            _ => node.get(key).filter(|entry| !matches!(entry.value.kind, Kind::Null)).map(|entry| entry.at),
        });
        self.add(key, value.into(), written);
    }

    /// The value of a header, whose name may be written in any case.
    fn header(&mut self, name: &str, value: &str) {
        let written = self.from.and_then(|node| match &node.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(name)),
            _ => None,
        });
        self.add(name, value.into(), written.map(|entry| entry.at));
    }

    fn add(&mut self, key: &str, value: Value, written: Option<Spot>) {
        let from = written.map_or_else(|| "default".to_owned(), |at| self.sources.at(at).to_string());
        self.entries.push((key.to_owned(), Shown::Value(value, from)));
    }

    /// A value that follows from others in this map.
    fn derived(&mut self, key: &str, value: impl Into<Value>, how: &str) {
        self.entries.push((key.to_owned(), Shown::Derived(value.into(), how.to_owned())));
    }

    /// Anything that has a text.
    fn text(&mut self, key: &str, value: &(impl ToString + ?Sized)) {
        self.put(key, value.to_string());
    }

    /// A list of texts, unless it is empty.
    fn texts<T: ToString>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if !texts.is_empty() {
            self.put(key, texts);
        }
    }

    /// A map.
    fn map(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        let from = self.from.and_then(|node| node.get(key)).map(|entry| &entry.value);
        let mut map = Map { from, sources: self.sources, entries: Vec::new() };
        fill(&mut map);
        self.entries.push((key.to_owned(), Shown::Map(map.entries)));
    }

    /// A list of maps, unless it is empty.
    fn maps<T>(&mut self, key: &str, values: &[T], fill: impl Fn(&mut Self, &T)) {
        let nodes = match self.from.and_then(|node| node.get(key)).map(|entry| &entry.value.kind) {
            Some(Kind::List(nodes)) => nodes.as_slice(),
            _ => &[],
        };
        let shown = values.iter().enumerate().map(|(i, value)| {
            let mut map = Map { from: nodes.get(i), sources: self.sources, entries: Vec::new() };
            fill(&mut map, value);
            Shown::Map(map.entries)
        });
        let shown: Vec<_> = shown.collect();
        if !shown.is_empty() {
            self.entries.push((key.to_owned(), Shown::List(shown)));
        }
    }

    /// Whether the file has this key here.
    fn has(&self, key: &str) -> bool {
        self.from.is_some_and(|node| node.get(key).is_some())
    }
}

impl Shown {
    fn write(&self, out: &mut String, depth: usize) {
        let margin = "  ".repeat(depth);
        match self {
            Self::Value(value, from) | Self::Derived(value, from) => {
                let _ = writeln!(out, "{}  # {from}", yaml(value));
            }
            Self::Map(entries) => {
                for (key, value) in entries {
                    let comment = if matches!(value, Self::Derived(..)) { "# " } else { "" };
                    let _ = write!(out, "{margin}{comment}{}:", yaml_text(key));
                    value.write_value(out, depth + 1);
                }
            }
            Self::List(items) => {
                for item in items {
                    let mut text = String::new();
                    item.write(&mut text, depth + 1);
                    // The first line of the item stands behind its dash.
                    let _ = write!(out, "{margin}- {}", text.trim_start());
                }
            }
        }
    }

    fn write_value(&self, out: &mut String, depth: usize) {
        match self {
            Self::Value(..) | Self::Derived(..) => {
                out.push(' ');
                self.write(out, depth);
            }
            Self::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
            Self::Map(_) | Self::List(_) => {
                out.push('\n');
                self.write(out, depth);
            }
        }
    }

    fn flatten(&self, path: &str, flat: &mut serde_json::Map<String, Value>) {
        match self {
            Self::Value(value, from) | Self::Derived(value, from) => {
                flat.insert(path.to_owned(), json!({ "value": value, "from": from }));
            }
            Self::Map(entries) => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    value.flatten(&path, flat);
                }
            }
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    // From 1, as rules are named in answers and logs.
                    item.flatten(&format!("{path}[{}]", i + 1), flat);
                }
            }
        }
    }
}

fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => yaml_text(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(yaml).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text as a YAML scalar: bare if no reader could take it for anything else, otherwise in double quotes.
fn yaml_text(text: &str) -> String {
    let bare = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/'))
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    // JSON's escapes are YAML's too; `${` would be read as an environment variable.
    if bare { text.to_owned() } else { Value::from(text.replace("${", "$${")).to_string() }
}
