//! What is kept once per shard, so that two cores never write to the same cache line, and read as a sum.
//!
//! A shard is one thread with one runtime. It alone writes its slot; anyone may read all of them (a scrape does).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
