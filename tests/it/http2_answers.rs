//! Answers to clients of HTTP/2, from workers of either kind: what is left of the request goes on while a window stays
//! closed, and trailers are made fit for their hop.

use std::future::poll_fn;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::Request;

use crate::world::{Step, World};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Many times what fits into the windows on the way.
const MUCH: usize = 2 * 1024 * 1024;

/// Sends much, and reads the answer only after that. Returns how many bytes came back.
#[track_caller]
fn send_all_then_read(port: u16) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let call = async {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = Request::post("http://api.test/").header("content-length", MUCH).body(()).unwrap();
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        let mut left = Bytes::from(vec![b'x'; MUCH]);
        while !left.is_empty() {
            stream.reserve_capacity(left.len());
            let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            let piece = left.split_to(room.min(left.len()));
            stream.send_data(piece, left.is_empty()).unwrap();
        }
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        length(response.into_body()).await
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await.expect("an answer") })
}

async fn length(mut body: RecvStream) -> usize {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        length += data.len();
    }
    length
}

/// A worker of HTTP/1.1 that sends a body back as it comes, and reads on whether or not that is taken.
fn echo_of_http1() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut out = stream.try_clone().unwrap();
        let (pieces, held) = mpsc::channel::<Vec<u8>>();
        std::thread::spawn(move || held.iter().try_for_each(|piece| out.write_all(&piece)));
        let mut incoming = BufReader::new(stream);
        let mut line = String::new();
        while incoming.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        pieces.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n").into_bytes()).unwrap();
        let mut piece = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = incoming.read(&mut piece) {
            let _ = pieces.send(piece[..n].to_vec());
        }
    });
    port
}

/// The same of HTTP/2.
fn echo_of_http2() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stream, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let mut server = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = server.accept().await {
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let mut answer = respond.send_response(http::Response::new(()), false).unwrap();
                    let mut left = MUCH;
                    while let Some(Ok(data)) = body.data().await {
                        body.flow_control().release_capacity(data.len()).unwrap();
                        left -= data.len();
                        answer.send_data(data, left == 0).unwrap();
                    }
                });
            }
        });
    });
    port
}

#[test]
fn a_request_goes_on_while_the_client_reads_nothing_of_the_answer() {
    let world = World::new();
    for (port, protocol) in [(echo_of_http1(), "http1"), (echo_of_http2(), "http2")] {
        let buckler = world.buckler(&format!(
            "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
             workers: {{ addresses: [\"127.0.0.1:{port}\"], protocol: {protocol} }}\n"
        ));
        assert_eq!(send_all_then_read(buckler.port()), MUCH, "{protocol}");
    }
}

#[test]
fn trailers_of_an_http1_worker_lose_what_would_spoil_the_answer() {
    let world = World::new();
    let trailers = "connection: x-hop\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\ncontent-length: 7\r\n\
                    x-buckler-caller: root\r\ngrpc-status: 0\r\nx-checksum: 9\r\n";
    let answer =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n");
    world.worker("a").always(&[Step::send(&answer)]);
    let buckler = world.one_service("");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let call = async {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, buckler.port())).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://a.test/").body(()).unwrap();
        let mut body = sender.send_request(request, true).unwrap().0.await.unwrap().into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        // One that HTTP/2 forbids would make the whole answer malformed.
        body.trailers().await.unwrap().expect("trailers")
    };
    let trailers = runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await.expect("an answer") });
    let mut names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-status", "x-checksum"]);
}
