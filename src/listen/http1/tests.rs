//! Whole connections without a listener: what a client writes, in pieces of any size, and what comes of it. Here
//! is what these tests share.

mod answers;
mod bodies;
mod parking;
mod pipelining;
mod requests;
mod said_again;
mod time_limits;
mod waking;

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;

use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::said::Asked;
use super::*;
use crate::admit::caller::CallerBook;
use crate::admit::ledger::Ledger;
use crate::clock::ShardClock;
use crate::config::{self, Timeouts, Verdict};
use crate::fields::Fields;
use crate::forward::source::Source;
use crate::inbound::Arrival;
use crate::message::Request;
use crate::service::{Desk, Place, Service};
use crate::shard::ShardId;
use crate::socket::Socket;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A service that refuses every request.
pub(in crate::listen) fn place() -> Rc<Place> {
    place_that_keeps(Duration::from_secs(60))
}

/// The same, whose idle connections are closed after `keep_alive`.
fn place_that_keeps(keep_alive: Duration) -> Rc<Place> {
    place_with(|timeouts| timeouts.keep_alive = keep_alive)
}

fn place_with(change: impl FnOnce(&mut Timeouts)) -> Rc<Place> {
    let clock = ShardClock::new();
    let callers = Arc::new(CallerBook::new(config::plain_callers()));
    let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
    let mut service = config::plain_service();
    service.permissions.default = Verdict::Deny;
    change(&mut service.timeouts);
    let service = Service::new((&Arc::new(service), None), &callers, &ledger, 1, None);
    Place::new(Desk::new(service, (ShardId(0), &clock), None, None), clock)
}

/// A connection, who comes over it, and its other end.
pub(in crate::listen) fn connection(place: &Rc<Place>) -> (Transport, Rc<Visitor>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let socket = Socket::Unix(tokio::net::UnixStream::from_std(near).unwrap());
    let arrival = Arrival::plain(([127, 0, 0, 1], 1).into());
    (socket.into(), Visitor::new(arrival, Rc::clone(place)), far)
}

fn line() -> (Rc<Line>, UnixStream) {
    line_at(&place())
}

fn line_at(place: &Rc<Place>) -> (Rc<Line>, UnixStream) {
    let (transport, visitor, far) = connection(place);
    let since = visitor.now().nanos;
    (Line::new(Rest { transport, since, heads: 0 }, &visitor), far)
}

pub(in crate::listen) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

fn pairs(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec())).collect()
}

/// The next request, and what its answer has to know of it.
async fn next(line: &Rc<Line>) -> Result<(Request<Source>, Asked), End> {
    let mut heard = None;
    poll_fn(|cx| line.poll_head(cx, &mut heard)).await?;
    Ok((heard.unwrap(), line.io.borrow().asked))
}

/// Whether another request follows, now that one is answered.
async fn settles(line: &Rc<Line>) -> bool {
    poll_fn(|cx| Poll::Ready(line.io.borrow_mut().settle(cx, &line.visitor, true).is_ok())).await
}

/// A connection on which this has come, its other end, and the request that it begins with.
async fn line_with(stream: &[u8]) -> (Rc<Line>, UnixStream, Request<Source>) {
    let (line, mut far) = line();
    far.write_all(stream).unwrap();
    let (request, _) = next(&line).await.ok().unwrap();
    (line, far, request)
}

/// Writes all and says that it is all; whoever waits for the answers has to hold what is returned.
async fn write_in_pieces(far: UnixStream, stream: &[u8], cuts: &[usize]) -> tokio::net::UnixStream {
    let mut far = tokio::net::UnixStream::from_std(far).unwrap();
    let (mut rest, mut cuts) = (stream, cuts.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        if far.write_all(piece).await.is_err() {
            // What came before has ended the connection.
            return far;
        }
        // The other side looks at what came before the next piece does.
        tokio::task::yield_now().await;
        rest = behind;
    }
    let _ = far.shutdown().await;
    far
}

/// Serves a connection beside what its client does.
fn with_client<T, F: Future<Output = T>>(client: impl FnOnce(tokio::net::UnixStream) -> F) -> T {
    run(async {
        let (transport, visitor, far) = connection(&place());
        let served = tokio::task::spawn_local(async move {
            serve(transport, visitor, None).await;
        });
        let found = client(tokio::net::UnixStream::from_std(far).unwrap()).await;
        served.await.unwrap();
        found
    })
}

/// All that is answered to this, until the connection is closed.
fn answered(stream: &str) -> Vec<u8> {
    with_client(|mut far| async move {
        far.write_all(stream.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        bytes
    })
}

/// Takes what has come.
fn take_all(far: &mut UnixStream) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = far.read(&mut piece) {
        all.extend_from_slice(&piece[..n]);
    }
    all
}

fn count(bytes: &[u8], what: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(what).count()
}

/// Polls once: whether it is still waiting.
async fn waits<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> bool {
    poll_fn(|cx| Poll::Ready(poll(cx).is_pending())).await
}
