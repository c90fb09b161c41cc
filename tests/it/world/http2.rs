//! A client that speaks HTTP/2 in frames: it sends what it is told, however wrong, and remembers what comes back.
//! Heads go out as literals (RFC 7541 section 6.2.2); of those that come in only the status 200 is told apart.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use super::wait::{PATIENCE, eventually, eventually_some};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a client says first (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it goes over the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literals, none of them indexed.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte for the length");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The header block of a request for this path of `a.test`.
pub(crate) fn ask(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)])
}

/// The number of the client's stream with this index, from 0.
pub(crate) const fn stream(index: u32) -> u32 {
    2 * index + 1
}

#[derive(Debug)]
struct Came {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

#[derive(Debug, Default)]
struct Heard {
    frames: Vec<Came>,
    ended: bool,
}

/// One connection with prior knowledge (RFC 9113 section 3.3).
pub(crate) struct Http2 {
    socket: TcpStream,
    heard: Arc<Mutex<Heard>>,
    next: u32,
}

impl Http2 {
    /// Connects, sends the preface and empty SETTINGS, and acknowledges the server's.
    pub(crate) fn connect(port: u16) -> Self {
        Self::connect_with(port, &[])
    }

    /// The same with these SETTINGS.
    pub(crate) fn connect_with(port: u16, settings: &[u8]) -> Self {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let heard: Arc<Mutex<Heard>> = Arc::default();
        listen(socket.try_clone().unwrap(), Arc::clone(&heard));
        let mut client = Self { socket, heard, next: 0 };
        client.send(PREFACE);
        client.send(frame(SETTINGS, 0, 0, settings));
        client.send(frame(SETTINGS, ACK, 0, &[]));
        client
    }

    /// Sends these bytes; false once the other side has ended the connection, or says that it will.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        !self.is_over() && self.socket.write_all(bytes.as_ref()).is_ok()
    }

    /// The same although the other side has said that it will end the connection.
    pub(crate) fn send_still(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref());
    }

    /// The port of the client's own end.
    pub(crate) fn own_port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// What the frames of this kind on this stream held, in order.
    pub(crate) fn payloads(&self, kind: u8, id: u32) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap();
        let frames = heard.frames.iter().filter(|frame| frame.kind == kind && frame.stream == id);
        frames.map(|frame| frame.payload.clone()).collect()
    }

    /// Whether the other side has ended the connection, or says that it will.
    pub(crate) fn is_over(&self) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.ended || heard.frames.iter().any(|frame| frame.kind == GOAWAY)
    }

    /// Sends so many frames (or groups of them), in pieces of some hundred, as long as the other side listens.
    pub(crate) fn flood(&mut self, count: u32, make: impl Fn(u32) -> Vec<u8>) {
        for begin in (0..count).step_by(200) {
            let piece: Vec<u8> = (begin..count.min(begin + 200)).flat_map(&make).collect();
            if !self.send(piece) {
                return;
            }
        }
    }

    /// Streams from this index on are free.
    pub(crate) fn used(&mut self, streams: u32) {
        self.next = streams;
    }

    /// Asks for this path and waits for the whole answer; whether its status is 200.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> bool {
        let id = stream(self.next);
        self.next += 1;
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, id, &ask("GET", path)));
        self.answered(id)
    }

    /// Waits for the end of the answer on this stream; whether its status is 200.
    #[track_caller]
    pub(crate) fn answered(&self, id: u32) -> bool {
        eventually_some(&format!("the answer on stream {id}"), || {
            let heard = self.heard.lock().unwrap();
            assert!(!heard.ended, "the connection ended instead of an answer on stream {id}");
            let reset = heard.frames.iter().find(|frame| frame.kind == RST_STREAM && frame.stream == id);
            assert!(reset.is_none(), "{reset:?} instead of an answer");
            let mut frames = heard.frames.iter().filter(|frame| frame.stream == id);
            let head = frames.clone().find(|frame| frame.kind == HEADERS);
            let ends = |frame: &Came| matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            // An indexed field: entry 8 of the static table.
            frames.any(ends).then(|| head.is_some_and(|head| head.payload.first() == Some(&0x88)))
        })
    }

    /// The body that came on this stream.
    pub(crate) fn body(&self, id: u32) -> Vec<u8> {
        let heard = self.heard.lock().unwrap();
        let data = heard.frames.iter().filter(|frame| frame.kind == DATA && frame.stream == id);
        data.flat_map(|frame| frame.payload.clone()).collect()
    }

    /// How many frames of this kind came.
    pub(crate) fn count(&self, kind: u8) -> usize {
        self.heard.lock().unwrap().frames.iter().filter(|frame| frame.kind == kind).count()
    }

    /// Waits for RST_STREAM on this stream; its error code.
    #[track_caller]
    pub(crate) fn reset_code(&self, id: u32) -> u32 {
        self.code(&format!("RST_STREAM on stream {id}"), |frame| {
            (frame.kind == RST_STREAM && frame.stream == id).then_some(0)
        })
    }

    /// Waits for the last GOAWAY and the end of the connection behind it; its error code.
    #[track_caller]
    pub(crate) fn goaway(&mut self) -> u32 {
        let code = self.code("GOAWAY", |frame| (frame.kind == GOAWAY).then_some(4));
        // The other side may wait for ours.
        let _ = self.socket.shutdown(Shutdown::Write);
        eventually("the end of the connection", || self.heard.lock().unwrap().ended);
        code
    }

    #[track_caller]
    fn code(&self, what: &str, at: impl Fn(&Came) -> Option<usize>) -> u32 {
        eventually_some(what, || {
            let heard = self.heard.lock().unwrap();
            let found = heard.frames.iter().rev().find_map(|frame| Some((frame, at(frame)?)));
            assert!(found.is_some() || !heard.ended, "the connection ended without {what}");
            let (frame, at) = found?;
            Some(u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap()))
        })
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn listen(mut socket: TcpStream, heard: Arc<Mutex<Heard>>) {
    std::thread::spawn(move || {
        let mut head = [0; 9];
        while socket.read_exact(&mut head).is_ok() {
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            if socket.read_exact(&mut payload).is_err() {
                break;
            }
            let stream = u32::from_be_bytes(stream);
            heard.lock().unwrap().frames.push(Came { kind, flags, stream, payload });
        }
        heard.lock().unwrap().ended = true;
    });
}
