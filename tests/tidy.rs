//! The style of this tree, checked by reading its source. Each rule says what it wants instead; what rustfmt and
//! clippy already check stands in `rustfmt.toml`, `clippy.toml` and `Cargo.toml`, not here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop, loudly")]

#[path = "tidy/blanked.rs"]
mod blanked;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use blanked::{BLANK, blanked};

/// The one direction of imports: a folder (or file) of `src/` and what it may name as `crate::…`. Nothing else.
const EDGES: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("shard", &[]),
    ("queue", &[]),
    ("fields", &[]),
    ("message", &["fields"]),
    ("socket", &["config"]),
    ("tls", &["clock", "refusal", "config"]),
    ("refusal", &["fields", "message"]),
    ("config", &["clock", "refusal"]),
    ("admit", &["clock", "shard", "queue", "fields", "refusal", "config", "tls"]),
    ("workers", &["clock", "shard", "queue", "socket", "refusal", "config"]),
    ("record", &["clock", "shard", "fields", "message", "refusal", "config"]),
    ("balance", &["clock", "shard", "refusal", "config", "workers"]),
    (
        "forward",
        &[
            "clock", "shard", "queue", "fields", "message", "socket", "refusal", "config", "workers",
            "record", "balance",
        ],
    ),
    (
        "service",
        &[
            "clock", "shard", "queue", "fields", "message", "socket", "tls", "refusal", "config", "admit",
            "workers", "record", "balance", "forward",
        ],
    ),
    ("inbound", &["*", "service"]),
    ("listen", &["*", "service", "inbound"]),
    ("admin", &["*", "service"]),
    ("lifecycle", &["*", "listen", "service", "inbound", "admin"]),
    ("cli", &["*", "listen", "service", "inbound", "admin", "lifecycle"]),
];

/// What `*` in [`EDGES`] stands for: everything that `service` may name.
const BELOW_SERVICE: &str = "service";

/// Lines of a file before its tests.
const FILE_LINES: usize = 400;

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Columns of a line. rustfmt breaks code after 110; this is for what it leaves alone: comments and macros.
const COLUMNS: usize = 120;

/// Names that say nothing. Name the thing after what it is for.
const BANNED_NAMES: &[&str] =
    &["util", "utils", "types", "helper", "helpers", "common", "misc", "lib2", "stuff"];

/// Where tests may wait by sleeping: in the functions that poll for a condition.
const MAY_SLEEP: &[&str] = &["tests/it/world/wait.rs", "tests/it/srv_bind.rs"];

#[test]
fn the_tree_keeps_its_style() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 20, "found only {} files: this test looks in the wrong place", files.len());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        faults.extend(Source::new(name, &text).faults());
    }
    let changelog = fs::read_to_string(root.join("CHANGELOG.md")).unwrap_or_default();
    if !changelog.lines().any(|line| line.starts_with("## ") && line.contains("Unreleased")) {
        faults
            .push("CHANGELOG.md:1: wants a section `## Unreleased` that tells users what changed".to_owned());
    }
    let mut message = String::new();
    for fault in &faults {
        let _ = writeln!(message, "{fault}");
    }
    assert!(faults.is_empty(), "{} faults of style:\n{message}", faults.len());
}

/// Every `.rs` file below this folder, but not what is built or downloaded.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// One file: its lines as they are, and the same with comments and texts blanked out.
struct Source<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
    code: Vec<String>,
    /// The number of lines before the tests at the end.
    body: usize,
}

impl<'a> Source<'a> {
    fn new(name: &'a str, text: &'a str) -> Self {
        let code: Vec<_> = blanked(text).lines().map(str::to_owned).collect();
        let lines: Vec<_> = text.lines().collect();
        let tests = |i: &usize| {
            code[*i].trim() == "#[cfg(test)]" && code[i + 1..].iter().take(3).any(|line| opens_tests(line))
        };
        let body = if name.ends_with("/tests.rs") || name.contains("/tests/") {
            0
        } else {
            (0..code.len()).find(tests).unwrap_or(code.len())
        };
        Self { name, lines, code, body }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.opening(&mut faults);
        self.names(&mut faults);
        self.lengths(&mut faults);
        self.functions(&mut faults);
        self.words(&mut faults);
        self.silenced_lints(&mut faults);
        if let Some(inside) = self.name.strip_prefix("src/") {
            self.panics(&mut faults);
            self.imports(inside, &mut faults);
        }
        faults
    }

