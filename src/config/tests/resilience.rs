//! Balance, health, capacity, retries and fallback: what is accepted and what it means, then one mistake at a time with
//! its place and its words.

mod balance;
mod capacity;
mod every_key;
mod fallback;
mod health;
mod retries;

use std::time::Duration;

use super::*;
use crate::config::{Balance, Service};

const SECOND: Duration = Duration::from_secs(1);

/// Like [`SERVICE`], with these keys in `workers` (line 4, from column 47) and these lines from line 6 on.
fn text(workers: &str, lines: &str) -> String {
    let workers = if workers.is_empty() { String::new() } else { format!(", {workers}") };
    SERVICE.replace("9001\"] }", &format!("9001\"]{workers} }}")) + &indented(lines)
}

/// The one service of this text, which loads without a word.
fn sound(workers: &str, lines: &str) -> Service {
    let loaded = load_text(&text(workers, lines));
    assert_eq!(loaded.render(), "");
    let (_, service) = loaded.config.unwrap().services.pop_first().unwrap();
    std::sync::Arc::into_inner(service).unwrap()
}

/// One problem: its place and words, and what its help begins with.
fn says(workers: &str, lines: &str, what: &str, help: &str) {
    let loaded = load_text(&text(workers, lines));
    assert_eq!(told(&loaded), [format!("t.yaml:{what}")], "{}", loaded.render());
    let told = super::help(&loaded);
    assert!(!help.is_empty() && told.starts_with(help), "{told}");
}

/// One problem in this line 6: its column, and what its words and its help begin with.
fn begins(line: &str, what: &str, help: &str) {
    let loaded = load_text(&text("", line));
    let found = told(&loaded);
    assert!(found.len() == 1 && found[0].starts_with(&format!("t.yaml:6:{what}")), "{line}: {found:?}");
    let told = super::help(&loaded);
    assert!(told.starts_with(help), "{line}: {told}");
}
