//! Which refusals of a flood are written down: the first few of each caller each second, and never more than so many
//! of all callers together; the rest is counted and told with the caller's next one.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::clock::Moment;

/// Callers followed at once on one shard. Two that share a place take turns in it: a few lines more, never unbounded.
const PLACES: usize = 1024;

/// Refusals written down each second on one shard, whoever is refused: ten million spoofed addresses are ten million
/// callers, each with a first refusal.
const MAX_PER_SECOND: u32 = 1000;

/// Chooses which refusals are written down.
#[derive(Debug)]
pub(super) struct Sampler {
    per_caller: u32,
    hasher: RandomState,
    // Empty until the first refusal.
    places: Vec<Place>,
    second: u64,
    written: u32,
}

#[derive(Clone, Debug, Default)]
struct Place {
    caller: u64,
    second: u64,
    written: u32,
    suppressed: u64,
}

impl Sampler {
    /// At most `per_caller` each second of one caller.
    pub(super) fn new(per_caller: u32) -> Self {
        Self { per_caller, hasher: RandomState::default(), places: Vec::new(), second: 0, written: 0 }
    }

    /// Whether this refusal is written down, and then how many of the same caller were not since its last one.
    pub(super) fn admit(&mut self, caller: &(impl Hash + ?Sized), now: Moment) -> Option<u64> {
        if self.places.is_empty() {
            self.places.resize(PLACES, Place::default());
        }
        // Who waited is told of as of its beginning: time that goes back is no new second.
        let second = (now.nanos / 1_000_000_000).max(self.second);
        if self.second != second {
            (self.second, self.written) = (second, 0);
        }
        let hash = self.hasher.hash_one(caller);
        let place = &mut self.places[place_of(hash)];
        if place.caller != hash {
            *place = Place { caller: hash, second, written: 0, suppressed: 0 };
        }
        if place.second != second {
            (place.second, place.written) = (second, 0);
        }
        if place.written >= self.per_caller || self.written >= MAX_PER_SECOND {
            place.suppressed += 1;
            return None;
        }
        place.written += 1;
        self.written += 1;
        Some(std::mem::take(&mut place.suppressed))
    }
}

fn place_of(hash: u64) -> usize {
    (hash % PLACES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_first_of_a_second_are_written_and_the_rest_told_with_the_next() {
        let mut sampler = Sampler::new(2);
        // One that does not share a place with the noisy one, which one in 1024 does.
        let place = |name: &[u8]| place_of(sampler.hasher.hash_one(name));
        let quiet = (0_u32..).map(u32::to_be_bytes).find(|name| place(name) != place(b"noisy")).unwrap();
        let verdicts: Vec<_> = (0..5).map(|_| sampler.admit(b"noisy", Moment::at(SECOND))).collect();
        assert_eq!(verdicts, [Some(0), Some(0), None, None, None]);
        assert_eq!(sampler.admit(&quiet, Moment::at(SECOND)), Some(0));
        assert_eq!(sampler.admit(b"noisy", Moment::at(2 * SECOND)), Some(3));
        assert_eq!(sampler.admit(b"noisy", Moment::at(2 * SECOND)), Some(0));
    }

    #[test]
    fn a_flood_of_new_callers_is_bounded_too() {
        let mut sampler = Sampler::new(10);
        let flood =
            (0..100_000_u32).filter(|n| sampler.admit(&n.to_be_bytes(), Moment::at(SECOND)).is_some());
        assert_eq!(flood.count(), MAX_PER_SECOND as usize);
        assert_eq!(sampler.admit(b"later", Moment::at(2 * SECOND)), Some(0));
    }

    #[test]
    fn refusals_of_different_age_are_bounded_like_those_of_one_second() {
        let mut sampler = Sampler::new(2);
        let admit = |(n, caller): (u64, &[u8])| sampler.admit(caller, Moment::at((5 - n % 2 * 2) * SECOND));
        let written: Vec<_> = (0..6).map(|n| (n, &b"noisy"[..])).map(admit).collect();
        assert_eq!(written, [Some(0), Some(0), None, None, None, None]);
        let mut sampler = Sampler::new(10);
        let admit = |n: u64| sampler.admit(&n.to_be_bytes(), Moment::at((5 - n % 2 * 2) * SECOND));
        assert_eq!((0..10_000).filter_map(admit).count(), MAX_PER_SECOND as usize);
    }

    #[test]
    fn none_are_written_if_none_are_wanted() {
        assert_eq!(Sampler::new(0).admit(b"any", Moment::at(SECOND)), None);
    }
}
