//! What every caller has used, in fixed memory, one truth for all shards, over all reloads.
//!
//! **What is kept** is GCRA's theoretical arrival time (TAT): the moment at which everything that was charged is paid
//! back, in nanoseconds of [`crate::clock::Moment`]. No rate and no burst is kept, so a reload with other quotas finds
//! the same debts and hands nothing out.
//!
//! **Two regions.** Callers of `known`, shared agreements and totals have an [`Account`] each, found by their place in
//! the configuration; nobody can push them out. All others (strangers) share the table: lines of 64 bytes, 4 slots
//! each of 16 bytes, fixed by `callers.ledger.max_keys` when the process starts. Ten million spoofed addresses fight
//! over the table and change nothing for named callers.
//!
//! **A slot** is one 128-bit word (the stranger's keyed hash, its TAT), read and exchanged as a whole; a hit is one
//! compare-and-swap. A stranger that is not in its line takes the slot with the smallest TAT **and goes on from that
//! TAT**. If it is past, that is the same as starting fresh. If it is not (all four slots are live; counted as an
//! eviction), the newcomer inherits the debt: a full line makes strangers share.
//!
//! **Eviction never increases what a caller may send.** Slots only grow, so the smallest TAT of a line only grows. A
//! stranger that is pushed out had the smallest; when it returns it starts from a smallest that is not smaller. So
//! at every moment a caller is held to a TAT of at least its true one. Two shards that bring the same new stranger at
//! once cannot give it two slots: both choose the smallest, slots only grow, and of two exchanges of one slot one
//! fails. This is why loads and exchanges are sequentially consistent: the argument runs over four words at once.
//!
//! **The one thing that shrinks a slot** is a quota whose whole span is shorter than the debt (the operator changed
//! it): the debt is cut to that span, so that nobody waits for days by a rule that is gone. While any slot of a line
//! holds an inherited debt, nothing in it is cut, because then the smallest would shrink under somebody who was
//! pushed out. What remains is a race inside one such cut, worth at most one charge, once per change of a quota.
//!
//! **The price**: under a flood of more live strangers than the table holds, an innocent stranger may be refused for
//! as long as the smallest debt in its line lasts. Make the table larger if `evictions` grows.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use portable_atomic::AtomicU128;

use crate::clock::Moment;

use super::concurrency::InProgress;

/// Slots in a line of the table.
const SLOTS: usize = 4;
/// Lines that [`Ledger::live_keys`] looks at: 64 KiB of memory.
const SAMPLED_LINES: usize = 1024;
/// A debt is cut only if it is beyond the span by more than this: shards read `now` at different moments, and a shard
/// whose `now` is a little old must not cut what another one has just charged.
const CUT_SLACK: u64 = 1_000_000_000;
/// Set in a slot's TAT while it stands for debts of more than one stranger.
const INHERITED: u64 = 1 << 63;

/// All debts. One per process; it outlives every configuration.
#[derive(Debug)]
pub struct Ledger {
    lines: Box<[Line]>,
    evictions: AtomicU64,
    /// Behind a lock that only building a [`super::limit::LimitBook`] takes.
    accounts: Mutex<HashMap<u64, Arc<Account>>>,
    strangers_in_progress: InProgress,
}

/// One line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU128; SLOTS]);

/// The debt of one named caller with one service, of a shared agreement or of a total. Alone on its cache line, so
/// that callers do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Account {
    tat: AtomicU64,
    in_progress: AtomicU64,
}

impl Ledger {
    /// A ledger for `max_keys` strangers, rounded up to 4: 16 bytes each, taken now and never more.
    pub fn new(max_keys: NonZeroUsize) -> Self {
        let lines = (0..max_keys.get().div_ceil(SLOTS)).map(|_| Line::default()).collect();
        Self {
            lines,
            evictions: AtomicU64::new(0),
            accounts: Mutex::new(HashMap::new()),
            strangers_in_progress: InProgress::default(),
        }
    }

    /// How often a stranger took over a debt that was not yet paid back.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// How many strangers have a live debt, estimated from a sample of the table's lines.
    pub fn live_keys(&self, now: Moment) -> u64 {
        let sample = self.lines.len().min(SAMPLED_LINES);
        let live = |line: &Line| line.load().iter().filter(|slot| slot.tat() > now.nanos).count();
        let found: usize = self.lines[..sample].iter().map(live).sum();
        (found as u128 * self.lines.len() as u128 / sample as u128) as u64
    }

    /// How many strangers the table holds.
    pub fn capacity(&self) -> usize {
        self.lines.len() * SLOTS
    }

