//! The order in which the workers of one priority take their turns: by weight, and evenly in short runs too.
//!
//! Measured: the largest difference, in any window of 200,000 turns, between the turns that a worker had and its share
//! of the window (20,000 turns for the 1000 workers; fewer is better; below 2 nobody is ever a turn off).
//!
//! ```text
//! weights               smooth WRR   EDF    golden ratio   cycle   rotation
//! 3:1:1:1                  1.00      1.50       4.83        0.83
//! 1:1:1:1                  0.75      0.75       4.75        0.75
//! 60000:5535               1.00      1.00       4.57                 2.26
//! 7919:104:65535:5:1       1.95      3.56       4.67                 4.49
//! 1000 different           1.50      1.15       2.90                 3.28
//! ```
//!
//! Smooth weighted round robin looks at every worker for each turn, earliest-deadline-first keeps a heap; golden-ratio
//! steps over the added-up weights cost the same for any workers, but with few of them they are less even than people
//! expect of a round robin: of four equal workers one may have two of four turns. So there are three forms:
//!
//! - **A round** when all weights are the same: one after another, in the order of the set. What belongs to neighbours
//!   lies side by side in memory, so that of very many workers a turn does not begin with a wait for each table.
//! - **A cycle** when the weights, divided by their greatest common divisor, add up to at most [`LONGEST_CYCLE`]:
//!   the whole schedule is laid out once, earliest deadline first among the turns already released (the windows of
//!   Baruah et al., "Proportionate progress", 1996). No worker is ever a whole turn ahead of or behind its share, and
//!   every window of one cycle is exact.
//! - **A rotation** otherwise: the weights lie side by side on a ring of whole units, and each turn steps on by about
//!   the golden section of the ring. The step has no divisor in common with the ring, so one time around visits every
//!   unit exactly once: exact for every weight up to 65535, and even on the way, because multiples of a number whose
//!   continued fraction has only small terms spread evenly (Niederreiter, "Random Number Generation", 1992, ch. 3).
//!
//! A turn of each is a look-up. Where the order begins is chosen at random, so shards do not move in step.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::wheel::Wheel;
use crate::workers::health::FULL_SHARE;

/// The longest schedule that is laid out turn by turn; 4 bytes a turn.
pub(super) const LONGEST_CYCLE: u64 = 1024;

/// Of so many turns, one goes to the workers of weight 0, all together, while others have weight. RFC 2782 asks for
/// "a very small chance"; this one does not depend on how the others' weights are written.
pub const ZERO_WEIGHT_TURNS: u64 = 1024;

/// The longest ring: the sums that turns are reckoned with stay far from the end of 64 bits.
const LONGEST_RING: u128 = 1 << 50;

/// Steps of a rotation that are compared: the nearest to the golden section that have no divisor with the ring.
const STEPS_COMPARED: usize = 64;

/// Takes turns between items `0..weights.len()`.
#[derive(Debug)]
pub(super) enum Order {
    Round { of: usize, at: usize },
    Cycle { turns: Box<[u32]>, at: usize },
    Rotation(Box<Rotation>),
}

#[derive(Debug)]
pub(super) struct Rotation {
    wheel: Wheel,
    step: u64,
    at: u64,
}

