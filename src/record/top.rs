//! The heaviest callers among any number of them, in fixed memory: Space-Saving (Metwally, Agrawal, El Abbadi:
//! "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005).
//!
//! With `m` entries and `n` requests, every caller with more than `n / m` requests is in the table, and an entry's
//! `seen` is too high by at most its `error`, which is at most `n / m`.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Callers followed on one shard.
pub const TRACKED: usize = 256;

/// The longest name that is kept, in bytes; longer ones are cut (names come from configuration, addresses or hashes).
const NAME_BYTES: usize = 64;

/// A table of the heaviest callers.
#[derive(Debug)]
pub struct Top {
    hasher: RandomState,
    capacity: usize,
    // Apart from the entries, so that looking for one touches 2 KiB in a row.
    hashes: Vec<u64>,
    seen: Vec<u64>,
    entries: Vec<Entry>,
}

/// What is known of one caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Requests allowed since it entered the table.
    pub allowed: u64,
    /// Requests refused since it entered the table.
    pub refused: u64,
    /// By how much its rank may be too high: what the entry it replaced had been seen.
    pub error: u64,
}

impl Default for Top {
    fn default() -> Self {
        Self::new(TRACKED)
    }
}

impl Top {
    /// A table of at most `capacity` callers, at least one. Memory is taken as callers come.
    pub fn new(capacity: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            capacity: capacity.max(1),
            hashes: Vec::new(),
            seen: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Counts one request of `name`.
    pub fn add(&mut self, name: &str, allowed: bool) {
        let name = &name[..name.floor_char_boundary(NAME_BYTES)];
        let place = self.place(name);
        self.seen[place] += 1;
        let entry = &mut self.entries[place];
        if allowed {
            entry.allowed += 1;
        } else {
            entry.refused += 1;
        }
    }

    /// All entries, in no order, with how often each was seen (at most `error` too high).
    pub fn iter(&self) -> impl Iterator<Item = (&Entry, u64)> {
        self.entries.iter().zip(self.seen.iter().copied())
    }

    fn place(&mut self, name: &str) -> usize {
        let hash = self.hasher.hash_one(name);
        if let Some(place) = self.hashes.iter().position(|known| *known == hash)
            && self.entries[place].name == name
        {
            return place;
        }
        if self.entries.len() < self.capacity {
            self.hashes.push(hash);
            self.seen.push(0);
            self.entries.push(Entry { name: name.to_owned(), ..Entry::default() });
            return self.entries.len() - 1;
        }
        let (place, least) =
            self.seen.iter().copied().enumerate().min_by_key(|(_, seen)| *seen).unwrap_or_default();
        self.hashes[place] = hash;
        let entry = &mut self.entries[place];
        // The string is written over in place: a flood of new names allocates nothing.
        entry.name.clear();
        entry.name.push_str(name);
        (entry.allowed, entry.refused, entry.error) = (0, 0, least);
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_promises_of_the_paper_hold(
            stream in prop::collection::vec(0_u32..60, 1..2000),
            capacity in 1_usize..20,
        ) {
            let mut top = Top::new(capacity);
            let mut exact: HashMap<String, u64> = HashMap::new();
            for n in &stream {
                // Squaring makes small numbers much more common than large ones.
                let name = format!("caller-{}", n * n / 60);
                top.add(&name, n % 2 == 0);
                *exact.entry(name).or_default() += 1;
            }
            let bound = stream.len() as u64 / capacity as u64;
            prop_assert!(top.iter().count() <= capacity);
            prop_assert_eq!(top.iter().map(|(_, seen)| seen).sum::<u64>(), stream.len() as u64);
            for (entry, seen) in top.iter() {
                let truth = exact[&entry.name];
                prop_assert!(entry.error <= bound);
                prop_assert!(seen >= truth && seen - entry.error <= truth);
                prop_assert_eq!(entry.allowed + entry.refused, seen - entry.error);
            }
            for (name, truth) in &exact {
                prop_assert!(*truth <= bound || top.iter().any(|(entry, _)| entry.name == *name));
            }
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut top = Top::new(2);
        top.add(&"é".repeat(200), true);
        let (entry, _) = top.iter().next().unwrap();
        assert_eq!(entry.name, "é".repeat(32));
    }
}
