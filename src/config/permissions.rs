//! The checked `permissions`: ordered rules and the patterns in them. Judging by them is `admit`'s.

use std::sync::Arc;

use http::Method;

use crate::refusal::RuleRef;

/// `permissions`.
#[derive(Debug)]
pub struct Permissions {
    /// `default`, when no rule matches.
    pub default: Verdict,
    /// The default, as a refusal names it.
    pub default_ref: Arc<RuleRef>,
    /// The rules, in the order written.
    pub rules: Vec<Rule>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
}

/// Whether a rule or limit decides, or only counts and logs what it would have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It decides.
    Enforce,
    /// `mode: shadow`: counted and logged, decides nothing.
    Shadow,
}

/// One permission rule. An empty list matches everything.
#[derive(Debug)]
pub struct Rule {
    /// What it says to a request that it matches.
    pub verdict: Verdict,
    /// Names and patterns of names.
    pub callers: Vec<CallerPattern>,
    /// Tiers, as indices into [`Callers::tiers`](super::Callers::tiers).
    pub tiers: Vec<usize>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Hosts, canonical; `*.` in front stands for one label.
    pub hosts: Vec<HostPattern>,
    /// Path patterns.
    pub paths: Vec<PathPattern>,
    /// It no longer applies at or after this, in seconds since 1970 (UTC).
    pub until: Option<u64>,
    /// Shadow or not.
    pub mode: Mode,
    /// What a refusal says of it.
    pub rule_ref: Arc<RuleRef>,
}

/// The name of a caller, or a pattern of names with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerPattern {
    /// A caller of `known`, by its number: compared without looking at text.
    Known(usize),
    /// A text to compare; `*` stands for any run of characters.
    Glob(Arc<str>),
}

/// A canonical host (lower case, no port, no trailing dot).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(Arc<str>),
    /// `*.example.test`: one label and then this, which starts with a dot.
    OneLabel(Arc<str>),
}

/// A pattern of canonical paths: segments, `*` for one of them, `**` for any rest (also none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// As written, for messages.
    pub written: Arc<str>,
    /// The segments after the leading slash.
    pub segments: Vec<Segment>,
}

/// One segment of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, canonical.
    Literal(Arc<str>),
    /// `*`: exactly one segment, whatever it is.
    One,
    /// `**`: any rest; only last.
    Rest,
}
