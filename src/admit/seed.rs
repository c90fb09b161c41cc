//! The keyed hash behind callers and ledger keys: one random seed per process, so that nobody outside can choose
//! names or addresses that collide. The same for the whole life of the process: reloads find the same keys again.

use std::hash::{BuildHasher, Hash, RandomState};
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
        // The standard library takes its keys from the system without ado; the cryptography library first spends some
        // 100 ms on entropy of its own, at each start.
        let keys = RandomState::new();
        let (left, right) = (keys.hash_one(1_u8), keys.hash_one(2_u8));
        SeedableRandomState::with_seed(left, SHARED.get_or_init(|| SharedSeed::from_u64(right)))
    })
}
