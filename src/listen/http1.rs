//! HTTP/1.1 and 1.0 on a client connection, from its first byte to its close: one request after another, one timer for
//! all time limits, and next to no memory while the client has nothing to say.
//!
//! `serve` goes back and forth between two states. In use, a connection has a `Line` and a future that reads a head,
//! has it served and sends the answer, again and again; both are in one box. After `PARK_AFTER` without a byte the box
//! goes, and what is left waits for the next one, for `timeouts.keep_alive` or for a drain.

mod answer;
mod body;
mod close;
mod head;
mod line;
mod request;
mod scratch;
#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use self::line::{Io, Line, Overdue, silence_ends};
use super::transport::Transport;
use crate::clock::Moment;
use crate::forward::tunnel::Opening;
use crate::inbound::{self, Reply, Visitor};
use crate::refusal::{Reason, Refusal};
pub(super) use close::{discard, part, turn_away};

/// How long a connection stays open after its last request once the service drains: time for one that is on its way.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// A connection that has been silent for so long is parked. Most that are used at all are used again sooner, and pay
/// nothing for it; the others pay one allocation for their next request.
const PARK_AFTER: Duration = Duration::from_secs(1);

/// How a connection came to its end, or to a rest.
enum End {
    /// All is said.
    Done,
    /// The client broke off or takes nothing, or an answer could not be completed.
    Broken,
    /// Something is wrong before there is a request: it is answered here. With what is known of method and target.
    Refused(Box<(Refusal, Vec<u8>, Vec<u8>)>),
    /// The client speaks HTTP/2.
    Http2,
    /// Client and worker go on with another protocol: the answer that agrees.
    Switched(Box<Response<Reply>>),
    /// Too long idle.
    Idle,
    /// Idle, and not for too long yet.
    Parked,
}

/// What is left of a connection when HTTP/1.1 is done with it.
pub(super) enum Left {
    /// Nothing: it is closed.
    Nothing,
    /// A client that turned out to speak HTTP/2.
    Http2(Transport),
    /// Both ends of a tunnel, and what goes first.
    Tunnel(Box<(Transport, Reply, Opening)>),
}

/// A connection on which nothing is under way.
struct Rest {
    transport: Transport,
    /// Since when it has been silent (nanoseconds of `Moment`).
    since: u64,
    /// How many requests it has had.
    heads: u64,
}

/// The one timer of a connection. It is set when it would ring too late, and what rings too early is looked at and set
/// anew: a connection that is never slow touches it about once a second, not once a request.
struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    rings_at: u64,
}

/// Serves a connection until it closes, or until something else than HTTP/1.1 is spoken.
#[allow(clippy::disallowed_methods, reason = "timers are an edge")]
pub(super) async fn serve(transport: Transport, visitor: Rc<Visitor>) -> Left {
    let mut sleep = pin!(sleep_until(Instant::now() + Duration::from_secs(86_400)));
    let mut timer = Timer { sleep: sleep.as_mut(), rings_at: u64::MAX };
    let mut draining = pin!(visitor.drain_begins());
    // Once is enough: the waker of a task stays the same, and whether it drains is a flag.
    poll_fn(|cx| Poll::Ready(draining.as_mut().poll(cx).is_ready())).await;
    let mut rest = Rest { transport, since: visitor.now().nanos, heads: 0 };
    loop {
        // In a box, since it is large and a connection is idle for most of its life.
        let (mut io, end) = match Box::pin(converse(rest, &visitor, &mut timer)).await {
            Some(ended) => ended,
            None => return Left::Nothing,
        };
        match end {
            End::Parked => {
                rest = Rest { transport: io.transport, since: io.since, heads: io.heads };
                if let Some(end) = poll_fn(|cx| rest.poll_woken(cx, &visitor, &mut timer)).await {
                    let io = Io::new(rest, &visitor);
                    Box::pin(close::close(end, io, &visitor)).await;
                    return Left::Nothing;
                }
            }
            End::Http2 => {
                io.transport.give_back(io.held.to_vec());
                return Left::Http2(io.transport);
            }
            End::Switched(answer) => {
                let (head, reply) = answer.into_parts();
                let mut to_client = io.out;
                head::write_interim(&Response::from_parts(head, ()), &mut to_client);
                let opening = Opening { to_client, to_worker: io.held.to_vec() };
                return Left::Tunnel(Box::new((io.transport, reply, opening)));
            }
            end => {
                Box::pin(close::close(end, io, &visitor)).await;
                return Left::Nothing;
            }
        }
    }
}

