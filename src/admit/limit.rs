//! How much: what each caller may still do with one service, and what all of them together may.
//!
//! A caller's own quota is the agreement that names it (while it lasts), else its tier's, else `default`. Beside it
//! stands `total`. A request is asked of all of them and charged to all of them, or to none.
//!
//! A [`LimitBook`] is built anew for every configuration and keeps nothing: debts lie in the [`Ledger`] under keys made
//! of the service's and the caller's names, so the next book finds them again.

mod accounts;
mod build;
mod claims;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock::Moment;
use crate::config::{Callers, LimitHeaders, Mode, Service, Verdict};
use crate::fields::Fields;
use crate::refusal::{Reason, Refusal, RuleRef};

use super::caller::{Caller, Who};
use super::concurrency::Permit;
use super::cost::Costs;
use super::headers::{Standing, seconds_up};
use super::ledger::{Ledger, Region};
use super::meter::{Level, Meter, Place};
use super::permission::is_past;
use super::{Facts, Shadow};

pub(super) use accounts::Accounts;
pub use claims::Claims;
use claims::{Claim, enforced};

/// The limits of one service under one configuration.
#[derive(Debug)]
pub struct LimitBook {
    /// No two books of a process have the same.
    number: u64,
    ledger: Arc<Ledger>,
    region: Region,
    accounts: Arc<Accounts>,
    limits: Vec<Limit>,
    /// By number of the caller of `known` that they name.
    agreed: HashMap<usize, Agreed, foldhash::fast::FixedState>,
    /// The limit of each tier.
    tiers: Vec<usize>,
    default: Option<usize>,
    total: Option<(usize, Place)>,
    /// The hash of the service's name, for the keys of strangers.
    service: u64,
    costs: Costs,
    headers: LimitHeaders,
}

/// A request that passed. It counts as in progress until this is dropped: keep it until the last byte of the answer.
#[derive(Debug)]
pub struct Grant {
    /// How the caller stands with its own rate. None: it has none that is enforced.
    pub standing: Option<Standing>,
    /// Of the caller's own limit and of the total, where they count requests in progress.
    permits: [Option<Permit>; 2],
}

/// A request that did not pass. Nothing was charged.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// How the caller stands with the limit that refused, if that has a rate.
    pub standing: Option<Standing>,
}

impl Refused {
    /// A refusal that no limit made.
    pub const fn without_standing(refusal: Refusal) -> Self {
        Self { refusal, standing: None }
    }
}

/// What was agreed with one caller of `known`. All others are held to their tier's limit, else to the default.
#[derive(Debug)]
struct Agreed {
    limit: usize,
    place: Place,
    until: Option<u64>,
}

#[derive(Debug)]
struct Limit {
    name: Box<str>,
    number: u16,
    rule: Arc<RuleRef>,
    mode: Mode,
    meter: Option<Meter>,
    concurrent: Option<NonZeroU32>,
}

impl LimitBook {
    /// The limits of `service` over `ledger`.
    pub fn new(service: &Service, callers: &Arc<Callers>, ledger: Arc<Ledger>) -> Self {
        build::book(service, callers, ledger, None)
    }

    /// The same, in the place of `before`: what is owed by its limits is still owed.
    pub fn after(
        before: Option<&Self>,
        service: &Service,
        callers: &Arc<Callers>,
        ledger: Arc<Ledger>,
    ) -> Self {
        build::book(service, callers, ledger, before)
    }

