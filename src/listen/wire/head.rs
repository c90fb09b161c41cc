//! One request head: the request line (RFC 9112 section 3) and what its fields say about framing (sections 3.2 and 6).
//! Whether the Host is a valid one, and agrees with the target, is judged later.
//!
//! It is read part by part: method, target, version, then line by line. A part that is here as a whole is read in one
//! run; one that is not is read on from where it was looked at, once there is more of it.

use std::ops::Range;

use super::fields::{Fields, Found};
use super::last::Last;
use super::{Bad, HeadFacts, MethodKind, Spans, WireBounds, target};
use crate::fields::octets::{target_run, token_run};
use crate::refusal::Reason;

/// The longest body that a head may announce. Many a worker counts bytes with a sign.
const LONGEST_BODY: u64 = i64::MAX as u64;

/// A method, in bytes. The longest one that is registered has 17; whoever sends more wants to fill logs and rules
/// (RFC 9112 section 3 lets a server refuse it).
const LONGEST_METHOD: usize = 64;

/// A version with the CRLF behind it, in bytes.
const VERSION_BYTES: usize = 10;

/// A head on its way. Positions count from its first byte; those of the fields from the first one.
#[derive(Debug)]
pub(super) struct Head {
    place: Place,
    method: Range<usize>,
    target: Target,
    fields: Fields,
    has_host: bool,
    facts: HeadFacts,
}

/// The part that is read next.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The one empty line that may stand in front (RFC 9112 section 2.2).
    Start,
    /// The method.
    Method,
    /// The target.
    Target,
    /// The version and the CRLF behind it.
    Version,
    /// The fields, if they are those of the head before.
    Again,
    /// The fields.
    Fields,
}

/// A target as far as it is here.
#[derive(Debug)]
struct Target {
    begin: usize,
    end: usize,
    /// It has a byte that should have been encoded.
    unwise: bool,
}

impl Head {
    /// One of which nothing is here.
    pub(super) const fn new() -> Self {
        Self {
            place: Place::Start,
            method: 0..0,
            target: Target { begin: 0, end: 0, unwise: false },
            fields: Fields::at(0),
            has_host: false,
            facts: HeadFacts {
                version_10: false,
                method: MethodKind::Other,
                content_length: None,
                chunked: false,
                expect_continue: false,
            },
        }
    }

