//! The order in which the workers of one priority take their turns: by weight, and evenly in short runs too.
//!
//! Three ways were measured (the largest difference between the turns a worker had in any window and its share of
//! that window; see the tests): smooth weighted round robin and earliest-deadline-first are even, but the first costs
//! a look at every worker for each turn and the second a heap; earliest-deadline-first without release times (as it is
//! often built) gives a heavy worker its turns in one run. Golden-ratio steps over the added-up weights cost the same
//! for any number of workers and any weights, and stay within a few turns, but with few workers they are less even
//! than people expect of a round robin: of four equal workers one may have two of four turns. So there are two forms:
//!
//! - **A cycle** when the weights, divided by their greatest common divisor, add up to at most [`LONGEST_CYCLE`]:
//!   the whole schedule is laid out once, earliest deadline first among the turns already released (the windows of
//!   Baruah et al., "Proportionate progress", 1996). No worker is ever a whole turn ahead of or behind its share, and
//!   every window of one cycle is exact.
//! - **A rotation** otherwise: the weights lie side by side on a ring of whole units, and each turn steps on by about
//!   the golden section of the ring. The step has no divisor in common with the ring, so one time around visits every
//!   unit exactly once: exact for every weight up to 65535, and even on the way, because multiples of a number whose
//!   continued fraction has only small terms spread evenly (Niederreiter, "Random Number Generation", 1992, ch. 3).
//!
//! A turn of either is a table look-up. Where the order begins is chosen at random, so shards do not move in step.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The longest schedule that is laid out turn by turn; 4 bytes a turn.
pub(super) const LONGEST_CYCLE: u64 = 1024;

/// Of so many turns, one goes to the workers of weight 0, all together, while others have weight. RFC 2782 asks for
/// "a very small chance"; this one does not depend on how the others' weights are written.
pub const ZERO_WEIGHT_TURNS: u64 = 1024;

/// Steps of a rotation that are compared: the nearest to the golden section that have no divisor with the ring.
const STEPS_COMPARED: usize = 64;

/// Takes turns between items `0..weights.len()`.
#[derive(Debug)]
pub(super) enum Order {
    Cycle { turns: Box<[u32]>, at: usize },
    Rotation(Box<Rotation>),
}

#[derive(Debug)]
pub(super) struct Rotation {
    /// Where each item's part of the ring ends; the last is the length of the ring.
    ends: Box<[u64]>,
    /// For each `1 << shift` units of the ring, the item in which they begin: the search starts there.
    guide: Box<[u32]>,
    shift: u32,
    step: u64,
    at: u64,
}

impl Order {
    /// An order for these weights that begins anywhere, by `random`. None if there are no weights.
    pub(super) fn new(weights: &[u16], random: u64) -> Option<Self> {
        if weights.is_empty() {
            return None;
        }
        let units = units(weights);
        let ring: u64 = units.iter().sum();
        if ring <= LONGEST_CYCLE {
            let turns = schedule(&units, ring);
            let at = usize::try_from(random % ring).unwrap_or(0);
            return Some(Self::Cycle { turns, at });
        }
        Some(Self::Rotation(Box::new(Rotation::new(&units, ring, random % ring))))
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> usize {
        match self {
            Self::Cycle { turns, at } => {
                let turn = turns[*at];
                *at = if *at + 1 == turns.len() { 0 } else { *at + 1 };
                turn as usize
            }
            Self::Rotation(rotation) => rotation.next(),
        }
    }
}

impl Rotation {
    fn new(units: &[u64], ring: u64, at: u64) -> Self {
        let ends: Box<[u64]> = units
            .iter()
            .scan(0, |end, unit| {
                *end += unit;
                Some(*end)
            })
            .collect();
        // Between one and two buckets an item.
        let items = ends.len() as u64;
        let mut shift = 0;
        while ring >> shift >= 2 * items {
            shift += 1;
        }
        let guide = (0..=(ring >> shift))
            .map(|bucket| {
                let first = ends.partition_point(|end| *end <= bucket << shift);
                u32::try_from(first.min(ends.len() - 1)).unwrap_or(u32::MAX)
            })
            .collect();
        Self { ends, guide, shift, step: golden_step(ring), at }
    }

    fn next(&mut self) -> usize {
        let ring = self.ends[self.ends.len() - 1];
        let at = self.at;
        self.at = (at + self.step) % ring;
        let bucket = usize::try_from(at >> self.shift).unwrap_or(usize::MAX);
        let first = self.guide[bucket] as usize;
        let last = self.guide.get(bucket + 1).map_or(self.ends.len() - 1, |next| *next as usize);
        first + self.ends[first..last].partition_point(|end| *end <= at)
    }
}

/// Weights as whole units without a common divisor, with the small part of weight 0 filled in. The sum stays below
/// 2^46 for a thousand workers.
pub(super) fn units(weights: &[u16]) -> Vec<u64> {
    let zeros = weights.iter().filter(|weight| **weight == 0).count() as u64;
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let unit = |weight: u16| match (weight, sum, zeros) {
        (_, 0, _) => 1,
        (_, _, 0) => u64::from(weight),
        (0, _, _) => sum,
        (_, _, zeros) => u64::from(weight) * zeros * (ZERO_WEIGHT_TURNS - 1),
    };
    let units: Vec<u64> = weights.iter().map(|weight| unit(*weight)).collect();
    let divisor = units.iter().fold(0, |divisor, unit| gcd(divisor, *unit)).max(1);
    units.into_iter().map(|unit| unit / divisor).collect()
}

/// Turn k of an item with `unit` of `ring` turns is released at floor(k·ring/unit) and due at ceil((k+1)·ring/unit).
fn schedule(units: &[u64], ring: u64) -> Box<[u32]> {
    let released = |item: usize, k: u64| k * ring / units[item];
    let due = |item: usize, k: u64| ((k + 1) * ring).div_ceil(units[item]);
    let mut waiting: BinaryHeap<_> = (0..units.len()).map(|item| Reverse((0, item, 0))).collect();
    let mut ready = BinaryHeap::with_capacity(units.len());
    let mut turns = Vec::with_capacity(usize::try_from(ring).unwrap_or(0));
    for now in 0..ring {
        while let Some(Reverse((release, item, k))) = waiting.peek().copied()
            && release <= now
        {
            waiting.pop();
            ready.push(Reverse((due(item, k), item, k)));
        }
        // The shares add up to one turn for each turn, so somebody is always ready.
        if let Some(Reverse((_, item, k))) = ready.pop() {
            turns.push(u32::try_from(item).unwrap_or(u32::MAX));
            waiting.push(Reverse((released(item, k + 1), item, k + 1)));
        }
    }
    turns.into_boxed_slice()
}

/// The step around a ring whose multiples spread most evenly, of those near the golden section.
fn golden_step(ring: u64) -> u64 {
    let golden = ((u128::from(ring) * 0x9E37_79B9_7F4A_7C15) >> 64) as u64;
    (0..)
        .flat_map(|away| [golden.wrapping_sub(away), golden + away + 1])
        .take_while(|step| *step < 2 * ring)
        .filter(|step| (1..ring).contains(step) && gcd(*step, ring) == 1)
        .take(STEPS_COMPARED)
        .min_by_key(|step| unevenness(*step, ring))
        .unwrap_or(1)
}

/// The sum of the terms of the continued fraction of `step / ring`: multiples spread the more evenly, the smaller.
fn unevenness(step: u64, ring: u64) -> u64 {
    let (mut high, mut low, mut sum) = (ring, step, 0);
    while low != 0 {
        sum += high / low;
        (high, low) = (low, high % low);
    }
    sum
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