    fn fault(&self, line: usize, wants: &str) -> String {
        format!("{}:{}: {wants}", self.name, line + 1)
    }

    fn opening(&self, faults: &mut Vec<String>) {
        if !self.lines.first().is_some_and(|line| line.starts_with("//! ") && line.len() > 8) {
            faults.push(self.fault(0, "wants a first line `//! …` that says what is here and what is not"));
        }
    }

    fn names(&self, faults: &mut Vec<String>) {
        let stem = |part: &str| part.strip_suffix(".rs").unwrap_or(part).to_owned();
        if let Some(banned) =
            self.name.split('/').map(stem).find(|part| BANNED_NAMES.contains(&part.as_str()))
        {
            faults
                .push(self.fault(0, &format!("`{banned}` says nothing: name the file after what it is for")));
        }
        for (i, line) in self.code.iter().enumerate() {
            let module = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            let Some(module) = module.strip_prefix("mod ") else { continue };
            let module = module.trim_end_matches([';', ' ', '{']);
            if BANNED_NAMES.contains(&module) {
                faults.push(
                    self.fault(i, &format!("`mod {module}` says nothing: name it after what it is for")),
                );
            }
        }
    }

    fn lengths(&self, faults: &mut Vec<String>) {
        if self.body > FILE_LINES {
            let wants = format!(
                "{} lines before its tests, wants at most {FILE_LINES}: split it by concept",
                self.body
            );
            faults.push(self.fault(FILE_LINES, &wants));
        }
        let mut skipped = false;
        for (i, line) in self.lines.iter().enumerate() {
            skipped = (skipped && !line.starts_with([']', '}', ')'])) || line.contains("#[rustfmt::skip]");
            let columns = line.chars().count();
            // A long text is forgiven: nobody can break it.
            let without_texts = self.code[i].chars().filter(|c| *c != BLANK).count();
            let long_text = self.code[i].contains('"') && without_texts <= COLUMNS;
            if columns > COLUMNS && !skipped && !long_text {
                faults.push(
                    self.fault(i, &format!("{columns} columns, wants at most {COLUMNS}: break the line")),
                );
            }
        }
    }

    fn functions(&self, faults: &mut Vec<String>) {
        let mut i = 0;
        while i < self.code.len() {
            if let Some(name) = function_name(&self.code[i])
                && let Some(end) = self.end_of_block(i)
                && end - i + 1 > FUNCTION_LINES
            {
                let lines = end - i + 1;
                let wants = format!(
                    "`fn {name}` has {lines} lines, wants at most {FUNCTION_LINES}: give its steps names of their own"
                );
                faults.push(self.fault(i, &wants));
            }
            i += 1;
        }
    }

    /// The line on which the block ends whose `{` is the first from line `start`; none if a `;` comes first.
    fn end_of_block(&self, start: usize) -> Option<usize> {
        let (mut braces, mut brackets) = (0_usize, 0_usize);
        for (i, line) in self.code.iter().enumerate().skip(start) {
            for c in line.chars() {
                match c {
                    '(' | '[' => brackets += 1,
                    ')' | ']' => brackets = brackets.saturating_sub(1),
                    ';' if braces == 0 && brackets == 0 => return None,
                    '{' => braces += 1,
                    '}' if braces <= 1 => return Some(i),
                    '}' => braces -= 1,
                    _ => {}
                }
            }
        }
        None
    }

    fn words(&self, faults: &mut Vec<String>) {
        // Put together here, so that this file does not find itself.
        let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
        let unwritten = [concat!("todo", "!("), concat!("unimpl", "emented!("), concat!("db", "g!(")];
        for (i, line) in self.lines.iter().enumerate() {
            if let Some(word) = unfinished.iter().find(|word| line.contains(**word)) {
                faults.push(
                    self.fault(i, &format!("`{word}`: do it now, or write an issue and say nothing here")),
                );
            }
            let code = &self.code[i];
            if let Some(word) = unwritten.iter().find(|word| code.contains(**word)) {
                faults.push(self.fault(i, &format!("`{word}…)`: write what it stands for")));
            }
            if code.contains("#[ignore") {
                faults.push(self.fault(i, "`#[ignore]`: make the test run everywhere, or delete it"));
            }
            let sleeps = code.contains("thread::sleep") || code.contains("time::sleep");
            if sleeps && self.name.starts_with("tests/it") && !MAY_SLEEP.contains(&self.name) {
                faults.push(self.fault(i, "a sleep: wait for the event with `eventually(what, condition)`"));
            }
            if code.contains("fn test_") {
                faults.push(self.fault(i, "`test_…`: name the test after the behaviour, as a sentence"));
            }
        }
    }

