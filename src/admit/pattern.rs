//! How rules compare: path patterns, host patterns and globs of caller names, all in time linear in the text.
//!
//! Paths are compared segment by segment in their canonical form ([`super::path`]), with case. A literal segment also
//! matches the same segment with `;parameters` behind it (`/admin;x` is `/admin` to many workers, so it is to the
//! rules), unless the pattern itself holds a `;`. A trailing slash is a last, empty segment: `/admin` and `/admin/` are
//! two paths; `/admin/**` matches both.
//!
//! Reserved characters that may stand in a segment either way (`@` and `%40`) stay as they came for the worker, but are
//! one character to the rules: most workers decode them, and a denied `/users/@me` is then also `/users/%40me`.

use std::borrow::Cow;

use crate::config::{HostPattern, PathPattern, Segment};

/// Whether the canonical `path` matches.
pub fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    // `*` (OPTIONS *) has no segments: only a pattern of everything matches it.
    let Some(path) = path.strip_prefix('/') else { return matches!(pattern.segments[..], [Segment::Rest]) };
    // What is left of the path: None after its last segment.
    let mut rest = Some(path);
    for segment in &pattern.segments {
        rest = match (segment, rest) {
            (Segment::Rest, _) => return true,
            (_, None) => return false,
            (Segment::One, Some(text)) if text.is_empty() || text.starts_with('/') => return false,
            (Segment::One, Some(text)) => behind_segment(text),
            (Segment::Literal(literal), Some(text)) => match behind_literal(literal, text) {
                Some(rest) => rest,
                None => return false,
            },
        };
    }
    match rest {
        None => true,
        // The pattern `/` written as no segment at all.
        Some(left) => pattern.segments.is_empty() && left.is_empty(),
    }
}

/// Whether any matches; an empty list matches everything.
pub fn any_path(patterns: &[PathPattern], path: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| path_matches(pattern, path))
}

/// Whether the canonical `host` matches.
pub fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(exact) => **exact == *host,
        HostPattern::OneLabel(suffix) => {
            host.strip_suffix(&**suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
        }
    }
}

/// Whether `text` matches `glob`, in which `*` stands for any run of characters, also none.
///
/// Each run of plain characters takes the first place where it fits, which leaves the most room for those behind it:
/// nothing is ever tried twice, so the time is linear.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let mut pieces = glob.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return text.is_empty() };
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// What stands behind the first segment of `text`, if that is `literal`. Most patterns fail at their first bytes, so
/// the text is compared before its segment's end is looked for.
fn behind_literal<'a>(literal: &str, text: &'a str) -> Option<Option<&'a str>> {
    let rest = text.strip_prefix(literal).or_else(|| behind_spelling(literal, text))?;
    match rest.as_bytes() {
        [] => Some(None),
        [b'/', ..] => Some(Some(&rest[1..])),
        _ if next(rest.as_bytes()).0 == b';' && !holds_semicolon(literal) => Some(behind_segment(rest)),
        _ => None,
    }
}

/// What stands behind `literal` if `text` starts with another spelling of it.
fn behind_spelling<'a>(literal: &str, text: &'a str) -> Option<&'a str> {
    let (mut wanted, mut at) = (literal.as_bytes(), 0);
    while !wanted.is_empty() {
        let rest = text.as_bytes().get(at..).filter(|rest| !rest.is_empty())?;
        let ((want, wide), (have, taken)) = (next(wanted), next(rest));
        if want != have {
            return None;
        }
        wanted = &wanted[wide..];
        at += taken;
    }
    text.get(at..)
}

/// A segment of a canonical path or of a pattern as rules tell them apart: with one spelling of every character, and
/// without parameters. If a literal matches a segment, both are the same here; not always the other way round.
pub(super) fn plain_segment(segment: &str) -> Cow<'_, [u8]> {
    let bytes = segment.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b';')) {
        return Cow::Borrowed(bytes);
    }
    let (mut plain, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while !rest.is_empty() {
        let (byte, taken) = next(rest);
        if byte == b';' {
            break;
        }
        plain.push(byte);
        rest = &rest[taken..];
    }
    Cow::Owned(plain)
}

fn holds_semicolon(literal: &str) -> bool {
    literal.contains(';') || literal.contains("%3B")
}

