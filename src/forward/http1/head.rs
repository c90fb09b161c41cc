//! The head of a worker's answer over HTTP/1.1, out of the bytes that came: one reading, and everything that could be
//! read in two ways is refused (RFC 9112 sections 4, 5 and 6.3). The body behind it is `body.rs`'s business.

use http::header::{self, HeaderName};
use http::{Method, StatusCode, Version};

use super::body::Framing;
use super::lines::{self, Found, Line, StatusLine};
use crate::fields::{FieldSpan, Fields};
use crate::forward::{Answer, headers};
use crate::message::{Response, ResponseHead};

/// Fields that an answer's head may have.
pub(super) const FIELDS_MOST: usize = 100;
/// Of so many the places are noted before they are put down together.
const RUN: usize = 8;
/// The longest name of a field, in bytes: what a map can hold, should it have to go on in one.
const NAME_MOST: usize = (1 << 16) - 1;

/// What a worker's bytes are if they are no answer: told to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad(pub &'static str);

pub(super) const NOT_HTTP: Bad =
    Bad("the worker's answer is not HTTP/1.1, or its head is longer than `bounds.response_head_bytes`");
const TWO_WAYS: Bad =
    Bad("the worker's answer has a transfer coding besides `chunked`, or a list of lengths");

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status, from 100 to 999.
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The fields without those of this hop, which 101 alone keeps: there they are the answer.
    pub fields: Fields,
    /// The words behind the status, if they are not those that everybody uses.
    pub reason: Option<Box<[u8]>>,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the worker keeps the connection for another request.
    pub keeps: bool,
    /// How long it says that it keeps it idle, in seconds: the `timeout` of a `Keep-Alive` field.
    pub idle_seconds: Option<u64>,
}

impl Head {
    /// Whether another answer follows to the same request.
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// The answer, as the client gets it, with this for its body.
    pub(in crate::forward) fn with(self, answer: Answer) -> Response<Answer> {
        let Self { status, reason, fields, .. } = self;
        Response { head: ResponseHead { status, reason, fields }, body: answer }
    }
}

/// Reads the head that `bytes` begin with, an answer to a request of this `method`, of at most `most` bytes; its length
/// stands beside it. None: it is not all here.
///
/// # Errors
/// It is no head of HTTP/1.1, too long, or its framing can be read in two ways.
pub fn read(bytes: &[u8], method: &Method, most: usize) -> Result<Option<(Head, usize)>, Bad> {
    match read_within(&bytes[..bytes.len().min(most)], method)? {
        None if bytes.len() > most => Err(NOT_HTTP),
        head => Ok(head),
    }
}

fn read_within(bytes: &[u8], method: &Method) -> Result<Option<(Head, usize)>, Bad> {
    let Some(StatusLine { version, status, reason, end }) = StatusLine::read(bytes)? else { return Ok(None) };
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let (mut said, mut goes_on) = (Said::default(), GoesOn::of(bytes));
    let (mut at, mut fields) = (end, 0);
    let length = loop {
        match lines::line(bytes, at)? {
            Found::Field(Line { field, is_plain, next }) => {
                if fields == FIELDS_MOST || field.name.len() > NAME_MOST {
                    return Err(NOT_HTTP);
                }
                (at, fields) = (next, fields + 1);
                if said.hear(&bytes[field.name.clone()], &bytes[field.value.clone()])? || switches {
                    goes_on.with(field, is_plain);
                } else {
                    goes_on.put_down();
                }
            }
            Found::End(end) => break end,
            Found::More => return Ok(None),
        }
    };
    goes_on.put_down();
    let mut fields = std::mem::take(&mut goes_on.fields);
    if !switches && !said.nominated.is_empty() {
        said.nominated.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        said.nominated.dedup();
        said.nominated.iter().for_each(|name| fields.remove(name.as_str()));
    }
    if said.chunked {
        // The chunks frame the message, so a length beside them is a lie.
        fields.remove("content-length");
    }
    let is_usual = status.canonical_reason().is_some_and(|usual| usual.as_bytes() == reason);
    let reason = (!is_usual).then(|| reason.into());
    let framing = said.framing(method, status, version)?;
    let keeps =
        framing != Framing::UntilClose && !said.close && (version == Version::HTTP_11 || said.keep_alive);
    let idle_seconds = said.idle_seconds;
    Ok(Some((Head { status, version, fields, reason, framing, keeps, idle_seconds }, length)))
}

