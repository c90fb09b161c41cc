//! One request head: the request line (RFC 9112 section 3) and what its fields say about framing (sections 3.2 and 6).
//! Whether the Host is a valid one, and agrees with the target, is judged later.

use std::ops::Range;

use super::bytes::{TOKEN, UNWISE, run, target_run};
use super::fields::{Fields, Found};
use super::{Bad, FieldSpan, HeadFacts, MethodKind, Spans, WireBounds};
use crate::refusal::Reason;

/// The longest body that a head may announce. Many a worker counts bytes with a sign.
const LONGEST_BODY: u64 = i64::MAX as u64;

/// A method, in bytes. The longest one that is registered has 17; whoever sends more wants to fill logs and rules
/// (RFC 9112 section 3 lets a server refuse it).
const LONGEST_METHOD: usize = 64;

/// A head on its way. Positions count from its first byte.
#[derive(Debug, Default)]
pub(super) struct Head {
    place: Place,
    looked: usize,
    line: RequestLine,
    fields: Fields,
    framing: Framing,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// The method, or the one empty line that may stand in front (RFC 9112 section 2.2).
    #[default]
    Start,
    /// The LF of that empty line.
    EmptyLineFeed,
    /// The method.
    Method,
    /// The target.
    Target,
    /// The version and the CRLF behind it.
    Version,
    /// The fields.
    Fields,
}

#[derive(Debug, Default)]
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    version: usize,
}

/// What the fields said so far.
#[derive(Debug, Default)]
struct Framing {
    version_10: bool,
    has_host: bool,
    content_length: Option<u64>,
    chunked: bool,
    expects_continue: bool,
}

impl Head {
    /// No byte of a request line is here.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.place, Place::Start | Place::EmptyLineFeed)
    }

    /// Where the method stands; empty before its end is known.
    pub(super) const fn method(&self) -> Range<usize> {
        self.line.method.start..self.line.method.end
    }

    /// Where the target stands; empty before its end is known.
    pub(super) const fn target(&self) -> Range<usize> {
        self.line.target.start..self.line.target.end
    }

    /// The length of the head and what it says; none if more bytes are needed.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        bounds: &WireBounds,
        spans: &mut Spans,
    ) -> Result<Option<(usize, HeadFacts)>, Bad> {
        let window = &bytes[..bytes.len().min(bounds.head_bytes)];
        let in_line = !matches!(self.place, Place::Fields);
        if self.scan_line(window, bounds)? {
            if in_line {
                (spans.method, spans.target) = (self.method(), self.target());
                spans.fields.clear();
            }
            loop {
                match self.fields.next(window, &mut self.looked, bounds.head_fields)? {
                    Found::Field { name, value } => {
                        self.framing.note(&window[name.clone()], &window[value.clone()], value.start)?;
                        spans.fields.push(FieldSpan { name, value });
                    }
                    Found::End => return self.finish(window).map(Some),
                    Found::More => break,
                }
            }
        }
        if window.len() == bounds.head_bytes {
            let detail = "the head is longer than allowed";
            return Err(Bad { at: window.len(), reason: Reason::HeadTooLarge, detail });
        }
        Ok(None)
    }

    /// Reads on to the end of the request line; true once it is complete.
    fn scan_line(&mut self, window: &[u8], bounds: &WireBounds) -> Result<bool, Bad> {
        while let Some(&byte) = window.get(self.looked) {
            let at = self.looked;
            match self.place {
                Place::Start if byte == b'\r' && at == 0 => {
                    self.place = Place::EmptyLineFeed;
                    self.looked += 1;
                }
                Place::EmptyLineFeed if byte == b'\n' => {
                    self.place = Place::Start;
                    self.looked += 1;
                }
                Place::EmptyLineFeed => return bad(at, "a carriage return without a line feed"),
                Place::Start => {
                    self.line.method = at..at;
                    self.place = Place::Method;
                }
                Place::Method => self.scan_method(window)?,
                Place::Target => self.scan_target(window, bounds)?,
                Place::Version => self.scan_version(window, byte)?,
                Place::Fields => return Ok(true),
            }
        }
        Ok(matches!(self.place, Place::Fields))
    }

    fn scan_method(&mut self, window: &[u8]) -> Result<(), Bad> {
        self.looked += run(&window[self.looked..], &TOKEN);
        let at = self.looked;
        if at - self.line.method.start > LONGEST_METHOD {
            return bad(self.line.method.start + LONGEST_METHOD, "the method is longer than any that exists");
        }
        match window.get(at) {
            None => {}
            Some(b' ') if at > self.line.method.start => {
                self.line.method.end = at;
                self.line.target = at + 1..at + 1;
                self.place = Place::Target;
                self.looked += 1;
            }
            Some(b'\n') => return bad(at, "a line ends with a bare line feed"),
            Some(_) => return bad(at, "this does not begin like an HTTP request"),
        }
        Ok(())
    }

    fn scan_target(&mut self, window: &[u8], bounds: &WireBounds) -> Result<(), Bad> {
        self.looked += target_run(&window[self.looked..]);
        let (at, start) = (self.looked, self.line.target.start);
        if at - start > bounds.uri_bytes {
            let at = start + bounds.uri_bytes;
            return Err(Bad { at, reason: Reason::UriTooLong, detail: "the target is longer than allowed" });
        }
        match window.get(at) {
            None => {}
            Some(b' ') if at > start => {
                self.line.target.end = at;
                self.line.version = at + 1;
                self.place = Place::Version;
                self.looked += 1;
            }
            Some(b' ') => return bad(at, "no request target, or two blanks before it"),
            Some(b'#') => return bad(at, "a fragment in the request target"),
            Some(b'\r' | b'\n') => return bad(at, "a request line without a version"),
            Some(_) => return bad(at, "a control or non-ASCII byte in the request target"),
        }
        Ok(())
    }

    fn scan_version(&mut self, window: &[u8], byte: u8) -> Result<(), Bad> {
        // What nearly all say, at once.
        let usual = self.looked == self.line.version && window[self.looked..].starts_with(b"HTTP/1.1\r\n");
        let byte = if usual { b'\n' } else { byte };
        self.looked += if usual { 9 } else { 0 };
        let at = self.looked;
        let expected = match at - self.line.version {
            place @ 0..=4 => byte == b"HTTP/"[place],
            5 | 7 => byte.is_ascii_digit(),
            6 => byte == b'.',
            8 => byte == b'\r',
            _ => byte == b'\n',
        };
        match byte {
            _ if expected => {}
            b'\n' => return bad(at, "a line ends with a bare line feed"),
            _ => return bad(at, "the request line does not end with a version and CRLF"),
        }
        if at == self.line.version + 9 {
            self.judge_line(window).map_err(|(reason, detail)| Bad { at, reason, detail })?;
            self.place = Place::Fields;
        }
        self.looked += 1;
        Ok(())
    }

    /// Version, method and form of the target, in this order.
    fn judge_line(&mut self, window: &[u8]) -> Result<(), (Reason, &'static str)> {
        self.framing.version_10 = match &window[self.line.version + 5..self.line.version + 8] {
            b"1.1" => false,
            b"1.0" => true,
            _ => return Err((Reason::HttpVersion, "the request names another version of HTTP")),
        };
        let method = &window[self.method()];
        match method {
            b"CONNECT" => return Err((Reason::MethodRefused, "CONNECT is never forwarded")),
            b"TRACE" => return Err((Reason::MethodRefused, "TRACE is never forwarded")),
            _ => {}
        }
        judge_target(&window[self.target()], method).map_err(|detail| (Reason::BadRequest, detail))
    }

    fn finish(&self, window: &[u8]) -> Result<(usize, HeadFacts), Bad> {
        let framing = &self.framing;
        if !framing.has_host && !framing.version_10 {
            return Err(Bad::request(self.looked - 1, "no Host header"));
        }
        let has_body = framing.chunked || framing.content_length.is_some_and(|length| length > 0);
        let facts = HeadFacts {
            version_10: framing.version_10,
            method: method_kind(&window[self.method()]),
            content_length: framing.content_length,
            chunked: framing.chunked,
            expect_continue: framing.expects_continue && has_body && !framing.version_10,
        };
        Ok((self.looked, facts))
    }
}