/// The first character of a canonical text that is not empty, and how many bytes spell it. Encoded ones that mean
/// something else than themselves (`%3F` is no `?`) count as their single bytes.
fn next(text: &[u8]) -> (u8, usize) {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if let [b'%', high, low, ..] = *text
        && let (Some(high), Some(low)) = (digit(high), digit(low))
        && b"!$&'()*+,;=:@".contains(&(high << 4 | low))
    {
        return (high << 4 | low, 3);
    }
    (text[0], 1)
}

fn behind_segment(text: &str) -> Option<&str> {
    text.split_once('/').map(|(_, rest)| rest)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pattern as the configuration makes it.
    pub(crate) fn pattern(written: &str) -> PathPattern {
        let segments = written[1..].split('/').map(|segment| match segment {
            "*" => Segment::One,
            "**" => Segment::Rest,
            literal => Segment::Literal(literal.into()),
        });
        PathPattern { written: written.into(), segments: segments.collect() }
    }

    #[test]
    fn path_patterns_match_whole_segments() {
        for (written, path, want) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/admin", "/admin", true),
            ("/admin", "/administrator", false),
            ("/admin", "/admin/", false),
            ("/admin", "/Admin", false),
            ("/admin/", "/admin/", true),
            ("/admin/**", "/admin", true),
            ("/admin/**", "/admin/", true),
            ("/admin/**", "/admin/a/b", true),
            ("/admin/**", "/administrator", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/**", "*", true),
            ("/*", "*", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/*", "/a/", false),
            ("/a/*", "/a", false),
            ("/a/*/**", "/a/b", true),
            ("/a/*/**", "/a", false),
        ] {
            assert_eq!(path_matches(&pattern(written), path), want, "{written} against {path}");
        }
    }

    #[test]
    fn parameters_do_not_hide_a_segment_from_a_rule() {
        assert!(path_matches(&pattern("/admin/**"), "/admin;x=1/users"));
        assert!(path_matches(&pattern("/admin"), "/admin;"));
        assert!(!path_matches(&pattern("/admin;v=1"), "/admin"));
        assert!(!path_matches(&pattern("/admin;v=1"), "/admin;v=1;w"));
        assert!(path_matches(&pattern("/admin;v=1"), "/admin;v=1"));
    }

    #[test]
    fn an_encoded_reserved_character_does_not_hide_a_segment_from_a_rule() {
        for (written, path, want) in [
            ("/users/@me", "/users/%40me", true),
            ("/users/%40me", "/users/@me", true),
            ("/users/@me/**", "/users/%40me%3Bx/keys", true),
            ("/users/@me", "/users/%40mee", false),
            ("/admin/**", "/admin%3Bx/users", true),
            ("/admin", "/admin%3F", false),
            ("/a?", "/a%3F", false),
            ("/a,b", "/a%2", false),
            ("/a,", "/a", false),
            ("/admin%3Bv=1", "/admin", false),
            ("/admin;v=1", "/admin%3Bv%3D1", true),
        ] {
            assert_eq!(path_matches(&pattern(written), path), want, "{written} against {path}");
        }
    }

    #[test]
    fn a_star_in_a_host_is_one_label() {
        let one = HostPattern::OneLabel(".example.test".into());
        assert!(host_matches(&one, "a.example.test"));
        assert!(!host_matches(&one, "a.b.example.test"));
        assert!(!host_matches(&one, "example.test"));
        assert!(!host_matches(&one, ".example.test"));
        assert!(host_matches(&HostPattern::Exact("a".into()), "a"));
    }

    #[test]
    fn globs_match_runs_of_characters() {
        for (glob, text, want) in [
            ("address:10.*", "address:10.1.2.3", true),
            ("address:10.*", "address:110.1.2.3", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*", "abc", true),
            ("a**c", "abc", true),
            ("*ab", "aab", true),
            ("x*ab*ab", "xab", false),
        ] {
            assert_eq!(glob_matches(glob, text), want, "{glob} against {text}");
        }
    }

    fn slow_glob(glob: &[u8], text: &[u8]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| slow_glob(rest, &text[skip..])),
            Some((byte, rest)) => {
                text.split_first().is_some_and(|(first, text)| first == byte && slow_glob(rest, text))
            }
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_the_plain_definition(glob in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(glob_matches(&glob, &text), slow_glob(glob.as_bytes(), text.as_bytes()));
        }
    }
}
