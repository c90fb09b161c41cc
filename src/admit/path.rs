//! One canonical form of a request target's path. The rules judge it and the worker gets it, so the two can never
//! read one request in two ways. What could be read in two ways is refused here, not repaired.
//!
//! The form (RFC 3986 section 6.2.2 and a few rules of our own):
//!
//! - Percent-encoded unreserved characters are decoded, the hex digits of all others are upper-cased. Reserved ones
//!   stay encoded (`%2C` is not `,`). Visible ASCII that RFC 3986 does not allow in a path (`"<>^{|}` and the
//!   backquote) is percent-encoded.
//! - Doubled slashes are merged, then dot segments removed, also when written `%2e`. Above the root is refused.
//! - Refused: an encoded slash, backslash or NUL, a raw backslash, control characters, spaces, `#`, `?`, bytes above
//!   0x7F, broken percent-encoding, and dot segments with parameters (`..;x`, `%2e%2e%3Bx`), which some servers read
//!   as `..` and others as a name. So are parameters of nothing before the last segment: `/;/admin` is `/admin` to
//!   servers that drop parameters first and merge slashes then.
//! - Other `;parameters` stay: workers may use them. Rules see through them, see [`super::pattern`].
//!
//! Not here: the query, which is passed on as it came.

use std::borrow::Cow;
use std::fmt;

use http::Method;

use crate::refusal::{Reason, Refusal};

/// A request target that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A canonical path.
    Path(Cow<'a, str>),
    /// `*`: the server as a whole; only with OPTIONS (RFC 9112 section 3.2.4).
    Asterisk,
}

impl Target<'_> {
    /// What rules see: the path, or `*`, which no path pattern but `/**` matches.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Path(path) => path,
            Self::Asterisk => "*",
        }
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It does not start with a slash.
    NotAbsolute,
    /// A byte that no path may hold: control characters, space, `#`, `?`, above 0x7F.
    ForbiddenByte,
    /// A backslash, raw or encoded.
    Backslash,
    /// `%2F`.
    EncodedSlash,
    /// `%00` or another encoded control character.
    EncodedControl,
    /// `%` without two hex digits.
    BrokenEncoding,
    /// `..` above the root.
    AboveRoot,
    /// A dot segment with parameters.
    DotParameters,
    /// An empty segment with parameters that is not the last.
    EmptyParameters,
}

impl PathFault {
    /// In words, for the log and the body.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not start with a slash",
            Self::ForbiddenByte => "the path holds a byte that must be percent-encoded",
            Self::Backslash => "the path holds a backslash",
            Self::EncodedSlash => "the path holds an encoded slash",
            Self::EncodedControl => "the path holds an encoded control character",
            Self::BrokenEncoding => "the path holds a percent sign without two hex digits",
            Self::AboveRoot => "the path leads above the root",
            Self::DotParameters => "the path holds a dot segment with parameters",
            Self::EmptyParameters => "the path holds an empty segment with parameters",
        }
    }

    /// The refusal: 400.
    pub const fn refusal(self) -> Refusal {
        Refusal::new(Reason::BadRequest, self.detail())
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

/// The target of a request: [`canonical`], or `*` if the method is OPTIONS.
///
/// # Errors
/// As [`canonical`].
pub fn target<'a>(method: &Method, raw: &'a str) -> Result<Target<'a>, PathFault> {
    match raw {
        "*" if *method == Method::OPTIONS => Ok(Target::Asterisk),
        _ => canonical(raw).map(Target::Path),
    }
}

/// The canonical form of a path without its query. Borrowed if `raw` is in that form already, which takes one scan
/// for all but unusual paths.
///
/// # Errors
/// A [`PathFault`] if the path is malformed or ambiguous.
pub fn canonical(raw: &str) -> Result<Cow<'_, str>, PathFault> {
    if !raw.starts_with('/') {
        return Err(PathFault::NotAbsolute);
    }
    if is_plain(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let built = rebuild(raw)?;
    Ok(if built == raw { Cow::Borrowed(raw) } else { Cow::Owned(built) })
}

/// Whether nothing in it needs a second look. May say no to canonical paths, never yes to others.
fn is_plain(raw: &[u8]) -> bool {
    // To its end in any case: nearly all are plain, and without a branch for each byte that is sooner known.
    let (mut odd, mut before) = (0, 0);
    for byte in raw {
        let look = LOOK[usize::from(*byte)];
        odd |= look & (ODD | (before & SLASH) >> 1);
        before = look;
    }
    odd == 0
}

