//! The head of an answer as bytes, and how its body is framed (RFC 9112 section 6).

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use httpdate::HttpDate;
use hyper::ext::ReasonPhrase;

use super::request::{Asked, names};
use crate::clock::Moment;

/// How a body is told apart from what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the close of the connection: for HTTP/1.0.
    Close,
}

/// What follows a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) framing: Framing,
    /// Another answer may follow on the connection.
    pub(super) keep_alive: bool,
    /// The trailers that are announced and wanted.
    pub(super) trailers: Vec<HeaderName>,
}

/// Writes the head of an answer behind `out`; `lines` stand behind the fields of its map. The version is always our own
/// (RFC 9110 section 6.2).
pub(super) fn write<B: Body>(
    answer: &Response<B>,
    lines: &[u8],
    (asked, keep_alive): (&Asked, bool),
    now: Moment,
    out: &mut Vec<u8>,
) -> Course {
    let (status, body) = (answer.status(), answer.body());
    let lengthless =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let bodiless = lengthless || asked.is_head;
    let empty = body.is_end_stream();
    let known = if empty { Some(0) } else { body.size_hint().exact() };
    let mut trailers = Vec::new();
    let (mut length, mut dated, mut closes, mut keeps) = (None, false, false, false);
    write_status(answer, "<none>", out);
    for (name, value) in answer.headers() {
        if *name == header::CONTENT_LENGTH {
            // What an empty body's length is said to be belongs to HEAD only.
            let told =
                decimal(value).filter(|_| !lengthless && length.is_none() && (!empty || asked.is_head));
            let Some(told) = told else { continue };
            // What follows is what counts.
            let bytes = known.filter(|_| !empty).unwrap_or(told);
            length = Some(bytes);
            if bytes != told {
                write_length(bytes, out);
                continue;
            }
        } else if *name == header::TRANSFER_ENCODING {
            continue;
        } else if *name == header::CONNECTION {
            closes |= names(value.as_bytes(), b"close");
            keeps |= names(value.as_bytes(), b"keep-alive");
        } else if *name == header::DATE {
            dated = true;
        } else if *name == header::TRAILER {
            if bodiless || asked.version_10 {
                continue;
            }
            if asked.takes_trailers {
                announce(value, &mut trailers);
            }
        }
        write_field(name.as_str(), value.as_bytes(), out);
    }
    out.extend_from_slice(lines);
    let framing = match length.or(known) {
        _ if bodiless && (lengthless || length.is_some() || known.unwrap_or(0) == 0) => Framing::Length(0),
        Some(bytes) => {
            if length.is_none() {
                write_length(bytes, out);
            }
            Framing::Length(if bodiless { 0 } else { bytes })
        }
        None if asked.version_10 => Framing::Close,
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        }
    };
    let keep_alive = keep_alive && !closes && framing != Framing::Close;
    write_connection((asked.version_10, keep_alive), (keeps, closes), out);
    if !dated {
        write_date(now, out);
    }
    out.extend_from_slice(b"\r\n");
    Course { framing, keep_alive, trailers }
}

/// Says what becomes of the connection, unless the answer `keeps` or `closes` it in its own words: HTTP/1.0 closes
/// unless somebody says otherwise, HTTP/1.1 the other way round (RFC 9112 section 9.3).
fn write_connection(
    (version_10, keep_alive): (bool, bool),
    (keeps, closes): (bool, bool),
    out: &mut Vec<u8>,
) {
    match version_10 {
        true if keep_alive && !keeps => out.extend_from_slice(b"connection: keep-alive\r\n"),
        false if !keep_alive && !closes => out.extend_from_slice(b"connection: close\r\n"),
        _ => {}
    }
}

/// Writes the head of an interim answer, or of one that switches protocols.
pub(super) fn write_interim<B>(answer: &Response<B>, out: &mut Vec<u8>) {
    write_status(answer, "Interim", out);
    for (name, value) in answer.headers() {
        write_field(name.as_str(), value.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes what ends a body in chunks: its trailers, as far as they were announced.
pub(super) fn write_trailers(trailers: &HeaderMap, announced: &[HeaderName], out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if announced.contains(name) && may_trail(name) {
            write_field(name.as_str(), value.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status<B>(answer: &Response<B>, nameless: &str, out: &mut Vec<u8>) {
    let status = answer.status();
    let reason = answer.extensions().get::<ReasonPhrase>();
    if status == StatusCode::OK && reason.is_none() {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let canonical = || status.canonical_reason().unwrap_or(nameless).as_bytes();
    out.extend_from_slice(reason.map_or_else(canonical, ReasonPhrase::as_bytes));
    out.extend_from_slice(b"\r\n");
}

fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(bytes: u64, out: &mut Vec<u8>) {
    write_field("content-length", itoa::Buffer::new().format(bytes).as_bytes(), out);
}

/// Writes `date`, which a shard puts into words once a second.
fn write_date(now: Moment, out: &mut Vec<u8>) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let second = now.unix_micros / 1_000_000;
    DATE.with_borrow_mut(|(told, date)| {
        if *told != second {
            *told = second;
            *date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)).to_string();
        }
        write_field("date", date.as_bytes(), out);
    });
}

/// The members of a list of names.
fn announce(list: &HeaderValue, trailers: &mut Vec<HeaderName>) {
    let names = list.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    trailers.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
}

/// Digits only (RFC 9110 section 8.6): `parse` would take a sign too.
fn decimal(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Fields that say how a message is to be read come too late behind it (RFC 9110 section 6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    use header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
        MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    };
    ![
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ]
    .contains(name)
}