/// The fields that go on. Plain lines that follow each other are put down together: as nearly every worker writes them,
/// that is one copy.
struct GoesOn<'a> {
    bytes: &'a [u8],
    fields: Fields,
    run: [FieldSpan; RUN],
    held: usize,
}

impl<'a> GoesOn<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let run = [const { FieldSpan { name: 0..0, value: 0..0 } }; RUN];
        Self { bytes, fields: Fields::new(), run, held: 0 }
    }

    fn with(&mut self, field: FieldSpan, is_plain: bool) {
        if !is_plain || self.held == RUN {
            self.put_down();
        }
        if is_plain {
            self.run[self.held] = field;
            self.held += 1;
        } else {
            self.fields.push(&self.bytes[field.name], &self.bytes[field.value]);
        }
    }

    fn put_down(&mut self) {
        self.fields.read(self.bytes, &self.run[..self.held], true);
        self.held = 0;
    }
}

/// Whether the end of a head is among these bytes, of which the first `known` were looked at before.
pub(super) fn has_end(bytes: &[u8], known: usize) -> bool {
    let fresh = &bytes[known.saturating_sub(2).min(bytes.len())..];
    // A line may end without its CR (RFC 9112 section 2.2).
    fresh.windows(2).any(|two| two == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
}

/// What the fields say of the message itself and of the hop that it came by.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    idle_seconds: Option<u64>,
    /// Further fields of this hop, as `Connection` names them.
    nominated: Vec<HeaderName>,
}

impl Said {
    /// Takes notice of a field. False: it is not for the client (RFC 9110 section 7.6.1), or was said before.
    fn hear(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Bad> {
        let is = |other: &[u8]| ends(name) == ends(other);
        // By length first: most names are of none of these.
        Ok(match name.len() {
            10 if is(b"connection") => {
                self.hear_options(value);
                false
            }
            10 if is(b"keep-alive") => {
                self.idle_seconds = self.idle_seconds.or_else(|| headers::keep_alive_timeout(value));
                false
            }
            14 if is(b"content-length") => self.hear_length(value)?,
            16 if is(b"x-buckler-caller") => false,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(TWO_WAYS);
                }
                self.chunked = true;
                false
            }
            _ => !headers::is_of_one_hop(name),
        })
    }

    fn hear_options(&mut self, list: &[u8]) {
        match list {
            b"keep-alive" => self.keep_alive = true,
            b"close" => self.close = true,
            _ => list.split(|byte| *byte == b',').for_each(|option| self.hear_option(option.trim_ascii())),
        }
    }

    fn hear_option(&mut self, option: &[u8]) {
        if option.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if let Ok(name) = HeaderName::from_bytes(option)
            && name != header::CONTENT_LENGTH
            && name != header::HOST
        {
            // How long the message is, nobody can take away.
            self.nominated.push(name);
        }
    }

    fn hear_length(&mut self, value: &[u8]) -> Result<bool, Bad> {
        let wrong = || if value.contains(&b',') { TWO_WAYS } else { NOT_HTTP };
        let length = digits(value).ok_or_else(wrong)?;
        match self.length.replace(length) {
            Some(before) if before != length => Err(NOT_HTTP),
            before => Ok(before.is_none()),
        }
    }

    /// RFC 9112 section 6.3, in its order.
    fn framing(&self, method: &Method, status: StatusCode, version: Version) -> Result<Framing, Bad> {
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if *method == Method::HEAD || bodiless || status.is_informational() {
            return Ok(Framing::None);
        }
        match (self.chunked, self.length) {
            (true, _) if version == Version::HTTP_10 => Err(NOT_HTTP),
            (true, _) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::UntilClose),
        }
    }
}

