//! What the streams of an HTTP/2 connection have to send, as frames one behind another, until the socket takes it. The
//! room for it is the shard's: a connection that has sent all holds none.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::super::frames;
use super::super::transport::Transport;

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// The most room that is kept for the next one.
const SPARE_MOST: usize = 256 * 1024;

thread_local! {
    /// The room that the connections of a shard gather in, one after another.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What was sent by us and not taken by the socket.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) bytes: Vec<u8>,
    /// Of them, those that the guard of frames has seen, and those that went out.
    judged: usize,
    gone: usize,
    /// The socket took all, and TLS may keep some of it.
    unflushed: bool,
}

impl Gathered {
    /// How many bytes wait.
    pub(super) const fn waiting(&self) -> usize {
        self.bytes.len() - self.gone
    }

    /// What was added since this was last asked.
    pub(super) fn unseen(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.judged, self.bytes.len());
        &self.bytes[from..]
    }

    /// The head of a frame; where it stands.
    pub(super) fn begin(&mut self, length: usize, kind: u8, flags: u8, stream: u32) -> usize {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&frame_head(length, kind, flags, stream));
        at
    }

    /// Ends the header block behind the head that stands at `at`, in as many frames as it needs.
    pub(super) fn end_block(&mut self, at: usize, most: usize, stream: u32, flags: u8) {
        let length = self.bytes.len() - at - HEAD;
        if length <= most {
            let head = frame_head(length, frames::HEADERS, flags | frames::END_HEADERS, stream);
            self.bytes[at..at + HEAD].copy_from_slice(&head);
            return;
        }
        let block = self.bytes.split_off(at + HEAD);
        self.bytes.truncate(at);
        let (mut kind, mut flags) = (frames::HEADERS, flags);
        let mut pieces = block.chunks(most).peekable();
        while let Some(piece) = pieces.next() {
            flags |= if pieces.peek().is_none() { frames::END_HEADERS } else { 0 };
            self.bytes.extend_from_slice(&frame_head(piece.len(), kind, flags, stream));
            self.bytes.extend_from_slice(piece);
            (kind, flags) = (frames::CONTINUATION, 0);
        }
    }

    /// Sends it.
    pub(super) fn poll(&mut self, stream: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            match Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.gone..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => self.gone += n?,
                Poll::Pending => {
                    self.compact();
                    return Poll::Pending;
                }
            }
            self.unflushed = true;
        }
        (self.gone, self.judged) = (0, 0);
        self.bytes.clear();
        let room = std::mem::take(&mut self.bytes);
        if (1..=SPARE_MOST).contains(&room.capacity()) {
            SPARE.set(room);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What went out takes no room: a client that reads on and on, and never all, would make it grow.
    fn compact(&mut self) {
        if self.gone > self.waiting() {
            self.bytes.drain(..self.gone);
            self.judged -= self.gone;
            self.gone = 0;
        }
    }
}

/// RFC 9113 section 4.1.
fn frame_head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    let [.., a, b, c] = length.to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_as_many_frames_as_it_needs() {
        let block = |bytes: usize| {
            let mut gathered = Gathered { bytes: b"before".to_vec(), ..Gathered::default() };
            let at = gathered.begin(0, frames::HEADERS, 0, 5);
            gathered.bytes.extend((0..bytes).map(|n| n as u8));
            gathered.end_block(at, 10, 5, frames::END_STREAM);
            gathered.bytes
        };
        assert_eq!(block(3), b"before\0\0\x03\x01\x05\0\0\0\x05\0\x01\x02");
        let three = block(21);
        let heads: Vec<_> = [6, 25, 44].iter().map(|at| &three[*at..*at + HEAD]).collect();
        assert_eq!(
            heads,
            [&b"\0\0\x0a\x01\x01\0\0\0\x05"[..], b"\0\0\x0a\x09\0\0\0\0\x05", b"\0\0\x01\x09\x04\0\0\0\x05"]
        );
    }

    #[test]
    fn what_went_out_takes_no_room() {
        let mut gathered = Gathered { bytes: (0..100).collect(), judged: 100, gone: 40, unflushed: true };
        gathered.compact();
        assert_eq!((gathered.bytes.len(), gathered.waiting()), (100, 60));
        gathered.gone = 90;
        gathered.compact();
        assert_eq!(
            (gathered.bytes.as_slice(), gathered.judged, gathered.gone),
            (&[90, 91, 92, 93, 94, 95, 96, 97, 98, 99][..], 10, 0)
        );
    }
}
