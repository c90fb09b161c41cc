//! A check in HTTP/1.1 or HTTP/2: one GET, its status, and what the begin of its body holds. The exchange over HTTP/2
//! serves gRPC's checks too.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::ops::RangeInclusive;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, SendRequest};
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::probe::{Step, broken};
use crate::socket::Socket;

/// So many bytes of an answer's body are read; what lies behind them is left unread.
pub(super) const BODY_BYTES: usize = 64 * 1024;

/// The longest head of an answer, in bytes.
const HEAD_BYTES: u32 = 64 * 1024;

/// How checks name themselves.
pub(super) const AGENT: &str = "buckler-check";

/// What a good answer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'c> {
    pub(super) status: &'c [RangeInclusive<u16>],
    pub(super) body: Option<&'c str>,
}

/// What stands around the body of an answer over HTTP/2.
#[derive(Debug, Default)]
pub(super) struct Around {
    pub(super) head: HeaderMap,
    /// None: there are none, or what lies before them was not read.
    pub(super) trailers: Option<HeaderMap>,
}

/// A check over HTTP/1.1 of this host and path.
///
/// # Errors
/// The worker did not pass: why, in words.
pub(super) async fn over_http1(
    socket: Socket,
    (host, path): (String, &str),
    wanted: Wanted<'_>,
    step: &Cell<Step>,
) -> Result<(), String> {
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unsendable(&error))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES as usize);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(socket)).await.map_err(|error| not_http1(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| not_http1(&error))?;
        wanted.status(answer.status())?;
        step.set(Step::Reading);
        let mut body = answer.into_body();
        let mut begin = Begin::new(wanted.body);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(|error| not_http1(&error))?.into_data()
                && begin.is_enough(&data)
            {
                break;
            }
        }
        begin.verdict()
    };
    beside(exchange, connection).await
}

/// The same over HTTP/2 with prior knowledge.
///
/// # Errors
/// The worker did not pass: why, in words.
pub(super) async fn over_http2(
    socket: Socket,
    (host, path): (String, &str),
    wanted: Wanted<'_>,
    step: &Cell<Step>,
) -> Result<(), String> {
    let request = request(Method::GET, &host, path)?;
    let mut begin = Begin::new(wanted.body);
    let read = |status, data: &[u8]| {
        wanted.status(status)?;
        Ok(begin.is_enough(data))
    };
    exchange(socket, (request, None), read, step).await?;
    begin.verdict()
}

/// A request over HTTP/2, without fields but the agent's.
///
/// # Errors
/// The configured host or path cannot stand in one.
pub(super) fn request(method: Method, host: &str, path: &str) -> Result<Request<()>, String> {
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build();
    let uri = uri.map_err(|error| unsendable(&error))?;
    let request = Request::builder().method(method).uri(uri).header(USER_AGENT, AGENT);
    request.body(()).map_err(|error| unsendable(&error))
}

/// Sends a request with its body over a new connection of HTTP/2. `read` sees the status with no data when the head is
/// there, then each piece of the body, and says whether that is enough or why the answer is bad.
///
/// # Errors
/// Those of `read`, and why there is no whole answer.
pub(super) async fn exchange(
    socket: Socket,
    request: (Request<()>, Option<Bytes>),
    read: impl FnMut(StatusCode, &[u8]) -> Result<bool, String>,
    step: &Cell<Step>,
) -> Result<Around, String> {
    let mut builder = client::Builder::new();
    builder.enable_push(false).max_header_list_size(HEAD_BYTES);
    let (sender, connection) =
        builder.handshake::<_, Bytes>(socket).await.map_err(|error| not_http2(&error))?;
    beside(exchange_on(sender, request, read, step), connection).await
}

async fn exchange_on(
    sender: SendRequest<Bytes>,
    (request, body): (Request<()>, Option<Bytes>),
    mut read: impl FnMut(StatusCode, &[u8]) -> Result<bool, String>,
    step: &Cell<Step>,
) -> Result<Around, String> {
    let mut sender = sender.ready().await.map_err(|error| not_http2(&error))?;
    let (answer, mut stream) =
        sender.send_request(request, body.is_none()).map_err(|error| not_http2(&error))?;
    if let Some(body) = body {
        stream.send_data(body, true).map_err(|error| not_http2(&error))?;
    }
    let (head, mut stream) = answer.await.map_err(|error| not_http2(&error))?.into_parts();
    step.set(Step::Reading);
    let mut enough = read(head.status, &[])?;
    while !enough && let Some(data) = next(&mut stream).await? {
        enough = read(head.status, &data)?;
    }
    let trailers = if enough { None } else { stream.trailers().await.map_err(|error| not_http2(&error))? };
    Ok(Around { head: head.headers, trailers })
}

