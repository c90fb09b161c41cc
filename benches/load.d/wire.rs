//! As much of HTTP/1.1 as the load speaks: heads, and bodies of a stated length. No chunks: an answer that comes in
//! them is an error.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// Bytes that are read or written at once.
pub(crate) const PIECE: usize = 256 * 1024;
/// Bytes of a head at most; what the proxies here send has some hundreds.
const HEAD_BYTES: usize = 16 * 1024;
const FIELDS: usize = 64;
/// Longer than any proxy here takes; who is silent for so long is broken.
const SILENCE: Duration = Duration::from_secs(20);

/// A connection, and what was read of it and not yet used.
pub(crate) struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The unread part of `buffer`.
    begin: usize,
    end: usize,
}

/// The head of a request or an answer.
pub(crate) struct Head {
    /// Of an answer; 0 for a request.
    pub(crate) status: u16,
    pub(crate) length: u64,
    /// `x-drained`, which tells how much of an upload has arrived.
    pub(crate) drained: Option<u64>,
}

impl Link {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Self::new(stream)
    }

    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; PIECE], begin: 0, end: 0 })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next request; none if the other side closed before its first byte.
    pub(crate) fn request(&mut self) -> io::Result<Option<Head>> {
        let Some(bytes) = self.head()? else { return Ok(None) };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        head.parse(&self.buffer[bytes]).map_err(invalid)?;
        Head::of(0, head.headers).map(Some)
    }

    /// The next answer's head.
    pub(crate) fn answer(&mut self) -> io::Result<Head> {
        let bytes = self.head()?.ok_or_else(cut)?;
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        head.parse(&self.buffer[bytes]).map_err(invalid)?;
        Head::of(head.code.unwrap_or(0), head.headers)
    }

    /// Reads a body away.
    pub(crate) fn skip(&mut self, mut length: u64) -> io::Result<()> {
        loop {
            let here = self.unread().len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.begin += here;
            length -= here as u64;
            if length == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(cut());
            }
        }
    }

    /// Where the next head stands in `buffer`, once it is whole.
    fn head(&mut self) -> io::Result<Option<Range<usize>>> {
        loop {
            if let Some(length) = self.unread().windows(4).position(|four| four == b"\r\n\r\n") {
                let begin = self.begin;
                self.begin += length + 4;
                return Ok(Some(begin..self.begin));
            }
            if self.unread().len() > HEAD_BYTES {
                return Err(invalid("a head without an end"));
            }
            if !self.fill()? {
                return if self.unread().is_empty() { Ok(None) } else { Err(cut()) };
            }
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Reads once; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        let length = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += length;
        Ok(length > 0)
    }
}

impl Head {
    fn of(status: u16, fields: &[httparse::Header<'_>]) -> io::Result<Self> {
        let field = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let number = |name: &str| {
            field(name)
                .and_then(|field| std::str::from_utf8(field.value).ok())
                .and_then(|text| text.parse().ok())
        };
        if field("transfer-encoding").is_some() {
            return Err(invalid("a body in chunks"));
        }
        Ok(Self { status, length: number("content-length").unwrap_or(0), drained: number("x-drained") })
    }
}

/// The request of one caller.
pub(crate) fn request(method: &str, path: &str, key: &str, length: Option<u64>) -> Vec<u8> {
    let length = length.map_or(String::new(), |length| format!("content-length: {length}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nhost: bench.test\r\nx-api-key: {key}\r\n{length}\r\n").into_bytes()
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended in the middle")
}

fn invalid(what: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