    fn silenced_lints(&self, faults: &mut Vec<String>) {
        for (i, line) in self.code.iter().enumerate() {
            let opens = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
            if !opens.iter().any(|open| line.contains(open)) {
                continue;
            }
            let end = (i..self.code.len()).find(|j| self.code[*j].contains(")]")).unwrap_or(i);
            if !self.code[i..=end].iter().any(|line| line.contains("reason =")) {
                faults.push(self.fault(i, "a lint is silenced without a word: add `reason = \"…\"`"));
            }
        }
    }

    /// `unwrap` and `expect` outside tests, unless the lines above say why they cannot fail.
    fn panics(&self, faults: &mut Vec<String>) {
        for i in 0..self.body {
            let line = &self.code[i];
            if !line.contains(".unwrap()") && !line.contains(".expect(") {
                continue;
            }
            let explained = |line: &str| line.contains("Cannot fail:") || line.contains("allow(clippy::");
            if !self.lines[i.saturating_sub(4)..=i].iter().any(|line| explained(line)) {
                let wants = "may panic: return the error or give a default; if it really cannot, \
                             say why above it in a comment `// Cannot fail: …`";
                faults.push(self.fault(i, wants));
            }
        }
    }

    fn imports(&self, inside: &str, faults: &mut Vec<String>) {
        let folder = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if folder == "lib" || folder == "main" {
            return;
        }
        let Some(allowed) = allowed(folder) else {
            faults.push(self.fault(
                0,
                &format!("`src/{folder}` is not in the table EDGES of tests/tidy.rs: give it a place"),
            ));
            return;
        };
        for i in 0..self.body {
            for target in self.named_from(i) {
                if target != folder && !allowed.contains(&target.as_str()) {
                    let wants = format!(
                        "`{folder}` may not name `crate::{target}`: imports point one way (EDGES in tests/tidy.rs); \
                         hand the value in from above, or move the code"
                    );
                    faults.push(self.fault(i, &wants));
                }
            }
        }
    }

    /// The modules named as `crate::x` on this line, or in the `crate::{…}` that begins on it.
    fn named_from(&self, i: usize) -> Vec<String> {
        let mut named = Vec::new();
        for after in self.code[i].split("crate::").skip(1) {
            if let Some(group) = after.strip_prefix('{') {
                let rest: String = self.code[i + 1..].iter().take(30).map(String::as_str).collect();
                named.extend(first_names(&format!("{group}{rest}")));
            } else {
                named.push(word(after));
            }
        }
        named.retain(|name| EDGES.iter().any(|(known, _)| known == name));
        named
    }
}

fn opens_tests(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("mod tests")
        || line.starts_with("pub(crate) mod tests")
        || line.starts_with("mod properties")
}

/// What this folder may name; none if it has no place in the table.
fn allowed(folder: &str) -> Option<Vec<&'static str>> {
    let of = |name: &str| EDGES.iter().find(|(known, _)| *known == name).map(|(_, targets)| *targets);
    let mut targets = of(folder)?.to_vec();
    if targets.contains(&"*") {
        targets.extend(of(BELOW_SERVICE)?);
    }
    Some(targets)
}