fn rebuild(raw: &str) -> Result<String, PathFault> {
    let mut out = String::with_capacity(raw.len() + 16);
    // Doubled slashes merge: empty segments but the last say nothing.
    let mut segments = raw.as_bytes()[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let start = out.len();
        out.push('/');
        push_segment(&mut out, segment)?;
        let segment = &out[start + 1..];
        if !last && starts_parameters(segment) {
            return Err(PathFault::EmptyParameters);
        }
        match dot_segment(segment)? {
            Dot::None if out.len() == start + 1 && !last => out.truncate(start),
            Dot::None => {}
            Dot::Here => out.truncate(start),
            Dot::Up => {
                out.truncate(start);
                let parent = out.rfind('/').ok_or(PathFault::AboveRoot)?;
                out.truncate(parent);
            }
        }
        // A dot segment at the end names a directory: "/a/." is "/a/".
        if last && out.len() <= start {
            out.push('/');
        }
    }
    Ok(out)
}

enum Dot {
    None,
    Here,
    Up,
}

/// Whether a decoded segment is `.` or `..`; either with parameters is refused.
fn dot_segment(segment: &str) -> Result<Dot, PathFault> {
    let rest = segment.trim_start_matches('.');
    let dots = segment.len() - rest.len();
    match (dots, rest) {
        (1, "") => Ok(Dot::Here),
        (2, "") => Ok(Dot::Up),
        (1 | 2, rest) if starts_parameters(rest) => Err(PathFault::DotParameters),
        _ => Ok(Dot::None),
    }
}

fn starts_parameters(text: &str) -> bool {
    text.starts_with(';') || text.starts_with("%3B")
}

fn push_segment(out: &mut String, segment: &[u8]) -> Result<(), PathFault> {
    let mut at = 0;
    while let Some(&byte) = segment.get(at) {
        at += 1;
        match KIND[usize::from(byte)] {
            PLAIN | SEMICOLON => out.push(char::from(byte)),
            ENCODE => push_encoded(out, byte),
            PERCENT => {
                let digits = segment.get(at..at + 2).ok_or(PathFault::BrokenEncoding)?;
                at += 2;
                push_decoded(out, hex(digits[0])? << 4 | hex(digits[1])?)?;
            }
            _ if byte == b'\\' => return Err(PathFault::Backslash),
            _ => return Err(PathFault::ForbiddenByte),
        }
    }
    Ok(())
}

fn push_decoded(out: &mut String, byte: u8) -> Result<(), PathFault> {
    match byte {
        b'/' => Err(PathFault::EncodedSlash),
        b'\\' => Err(PathFault::Backslash),
        0..=0x1F | 0x7F => Err(PathFault::EncodedControl),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(byte));
            Ok(())
        }
        _ => {
            push_encoded(out, byte);
            Ok(())
        }
    }
}

fn push_encoded(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn hex(digit: u8) -> Result<u8, PathFault> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathFault::BrokenEncoding),
    }
}

const FORBIDDEN: u8 = 0;
const PLAIN: u8 = 1;
const SEMICOLON: u8 = 2;
const PERCENT: u8 = 3;
const ENCODE: u8 = 4;

/// What each byte is in a path (RFC 3986 section 3.3).
const KIND: [u8; 256] = {
    let mut kind = [FORBIDDEN; 256];
    let mut byte = 0;
    while byte < 128 {
        kind[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => PLAIN,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => PLAIN,
            b';' => SEMICOLON,
            b'%' => PERCENT,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']' => ENCODE,
            _ => FORBIDDEN,
        };
        byte += 1;
    }
    kind
};

/// It may stand in no plain path.
const ODD: u8 = 1;
/// It may stand in one, but not behind a slash.
const NOT_BEHIND_SLASH: u8 = 2;
/// A slash: half of it is [`NOT_BEHIND_SLASH`].
const SLASH: u8 = 4;