impl Framing {
    /// Notes a field whose value stands at `at`.
    fn note(&mut self, name: &[u8], value: &[u8], at: usize) -> Result<(), Bad> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            4 if is("host") => {
                if self.has_host {
                    return bad(at, "more than one Host header");
                }
                self.has_host = true;
            }
            6 if is("expect") => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            14 if is("content-length") => {
                if self.content_length.is_some() {
                    return bad(at, "more than one Content-Length header");
                }
                let Some(length) = decimal(value) else { return bad(at, "Content-Length is not one number") };
                self.content_length = Some(length);
            }
            17 if is("transfer-encoding") => {
                if self.chunked {
                    return bad(at, "more than one Transfer-Encoding header");
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return bad(at, "Transfer-Encoding is not exactly chunked");
                }
                if self.version_10 {
                    return bad(at, "Transfer-Encoding in an HTTP/1.0 request");
                }
                self.chunked = true;
            }
            _ => return Ok(()),
        }
        if self.chunked && self.content_length.is_some() {
            return bad(at, "both Content-Length and Transfer-Encoding");
        }
        Ok(())
    }
}

/// The four forms of RFC 9112 section 3.2, without the one for CONNECT.
fn judge_target(target: &[u8], method: &[u8]) -> Result<(), &'static str> {
    match target {
        [b'/', ..] if !target.iter().any(|&byte| UNWISE[usize::from(byte)]) => Ok(()),
        [b'/', ..] => is_readable(target).then_some(()).ok_or("a byte that no request target may have"),
        b"*" if method == b"OPTIONS" => Ok(()),
        b"*" => Err("only OPTIONS may have * as its target"),
        _ => {
            let has_scheme = ["http://", "https://"].iter().any(|scheme| {
                target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
            });
            if !has_scheme {
                return Err("the request target is neither a path nor an http URI");
            }
            is_readable(target).then_some(()).ok_or("the request target is not a valid URI")
        }
    }
}

/// Whether it can be held as what it is behind this file.
fn is_readable(target: &[u8]) -> bool {
    http::Uri::try_from(target).is_ok()
}

fn method_kind(method: &[u8]) -> MethodKind {
    match method {
        b"GET" => MethodKind::Get,
        b"HEAD" => MethodKind::Head,
        b"POST" => MethodKind::Post,
        b"PUT" => MethodKind::Put,
        b"PATCH" => MethodKind::Patch,
        b"DELETE" => MethodKind::Delete,
        b"OPTIONS" => MethodKind::Options,
        _ => MethodKind::Other,
    }
}

/// Digits only, no sign, no list (RFC 9110 section 8.6), and at most [`LONGEST_BODY`].
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let number = value.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    });
    number.filter(|number| *number <= LONGEST_BODY)
}

const fn bad<T>(at: usize, detail: &'static str) -> Result<T, Bad> {
    Err(Bad::request(at, detail))
}
