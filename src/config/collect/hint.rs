//! What is said of a key or word that is not known: what was meant, what is expected, what is not built yet.

use super::Misfit;
use crate::config::file::PLANNED;
use crate::config::report::Code;
use crate::config::tree::{Entry, shorten};

/// What is said of everything that later versions will know.
const NOT_BUILT: &str = "is planned but not built in this version";

pub(super) fn unknown(of: &str, fields: &'static [&'static str], entry: &Entry<'_>) -> Misfit {
    let at = entry.at;
    if let Some((key, what)) = planned(of, &entry.key) {
        let text = planned_text(key, what);
        let (message, help) = text.split_once('\n').unwrap_or((&text, ""));
        return Misfit { code: Code::Planned, at, message: message.to_owned(), help: Some(help.to_owned()) };
    }
    let mut help = format!("expected one of {}", listed(fields));
    if entry.key == "<<" {
        help = "merge keys are not read; write the keys out".to_owned();
    } else if let Some(near) = nearest(&entry.key, fields.iter().copied()) {
        help = format!("did you mean `{near}`?\n{help}");
    }
    Misfit {
        code: Code::UnknownKey,
        at,
        message: format!("unknown key `{}`", shorten(&entry.key)),
        help: Some(help),
    }
}

pub(super) fn planned(of: &str, word: &str) -> Option<(&'static str, &'static str)> {
    PLANNED.iter().find(|(name, key, _)| *name == of && *key == word).map(|(_, key, what)| (*key, *what))
}

/// What is said of a word that later versions will know.
pub(super) fn planned_text(word: &str, what: &str) -> String {
    format!("`{}` ({what}) {NOT_BUILT}\nremove it", shorten(word))
}

/// The name that is most like `word`, if any is like it at all.
pub(in crate::config) fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let word = word.to_ascii_lowercase();
    if word.chars().count() > 64 {
        return None;
    }
    names
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1.max(name.chars().count() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
