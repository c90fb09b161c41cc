//! Who may be used, how much of its weight, and which priority serves: read from the workers' health, and then good
//! until their version changes or the time comes that it names.

use std::ops::Range;

use crate::workers::health::{FULL_SHARE, Outlook, Use};
use crate::workers::{Terms, WorkerSet};

/// A worker holds at most so many times (3/2) its part of the service's places: enough for uneven turns and times, and
/// one of three that hangs leaves half of all places to the others.
const PART: (u128, u128) = (3, 2);

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
    /// How many of the service's places each may hold. None: all of them.
    parts: Vec<Option<u32>>,
    /// The places of the priority that serves; empty if nobody may be used.
    tier: Range<usize>,
    /// Those of better priorities than the one that serves that want to be tried.
    probes: Vec<usize>,
    /// Too many of those that serve are out, and nobody else is well: all of them are used.
    pub(super) panic: bool,
    /// From this moment on (monotonic nanoseconds) time alone may have changed it.
    pub(super) changes_at: u64,
}

impl Table {
    /// A table of these workers, of which this may be expected.
    pub(super) fn of(set: &WorkerSet, outlooks: &[Outlook], terms: &Terms) -> Self {
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
        table.choose_tier(set, terms.max_ejected);
        table.parts = vec![None; table.ranks.len()];
        table.probes = (0..table.tier.start).filter(|place| table.trials[*place]).collect();
        table
    }

    /// The lowest priority number with somebody to use; failing that, with somebody to try, with somebody who was
    /// ejected, with anybody who may be asked at all.
    ///
    /// Bad workers are better than none, and worse than the good ones of another priority: if more than `max_ejected`
    /// of those that serve are out, all are used if no other priority has anybody to use; else none of the ejected is.
    fn choose_tier(&mut self, set: &WorkerSet, max_ejected: f64) {
        let mut tiers = Vec::new();
        let mut begin = 0;
        for members in set.members.chunk_by(|a, b| a.priority == b.priority) {
            tiers.push(begin..begin + members.len());
            begin += members.len();
        }
        let well = |tier: &&Range<usize>| self.well(tier) > 0;
        let wanted: [&[Rank]; 3] = [&[Rank::Used], &[Rank::Trickle, Rank::Out], &[Rank::Away]];
        let some = |ranks: &&[Rank]| tiers.iter().find(|tier| self.counts(tier, ranks) > 0);
        let Some(tier) = tiers.iter().find(well).or_else(|| wanted.iter().find_map(some)) else { return };
        self.tier = tier.clone();
        if self.is_calm(tier, max_ejected) {
            return;
        }
        if tiers.iter().any(|other| other != tier && self.well(other) > 0) {
            self.keep_out();
        } else {
            self.use_whole();
        }
    }

    /// Whether some of these are to be used, and no greater part than `max_ejected` is out.
    fn is_calm(&self, tier: &Range<usize>, max_ejected: f64) -> bool {
        let used = self.well(tier);
        let all = tier.len() - self.counts(tier, &[Rank::Unready]);
        // A millionth more, since 0.29 × 100 is a little less than 29.
        used > 0 && (all - used) as f64 <= max_ejected * all as f64 + 1e-6
    }

    /// Those to be used; nobody knows yet how those are that are to be tried.
    fn well(&self, tier: &Range<usize>) -> usize {
        tier.clone().filter(|place| self.ranks[*place] == Rank::Used && !self.trials[*place]).count()
    }

    fn counts(&self, tier: &Range<usize>, wanted: &[Rank]) -> usize {
        self.ranks[tier.clone()].iter().filter(|rank| wanted.contains(rank)).count()
    }

    /// Nobody of the tier who was ejected gets a trickle: beside few that are well, perhaps in slow start, that would
    /// be too much.
    fn keep_out(&mut self) {
        for place in self.tier.clone() {
            if self.ranks[place] == Rank::Trickle {
                (self.ranks[place], self.shares[place]) = (Rank::Out, FULL_SHARE);
            }
        }
    }

    /// All of the tier get their whole weight: had those that were not ejected a smaller share, the ill would be
    /// preferred to the well. Those that take no connections would help nobody.
    fn use_whole(&mut self) {
        self.panic = true;
        for place in self.tier.clone() {
            if matches!(self.ranks[place], Rank::Used | Rank::Trickle | Rank::Out) {
                (self.ranks[place], self.shares[place]) = (Rank::Used, FULL_SHARE);
            }
        }
    }

    /// Bounds what each of `turns` may hold of the service's places (`capacity.concurrent`, 0: no bound), so that those
    /// which wait at one that hangs leave room for the others. One that is alone needs all of them.
    pub(super) fn share_out(&mut self, concurrent: u32, turns: &[u32], units: &[u64]) {
        let is_used = |place: &u32| self.ranks[*place as usize] == Rank::Used;
        let used: Vec<(u32, u64)> =
            turns.iter().copied().zip(units.iter().copied()).filter(|(place, _)| is_used(place)).collect();
        if concurrent == 0 || used.len() < 2 {
            return;
        }
        let whole: u128 = used.iter().map(|(_, unit)| u128::from(*unit)).sum();
        for (place, unit) in used {
            let part = (PART.0 * u128::from(concurrent) * u128::from(unit)).div_ceil(PART.1 * whole);
            let part = u32::try_from(part).unwrap_or(u32::MAX).clamp(1, concurrent);
            self.parts[place as usize] = Some(part);
        }
    }

    /// The first place of the priority that serves, if anybody may be used.
    pub(super) fn first(&self) -> Option<usize> {
        (!self.tier.is_empty()).then_some(self.tier.start)
    }

    /// How many of the service's places it may hold. None: all of them.
    pub(super) fn part(&self, place: usize) -> Option<u32> {
        self.parts[place]
    }

    /// The places of those that want to be tried, of priorities that were passed over: they have no turns.
    pub(super) fn probes(&self) -> &[usize] {
        &self.probes
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
