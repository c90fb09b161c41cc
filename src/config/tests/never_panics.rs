//! Whatever stands in a file, loading it ends with a configuration or with an error, never with a panic.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const VALID: [&str; 7] = [
    include_str!("../../../tests/it/contract/one-port.yaml"),
    include_str!("../../../tests/it/contract/discovery.yaml"),
    include_str!("../../../tests/it/contract/edge.yaml"),
    include_str!("../../../conf/buckler.yaml"),
    include_str!("../../../conf/examples/edge.yaml"),
    include_str!("../../../tests/it/contract/workers.yaml"),
    include_str!("../../../conf/examples/workers.yaml"),
];

/// Pieces that hurt: other kinds, other units, other characters.
const PIECES: [&str; 24] = [
    "",
    "\n",
    "  ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "&a ",
    "*a",
    "!t ",
    "~",
    "${X}",
    "99999999999999999999",
    "0/s",
    "**",
    "\u{fc}\u{0}",
    "1h30",
    "101%",
    "299-200",
    "ring",
    "grpc",
];

fn ends(text: &str) {
    let loaded = load_str("t.yaml", text, &NoFiles, today(), &|_| None);
    assert_eq!(loaded.config.is_none(), loaded.errors().count() > 0, "{}", loaded.render());
    assert_eq!(loaded.render().is_empty(), loaded.problems.is_empty());
    if let Some(effective) = loaded.effective() {
        let yaml = effective.to_yaml();
        let again = load_text(&yaml);
        assert_eq!(again.errors().count(), 0, "{}\n{yaml}", again.render());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_mutated_file_never_panics(
        which in 0..VALID.len(),
        edits in proptest::collection::vec((any::<Index>(), 0..PIECES.len(), 0..12_usize), 1..6),
    ) {
        let mut text: Vec<char> = VALID[which].chars().collect();
        for (place, piece, removed) in edits {
            let from = place.index(text.len().max(1)).min(text.len());
            let to = (from + removed).min(text.len());
            text.splice(from..to, PIECES[piece].chars());
        }
        ends(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_text_at_all_never_panics(text in "\\PC{0,200}") {
        ends(&text);
    }
}

#[test]
fn a_line_that_only_yaml_sees_is_an_error() {
    let text = "admin: {}\rlog: {}\nsecret: 'web-secret'\r\n";
    let loaded = load_text(text);
    assert_eq!(told(&loaded), ["t.yaml:1:10: a carriage return without a line feed"]);
    assert!(!loaded.render().contains("web-secret"), "{}", loaded.render());
    let windows = load_text("log: {}\r\nbogus: 1\r\n");
    assert!(told(&windows).contains(&"t.yaml:2:1: unknown key `bogus`".to_owned()), "{}", windows.render());
}

#[test]
fn too_deep_too_large_and_too_many_aliases_are_errors() {
    let deep = format!("log: {}{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(told(&load_text(&deep)), ["t.yaml:1:38: nested more than 32 levels deep"]);
    let bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n";
    let loaded = load_text(bomb);
    assert_eq!(told(&loaded), ["t.yaml:4:26: aliases stand for more than 10000 values"]);
    let large = " ".repeat(9 << 20);
    assert_eq!(told(&load_text(&large)), ["t.yaml:0:0: is larger than 8 MiB"]);
}
