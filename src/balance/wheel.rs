//! Items side by side on a circle, each as long as its weight: who is at a point, in the same time for any number.

/// The circle, in whole units.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Where each item's part ends; the last is the length of the whole.
    ends: Box<[u64]>,
    /// For each `1 << shift` units, the item in which they begin: the search starts there.
    guide: Box<[u32]>,
    shift: u32,
}

impl Wheel {
    /// A wheel of these parts, none of them 0. None if there are none.
    pub(super) fn new(units: &[u64]) -> Option<Self> {
        let ends: Box<[u64]> = units
            .iter()
            .scan(0, |end, unit| {
                *end += unit;
                Some(*end)
            })
            .collect();
        let whole = *ends.last()?;
        // Between one and two buckets an item.
        let items = ends.len() as u64;
        let mut shift = 0;
        while whole >> shift >= 2 * items {
            shift += 1;
        }
        let guide = (0..=(whole >> shift))
            .map(|bucket| {
                let first = ends.partition_point(|end| *end <= bucket << shift);
                u32::try_from(first.min(ends.len() - 1)).unwrap_or(u32::MAX)
            })
            .collect();
        Some(Self { ends, guide, shift })
    }

    /// The length of the whole.
    pub(super) fn whole(&self) -> u64 {
        self.ends[self.ends.len() - 1]
    }

    /// The item at this point, which is less than the whole.
    pub(super) fn at(&self, point: u64) -> usize {
        let bucket = usize::try_from(point >> self.shift).unwrap_or(usize::MAX);
        let first = self.guide[bucket] as usize;
        let last = self.guide.get(bucket + 1).map_or(self.ends.len() - 1, |next| *next as usize);
        first + self.ends[first..last].partition_point(|end| *end <= point)
    }

    /// The length of an item's part.
    pub(super) fn unit(&self, item: usize) -> u64 {
        self.ends[item] - self.begin(item)
    }

    /// Two different items by chance, each by its part; the second is missing if there is only one.
    pub(super) fn two(&self, random: &mut fastrand::Rng) -> (usize, Option<usize>) {
        let first = self.at(random.u64(..self.whole()));
        let rest = self.whole() - self.unit(first);
        if rest == 0 {
            return (first, None);
        }
        let point = random.u64(..rest);
        let beyond = if point < self.begin(first) { 0 } else { self.unit(first) };
        (first, Some(self.at(point + beyond)))
    }

    fn begin(&self, item: usize) -> u64 {
        item.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_point_belongs_to_the_item_whose_part_it_is_in(
            units in prop::collection::vec(1_u64..100_000, 1..50), random in 0_u64..,
        ) {
            let wheel = Wheel::new(&units).unwrap();
            let point = random % wheel.whole();
            let item = wheel.at(point);
            prop_assert!(wheel.begin(item) <= point && point < wheel.ends[item]);
            prop_assert_eq!(wheel.unit(item), units[item]);
        }

        #[test]
        fn two_are_never_the_same(units in prop::collection::vec(1_u64..100_000, 1..9), seed in 0_u64..) {
            let wheel = Wheel::new(&units).unwrap();
            let (first, second) = wheel.two(&mut fastrand::Rng::with_seed(seed));
            prop_assert_eq!(second.is_none(), units.len() == 1);
            prop_assert!(second != Some(first) && second.is_none_or(|second| second < units.len()));
        }
    }

    #[test]
    fn the_second_goes_by_weight_among_the_others() {
        let wheel = Wheel::new(&[8, 1, 3]).unwrap();
        let mut random = fastrand::Rng::with_seed(3);
        let seconds = (0..20_000).map(|_| wheel.two(&mut random)).filter(|(first, _)| *first == 0);
        let (ones, twos): (Vec<usize>, Vec<usize>) = seconds.filter_map(|(_, b)| b).partition(|b| *b == 1);
        let part = ones.len() as f64 / (ones.len() + twos.len()) as f64;
        assert!((0.23..0.27).contains(&part), "{part} for a quarter");
    }
}
