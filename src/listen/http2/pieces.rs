//! What came of a body and nobody has taken yet, in pieces that have a buffer each: whoever holds one holds no more
//! than that, however much came with it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The longest piece in bytes. So much may be in a request's hands that the client's window no longer counts.
pub(super) const PIECE_MOST: usize = 32 * 1024;

/// The pieces, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<BytesMut>,
    /// Bytes in all of them.
    total: usize,
}

impl Pieces {
    /// How many bytes there are.
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Adds what came. The last piece is filled up first, so that small frames share one.
    pub(super) fn push(&mut self, mut data: &[u8]) {
        self.total += data.len();
        while !data.is_empty() {
            let last = match self.pieces.back_mut() {
                Some(last) if last.len() < PIECE_MOST => last,
                _ => {
                    self.pieces.push_back(BytesMut::with_capacity(data.len().min(PIECE_MOST)));
                    continue;
                }
            };
            let (here, behind) = data.split_at(data.len().min(PIECE_MOST - last.len()));
            last.extend_from_slice(here);
            data = behind;
        }
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.total -= piece.len();
        Some(piece.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_never_longer_than_allowed_and_small_ones_share_a_buffer() {
        let mut pieces = Pieces::default();
        (0..10).for_each(|_| pieces.push(b"abc"));
        assert_eq!(pieces.pop().unwrap().len(), 30);
        let long: Vec<u8> = (0..3 * PIECE_MOST + 5).map(|n| n as u8).collect();
        long.chunks(7_001).for_each(|piece| pieces.push(piece));
        assert_eq!((pieces.total(), pieces.pieces.len()), (long.len(), 4));
        let taken: Vec<_> = std::iter::from_fn(|| pieces.pop()).collect();
        assert!(taken.iter().all(|piece| piece.len() <= PIECE_MOST));
        assert_eq!(taken.concat(), long);
        assert!(pieces.is_empty());
    }
}