impl Order {
    /// An order by these units that begins at this part of 2^64 of the way around. None if there are none.
    pub(super) fn new(units: &[u64], phase: u64) -> Option<Self> {
        let wheel = Wheel::new(units)?;
        let ring = wheel.whole();
        let at = ((u128::from(phase) * u128::from(ring)) >> 64) as u64;
        let turn = usize::try_from(at).unwrap_or(0);
        if ring == units.len() as u64 {
            return Some(Self::Round { of: units.len(), at: turn });
        }
        if ring <= LONGEST_CYCLE {
            return Some(Self::Cycle { turns: schedule(units, ring), at: turn });
        }
        Some(Self::Rotation(Box::new(Rotation { step: golden_step(ring), wheel, at })))
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> usize {
        match self {
            Self::Round { of, at } => {
                let turn = *at;
                *at = if turn + 1 == *of { 0 } else { turn + 1 };
                turn
            }
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
    fn next(&mut self) -> usize {
        let at = self.at;
        self.at = (at + self.step) % self.wheel.whole();
        self.wheel.at(at)
    }
}

/// Weights, each with its share of [`FULL_SHARE`], as whole units without a common divisor, none of them 0, with the
/// small part of weight 0 filled in. The sum stays below [`LONGEST_RING`]; weights for which it would not are rounded.
pub(super) fn units(weights: &[(u16, u8)]) -> Vec<u64> {
    let whole = u128::from(FULL_SHARE);
    let zeros = weights.iter().filter(|(weight, _)| *weight == 0).count() as u128;
    let sum: u128 = weights.iter().map(|(weight, share)| u128::from(*weight) * u128::from(*share)).sum();
    let unit = |&(weight, share): &(u16, u8)| match (weight, sum, zeros) {
        (_, 0, _) => u128::from(share),
        (0, _, _) => sum * u128::from(share),
        (_, _, 0) => u128::from(weight) * u128::from(share),
        _ => u128::from(weight) * u128::from(share) * zeros * whole * u128::from(ZERO_WEIGHT_TURNS - 1),
    };
    let units: Vec<u128> = weights.iter().map(unit).collect();
    let divisor = units.iter().fold(0, |divisor, unit| gcd(divisor, *unit)).max(1);
    let mut longest = units.iter().sum::<u128>() / divisor;
    let mut shift = 0;
    while longest >= LONGEST_RING {
        (longest, shift) = (longest >> 1, shift + 1);
    }
    units.into_iter().map(|unit| u64::try_from((unit / divisor) >> shift).unwrap_or(1).max(1)).collect()
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
        .filter(|step| (1..ring).contains(step) && gcd(u128::from(*step), u128::from(ring)) == 1)
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

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// For each item, the largest difference in any window between its turns and its share of the window: the spread
    /// of "turns so far minus share so far".
    fn unevenness_of(weights: &[u16], turns: impl Iterator<Item = usize>) -> Vec<f64> {
        let units = whole(weights);
        let ring: f64 = units.iter().sum::<u64>() as f64;
        let shares: Vec<f64> = units.iter().map(|unit| *unit as f64 / ring).collect();
        let (mut ahead, mut low, mut high) =
            (vec![0.0; weights.len()], vec![0.0_f64; weights.len()], vec![0.0_f64; weights.len()]);
        for turn in turns {
            for item in 0..weights.len() {
                ahead[item] += f64::from(u8::from(item == turn)) - shares[item];
                low[item] = low[item].min(ahead[item]);
                high[item] = high[item].max(ahead[item]);
            }
        }
        low.iter().zip(&high).map(|(low, high)| high - low).collect()
    }

    fn whole(weights: &[u16]) -> Vec<u64> {
        units(&weights.iter().map(|weight| (*weight, FULL_SHARE)).collect::<Vec<_>>())
    }

    fn turns(weights: &[u16], random: u64) -> impl Iterator<Item = usize> {
        let mut order = Order::new(&whole(weights), random).unwrap();
        std::iter::from_fn(move || Some(order.next()))
    }

    fn worst(unevenness: Vec<f64>) -> f64 {
        unevenness.into_iter().fold(0.0, f64::max)
    }

    #[test]
    fn three_to_one_to_one_to_one_is_even_in_every_six_turns() {
        let order: Vec<usize> = turns(&[3, 1, 1, 1], 0).take(12).collect();
        assert_eq!(order, [0, 1, 0, 2, 0, 3, 0, 1, 0, 2, 0, 3]);
    }

    #[test]
    fn equal_weights_take_turns_one_after_the_other() {
        for weight in [1, 7, 65_535] {
            let order: Vec<usize> = turns(&[weight; 4], 1 << 62).take(8).collect();
            assert_eq!(order, [1, 2, 3, 0, 1, 2, 3, 0]);
        }
    }

    #[test]
    fn very_many_equal_workers_take_turns_one_after_the_other() {
        let mut order = turns(&[7; 10_000], 0);
        for _ in 0..2 {
            assert!((&mut order).take(10_000).eq(0..10_000));
        }
    }

    #[test]
    fn all_of_weight_zero_share_evenly() {
        let order: Vec<usize> = turns(&[0; 3], 0).take(6).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn weight_zero_gets_one_turn_in_1024_for_all_zeros_together() {
        for weights in [vec![1, 0], vec![65_535, 3, 0], vec![5, 0, 7, 0, 0]] {
            let lap = whole(&weights).iter().sum::<u64>();
            let mut rare = 0_u64;
            for turn in turns(&weights, 3).take(usize::try_from(lap).unwrap()) {
                rare += u64::from(weights[turn] == 0);
            }
            assert_eq!(rare * ZERO_WEIGHT_TURNS, lap, "{weights:?}");
        }
    }

    #[test]
    fn a_lap_of_a_rotation_is_exact_to_the_unit() {
        for weights in [vec![65_535, 1], vec![60_000, 5_536, 7, 1], [vec![1; 1_025], vec![2]].concat()] {
            let mut counts = vec![0_u64; weights.len()];
            let lap: u64 = whole(&weights).iter().sum();
            for turn in turns(&weights, 99).take(usize::try_from(lap).unwrap()) {
                counts[turn] += 1;
            }
            assert_eq!(counts, whole(&weights), "{weights:?}");
        }
    }

    #[test]
    fn the_heaviest_ring_there_can_be_still_fits() {
        let mut weights = vec![65_535_u16; 999];
        weights.push(0);
        weights[0] = 65_534;
        let mut order = Order::new(&whole(&weights), u64::MAX).unwrap();
        for _ in 0..10_000 {
            assert!(order.next() < weights.len());
        }
    }

    #[test]
    fn a_share_is_a_part_of_the_weight() {
        assert_eq!(units(&[(3, 64), (3, 32), (6, 16)]), [2, 1, 1]);
        assert_eq!(units(&[(5, 7), (5, 7)]), [1, 1]);
        assert_eq!(units(&[(0, 64), (0, 16)]), [4, 1]);
        // Weight 0 at a quarter of its share: a quarter of one turn in 1024, about.
        let units = units(&[(9, 64), (0, 16)]);
        assert_eq!(units[0] / units[1], 4 * (ZERO_WEIGHT_TURNS - 1));
    }

    #[test]
    fn weights_whose_sum_would_be_too_long_are_rounded() {
        let weights: Vec<(u16, u8)> = (0..10_000).map(|n| (65_535 - n, 1 + (n % 64) as u8)).collect();
        let weights = [weights, vec![(0, 1)]].concat();
        let units = units(&weights);
        assert!(u128::from(units.iter().sum::<u64>()) <= LONGEST_RING + 10_001);
        assert!(units.iter().all(|unit| *unit > 0));
        let expected = 65_535.0 * 1.0 / (65_534.0 * 2.0);
        assert!((units[0] as f64 / units[1] as f64 - expected).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn shares_are_within_two_percent_over_a_hundred_thousand_turns(
            weights in prop::collection::vec(0_u16.., 1..40), random in 0_u64..,
        ) {
            let units = whole(&weights);
            let ring: u64 = units.iter().sum();
            let mut counts = vec![0_u64; weights.len()];
            for turn in turns(&weights, random).take(100_000) {
                counts[turn] += 1;
            }
            for (count, unit) in counts.iter().zip(&units) {
                let share = 100_000.0 * *unit as f64 / ring as f64;
                // Two percent of the share; of a worker that gets less than 300 turns, six turns.
                let allowed = (share * 0.02).max(6.0);
                prop_assert!((*count as f64 - share).abs() <= allowed, "{count} for {share}, of {weights:?}");
            }
        }

        #[test]
        fn in_a_cycle_nobody_is_a_turn_ahead_or_behind(
            weights in prop::collection::vec(1_u16..60, 1..17), random in 0_u64..,
        ) {
            prop_assume!(whole(&weights).iter().sum::<u64>() <= LONGEST_CYCLE);
            // From anywhere in the cycle: the spread over all windows stays below two turns.
            prop_assert!(worst(unevenness_of(&weights, turns(&weights, random).take(3_000))) < 2.0);
            // From the start of the cycle: below one.
            let mut ahead = vec![0.0; weights.len()];
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for turn in turns(&weights, 0).take(1_024) {
                for (item, weight) in weights.iter().enumerate() {
                    ahead[item] += f64::from(u8::from(item == turn)) - f64::from(*weight) / sum;
                    prop_assert!(f64::abs(ahead[item]) < 1.0 + 1e-6);
                }
            }
        }

        #[test]
        fn in_a_rotation_every_window_of_ten_thousand_turns_is_even_to_a_few(
            weights in prop::collection::vec(0_u16.., 2..12), random in 0_u64..,
        ) {
            let worst = worst(unevenness_of(&weights, turns(&weights, random).take(10_000)));
            prop_assert!(worst <= 6.0, "{worst} of {weights:?}");
        }

        #[test]
        fn steps_visit_every_unit_of_the_ring(ring in 2_u64..1 << 46) {
            let step = golden_step(ring);
            prop_assert!((1..ring).contains(&step) && gcd(u128::from(step), u128::from(ring)) == 1);
        }
    }
}
