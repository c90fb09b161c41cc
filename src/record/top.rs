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
    entries: Vec<Entry>,
    // Apart from the entries, whose names few have to be compared.
    ranks: Vec<Rank>,
    /// The first entry of each chain; a name is in that of its hash. Empty until the first one comes.
    chains: Vec<u16>,
    /// No entry was seen less often, and those before `next` more often.
    least: u64,
    next: usize,
}

/// How often an entry was seen, and where it is found.
#[derive(Debug)]
struct Rank {
    hash: u64,
    seen: u64,
    /// The entry behind it in its chain.
    then: u16,
}

/// Behind the last entry of a chain.
const NONE: u16 = u16::MAX;

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
    /// A table of at most `capacity` callers, at least one and at most 65,535. Memory is taken as callers come.
    pub fn new(capacity: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            capacity: capacity.clamp(1, usize::from(NONE)),
            entries: Vec::new(),
            ranks: Vec::new(),
            chains: Vec::new(),
            least: 0,
            next: 0,
        }
    }

    /// Counts one request of `name`.
    pub fn add(&mut self, name: &str, allowed: bool) {
        let name = &name[..name.floor_char_boundary(NAME_BYTES)];
        let hash = self.hasher.hash_one(name);
        let place = self.find(name, hash).unwrap_or_else(|| self.enter(name, hash));
        self.ranks[place].seen += 1;
        let entry = &mut self.entries[place];
        if allowed {
            entry.allowed += 1;
        } else {
            entry.refused += 1;
        }
    }

    /// All entries, in no order, with how often each was seen (at most `error` too high).
    pub fn iter(&self) -> impl Iterator<Item = (&Entry, u64)> {
        self.entries.iter().zip(self.ranks.iter().map(|rank| rank.seen))
    }

    fn find(&self, name: &str, hash: u64) -> Option<usize> {
        let mut at = *self.chains.get(self.chain(hash))?;
        // Past the last one of the chain there is nothing.
        while let Some(rank) = self.ranks.get(usize::from(at)) {
            if rank.hash == hash && self.entries[usize::from(at)].name == name {
                return Some(usize::from(at));
            }
            at = rank.then;
        }
        None
    }

    /// A place for a name that has none: a new one while there is room, else that of the one that was seen least.
    fn enter(&mut self, name: &str, hash: u64) -> usize {
        let place = if self.entries.len() < self.capacity {
            self.chains.resize(self.capacity.next_power_of_two(), NONE);
            self.entries.push(Entry { name: name.to_owned(), ..Entry::default() });
            self.ranks.push(Rank { hash, seen: 0, then: NONE });
            self.entries.len() - 1
        } else {
            let place = self.least_seen();
            self.unchain(place);
            self.ranks[place].hash = hash;
            let entry = &mut self.entries[place];
            // The string is written over in place: a flood of new names allocates nothing.
            entry.name.clear();
            entry.name.push_str(name);
            (entry.allowed, entry.refused, entry.error) = (0, 0, self.least);
            place
        };
        let chain = self.chain(hash);
        // Below the capacity, and so below `NONE`.
        self.ranks[place].then = std::mem::replace(&mut self.chains[chain], place as u16);
        place
    }

    /// The first entry that was seen least. Counts only rise and the least one does so at most once in as many
    /// requests as there are entries: so all are looked at so seldom that a request looks at two or three of them.
    fn least_seen(&mut self) -> usize {
        let found = self.ranks[self.next..].iter().position(|rank| rank.seen == self.least);
        let place = match found {
            Some(further) => self.next + further,
            None => {
                let all = self.ranks.iter().map(|rank| rank.seen).enumerate();
                let (place, least) = all.min_by_key(|(_, seen)| *seen).unwrap_or_default();
                self.least = least;
                place
            }
        };
        self.next = place + 1;
        place
    }

    fn unchain(&mut self, place: usize) {
        let Rank { hash, then, .. } = self.ranks[place];
        let chain = self.chain(hash);
        let mut at = usize::from(self.chains[chain]);
        if at == place {
            self.chains[chain] = then;
            return;
        }
        while usize::from(self.ranks[at].then) != place {
            at = usize::from(self.ranks[at].then);
        }
        self.ranks[at].then = then;
    }

    /// The chain of this hash, if there are chains; as many as the next power of two.
    fn chain(&self, hash: u64) -> usize {
        hash as usize & self.chains.len().wrapping_sub(1)
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

    /// As the paper tells it: all are looked at for the name, and all for the least.
    fn add_plainly(model: &mut Vec<(Entry, u64)>, capacity: usize, name: &str, allowed: bool) {
        let place = match model.iter().position(|(entry, _)| entry.name == name) {
            Some(place) => place,
            None if model.len() < capacity => {
                model.push((Entry { name: name.to_owned(), ..Entry::default() }, 0));
                model.len() - 1
            }
            None => {
                let (place, error) =
                    model.iter().map(|(_, seen)| *seen).enumerate().min_by_key(|(_, seen)| *seen).unwrap();
                model[place].0 = Entry { name: name.to_owned(), error, ..Entry::default() };
                place
            }
        };
        let (entry, seen) = &mut model[place];
        *seen += 1;
        *if allowed { &mut entry.allowed } else { &mut entry.refused } += 1;
    }

    proptest! {
        /// After each request, also where the least count rises by many at once, since a few callers asked often.
        #[test]
        fn whom_it_follows_is_whom_a_look_at_all_of_them_finds(
            stream in prop::collection::vec((0_u32..40, 1_usize..9, any::<bool>()), 1..300),
            capacity in 1_usize..20,
        ) {
            let (mut top, mut model) = (Top::new(capacity), Vec::new());
            for (n, often, allowed) in stream {
                let name = format!("caller-{n}");
                for _ in 0..often {
                    top.add(&name, allowed);
                    add_plainly(&mut model, capacity, &name, allowed);
                    prop_assert!(top.iter().eq(model.iter().map(|(entry, seen)| (entry, *seen))));
                }
            }
        }
    }

    #[test]
    fn a_name_that_took_the_place_of_another_is_not_taken_for_it() {
        let mut top = Top::new(1);
        for name in ["a", "b", "b", "a", "a"] {
            top.add(name, true);
        }
        let (entry, seen) = top.iter().next().unwrap();
        assert_eq!((entry.name.as_str(), entry.allowed, entry.error, seen), ("a", 2, 3, 5));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut top = Top::new(2);
        top.add(&"é".repeat(200), true);
        let (entry, _) = top.iter().next().unwrap();
        assert_eq!(entry.name, "é".repeat(32));
    }
}
