//! What must never be indexed stays so on its way through (RFC 7541 section 7.1.3): told by the bytes that a worker and
//! a client of HTTP/2 get. The forms on the wire are tested in `listen/hpack.rs`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};

use buckler::listen::hpack::Unpacker;

use super::config;
use crate::world::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, SETTINGS, ask, block, frame, stream,
};
use crate::world::{PATIENCE, Step, World};

/// Never indexed: `x-token: t`, `x-sum: s`.
const TOKEN: &[u8] = b"\x10\x07x-token\x01t";
const SUM: &[u8] = b"\x10\x05x-sum\x01s";

/// A worker that answers each request with a head and with trailers, of each of which a field is never indexed, and
/// hands out the header blocks that it gets.
fn worker() -> (u16, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (blocks, got) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((connection, _)) = listener.accept() {
            let blocks = blocks.clone();
            std::thread::spawn(move || serve(connection, &blocks));
        }
    });
    (port, got)
}

/// Until the other side ends the connection.
fn serve(mut connection: TcpStream, blocks: &Sender<Vec<u8>>) -> std::io::Result<()> {
    connection.read_exact(&mut [0; 24])?;
    connection.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        connection.read_exact(&mut payload)?;
        if (kind, flags & ACK) == (SETTINGS, 0) {
            connection.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
        }
        if kind == HEADERS {
            let _ = blocks.send(payload);
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            let id = u32::from_be_bytes(id);
            let mut answer = frame(HEADERS, END_HEADERS, id, &[b"\x88", TOKEN].concat());
            answer.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, SUM));
            connection.write_all(&answer)?;
        }
    }
}

/// The fields of a header block, and whether each is never indexed.
fn fields(unpacker: &mut Unpacker, block: &[u8]) -> Vec<(String, String, bool)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = Vec::new();
    let told = unpacker.unpack(block, |field| {
        fields.push((text(field.name), text(field.value), field.never_indexed));
        true
    });
    assert_eq!(told, Ok(()));
    fields
}

/// Whether the field is among them, and has the one form or the other.
#[track_caller]
fn has(fields: &[(String, String, bool)], name: &str, value: &str, never_indexed: bool) {
    let field = (name.to_owned(), value.to_owned(), never_indexed);
    assert!(fields.contains(&field), "{field:?} is not among {fields:?}");
}

#[test]
fn what_a_client_wants_never_indexed_a_worker_of_http2_gets_so() {
    let world = World::new();
    let (port, blocks) = worker();
    let buckler = world.buckler(&config(&[port], ""));
    let mut client = Http2::connect(buckler.port());
    let mut unpacker = Unpacker::new();
    let plain = block(&[("x-other", "p"), ("cookie", "a=1")]);
    // A crumb of a cookie, that is, of which others are not so.
    let head = [&ask("POST", "/"), TOKEN, &plain, b"\x1f\x11\x03b=2"].concat();
    // The second time all else is in h2's table.
    for index in 0..2 {
        client.send(frame(HEADERS, END_HEADERS, stream(index), &head));
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream(index), SUM));
        assert!(client.answered(stream(index)));
        let head = fields(&mut unpacker, &blocks.recv_timeout(PATIENCE).unwrap());
        has(&head, "x-token", "t", true);
        has(&head, "x-other", "p", false);
        has(&head, "cookie", "a=1; b=2", true);
        let trailers = fields(&mut unpacker, &blocks.recv_timeout(PATIENCE).unwrap());
        has(&trailers, "x-sum", "s", true);
    }
}

#[test]
fn what_a_worker_wants_never_indexed_a_client_of_http2_gets_so() {
    let world = World::new();
    let (port, _blocks) = worker();
    let buckler = world.buckler(&config(&[port], ""));
    let mut client = Http2::connect(buckler.port());
    assert!(client.get("/"));
    let mut unpacker = Unpacker::new();
    let [head, trailers] = client.payloads(HEADERS, stream(0)).try_into().unwrap();
    has(&fields(&mut unpacker, &head), "x-token", "t", true);
    has(&fields(&mut unpacker, &trailers), "x-sum", "s", true);
}

#[test]
fn what_a_worker_of_http1_says_may_be_indexed() {
    let world = World::new();
    world.worker("a").always(&[Step::send("HTTP/1.1 200 OK\r\nx-token: t\r\ncontent-length: 0\r\n\r\n")]);
    let buckler = world.one_service("");
    let mut client = Http2::connect(buckler.port());
    assert!(client.get("/"));
    let [head] = client.payloads(HEADERS, stream(0)).try_into().unwrap();
    has(&fields(&mut Unpacker::new(), &head), "x-token", "t", false);
}
