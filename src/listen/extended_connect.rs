//! WebSocket on a stream of HTTP/2 (RFC 8441): how such a request is asked of a worker, which speaks HTTP/1.1, and the
//! stream as the client's end of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Extensions, Method};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::forward::tunnel::ClientSide;
use crate::forward::websocket;
use crate::message::{Extended, RequestHead};

/// The only protocol that is carried: others (RFC 9298, RFC 9484) have framing of their own below HTTP/2.
const WEBSOCKET: &str = "websocket";

/// Whether a request asks to go on as a WebSocket. Any other CONNECT is refused further on.
pub(super) fn is_asked(method: &Method, extensions: &Extensions) -> bool {
    *method == Method::CONNECT
        && extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == WEBSOCKET)
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
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What came and was not read yet.
    rest: Bytes,
}

impl StreamSide {
    pub(super) fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, rest: Bytes::new() }
    }
}

impl ClientSide for StreamSide {
    fn reset_on_close(&mut self) {
        // What RST is to TCP (RFC 8441 section 5).
        self.send.send_reset(Reason::CANCEL);
    }
}

impl AsyncRead for StreamSide {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(data) => this.rest = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..n]);
        this.rest.advance(n);
        // The window opens again only for what goes on: a slow worker holds the client back.
        let _ = this.receive.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamSide {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.send.reserve_capacity(bytes.len());
        loop {
            let room = match ready!(this.send.poll_capacity(cx)) {
                Some(room) => room.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            if room > 0 {
                let n = room.min(bytes.len());
                let piece = Bytes::copy_from_slice(&bytes[..n]);
                this.send.send_data(piece, false).map_err(io::Error::other)?;
                return Poll::Ready(Ok(n));
            }
        }
    }

    /// The connection's own task sends what a stream has.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