/// Whether a field of this name says nothing of the message or the hop, whatever its value: nothing hears it but the
/// client.
pub(super) fn says_nothing(name: &[u8]) -> bool {
    let heard: [&[u8]; 2] = [b"content-length", b"x-buckler-caller"];
    !headers::is_of_one_hop(name) && !heard.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The first and the last eight bytes of a word in any case: all of it, if it has 8 to 16. The bit makes letters lower,
/// and nothing else that may stand in a head a letter or a hyphen.
#[inline(always)]
fn ends(word: &[u8]) -> [Option<u64>; 2] {
    [word.first_chunk(), word.last_chunk()]
        .map(|eight| eight.map(|eight| u64::from_le_bytes(*eight) | 0x2020_2020_2020_2020))
}

/// A number of decimal digits and nothing else, up to 2^63 - 1.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    let digit = |sum: u64, byte: &u8| {
        let value = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(value)
    };
    let number = text.iter().try_fold(0, digit).filter(|_| !text.is_empty())?;
    (number <= i64::MAX as u64).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, method: &Method) -> Result<Option<Head>, Bad> {
        Ok(super::read(text.as_bytes(), method, 1024)?.map(|(head, _)| head))
    }

    fn framing(fields: &str) -> Result<Framing, Bad> {
        let head = read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), &Method::GET)?;
        Ok(head.expect("it is complete").framing)
    }

    #[test]
    fn a_head_is_taken_and_what_follows_it_stays() {
        let fields = "X-A:  b \r\nset-cookie: 1\r\nset-cookie: 2\r\ncontent-length: 2\r\n";
        let text = format!("HTTP/1.1 404 Gone Fishing\r\n{fields}\r\nhi");
        let (head, length) = super::read(text.as_bytes(), &Method::GET, 1024).unwrap().unwrap();
        assert_eq!((head.status.as_u16(), head.version, head.keeps), (404, Version::HTTP_11, true));
        let want = "x-a: b\r\nset-cookie: 1\r\nset-cookie: 2\r\ncontent-length: 2\r\n";
        assert_eq!(head.fields.as_lines(), want.as_bytes());
        assert_eq!(head.reason.as_deref(), Some(&b"Gone Fishing"[..]));
        assert_eq!((head.framing, &text[length..]), (Framing::Length(2), "hi"));
    }

    #[test]
    fn the_framing_is_that_of_the_standard() {
        for (fields, expected) in [
            ("content-length: 5", Framing::Length(5)),
            ("content-length: 5\r\ncontent-length: 5", Framing::Length(5)),
            ("transfer-encoding: chunked", Framing::Chunked),
            ("Transfer-Encoding: Chunked\r\ncontent-length: 9", Framing::Chunked),
            ("x: y", Framing::UntilClose),
        ] {
            assert_eq!(framing(fields), Ok(expected), "{fields}");
        }
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(read(text, &Method::HEAD).unwrap().unwrap().framing, Framing::None);
        for status in [101, 103, 204, 304] {
            let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n");
            assert_eq!(read(&text, &Method::GET).unwrap().unwrap().framing, Framing::None, "{status}");
        }
    }

    #[test]
    fn a_length_that_stands_twice_goes_on_once() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n";
        let head = read(text, &Method::GET).unwrap().unwrap();
        assert_eq!(head.fields.get_all("content-length").count(), 1);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 5",
            "content-length: 5,",
            "content-length:",
            "content-length: +5",
            "content-length: -5",
            "content-length: 0x5",
            "content-length: 5 5",
            "content-length: 18446744073709551616",
            "content-length: 9223372036854775808",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked,",
            "transfer-encoding: identity",
            "transfer-encoding:",
            "x: a\0b",
            "x: a\rb",
            "x : a",
            "x: a\r\n b",
            "no colon",
            ": a",
        ] {
            assert!(framing(fields).is_err(), "{fields:?}");
        }
        for text in [
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "SSH-2.0-OpenSSH",
            "Hello",
        ] {
            assert!(read(text, &Method::GET).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_belongs_to_this_hop_goes_no_further() {
        let hop = "connection: X-Hop, content-length\r\nx-hop: 1\r\nkeep-alive: max=9, timeout=7\r\nte: a\r\n\
                   upgrade: x\r\nproxy-connection: a\r\nproxy-authenticate: a\r\nx-buckler-caller: root\r\n";
        let end = "transfer-encoding: chunked\r\ncontent-length: 3\r\nx-end: 1\r\n";
        let head = read(&format!("HTTP/1.1 200 OK\r\n{hop}{end}\r\n"), &Method::GET).unwrap().unwrap();
        assert_eq!(head.fields.as_lines(), b"x-end: 1\r\n");
        assert_eq!(head.idle_seconds, Some(7));
        let head = read(&format!("HTTP/1.1 200 OK\r\n{hop}content-length: 3\r\n\r\n"), &Method::GET);
        assert_eq!(head.unwrap().unwrap().fields.get("content-length"), Some(&b"3"[..]));
        // There it is what the answer is about.
        let switch = "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(read(switch, &Method::GET).unwrap().unwrap().fields.len(), 2);
    }

    #[test]
    fn what_is_heard_goes_no_further_exactly_if_it_is_of_this_hop() {
        for name in [
            "te",
            "upgrade",
            "connection",
            "keep-alive",
            "http2-settings",
            "proxy-connection",
            "transfer-encoding",
            "proxy-authenticate",
            "proxy-authorization",
            "x-buckler-caller",
            "x-buckler-other",
            "content-length",
            "date",
            "server",
            "location",
            "set-cookie",
            "etag",
            "www-authenticate",
            "ratelimit-policy",
            "trailer",
        ] {
            let value: &[u8] = match name {
                "content-length" => b"5",
                _ => b"chunked",
            };
            let goes = headers::is_of_one_hop(name.as_bytes()) || name == headers::CALLER;
            assert_eq!(Said::default().hear(name.as_bytes(), value), Ok(!goes), "{name}");
        }
    }

    #[test]
    fn a_connection_is_kept_unless_one_of_its_words_is_close() {
        let keeps = |version: &str, fields: &str| {
            let text = format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n{fields}\r\n\r\n");
            read(&text, &Method::GET).unwrap().unwrap().keeps
        };
        assert!(
            !read("HTTP/1.1 200 OK\r\n\r\n", &Method::GET).unwrap().unwrap().keeps,
            "its close is the end"
        );
        assert!(
            keeps("1.1", "x: y")
                && keeps("1.1", "connection: x, y")
                && keeps("1.0", "connection: Keep-Alive")
        );
        assert!(!keeps("1.0", "x: y") && !keeps("1.1", "connection: keep-alive\r\nconnection: x, Close"));
        assert!(!keeps("1.0", "connection: close, keep-alive"));
    }

    #[test]
    fn bytes_and_fields_are_bounded() {
        let most = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1024 - 24));
        assert_eq!(most.len(), 1024);
        assert!(read(&most, &Method::GET).unwrap().is_some());
        let more = most.replace("x:", "xx:");
        assert!(read(&more, &Method::GET).is_err());
        assert!(read(&more[..1024], &Method::GET).unwrap().is_none());
        assert!(read(&more[..1025], &Method::GET).is_err());
        let fields = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(read(&fields(FIELDS_MOST), &Method::GET).unwrap().is_some());
        assert!(read(&fields(FIELDS_MOST + 1), &Method::GET).is_err());
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_it_is_cut() {
        for head in
            ["HTTP/1.1 200 OK\r\na: b\r\n\r\nbody", "HTTP/1.1 200 OK\na: b\n\nbody", "H\r\n\n", "H\n\r\n"]
        {
            let end = head.find("body").unwrap_or(head.len());
            let mut known = 0;
            for length in 1..=head.len() {
                let found = has_end(&head.as_bytes()[..length], known);
                assert!(found == (length == end) || length > end, "{head:?} {length}");
                known = length;
            }
        }
    }
}
