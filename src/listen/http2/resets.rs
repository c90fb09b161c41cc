//! Streams that we have reset a short while ago: the client's frames for them may still be under way, and are no fault.

use std::collections::VecDeque;

/// How many are remembered.
const MOST: usize = 256;
/// How long, in nanoseconds.
const REMEMBERED: u64 = 1_000_000_000;

/// The streams with the time of their reset (nanoseconds of `Moment`), oldest first.
#[derive(Debug, Default)]
pub(super) struct Resets(VecDeque<(u32, u64)>);

impl Resets {
    /// One more.
    pub(super) fn add(&mut self, stream: u32, now: u64) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.forget_old(now);
        self.0.push_back((stream, now));
    }

    /// Whether this one is among them.
    pub(super) fn has(&self, stream: u32, now: u64) -> bool {
        self.0.iter().any(|(reset, at)| *reset == stream && *at >= now.saturating_sub(REMEMBERED))
    }

    /// Gives up the room of what is too long ago.
    pub(super) fn rest(&mut self, now: u64) {
        self.forget_old(now);
        self.0.shrink_to_fit();
    }

    fn forget_old(&mut self, now: u64) {
        let long_ago = now.saturating_sub(REMEMBERED);
        while self.0.front().is_some_and(|(_, at)| *at < long_ago) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_remembered_for_a_second_and_holds_no_room_afterwards() {
        let mut resets = Resets::default();
        (0..1_000).for_each(|n| resets.add(2 * n + 1, u64::from(n)));
        assert!(resets.0.len() <= MOST && resets.has(1_999, 999) && !resets.has(1, 999));
        assert!(resets.has(1_999, 999 + REMEMBERED) && !resets.has(1_999, 1_000 + REMEMBERED));
        resets.rest(2_000 + REMEMBERED);
        assert_eq!(resets.0.capacity(), 0);
    }
}
