//! Counts by caller: exact for those that the configuration names, the heaviest of the others by `top.rs`, the rest
//! as one. However many callers there are, what is shown is bounded.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::counts::ServiceCounts;
use super::top::Top;
use crate::shard::{Count, PerShard};

/// How many callers that the configuration does not name are shown.
pub const SHOWN: usize = 64;

/// The caller label of all that are not shown.
pub const OTHERS: &str = "_other";

/// What a configured caller did, on one shard.
#[derive(Debug, Default)]
pub struct CallerCounts {
    /// Requests that were sent to a worker.
    pub allowed: Count,
    /// Requests that Buckler refused.
    pub refused: Count,
}

impl CallerCounts {
    /// Counts one request; only the owning shard may call it.
    pub(super) fn add(&self, allowed: bool) {
        if allowed { &self.allowed } else { &self.refused }.add(1);
    }
}

/// Requests of one caller or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent to a worker.
    pub allowed: u64,
    /// Refused.
    pub refused: u64,
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self { allowed: self.allowed + other.allowed, refused: self.refused + other.refused }
    }

    /// None if either number of `other` is the larger: `other` is then no earlier reading of the same.
    fn minus(self, other: Self) -> Option<Self> {
        let allowed = self.allowed.checked_sub(other.allowed)?;
        let refused = self.refused.checked_sub(other.refused)?;
        Some(Self { allowed, refused })
    }
}

/// The callers of one service as people see them.
#[derive(Clone, Debug, Default)]
pub struct CallerTable {
    /// Those that the configuration names, by name.
    pub named: Vec<(Arc<str>, Tally)>,
    /// The heaviest [`SHOWN`] of the others, the heaviest first; counted since each entered the table.
    pub top: Vec<(String, Tally)>,
    /// All others. Never goes back, though callers come into `top` and leave it.
    pub others: Tally,
}

/// What was read last, so that [`CallerTable::others`] only ever grows: it grows by what came in since, less what of
/// that came in for those that are shown now. What a caller did before it was shown stays counted there.
#[derive(Debug, Default)]
pub struct Shown {
    all: Tally,
    others: Tally,
    // All that the shards follow, at most `top::TRACKED` each, whether shown or not.
    tracked: HashMap<String, Tally>,
}

impl ServiceCounts {
    /// The callers as people see them.
    pub fn callers(&self) -> CallerTable {
        let tally = |counts: &PerShard<CallerCounts>| Tally {
            allowed: counts.sum(|slot| &slot.allowed),
            refused: counts.sum(|slot| &slot.refused),
        };
        let mut named: Vec<_> =
            self.all_named().into_iter().map(|(name, counts)| (name, tally(&counts))).collect();
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        // Held while the shards are read, so that two readers cannot hand in their readings in the wrong order.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut merged: HashMap<String, (u64, Tally)> = HashMap::new();
        let mut all = Tally::default();
        for shard in self.shards.iter() {
            let top = shard.top.lock().unwrap_or_else(PoisonError::into_inner);
            let unnamed = &shard.unnamed;
            all = all.plus(Tally { allowed: unnamed.allowed.get(), refused: unnamed.refused.get() });
            merge(&mut merged, &top);
        }
        let mut heaviest: Vec<_> = merged.iter().collect();
        heaviest.sort_by(|(a_name, (a, _)), (b_name, (b, _))| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        heaviest.truncate(SHOWN);
        let top: Vec<_> = heaviest.into_iter().map(|(name, (_, tally))| (name.clone(), *tally)).collect();
        let tracked = merged.into_iter().map(|(name, (_, tally))| (name, tally)).collect();
        let others = shown.update(all, &top, tracked);
        CallerTable { named, top, others }
    }
}

fn merge(merged: &mut HashMap<String, (u64, Tally)>, top: &Top) {
    for (entry, seen) in top.iter() {
        let (all_seen, tally) = merged.entry(entry.name.clone()).or_default();
        *all_seen += seen;
        *tally = tally.plus(Tally { allowed: entry.allowed, refused: entry.refused });
    }
}

impl Shown {
    fn update(&mut self, all: Tally, top: &[(String, Tally)], tracked: HashMap<String, Tally>) -> Tally {
        let mut grown = all.minus(self.all).unwrap_or_default();
        for (name, now) in top {
            // Less than last time means that it left the table and came back: all that it has is new.
            let since = self.tracked.get(name).and_then(|then| now.minus(*then)).unwrap_or(*now);
            grown.allowed = grown.allowed.saturating_sub(since.allowed);
            grown.refused = grown.refused.saturating_sub(since.refused);
        }
        self.others = self.others.plus(grown);
        self.all = all;
        self.tracked = tracked;
        self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ShardId;

    fn asks(counts: &ServiceCounts, name: &str, allowed: u64) {
        let shard = counts.shards.of(ShardId(0));
        for _ in 0..allowed {
            shard.top.lock().unwrap().add(name, true);
            shard.unnamed.allowed.add(1);
        }
    }

    #[test]
    fn what_is_shown_is_bounded_and_the_heaviest_come_first() {
        let counts = ServiceCounts::new(1);
        for n in 0..1000 {
            asks(&counts, &format!("address:10.0.{}.{}", n / 256, n % 256), 1);
        }
        asks(&counts, "address:192.0.2.1", 500);
        let table = counts.callers();
        let shown: u64 = table.top.iter().map(|(_, tally)| tally.allowed).sum();
        assert_eq!(shown + table.others.allowed, 1500);
        assert_eq!(table.top.len(), SHOWN);
        assert_eq!(table.top[0].0, "address:192.0.2.1");
        assert!(table.top[0].1.allowed >= 490);
    }

    #[test]
    fn the_rest_never_goes_back_and_never_jumps_when_callers_come_and_go() {
        let counts = ServiceCounts::new(1);
        let mut last = counts.callers().others;
        for round in 0..50 {
            // Other heavy callers each round push the earlier ones out of what is shown.
            for n in 0..70 {
                asks(&counts, &format!("round-{round}-{n}"), 20 + n);
            }
            let now = counts.callers().others;
            let grown = now.minus(last).expect("never goes back");
            assert!(grown.allowed <= (0..70).map(|n| 20 + n).sum(), "grew by more than came in");
            last = now;
        }
    }
}