    /// The account under `key`; the same one for as long as anyone holds it or it has a debt at `now`. For building
    /// a [`super::limit::LimitBook`], not for requests.
    pub(super) fn account(&self, key: u64) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(key).or_default().clone()
    }

    /// Forgets accounts that no configuration holds any more and that owe nothing at `now`.
    pub(super) fn forget_settled_accounts(&self, now: u64) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.tat.load(Relaxed) > now);
    }

    pub(super) fn strangers_in_progress(&self) -> &InProgress {
        &self.strangers_in_progress
    }

    /// The TAT that `key` is held to; at most `ceiling` if it may be cut to it.
    pub(super) fn read(&self, key: u64, now: u64, ceiling: u64) -> u64 {
        let line = self.line(key);
        let (_, _, tat) = line.find(key, now, ceiling);
        tat
    }

    /// Replaces the TAT of `key` by what `charge` makes of it, unless that fails; then nothing changes.
    pub(super) fn update<T, E>(
        &self,
        key: u64,
        now: u64,
        ceiling: u64,
        charge: impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let line = self.line(key);
        loop {
            let (place, slot, tat) = line.find(key, now, ceiling);
            let (outcome, next) = charge(tat)?;
            let live = tat > now;
            let evicts = live && slot.owner() != key;
            let inherited = live && (evicts || slot.is_inherited());
            let new = Slot::new(key, next, inherited);
            if line.0[place].compare_exchange(slot.0, new.0, SeqCst, SeqCst).is_ok() {
                if evicts {
                    self.evictions.fetch_add(1, Relaxed);
                }
                return Ok(outcome);
            }
        }
    }

    fn line(&self, key: u64) -> &Line {
        // The upper half of the product spreads keys evenly over any number of lines, not only powers of two.
        &self.lines[((u128::from(key) * self.lines.len() as u128) >> 64) as usize]
    }
}

impl Line {
    fn load(&self) -> [Slot; SLOTS] {
        std::array::from_fn(|place| Slot(self.0[place].load(SeqCst)))
    }

    /// Where `key` is or would go, what is there, and the TAT to go on from.
    fn find(&self, key: u64, now: u64, ceiling: u64) -> (usize, Slot, u64) {
        loop {
            let slots = self.load();
            let (mut place, mut own) = (0, slots[0].owner() == key);
            for (other, slot) in slots.iter().enumerate().skip(1) {
                let is_own = slot.owner() == key;
                // Of two slots of one key (only a cut at the wrong moment makes them) the larger debt counts.
                let better = match (is_own, own) {
                    (true, true) => slot.tat() > slots[place].tat(),
                    (false, false) => slot.tat() < slots[place].tat(),
                    (is_own, _) => is_own,
                };
                if better {
                    (place, own) = (other, is_own);
                }
            }
            let slot = slots[place];
            let may_cut = own && !slots.iter().any(|slot| slot.is_inherited() && slot.tat() > now);
            if slot.tat() <= ceiling.saturating_add(CUT_SLACK) || !may_cut {
                return (place, slot, slot.tat());
            }
            let cut = Slot::new(key, ceiling, false);
            if self.0[place].compare_exchange(slot.0, cut.0, SeqCst, SeqCst).is_ok() {
                return (place, cut, ceiling);
            }
        }
    }
}

/// Owner in the upper half, TAT in the lower.
#[derive(Clone, Copy)]
struct Slot(u128);

impl Slot {
    fn new(owner: u64, tat: u64, inherited: bool) -> Self {
        let word = if inherited { tat | INHERITED } else { tat & !INHERITED };
        Self(u128::from(owner) << 64 | u128::from(word))
    }

    fn owner(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn tat(self) -> u64 {
        self.0 as u64 & !INHERITED
    }

    fn is_inherited(self) -> bool {
        self.0 as u64 & INHERITED != 0
    }
}

impl Account {
    /// As [`Ledger::read`].
    pub(super) fn read(&self, ceiling: u64) -> u64 {
        let tat = self.tat.load(Relaxed);
        if tat <= ceiling.saturating_add(CUT_SLACK) {
            return tat;
        }
        // Its own debt under its own rule: no one else's argument hangs on it, so it may always be cut.
        self.tat.fetch_min(ceiling, Relaxed).min(ceiling)
    }

    /// As [`Ledger::update`].
    pub(super) fn update<T, E>(
        &self,
        ceiling: u64,
        charge: impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let mut tat = self.read(ceiling);
        loop {
            let (outcome, next) = charge(tat)?;
            match self.tat.compare_exchange_weak(tat, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(outcome),
                Err(newer) => tat = newer,
            }
        }
    }

    /// Takes back a charge of `nanos` that was made at `now`.
    pub(super) fn refund(&self, nanos: u64, now: u64) {
        // Not below `now`: what is paid back by then cannot be given back once more.
        let _ =
            self.tat.fetch_update(Relaxed, Relaxed, |tat| Some(tat.saturating_sub(nanos).max(now.min(tat))));
    }

    /// The number of requests in progress.
    pub(super) fn in_progress(&self) -> &AtomicU64 {
        &self.in_progress
    }
}
