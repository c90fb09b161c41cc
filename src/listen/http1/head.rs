//! The head of an answer as bytes, and how its body is framed (RFC 9112 section 6).

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http_body::Body;

use super::said::{Asked, names};
use crate::clock::Moment;
use crate::fields::Fields;
use crate::listen::date;
use crate::message::ResponseHead;
use crate::refusal::page::Page;

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

/// Writes the head of an answer with this body behind `out`. The version is always our own (RFC 9110 section 6.2).
pub(super) fn write<B: Body>(
    (head, body): (&ResponseHead, &B),
    (asked, keep_alive): (&Asked, bool),
    now: Moment,
    out: &mut Vec<u8>,
) -> Course {
    let (status, fields) = (head.status, &head.fields);
    let lengthless =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let bodiless = lengthless || asked.is_head;
    let empty = body.is_end_stream();
    let known = if empty { Some(0) } else { body.size_hint().exact() };
    // What an empty body's length is said to be belongs to HEAD only.
    let may_tell = !lengthless && (!empty || asked.is_head);
    let (mut told, mut lengths) = (None, 0);
    for value in fields.get_all("content-length") {
        (told, lengths) = (told.or_else(|| decimal(value)), lengths + 1);
    }
    let told = told.filter(|_| may_tell);
    // What follows is what counts.
    let length = told.map(|told| known.filter(|_| !empty).unwrap_or(told));
    let no_trailers = bodiless || asked.version_10;
    write_status(head, "<none>", out);
    let as_they_are = told == length
        && lengths == usize::from(told.is_some())
        && !fields.contains("transfer-encoding")
        && !(no_trailers && fields.contains("trailer"));
    match as_they_are {
        true => out.extend_from_slice(fields.as_lines()),
        false => write_fields(fields, (told, length), no_trailers, out),
    }
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
    let may_keep = keep_alive && framing != Framing::Close;
    let keep_alive = write_connection(fields, (asked.version_10, may_keep), out);
    if !fields.contains("date") {
        date::write_line(now, out);
    }
    out.extend_from_slice(b"\r\n");
    let mut trailers = Vec::new();
    if asked.takes_trailers && !no_trailers {
        fields.get_all("trailer").for_each(|list| announce(list, &mut trailers));
    }
    Course { framing, keep_alive, trailers }
}

/// Writes an answer that is a page, all of it, behind `out`. Whether the connection is kept.
pub(super) fn write_page(
    (head, page): (&ResponseHead, Page),
    (asked, keep_alive): (&Asked, bool),
    now: Moment,
    out: &mut Vec<u8>,
) -> bool {
    write_status(head, "<none>", out);
    out.extend_from_slice(head.fields.as_lines());
    let keep_alive = write_connection(&head.fields, (asked.version_10, keep_alive), out);
    date::write_line(now, out);
    page.write(!asked.is_head, out);
    keep_alive
}

/// Writes the fields of an answer of which one was `told` to be its length, which is this `length`. What frames it on
/// the worker's hop stays behind.
fn write_fields(
    fields: &Fields,
    (told, length): (Option<u64>, Option<u64>),
    no_trailers: bool,
    out: &mut Vec<u8>,
) {
    let mut to_tell = told;
    for (name, value) in fields.iter() {
        match name {
            b"content-length" => match decimal(value).and_then(|_| to_tell.take()) {
                Some(told) if length == Some(told) => write_field(name, value, out),
                Some(_) => write_length(length.unwrap_or(0), out),
                None => {}
            },
            b"transfer-encoding" => {}
            b"trailer" if no_trailers => {}
            _ => write_field(name, value, out),
        }
    }
}

/// Says what becomes of the connection, unless the answer does so in its own words: HTTP/1.0 closes unless somebody
/// says otherwise, HTTP/1.1 the other way round (RFC 9112 section 9.3). Whether it is kept.
#[inline]
fn write_connection(fields: &Fields, (version_10, may_keep): (bool, bool), out: &mut Vec<u8>) -> bool {
    let says_nothing = may_keep && !version_10 && !fields.contains("connection");
    says_nothing || write_unusual_connection(fields, (version_10, may_keep), out)
}

