//! Streams that we have reset a short while ago: the client's frames for them may still be under way, and are no fault.

use std::collections::VecDeque;

/// How many rows of them are remembered.
const MOST: usize = 256;
/// How long, in nanoseconds: as long as what a client had under way may take through a queue on a slow link.
const REMEMBERED: u64 = 5_000_000_000;
/// How long a row grows, in nanoseconds.
const GROWS: u64 = 1_000_000_000;

/// The streams, oldest first.
#[derive(Debug, Default)]
pub(super) struct Resets(VecDeque<Row>);

/// Streams of a client that were reset one after another: hundreds are, when a client opens as many before it has seen
/// our SETTINGS. Times are nanoseconds of `Moment`.
#[derive(Debug)]
struct Row {
    first: u32,
    last: u32,
    since: u64,
    until: u64,
}

impl Resets {
    /// One more.
    pub(super) fn add(&mut self, stream: u32, now: u64) {
        if let Some(row) = self.0.back_mut()
            && row.last.checked_add(2) == Some(stream)
            && now.saturating_sub(row.since) <= GROWS
        {
            (row.last, row.until) = (stream, now);
            return;
        }
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.forget_old(now);
        self.0.push_back(Row { first: stream, last: stream, since: now, until: now });
    }

    /// Whether this one is among them.
    pub(super) fn has(&self, stream: u32, now: u64) -> bool {
        let long_ago = now.saturating_sub(REMEMBERED);
        self.0.iter().any(|row| (row.first..=row.last).contains(&stream) && row.until >= long_ago)
    }

    /// Gives up the room of what is too long ago.
    pub(super) fn rest(&mut self, now: u64) {
        self.forget_old(now);
        self.0.shrink_to_fit();
    }

    fn forget_old(&mut self, now: u64) {
        let long_ago = now.saturating_sub(REMEMBERED);
        while self.0.front().is_some_and(|row| row.until < long_ago) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_remembered_for_a_while_and_holds_no_room_afterwards() {
        let mut resets = Resets::default();
        (0..1_000).for_each(|n| resets.add(4 * n + 1, u64::from(n)));
        assert!(resets.0.len() <= MOST && resets.has(3_997, 999) && !resets.has(1, 999));
        assert!(!resets.has(3_995, 999), "between two of them");
        assert!(resets.has(3_997, 999 + REMEMBERED) && !resets.has(3_997, 1_000 + REMEMBERED));
        resets.rest(2_000 + REMEMBERED);
        assert_eq!(resets.0.capacity(), 0);
    }

    #[test]
    fn thousands_that_are_refused_one_after_another_are_all_remembered() {
        let mut resets = Resets::default();
        (0..4_000).for_each(|n| resets.add(2 * n + 1, u64::from(n)));
        assert!((0..4_000).all(|n| resets.has(2 * n + 1, 4_000)) && !resets.has(8_001, 4_000));
        assert_eq!(resets.0.len(), 1);
        resets.add(8_001, GROWS + 1);
        assert_eq!(resets.0.len(), 2, "a row does not grow for ever");
    }
}
