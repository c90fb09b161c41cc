//! HTTP/1.1 and 1.0 on a client connection, from its first byte to its close: hyper's server over a judged socket, one
//! timer for all its time limits, refusals for what hyper never saw, and a close that does not destroy the last answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until, timeout};

use super::line::{Line, Overdue};
use super::socket::ClientSocket;
use super::transport::Transport;
use super::wire::WireBounds;
use crate::clock::Moment;
use crate::forward::source::Source;
use crate::forward::tunnel::Opening;
use crate::inbound::{self, Parting, Reply, Visitor};
use crate::refusal::{Reason, Refusal};

/// After an answer to a request that was not read to its end: how long its rest is read and thrown away, so that the
/// close does not reset the connection before the client has read the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(5);
/// The most that is thrown away meanwhile.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;
/// The same for a connection beyond `bounds.connections`: short, since it is not counted among them.
const TURNED_AWAY_LINGER: Duration = Duration::from_millis(500);
/// How long a client that was asked to close the connection may take over it before we do.
const PART_WAIT: Duration = Duration::from_secs(2);
/// The most that is read and thrown away meanwhile.
const PART_BYTES: u64 = 1024 * 1024;
/// How long TLS may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a connection stays open after its last request once the service drains: time for one that is on its way.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// How a connection came to its end.
enum End {
    /// hyper is done with it.
    Done,
    /// hyper met an error: the client broke off, or an answer could not be completed.
    Failed(hyper::Error),
    /// Something is wrong that hyper never saw: it is answered here.
    Refused(Refusal, Vec<u8>, Vec<u8>),
    /// The client speaks HTTP/2.
    Http2,
    /// Client and worker go on with another protocol.
    Switched,
    /// Too long idle.
    Idle,
    /// The client takes nothing, or is gone.
    Abandoned,
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

/// Serves a connection until it closes, or until something else than HTTP/1.1 is spoken.
pub(super) async fn serve(stream: Transport, visitor: Rc<Visitor>) -> Left {
    let bounds = visitor.desk().service.config.bounds;
    let line = Line::new(stream, Rc::clone(&visitor));
    let wire = WireBounds {
        head_bytes: bounds.head_bytes,
        head_fields: bounds.head_fields,
        uri_bytes: bounds.uri_bytes,
    };
    let socket = TokioIo::new(ClientSocket::new(Rc::clone(&line), wire));
    let mut server = http1::Builder::new();
    // The wire bounds a head before hyper sees it; hyper's own bound only has to be no lower.
    server.max_buf_size((bounds.head_bytes + 16 * 1024).max(64 * 1024));
    server.max_header_size(bounds.head_bytes.saturating_add(1024));
    if bounds.head_fields > 100 {
        server.max_headers(bounds.head_fields);
    }
    server.header_read_timeout(None);
    let serve = |request| {
        let line = Rc::clone(&line);
        async move {
            let request = http::Request::map(request, Source::Http1);
            let answer = inbound::serve(&line.visitor, request, line.visitor.early()).await;
            if answer.body().is_switched() {
                // hyper's part is over; whoever drives it sees that after this very poll.
                line.switched.replace(Some(answer));
                return std::future::pending().await;
            }
            line.head_follows();
            Ok::<_, std::convert::Infallible>(answer)
        }
    };
    let end = {
        let connection = pin!(server.serve_connection(socket, service_fn(serve)));
        watch(connection, &line).await
    };
    match end {
        End::Http2 => Rc::into_inner(line).map_or(Left::Nothing, |line| Left::Http2(line.into_transport())),
        End::Switched => {
            let tunnel = Rc::into_inner(line).and_then(Line::into_tunnel);
            tunnel.map_or(Left::Nothing, |tunnel| Left::Tunnel(Box::new(tunnel)))
        }
        end => {
            close(end, &line).await;
            Left::Nothing
        }
    }
}

/// Drives hyper, and watches the clock for it.
#[allow(clippy::disallowed_methods, reason = "timers are an edge")]
async fn watch<C>(mut connection: std::pin::Pin<&mut C>, line: &Line) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    let visitor = &line.visitor;
    // The timer is set when the connection begins and then only when it rings too early or would ring too late: a
    // connection that is never slow touches it once in a keep-alive time, not once a request.
    let mut rings_at = u64::MAX;
    let mut timer = pin!(sleep_until(Instant::now() + Duration::from_secs(86_400)));
    let mut draining = pin!(visitor.drain_begins());
    let mut asked_to_be_woken = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = connection.as_mut().poll(cx) {
                return Poll::Ready(done.map_or_else(End::Failed, |()| End::Done));
            }
            if line.is_http2() {
                return Poll::Ready(End::Http2);
            }
            if let Poll::Ready(Err(_)) = line.poll_early(cx) {
                return Poll::Ready(End::Abandoned);
            }
            if line.is_switched() {
                return Poll::Ready(End::Switched);
            }
            if let Some(broken) = line.unanswered_fault() {
                return Poll::Ready(End::Refused(broken.refusal, broken.method, broken.target));
            }
            if line.end_can_be_told() || line.held_can_go_on() {
                continue;
            }
            if !asked_to_be_woken {
                // Once is enough: the waker of a task stays the same, and whether it drains is a flag.
                asked_to_be_woken = true;
                let _ = draining.as_mut().poll(cx);
            }
            loop {
                let timeouts = visitor.timeouts();
                let idle = if visitor.is_draining() {
                    DRAIN_IDLE.min(timeouts.keep_alive)
                } else {
                    timeouts.keep_alive
                };
                let Some((deadline, overdue)) = line.deadline(&timeouts, idle) else { return Poll::Pending };
                if deadline < rings_at {
                    let left = Duration::from_nanos(deadline.saturating_sub(Moment::read().nanos));
                    timer.as_mut().reset(Instant::now() + left);
                    rings_at = deadline;
                }
                // A connection that always has something to do uses up its task's turn, and a timer asked after that
                // would always say "later": it is asked beside tokio's budget.
                if pin!(unconstrained(timer.as_mut())).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                rings_at = u64::MAX;
                if visitor.refresh_clock().nanos < deadline {
                    continue;
                }
                match overdue {
                    Overdue::Head => return Poll::Ready(End::Refused(slow_head(), Vec::new(), Vec::new())),
                    Overdue::Idle => return Poll::Ready(End::Idle),
                    Overdue::Send | Overdue::HalfClosed => return Poll::Ready(End::Abandoned),
                    Overdue::Body(late) => line.break_body(late.refusal()),
                }
                break;
            }
        }
    })
    .await
}

