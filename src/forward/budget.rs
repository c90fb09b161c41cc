//! How many retries there may be: a token bucket (`retries.budget`). When everything fails, retries would multiply what
//! the workers have to bear just when they can bear least; so they are a part of the requests, and no more.

/// So many retries may be saved up while all goes well, for each shard: a service with few requests may retry too.
pub const SAVED: u32 = 10;

/// A token in the unit that is counted in.
const TOKEN: u64 = 1_000_000;

/// The retries that one shard may still make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In millionths of a retry.
    saved: u64,
    /// What a request adds.
    each: u64,
}

impl Budget {
    /// A full bucket to which each request adds `share` (0 to 1) of a retry. A share of 0 allows none at all.
    pub fn new(share: f64) -> Self {
        let each = (share.clamp(0.0, 1.0) * TOKEN as f64).round() as u64;
        Self { saved: if each == 0 { 0 } else { u64::from(SAVED) * TOKEN }, each }
    }

    /// The bucket after a reload: with what was saved before, so that reloads are no way around the bound.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        let was_off = before.each == 0;
        Self { saved: if was_off { self.saved } else { self.saved.min(before.saved) }, ..self }
    }

    /// A request came.
    pub fn request(&mut self) {
        self.saved = (self.saved + self.each).min(u64::from(SAVED) * TOKEN);
    }

    /// Takes a retry. False: none is left.
    pub const fn take(&mut self) -> bool {
        match self.saved.checked_sub(TOKEN) {
            Some(left) => {
                self.saved = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn when_everything_fails_a_fifth_is_retried_after_what_was_saved() {
        let mut budget = Budget::new(0.2);
        let retried = (0..1_000).filter(|_| {
            budget.request();
            budget.take()
        });
        assert_eq!(retried.count(), 10 + 200 - 1, "the first request finds the bucket full");
    }

    #[test]
    fn without_a_budget_nothing_is_retried() {
        let mut budget = Budget::new(0.0);
        budget.request();
        assert!(!budget.take());
    }

    #[test]
    fn a_reload_fills_no_bucket() {
        let mut before = Budget::new(0.5);
        while before.take() {}
        assert!(!Budget::new(0.2).after(before).take());
        assert!(Budget::new(0.2).after(Budget::new(0.0)).take(), "it was off before");
        assert!(!Budget::new(0.0).after(Budget::new(0.2)).take());
    }

    proptest! {
        #[test]
        fn the_budget_is_never_exceeded(
            share in 0.0..=1.0_f64,
            // Requests, wishes to retry, and reloads, in any order.
            events in prop::collection::vec(0..8_u8, 0..2_000),
        ) {
            let mut budget = Budget::new(share);
            let (mut requests, mut retries) = (0.0, 0.0);
            for event in events {
                match event {
                    0..3 => {
                        budget.request();
                        requests += 1.0;
                    }
                    3..7 => retries += f64::from(u8::from(budget.take())),
                    _ => budget = Budget::new(share).after(budget),
                }
                // A share is counted in millionths.
                prop_assert!(retries <= f64::from(SAVED) + requests * (share + 1e-6));
            }
        }
    }
}
