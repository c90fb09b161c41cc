//! What every caller has used, in fixed memory, one truth for all shards, over all reloads.
//!
//! **What is kept** is GCRA's theoretical arrival time (TAT): the moment at which everything that was charged is paid
//! back, in nanoseconds of [`crate::clock::Moment`]. No rate and no burst is kept, so a reload with other quotas finds
//! the same debts and hands nothing out.
//!
//! **Two regions.** Callers of `known`, shared agreements and totals have an [`Account`] each, found by their place in
//! the configuration; nobody can push them out. All others (strangers) share the table: lines of 64 bytes, 4 slots
//! each of 16 bytes, fixed by `callers.ledger.max_keys` when the process starts. Ten million spoofed addresses fight
//! over the table and change nothing for named callers. Each service that the process starts with has an equal part
//! of the table (a `Region`), so a flood of one service costs strangers of the others nothing, and nobody inherits
//! a debt by another service's slower rule. A service that a reload adds shares one of the parts until a restart.
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
//! **The one thing that shrinks a slot** is a rate that the operator raised, if a whole burst of it spans less than the
//! debt: the debt is cut to that span, so that nobody waits for days by a rule that is gone. While any slot of a line
//! holds an inherited debt, nothing in it is cut, because then the smallest would shrink under somebody who was
//! pushed out. What remains is a race inside one such cut, worth at most one charge, once per change of a quota.
//!
//! **The price**: under a flood of more live strangers than the table holds, an innocent stranger may be refused for
//! as long as the smallest debt in its line lasts; strangers of that service only. Make the table larger if
//! `evictions` grows.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use portable_atomic::AtomicU128;

use crate::clock::Moment;
use crate::shard::SpreadCount;

use super::concurrency::InProgress;
use super::seed::keyed_hash;

/// Slots in a line of the table.
const SLOTS: usize = 4;
/// Lines that [`Ledger::live_keys`] looks at: 64 KiB of memory.
const SAMPLED_LINES: usize = 1024;
/// Parts of the accounts: with 100,000 of them, a lock is held for some 10 microseconds at most.
const PARTS: usize = 256;
/// A debt is cut only if it is beyond the span by more than this: shards read `now` at different moments, and a shard
/// whose `now` is a little old must not cut what another one has just charged.
const CUT_SLACK: u64 = 1_000_000_000;
/// Set in a slot's TAT while it stands for debts of more than one stranger.
const INHERITED: u64 = 1 << 63;

/// Accounts by the keyed hash of whose they are.
type Named = HashMap<u64, Arc<Account>, foldhash::fast::FixedState>;

/// All debts. One per process; it outlives every configuration.
pub struct Ledger {
    lines: Box<[Line]>,
    /// The hashed names of the services that have a region of their own, in the regions' order.
    services: Box<[u64]>,
    evictions: SpreadCount,
    /// In parts with a lock each. A request takes one when its caller first asks since a reload, so none is held long.
    accounts: Box<[Mutex<Named>]>,
    /// Those of shared agreements, under a key of each member. Only building a [`super::limit::LimitBook`] takes it.
    groups: Mutex<Named>,
    strangers_in_progress: InProgress,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// The part of the table that one service's strangers share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    first: usize,
    /// At least 1.
    lines: usize,
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
    /// A ledger for `max_keys` strangers, rounded up to 4: 16 bytes each, taken now and never more. All services
    /// share it.
    pub fn new(max_keys: NonZeroUsize) -> Self {
        Self::for_services(max_keys, [])
    }

