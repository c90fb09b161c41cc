//! What requests to HTTP/2 workers promise, with workers of h2 in the same process. The same through the whole of
//! Buckler, with real workers, is tested in `tests/it/http2_workers.rs`. Here is what these tests share.

mod connections;
mod faults;
mod messages;
mod retries;
mod worker;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;

use self::worker::{Asked, Worker};
use super::super::Reserved;
use super::*;
use crate::clock::ShardClock;
use crate::config::{self, WorkerProtocol};
use crate::forward::pace::Patience;
use crate::forward::proxy_header::Spoken;
use crate::forward::source::{Http2Source, Interrupted, Source, StreamBody};
use crate::forward::upload::Upload;
use crate::message::{RequestHead, Target};
use crate::record::Scribe;
use crate::record::counts::ServiceCounts;
use crate::refusal::Reason;
use crate::shard::ShardId;
use crate::workers::{CallerGroup, Wanted, Workers};

const PATIENCE: Patience = Patience { gap: Duration::from_secs(30), rate: None };
const CALL: Call<'static> = Call {
    until: None,
    haste: None,
    key: 0,
    group: CallerGroup::of(0),
    early: None,
    spoken: Spoken::ForNobody,
    upgrade: None,
};

/// A route to some workers, and what a request needs beside it.
struct Way {
    route: Rc<Route>,
    workers: Arc<Workers>,
    scribe: Rc<Scribe>,
    clock: Rc<ShardClock>,
}

fn way(workers: &[SocketAddr], change: impl FnOnce(&mut config::Service)) -> Way {
    let clock = ShardClock::new();
    let mut service = config::plain_service();
    service.worker_protocol = WorkerProtocol::Http2;
    change(&mut service);
    let set = Workers::new(1);
    let wanted = workers.iter().zip(0..).map(|(address, priority)| Wanted {
        address: (*address).into(),
        priority,
        weight: 1,
    });
    set.replace(wanted.collect(), None, clock.now());
    let place = (ShardId(0), Rc::clone(&clock));
    let route = Route::new(Arc::clone(&set), Arc::default(), &service, place, None);
    let text = "services: {a: {listen: 127.0.0.1:4070, workers: {addresses: [127.0.0.1:9001]}}}";
    let loaded = config::load_str("t.yaml", text, &config::NoFiles, Moment::at(1), &|_| None);
    let callers = loaded.config.unwrap().callers;
    let scribe = Scribe::new(&service.name, ServiceCounts::new(1), ShardId(0), &callers, None);
    Way { route: Rc::new(route), workers: set, scribe, clock }
}

impl Way {
    async fn send(&self, order: Order) -> Result<Response<Answer>, Refusal> {
        self.call(order, CALL).await
    }

    async fn call(&self, mut order: Order, call: Call<'_>) -> Result<Response<Answer>, Refusal> {
        let mut outcome = self.scribe.begin(self.clock.refresh(), SocketAddr::from(([127, 0, 0, 1], 1)));
        self.route.send(&mut order, Reserved::default(), &call, &mut outcome).await
    }

    /// How often the workers were tried, and how many connections they have.
    fn counted(&self) -> (u64, u64) {
        let set = self.workers.load();
        let sum = |count: fn(&crate::workers::WorkerCounts) -> &crate::shard::Count| {
            set.members.iter().map(|member| member.worker.counts.sum(count)).sum()
        };
        (sum(|counts| &counts.attempts), sum(|counts| &counts.connections))
    }

    fn active(&self) -> u64 {
        let set = self.workers.load();
        set.members.iter().map(|member| member.worker.counts.sum(|counts| &counts.active)).sum()
    }
}

fn get(path: &'static str) -> Order {
    order(Method::GET, path, Upload::none())
}

fn order(method: Method, path: &'static str, body: Upload) -> Order {
    let mut head = RequestHead::new(method, Target::new("", "", path));
    head.fields.add("host", b"api.test");
    Order { head, body }
}

/// A client's body over HTTP/2: what is written into the one end comes out of the other.
async fn body() -> (SendStream<Bytes>, Upload) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let client = tokio::task::spawn_local(async move {
        let (sender, connection) = h2::client::handshake(near).await.unwrap();
        tokio::task::spawn_local(connection);
        let mut sender = sender.ready().await.unwrap();
        let (response, stream) = sender.send_request(http::Request::new(()), false).unwrap();
        tokio::task::spawn_local(response);
        stream
    });
    let mut server = h2::server::handshake(far).await.unwrap();
    let (request, respond) = server.accept().await.unwrap().unwrap();
    tokio::task::spawn_local(async move {
        let _respond = respond;
        while server.accept().await.is_some() {}
    });
    let source = Http2Source::new(Box::new(Received(request.into_body())), None, PATIENCE, None);
    (client.await.unwrap(), Upload::new(Source::Http2(Box::new(source)), u64::MAX, false))
}

#[derive(Debug)]
struct Received(h2::RecvStream);

impl StreamBody for Received {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        self.0.poll_data(cx).map(|data| data.map(|data| data.map_err(|_| Interrupted::Gone)))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Interrupted>> {
        self.0.poll_trailers(cx).map_err(|_| Interrupted::Gone)
    }

    fn release(&mut self, length: usize) {
        self.0.flow_control().release_capacity(length).unwrap();
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn may_send(&self) -> bool {
        true
    }

    fn held_back(&self) -> Duration {
        Duration::ZERO
    }
}

/// Reads an answer to its end.
async fn read(answer: Answer) -> Result<(Vec<u8>, Option<HeaderMap>), Refusal> {
    let mut answer = pin!(answer);
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| answer.as_mut().poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes, trailers))
}

/// Reads one piece of an answer.
async fn piece(answer: &mut Answer) -> Option<Result<Bytes, Refusal>> {
    let frame = poll_fn(|cx| Pin::new(&mut *answer).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Lets everything that can go on go on, until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

fn on_a_shard(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.unwrap() });
}
