//! One mistake at a time: where it is told and in which words.

mod addresses;
mod callers;
mod keys;
mod limits;
mod permissions;
mod values;

use super::*;

/// What is told of `text` beside a service that is right.
fn beside(text: &str) -> Vec<String> {
    told(&load_text(&format!("{SERVICE}{text}")))
}

/// What is told of these lines in a service, from line 6 on, after four spaces.
fn inside(text: &str) -> Vec<String> {
    beside(&indented(text))
}

/// The same with callers known before, in lines 1 and 2.
fn inside_knowing(text: &str) -> Vec<String> {
    let known = "callers: { tiers: { big: { rate: 100/s } }, known: { web: { addresses: [10.0.0.1], tier: big },\n  \
                 office: { addresses: [10.0.0.2] } } }\n";
    let service = SERVICE.replace("    limits: { default: { rate: 10/s } }\n", "");
    told(&load_text(&format!("{known}{service}{}", indented(text))))
}

fn help(text: &str) -> String {
    super::help(&load_text(text))
}
