//! What one request is held to, and what it is told that does not pass. How it is charged stands in `limit.rs`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::Shadow;
use super::super::meter::{Denied, Place};
use super::{Grant, Limit, LimitBook, Refused};
use crate::clock::Moment;
use crate::config::Mode;
use crate::refusal::{Reason, Refusal};

/// When to try again after too many requests in progress: nobody knows when one of them ends.
pub(super) const CONCURRENCY_RETRY: Duration = Duration::from_secs(1);

/// What one request is held to, once [`LimitBook::look`] has found that its caller's own rate would let it pass:
/// nothing else makes one, so nobody charges the total for who is over its own rate.
#[must_use = "it is yet to be charged"]
pub struct Claims<'a> {
    pub(super) book: &'a LimitBook,
    pub(super) own: Option<Claim<'a>>,
    pub(super) total: Option<Claim<'a>>,
    pub(super) cost: NonZeroU32,
}

/// A limit and whose debt it is asked of, for one request.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) limit: &'a Limit,
    pub(super) place: Place,
    /// The word if the rate refuses, and if the number in progress does.
    pub(super) reasons: (Reason, Reason),
}

/// Shadows refuse nobody.
pub(super) fn enforced(claim: Option<Claim<'_>>) -> Option<Claim<'_>> {
    claim.filter(Claim::is_enforced)
}

impl Claims<'_> {
    /// Charges the request to all its limits or to none, as [`LimitBook::charge`] does.
    ///
    /// # Errors
    /// As of [`LimitBook::charge`].
    pub fn charge(self, now: Moment, shadows: &mut Vec<Shadow>) -> Result<Grant, Refused> {
        let Self { book, own, total, cost } = self;
        if own.into_iter().chain(total).all(|claim| claim.limit.mode == Mode::Enforce) {
            return book.enforce((own, total), cost, now);
        }
        let mut grant = book.enforce((enforced(own), enforced(total)), cost, now)?;
        for (claim, permit) in [own, total].into_iter().zip(&mut grant.permits) {
            if let Some(claim) = claim.filter(|claim| claim.limit.mode == Mode::Shadow) {
                *permit = book.shadow(claim, cost, now, shadows);
            }
        }
        Ok(grant)
    }
}

impl Claim<'_> {
    /// Shadows are not.
    pub(super) fn is_enforced(&self) -> bool {
        self.limit.mode == Mode::Enforce
    }

    /// Whether its rate would let the request pass. Nothing is charged.
    pub(super) fn fits(&self, cost: NonZeroU32, now: Moment) -> Result<(), Refused> {
        match &self.limit.meter {
            Some(meter) => meter.fits(self.place, cost, now).map_err(|denied| self.rate_refusal(denied)),
            None => Ok(()),
        }
    }

    pub(super) fn crowd_refusal(&self, now: Moment) -> Refused {
        let refusal = Refusal::new(self.reasons.1, "too many requests in progress")
            .by(&self.limit.rule)
            .after(CONCURRENCY_RETRY);
        Refused { refusal, standing: self.limit.standing(self.place, now) }
    }

    pub(super) fn rate_refusal(&self, denied: Denied) -> Refused {
        let detail =
            if denied.wait.is_some() { "the rate is used up" } else { "it costs more than the whole burst" };
        let mut refusal = Refusal::new(self.reasons.0, detail).by(&self.limit.rule);
        refusal.retry_after = denied.wait;
        let standing = self.limit.meter.as_ref().map(|meter| self.limit.told(meter, denied.level));
        Refused { refusal, standing }
    }
}
