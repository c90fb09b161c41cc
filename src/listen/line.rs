//! What a client's HTTP/1.1 socket and the one who watches over it share: where the incoming bytes stand, who waits for
//! what since when, and which of that has lasted too long. The bytes themselves are judged in `socket.rs`.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use tokio::io::AsyncWrite;

use super::transport::Transport;
use super::wire::Stage;
use crate::config::Timeouts;
use crate::forward::pace::{Late, Pace};
use crate::forward::tunnel::Opening;
use crate::inbound::{Reply, Visitor};
use crate::refusal::Refusal;

/// The version of every answer.
pub(super) const HTTP_VERSION: &[u8; 8] = b"HTTP/1.1";
/// How long the head of an answer is awaited for a client that closed its side after it asked. It may only have closed
/// the sending half (RFC 9112 section 9.6 allows it), but most that do are gone, and their request holds a worker.
const HALF_CLOSED_WAIT: Duration = Duration::from_secs(2);

/// What a socket and the one who watches over it share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: RefCell<Transport>,
    pub(super) visitor: Rc<Visitor>,
    /// Where the incoming bytes stand.
    pub(super) stage: Cell<Stage>,
    /// When that began (nanoseconds of `Moment`).
    pub(super) stage_since: Cell<u64>,
    /// Complete heads so far. Before the first one, silence counts as a slow head.
    pub(super) heads: Cell<u64>,
    /// hyper waits for bytes since then.
    pub(super) reading: Cell<Option<u64>>,
    /// How the body of the last head has come so far.
    pub(super) pace: Cell<Pace>,
    /// hyper waits to write since then.
    pub(super) writing: Cell<Option<u64>>,
    /// The client closed its side then.
    pub(super) closed_at: Cell<Option<u64>>,
    /// hyper asked and was not told that the client closed its side, since a request was under way.
    pub(super) end_untold: Cell<bool>,
    pub(super) fault: RefCell<Option<Broken>>,
    /// The client began with the preface of HTTP/2: what it sent so far.
    pub(super) preface: RefCell<Option<Vec<u8>>>,
    /// Interim answers as bytes that the client has not taken yet.
    pub(super) early: RefCell<Vec<u8>>,
    /// The number of the last head that asks to go on with another protocol. What comes behind it is held until its
    /// answer is known: it may not be HTTP (the class of CVE-2026-2833).
    pub(super) upgrade: Cell<Option<u64>>,
    /// hyper asked for what is held, and was told to wait.
    pub(super) kept_waiting: Cell<bool>,
    /// The answer that agrees to that. hyper is never given it.
    pub(super) switched: RefCell<Option<Response<Reply>>>,
    /// What was received and not passed to hyper when it was dropped.
    pub(super) left: RefCell<Vec<u8>>,
    /// hyper has written something that it has not flushed yet: nothing may come between.
    pub(super) mid_write: Cell<bool>,
}

/// Why no more bytes pass.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) refusal: Refusal,
    /// In a body: whoever reads it is told. Otherwise in a head that nobody else has seen.
    pub(super) in_body: bool,
    /// What is known of the request line, for the log.
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
}

/// What has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head: 408.
    Head,
    /// The body: 408, through whoever reads it.
    Body(Late),
    /// The client takes no more of the answer.
    Send,
    /// An idle connection.
    Idle,
    /// A client that closed its side and still waits for an answer.
    HalfClosed,
}

impl Line {
    pub(super) fn new(stream: Transport, visitor: Rc<Visitor>) -> Rc<Self> {
        let now = visitor.now().nanos;
        Rc::new(Self {
            stream: RefCell::new(stream),
            visitor,
            stage: Cell::new(Stage::Idle),
            stage_since: Cell::new(now),
            heads: Cell::new(0),
            reading: Cell::new(None),
            pace: Cell::default(),
            writing: Cell::new(None),
            closed_at: Cell::new(None),
            end_untold: Cell::new(false),
            fault: RefCell::new(None),
            preface: RefCell::default(),
            early: RefCell::default(),
            upgrade: Cell::new(None),
            kept_waiting: Cell::new(false),
            switched: RefCell::default(),
            left: RefCell::default(),
            mid_write: Cell::new(false),
        })
    }

    /// A fault that must be answered here, because hyper never saw the request: once nothing else is under way.
    pub(super) fn unanswered_fault(&self) -> Option<Broken> {
        if self.is_serving() || self.writing.get().is_some() {
            return None;
        }
        self.fault.borrow().as_ref().filter(|broken| !broken.in_body).cloned()
    }

    /// Whether the client speaks HTTP/2 after all.
    pub(super) fn is_http2(&self) -> bool {
        self.preface.borrow().is_some()
    }

    /// The transport of a client that speaks HTTP/2, with everything that it sent.
    pub(super) fn into_transport(self) -> Transport {
        let mut transport = self.stream.into_inner();
        transport.give_back(self.preface.into_inner().unwrap_or_default());
        transport
    }

