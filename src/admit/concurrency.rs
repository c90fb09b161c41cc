//! Requests in progress, counted by guards: taking one counts, dropping it gives back. Exact over all shards, because
//! a count that is almost right would leak or starve in time.
//!
//! Named callers count in their [`Account`]. Strangers count in `InProgress`, whose size is bounded by the requests
//! in progress (and so by `bounds.connections`): an entry is there only while its caller has one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::ledger::Account;

/// One request in progress; dropping it ends it. It lives until the last byte of the answer.
#[derive(Debug)]
pub struct Permit(Held);

#[derive(Debug)]
enum Held {
    Account(Arc<Account>),
    Stranger(InProgress, u64),
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
            Held::Stranger(strangers, key) => strangers.give_back(*key),
        }
    }
}

/// The strangers' requests in progress: a map in parts with a lock each, held for one look.
#[derive(Clone, Debug, Default)]
pub(super) struct InProgress(Arc<DashMap<u64, u64, foldhash::fast::FixedState>>);

impl InProgress {
    /// One more for the stranger `key`, or None if it has `most` already.
    pub(super) fn take(&self, key: u64, most: u64) -> Option<Permit> {
        let mut count = self.0.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(count);
        Some(Permit(Held::Stranger(self.clone(), key)))
    }

    /// How many requests of the stranger `key` are in progress.
    pub(super) fn of(&self, key: u64) -> u64 {
        self.0.get(&key).map_or(0, |count| *count)
    }

    /// How many strangers have a request in progress.
    #[cfg(test)]
    pub(super) fn strangers(&self) -> usize {
        self.0.len()
    }

    fn give_back(&self, key: u64) {
        if let Entry::Occupied(mut count) = self.0.entry(key) {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
            } else {
                count.remove();
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
        assert!(counts.take(8, 1).is_some());
        drop(first);
        assert_eq!(counts.of(7), 1);
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
