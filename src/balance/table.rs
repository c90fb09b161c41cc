//! Who may be used, how much of its weight, and which priority serves: read from the workers' health, and then good
//! until their version changes or the time comes that it names.

use std::ops::Range;

use crate::workers::WorkerSet;
use crate::workers::health::{FULL_SHARE, Outlook, Use};

/// How willingly a worker is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// It is used.
    Used,
    /// It is ejected and gets a trickle.
    Trickle,
    /// It is ejected and gets nothing.
    Out,
    /// It takes no connections.
    Away,
    /// Never.
    Unready,
}

/// The workers as of the last look, each at its place in the set.
#[derive(Debug, Default)]
pub(super) struct Table {
    ranks: Vec<Rank>,
    shares: Vec<u8>,
    trials: Vec<bool>,
    /// The places of the priority that serves; empty if nobody may be used.
    tier: Range<usize>,
    /// Those of better priorities than the one that serves that want to be tried.
    probes: Vec<usize>,
    /// From this moment on (monotonic nanoseconds) time alone may have changed it.
    pub(super) changes_at: u64,
}

impl Table {
    /// A table of these workers, of which this may be expected. `max_ejected` is the part, 0 to 1, up to which ejected
    /// workers are kept out.
    pub(super) fn of(set: &WorkerSet, outlooks: &[Outlook], max_ejected: f64) -> Self {
        let mut table = Self { changes_at: u64::MAX, ..Self::default() };
        for outlook in outlooks {
            table.changes_at = table.changes_at.min(outlook.changes_at);
            let (rank, share) = match outlook.usable {
                Use::Share(share) => (Rank::Used, share.clamp(1, FULL_SHARE)),
                Use::Trial => (Rank::Used, FULL_SHARE),
                Use::Ejected(0) => (Rank::Out, FULL_SHARE),
                Use::Ejected(share) => (Rank::Trickle, share.min(FULL_SHARE)),
                Use::NotBefore(_) => (Rank::Away, FULL_SHARE),
                Use::Unready => (Rank::Unready, FULL_SHARE),
            };
            table.ranks.push(rank);
            table.shares.push(share);
            table.trials.push(outlook.usable == Use::Trial);
        }
        table.choose_tier(set, max_ejected);
        table.probes = (0..table.tier.start).filter(|place| table.trials[*place]).collect();
        table
    }

    /// The lowest priority number with somebody to use and not too many ejected. If each has too many: bad workers are
    /// better than none, and the lowest number with somebody to use is used whole; failing that, the lowest with
    /// somebody who was ejected; failing that, the lowest with anybody who may be asked at all.
    fn choose_tier(&mut self, set: &WorkerSet, max_ejected: f64) {
        let mut tiers = Vec::new();
        let mut begin = 0;
        for members in set.members.chunk_by(|a, b| a.priority == b.priority) {
            tiers.push(begin..begin + members.len());
            begin += members.len();
        }
        let calm = |tier: &&Range<usize>| self.is_calm(tier, max_ejected);
        if let Some(tier) = tiers.iter().find(calm) {
            self.tier = tier.clone();
            return;
        }
        let wanted: [&[Rank]; 3] = [&[Rank::Used], &[Rank::Trickle, Rank::Out], &[Rank::Away]];
        let some = |ranks: &&[Rank]| tiers.iter().find(|tier| self.counts(tier, ranks) > 0);
        if let Some(tier) = wanted.iter().find_map(some) {
            self.tier = tier.clone();
            self.use_whole();
        }
    }

    /// Whether some of these are to be used, and no greater part than `max_ejected` is out.
    fn is_calm(&self, tier: &Range<usize>, max_ejected: f64) -> bool {
        let trials = self.trials[tier.clone()].iter().filter(|trial| **trial).count();
        // Nobody knows yet whether one that is to be tried is back: it takes over nothing.
        let out = self.counts(tier, &[Rank::Trickle, Rank::Out, Rank::Away]) + trials;
        let used = self.counts(tier, &[Rank::Used]) - trials;
        // A millionth more, since 0.29 × 100 is a little less than 29.
        used > 0 && out as f64 <= max_ejected * (out + used) as f64 + 1e-6
    }

    fn counts(&self, tier: &Range<usize>, wanted: &[Rank]) -> usize {
        self.ranks[tier.clone()].iter().filter(|rank| wanted.contains(rank)).count()
    }

    /// All of the tier get their whole weight: had those that were not ejected a smaller share, the ill would be
    /// preferred to the well. Those that take no connections would help nobody.
    fn use_whole(&mut self) {
        for place in self.tier.clone() {
            if matches!(self.ranks[place], Rank::Used | Rank::Trickle | Rank::Out) {
                (self.ranks[place], self.shares[place]) = (Rank::Used, FULL_SHARE);
            }
        }
    }

    /// The places of those that want to be tried, of priorities that were passed over: they have no turns.
    pub(super) fn probes(&self) -> &[usize] {
        &self.probes
    }

    /// Whether this member is of the priority that serves.
    pub(super) fn serves(&self, place: usize) -> bool {
        self.tier.contains(&place)
    }

    /// The members that take turns now, as places in the set.
    pub(super) fn turns(&self) -> Vec<u32> {
        let with = |ranks: &[Rank]| -> Vec<u32> {
            let places = self.tier.clone().filter(|place| ranks.contains(&self.ranks[*place]));
            places.filter_map(|place| u32::try_from(place).ok()).collect()
        };
        let turns = with(&[Rank::Used, Rank::Trickle]);
        if turns.is_empty() { with(&[Rank::Away]) } else { turns }
    }

    /// How willingly this one is chosen.
    pub(super) fn rank(&self, place: usize) -> Rank {
        self.ranks[place]
    }

    /// How many parts of [`FULL_SHARE`] of its weight it gets.
    pub(super) fn share(&self, place: usize) -> u8 {
        self.shares[place]
    }

    /// Whether it wants to be tried by one request.
    pub(super) fn is_trial(&self, place: usize) -> bool {
        self.trials[place]
    }
}