const fn slow_head() -> Refusal {
    Refusal::new(Reason::ClientTimeout, "the request's head was not complete within `timeouts.head`")
}

/// Closes the connection in the way that its end asks for.
#[allow(clippy::await_holding_refcell_ref, reason = "the connection's task is the only user of its socket")]
async fn close(end: End, line: &Line) {
    match end {
        End::Done if line.is_unread() || line.visitor.parting() == Parting::TurnedOut => {
            discard(&mut line.stream.borrow_mut()).await;
        }
        // Whoever closes first keeps the connection in TIME_WAIT: that is for the client, if it does as it was asked.
        End::Done if line.visitor.parting() == Parting::Asked => part(&mut line.stream.borrow_mut()).await,
        End::Done | End::Idle | End::Http2 | End::Switched => goodbye(&mut line.stream.borrow_mut()).await,
        End::Failed(error) => failed(&error, line),
        End::Refused(refusal, method, target) => {
            let answer = inbound::refuse_unread(&line.visitor, &refusal, &method, &target);
            let stream = &mut *line.stream.borrow_mut();
            let sent = timeout(line.visitor.timeouts().send, stream.write_all(&answer)).await;
            if matches!(sent, Ok(Ok(()))) {
                discard(stream).await;
            }
        }
        End::Abandoned => line.stream.borrow().reset_on_close(),
    }
}

/// hyper gave up. If an answer was under way, the client must be able to see that it is not complete: a plain close
/// would look like the end of an answer without a length, so the connection is reset.
fn failed(error: &hyper::Error, line: &Line) {
    if error.is_parse() || error.is_parse_too_large() {
        // The wire let it pass and hyper did not: hyper has answered 400 already, here it is only recorded.
        let refusal = Refusal::new(Reason::BadRequest, "the request is not HTTP/1.1");
        drop(inbound::refuse_unread(&line.visitor, &refusal, &[], &[]));
        return;
    }
    line.stream.borrow().reset_on_close();
}

/// Closes a connection that was turned away, in a way that lets the client read why.
pub(super) async fn turn_away(mut stream: Transport, answer: &[u8]) {
    let telling = async {
        if stream.write_all(answer).await.is_ok() {
            discard(&mut stream).await;
        }
    };
    let _ = timeout(TURNED_AWAY_LINGER, telling).await;
}

/// Waits for the client to close, and closes then.
pub(super) async fn part(stream: &mut Transport) {
    let closing = async {
        let (mut scratch, mut total) = ([0; 512], 0);
        while let Ok(n @ 1..) = stream.read(&mut scratch).await {
            total += n as u64;
            if total > PART_BYTES {
                break;
            }
        }
    };
    let _ = timeout(PART_WAIT, closing).await;
    goodbye(stream).await;
}

/// Closes in the way of the transport: TLS says that this is the end and no truncation (RFC 8446 section 6.1).
pub(super) async fn goodbye(stream: &mut Transport) {
    if stream.is_tls() {
        let _ = timeout(GOODBYE, stream.shutdown()).await;
    }
}

/// Ends our side, and reads on until the client ends its own, within bounds of time and bytes.
pub(super) async fn discard(stream: &mut Transport) {
    let reading = async {
        // Under TLS this also sends what is still held back, which the client may refuse to take.
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut scratch = [0; 8 * 1024];
        let mut total = 0;
        while let Ok(n @ 1..) = stream.read(&mut scratch).await {
            total += n as u64;
            if total > LINGER_BYTES {
                break;
            }
        }
    };
    let _ = timeout(LINGER, reading).await;
}
