//! Several files as one tree: `include` is resolved, and what two files both define is an error that names both places.
//!
//! Joined key by key are the file itself, its top-level maps, `callers.known`, `callers.tiers`, `services`, each
//! service and the maps in it but `workers`. The lists `permissions.rules`, `limits.agreements` and `limits.costs` of a
//! service are joined one after another, in the order of the files. Everything else may stand in one file only.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::load::Files;
use super::report::{Code, Collected, Spot};
use super::tree::{Entry, Env, Kind, Node, Places, parse};

/// So many files may be included.
const MOST_FILES: usize = 1_000;

/// The files that `root` includes: their numbers and texts.
pub(super) fn read(root: &Node<'_>, files: &dyn Files, problems: &mut Collected) -> Vec<(u32, String)> {
    let base = problems.sources.at(root.spot).file;
    let base = Path::new(&*base).parent().map(Path::to_owned).unwrap_or_default();
    let mut paths: Vec<(PathBuf, Spot)> = Vec::new();
    for (pattern, at) in patterns(root) {
        for path in matching(&base.join(&pattern), at, files, problems) {
            if let Some((_, other)) = paths.iter().find(|(known, _)| *known == path) {
                let message = format!("{} is already included at {}", path.display(), problems.place(*other));
                problems.error(Code::Include, at, message, Some("include each file once"));
            } else {
                paths.push((path, at));
            }
        }
    }
    if paths.len() > MOST_FILES {
        let at = paths.get(MOST_FILES).map_or(root.spot, |(_, at)| *at);
        problems.error(Code::TooMuch, at, format!("more than {MOST_FILES} files are included"), None);
        paths.truncate(MOST_FILES);
    }
    let mut texts = Vec::with_capacity(paths.len());
    for (path, at) in paths {
        let name = path.display().to_string();
        match files.read(&path) {
            Ok(text) => texts.push((problems.file(&name), text)),
            Err(why) => problems.error(Code::Include, at, format!("{name}: {why}"), None),
        }
    }
    texts
}

/// Joins these files to `root`, one after another.
pub(super) fn join<'t>(
    root: &mut Node<'t>,
    texts: impl Iterator<Item = (u32, &'t str)>,
    env: Env<'_>,
    problems: &mut Collected,
) {
    let mut joining = Joining::default();
    for (number, text) in texts {
        let Some(node) = parse(text, number, env, problems) else { continue };
        if let Some(entry) = node.get("include") {
            let help = "include all files in the first one";
            problems.error(Code::Include, entry.at, "an included file includes others".into(), Some(help));
        }
        joining.join(root, node, problems);
    }
}

/// The patterns under `include`; what is not text is reported when the tree is read.
fn patterns(root: &Node<'_>) -> Vec<(String, Spot)> {
    let Some(Kind::List(items)) = root.get("include").map(|entry| &entry.value.kind) else {
        return Vec::new();
    };
    let text = |node: &Node<'_>| match &node.kind {
        Kind::Text(text) => Some((text.value().to_owned(), node.spot)),
        _ => None,
    };
    items.iter().filter_map(text).collect()
}

/// The files that fit a pattern, by name.
fn matching(pattern: &Path, at: Spot, files: &dyn Files, problems: &mut Collected) -> Vec<PathBuf> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = pattern.parent().map(Path::to_owned).unwrap_or_default();
    if folder.to_string_lossy().contains('*') {
        let message = "`*` may stand only in the last part of the path".to_owned();
        problems.error(Code::Include, at, message, Some("write one line for each folder"));
        return Vec::new();
    }
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let mut names = match files.list(&folder) {
        Ok(names) => names,
        Err(why) => {
            problems.error(Code::Include, at, format!("{}: {why}", folder.display()), None);
            return Vec::new();
        }
    };
    // A leading dot hides a file from shells, and editors leave half-written copies under such names.
    names.retain(|found| !found.starts_with('.') && super::check::glob(&name, found));
    if names.is_empty() {
        let message = format!("no file fits {}", pattern.display());
        problems.warn(
            Code::IncludesNothing,
            at,
            message,
            Some("look at the folder and the ending, or remove it"),
        );
    }
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// What the joining of one file after another keeps.
#[derive(Default)]
struct Joining<'t> {
    /// The keys from the root to the map that is joined now.
    path: Vec<Cow<'t, str>>,
    /// Where in a map each of its keys stands, by the path of the map: there may be very many of both.
    places: HashMap<Vec<Cow<'t, str>>, Places<'t>>,
}

impl<'t> Joining<'t> {
    /// Joins `more` into `node`, which stands at `self.path`.
    fn join(&mut self, node: &mut Node<'t>, more: Node<'t>, problems: &mut Collected) {
        if matches!(node.kind, Kind::Null) {
            *node = more;
            return;
        }
        match (&mut node.kind, more.kind) {
            (_, Kind::Null) => {}
            (Kind::Map(entries), Kind::Map(added)) => {
                // Taken out, since maps inside of this one are joined meanwhile.
                let mut places = self.places.remove(&self.path).unwrap_or_else(|| {
                    entries.iter().enumerate().map(|(place, entry)| (entry.key.clone(), place)).collect()
                });
                for entry in added {
                    match places.get(&entry.key) {
                        Some(place) => self.join_entry(&mut entries[*place], entry, problems),
                        None => {
                            places.insert(entry.key.clone(), entries.len());
                            entries.push(entry);
                        }
                    }
                }
                self.places.insert(self.path.clone(), places);
            }
            (Kind::List(items), Kind::List(added)) => items.extend(added),
            _ => {
                let message = format!("the same key has another form at {}", problems.place(node.spot));
                problems.error(Code::WrongKind, more.spot, message, None);
            }
        }
    }

    /// Joins an entry with the first of its key.
    fn join_entry(&mut self, first: &mut Entry<'t>, entry: Entry<'t>, problems: &mut Collected) {
        if self.path.is_empty() && entry.key == "include" {
            return;
        }
        self.path.push(entry.key);
        if joins(&self.path) {
            self.join(&mut first.value, entry.value, problems);
        } else {
            let (key, first) = (self.path.join("."), problems.place(first.at));
            let message = format!("`{key}` is already defined at {first}");
            problems.error(Code::Duplicate, entry.at, message, Some("keep one of the two"));
        }
        self.path.pop();
    }
}

/// Whether the key at this path may stand in several files.
fn joins(path: &[Cow<'_, str>]) -> bool {
    let path: Vec<_> = path.iter().map(AsRef::as_ref).collect();
    match path.as_slice() {
        [top] => matches!(*top, "admin" | "dns" | "callers" | "services" | "access_log" | "log" | "shutdown"),
        ["callers", map] => matches!(*map, "known" | "tiers"),
        ["services", _] => true,
        ["services", _, map] => matches!(
            *map,
            "socket"
                | "tls"
                | "connections"
                | "health"
                | "capacity"
                | "retries"
                | "retry"
                | "fallback"
                | "permissions"
                | "limits"
                | "timeouts"
                | "bounds"
        ),
        ["services", _, "permissions", "rules"] => true,
        ["services", _, "limits", list] => matches!(*list, "agreements" | "costs"),
        _ => false,
    }
}