/// What each byte says of whether a path is plain.
const LOOK: [u8; 256] = {
    let mut look = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        look[byte] = match byte as u8 {
            b'/' => SLASH | NOT_BEHIND_SLASH,
            b'.' => NOT_BEHIND_SLASH,
            _ if KIND[byte] == PLAIN => 0,
            _ => ODD,
        };
        byte += 1;
    }
    look
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(raw: &str) -> String {
        canonical(raw).unwrap().into_owned()
    }

    /// All of up to two bytes behind a slash, and behind a name.
    #[test]
    fn what_is_plain_is_canonical() {
        let ascii = || (0..128).map(char::from);
        let pairs = ascii().flat_map(|one| ascii().map(move |other| format!("{one}{other}")));
        for text in ascii().map(String::from).chain(pairs) {
            for raw in [format!("/{text}"), format!("/a{text}")] {
                if is_plain(raw.as_bytes()) {
                    assert_eq!(rebuild(&raw).as_deref(), Ok(&*raw));
                }
            }
        }
        assert!(is_plain(b"/v1/a.b/") && !is_plain(b"/.") && !is_plain("/\u{fc}".as_bytes()));
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        for raw in [
            "/",
            "/a",
            "/a/b.c/d-e_f~g",
            "/a/",
            "/search/x=1,2@3:4",
            "/.well-known/x",
            "/...",
            "/a;v=1/b",
            "/;jsessionid=1",
        ] {
            assert!(matches!(canonical(raw), Ok(Cow::Borrowed(same)) if same == raw), "{raw}");
        }
    }

    #[test]
    fn the_same_resource_has_one_form() {
        for (raw, want) in [
            ("/%61dmin", "/admin"),
            ("/%7euser/%2d", "/~user/-"),
            ("/a%c3%a4", "/a%C3%A4"),
            ("//a///b", "/a/b"),
            ("//", "/"),
            ("/a//", "/a/"),
            ("/./a/./b/.", "/a/b/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/.", "/"),
            ("/a//../b", "/b"),
            ("/x/%2e%2E/admin", "/admin"),
            ("/x/.%2e/admin", "/admin"),
            ("/{id}|\"<>^`", "/%7Bid%7D%7C%22%3C%3E%5E%60"),
            ("/[x]", "/%5Bx%5D"),
            ("/%252e", "/%252e"),
            ("/a%2Cb%3bc", "/a%2Cb%3Bc"),
        ] {
            assert_eq!(form(raw), want, "{raw}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        use PathFault as F;
        for (raw, fault) in [
            ("", F::NotAbsolute),
            ("a/b", F::NotAbsolute),
            ("*", F::NotAbsolute),
            ("/a%2fb", F::EncodedSlash),
            ("/a%5Cb", F::Backslash),
            ("/a\\b", F::Backslash),
            ("/%00", F::EncodedControl),
            ("/%0d%0a", F::EncodedControl),
            ("/%7f", F::EncodedControl),
            ("/a b", F::ForbiddenByte),
            ("/a#b", F::ForbiddenByte),
            ("/a?b", F::ForbiddenByte),
            ("/a\tb", F::ForbiddenByte),
            ("/ä", F::ForbiddenByte),
            ("/%", F::BrokenEncoding),
            ("/%2", F::BrokenEncoding),
            ("/%zz", F::BrokenEncoding),
            ("/a%/bc", F::BrokenEncoding),
            ("/..", F::AboveRoot),
            ("/a/../..", F::AboveRoot),
            ("/%2e%2e/etc", F::AboveRoot),
            ("/a/..;/b", F::DotParameters),
            ("/a/.;x/b", F::DotParameters),
            ("/a/%2e%2e;x", F::DotParameters),
            ("/a/..%3bx", F::DotParameters),
            ("/;/admin", F::EmptyParameters),
            ("/a//;x=1/admin", F::EmptyParameters),
            ("/%3b/admin", F::EmptyParameters),
        ] {
            assert_eq!(canonical(raw), Err(fault), "{raw}");
        }
    }

    #[test]
    fn the_asterisk_is_for_options_only() {
        assert_eq!(target(&Method::OPTIONS, "*"), Ok(Target::Asterisk));
        assert_eq!(target(&Method::GET, "*"), Err(PathFault::NotAbsolute));
        assert_eq!(target(&Method::OPTIONS, "/a").unwrap().as_str(), "/a");
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_gets_a_form_that_stays(raw in "(/|\\.|%2[eEfF]|%[0-9a-fA-F]{2}|;|%|\\\\|[ -~]|\\PC){0,24}") {
            if let Ok(once) = canonical(&raw) {
                prop_assert!(once.starts_with('/'));
                prop_assert!(!once.contains("//"));
                prop_assert!(once.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
                let twice = canonical(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(text) = std::str::from_utf8(&raw) {
                let _ = canonical(text);
            }
            let rooted = format!("/{}", String::from_utf8_lossy(&raw));
            let _ = canonical(&rooted);
        }
    }
}
