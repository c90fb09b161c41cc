//! A body that is all here. A worker's that came with its head, as most small ones do, stands in a buffer of the
//! thread's: the next one finds it warm, and nothing is allocated for it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The longest body that is put into such a buffer, in bytes.
const MOST: usize = 8 * 1024;
/// So many of them are kept on a thread: 256 KiB in all.
const SPARE: usize = 32;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// All of a body.
#[derive(Debug)]
pub enum Whole {
    /// Of Buckler's own, or a long one.
    Bytes(Bytes),
    /// What came with its head.
    Came(Came),
}

/// A short body in a buffer of the thread's; given back on drop.
pub struct Came(Vec<u8>);

impl Came {
    /// A copy of these, unless they are none or too many.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        if !(1..=MOST).contains(&bytes.len()) {
            return None;
        }
        let mut buffer = SPARES.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(MOST));
        buffer.extend_from_slice(bytes);
        Some(Self(buffer))
    }

    /// The same for those who hold it longer: no more memory than it needs.
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl Drop for Came {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        // Not there any more when the thread ends: then there is nothing to keep it for.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(buffer);
            }
        });
    }
}

impl Whole {
    /// For those who hold it longer than it takes to copy it.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Came(came) => came.to_bytes(),
        }
    }
}

impl Deref for Whole {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Came(came) => came,
        }
    }
}

impl Deref for Came {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// How long it is: what is in it is nobody's business.
impl fmt::Debug for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spares() -> usize {
        SPARES.with_borrow(|spares| {
            assert!(spares.iter().all(|spare| spare.is_empty() && spare.capacity() <= MOST));
            spares.len()
        })
    }

    #[test]
    fn a_buffer_comes_back_empty_and_so_many_are_kept() {
        let held: Vec<Came> = (0..SPARE + 9).map(|n| Came::of(&vec![7; n + 1]).unwrap()).collect();
        assert!(held.iter().enumerate().all(|(n, came)| came.len() == n + 1));
        drop(held);
        assert_eq!(spares(), SPARE);
        let came = Came::of(b"hello").unwrap();
        assert_eq!(spares(), SPARE - 1);
        assert_eq!((&*came, &came.to_bytes()[..]), (&b"hello"[..], &b"hello"[..]));
        let whole = Whole::Came(came);
        assert_eq!((&*whole, whole.len()), (&b"hello"[..], 5));
        assert_eq!(whole.into_bytes(), "hello");
        assert_eq!(spares(), SPARE);
    }

    #[test]
    fn what_is_empty_or_long_stands_in_none() {
        assert!(Came::of(b"").is_none() && Came::of(&[0; MOST + 1]).is_none());
        assert!(Came::of(&[0; MOST]).is_some());
    }
}