#[inline(never)]
fn write_unusual_connection(
    fields: &Fields,
    (version_10, may_keep): (bool, bool),
    out: &mut Vec<u8>,
) -> bool {
    let (mut keeps, mut closes) = (false, false);
    for list in fields.get_all("connection") {
        (keeps, closes) = (keeps | names(list, b"keep-alive"), closes | names(list, b"close"));
    }
    let keep_alive = may_keep && !closes;
    match version_10 {
        true if keep_alive && !keeps => out.extend_from_slice(b"connection: keep-alive\r\n"),
        false if !keep_alive && !closes => out.extend_from_slice(b"connection: close\r\n"),
        _ => {}
    }
    keep_alive
}

/// Writes the head of an interim answer, or of one that switches protocols.
pub(super) fn write_interim(head: &ResponseHead, out: &mut Vec<u8>) {
    write_status(head, "Interim", out);
    out.extend_from_slice(head.fields.as_lines());
    out.extend_from_slice(b"\r\n");
}

/// Writes what ends a body in chunks: its trailers, as far as they were announced.
pub(super) fn write_trailers(trailers: &HeaderMap, announced: &[HeaderName], out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if announced.contains(name) && may_trail(name) {
            write_field(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn write_status(head: &ResponseHead, nameless: &str, out: &mut Vec<u8>) {
    match usual_status(head.status) {
        Some(line) if head.reason.is_none() => out.extend_from_slice(line),
        _ => write_unusual_status(head, nameless, out),
    }
}

#[inline(never)]
fn write_unusual_status(head: &ResponseHead, nameless: &str, out: &mut Vec<u8>) {
    let (status, reason) = (head.status, head.reason.as_deref());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let canonical = || status.canonical_reason().unwrap_or(nameless).as_bytes();
    out.extend_from_slice(reason.unwrap_or_else(canonical));
    out.extend_from_slice(b"\r\n");
}

/// The line of a status that is told often, in the words that everybody uses.
const fn usual_status(status: StatusCode) -> Option<&'static [u8]> {
    Some(match status {
        StatusCode::OK => b"HTTP/1.1 200 OK\r\n",
        StatusCode::CREATED => b"HTTP/1.1 201 Created\r\n",
        StatusCode::NO_CONTENT => b"HTTP/1.1 204 No Content\r\n",
        StatusCode::FOUND => b"HTTP/1.1 302 Found\r\n",
        StatusCode::NOT_MODIFIED => b"HTTP/1.1 304 Not Modified\r\n",
        StatusCode::UNAUTHORIZED => b"HTTP/1.1 401 Unauthorized\r\n",
        StatusCode::FORBIDDEN => b"HTTP/1.1 403 Forbidden\r\n",
        StatusCode::NOT_FOUND => b"HTTP/1.1 404 Not Found\r\n",
        StatusCode::TOO_MANY_REQUESTS => b"HTTP/1.1 429 Too Many Requests\r\n",
        StatusCode::SERVICE_UNAVAILABLE => b"HTTP/1.1 503 Service Unavailable\r\n",
        _ => return None,
    })
}

#[inline]
fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(bytes: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The members of a list of names.
fn announce(list: &[u8], trailers: &mut Vec<HeaderName>) {
    let names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    trailers.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
}

/// Digits only (RFC 9110 section 8.6): `parse` would take a sign too.
fn decimal(value: &[u8]) -> Option<u64> {
    let digit = |sum: u64, byte: &u8| {
        let value = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(value)
    };
    value.iter().try_fold(0, digit).filter(|_| !value.is_empty())
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http::Method;
    use http_body::{Frame, SizeHint};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::fields::text;
    use crate::forward::headers;
    use crate::forward::http1::body;
    use crate::forward::http1::head::read;
    use crate::message::Response;

    #[test]
    fn a_status_that_is_told_often_is_told_in_the_same_words_as_others() {
        let mut usual = 0;
        for code in 100..=999 {
            let status = StatusCode::from_u16(code).unwrap();
            let reason = status.canonical_reason().unwrap_or("<none>");
            let want = format!("HTTP/1.1 {code} {reason}\r\n");
            let (mut head, mut out) = (Response::new(status, ()).head, Vec::new());
            write_status(&head, "<none>", &mut out);
            assert_eq!(out, want.as_bytes());
            usual += usize::from(usual_status(status).is_some());
            head.reason = Some(b"Own Words".as_slice().into());
            out.clear();
            write_status(&head, "<none>", &mut out);
            assert_eq!(out, format!("HTTP/1.1 {code} Own Words\r\n").as_bytes());
        }
        assert_eq!(usual, 10);
    }

    /// A body of so many bytes, or of nobody knows how many.
    struct Promised(Option<u64>);

    impl Body for Promised {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }

        fn is_end_stream(&self) -> bool {
            self.0 == Some(0)
        }

        fn size_hint(&self) -> SizeHint {
            self.0.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    /// A worker's answer, and who asked for it.
    #[derive(Clone, Debug)]
    struct Case {
        status: u16,
        version: &'static str,
        reason: String,
        fields: Vec<(&'static str, Vec<u8>)>,
        asked: Asked,
        limits: bool,
    }

    impl Case {
        fn bytes(&self) -> Vec<u8> {
            let mut bytes = format!("HTTP/{} {} {}\r\n", self.version, self.status, self.reason).into_bytes();
            for (name, value) in &self.fields {
                bytes.extend([name.as_bytes(), b": ", &value[..], b"\r\n"].concat());
            }
            [&bytes[..], b"\r\n"].concat()
        }

        /// What the client gets of it by way of the modules that it goes through.
        fn sent(&self) -> Option<Vec<u8>> {
            let method = if self.asked.is_head { Method::HEAD } else { Method::GET };
            let (mut head, _) = read(&self.bytes(), &method, 1 << 16).ok()??;
            headers::pass_on(&mut head.fields, head.status, head.version);
            headers::to_client_own(&mut head.fields, b"id-1", self.limits);
            let body = Promised(body::Body::new(head.framing, 64).left());
            let head = ResponseHead { status: head.status, reason: head.reason, fields: head.fields };
            let mut out = Vec::new();
            let now = Moment { nanos: 0, unix_micros: 1_000_000 };
            write((&head, &body), (&self.asked, self.asked.keep_alive), now, &mut out);
            Some(out)
        }

        fn all(&self, name: &str) -> Vec<&[u8]> {
            let is = |(other, _): &&(&str, Vec<u8>)| other.eq_ignore_ascii_case(name);
            self.fields.iter().filter(is).map(|(_, value)| &value[..]).collect()
        }

        /// Whether a field of this name has no place in what the client gets, or another one.
        fn goes(&self, name: &str) -> bool {
            const HOP: [&str; 11] = [
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
                "via",
            ];
            let options = self.all("connection").join(&b","[..]);
            let nominated = options.split(|byte| *byte == b',').any(|option| {
                option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) && name != "content-length"
            });
            let bodiless = self.asked.is_head || matches!(self.status, 204 | 304);
            nominated
                || HOP.contains(&name)
                || name == "x-request-id"
                || (self.limits && name.starts_with("ratelimit"))
                || (name == "trailer" && (bodiless || self.asked.version_10))
        }

        /// What it has to be. None: no answer at all.
        fn wanted(&self) -> Option<Vec<u8>> {
            let chunked = self.all("transfer-encoding").len();
            if chunked > 1 || (chunked > 0 && self.version == "1.0" && self.has_content()) {
                return None;
            }
            let length = self.all("content-length").first().map(|length| length.to_vec());
            let number =
                length.as_deref().map(|length| str::from_utf8(length).unwrap().parse::<u64>().unwrap());
            let tells = matches!(number, Some(number) if number > 0 || self.asked.is_head);
            let mut tells = tells && chunked == 0 && !matches!(self.status, 204 | 304);
            let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).into_bytes();
            let mut line = |name: &str, value: &[u8]| {
                out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
            };
            for (name, value) in &self.fields {
                let name = name.to_ascii_lowercase();
                let stays =
                    if name == "content-length" { std::mem::take(&mut tells) } else { !self.goes(&name) };
                if stays {
                    line(&name, value);
                }
            }
            let is_nominated = self.goes_by_name("via");
            let ours = format!("{} buckler", self.version);
            let theirs = if is_nominated { Vec::new() } else { self.all("via") };
            let mut via = Vec::new();
            for passed in theirs.into_iter().filter(|line| text(line).is_some()).chain([ours.as_bytes()]) {
                let comma: &[u8] = if via.is_empty() { b"" } else { b", " };
                via.extend([comma, passed].concat());
            }
            line("via", &via);
            line("x-request-id", b"id-1");
            let mut ends_with_close = false;
            match (self.has_content(), chunked > 0, number) {
                (true, false, Some(0)) => line("content-length", b"0"),
                (true, false, Some(_)) | (false, ..) => {}
                _ if self.asked.version_10 => ends_with_close = true,
                _ => line("transfer-encoding", b"chunked"),
            }
            match (self.asked.version_10, self.asked.keep_alive && !ends_with_close) {
                (true, true) => line("connection", b"keep-alive"),
                (false, false) => line("connection", b"close"),
                _ => {}
            }
            if self.all("date").is_empty() || self.goes_by_name("date") {
                line("date", b"Thu, 01 Jan 1970 00:00:01 GMT");
            }
            Some([&out[..], b"\r\n"].concat())
        }

        fn has_content(&self) -> bool {
            !self.asked.is_head && !matches!(self.status, 204 | 304)
        }

        /// Whether `Connection` names it.
        fn goes_by_name(&self, name: &str) -> bool {
            let options = self.all("connection").join(&b","[..]);
            options.split(|byte| *byte == b',').any(|option| option.trim_ascii() == name.as_bytes())
        }
    }

    fn field() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
        #[rustfmt::skip]
        let plain = select(vec![
            "X-A", "x-a", "x-b", "X_C", "Set-Cookie", "server", "Date", "Via", "via", "Trailer", "ETag", "X-Request-Id",
            "RateLimit", "ratelimit-policy", "Keep-Alive", "TE", "Upgrade", "Proxy-Authenticate", "x-buckler-caller",
            "Proxy-Authorization", "Proxy-Connection", "HTTP2-Settings", "Retry-After",
        ]);
        let byte = prop_oneof![9 => b'!'..=b'~', 1 => 0x80..=0xff_u8, 1 => Just(b' '), 1 => Just(b'\t')];
        let value = proptest::collection::vec(byte, 0..12).prop_map(|value| value.trim_ascii().to_vec());
        let option = select(vec![
            "close",
            "keep-alive",
            "Keep-Alive",
            "x-a",
            "date, x-b",
            "via",
            "content-length",
            "etag,X-C",
        ]);
        prop_oneof![
            12 => (plain, value),
            2 => (Just("Connection"), option.prop_map(|option| option.as_bytes().to_vec())),
            1 => Just(("Transfer-Encoding", b"chunked".to_vec())),
        ]
    }

    fn case() -> impl Strategy<Value = Case> {
        let asked =
            (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(version_10, is_head, keep_alive)| {
                Asked { version_10, is_head, keep_alive, closes: !keep_alive, takes_trailers: false }
            });
        let head = (
            select(vec![200, 200, 201, 204, 206, 304, 404, 500, 599]),
            select(vec!["1.1", "1.1", "1.1", "1.0"]),
            "([A-Za-z][A-Za-z ]{0,9})?",
        );
        let length = select(vec!["0", "5", "1024", "007"]);
        let lengths = proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
        let fields = proptest::collection::vec(field(), 0..10);
        (head, fields, (length, lengths), asked, any::<bool>()).prop_map(
            |((status, version, reason), mut fields, (length, lengths), asked, limits)| {
                for at in lengths {
                    fields.insert(at.index(fields.len() + 1), ("Content-Length", length.as_bytes().to_vec()));
                }
                Case { status, version, reason, fields, asked, limits }
            },
        )
    }

    proptest! {
        #[test]
        fn what_a_client_gets_of_a_workers_head_is_what_a_plain_model_says(case in case()) {
            let (sent, wanted) = (case.sent(), case.wanted());
            let told = |head: &Option<Vec<u8>>| head.as_ref().map(|head| head.escape_ascii().to_string());
            prop_assert_eq!(told(&sent), told(&wanted));
        }
    }
}
