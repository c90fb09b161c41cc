//! A histogram of durations that one shard writes and a scrape reads.

use std::time::Duration;

use crate::shard::Count;

/// Upper bounds of the buckets in microseconds, 0.5 ms to 10 s; one more bucket takes what is longer.
pub const BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// How many buckets there are.
pub const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Counts by duration.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Count; BUCKETS],
    sum_micros: Count,
}

impl Durations {
    /// Counts one duration; only the owning shard may call it.
    pub fn observe(&self, took: Duration) {
        self.observe_nanos(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The same, in nanoseconds.
    pub fn observe_nanos(&self, took: u64) {
        let micros = took / 1_000;
        let place = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS - 1);
        self.buckets[place].add(1);
        self.sum_micros.add(micros);
    }
}

/// A sum over shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurationSum {
    /// Observations in each bucket, the last one unbounded.
    pub buckets: [u64; BUCKETS],
    /// Their sum in microseconds.
    pub sum_micros: u64,
}

impl DurationSum {
    /// Adds what one shard counted.
    pub fn add(&mut self, one: &Durations) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&one.buckets) {
            *sum += bucket.get();
        }
        self.sum_micros += one.sum_micros.get();
    }

    /// How many observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        durations.observe(Duration::from_micros(500));
        durations.observe(Duration::from_micros(501));
        durations.observe(Duration::from_secs(10));
        durations.observe(Duration::from_secs(11));
        let mut sum = DurationSum::default();
        sum.add(&durations);
        assert_eq!((sum.buckets[0], sum.buckets[1], sum.buckets[13], sum.buckets[14]), (1, 1, 1, 1));
        assert_eq!(sum.count(), 4);
        assert_eq!(sum.sum_micros, 21_001_001);
    }
}
