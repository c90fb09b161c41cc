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
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let workers = if workers.is_empty() { String::new() } else { format!(", {workers}") };
    format!("{}{lines}", SERVICE.replace("9001\"] }", &format!("9001\"]{workers} }}")))
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
    let told = loaded.problems[0].help.clone().unwrap_or_default();
    assert!(!help.is_empty() && told.starts_with(help), "{told}");
}
