//! One rate, measured by governor's GCRA over the [`Ledger`].
//!
//! governor keeps times relative to the start of each limiter; here every limiter starts at 0 of
//! [`Moment::nanos`], so all of them, over all reloads, mean the same by a time. governor asks a clock for the time
//! inside the call; [`CallClock`] answers with the `now` that the caller of this module passed.
//!
//! Every request of a named caller is charged to two accounts, and what comes of it the debt alone tells: that much of
//! GCRA stands here ([`Meter::owed`], [`Meter::late`]). All of strangers is governor's.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Moment;
use crate::config::Rate;

use super::headers::seconds_up;
use super::ledger::{Account, Ledger, Region};
use super::limit::Accounts;

/// A whole burst never spans more (36 years), so that no sum of times overflows; a longer one is cut to it.
const LONGEST_SPAN: u64 = 1 << 60;

/// Whose debt it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A named one, by its number in the accounts of the limit book.
    Account(usize),
    /// A stranger's, by its key.
    Stranger(u64),
}

/// One rate.
#[derive(Debug)]
pub(super) struct Meter {
    limiter: RateLimiter<Key, Store, CallClock, StateInformationMiddleware>,
    /// Where the debts stand that it measures.
    store: Store,
    interval: u64,
    burst: NonZeroU32,
    ceiling: u64,
    window: u64,
}

/// How a caller stands with its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// What is left, in requests of cost 1.
    pub(super) left: u32,
    /// Nanoseconds until all of it is there again.
    pub(super) whole_in: u64,
}

/// Why a charge was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    /// After so long the same charge passes, if nobody else charges. None: never, it costs more than the burst.
    pub(super) wait: Option<Duration>,
    /// How the caller stands.
    pub(super) level: Level,
}

