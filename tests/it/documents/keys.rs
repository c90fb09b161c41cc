//! The reference of all keys, made from the JSON Schema: a section for each map, a row for each key.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

/// A map of the file, and every place where it may stand.
struct Section<'a> {
    places: Vec<String>,
    map: &'a Value,
}

/// All sections, in the order in which a reader meets them.
struct Walk<'a> {
    schema: &'a Value,
    sections: Vec<Section<'a>>,
    numbers: HashMap<*const Value, usize>,
}

/// The reference as Markdown.
pub(super) fn reference(schema: &Value) -> String {
    let mut walk = Walk { schema, sections: Vec::new(), numbers: HashMap::new() };
    walk.visit(schema, "");
    let mut text = String::new();
    for section in &walk.sections {
        let places: Vec<_> = section.places.iter().map(|place| format!("`{place}`")).collect();
        let title = if section.places[0].is_empty() { "The file".to_owned() } else { places.join(", ") };
        let _ = write!(text, "\n## {title}\n\n{}\n\n", words(section.map));
        text.push_str("| Key | Form | Meaning |\n| --- | --- | --- |\n");
        for (key, of_key) in properties(section.map) {
            let required =
                section.map["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key));
            let needed = if required { " **Required.**" } else { "" };
            let _ = writeln!(text, "| `{key}` | {} | {}{needed} |", walk.form(of_key), cell(&words(of_key)));
        }
    }
    text
}

impl<'a> Walk<'a> {
    /// Notes the map at this place, and then what stands in it.
    fn visit(&mut self, schema: &'a Value, place: &str) {
        let schema = self.resolved(schema);
        if let Some(number) = self.numbers.get(&std::ptr::from_ref(schema)) {
            self.sections[*number].places.push(place.to_owned());
            return;
        }
        if schema["items"].is_object() {
            self.visit(&schema["items"], &format!("{place}[]"));
        }
        if schema["additionalProperties"].is_object() {
            self.visit(&schema["additionalProperties"], &format!("{place}.NAME"));
        }
        if schema["properties"].is_object() {
            self.numbers.insert(schema, self.sections.len());
            self.sections.push(Section { places: vec![place.to_owned()], map: schema });
            for (key, of_key) in properties(schema) {
                self.visit(of_key, format!("{place}.{key}").trim_start_matches('.'));
            }
        }
    }

    /// Without references, and without "or null"; of a text or a map, the map.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        loop {
            if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
                schema = &self.schema["$defs"][name];
            } else if let Some(choices) = schema["anyOf"].as_array() {
                let is_map = |choice: &&Value| choice["properties"].is_object();
                let is_some = |choice: &&Value| choice["type"] != "null";
                schema = choices.iter().find(is_map).or_else(|| choices.iter().find(is_some)).unwrap();
            } else {
                return schema;
            }
        }
    }

    /// What may be written there, in a word or two.
    fn form(&self, schema: &'a Value) -> String {
        let schema = self.resolved(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let words: Vec<_> =
                choices.iter().filter_map(|one| Some(format!("`{}`", one["const"].as_str()?))).collect();
            return words.join(", ");
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
            kind => kind.as_str(),
        };
        match kind {
            Some("array") => format!("list: {}", self.form(&schema["items"])),
            Some("object") if schema["properties"].is_object() => "map".to_owned(),
            Some("object") => "map by name".to_owned(),
            Some("integer") => bounded(schema),
            Some("boolean") => "`true`, `false`".to_owned(),
            _ => kind_of_text(schema["pattern"].as_str().unwrap_or_default()).to_owned(),
        }
    }
}

/// The form of a text, told by its pattern.
fn kind_of_text(pattern: &str) -> &'static str {
    let kinds = [
        ("(s|min|h|d)", "rate"),
        ("(ns|us|ms|s|m|h|d)", "duration"),
        ("(B|KB|KiB", "size"),
        ("{4}-", "date"),
        ("sha256:", "key"),
        ("(/[0-9]+)?$", "network"),
        ("unix:", "address or `unix:/path`"),
        (":[0-9]+$", "address"),
        ("%$", "share"),
        ("^[2-5]", "status, or from one to another"),
        ("^/[!", "path"),
        ("[0-7]", "mode"),
        ("spiffe:", "name in a certificate"),
        ("^[^/]", "host pattern"),
        ("^/", "path pattern"),
    ];
    kinds.iter().find(|(part, _)| pattern.contains(part)).map_or("text", |(_, kind)| kind)
}

fn bounded(schema: &Value) -> String {
    match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(least), Some(most)) => format!("number, {least} to {most}"),
        (Some(least @ 1..), None) => format!("number, at least {least}"),
        _ => "number".to_owned(),
    }
}

fn properties(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map["properties"].as_object().into_iter().flatten()
}

fn words(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// As a cell of a table; a danger stands out.
fn cell(words: &str) -> String {
    words.replace('|', "\\|").replace("Danger:", "**Danger:**")
}
