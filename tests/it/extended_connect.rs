//! WebSocket on a stream of HTTP/2 (RFC 8441), as the engine of PyPI's clients and browsers asks for it: what the
//! worker sees of it, and that it ends as any tunnel does.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::net::TcpStream;

use crate::world::{Buckler, SWITCH, Step, World, eventually, one_service};

/// Runs a client of HTTP/2 against this Buckler.
fn with_client<F: Future>(buckler: &Buckler, client: impl FnOnce(SendRequest<Bytes>) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", buckler.port())).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        while !send.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
            send = send.ready().await.unwrap();
        }
        let output = client(send).await;
        driving.abort();
        output
    })
}

/// Asks to go on as this protocol.
async fn ask(send: &mut SendRequest<Bytes>, protocol: &'static str) -> Result<Asked, h2::Error> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a.test/chat?room=1")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .extension(Protocol::from_static(protocol))
        .body(())
        .unwrap();
    let (answer, stream) = send.send_request(request, false)?;
    Ok((answer.await?, stream))
}

type Asked = (Response<RecvStream>, SendStream<Bytes>);

async fn next(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = body.data().await?;
    if let Ok(data) = &data {
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    Some(data)
}

#[test]
fn the_worker_sees_an_upgrade_and_the_stream_carries_bytes() {
    let world = World::new();
    let worker = world.worker("a");
    worker.always(&[Step::Agree(b"hello ".to_vec()), Step::Mirror]);
    let buckler = world.one_service("");
    with_client(&buckler, async |mut send| {
        let (answer, mut stream) = ask(&mut send, "websocket").await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        for hop in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!answer.headers().contains_key(hop), "{hop}");
        }
        stream.send_data(Bytes::from_static(b"over there"), true).unwrap();
        let (mut body, mut carried) = (answer.into_body(), Vec::new());
        while let Some(data) = next(&mut body).await {
            carried.extend(data.unwrap());
        }
        assert_eq!(carried, b"hello over there");
    });
    let seen = worker.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/chat?room=1"));
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!((seen.field("host"), seen.field("sec-websocket-version")), (Some("a.test"), Some("13")));
    assert_eq!(seen.field("sec-websocket-key").map(str::len), Some(24));
    assert_eq!(seen.field("transfer-encoding"), None);
    let line = buckler.logged("the tunnel", |line| line["tunnel_end"] == "client_closed");
    assert_eq!((&line["status"], &line["proto"]), (&200.into(), &"HTTP/2".into()));
    eventually("the tunnel to be gone", || buckler.metrics().sum("buckler_tunnels", &[]) == 0.0);
}

#[test]
fn an_answer_that_does_not_switch_is_never_taken_for_agreement() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    with_client(&buckler, async |mut send| {
        // A worker that knows nothing of WebSocket answers the GET, and the client would take its 200 for a tunnel.
        assert_eq!(ask(&mut send, "websocket").await.unwrap().0.status(), 502);
        worker.once(&[Step::send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")]);
        assert_eq!(ask(&mut send, "websocket").await.unwrap().0.status(), 403);
        assert_eq!(ask(&mut send, "connect-udp").await.unwrap().0.status(), 405);
    });
    assert_eq!(worker.count(), 2);
}

#[test]
fn an_agreement_to_another_key_is_none() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    with_client(&buckler, async |mut send| {
        let of_another = "\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        for agreement in [SWITCH, &SWITCH.replace("\r\n\r\n", of_another)] {
            worker.once(&[Step::send(agreement), Step::Hang]);
            assert_eq!(ask(&mut send, "websocket").await.unwrap().0.status(), 502);
        }
    });
    assert_eq!(buckler.refused("worker_protocol"), 2.0);
}

#[test]
fn where_it_is_not_allowed_it_is_neither_offered_nor_sent_as_a_get() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    with_client(&buckler, async |mut send| {
        world.reload(&buckler, &one_service("upgrades: []"));
        assert_eq!(ask(&mut send, "websocket").await.unwrap().0.status(), 405);
    });
    assert_eq!(worker.count(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", buckler.port())).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        // An answer comes behind the server's SETTINGS.
        let question = Request::get("http://a.test/").body(()).unwrap();
        let (answer, _) = send.send_request(question, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        assert!(!send.is_extended_connect_protocol_enabled());
        driving.abort();
    });
}

#[test]
fn a_length_cannot_make_the_next_request_its_body() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    with_client(&buckler, async |mut send| {
        for (name, value) in [("content-length", "42"), ("expect", "100-continue"), ("trailer", "x")] {
            let request = Request::builder()
                .method(Method::CONNECT)
                .uri("http://a.test/chat")
                .header(name, value)
                .extension(Protocol::from_static("websocket"))
                .body(())
                .unwrap();
            let (answer, _stream) = send.send_request(request, false).unwrap();
            assert_eq!(answer.await.unwrap().status(), 400, "{name}");
        }
    });
    assert_eq!(worker.count(), 0);
}

#[test]
fn a_break_on_one_side_resets_the_other() {
    let world = World::new();
    let worker = world.worker("a");
    let buckler = world.one_service("");
    worker.once(&[Step::Agree(Vec::new()), Step::Await(b"go".to_vec()), Step::Reset]);
    with_client(&buckler, async |mut send| {
        let (answer, mut stream) = ask(&mut send, "websocket").await.unwrap();
        stream.send_data(Bytes::from_static(b"go"), false).unwrap();
        let end = next(&mut answer.into_body()).await.unwrap().unwrap_err();
        assert_eq!(end.reason(), Some(Reason::CANCEL));
        worker.once(&[Step::Agree(Vec::new()), Step::Hang]);
        let (_answer, mut stream) = ask(&mut send, "websocket").await.unwrap();
        stream.send_reset(Reason::CANCEL);
        // The connection goes on.
        assert_eq!(ask(&mut send, "connect-udp").await.unwrap().0.status(), 405);
    });
    buckler.logged("the first", |line| line["tunnel_end"] == "worker_reset");
    buckler.logged("the second", |line| line["tunnel_end"] == "client_reset");
}

#[test]
fn much_is_carried_as_windows_open() {
    const BYTES: usize = 4 * 1024 * 1024;
    let world = World::new();
    world.worker("a").always(&[Step::Agree(Vec::new()), Step::Mirror]);
    let buckler = world.one_service("");
    with_client(&buckler, async |mut send| {
        let (answer, mut stream) = ask(&mut send, "websocket").await.unwrap();
        let sending = async {
            let mut left = Bytes::from((0..BYTES).map(|n| (n % 251) as u8).collect::<Vec<_>>());
            while !left.is_empty() {
                stream.reserve_capacity(left.len());
                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
                let piece = left.split_to(room.min(left.len()));
                stream.send_data(piece, left.is_empty()).unwrap();
            }
        };
        let receiving = async {
            let (mut body, mut got) = (answer.into_body(), 0);
            while let Some(data) = next(&mut body).await {
                for byte in data.unwrap() {
                    assert_eq!(byte, (got % 251) as u8);
                    got += 1;
                }
            }
            got
        };
        assert_eq!(tokio::join!(sending, receiving).1, BYTES);
    });
}