impl Meter {
    /// `region`: where the debts of strangers stand in the ledger. `before`: what the configuration before this one
    /// had in its place. Debts beyond the whole burst are cut only if the rate was raised: nobody is to wait for days
    /// by a rule that is gone, but a smaller burst forgives nothing.
    pub(super) fn new(
        rate: Rate,
        before: Option<&Self>,
        (ledger, region): (Arc<Ledger>, Region),
        accounts: Arc<Accounts>,
    ) -> Self {
        let interval = u64::try_from(rate.interval.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST_SPAN);
        let most = u32::try_from(LONGEST_SPAN / interval).unwrap_or(u32::MAX);
        let burst = rate.burst.min(NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN));
        let one = Duration::from_nanos(interval);
        let quota = Quota::with_period(one).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
        let span = interval * u64::from(burst.get());
        let slower = before.filter(|before| interval >= before.interval);
        let ceiling = slower.map_or(span, |before| span.max(before.ceiling));
        let store = Store { ledger, region, accounts, ceiling };
        NOW.set(0); // The limiter's start, which all its times are relative to.
        let limiter = RateLimiter::new(quota, store.clone(), CallClock);
        Self { limiter, store, interval, burst, ceiling, window: seconds_up(span).max(1) }
    }

    /// Charges `cost`, or nothing.
    pub(super) fn charge(&self, place: Place, cost: NonZeroU32, now: Moment) -> Result<Level, Denied> {
        if let Place::Account(number) = place {
            let charge = |tat| {
                let owed = self.owed(tat, cost, now);
                if owed <= self.span() { Ok((owed, now.nanos + owed)) } else { Err(owed) }
            };
            return match self.store.accounts[number].update(self.store.ceiling(now.nanos), charge) {
                Ok(owed) => Ok(self.level_of((self.span() - owed) / self.interval)),
                Err(owed) => Err(self.denied(place, owed, cost, now)),
            };
        }
        self.ask(Key { place, commit: true }, cost, now)
    }

    /// What [`Meter::charge`] would say, without charging.
    pub(super) fn check(&self, place: Place, cost: NonZeroU32, now: Moment) -> Result<Level, Denied> {
        self.ask(Key { place, commit: false }, cost, now)
    }

    /// The same as [`Meter::check`], if no more than the verdict is wanted.
    pub(super) fn fits(&self, place: Place, cost: NonZeroU32, now: Moment) -> Result<(), Denied> {
        // In the place of a stranger another's debt may be, which has to be counted.
        if let Place::Account(number) = place {
            let tat = self.store.accounts[number].read(self.store.ceiling(now.nanos));
            let owed = self.owed(tat, cost, now);
            return if owed <= self.span() { Ok(()) } else { Err(self.denied(place, owed, cost, now)) };
        }
        self.check(place, cost, now).map(drop)
    }

    /// Nanoseconds until all is paid back, after a charge to this debt. It may be made if that is no more than the
    /// whole burst.
    fn owed(&self, tat: u64, cost: NonZeroU32, now: Moment) -> u64 {
        let charge = self.interval.saturating_mul(u64::from(cost.get()));
        tat.saturating_sub(now.nanos).saturating_add(charge)
    }

    /// What is said of a charge after which more than the whole burst would be owed.
    #[cold]
    fn denied(&self, place: Place, owed: u64, cost: NonZeroU32, now: Moment) -> Denied {
        if cost > self.burst {
            return Denied { wait: None, level: self.level(place, now) };
        }
        self.late(owed - self.span(), cost)
    }

    /// What is said of a charge that passes in so many nanoseconds. It passes when the debt and the charge together are
    /// no more than the whole burst, so the wait tells the debt, and so the rest.
    fn late(&self, wait: u64, cost: NonZeroU32) -> Denied {
        let cost = u64::from(cost.get());
        let left = u32::try_from(cost.saturating_sub(wait.div_ceil(self.interval))).unwrap_or(u32::MAX);
        let whole_in = wait.saturating_add(self.span()).saturating_sub(cost * self.interval);
        Denied { wait: Some(Duration::from_nanos(wait)), level: Level { left, whole_in } }
    }

    /// How `place` stands, without charging.
    pub(super) fn level(&self, place: Place, now: Moment) -> Level {
        if let Place::Account(number) = place {
            let tat = self.store.accounts[number].read(self.store.ceiling(now.nanos));
            let owed = self.owed(tat, NonZeroU32::MIN, now);
            return match owed.checked_sub(self.span()) {
                Some(wait @ 1..) => self.late(wait, NonZeroU32::MIN).level,
                _ => self.level_of((self.span() - owed) / self.interval + 1),
            };
        }
        match self.check(place, NonZeroU32::MIN, now) {
            Ok(after) => self.level_of(u64::from(after.left) + 1),
            Err(denied) => denied.level,
        }
    }

    /// Gives back exactly what one charge of `cost` took; for accounts only.
    pub(super) fn refund(&self, account: &Account, cost: NonZeroU32, now: Moment) {
        account.refund(self.interval.saturating_mul(u64::from(cost.get())), now.nanos);
    }

    /// The burst.
    pub(super) fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// Nanoseconds in which a whole burst comes back.
    pub(super) fn span(&self) -> u64 {
        self.interval * u64::from(self.burst.get())
    }

    /// The same in seconds, rounded up, at least one.
    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    fn ask(&self, key: Key, cost: NonZeroU32, now: Moment) -> Result<Level, Denied> {
        NOW.set(now.nanos);
        match self.limiter.check_key_n(&key, cost) {
            Ok(Ok(state)) => Ok(self.level_of(u64::from(state.remaining_burst_capacity()))),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(Nanos::new(now.nanos));
                Err(self.late(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), cost))
            }
            Err(_more_than_the_burst) => Err(Denied { wait: None, level: self.level(key.place, now) }),
        }
    }

    fn level_of(&self, left: u64) -> Level {
        let left = left.min(u64::from(self.burst.get()));
        let missing = u64::from(self.burst.get()) - left;
        Level { left: u32::try_from(left).unwrap_or(u32::MAX), whole_in: missing * self.interval }
    }
}

thread_local! {
    /// The `now` of the call in progress. Set before each use, on the thread that uses it.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

#[derive(Clone, Copy, Debug)]
struct CallClock;

impl Clock for CallClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(NOW.get())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    place: Place,
    /// False: governor computes its verdict and the ledger keeps what it has.
    commit: bool,
}

