//! A worker of h2 in the test's own process: one function serves each request, and what it saw can be asked.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// A worker.
pub(super) struct Worker {
    address: SocketAddr,
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: Cell<usize>,
    closed: Cell<usize>,
    streams: Cell<usize>,
    cancelled: Cell<usize>,
    poured: Cell<u64>,
    seen: RefCell<Vec<Seen>>,
    gate: watch::Sender<bool>,
}

/// A request as the worker saw it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
}

/// A request to answer.
pub(super) struct Asked {
    /// Which one of its connection it is, from 1.
    pub(super) number: usize,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    shared: Rc<Shared>,
    leave: Rc<Notify>,
    die: Rc<Notify>,
}

impl Worker {
    /// A worker that serves each request by `serve`.
    pub(super) fn start<F: Future<Output = ()> + 'static>(serve: impl Fn(Asked) -> F + 'static) -> Self {
        Self::with(|_| {}, serve)
    }

    /// The same with settings of its own.
    pub(super) fn with<F: Future<Output = ()> + 'static>(
        settings: impl Fn(&mut h2::server::Builder) + 'static,
        serve: impl Fn(Asked) -> F + 'static,
    ) -> Self {
        let (listener, address) = listener();
        let shared = Rc::<Shared>::default();
        let worker = Self { address, shared: Rc::clone(&shared) };
        let serve = Rc::new(serve);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.set(shared.connections.get() + 1);
                let mut builder = h2::server::Builder::new();
                settings(&mut builder);
                tokio::task::spawn_local(connection(stream, builder, Rc::clone(&serve), Rc::clone(&shared)));
            }
        });
        worker
    }

    /// One that says these bytes to whoever connects, and nothing more.
    pub(super) fn raw(says: &'static [u8]) -> Self {
        let (listener, address) = listener();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let _ = stream.write_all(says).await;
                    let mut sink = [0; 1024];
                    while stream.read(&mut sink).await.is_ok_and(|n| n > 0) {}
                });
            }
        });
        Self { address, shared: Rc::default() }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets everybody through who waits at the gate.
    pub(super) fn open(&self) {
        self.shared.gate.send_replace(true);
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.get()
    }

    /// Connections that ended.
    pub(super) fn closed(&self) -> usize {
        self.shared.closed.get()
    }

    /// Streams so far.
    pub(super) fn streams(&self) -> usize {
        self.shared.streams.get()
    }

    /// Streams that the client reset with CANCEL.
    pub(super) fn cancelled(&self) -> usize {
        self.shared.cancelled.get()
    }

    /// Bytes that [`Asked::pour`] got rid of.
    pub(super) fn poured(&self) -> u64 {
        self.shared.poured.get()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.take()
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (TcpListener::from_std(listener).unwrap(), address)
}

async fn connection<F: Future<Output = ()> + 'static>(
    stream: TcpStream,
    builder: h2::server::Builder,
    serve: Rc<impl Fn(Asked) -> F + 'static>,
    shared: Rc<Shared>,
) {
    SockRef::from(&stream).set_tcp_nodelay(true).unwrap();
    let Ok(mut server) = builder.handshake(stream).await else { return };
    let (leave, die) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = die.notified() => break,
            () = leave.notified() => {
                server.graceful_shutdown();
                continue;
            }
            accepted = server.accept() => accepted,
        };
        let Some(Ok((request, respond))) = accepted else { break };
        number += 1;
        shared.streams.set(shared.streams.get() + 1);
        let seen = Seen { uri: request.uri().to_string(), headers: request.headers().clone() };
        shared.seen.borrow_mut().push(seen);
        let (shared, leave, die) = (Rc::clone(&shared), Rc::clone(&leave), Rc::clone(&die));
        let asked = Asked { number, request, respond, shared, leave, die };
        tokio::task::spawn_local(serve(asked));
    }
    shared.closed.set(shared.closed.get() + 1);
}

