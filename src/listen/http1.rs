//! HTTP/1.1 and 1.0 on a client connection, from its first byte to its close: one request after another, one timer for
//! all time limits, and next to no memory while the client has nothing to say.
//!
//! A `Connection` goes back and forth between two states. In use, it has a `Line`, a timer, and a future that reads a
//! head, has it served and sends the answer, again and again. After `PARK_AFTER` without a byte all three go, and what
//! is left waits for the next one, for `timeouts.keep_alive` or for a drain.

mod answer;
mod body;
mod close;
mod head;
mod line;
mod request;
mod said;
mod scratch;
#[cfg(test)]
pub(super) mod tests;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use self::line::{Io, Line, Overdue, silence_ends};
use super::accept::Held;
use super::http2;
use super::timer::Timer;
use super::transport::Transport;
use crate::forward::tunnel::Opening;
use crate::inbound::{self, Reply, Visitor};
use crate::message::Response;
use crate::refusal::{Reason, Refusal};
use crate::service::WakeCall;
pub(super) use close::{discard, part_slowly, turn_away};

/// How long a connection stays open after its last request once the service drains: time for one that is on its way.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// A connection that has been silent for so long is parked. Most that are used at all are used again sooner, and pay
/// nothing for it; the others pay one allocation for their next request.
pub(super) const PARK_AFTER: Duration = Duration::from_secs(1);
// In a drain nothing is parked any more: what has been silent for long enough for that is closed. So nobody has to turn
// the wheel of a place that drains.
const _: () = assert!(PARK_AFTER.as_nanos() >= DRAIN_IDLE.as_nanos());

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
    /// Something has come on a parked connection.
    Woken,
}

/// A connection on which nothing is under way.
struct Rest {
    transport: Transport,
    /// Since when it has been silent (nanoseconds of `Moment`).
    since: u64,
    /// How many requests it has had.
    heads: u64,
}

/// A client connection, as a future that ends with it. By hand and not an `async fn`, whose arguments would be there
/// twice: this is what each of thousands of idle connections is made of.
pub(super) struct Connection {
    visitor: Rc<Visitor>,
    state: State,
    /// Wakes the connection when its service drains, and ends its rest. Asked for once, since the waker of a task stays
    /// the same, and whether it drains is a flag.
    call: Option<WakeCall>,
    /// What is given back with the end of the connection.
    _held: Option<Held>,
}

/// What a connection still has to do, as the last thing.
type Last = Pin<Box<dyn Future<Output = ()>>>;

enum State {
    /// One request after another.
    InUse(Rc<Line>, Pin<Box<dyn Future<Output = End>>>, Timer),
    /// Parked.
    Resting(Rest),
    /// Closing, or going on with another protocol.
    Last(Last),
    /// Over.
    Gone,
}

/// Serves a connection until it closes, whatever it goes on with.
pub(super) fn serve(transport: Transport, visitor: Rc<Visitor>, held: Option<Held>) -> Connection {
    let rest = Rest { transport, since: visitor.now().nanos, heads: 0 };
    let state = State::in_use(rest, &visitor);
    Connection { visitor, state, call: None, _held: held }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { visitor, state, call, .. } = self.get_mut();
        let call = call.get_or_insert_with(|| visitor.wake_call(cx.waker()));
        loop {
            let end = match state {
                State::InUse(line, talk, timer) => ready!(poll_in_use(cx, line, talk.as_mut(), timer)),
                State::Resting(rest) => ready!(rest.poll_end(cx, visitor, call)),
                State::Last(last) => return last.as_mut().poll(cx),
                State::Gone => return Poll::Ready(()),
            };
            *state = std::mem::replace(state, State::Gone).after(end, visitor);
        }
    }
}

