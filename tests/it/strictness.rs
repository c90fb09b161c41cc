//! The table of raw-bytes cases in `tests/strictness`, played against Buckler: what clients and workers must see by
//! RFC 9110, 9112 and 9113. Here: which groups must pass. The cases, and what plays them, are Python;
//! `benches/strictness` runs the same table against nginx and HAProxy.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// What must pass. Each group is a part of the table, named by the first word of its cases.
const GROUPS: &str = "smuggling,syntax,semantics,forwarding,rules,limits,upstream,slow,upgrade,h2,workers";

/// What cannot pass yet, and why.
const KNOWN: &[(&str, &str)] = &[(
    "workers.pseudo-of-requests",
    "the h2 crate drops a `:path` in an answer, where RFC 9113 section 8.3 wants the answer to be malformed",
)];

/// The table is large enough to be worth its name.
const FEWEST: usize = 1100;

#[test]
fn every_case_of_the_table_ends_as_the_standard_allows() {
    // The other tests run beside this one: nothing may fail for being late.
    let known: Vec<_> = KNOWN.iter().map(|(id, _)| *id).collect();
    let again = ["--patience", "5", "--again", "--known", &known.join(",")];
    let (code, played, report) = play(&[&["--group", GROUPS][..], &again].concat());
    assert_eq!(code, Some(0), "{report}");
    assert!(played.len() >= FEWEST, "only {} cases were played", played.len());
    let failed: BTreeSet<_> =
        played.iter().filter(|(_, passed)| !passed).map(|(id, _)| id.as_str()).collect();
    let known: BTreeSet<_> = known.into_iter().collect();
    assert!(failed == known, "failed: {failed:#?}\nknown: {known:#?}\n{report}");
}

/// Runs the command against the binary under test: its exit code, each case with whether it passed, and what it says
/// of those that failed.
fn play(arguments: &[&str]) -> (Option<i32>, Vec<(String, bool)>, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("benches/strictness"))
        .args(["--peers", "buckler", "--buckler", env!("CARGO_BIN_EXE_buckler"), "--json", "-"])
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let results: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let mut played = Vec::new();
    let mut report = text(&output.stderr);
    for case in results["buckler"].as_array().into_iter().flatten() {
        let passed = case["passed"] == true;
        if !passed {
            report.push_str(&format!("{case:#}\n"));
        }
        played.push((case["id"].as_str().unwrap_or_default().to_owned(), passed));
    }
    (output.status.code(), played, report)
}