async fn next(stream: &mut RecvStream) -> Result<Option<Bytes>, String> {
    let Some(data) = stream.data().await.transpose().map_err(|error| not_http2(&error))? else {
        return Ok(None);
    };
    let _ = stream.flow_control().release_capacity(data.len());
    Ok(Some(data))
}

impl Wanted<'_> {
    fn status(self, status: StatusCode) -> Result<(), String> {
        if self.status.iter().any(|range| range.contains(&status.as_u16())) {
            return Ok(());
        }
        Err(format!("status {}", status.as_u16()))
    }
}

/// The begin of a body, and whether it holds a text.
struct Begin<'c> {
    text: Option<&'c str>,
    held: Vec<u8>,
    read: usize,
    found: bool,
}

impl<'c> Begin<'c> {
    const fn new(text: Option<&'c str>) -> Self {
        Self { text, held: Vec::new(), read: 0, found: false }
    }

    /// Takes a piece. Whether nothing behind it matters.
    fn is_enough(&mut self, data: &[u8]) -> bool {
        let room = BODY_BYTES.saturating_sub(self.read).min(data.len());
        self.read += room;
        if let Some(text) = self.text {
            let text = text.as_bytes();
            // The text may have begun in what came before.
            let from = self.held.len().saturating_sub(text.len().saturating_sub(1));
            self.held.extend_from_slice(&data[..room]);
            self.found |= holds(&self.held[from..], text);
        }
        self.found || self.read == BODY_BYTES
    }

    fn verdict(&self) -> Result<(), String> {
        match self.text {
            Some(text) if !self.found && !text.is_empty() => Err(format!("the body does not hold `{text}`")),
            _ => Ok(()),
        }
    }
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}

/// Runs an exchange while its connection is driven. A connection that ends first has told the exchange so.
async fn beside<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let driven = async {
        connection.await;
        std::future::pending::<T>().await
    };
    tokio::select! {
        outcome = exchange => outcome,
        outcome = driven => outcome,
    }
}

fn unsendable(error: &http::Error) -> String {
    format!("the check's host or path cannot be sent: {error}")
}

fn not_http1(error: &hyper::Error) -> String {
    if let Some(error) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return broken(error);
    }
    if error.is_parse_too_large() {
        return "the answer's head is too long".to_owned();
    }
    if error.is_parse() {
        return "the answer is not HTTP/1.1".to_owned();
    }
    // What is left: it ended before the answer, or inside it.
    "the connection ended before the answer did".to_owned()
}

fn not_http2(error: &h2::Error) -> String {
    if let Some(error) = error.get_io() {
        return broken(error);
    }
    match error.reason() {
        Some(reason) if error.is_remote() && error.is_reset() => format!("the request was reset: {reason:?}"),
        Some(reason) if error.is_remote() => format!("the connection was ended: {reason:?}"),
        _ => "the answer is not HTTP/2".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: Option<&str>, pieces: &[&[u8]]) -> (bool, Result<(), String>) {
        let mut begin = Begin::new(text);
        let enough = pieces.iter().any(|piece| begin.is_enough(piece));
        (enough, begin.verdict())
    }

    #[test]
    fn a_text_is_found_wherever_the_pieces_break() {
        for cut in 0..=8 {
            let (one, two) = b"it is ok".split_at(cut);
            assert_eq!(reads(Some("is ok"), &[one, two, b"."]), (true, Ok(())), "cut at {cut}");
        }
        let bytes: Vec<_> = b"it is ok".iter().map(std::slice::from_ref).collect();
        assert_eq!(reads(Some("is ok"), &bytes), (true, Ok(())));
    }

    #[test]
    fn a_body_without_the_text_is_told_of() {
        let told = "the body does not hold `ok`".to_owned();
        assert_eq!(reads(Some("ok"), &[b"o", b" k"]), (false, Err(told.clone())));
        assert_eq!(reads(Some("ok"), &[]), (false, Err(told)));
        assert_eq!(reads(None, &[b"whatever"]), (false, Ok(())));
    }

    #[test]
    fn a_text_behind_the_first_64_kib_does_not_count() {
        let mut body = vec![b'.'; BODY_BYTES - 1];
        body.extend(b"ok");
        let (enough, verdict) = reads(Some("ok"), &[&body]);
        assert!(enough && verdict.is_err());
        let (enough, verdict) = reads(Some("ok"), &[&body[1..]]);
        assert!(enough && verdict.is_ok());
        assert_eq!(reads(None, &[&body]), (true, Ok(())), "no more is read");
    }

    #[test]
    fn a_status_outside_the_ranges_is_named() {
        let wanted = Wanted { status: &[200..=200, 204..=299], body: None };
        for (status, good) in [(200, true), (204, true), (299, true), (203, false), (503, false)] {
            let verdict = wanted.status(StatusCode::from_u16(status).unwrap());
            assert_eq!(verdict, if good { Ok(()) } else { Err(format!("status {status}")) });
        }
    }
}
