//! What the parts of an HTTP/1.1 connection share: its transport, the bytes that wait in either direction, and since
//! when who is waited for. How its bytes become requests and answers become bytes stands in the files beside this one.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::task::coop::unconstrained;

use super::said::{Asked, Said};
use super::scratch::{self, PIECE};
use super::{End, PARK_AFTER, Rest, head};
use crate::config::Timeouts;
use crate::forward::early::Early;
use crate::forward::pace::{Late, Pace};
use crate::inbound::Visitor;
use crate::listen::timer::after;
use crate::listen::transport::{Arriving, Transport};
use crate::listen::wire::{Stage, Wire, WireBounds};
use crate::message::Target;
use crate::refusal::Refusal;

/// How long the head of an answer is awaited for a client that closed its side after it asked. It may only have closed
/// the sending half (RFC 9112 section 9.6 allows it), but most that do are gone, and their request holds a worker.
pub(super) const HALF_CLOSED_WAIT: Duration = Duration::from_secs(2);
/// How many requests of one connection are served before others have their turn. Only for those that a client
/// pipelined and that are refused: whatever waits for a worker ends the turn.
pub(super) const REQUESTS_PER_TURN: u32 = 16;

/// A connection while it is in use.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) visitor: Rc<Visitor>,
    /// Interim answers for the request that is served.
    pub(super) early: Early,
    /// Borrowed within one step and never while a request is asked to go on: its body borrows it too.
    pub(super) io: RefCell<Io>,
    /// Requests that were served in this turn of the connection's task.
    served: Cell<u32>,
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next request is awaited.
    Listening,
    /// A request is under way, and nothing of its answer is.
    Serving,
    /// Its answer goes out.
    Answering,
}

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) transport: Transport,
    pub(super) arriving: Arriving,
    pub(super) wire: Wire,
    /// What was received and not taken yet. Between bodies at most `head_bytes` and one [`PIECE`];
    /// behind a body in chunks what came with its end, at most 64 KiB.
    pub(super) held: BytesMut,
    /// What was to be sent and the client has not taken yet.
    pub(super) out: Vec<u8>,
    pub(super) phase: Phase,
    /// What the last fields said, while the next head may repeat them.
    pub(super) said: Option<Box<Said>>,
    /// What the last request was for, if that was a path and not long.
    pub(super) target: Option<Target>,
    /// What the answer has to know of the present request.
    pub(super) asked: Asked,
    /// Complete heads so far. Before the first one, silence counts as a slow head.
    pub(super) heads: u64,
    /// Nothing has been judged yet, and the first bytes may be those of HTTP/2.
    pub(super) may_be_http2: bool,
    /// Since when it is in its phase or, in the last one, was in the one before (nanoseconds of `Moment`, like all
    /// times here).
    pub(super) since: u64,
    /// When its head began.
    pub(super) head_since: Option<u64>,
    /// The client closed its side then.
    pub(super) closed_at: Option<u64>,
    /// The client has something to take, and has taken nothing since then.
    pub(super) writing: Option<u64>,
    /// TLS holds something back.
    unflushed: bool,
    pub(super) body: BodyMarks,
}

/// How the body stands of the last request that had one: all is new where the next body begins.
#[derive(Debug, Default)]
pub(super) struct BodyMarks {
    /// Somebody may still read it.
    pub(super) open: bool,
    /// The client waits for `100 Continue` before it sends it.
    pub(super) expects: bool,
    pub(super) pace: Pace,
    /// Bytes are waited for since then.
    pub(super) reading: Option<u64>,
    /// Who waits for them.
    pub(super) waker: Option<Waker>,
    /// Why no more of it comes.
    pub(super) broken: Option<Refusal>,
    /// So much of it comes at once that large reads pay.
    pub(super) large: bool,
    /// The connection broke while it was read.
    pub(super) lost: bool,
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
    /// One that is idle, and not yet for long enough to be closed.
    Awake,
    /// A client that closed its side and still waits for an answer.
    HalfClosed,
}

impl Line {
    pub(super) fn new(rest: Rest, visitor: &Rc<Visitor>) -> Rc<Self> {
        let io = RefCell::new(Io::new(rest, visitor));
        Rc::new(Self { visitor: Rc::clone(visitor), early: Early::default(), io, served: Cell::new(0) })
    }