/// One request after another, and the clock. None: somebody still has the connection, which nobody should.
async fn converse(rest: Rest, visitor: &Rc<Visitor>, timer: &mut Timer<'_>) -> Option<(Io, End)> {
    let line = Line::new(rest, visitor);
    let end = {
        let mut talk = pin!(talk(&line));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(end) = talk.as_mut().poll(cx) {
                    return Poll::Ready(end);
                }
                if let Err(end) = line.poll_beside(cx) {
                    return Poll::Ready(end);
                }
                let Poll::Ready(overdue) = timer.poll(cx, visitor, || line.io.borrow().deadline(visitor))
                else {
                    return Poll::Pending;
                };
                match overdue {
                    Overdue::Body(late) => line.break_body(late.refusal()),
                    overdue => return Poll::Ready(End::of(overdue)),
                }
            }
        })
        .await
    };
    Rc::into_inner(line).map(|line| (line.io.into_inner(), end))
}

async fn talk(line: &Rc<Line>) -> End {
    loop {
        let (request, asked) = match poll_fn(|cx| line.poll_head(cx)).await {
            Ok(heard) => heard,
            Err(end) => return end,
        };
        let answer = inbound::serve_lines(&line.visitor, request, line.visitor.early()).await;
        if answer.body().is_switched() {
            return End::Switched(Box::new(inbound::settled(answer)));
        }
        match answer::send(line, answer, &asked).await {
            Ok(true) => {}
            Ok(false) => return End::Done,
            Err(end) => return end,
        }
        if !poll_fn(|cx| Poll::Ready(line.settle(cx))).await {
            return End::Done;
        }
    }
}

impl Rest {
    /// Waits for the next byte, or for the end of the wait.
    fn poll_woken(
        &self,
        cx: &mut Context<'_>,
        visitor: &Visitor,
        timer: &mut Timer<'_>,
    ) -> Poll<Option<End>> {
        // An error is for whoever reads next.
        if self.transport.poll_read_ready(cx).is_ready() {
            return Poll::Ready(None);
        }
        let ends = || Some(silence_ends(visitor, self.since, self.heads));
        timer.poll(cx, visitor, ends).map(|overdue| Some(End::of(overdue)))
    }
}

impl Timer<'_> {
    /// Ready once `deadline` has passed, with what it means.
    #[allow(clippy::disallowed_methods, reason = "timers are an edge")]
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        visitor: &Visitor,
        deadline: impl Fn() -> Option<(u64, Overdue)>,
    ) -> Poll<Overdue> {
        loop {
            let Some((deadline, overdue)) = deadline() else { return Poll::Pending };
            if deadline < self.rings_at {
                let left = Duration::from_nanos(deadline.saturating_sub(Moment::read().nanos));
                self.sleep.as_mut().reset(Instant::now() + left);
                self.rings_at = deadline;
            }
            // A connection that always has something to do uses up its task's turn, and a timer asked after that would
            // always say "later": it is asked beside tokio's budget.
            if pin!(unconstrained(self.sleep.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.rings_at = u64::MAX;
            if visitor.refresh_clock().nanos >= deadline {
                return Poll::Ready(overdue);
            }
        }
    }
}

impl End {
    fn of(overdue: Overdue) -> Self {
        match overdue {
            Overdue::Head => {
                let detail = "the request's head was not complete within `timeouts.head`";
                Self::Refused(Box::new((Refusal::new(Reason::ClientTimeout, detail), Vec::new(), Vec::new())))
            }
            Overdue::Awake => Self::Parked,
            Overdue::Idle => Self::Idle,
            Overdue::Send | Overdue::HalfClosed | Overdue::Body(_) => Self::Broken,
        }
    }
}
