//! Requests in progress, counted by guards: taking one counts, dropping it gives back. Exact over all shards, because
//! a count that is almost right would leak or starve in time.
//!
//! Named callers count in their [`Account`]. Strangers count in [`InProgress`], whose size is bounded by the requests
//! in progress (and so by `bounds.connections`): an entry is there only while its caller has one.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::Account;

/// Parts with a lock each, held for one look into a map.
const STRIPES: usize = 256;

/// One request in progress; dropping it ends it. It lives until the last byte of the answer.
#[derive(Debug)]
pub struct Permit(Held);

#[derive(Debug)]
enum Held {
    Account(Arc<Account>),
    Stranger(Arc<Stripe>, u64),
}

impl Permit {
    /// One more for this account, or None if it has `most` already.
    pub(super) fn of_account(account: &Arc<Account>, most: u64) -> Option<Self> {
        let more = |count| (count < most).then_some(count + 1);
        account.in_progress().fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self(Held::Account(account.clone())))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match &self.0 {
            Held::Account(account) => {
                account.in_progress().fetch_sub(1, Relaxed);
            }
            Held::Stranger(stripe, key) => stripe.give_back(*key),
        }
    }
}

/// The strangers' requests in progress.
#[derive(Debug)]
pub(super) struct InProgress {
    // An Arc for each stripe: one for all would be a cache line that every permit of every shard writes to.
    stripes: Box<[Arc<Stripe>]>,
}

#[derive(Debug, Default)]
struct Stripe(Mutex<HashMap<u64, u64, foldhash::fast::FixedState>>);

impl Default for InProgress {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Arc::default()).collect() }
    }
}

impl InProgress {
    /// One more for the stranger `key`, or None if it has `most` already.
    pub(super) fn take(&self, key: u64, most: u64) -> Option<Permit> {
        let stripe = &self.stripes[key as usize % STRIPES];
        let mut counts = stripe.counts();
        let count = counts.get(&key).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(key, count + 1);
        Some(Permit(Held::Stranger(stripe.clone(), key)))
    }

    /// How many requests of the stranger `key` are in progress.
    pub(super) fn of(&self, key: u64) -> u64 {
        self.stripes[key as usize % STRIPES].counts().get(&key).copied().unwrap_or(0)
    }

    /// How many strangers have a request in progress.
    #[cfg(test)]
    pub(super) fn strangers(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.counts().len()).sum()
    }
}

impl Stripe {
    fn counts(&self) -> MutexGuard<'_, HashMap<u64, u64, foldhash::fast::FixedState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, key: u64) {
        let mut counts = self.counts();
        match counts.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_counts_until_it_is_dropped() {
        let counts = InProgress::default();
        let first = counts.take(7, 2);
        let second = counts.take(7, 2);
        assert!(first.is_some() && second.is_some());
        assert!(counts.take(7, 2).is_none());
        assert!(counts.take(7 + STRIPES as u64, 2).is_some());
        drop(first);
        assert!(counts.take(7, 2).is_some());
        drop(second);
        assert_eq!(counts.strangers(), 0);
    }

    #[test]
    fn permits_are_exact_over_threads() {
        let (counts, account) = (InProgress::default(), Arc::new(Account::default()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let held = (counts.take(7, 3), Permit::of_account(&account, 3));
                        assert!(account.in_progress().load(Relaxed) <= 3);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!((counts.strangers(), account.in_progress().load(Relaxed)), (0, 0));
    }
}