    /// The connection's task has its turn again.
    pub(super) fn begin_turn(&self) {
        self.served.set(0);
    }

    /// A request was served: whether the turn is over with it.
    pub(super) fn has_had_turn(&self) -> bool {
        self.served.set(self.served.get() + 1);
        self.served.get() >= REQUESTS_PER_TURN
    }

    /// What goes on beside a request: hints for the client go out, and it is noticed that it leaves. Then, what the
    /// next time limit is and what it means.
    pub(super) fn poll_beside(&self, cx: &mut Context<'_>) -> Result<Option<(u64, Overdue)>, End> {
        let io = &mut *self.io.borrow_mut();
        if io.phase != Phase::Listening {
            self.poll_beside_request(io, cx)?;
        }
        Ok(io.deadline(&self.visitor))
    }

    fn poll_beside_request(&self, io: &mut Io, cx: &mut Context<'_>) -> Result<(), End> {
        if io.body.lost {
            return Err(End::Broken);
        }
        if io.phase == Phase::Serving {
            io.write_hints(&self.early);
            if matches!(io.poll_out(cx, &self.visitor), Poll::Ready(Err(_))) {
                return Err(End::Broken);
            }
        }
        // One piece at most of what comes next, and while a body comes, whoever reads it notices.
        while io.wire.stage() == Stage::Idle && io.held.len() < PIECE && io.closed_at.is_none() {
            match io.poll_receive(cx) {
                Poll::Ready(Ok(0)) => io.closed_at = Some(self.visitor.now().nanos),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(End::Broken),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// The client takes too long over its body: whoever reads it gets a refusal. Not if bytes are here that nobody has
    /// come for, since the request does something else first: then nobody waits for the client.
    pub(super) fn late(&self, cx: &mut Context<'_>, late: Late) {
        let waker = {
            let Io { transport, arriving, body, .. } = &mut *self.io.borrow_mut();
            (body.reading, *arriving) = (None, Arriving::Anything);
            if pin!(unconstrained(poll_fn(|cx| transport.poll_read_ready(cx)))).poll(cx).is_ready() {
                return;
            }
            body.broken.get_or_insert(late.refusal());
            body.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Io {
    pub(super) fn new(rest: Rest, visitor: &Visitor) -> Self {
        let bounds = visitor.desk().service.config.bounds;
        let (head_bytes, head_fields, uri_bytes) = (bounds.head_bytes, bounds.head_fields, bounds.uri_bytes);
        Self {
            // Under TLS the protocol was agreed on in the handshake (RFC 9113 section 3.2).
            may_be_http2: rest.heads == 0 && !rest.transport.is_tls(),
            transport: rest.transport,
            arriving: Arriving::Anything,
            wire: Wire::new(WireBounds { head_bytes, head_fields, uri_bytes }),
            held: BytesMut::new(),
            out: Vec::new(),
            phase: Phase::Listening,
            said: None,
            target: None,
            asked: Asked::default(),
            heads: rest.heads,
            since: rest.since,
            head_since: None,
            closed_at: None,
            writing: None,
            unflushed: false,
            body: BodyMarks::default(),
        }
    }

    /// Receives one piece behind what is held. Nothing: the client has closed its side.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        scratch::incoming(|scratch| {
            let received = ready!(self.transport.poll_receive(cx, scratch, &mut self.arriving))?;
            self.held.extend_from_slice(&scratch[..received]);
            Poll::Ready(Ok(received))
        })
    }

    /// Writes the hints that wait behind what is to be sent.
    #[inline]
    pub(super) fn write_hints(&mut self, early: &Early) {
        if early.is_waiting() {
            early.take().iter().for_each(|hint| head::write_interim(hint, &mut self.out));
        }
    }

    /// Sends what waits, all of it.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>, visitor: &Visitor) -> Poll<io::Result<()>> {
        let mut taken = 0;
        while taken < self.out.len() {
            let polled = Pin::new(&mut self.transport).poll_write(cx, &self.out[taken..]);
            match self.note_write(polled, visitor) {
                Poll::Ready(n) => taken += n?,
                Poll::Pending => {
                    self.out.drain(..taken);
                    return Poll::Pending;
                }
            }
        }
        if !self.out.is_empty() {
            self.out = Vec::new();
        }
        self.poll_flush(cx, visitor)
    }

    /// Sees to it that the client gets what TLS holds back. A socket holds nothing back.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, visitor: &Visitor) -> Poll<io::Result<()>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.transport).poll_flush(cx);
        match &polled {
            Poll::Ready(_) => (self.unflushed, self.writing) = (false, None),
            Poll::Pending => self.note_wait(visitor),
        }
        polled
    }

    /// Marks how a write went. TLS takes what it can only keep: what of that the client has taken is seen when it is
    /// waited for.
    pub(super) fn note_write(
        &mut self,
        polled: Poll<io::Result<usize>>,
        visitor: &Visitor,
    ) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(_) if self.transport.is_tls() => self.unflushed = true,
            Poll::Ready(_) => self.writing = None,
            Poll::Pending => self.note_wait(visitor),
        }
        polled
    }

    /// The client is waited for: since now, if it has just taken something.
    fn note_wait(&mut self, visitor: &Visitor) {
        if self.writing.is_none() | self.transport.has_moved() {
            self.writing = Some(visitor.now().nanos);
        }
    }

    /// Whether bytes of a request are left that nobody will read: then closing at once could destroy the answer.
    pub(super) fn is_unread(&self) -> bool {
        self.is_in_body() || !self.held.is_empty()
    }

    /// The present request's body has not come to its end.
    pub(super) fn is_in_body(&self) -> bool {
        self.wire.stage() != Stage::Idle || self.body.broken.is_some()
    }

    /// Nothing is under way, in neither direction.
    pub(super) fn is_at_rest(&self) -> bool {
        self.phase == Phase::Listening && self.held.is_empty() && self.out.is_empty() && !self.unflushed
    }

    /// The next time limit of this connection and what it means. None while only the worker is waited for.
    pub(super) fn deadline(&self, visitor: &Visitor) -> Option<(u64, Overdue)> {
        let timeouts = || visitor.timeouts();
        let sending = self.writing.map(|since| (after(since, timeouts().send), Overdue::Send));
        let arriving = match self.phase {
            // Once the answer has begun, the two of them may take their time.
            Phase::Answering => None,
            Phase::Serving if self.wire.stage() == Stage::Body => self.body.reading.map(|since| {
                let (left, late) = self.body.pace.left(visitor.patience());
                (after(since, left), Overdue::Body(late))
            }),
            // One that was pipelined may begin long after the client closed its side: its time is its own.
            Phase::Serving => {
                self.closed_at.map(|at| (after(at.max(self.since), HALF_CLOSED_WAIT), Overdue::HalfClosed))
            }
            Phase::Listening => Some(match self.head_since {
                // The first one counts from the connection's begin.
                Some(_) if self.heads == 0 => (after(self.since, timeouts().head), Overdue::Head),
                // A pipelined head may have come while the answer before it was under way: that time is not its own.
                Some(since) => (after(since, timeouts().head), Overdue::Head),
                None if self.is_at_rest() => {
                    let end = silence_ends(visitor, self.since, self.heads);
                    let awake = after(self.since, PARK_AFTER);
                    if end.0 <= awake { end } else { (awake, Overdue::Awake) }
                }
                None => silence_ends(visitor, self.since, self.heads),
            }),
        };
        match (sending, arriving) {
            (Some(sending), Some(arriving)) => Some(if sending.0 <= arriving.0 { sending } else { arriving }),
            (sending, arriving) => sending.or(arriving),
        }
    }
}

/// When a connection that has said nothing since `since`, after so many requests, has been silent for too long.
pub(super) fn silence_ends(visitor: &Visitor, since: u64, heads: u64) -> (u64, Overdue) {
    let Timeouts { head, keep_alive, .. } = visitor.timeouts();
    // A drain does not wait for the first request of a client that says nothing.
    if visitor.is_draining() {
        return (after(since, super::DRAIN_IDLE.min(keep_alive)), Overdue::Idle);
    }
    match heads {
        0 => (after(since, head), Overdue::Head),
        _ => (after(since, keep_alive), Overdue::Idle),
    }
}