#[derive(Clone, Debug)]
struct Store {
    ledger: Arc<Ledger>,
    region: Region,
    accounts: Arc<Accounts>,
    /// A TAT further than this after `now` was made by another, slower rate.
    ceiling: u64,
}

impl Store {
    fn ceiling(&self, now: u64) -> u64 {
        now.saturating_add(self.ceiling)
    }
}

impl StateStore for Store {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let now = NOW.get();
        let ceiling = self.ceiling(now);
        let charge = |tat: u64| f(Some(Nanos::new(tat))).map(|(outcome, next)| (outcome, next.as_u64()));
        match (key.place, key.commit) {
            (Place::Account(number), true) => self.accounts[number].update(ceiling, charge),
            (Place::Account(number), false) => {
                charge(self.accounts[number].read(ceiling)).map(|(outcome, _)| outcome)
            }
            (Place::Stranger(stranger), true) => {
                self.ledger.update((self.region, stranger), now, ceiling, charge)
            }
            (Place::Stranger(stranger), false) => {
                let (tat, is_anothers) = self.ledger.read((self.region, stranger), now, ceiling);
                charge(tat).map(|(outcome, _)| outcome).inspect_err(|_| {
                    if is_anothers {
                        self.ledger.crowded_out();
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A meter with a ledger and an account of its own.
    fn alone(rate: Rate) -> Meter {
        let ledger = Arc::new(Ledger::new(std::num::NonZeroUsize::new(100).unwrap()));
        let region = ledger.region("s");
        let (callers, service) =
            (crate::config::plain_callers(), crate::config::ServiceName::new("s").unwrap());
        let accounts = Accounts::new(Arc::clone(&ledger), service, callers, vec![Arc::default()]);
        Meter::new(rate, None, (ledger, region), Arc::new(accounts))
    }

    /// The meter of a reload, over the same debts.
    fn reloaded(rate: Rate, before: &Meter) -> Meter {
        let Store { ledger, region, accounts, .. } = before.store.clone();
        Meter::new(rate, Some(before), (ledger, region), accounts)
    }

    fn rate(interval: u64, burst: u32) -> Rate {
        Rate { interval: Duration::from_nanos(interval), burst: NonZeroU32::new(burst).unwrap() }
    }

    proptest! {
        /// Over reloads, to a burst that is smaller than the debt and to a rate by which it is cut, and with shards
        /// whose clocks are apart by more than what a cut allows for.
        #[test]
        fn what_is_told_by_the_debt_alone_is_what_governor_says(
            interval in 1..2_000_000_000_u64,
            burst in 1..40_u32,
            steps in proptest::collection::vec(
                (
                    1..50_u32,
                    -3_000_000_000..4_000_000_000_i64,
                    any::<bool>(),
                    proptest::option::weighted(0.1, (proptest::option::of(1..2_000_000_000_u64), 1..40_u32)),
                ),
                1..100,
            ),
        ) {
            let first = rate(interval, burst);
            let (mut meter, mut whole) = (alone(first), alone(first));
            let mut now = Moment::at(1_000_000_000_000);
            for (cost, passed, known, reload) in steps {
                now = Moment::at(now.nanos.saturating_add_signed(passed));
                if let Some((interval, burst)) = reload {
                    let next = rate(interval.unwrap_or(meter.interval), burst);
                    (meter, whole) = (reloaded(next, &meter), reloaded(next, &whole));
                }
                let place = if known { Place::Account(0) } else { Place::Stranger(7) };
                let cost = NonZeroU32::new(cost).unwrap();
                prop_assert_eq!(meter.fits(place, cost, now), whole.check(place, cost, now).map(drop));
                let said = whole.ask(Key { place, commit: true }, cost, now);
                prop_assert_eq!(meter.charge(place, cost, now), said);
                let level = match whole.check(place, NonZeroU32::MIN, now) {
                    Ok(after) => whole.level_of(u64::from(after.left) + 1),
                    Err(denied) => denied.level,
                };
                prop_assert_eq!(meter.level(place, now), level);
            }
        }
    }
}
