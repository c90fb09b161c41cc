//! As much of HTTP/1.1 as the experiment speaks: heads, and bodies of a stated length. No chunks, no upgrades: whoever
//! sends such a thing is told apart as an error.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a head at most; what the proxies here send has some hundreds.
const HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a body at most; error pages of the proxies are smaller.
const BODY_BYTES: usize = 64 * 1024;
const FIELDS: usize = 64;

/// A connection and what was read of it and not yet used.
pub(crate) struct Link {
    stream: TcpStream,
    read: BytesMut,
}

/// The head of a request, as a worker needs it.
pub(crate) struct Asked {
    /// Path and query.
    pub(crate) target: String,
    /// Nothing follows on this connection.
    pub(crate) last: bool,
}

/// A whole answer, as a client needs it.
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// Nothing follows on this connection.
    pub(crate) last: bool,
}

impl Link {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::with_capacity(2048) })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next request; none if the other side closed before its first byte.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Asked>> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS];
            let mut head = httparse::Request::new(&mut fields);
            if let httparse::Status::Complete(length) = head.parse(&self.read).map_err(invalid)? {
                let target = head.path.unwrap_or_default().to_owned();
                let body = content_length(head.headers)?.unwrap_or(0);
                let last = says_close(head.headers) || head.version == Some(0);
                self.skip(length, body).await?;
                return Ok(Some(Asked { target, last }));
            }
            if !self.fill().await? {
                return if self.read.is_empty() { Ok(None) } else { Err(cut()) };
            }
        }
    }

    /// The next answer, read to its last byte.
    pub(crate) async fn answer(&mut self) -> io::Result<Answered> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS];
            let mut head = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(length) = head.parse(&self.read).map_err(invalid)? {
                let status = head.code.unwrap_or_default();
                let body =
                    content_length(head.headers)?.ok_or_else(|| invalid("an answer without a length"))?;
                let last = says_close(head.headers) || head.version == Some(0);
                self.skip(length, body).await?;
                return Ok(Answered { status, last });
            }
            if !self.fill().await? {
                return Err(cut());
            }
        }
    }

    /// Returns once the other side has closed, or has sent what nobody asked for.
    pub(crate) async fn gone(&mut self) {
        let mut byte = [0];
        // Any result ends it: bytes before the answer would be pipelining, which no proxy here does.
        let _ = self.stream.peek(&mut byte).await;
    }

    async fn skip(&mut self, head: usize, body: usize) -> io::Result<()> {
        if body > BODY_BYTES {
            return Err(invalid("a body longer than 64 KiB"));
        }
        while self.read.len() < head + body {
            if !self.fill().await? {
                return Err(cut());
            }
        }
        self.read.advance(head + body);
        Ok(())
    }

    /// Reads on; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.read.len() > HEAD_BYTES + BODY_BYTES {
            return Err(invalid("a message that does not end"));
        }
        self.read.reserve(1024);
        Ok(self.stream.read_buf(&mut self.read).await? > 0)
    }
}

/// The one Content-Length. Two of them, a wrong one, and chunks are errors.
fn content_length(fields: &[httparse::Header<'_>]) -> io::Result<Option<usize>> {
    let mut found = None;
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("a transfer coding"));
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).map_err(invalid)?;
            let length = text.trim().parse::<usize>().map_err(invalid)?;
            if found.replace(length).is_some() {
                return Err(invalid("two lengths"));
            }
        }
    }
    Ok(found)
}

fn says_close(fields: &[httparse::Header<'_>]) -> bool {
    fields.iter().any(|field| {
        field.name.eq_ignore_ascii_case("connection") && field.value.eq_ignore_ascii_case(b"close")
    })
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the end of a message")
}