impl Asked {
    pub(super) fn path(&self) -> &'static str {
        // Leaked: a test has a few of them.
        self.request.uri().path().to_owned().leak()
    }

    /// Waits until [`Worker::open`], or until the client cancels.
    pub(super) async fn gate(&mut self) {
        let mut gate = self.shared.gate.subscribe();
        tokio::select! {
            opened = gate.wait_for(|open| *open) => drop(opened),
            reset = poll_fn(|cx| self.respond.poll_reset(cx)) => self.note(&reset),
        }
    }

    pub(super) async fn answer(&mut self, text: &'static str) {
        let mut stream = self.head(Response::new(()), text.is_empty());
        if !text.is_empty() {
            stream.send_data(Bytes::from(text), true).unwrap();
        }
    }

    /// Answers with a field of so many bytes.
    pub(super) async fn answer_with_head_of(&mut self, bytes: usize) {
        let mut response = Response::new(());
        response.headers_mut().insert("x-long", "x".repeat(bytes).parse().unwrap());
        self.head(response, true);
    }

    /// Sends back what comes, as it comes, trailers too.
    pub(super) async fn echo(&mut self) {
        let mut stream = self.head(Response::new(()), false);
        let body = self.request.body_mut();
        while let Some(data) = body.data().await {
            let Ok(data) = data else { return };
            body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        match body.trailers().await.unwrap() {
            Some(trailers) => stream.send_trailers(trailers).unwrap(),
            None => stream.send_data(Bytes::new(), true).unwrap(),
        }
    }

    /// Takes so many bytes of the body.
    pub(super) async fn take(&mut self, bytes: usize) {
        let body = self.request.body_mut();
        let mut taken = 0;
        while taken < bytes {
            let Some(Ok(data)) = body.data().await else { return };
            taken += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
    }

    /// Sends so many bytes, as the client takes them.
    pub(super) async fn pour(&mut self, bytes: usize) {
        let mut stream = self.head(Response::new(()), false);
        let mut left = bytes;
        while left > 0 {
            stream.reserve_capacity(16 * 1024);
            let room = poll_fn(|cx| match stream.poll_reset(cx) {
                Poll::Ready(reset) => Poll::Ready(Err(reset)),
                Poll::Pending => stream.poll_capacity(cx).map(|room| Ok(room.unwrap().unwrap())),
            });
            let room = match room.await {
                Ok(room) => room,
                Err(reset) => return self.note(&reset),
            };
            let room = room.min(left);
            left -= room;
            stream.send_data(Bytes::from(vec![b'p'; room]), left == 0).unwrap();
            self.shared.poured.set(self.shared.poured.get() + room as u64);
        }
    }

    /// Begins an answer and never ends it.
    pub(super) async fn stop_after(&mut self, text: &'static str) {
        let mut stream = self.head(Response::new(()), false);
        stream.send_data(Bytes::from(text), false).unwrap();
        let reset = poll_fn(|cx| stream.poll_reset(cx)).await;
        self.note(&reset);
    }

    pub(super) fn hint(&mut self, link: &'static str) {
        let mut hint = Response::new(());
        *hint.status_mut() = StatusCode::EARLY_HINTS;
        hint.headers_mut().insert("link", link.parse().unwrap());
        self.respond.send_informational(hint).unwrap();
    }

    pub(super) async fn reset(&mut self, reason: h2::Reason) {
        self.respond.send_reset(reason);
    }

    /// This connection says GOAWAY and ends what it has begun.
    pub(super) fn leave(&self) {
        self.leave.notify_one();
    }

    /// This connection ends at once.
    pub(super) async fn die(&self) {
        self.die.notify_one();
        std::future::pending().await
    }

    fn head(&mut self, response: Response<()>, end: bool) -> SendStream<Bytes> {
        self.respond.send_response(response, end).unwrap()
    }

    fn note(&self, reset: &Result<h2::Reason, h2::Error>) {
        if matches!(reset, Ok(h2::Reason::CANCEL)) {
            self.shared.cancelled.set(self.shared.cancelled.get() + 1);
        }
    }
}
