//! How a connection is closed: so that it does not destroy the last answer, and so that nobody takes half of one for
//! the whole.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::line::Io;
use super::{End, scratch};
use crate::inbound::{self, Parting, Visitor};
use crate::listen::transport::Transport;

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

/// Closes the connection in the way that its end asks for.
pub(super) async fn close(end: End, mut io: Io, visitor: &Visitor) {
    match end {
        End::Done if io.is_unread() || visitor.parting() == Parting::TurnedOut => {
            discard(&mut io.transport).await;
        }
        // Whoever closes first keeps the connection in TIME_WAIT: that is for the client, if it does as it was asked.
        End::Done if visitor.parting() == Parting::Asked => part(&mut io.transport).await,
        End::Refused(refused) => {
            let (refusal, method, target) = *refused;
            let answer = inbound::refuse_unread(visitor, &refusal, &method, &target);
            let sent = timeout(visitor.timeouts().send, io.transport.write_all(&answer)).await;
            if matches!(sent, Ok(Ok(()))) {
                discard(&mut io.transport).await;
            }
        }
        // A plain close would look like the end of an answer without a length.
        End::Broken => io.transport.reset_on_close(),
        _ => goodbye(&mut io.transport).await,
    }
}

/// Closes a connection that was turned away, in a way that lets the client read why.
pub(in crate::listen) async fn turn_away(mut stream: Transport, answer: &[u8]) {
    let telling = async {
        if stream.write_all(answer).await.is_ok() {
            discard(&mut stream).await;
        }
    };
    let _ = timeout(TURNED_AWAY_LINGER, telling).await;
}

/// Waits for the client to close, and closes then.
async fn part(stream: &mut Transport) {
    let _ = timeout(PART_WAIT, throw_away(stream, PART_BYTES)).await;
    goodbye(stream).await;
}

/// The same for a client that may still have much of its answers to take, and says so as it takes them: each time
/// something comes it has `wait` again, up to `most` in all. A close would answer that with a reset, which destroys
/// what the client has not taken yet.
pub(in crate::listen) async fn part_slowly(stream: &mut Transport, wait: Duration, most: Duration) {
    let reading = async {
        let mut left = PART_BYTES;
        while let Ok(Ok(n @ 1..)) = timeout(wait, poll_fn(|cx| poll_thrown_away(stream, cx))).await
            && n <= left
        {
            left -= n;
        }
    };
    let _ = timeout(most, reading).await;
    goodbye(stream).await;
}

/// Closes in the way of the transport: TLS says that this is the end and no truncation (RFC 8446 section 6.1).
async fn goodbye(stream: &mut Transport) {
    if stream.is_tls() {
        let _ = timeout(GOODBYE, stream.shutdown()).await;
    }
}

/// Ends our side, and reads on until the client ends its own, within bounds of time and bytes.
pub(in crate::listen) async fn discard(stream: &mut Transport) {
    let reading = async {
        // Under TLS this also sends what is still held back, which the client may refuse to take.
        if stream.shutdown().await.is_err() {
            return;
        }
        throw_away(stream, LINGER_BYTES).await;
    };
    let _ = timeout(LINGER, reading).await;
}

/// Reads on until the client ends its side or more than so many bytes have come.
async fn throw_away(stream: &mut Transport, most: u64) {
    let mut total = 0;
    while let Ok(n @ 1..) = poll_fn(|cx| poll_thrown_away(stream, cx)).await {
        total += n;
        if total > most {
            break;
        }
    }
}

/// Reads a piece, and how long it was. Into the shard's scratch, since a buffer of its own would make the end of every
/// connection as large, and be there for as long as the client is.
fn poll_thrown_away(stream: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
    scratch::incoming(|scratch| {
        let mut piece = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut piece))?;
        Poll::Ready(Ok(piece.filled().len() as u64))
    })
}
