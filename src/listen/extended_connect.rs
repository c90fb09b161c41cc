//! WebSocket on a stream of HTTP/2 (RFC 8441): how such a request is asked of a worker, which speaks HTTP/1.1, and the
//! stream as the client's end of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http2::{CANCEL, Gone, Receiving, Sending};
use crate::forward::source::StreamBody;
use crate::forward::tunnel::ClientSide;
use crate::forward::websocket;
use crate::message::{Extended, RequestHead};

/// The only protocol that is carried: others (RFC 9298, RFC 9484) have framing of their own below HTTP/2.
const WEBSOCKET: &str = "websocket";

/// Whether a request asks to go on as a WebSocket: `protocol` is what `:protocol` says. Any other CONNECT is refused
/// further on.
pub(super) fn is_asked(method: &Method, protocol: Option<&[u8]>) -> bool {
    *method == Method::CONNECT && protocol == Some(WEBSOCKET.as_bytes())
}

/// Makes such a request one that rules, limits and workers know: a GET without a body.
pub(super) fn ask(head: &mut RequestHead) {
    head.method = Method::GET;
    // HTTP/2 needs no key, HTTP/1.1 does (RFC 8441 section 5, RFC 6455 section 4.1).
    let key = websocket::new_key();
    head.fields.set("sec-websocket-key", &key);
    head.extended = Some(Box::new(Extended { protocol: WEBSOCKET.into(), key }));
}

/// A stream, once its request was granted.
pub(super) struct StreamSide {
    send: Sending,
    receive: Receiving,
    /// What came and was not read yet.
    rest: Bytes,
}

impl StreamSide {
    pub(super) fn new(send: Sending, receive: Receiving) -> Self {
        Self { send, receive, rest: Bytes::new() }
    }
}

impl ClientSide for StreamSide {
    fn reset_on_close(&mut self) {
        // What RST is to TCP (RFC 8441 section 5).
        self.send.reset(CANCEL);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_gone(cx).map(|Gone| ())
    }
}

impl AsyncRead for StreamSide {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(data) => this.rest = data.map_err(|_| io::ErrorKind::ConnectionReset)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..n]);
        this.rest.advance(n);
        // The window opens again only for what goes on: a slow worker holds the client back.
        this.receive.release(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamSide {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let room = ready!(this.send.poll_room(cx)).map_err(broken)?;
        let n = room.min(bytes.len());
        this.send.data(&bytes[..n], (n < bytes.len(), false)).map_err(broken)?;
        Poll::Ready(Ok(n))
    }

    /// The connection's own task sends what a stream has.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().send.data(&[], (false, true)).map_err(broken))
    }
}

fn broken(_: Gone) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