    /// Whether it is not known yet what the bytes behind the last head are.
    pub(super) fn awaits_upgrade(&self) -> bool {
        if self.upgrade.get() != Some(self.heads.get()) {
            return false;
        }
        let not_begun = self.visitor.begun() < self.heads.get();
        let unanswered = self.visitor.is_busy() && !self.visitor.is_answering();
        not_begun || unanswered || self.switched.borrow().is_some()
    }

    /// Whether hyper may have now what was held until the answer was known: it has to be asked again. True once.
    pub(super) fn held_can_go_on(&self) -> bool {
        !self.awaits_upgrade() && self.kept_waiting.take()
    }

    /// Whether the connection is to go on with another protocol, and everything before that is sent.
    pub(super) fn is_switched(&self) -> bool {
        let sent = self.writing.get().is_none() && self.early.borrow().is_empty() && !self.mid_write.get();
        sent && self.switched.borrow().is_some()
    }

    /// The transport of such a client, the answer that agrees, and how the connection goes on in both directions.
    pub(super) fn into_tunnel(self) -> Option<(Transport, Reply, Opening)> {
        let (head, reply) = self.switched.into_inner()?.into_parts();
        let mut to_client = Vec::new();
        write_head(&Response::from_parts(head, ()), &mut to_client);
        let opening = Opening { to_client, to_worker: self.left.into_inner() };
        Some((self.stream.into_inner(), reply, opening))
    }

    /// Begins the head of an answer with the version that is spoken here, where the engine would repeat that of an
    /// HTTP/1.0 client (RFC 9110 section 6.2). True if the first word of `bytes` is dealt with by that.
    pub(super) fn says_own_version(&self, bytes: &[u8]) -> bool {
        // What is flushed ends with a whole answer, so that the next bytes are the head.
        let is_head = self.visitor.is_head_of_http10() && !self.mid_write.get();
        if !is_head || !bytes.starts_with(b"HTTP/1.0") {
            return false;
        }
        self.early.borrow_mut().extend_from_slice(HTTP_VERSION);
        true
    }

    /// Sends interim answers, as far as the client takes them and nothing of another answer is under way.
    pub(super) fn poll_early(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.mid_write.get() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = self.early.borrow_mut();
        if self.visitor.early().is_waiting() {
            for answer in self.visitor.early().take() {
                write_head(&answer, &mut bytes);
            }
        }
        let (mut taken, is_tls) = (0, self.stream.borrow().is_tls());
        while taken < bytes.len() {
            let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, &bytes[taken..]);
            let Poll::Ready(written) = self.note_write(polled, !is_tls) else { break };
            taken += written?;
        }
        bytes.drain(..taken);
        if bytes.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The next head is about to be written: hints that belong to it go before it, or nowhere if another answer is
    /// under way, for then they would come behind it.
    pub(super) fn head_follows(&self) {
        let hints = if self.visitor.early().is_waiting() { self.visitor.early().take() } else { return };
        if !self.mid_write.get() {
            hints.iter().for_each(|hint| write_head(hint, &mut self.early.borrow_mut()));
        }
    }

    /// Marks how a write went. TLS takes what it can only keep: not until that is flushed has the client taken it.
    pub(super) fn note_write<T>(&self, polled: Poll<T>, flushed: bool) -> Poll<T> {
        match &polled {
            Poll::Ready(_) if flushed => self.writing.set(None),
            Poll::Ready(_) => {}
            Poll::Pending => self.writing.set(self.writing.get().or_else(|| Some(self.visitor.now().nanos))),
        }
        polled
    }

    /// The engine waits for bytes of the client from now on, if it does not already.
    pub(super) fn waiting_begins(&self) {
        if self.reading.get().is_none() {
            // A body's waits add up, so they are measured, and not told by the coarse clock.
            let visitor = &self.visitor;
            let in_body = self.stage.get() == Stage::Body;
            let now = if in_body { visitor.refresh_clock() } else { visitor.now() };
            self.reading.set(Some(now.nanos));
        }
    }

    /// Bytes came, or the end.
    pub(super) fn waiting_ends(&self) {
        if let Some(since) = self.reading.take()
            && self.stage.get() == Stage::Body
        {
            let time = self.visitor.refresh_clock().nanos.saturating_sub(since);
            let mut pace = self.pace.get();
            pace.waited(Duration::from_nanos(time));
            self.pace.set(pace);
        }
    }

    /// So many bytes of a body passed.
    pub(super) fn body_came(&self, bytes: usize) {
        let mut pace = self.pace.get();
        pace.received(bytes);
        self.pace.set(pace);
    }

    /// Whether a request is under way: in progress, or not begun yet. hyper takes a head before it begins to serve it,
    /// and stops after some requests to let other connections have their turn.
    pub(super) fn is_serving(&self) -> bool {
        self.visitor.is_busy() || self.heads.get() > self.visitor.begun()
    }

