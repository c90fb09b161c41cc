//! A shard's two scratch buffers: what a read brings, and what is put together before it is sent. Each is lent within
//! one poll and never across, so that a connection that waits holds none.

use std::cell::{Cell, RefCell};

/// How much is read at once while no body is read, in bytes.
pub(super) const PIECE: usize = 16 * 1024;
/// The most room that the buffer for sending keeps between two uses, in bytes.
const KEPT: usize = 256 * 1024;

thread_local! {
    static INCOMING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTGOING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends [`PIECE`] bytes to read into.
#[inline]
pub(super) fn incoming<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    INCOMING.with_borrow_mut(|scratch| {
        scratch.resize(PIECE, 0);
        use_it(scratch)
    })
}

/// Takes the buffer for sending; it is empty.
#[inline]
pub(super) fn take() -> Vec<u8> {
    OUTGOING.take()
}

/// Gives it back.
#[inline]
pub(super) fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT {
        buffer.shrink_to(KEPT);
    }
    OUTGOING.set(buffer);
}
