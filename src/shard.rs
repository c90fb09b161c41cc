//! What is kept once per shard, so that two cores never write to the same cache line, and read as a sum.
//!
//! A shard is one thread with one runtime. It alone writes its slot; anyone may read all of them (a scrape does).

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

/// Slots of a [`SpreadCount`], 128 bytes each; with more threads than that, some share one.
const SPREAD: u16 = 64;

/// The number of a shard, from 0 to `threads - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardId(pub u16);

/// One `T` per shard, each on cache lines of its own.
#[derive(Debug)]
pub struct PerShard<T>(Box<[Padded<T>]>);

// 128 bytes: x86 fetches cache lines in pairs, so 64 would still let two shards disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerShard<T> {
    /// A slot for each of `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self((0..shards.max(1)).map(|_| Padded(T::default())).collect())
    }

    /// The slot of this shard. A number out of range (never handed out) shares the last slot.
    pub fn of(&self, shard: ShardId) -> &T {
        let last = self.0.len() - 1;
        &self.0[usize::from(shard.0).min(last)].0
    }

    /// All slots, to be summed.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }

    /// The sum of one count over all shards.
    pub fn sum(&self, count: impl Fn(&T) -> &Count) -> u64 {
        // Wrapping: a gauge's slot may be "negative" on one shard only if a guard moved, and then the sum is right.
        self.iter().fold(0, |sum, slot| sum.wrapping_add(count(slot).get()))
    }
}

/// A number that one shard writes and anyone reads: a plain load and store, no locked instruction (under 1 ns).
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds; only the owning shard may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes away; only the owning shard may call it.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Reads, from anywhere.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that any thread adds to, for places that do not know their shard. Threads have its slots in turn.
#[derive(Debug)]
pub struct SpreadCount(PerShard<AtomicU64>);

thread_local! {
    static SLOT: ShardId = {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        ShardId(NEXT.fetch_add(1, Relaxed) % SPREAD)
    };
}

impl SpreadCount {
    /// Adds one.
    pub fn count(&self) {
        self.0.of(SLOT.with(|slot| *slot)).fetch_add(1, Relaxed);
    }

    /// All that was counted.
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, slot| sum.wrapping_add(slot.load(Relaxed)))
    }
}

impl Default for SpreadCount {
    fn default() -> Self {
        Self(PerShard::new(usize::from(SPREAD)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_at_once_is_all_in_the_sum() {
        let count = SpreadCount::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SPREAD {
                scope.spawn(|| (0..100).for_each(|_| count.count()));
            }
        });
        assert_eq!(count.sum(), 200 * u64::from(SPREAD));
        let used = count.0.iter().filter(|slot| slot.load(Relaxed) > 0).count();
        assert_eq!(used, usize::from(SPREAD), "each thread has the next slot");
    }
}