/// The first word of each entry of a group `a::b, c::{d, e}, f}`, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut at_start, mut names) = (0, true, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return names,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && (c.is_alphanumeric() || c == '_') => {
                names.push(word(&group[i..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The name of the function that is declared on this line of code.
fn function_name(line: &str) -> Option<String> {
    let at = line.find("fn ")?;
    let before = line[..at].chars().last();
    let name = word(&line[at + 3..]);
    (before.is_none_or(|c| c == ' ') && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::Source;

    /// The faults of a file of this name with this text after a good first line.
    fn faults(name: &str, text: &str) -> Vec<String> {
        Source::new(name, &format!("//! What is here.\n{text}")).faults()
    }

    #[track_caller]
    fn one(name: &str, text: &str, wants: &str) {
        let faults = faults(name, text);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains(wants), "{faults:?}");
    }

    #[test]
    fn a_clean_file_has_no_faults() {
        let text = "use crate::clock::Moment;\n\nfn f<'a>(c: &'a str) -> char {\n    // {\n    '{'\n}\n";
        assert_eq!(faults("src/admit/mod.rs", text), [""; 0]);
    }

    #[test]
    fn a_file_without_an_opening_line_is_found() {
        let faults = Source::new("src/clock.rs", "use std::fmt;\n").faults();
        assert!(faults[0].starts_with("src/clock.rs:1: wants a first line"), "{faults:?}");
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        one("src/forward/utils.rs", "", "`utils` says nothing");
        one("src/forward/mod.rs", "pub(crate) mod helpers;\n", "src/forward/mod.rs:2: `mod helpers`");
    }

    #[test]
    fn imports_against_the_direction_are_found() {
        one("src/admit/mod.rs", "use crate::workers::Worker;\n", "`admit` may not name `crate::workers`");
        one("src/clock.rs", "fn f() -> crate::config::Config {}\n", "`clock` may not name `crate::config`");
        one("src/config/mod.rs", "use crate::{refusal::RuleRef,\n    shard::Count};\n", "`crate::shard`");
        one("src/attic/mod.rs", "", "`src/attic` is not in the table");
        let groups = "use crate::{clock::{Moment, shard}, refusal};\n";
        assert_eq!(faults("src/workers/mod.rs", groups), [""; 0]);
        assert_eq!(faults("src/cli/run.rs", "use crate::lifecycle;\nuse crate::admit;\n"), [""; 0]);
    }

    #[test]
    fn tests_may_name_anything_and_unwrap() {
        let text = "#[cfg(test)]\nmod tests {\n    use crate::workers::X;\n    fn f() { g().unwrap(); }\n}\n";
        assert_eq!(faults("src/admit/mod.rs", text), [""; 0]);
    }

    #[test]
    fn long_files_functions_and_lines_are_found() {
        one("src/clock.rs", &"\n".repeat(400), "401 lines before its tests");
        let body = "    g();\n".repeat(69);
        one("src/clock.rs", &format!("fn f() {{\n{body}}}\n"), "`fn f` has 71 lines");
        one("src/clock.rs", &format!("fn {}() {{}}\n", "f".repeat(130)), "columns, wants at most 120");
        one("src/clock.rs", &format!("// {}\n", "f".repeat(130)), "columns, wants at most 120");
        assert_eq!(faults("src/clock.rs", &format!("static A: &str = \"{}\";\n", "f".repeat(200))), [""; 0]);
    }

    #[test]
    fn braces_in_texts_and_characters_do_not_count() {
        let text = "fn f() {\n    g(\"{\\\"{\", r#\"{\"{\"#, '{', '\\'', b'{');\n}\n".to_owned()
            + &"// x\n".repeat(80);
        assert_eq!(faults("src/clock.rs", &text), [""; 0]);
    }

    #[test]
    fn panics_outside_tests_are_found_unless_explained() {
        one("src/clock.rs", "fn f() { g().unwrap() }\n", "src/clock.rs:2: may panic");
        one("src/clock.rs", "fn f() { g().expect(\"x\") }\n", "may panic");
        assert_eq!(
            faults("src/clock.rs", "// Cannot fail: it is a constant.\nfn f() { g().expect(\"x\") }\n"),
            [""; 0]
        );
        assert_eq!(faults("src/clock.rs", "/// Calls `.unwrap()`.\nfn f() { g().unwrap_or(1) }\n"), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_found() {
        one("src/clock.rs", concat!("// TO", "DO later\n"), "write an issue");
        one("src/clock.rs", concat!("fn f() { todo", "!() }\n"), "write what it stands for");
        one("tests/it/a.rs", "#[ignore]\nfn f() {}\n", "make the test run everywhere");
    }

    #[test]
    fn sleeping_tests_are_found() {
        one("tests/it/a.rs", "fn f() { std::thread::sleep(x) }\n", "wait for the event");
        one("tests/it/a.rs", "fn f() { tokio::time::sleep(x) }\n", "wait for the event");
        assert_eq!(faults("tests/it/world/wait.rs", "fn f() { std::thread::sleep(x) }\n"), [""; 0]);
    }

    #[test]
    fn a_lint_silenced_without_a_reason_is_found() {
        one("src/clock.rs", "#[allow(dead_code)]\nfn f() {}\n", "silenced without a word");
        let reason = "#[allow(\n    dead_code,\n    reason = \"why\"\n)]\nfn f() {}\n";
        assert_eq!(faults("src/clock.rs", reason), [""; 0]);
    }
}
