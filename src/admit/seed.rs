//! The keyed hash behind callers and ledger keys: one random seed per process, so that nobody outside can choose
//! names or addresses that collide. The same for the whole life of the process: reloads find the same keys again.

use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// A 64-bit keyed hash; never 0, which stands for "nobody" in the ledger.
pub(super) fn keyed_hash(value: impl Hash) -> u64 {
    state().hash_one(value).max(1)
}

/// The hasher itself, for maps that hold what callers chose.
pub(super) fn state() -> &'static SeedableRandomState {
    static SHARED: OnceLock<SharedSeed> = OnceLock::new();
    static STATE: OnceLock<SeedableRandomState> = OnceLock::new();
    STATE.get_or_init(|| {
        let mut bytes = [0; 16];
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            // No entropy source is not known to happen on Linux; foldhash's own start values (time, addresses) remain.
            return SeedableRandomState::random();
        }
        let (left, right) = bytes.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0, |word: u64, byte| (word << 8) | u64::from(*byte));
        SeedableRandomState::with_seed(word(left), SHARED.get_or_init(|| SharedSeed::from_u64(word(right))))
    })
}
