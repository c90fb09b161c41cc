//! A client that speaks in bytes: it sends what it is told, however wrong, and reads answers strictly.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::ask::Ask;
use super::response::{Framing, Response, parse_field, parse_head};
use super::wait::{PATIENCE, linger};

/// One connection to Buckler (or to anything else).
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By FIN: cleanly, as far as TCP is concerned.
    Closed,
    /// By RST.
    Reset,
}

impl Raw {
    /// Connects from 127.0.0.1.
    pub(crate) fn connect(port: u16) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, port)
    }

    /// Connects from this address of the loopback network.
    pub(crate) fn connect_from(source: Ipv4Addr, port: u16) -> Self {
        Self::try_connect(source, port).unwrap_or_else(|e| panic!("connect to port {port}: {e}"))
    }

    /// Connects, or says why not.
    pub(crate) fn try_connect(source: Ipv4Addr, port: u16) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        if source != Ipv4Addr::LOCALHOST {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// With a receive buffer so small that a big answer cannot hide in it.
    pub(crate) fn connect_narrow(port: u16) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// The port of the client's own end.
    pub(crate) fn own_port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    /// The same connection once more, for another thread.
    pub(crate) fn twin(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), buffer: Vec::new() }
    }

    /// Sends these bytes. A peer that has already closed is no failure here: the answer tells.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends byte by byte, `pause` apart, until done or the peer has had enough. A client's own pace, in real time.
    pub(crate) fn drip(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            if self.stream.write_all(&[*byte]).is_err() {
                return;
            }
            linger(pause);
        }
    }

    /// Sends as much as the other side takes without a break of `patience`; returns how much that was.
    pub(crate) fn send_until_blocked(&mut self, total: u64, patience: Duration) -> u64 {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let piece = vec![b'u'; 64 * 1024];
        let mut sent = 0;
        while sent < total {
            let room = usize::try_from((total - sent).min(64 * 1024)).unwrap();
            match self.stream.write(&piece[..room]) {
                Ok(n) => sent += n as u64,
                Err(_) => break,
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Says that nothing more will be sent (FIN), and goes on reading.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends with a RST.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends a request and reads its answer; the connection stays.
    #[track_caller]
    pub(crate) fn answer(&mut self, ask: &Ask) -> Response {
        self.send(ask.bytes());
        self.read(ask.is_head())
    }

    /// Reads one answer (a 1xx counts as one).
    #[track_caller]
    pub(crate) fn read_response(&mut self) -> Response {
        self.read(false)
    }

    /// Reads one answer; none if the connection ends before its head is complete.
    #[track_caller]
    pub(crate) fn response_or_end(&mut self) -> Option<Response> {
        while find(&self.buffer, b"\r\n\r\n").is_none() {
            self.more().ok()?;
        }
        Some(self.read(false))
    }

    /// Reads only the head of an answer and leaves the body where it is.
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> Response {
        let head = self.take_head();
        parse_head(&head, false).0
    }

    #[track_caller]
    fn read(&mut self, to_head: bool) -> Response {
        let head = self.take_head();
        let (mut response, framing) = parse_head(&head, to_head);
        match framing {
            Framing::None => {}
            Framing::Length(length) => self.read_length(&mut response, length),
            Framing::Chunked => self.read_chunked(&mut response),
            Framing::Close => {
                let (rest, end) = self.read_to_end();
                response.body = rest;
                response.cut = (end == End::Reset).then(|| "reset".to_owned());
            }
        }
        response
    }

    #[track_caller]
    fn take_head(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return String::from_utf8(head).expect("a head of plain text");
            }
            let so_far = String::from_utf8_lossy(&self.buffer).into_owned();
            self.more().unwrap_or_else(|end| panic!("{end:?} instead of an answer, after {so_far:?}"));
        }
    }

    fn read_length(&mut self, response: &mut Response, length: u64) {
        let length = usize::try_from(length).unwrap();
        while self.buffer.len() < length {
            if let Err(end) = self.more() {
                response.cut = Some(format!("{end:?} after {} of {length} bytes", self.buffer.len()));
                response.body = std::mem::take(&mut self.buffer);
                return;
            }
        }
        response.body = self.buffer.drain(..length).collect();
    }

    #[track_caller]
    fn read_chunked(&mut self, response: &mut Response) {
        loop {
            let Some(size) = self.take_line(response) else { return };
            let digits = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                if let Err(end) = self.more() {
                    response.cut = Some(format!("{end:?} inside a chunk"));
                    return;
                }
            }
            let chunk: Vec<u8> = self.buffer.drain(..size + 2).collect();
            assert!(chunk.ends_with(b"\r\n"), "a chunk without its CRLF");
            response.body.extend(&chunk[..size]);
        }
        while let Some(line) = self.take_line(response) {
            if line.is_empty() {
                return;
            }
            response.trailers.push(parse_field(&line, &response.head));
        }
    }

    fn take_line(&mut self, response: &mut Response) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if let Err(end) = self.more() {
                response.cut = Some(format!("{end:?} before the last chunk"));
                return None;
            }
        }
    }

    /// Reads until the other side ends the connection.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.more() {
                return (std::mem::take(&mut self.buffer), end);
            }
        }
    }

    /// Takes a piece of at most 64 KiB at a time, `pause` apart, and throws it away; the end, if it comes within so
    /// many pieces.
    pub(crate) fn sip(&mut self, pause: Duration, pieces: u32) -> Option<End> {
        for _ in 0..pieces {
            self.buffer.clear();
            if let Err(end) = self.more() {
                return Some(end);
            }
            linger(pause);
        }
        None
    }

    /// Reads on until these bytes have come.
    #[track_caller]
    pub(crate) fn read_until(&mut self, bytes: &[u8]) {
        while find(&self.buffer, bytes).is_none() {
            self.more()
                .unwrap_or_else(|end| panic!("{end:?} instead of {:?}", String::from_utf8_lossy(bytes)));
        }
    }

    /// Reads until the connection ends or the head of an answer has come.
    #[track_caller]
    pub(crate) fn read_to_end_or_answer(&mut self) -> (Vec<u8>, Option<End>) {
        while find(&self.buffer, b"\r\n\r\n").is_none() {
            if let Err(end) = self.more() {
                return (std::mem::take(&mut self.buffer), Some(end));
            }
        }
        (std::mem::take(&mut self.buffer), None)
    }

    /// Waits for the end of the connection and fails if anything else comes.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> End {
        let (rest, end) = self.read_to_end();
        assert!(rest.is_empty(), "not an end but {:?}", String::from_utf8_lossy(&rest));
        end
    }

    #[track_caller]
    fn more(&mut self) -> Result<(), End> {
        self.read_at_most(64 * 1024)
    }

    /// Reads once, at most so many bytes. They are the first of what is read after that.
    #[track_caller]
    pub(crate) fn read_at_most(&mut self, most: usize) -> Result<(), End> {
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece[..most]) {
            Ok(0) => Err(End::Closed),
            Ok(n) => {
                self.buffer.extend(&piece[..n]);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}; so far {:?}", String::from_utf8_lossy(&self.buffer))
            }
            Err(_) => Err(End::Reset),
        }
    }
}

pub(super) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