    /// Whether hyper may be told now that the client closed its side: it has to be asked again for that. True once.
    pub(super) fn end_can_be_told(&self) -> bool {
        !self.is_serving() && self.writing.get().is_none() && self.end_untold.take()
    }

    /// Breaks the body that is being read: its reader gets this refusal.
    pub(super) fn break_body(&self, refusal: Refusal) {
        self.reading.set(None);
        self.break_off(Broken { refusal, in_body: true, method: Vec::new(), target: Vec::new() });
    }

    /// Whether bytes of a request are left that nobody will read: then closing at once could destroy the answer.
    pub(super) fn is_unread(&self) -> bool {
        self.stage.get() != Stage::Idle || self.fault.borrow().is_some()
    }

    /// The next time limit of this connection and what it means. None while only the worker is waited for.
    pub(super) fn deadline(&self, timeouts: &Timeouts, idle: Duration) -> Option<(u64, Overdue)> {
        let after = |since: u64, time: Duration| {
            since.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        };
        let sending = self.writing.get().map(|since| (after(since, timeouts.send), Overdue::Send));
        let receiving = match (self.stage.get(), self.visitor.is_busy()) {
            // Once the answer has begun, the two of them may take their time.
            (Stage::Body, true) if self.visitor.is_answering() => None,
            (Stage::Body, _) => self.reading.get().map(|since| {
                let (left, late) = self.pace.get().left(self.visitor.patience());
                (after(since, left), Overdue::Body(late))
            }),
            (_, true) if self.visitor.is_answering() => None,
            (_, true) => {
                self.closed_at.get().map(|since| (after(since, HALF_CLOSED_WAIT), Overdue::HalfClosed))
            }
            // A drain does not wait for the first request of a client that says nothing.
            (Stage::Idle, false) if self.heads.get() > 0 || self.visitor.is_draining() => {
                Some((after(self.stage_since.get().max(self.visitor.rested_at()), idle), Overdue::Idle))
            }
            // A pipelined head may have begun while the answer before it was still under way: that time is not its own.
            (Stage::Idle | Stage::Head, false) => Some((
                after(self.stage_since.get().max(self.visitor.rested_at()), timeouts.head),
                Overdue::Head,
            )),
            (Stage::Failed, false) => None,
        };
        [sending, receiving].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    pub(super) fn enter(&self, stage: Stage) {
        if self.stage.get() != stage {
            self.stage.set(stage);
            self.stage_since.set(self.visitor.now().nanos);
        }
    }

    pub(super) fn break_off(&self, broken: Broken) {
        self.stage.set(Stage::Failed);
        let mut fault = self.fault.borrow_mut();
        if fault.is_none() {
            *fault = Some(broken);
        }
    }
}

/// The head of an interim answer, or of one that switches protocols, as HTTP/1.1 writes it.
fn write_head(answer: &Response<()>, bytes: &mut Vec<u8>) {
    let status = answer.status();
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or("Interim").as_bytes());
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read};
    use std::num::NonZeroUsize;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::admit::caller::CallerBook;
    use crate::admit::ledger::Ledger;
    use crate::clock::ShardClock;
    use crate::config;
    use crate::inbound::Arrival;
    use crate::service::{Desk, Place, Service};
    use crate::shard::ShardId;
    use crate::socket::Socket;

    /// A line, and what its client reads.
    fn line() -> (Rc<Line>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let socket = Socket::Unix(tokio::net::UnixStream::from_std(near).unwrap());
        let clock = ShardClock::new();
        let callers = Arc::new(CallerBook::new(config::plain_callers()));
        let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
        let service = Arc::new(config::plain_service());
        let service = Service::new((&service, None), &callers, &ledger, 1, None);
        let desk = Desk::new(service, (ShardId(0), &clock), None, None);
        let arrival = Arrival::plain(([127, 0, 0, 1], 1).into());
        (Line::new(socket.into(), Visitor::new(arrival, Place::new(desk, clock))), far)
    }

    #[tokio::test]
    async fn hints_go_before_the_head_of_their_answer_or_nowhere() {
        let (line, mut client) = line();
        for another_is_under_way in [false, true] {
            line.visitor.early().tell(StatusCode::EARLY_HINTS, &HeaderMap::new());
            line.mid_write.set(another_is_under_way);
            line.head_follows();
            // By now hyper has written the head, and flushed.
            line.mid_write.set(false);
            poll_fn(|cx| line.poll_early(cx)).await.unwrap();
            let mut bytes = [0; 64];
            match client.read(&mut bytes) {
                Ok(n) => {
                    assert_eq!(&bytes[..n], b"HTTP/1.1 103 Early Hints\r\n\r\n");
                    assert!(!another_is_under_way, "behind the head");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert!(another_is_under_way, "they are lost");
                }
            }
        }
    }
}
