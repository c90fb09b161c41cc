//! Both other ends of a proxy of HTTP/2, made of h2: a client that asks once, and a worker that is told how to behave.

use std::future::poll_fn;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::sync::Notify;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the client heard.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    head: HeaderMap,
    pub(crate) body: Vec<u8>,
    trailers: Option<HeaderMap>,
    pub(crate) ended_with_head: bool,
}

impl Heard {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.get(name)?.to_str().ok()
    }

    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name)?.to_str().ok()
    }
}

/// A gRPC request for this method.
pub(crate) fn grpc(path: &str) -> http::request::Builder {
    let uri = format!("http://api.example.test{path}");
    Request::post(uri).header("content-type", "application/grpc").header("te", "trailers")
}

/// Sends one request over HTTP/2 and reads what comes of it.
#[track_caller]
pub(crate) fn call(port: u16, request: http::request::Builder, body: &'static [u8]) -> Heard {
    call_and(port, request, body, || {})
}

/// The same; says so whenever it heard a piece of the answer.
#[track_caller]
pub(crate) fn call_and(
    port: u16,
    request: http::request::Builder,
    body: &'static [u8],
    heard_some: impl Fn(),
) -> Heard {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let call = async {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = request.body(()).unwrap();
        let (response, mut upload) = sender.send_request(request, false).unwrap();
        upload.send_data(Bytes::from_static(body), true).unwrap();
        let (head, mut stream) = response.await.unwrap().into_parts();
        let mut heard = Heard {
            status: head.status.as_u16(),
            head: head.headers,
            body: Vec::new(),
            trailers: None,
            ended_with_head: stream.is_end_stream(),
        };
        while let Some(data) = stream.data().await {
            let data = data.unwrap();
            let _ = stream.flow_control().release_capacity(data.len());
            heard.body.extend_from_slice(&data);
            heard_some();
        }
        heard.trailers = stream.trailers().await.unwrap();
        heard
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await.expect("an answer") })
}

/// How a worker serves a request.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Sends the body back.
    Echo,
    /// The same, with the trailers of a gRPC answer that went well.
    GrpcEcho,
    /// Sends the body back and says GOAWAY.
    Leave,
    /// Never answers.
    Wait,
    /// Begins an answer and resets it.
    Cut,
    /// Answers with a body of five bytes, or on `/none` with none, and never says that the answer is over.
    Linger,
    /// Refuses the stream.
    Refuse,
}

/// A worker on a thread of its own; the thread ends with the test's process.
pub(crate) struct Http2Worker {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    cancelled: AtomicUsize,
    heads: Mutex<Vec<HeaderMap>>,
    heard: Notify,
}

impl Http2Worker {
    /// A worker that serves the n-th request of each connection, from 1, as `act` says.
    pub(crate) fn start(act: fn(usize) -> Act) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let worker = Self { port, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(stream, act, Arc::clone(&shared)));
                }
            });
        });
        worker
    }

    /// The client has heard something: lets [`Act::Cut`] go on.
    pub(crate) fn was_heard(&self) {
        self.shared.heard.notify_one();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Streams that Buckler reset with CANCEL.
    pub(crate) fn cancelled(&self) -> usize {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// This field of all requests so far.
    pub(crate) fn seen(&self, name: &str) -> Vec<String> {
        let heads = self.shared.heads.lock().unwrap();
        let fields = heads.iter().filter_map(|head| head.get(name));
        fields.map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

async fn connection(stream: tokio::net::TcpStream, act: fn(usize) -> Act, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut server) = h2::server::handshake(stream).await else { return };
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let leave = Arc::new(Notify::new());
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            () = leave.notified() => {
                server.graceful_shutdown();
                continue;
            }
            accepted = server.accept() => accepted,
        };
        let Some(Ok((request, respond))) = accepted else { return };
        number += 1;
        shared.heads.lock().unwrap().push(request.headers().clone());
        let is_none = request.uri().path() == "/none";
        tokio::spawn(serve(
            (request.into_body(), is_none),
            respond,
            act(number),
            Arc::clone(&leave),
            Arc::clone(&shared),
        ));
    }
}

async fn serve(
    (body, is_none): (RecvStream, bool),
    mut respond: SendResponse<Bytes>,
    act: Act,
    leave: Arc<Notify>,
    shared: Arc<Shared>,
) {
    match act {
        Act::Wait => {
            if let Ok(Reason::CANCEL) = poll_fn(|cx| respond.poll_reset(cx)).await {
                shared.cancelled.fetch_add(1, Ordering::SeqCst);
            }
        }
        Act::Linger => {
            let answer = Response::builder();
            let answer = match is_none {
                true => answer.status(204).body(()),
                false => answer.header("content-length", "5").body(()),
            };
            let mut stream = respond.send_response(answer.unwrap(), false).unwrap();
            if !is_none {
                stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
            }
            let _ = poll_fn(|cx| stream.poll_reset(cx)).await;
        }
        Act::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
        Act::Cut => {
            let mut stream = respond.send_response(head(), false).unwrap();
            stream.send_data(Bytes::from_static(b"some"), false).unwrap();
            // A reset overtakes what is queued.
            shared.heard.notified().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        Act::Echo | Act::GrpcEcho | Act::Leave => echo(body, respond, act, &leave).await,
    }
}

async fn echo(mut body: RecvStream, mut respond: SendResponse<Bytes>, act: Act, leave: &Notify) {
    if matches!(act, Act::Leave) {
        leave.notify_one();
    }
    // A client in haste may be gone already.
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        if stream.send_data(data, false).is_err() {
            return;
        }
    }
    if matches!(act, Act::GrpcEcho) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let _ = stream.send_trailers(trailers);
    } else {
        stream.send_data(Bytes::new(), true).unwrap();
    }
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}