    /// Looks whether the caller's own rate refuses the request, before anything is taken for it; what comes back
    /// charges it. Where nothing but that rate is asked, the charge asks it; nothing is taken of the rest for a request
    /// that the rate refuses. `takes_place` says that a place of `capacity` is taken in between, which others might
    /// miss in that moment.
    ///
    /// # Errors
    /// 429 `caller_rate`.
    pub fn look(
        &self,
        caller: &Caller,
        facts: &Facts<'_>,
        now: Moment,
        takes_place: bool,
    ) -> Result<Claims<'_>, Refused> {
        let (own, total, cost) = (self.own(caller, now), self.total(), self.costs.of(facts));
        let claims = Claims { book: self, own, total, cost };
        if let Some(own) = claims.own.as_ref().filter(|own| own.is_enforced()) {
            let takes_total = claims.total.as_ref().is_some_and(Claim::is_enforced);
            if takes_place || takes_total || own.limit.concurrent.is_some() {
                own.fits(cost, now)?;
            }
        }
        Ok(claims)
    }

    /// Charges one request of `caller`, to all its limits or to none. What shadow limits would have said goes to
    /// `shadows`; they are charged only by requests that pass.
    ///
    /// # Errors
    /// 429 `caller_rate` or `caller_concurrency` by the caller's own quota; 503 `service_limit` by `total`.
    pub fn charge(
        &self,
        caller: &Caller,
        facts: &Facts<'_>,
        now: Moment,
        shadows: &mut Vec<Shadow>,
    ) -> Result<Grant, Refused> {
        self.look(caller, facts, now, false)?.charge(now, shadows)
    }

    /// What [`Self::charge`] would say now, without charging or counting anything: for a request that has to wait
    /// before it can be charged.
    ///
    /// # Errors
    /// As of [`Self::charge`].
    pub fn check(&self, caller: &Caller, facts: &Facts<'_>, now: Moment) -> Result<(), Refused> {
        let cost = self.costs.of(facts);
        for claim in [enforced(self.own(caller, now)), enforced(self.total())].into_iter().flatten() {
            if let Some(meter) = &claim.limit.meter {
                meter.check(claim.place, cost, now).map_err(|denied| claim.rate_refusal(denied))?;
            }
            let most = claim.limit.concurrent.map_or(u64::MAX, |most| u64::from(most.get()));
            if self.count(claim.place) >= most {
                return Err(claim.crowd_refusal(now));
            }
        }
        Ok(())
    }

    /// How `caller` stands with its own rate, without charging. None: it has none.
    pub fn peek(&self, caller: &Caller, now: Moment) -> Option<Standing> {
        self.own(caller, now).and_then(|own| own.limit.standing(own.place, now))
    }

    /// The same for a limit that is enforced: what clients are told of. A shadow is not their business.
    pub fn peek_enforced(&self, caller: &Caller, now: Moment) -> Option<Standing> {
        let own = self.own(caller, now).filter(|own| own.limit.mode == Mode::Enforce)?;
        own.limit.standing(own.place, now)
    }

    /// The caller's own limit, as a rule to be shown. None: nothing limits it but `total`.
    pub fn own_rule(&self, caller: &Caller, now: Moment) -> Option<&Arc<RuleRef>> {
        self.own(caller, now).map(|own| &own.limit.rule)
    }

    /// How many requests of `caller` are in progress, and how many may be. None: they are not limited.
    pub fn in_progress(&self, caller: &Caller, now: Moment) -> Option<(u64, u64)> {
        let own = self.own(caller, now)?;
        let most = own.limit.concurrent?;
        Some((self.count(own.place), u64::from(most.get())))
    }

    /// What a request with these facts takes.
    pub fn cost(&self, facts: &Facts<'_>) -> NonZeroU32 {
        self.costs.of(facts)
    }

    /// The name of a limit as headers write it, with its quotes.
    pub fn limit_name(&self, number: u16) -> &str {
        self.limits.get(usize::from(number)).map_or("\"\"", |limit| &limit.name)
    }

    /// Whether `limits.headers` wants this caller to be told how it stands. `refused`: this answer is a refusal,
    /// whatever the reason.
    pub const fn tells(&self, caller: &Caller, refused: bool) -> bool {
        let named = matches!(caller.who, Who::Known(_));
        match self.headers {
            LimitHeaders::Always => true,
            LimitHeaders::Named => named || refused,
            LimitHeaders::Refused => refused,
            LimitHeaders::Never => false,
        }
    }

    /// Writes `RateLimit` and `RateLimit-Policy`.
    pub fn write_headers(&self, standing: &Standing, fields: &mut Fields) {
        standing.write(self.limit_name(standing.limit), fields);
    }

    /// Hands `use_it` the same as lines of a head of HTTP/1.1.
    pub fn with_header_lines<T>(&self, standing: &Standing, use_it: impl FnOnce(&[u8]) -> T) -> T {
        standing.with_lines(self.limit_name(standing.limit), use_it)
    }

    /// What these lines are told by from all others: the name is one of this book's, the rest is in them.
    pub fn key_of_lines(&self, standing: &Standing) -> [u64; 5] {
        let &Standing { limit, quota, window, remaining, reset } = standing;
        let counts = u64::from(quota) << u32::BITS | u64::from(remaining);
        [self.number, u64::from(limit), counts, window, reset]
    }

    /// Counts both as in progress, then charges the total, then the caller. With a total, or a number in progress, the
    /// caller's own rate was looked at before: so the last step can fail only if another shard charged the same caller
    /// in between.
    fn enforce(
        &self,
        (own, total): (Option<Claim<'_>>, Option<Claim<'_>>),
        cost: NonZeroU32,
        now: Moment,
    ) -> Result<Grant, Refused> {
        let permits = [self.permit(own, now)?, self.permit(total, now)?];
        let charge = |claim: Claim<'_>| match &claim.limit.meter {
            Some(meter) => {
                meter.charge(claim.place, cost, now).map(|level| Some(claim.limit.told(meter, level)))
            }
            None => Ok(None),
        };
        if let Some(claim) = total {
            charge(claim).map_err(|denied| claim.rate_refusal(denied))?;
        }
        let Some(claim) = own else { return Ok(Grant { standing: None, permits }) };
        match charge(claim) {
            Ok(standing) => Ok(Grant { standing, permits }),
            Err(denied) => {
                if let Some(total) = total
                    && let (Some(meter), Place::Account(number)) = (&total.limit.meter, total.place)
                {
                    meter.refund(&self.accounts[number], cost, now);
                }
                Err(claim.rate_refusal(denied))
            }
        }
    }

    /// Counts the request as in progress, where that is limited.
    fn permit(&self, claim: Option<Claim<'_>>, now: Moment) -> Result<Option<Permit>, Refused> {
        let Some(claim) = claim else { return Ok(None) };
        let Some(most) = claim.limit.concurrent else { return Ok(None) };
        match self.take(claim.place, u64::from(most.get())) {
            Some(permit) => Ok(Some(permit)),
            None => Err(claim.crowd_refusal(now)),
        }
    }

    /// A shadow is charged as if it were enforced, so that it counts truthfully, and its verdict is only noted.
    fn shadow(
        &self,
        claim: Claim<'_>,
        cost: NonZeroU32,
        now: Moment,
        shadows: &mut Vec<Shadow>,
    ) -> Option<Permit> {
        let fits = if claim.limit.concurrent.is_some() { claim.fits(cost, now) } else { Ok(()) };
        match fits.and_then(|()| self.enforce((Some(claim), None), cost, now)) {
            Ok(Grant { permits: [permit, _], .. }) => permit,
            Err(Refused { refusal, .. }) => {
                let rule = claim.limit.rule.clone();
                shadows.push(Shadow { rule, reason: refusal.reason, would: Verdict::Deny });
                None
            }
        }
    }

    fn take(&self, place: Place, most: u64) -> Option<Permit> {
        match place {
            Place::Account(number) => Permit::of_account(&self.accounts[number], most),
            Place::Stranger(key) => self.ledger.strangers_in_progress().take(key, most),
        }
    }

    /// Requests in progress.
    fn count(&self, place: Place) -> u64 {
        match place {
            Place::Account(number) => self.accounts[number].in_progress().load(Relaxed),
            Place::Stranger(key) => self.ledger.strangers_in_progress().of(key),
        }
    }

    fn own(&self, caller: &Caller, now: Moment) -> Option<Claim<'_>> {
        let reasons = (Reason::CallerRate, Reason::CallerConcurrency);
        let (limit, place) = match caller.who {
            Who::Known(number) => {
                if number >= self.accounts.callers() {
                    return None;
                }
                match self.agreed.get(&number) {
                    Some(agreed) if !is_past(agreed.until, now) => (agreed.limit, agreed.place),
                    _ => {
                        let tier = caller.tier.and_then(|tier| self.tiers.get(tier).copied());
                        (tier.or(self.default)?, Place::Account(number))
                    }
                }
            }
            Who::Other(_) => {
                (self.default?, Place::Stranger(super::seed::keyed_hash((self.service, caller.hash))))
            }
        };
        Some(Claim { limit: &self.limits[limit], place, reasons })
    }

    fn total(&self) -> Option<Claim<'_>> {
        let (limit, place) = self.total?;
        let reasons = (Reason::ServiceLimit, Reason::ServiceLimit);
        Some(Claim { limit: &self.limits[limit], place, reasons })
    }
}

impl Limit {
    fn standing(&self, place: Place, now: Moment) -> Option<Standing> {
        let meter = self.meter.as_ref()?;
        Some(self.told(meter, meter.level(place, now)))
    }

    fn told(&self, meter: &Meter, level: Level) -> Standing {
        Standing {
            limit: self.number,
            quota: meter.burst().get(),
            window: meter.window(),
            remaining: level.left,
            reset: seconds_up(level.whole_in),
        }
    }
}

#[cfg(test)]
mod tests;