/// Moves what is under way, and what goes on beside it, and watches the clock.
fn poll_in_use(
    cx: &mut Context<'_>,
    line: &Rc<Line>,
    mut talk: Pin<&mut dyn Future<Output = End>>,
    timer: &mut Timer,
) -> Poll<End> {
    line.begin_turn();
    loop {
        if let Poll::Ready(end) = talk.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        let (nanos, overdue) = match line.poll_beside(cx) {
            Ok(Some(limit)) => limit,
            Ok(None) => return Poll::Pending,
            Err(end) => return Poll::Ready(end),
        };
        ready!(timer.poll(cx, &line.visitor, nanos));
        match overdue {
            Overdue::Body(late) => line.late(cx, late),
            overdue => return Poll::Ready(End::of(overdue)),
        }
    }
}

/// One request after another.
async fn talk(line: Rc<Line>) -> End {
    loop {
        let mut heard = None;
        if let Err(end) = poll_fn(|cx| line.poll_head(cx, &mut heard)).await {
            return end;
        }
        let Some(request) = heard else { continue };
        let answer = inbound::serve(&line.visitor, request, &line.early).await;
        if answer.body.is_switched() {
            // Hints that came with the head belong before it.
            line.io.borrow_mut().write_hints(&line.early);
            return End::Switched(Box::new(answer));
        }
        if let Err(end) = answer::send(&line, answer).await {
            return end;
        }
        if line.has_had_turn() {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes a step that needs its task and never waits.
async fn at_once<T>(step: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut step = Some(step);
    poll_fn(|cx| step.take().map_or(Poll::Pending, |step| Poll::Ready(step(cx)))).await
}

impl State {
    fn in_use(rest: Rest, visitor: &Rc<Visitor>) -> Self {
        let line = Line::new(rest, visitor);
        let talk = Box::pin(talk(Rc::clone(&line)));
        Self::InUse(line, talk, Timer::default())
    }

    /// What comes after this one came to its end.
    fn after(self, end: End, visitor: &Rc<Visitor>) -> Self {
        let io = match self {
            Self::InUse(line, talk, _) => {
                drop(talk);
                if matches!(end, End::Broken) {
                    // Half an answer must not look whole, whatever comes now.
                    line.io.borrow().transport.reset_on_close();
                }
                // Nobody else has it: a request and its body are gone with the talk.
                let Some(line) = Rc::into_inner(line) else { return Self::Gone };
                line.io.into_inner()
            }
            Self::Resting(rest) if matches!(end, End::Woken) => return Self::in_use(rest, visitor),
            Self::Resting(rest) => Io::new(rest, visitor),
            Self::Last(_) | Self::Gone => return Self::Gone,
        };
        let visitor = Rc::clone(visitor);
        Self::Last(match end {
            End::Parked => {
                visitor.rest();
                return Self::Resting(Rest { transport: io.transport, since: io.since, heads: io.heads });
            }
            End::Http2 => {
                let mut transport = io.transport;
                transport.give_back(io.held.to_vec());
                Box::pin(http2::serve(transport, visitor, None))
            }
            End::Switched(answer) => {
                // No request comes any more for which something would have to be remembered.
                visitor.rest();
                let Response { head, body } = *answer;
                let (mut to_client, to_worker) = (io.out, io.held.to_vec());
                head::write_interim(&head, &mut to_client);
                Box::pin(body.carry(io.transport, Opening { to_client, to_worker }))
            }
            end => Box::pin(async move { close::close(end, io, &visitor).await }),
        })
    }
}

impl Rest {
    /// Waits for the next byte, or for the end of the wait.
    fn poll_end(&self, cx: &mut Context<'_>, visitor: &Visitor, call: &WakeCall) -> Poll<End> {
        // An error is for whoever reads next.
        if self.transport.poll_read_ready(cx).is_ready() {
            call.cancel();
            return Poll::Ready(End::Woken);
        }
        let (nanos, overdue) = silence_ends(visitor, self.since, self.heads);
        if visitor.refresh_clock().nanos >= nanos {
            call.cancel();
            return Poll::Ready(End::of(overdue));
        }
        call.at(nanos);
        Poll::Pending
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
