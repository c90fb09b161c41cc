//! The outer side of a service: what is accepted and what it means, then one mistake at a time with its exact words.

mod certificates;
mod connections;
mod every_key;
mod sockets;
mod tls;

use super::*;
use crate::config::{Config, Service};

const TLS: &str =
    "tls: { certificates: [{ chain: a.pem, key: a.key }], client_ca: ca.pem, client_certificate: optional }";

/// The one service of this text, which loads without a word.
fn sound(text: &str) -> Config {
    let loaded = load_text(text);
    assert_eq!(loaded.render(), "");
    loaded.config.unwrap()
}

fn only(config: &Config) -> &Service {
    config.services.values().next().unwrap()
}

/// Like [`SERVICE`], with these lines in the service from line 6 on.
fn with(lines: &str) -> String {
    format!("{SERVICE}{}", indented(lines))
}

fn inside(lines: &str) -> Vec<String> {
    told(&load_text(&with(lines)))
}

/// The first problem: where, what, and what to do.
fn first(text: &str) -> (String, String) {
    let loaded = load_text(text);
    (told(&loaded).into_iter().next().unwrap_or_default(), help(&loaded))
}

fn says(text: &str, what: &str, help: &str) {
    assert_eq!(first(text), (what.to_owned(), help.to_owned()));
    assert_eq!(load_text(text).problems.len(), 1, "{}", load_text(text).render());
}
