//! Who may send how much of the connection's window, and when: streams that cannot send at once wait in a queue, and
//! each gets its turn with a share of what there is room for. So no answer keeps the others waiting, however large.

use std::collections::VecDeque;
use std::rc::Rc;

use super::FIRST_WINDOW;
use super::stream::Stream;

/// The longest frame of DATA that is sent, which every client takes (RFC 9113 section 4.2); the least share of a turn.
pub(super) const DATA_MOST: usize = 16 * 1024;

/// The turns of a connection's streams.
#[derive(Debug)]
pub(super) struct Turns {
    /// Those that wait, in order. All of them are open.
    waiting: VecDeque<Rc<Stream>>,
    /// What those have that were called and have not used it yet.
    granted: usize,
    /// What we may still send beyond that (RFC 9113 section 5.2).
    room: i64,
    /// When a piece of a body was last sent (nanoseconds of `Moment`).
    sent_at: u64,
}

impl Turns {
    pub(super) fn new(now: u64) -> Self {
        Self { waiting: VecDeque::new(), granted: 0, room: i64::from(FIRST_WINDOW), sent_at: now }
    }

    /// Whether the connection's window is open.
    pub(super) const fn has_room(&self) -> bool {
        self.room > 0
    }

    /// When something was last sent.
    pub(super) const fn sent_at(&self) -> u64 {
        self.sent_at
    }

    /// What is granted and not used.
    pub(super) const fn granted(&self) -> usize {
        self.granted
    }

    /// What may be sent out of turn, of one frame at most: nothing while others wait or have their turn.
    pub(super) fn free(&self) -> usize {
        let is_free = self.waiting.is_empty() && self.granted == 0;
        if is_free { usize::try_from(self.room).unwrap_or(0).min(DATA_MOST) } else { 0 }
    }

    /// This stream waits.
    pub(super) fn queue(&mut self, stream: &Rc<Stream>) {
        self.waiting.push_back(Rc::clone(stream));
    }

    /// Calls those that wait, as far as there is room for `free` bytes.
    pub(super) fn call(&mut self, mut free: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let share = (free / self.waiting.len()).max(DATA_MOST);
        while free > 0
            && self.room > 0
            && let Some(next) = self.waiting.pop_front()
        {
            let granted = next.grant(share.min(usize::try_from(self.room).unwrap_or(0)));
            self.room -= i64::try_from(granted).unwrap_or(i64::MAX);
            self.granted += granted;
            free = free.saturating_sub(granted);
        }
    }

    /// So much of what was granted is used, or will not be.
    pub(super) fn take_back(&mut self, granted: usize) {
        self.granted = self.granted.saturating_sub(granted);
        self.room += i64::try_from(granted).unwrap_or(0);
    }

    /// So much is sent.
    pub(super) fn sent(&mut self, length: usize, now: u64) {
        self.room -= i64::try_from(length).unwrap_or(i64::MAX);
        self.sent_at = now;
    }

    /// The client opens the window; false beyond what a window can be.
    pub(super) fn widen(&mut self, by: u32) -> bool {
        self.room += i64::from(by);
        self.room <= i64::from(i32::MAX)
    }

    /// The stream is no more.
    pub(super) fn withdraw(&mut self, stream: &Stream) {
        let (waits, granted) = stream.withdraw();
        if waits {
            self.waiting.retain(|other| other.id != stream.id);
        }
        self.take_back(granted);
    }

    /// No stream is left.
    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