    /// The same, with an equal part for each of these services; at least one line each.
    pub fn for_services<'a>(max_keys: NonZeroUsize, names: impl IntoIterator<Item = &'a str>) -> Self {
        let services: Box<[u64]> = names.into_iter().map(keyed_hash).collect();
        let lines = max_keys.get().div_ceil(SLOTS).max(services.len());
        Self {
            lines: (0..lines).map(|_| Line::default()).collect(),
            services,
            evictions: SpreadCount::default(),
            accounts: (0..PARTS).map(|_| Mutex::default()).collect(),
            groups: Mutex::default(),
            strangers_in_progress: InProgress::default(),
        }
    }

    /// How often a stranger was held to a debt that was not its own, since its line is full of live ones: it took the
    /// debt over, or was refused by it.
    pub fn evictions(&self) -> u64 {
        self.evictions.sum()
    }

    /// How many strangers have a live debt, estimated from a sample of the table's lines.
    pub fn live_keys(&self, now: Moment) -> u64 {
        // Evenly over the table, so that every region has its part in the sample.
        let step = self.lines.len().div_ceil(SAMPLED_LINES);
        let live = |line: &Line| line.load().iter().filter(|slot| slot.tat() > now.nanos).count();
        let found: usize = self.lines.iter().step_by(step).map(live).sum();
        let sample = self.lines.len().div_ceil(step);
        (found as u128 * self.lines.len() as u128 / sample as u128) as u64
    }

    /// The part of the table that strangers of this service have.
    pub(super) fn region(&self, service: &str) -> Region {
        let (hash, parts) = (keyed_hash(service), self.services.len().max(1));
        let own = self.services.iter().position(|other| *other == hash);
        let number = own.unwrap_or((hash % parts as u64) as usize);
        let begin = |number: usize| (number as u128 * self.lines.len() as u128 / parts as u128) as usize;
        Region { first: begin(number), lines: begin(number + 1) - begin(number) }
    }

    /// How many strangers the table holds.
    pub fn capacity(&self) -> usize {
        self.lines.len() * SLOTS
    }

    /// The account under `key`; the same one for as long as anyone holds it or it has a debt. For who first asks; not
    /// for every request.
    pub(super) fn account(&self, key: u64) -> Arc<Account> {
        let part = &self.accounts[(key % PARTS as u64) as usize];
        part.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }

    /// How many accounts there are under keys of their own.
    #[cfg(test)]
    pub(super) fn accounts(&self) -> usize {
        self.accounts.iter().map(|part| part.lock().map_or(0, |part| part.len())).sum()
    }

    /// One account under several keys: that of the first key which has one, unless it is among `taken`. So a group
    /// whose members change keeps its debt as long as one of them stays.
    pub(super) fn group_account(&self, keys: &[u64], taken: &HashSet<*const Account>) -> Arc<Account> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |account: &&Arc<Account>| !taken.contains(&Arc::as_ptr(account));
        let account =
            keys.iter().filter_map(|key| groups.get(key)).find(is_free).cloned().unwrap_or_default();
        groups.extend(keys.iter().map(|key| (*key, account.clone())));
        account
    }

    /// Forgets accounts that no configuration holds any more and that owe nothing at `now`. Once for each reload, when
    /// all its books are built.
    pub fn forget_settled_accounts(&self, now: Moment) {
        let owes = |account: &Account| account.tat.load(Relaxed) > now.nanos;
        for part in &self.accounts {
            let mut accounts = part.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || owes(account));
        }
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own_handles: HashMap<_, usize> = HashMap::new();
        for account in groups.values() {
            *own_handles.entry(Arc::as_ptr(account)).or_default() += 1;
        }
        groups.retain(|_, account| {
            let handles = own_handles.get(&Arc::as_ptr(account)).copied().unwrap_or(0);
            Arc::strong_count(account) > handles || owes(account)
        });
    }

    pub(super) fn strangers_in_progress(&self) -> &InProgress {
        &self.strangers_in_progress
    }

    /// The TAT that `key` is held to, at most `ceiling` if it may be cut to it; and whether that is another's debt.
    pub(super) fn read(&self, (region, key): (Region, u64), now: u64, ceiling: u64) -> (u64, bool) {
        let line = self.line(region, key);
        let (_, slot, tat) = line.find(key, now, ceiling);
        (tat, tat > now && slot.owner() != key)
    }

    /// A stranger was refused by a debt that is not its own.
    pub(super) fn crowded_out(&self) {
        self.evictions.count();
    }

    /// Replaces the TAT of `key` by what `charge` makes of it, unless that fails; then nothing changes.
    pub(super) fn update<T, E>(
        &self,
        (region, key): (Region, u64),
        now: u64,
        ceiling: u64,
        charge: impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let line = self.line(region, key);
        loop {
            let (place, slot, tat) = line.find(key, now, ceiling);
            let live = tat > now;
            let evicts = live && slot.owner() != key;
            let (outcome, next) = charge(tat).inspect_err(|_| {
                if evicts {
                    self.crowded_out();
                }
            })?;
            let inherited = live && (evicts || slot.is_inherited());
            let new = Slot::new(key, next, inherited);
            if line.0[place].compare_exchange(slot.0, new.0, SeqCst, SeqCst).is_ok() {
                if evicts {
                    self.evictions.count();
                }
                return Ok(outcome);
            }
        }
    }

    fn line(&self, region: Region, key: u64) -> &Line {
        // The upper half of the product spreads keys evenly over any number of lines, not only powers of two.
        &self.lines[region.first + ((u128::from(key) * region.lines as u128) >> 64) as usize]
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    use super::*;

    /// One every 10 ns, 5 at once.
    const INTERVAL: u64 = 10;
    const BURST: u64 = 5;
    const START: u64 = 1_000_000;

    /// GCRA for one request.
    fn gcra(now: u64) -> impl Fn(u64) -> Result<((), u64), u64> {
        move |tat| {
            let next = tat.max(now) + INTERVAL;
            if next > now + INTERVAL * BURST { Err(next - now - INTERVAL * BURST) } else { Ok(((), next)) }
        }
    }

    fn ask(ledger: &Ledger, key: u64, now: u64) -> bool {
        ledger.update((ledger.region(""), key), now, now + INTERVAL * BURST, gcra(now)).is_ok()
    }

    fn ledger(keys: usize) -> Ledger {
        Ledger::new(NonZeroUsize::new(keys).unwrap())
    }

    #[test]
    fn a_slot_is_sixteen_bytes_and_a_line_one_cache_line() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
        assert_eq!(ledger(1_000).capacity(), 1_000);
        assert_eq!(ledger(1_001).capacity(), 1_004);
    }

    #[test]
    fn regions_part_the_table_and_leave_nothing_out() {
        let names: Vec<String> = (0..7).map(|n| format!("service-{n}")).collect();
        for keys in [4, 64, 1_000, 1_000_000] {
            let ledger =
                Ledger::for_services(NonZeroUsize::new(keys).unwrap(), names.iter().map(String::as_str));
            let mut next = 0;
            for name in &names {
                let region = ledger.region(name);
                assert_eq!(region.first, next, "{name} of {keys}");
                assert!(region.lines >= 1);
                next += region.lines;
            }
            assert_eq!(next, ledger.lines.len());
            let added = ledger.region("added by a reload");
            assert!(names.iter().any(|name| ledger.region(name).first == added.first));
        }
    }

    #[test]
    fn a_flood_of_one_service_costs_strangers_of_another_nothing() {
        let ledger = Ledger::for_services(NonZeroUsize::new(64).unwrap(), ["slow", "fast"]);
        let (slow, fast) = (ledger.region("slow"), ledger.region("fast"));
        let hour = 3_600_000_000_000;
        for key in 1..10_000 {
            let owe = |tat: u64| Ok::<_, ()>(((), tat.max(START) + hour));
            ledger.update((slow, key * (u64::MAX / 10_007)), START, u64::MAX >> 2, owe).unwrap();
        }
        assert!(ledger.evictions() > 9_000);
        let live = ledger.live_keys(Moment::at(START));
        assert_eq!(live, 32, "the slow half is full, the other empty");
        for key in (1..=16).map(|n| n * (u64::MAX / 17)) {
            assert!(ledger.read((fast, key), START, START + 50).0 <= START, "{key} inherited a debt");
        }
    }

    #[test]
    fn slots_change_in_one_step_on_this_machine() {
        assert!(AtomicU128::is_lock_free());
    }

    #[test]
    fn a_settled_debt_makes_room_and_is_no_eviction() {
        let ledger = ledger(4);
        for (round, key) in (1..=40).enumerate() {
            assert!(ask(&ledger, key, START + 100 * INTERVAL * round as u64 / 4));
        }
        assert_eq!(ledger.evictions(), 0);
        assert_eq!(ledger.live_keys(Moment::at(u64::MAX / 2)), 0);
    }

    #[test]
    fn a_newcomer_to_a_full_line_inherits_the_smallest_debt() {
        let ledger = ledger(4);
        for key in 1..=4 {
            for _ in 0..=key {
                ask(&ledger, key, START);
            }
        }
        assert_eq!(ledger.live_keys(Moment::at(START)), 4);
        // The smallest debt is of 2 requests: 3 are left for whoever takes it over.
        assert_eq!((0..BURST).filter(|_| ask(&ledger, 9, START)).count(), 3);
        assert_eq!(ledger.evictions(), 1);
    }

    #[test]
    fn a_newcomer_that_is_refused_by_anothers_debt_is_counted() {
        let ledger = ledger(4);
        (1..=4).for_each(|key| (0..BURST).for_each(|_| assert!(ask(&ledger, key, START))));
        assert!(!ask(&ledger, 4, START));
        assert_eq!(ledger.evictions(), 0, "its own debt");
        assert!(!ask(&ledger, 9, START));
        assert_eq!(ledger.evictions(), 1);
    }

    #[test]
    fn a_debt_is_not_cut_while_its_line_holds_an_inherited_one() {
        let ledger = ledger(4);
        let (all, far) = (ledger.region(""), START + 100 * CUT_SLACK);
        let owe = |key: u64, tat: u64| {
            ledger.update((all, key), START, u64::MAX >> 2, |_| Ok::<_, ()>(((), tat))).unwrap()
        };
        (1..=4).for_each(|key| owe(key, far));
        assert_eq!(ledger.read((all, 1), START, START + 50).0, START + 50, "a shorter rule cuts it");
        owe(1, far);
        owe(9, far + 1);
        assert!(ledger.evictions() == 1);
        let pushed_out =
            (1..=4).find(|key| ledger.line(all, 1).load().iter().all(|slot| slot.owner() != *key)).unwrap();
        for key in (1..=4).chain([9]) {
            assert!(ledger.read((all, key), START, START + 50).0 >= far, "{key} ({pushed_out} is out)");
        }
    }

    #[test]
    fn accounts_are_kept_while_they_are_held_or_owe() {
        let ledger = ledger(4);
        let account = ledger.account(7);
        account.update(u64::MAX >> 2, |_| Ok::<_, ()>(((), 500))).unwrap();
        ledger.forget_settled_accounts(Moment::at(900));
        assert_eq!(account.read(u64::MAX >> 2), 500);
        drop(account);
        ledger.forget_settled_accounts(Moment::at(499));
        assert_eq!(ledger.account(7).read(u64::MAX >> 2), 500);
        ledger.forget_settled_accounts(Moment::at(500));
        assert_eq!(ledger.account(7).read(u64::MAX >> 2), 0);
    }

    #[test]
    fn a_group_keeps_its_account_while_one_member_stays() {
        let ledger = ledger(4);
        let first = ledger.group_account(&[1, 2], &HashSet::new());
        assert!(Arc::ptr_eq(&first, &ledger.group_account(&[3, 2], &HashSet::new())));
        assert!(Arc::ptr_eq(&first, &ledger.group_account(&[3], &HashSet::new())));
        let taken = HashSet::from([Arc::as_ptr(&first)]);
        let second = ledger.group_account(&[1, 4], &taken);
        assert!(!Arc::ptr_eq(&first, &second), "two groups of one configuration never share");
        assert!(Arc::ptr_eq(&second, &ledger.group_account(&[4], &taken)));
        drop((first, second));
        ledger.forget_settled_accounts(Moment::at(1));
        assert!(ledger.groups.lock().unwrap().is_empty());
    }

    #[test]
    fn a_refund_gives_back_what_was_charged_and_no_more() {
        let account = Account::default();
        let owe = |tat: u64| account.update(u64::MAX >> 2, |_| Ok::<_, ()>(((), tat))).unwrap();
        owe(1_300);
        account.refund(100, 1_000);
        assert_eq!(account.read(u64::MAX >> 2), 1_200);
        account.refund(500, 1_000);
        assert_eq!(account.read(u64::MAX >> 2), 1_000);
        account.refund(500, 2_000);
        assert_eq!(account.read(u64::MAX >> 2), 1_000);
    }

    #[test]
    fn threads_that_fight_over_one_line_never_admit_more_than_the_bursts() {
        for round in 0..200 {
            let ledger = ledger(4);
            let admitted: [AtomicUsize; 7] = Default::default();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (ledger, admitted) = (&ledger, &admitted);
                    scope.spawn(move || {
                        for step in 0..60 {
                            let key = (step * (thread + 1) + round) % 7;
                            if ask(ledger, key as u64 + 1, START) {
                                admitted[key].fetch_add(1, SeqCst);
                            }
                        }
                    });
                }
            });
            let admitted = admitted.map(AtomicUsize::into_inner);
            assert!(admitted.iter().all(|count| *count <= BURST as usize), "{admitted:?}");
            assert!(admitted.iter().sum::<usize>() <= SLOTS * BURST as usize, "{admitted:?}");
        }
    }

    proptest! {
        #[test]
        fn eviction_never_increases_what_a_caller_may_send(
            steps in proptest::collection::vec((1..12_u64, 0..30_u64), 1..400),
        ) {
            let ledger = ledger(4);
            let mut truth: HashMap<u64, u64> = HashMap::new();
            let mut now = START;
            for (key, passed) in steps {
                now += passed / 4;
                let tat = truth.entry(key).or_default();
                let (held_to, _) = ledger.read((ledger.region(""), key), now, u64::MAX >> 2);
                prop_assert!(held_to.max(now) >= *tat);
                if ask(&ledger, key, now) {
                    let allowed = gcra(now)(*tat);
                    prop_assert!(allowed.is_ok(), "a store without bounds would have refused");
                    *tat = allowed.unwrap().1;
                }
            }
        }
    }
}