    /// No byte of a request line is here.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.place, Place::Start)
    }

    /// Where the method stands; empty before its end is known.
    pub(super) const fn method(&self) -> Range<usize> {
        self.method.start..self.method.end
    }

    /// Where the target stands; empty before its end is known.
    pub(super) const fn target(&self) -> Range<usize> {
        match self.place {
            Place::Version | Place::Again | Place::Fields => self.target.begin..self.target.end,
            _ => self.target.begin..self.target.begin,
        }
    }

    /// What it says, once its length is known.
    pub(super) const fn facts(&self) -> HeadFacts {
        self.facts
    }

    /// The length of the head; none if more bytes are needed.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        bounds: &WireBounds,
        spans: &mut Spans,
        last: &mut Last,
    ) -> Result<Option<usize>, Bad> {
        let window = &bytes[..bytes.len().min(bounds.head_bytes)];
        let length = self.read(window, bounds, spans, last)?;
        if length.is_none() && window.len() == bounds.head_bytes {
            let detail = "the head is longer than allowed";
            return Err(Bad { at: window.len(), reason: Reason::HeadTooLarge, detail });
        }
        Ok(length)
    }

    /// Reads on part by part, and says where the head ends. A part that is complete leads to the next one.
    fn read(
        &mut self,
        window: &[u8],
        bounds: &WireBounds,
        spans: &mut Spans,
        last: &mut Last,
    ) -> Result<Option<usize>, Bad> {
        let line_again = matches!(self.place, Place::Start) && self.begins_again(window, spans, last);
        let lacks_more = matches!(self.place, Place::Start) && !self.read_start(window)?
            || matches!(self.place, Place::Method) && !self.read_method(window)?
            || matches!(self.place, Place::Target) && !self.read_target(window, bounds)?
            || matches!(self.place, Place::Version) && !self.read_version(window, spans)?;
        if lacks_more {
            return Ok(None);
        }
        let begin = spans.section;
        let Some(section) = window.get(begin..) else { return Ok(None) };
        if matches!(self.place, Place::Again) {
            if let Some(length) = last.again(section, &mut self.facts) {
                // The spans of the fields are those of the head before too.
                if !line_again {
                    last.keep_line(&window[..begin], &self.facts);
                }
                return Ok(Some(begin + length));
            }
            self.place = Place::Fields;
            spans.fields.clear();
            spans.oddly_written = false;
        }
        let Some(length) = self.read_fields(section, bounds, spans).map_err(|bad| bad.behind(begin))? else {
            return Ok(None);
        };
        self.finish(begin + length)?;
        last.keep(&window[..begin], (&section[..length], &spans.fields), &self.facts);
        Ok(Some(begin + length))
    }

    /// Whether it begins with the request line before, whose spans are there still.
    fn begins_again(&mut self, window: &[u8], spans: &Spans, last: &Last) -> bool {
        if !last.line_again(window, &mut self.facts) {
            return false;
        }
        self.method = spans.method.clone();
        (self.target.begin, self.target.end) = (spans.target.start, spans.target.end);
        self.place = Place::Again;
        true
    }

    fn read_start(&mut self, window: &[u8]) -> Result<bool, Bad> {
        let begin = match window {
            [] | [b'\r'] | [b'\r', b'\n'] => return Ok(false),
            [b'\r', b'\n', ..] => 2,
            [b'\r', ..] => return bad(1, "a carriage return without a line feed"),
            _ => 0,
        };
        self.method = begin..begin;
        self.place = Place::Method;
        Ok(true)
    }

    /// Not longer than its bound, and so it is read from its begin each time.
    fn read_method(&mut self, window: &[u8]) -> Result<bool, Bad> {
        let begin = self.method.start;
        let Some(rest) = window.get(begin..) else { return Ok(false) };
        let end = begin + token_run(rest);
        if end - begin > LONGEST_METHOD {
            return bad(begin + LONGEST_METHOD, "the method is longer than any that exists");
        }
        match window.get(end) {
            None => Ok(false),
            Some(b' ') if end > begin => {
                self.method.end = end;
                (self.target.begin, self.target.end) = (end + 1, end + 1);
                self.place = Place::Target;
                Ok(true)
            }
            Some(b'\n') => bad(end, "a line ends with a bare line feed"),
            Some(_) => bad(end, "this does not begin like an HTTP request"),
        }
    }

    fn read_target(&mut self, window: &[u8], bounds: &WireBounds) -> Result<bool, Bad> {
        let begin = self.target.begin;
        let Some(rest) = window.get(self.target.end..) else { return Ok(false) };
        let (more, unwise) = target_run(rest);
        let end = self.target.end + more;
        self.target.end = end;
        self.target.unwise |= unwise;
        if end - begin > bounds.uri_bytes {
            let at = begin + bounds.uri_bytes;
            return Err(Bad { at, reason: Reason::UriTooLong, detail: "the target is longer than allowed" });
        }
        match window.get(end) {
            None => Ok(false),
            Some(b' ') if end > begin => {
                self.place = Place::Version;
                Ok(true)
            }
            Some(b' ') => bad(end, "no request target, or two blanks before it"),
            Some(b'#') => bad(end, "a fragment in the request target"),
            Some(b'\r' | b'\n') => bad(end, "a request line without a version"),
            Some(_) => bad(end, "a control or non-ASCII byte in the request target"),
        }
    }

    /// Not longer than [`VERSION_BYTES`], and so it is read from its begin each time.
    fn read_version(&mut self, window: &[u8], spans: &mut Spans) -> Result<bool, Bad> {
        let begin = self.target.end + 1;
        let Some(rest) = window.get(begin..) else { return Ok(false) };
        let version = rest.first_chunk::<VERSION_BYTES>();
        self.facts.version_10 = if version == Some(b"HTTP/1.1\r\n") {
            false
        } else if version == Some(b"HTTP/1.0\r\n") {
            true
        } else {
            return other_version(rest, begin);
        };
        self.judge_line(window).map_err(|(reason, detail)| Bad {
            at: begin + VERSION_BYTES - 1,
            reason,
            detail,
        })?;
        self.place = Place::Again;
        (spans.method, spans.target) = (self.method(), self.target());
        spans.section = begin + VERSION_BYTES;
        Ok(true)
    }

    /// Method and form of the target, in this order.
    fn judge_line(&mut self, window: &[u8]) -> Result<(), (Reason, &'static str)> {
        let method = &window[self.method()];
        self.facts.method = match method {
            b"GET" => MethodKind::Get,
            b"HEAD" => MethodKind::Head,
            b"POST" => MethodKind::Post,
            b"PUT" => MethodKind::Put,
            b"PATCH" => MethodKind::Patch,
            b"DELETE" => MethodKind::Delete,
            b"OPTIONS" => MethodKind::Options,
            b"CONNECT" => return Err((Reason::MethodRefused, "CONNECT is never forwarded")),
            b"TRACE" => return Err((Reason::MethodRefused, "TRACE is never forwarded")),
            _ => MethodKind::Other,
        };
        let target = &window[self.target()];
        target::judge(target, self.target.unwise, self.facts.method)
            .map_err(|detail| (Reason::BadRequest, detail))
    }

    /// The length of the section.
    fn read_fields(
        &mut self,
        section: &[u8],
        bounds: &WireBounds,
        spans: &mut Spans,
    ) -> Result<Option<usize>, Bad> {
        loop {
            match self.fields.next(section, spans.fields.len() == bounds.head_fields)? {
                Found::Field(field, as_written) => {
                    self.note(
                        &section[field.name.clone()],
                        &section[field.value.clone()],
                        field.value.start,
                    )?;
                    spans.fields.push(field);
                    spans.oddly_written |= !as_written;
                }
                Found::End(end) => return Ok(Some(end)),
                Found::More => return Ok(None),
            }
        }
    }

    /// Notes what a field, whose value stands at `at`, says about framing.
    fn note(&mut self, name: &[u8], value: &[u8], at: usize) -> Result<(), Bad> {
        // Of as many bytes. The bit makes letters lower, and no other byte of a token a letter or a hyphen.
        let is = |other: &str| name.iter().zip(other.as_bytes()).all(|(byte, lower)| byte | 0x20 == *lower);
        let facts = &mut self.facts;
        match name.len() {
            4 if is("host") => {
                if self.has_host {
                    return bad(at, "more than one Host header");
                }
                self.has_host = true;
            }
            6 if is("expect") => facts.expect_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            14 if is("content-length") => {
                if facts.content_length.is_some() {
                    return bad(at, "more than one Content-Length header");
                }
                let Some(length) = decimal(value) else { return bad(at, "Content-Length is not one number") };
                facts.content_length = Some(length);
            }
            17 if is("transfer-encoding") => {
                if facts.chunked {
                    return bad(at, "more than one Transfer-Encoding header");
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return bad(at, "Transfer-Encoding is not exactly chunked");
                }
                if facts.version_10 {
                    return bad(at, "Transfer-Encoding in an HTTP/1.0 request");
                }
                facts.chunked = true;
            }
            _ => return Ok(()),
        }
        if facts.chunked && facts.content_length.is_some() {
            return bad(at, "both Content-Length and Transfer-Encoding");
        }
        Ok(())
    }

    /// The head ends at `end`, with its last LF.
    fn finish(&mut self, end: usize) -> Result<(), Bad> {
        let facts = &mut self.facts;
        if !self.has_host && !facts.version_10 {
            return bad(end - 1, "no Host header");
        }
        // Without a body there is nothing to wait for (RFC 9110 section 10.1.1).
        facts.expect_continue &= !facts.has_no_body() && !facts.version_10;
        Ok(())
    }
}

/// Judges what stands at `at` where a version and CRLF must, and is neither that of HTTP/1.1 nor that of 1.0: a part
/// of one may be here, which is not wrong so far.
#[cold]
fn other_version(here: &[u8], at: usize) -> Result<bool, Bad> {
    let here = &here[..here.len().min(VERSION_BYTES)];
    let is_expected = |(place, byte): (usize, &u8)| match place {
        0..=4 => *byte == b"HTTP/"[place],
        5 | 7 => byte.is_ascii_digit(),
        6 => *byte == b'.',
        8 => *byte == b'\r',
        _ => *byte == b'\n',
    };
    match here.iter().enumerate().position(|each| !is_expected(each)) {
        Some(other) if here[other] == b'\n' => bad(at + other, "a line ends with a bare line feed"),
        Some(other) => bad(at + other, "the request line does not end with a version and CRLF"),
        None if here.len() < VERSION_BYTES => Ok(false),
        None => {
            let detail = "the request names another version of HTTP";
            Err(Bad { at: at + VERSION_BYTES - 1, reason: Reason::HttpVersion, detail })
        }
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
