//! What comes in from a worker: read through the shard's scratch buffer as long as it is little, and straight into a
//! buffer of its own once it is much. What was read and not taken yet waits here.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::forward::tunnel::with_scratch;
use crate::socket::Socket;

/// So much is read at once into a buffer of its own, in bytes. There is one for an answer, used again as soon as the
/// client has taken what was in it.
const PIECE: usize = 64 * 1024;
/// A read that brings so much is followed by one into a buffer of its own. Less is copied into memory of just its size:
/// a stream of small events holds none while it is silent.
const LARGE: usize = 16 * 1024;

/// What comes in.
#[derive(Debug, Default)]
pub(in crate::forward) struct Inflow {
    /// Read, and not taken yet.
    pub(in crate::forward) ahead: Bytes,
    filling: BytesMut,
    large: bool,
}

impl Inflow {
    /// Reads once, where nothing is ahead. False: the other side has ended.
    ///
    /// # Errors
    /// The connection is broken.
    pub(in crate::forward) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<bool>> {
        debug_assert!(self.ahead.is_empty(), "what is ahead is taken first");
        let read = if self.large {
            // As soon as the client has taken what was read before, its memory is used again.
            if !self.filling.try_reclaim(PIECE) && self.filling.capacity() < LARGE {
                self.filling.reserve(PIECE);
            }
            let read = ready!(pin!(socket.read_buf(&mut self.filling)).poll(cx))?;
            self.ahead = self.filling.split().freeze();
            read
        } else {
            let polled = with_scratch(|scratch| {
                let mut piece = ReadBuf::new(scratch);
                ready!(Pin::new(socket).poll_read(cx, &mut piece))?;
                Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(piece.filled())))
            });
            self.ahead = ready!(polled)?;
            self.ahead.len()
        };
        let large = read >= LARGE;
        if self.large && !large {
            self.filling = BytesMut::new();
        }
        self.large = large;
        Poll::Ready(Ok(read > 0))
    }

    /// Gives its memory back: the connection is idle.
    pub(in crate::forward) fn rest(&mut self) {
        *self = Self::default();
    }
}
