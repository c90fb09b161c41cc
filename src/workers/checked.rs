//! What active checks say of a worker: thresholds over their results. The checks themselves are made in `check`.

use super::Terms;
use super::health::{Standing, State};
use crate::clock::Moment;

/// The newest check: when it ended, and how.
pub type LastCheck = (Moment, Result<(), String>);

/// The results of a worker's checks.
#[derive(Clone, Debug)]
pub struct CheckResults {
    /// It gets nothing before its first good check.
    unready: bool,
    failing: bool,
    since: Moment,
    failures: u32,
    successes: u32,
    last: Option<LastCheck>,
}

impl CheckResults {
    /// None yet.
    pub const fn new(now: Moment, unready: bool) -> Self {
        Self { unready, failing: false, since: now, failures: 0, successes: 0, last: None }
    }

    /// A check ended. `healthy_after` successes in a row make it well, `unhealthy_after` failures in a row ill. The
    /// first success of one that waits for it is enough.
    pub fn checked(&mut self, result: Result<(), String>, terms: &Terms, now: Moment) {
        let was = (self.unready, self.failing);
        if result.is_ok() {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            self.failing &= !self.unready && self.successes < terms.healthy_after;
            self.unready = false;
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            self.failing |= self.failures >= terms.unhealthy_after;
        }
        self.last = Some((now, result));
        if was != (self.unready, self.failing) {
            self.since = now;
        }
    }

    /// There are no checks any more.
    pub fn forget(&mut self, now: Moment) {
        if self.unready || self.failing || self.last.is_some() {
            *self = Self::new(now, false);
        }
    }

    /// A first good check is no longer asked for.
    pub const fn waive(&mut self) {
        self.unready = false;
    }

    /// Whether it need not wait for a first good check.
    pub const fn is_ready(&self) -> bool {
        !self.unready
    }

    /// Whether they eject it.
    pub const fn is_failing(&self) -> bool {
        self.failing
    }

    /// Since when they say what they say.
    pub const fn since(&self) -> Moment {
        self.since
    }

    /// The newest one.
    pub const fn last(&self) -> Option<&LastCheck> {
        self.last.as_ref()
    }

    /// How the worker stands, if checks speak against it.
    pub fn standing(&self) -> Option<Standing> {
        let (state, why) = match (&self.last, self.failing, self.unready) {
            (Some((_, Err(wrong))), true, _) => {
                let times = match self.failures {
                    1 => "1 check failed".to_owned(),
                    times => format!("{times} checks in a row failed"),
                };
                (State::Ejected, format!("{times}: {wrong}"))
            }
            (_, true, _) => (
                State::Ejected,
                format!("good checks since it failed: {}; more are asked for", self.successes),
            ),
            (Some((_, Err(wrong))), _, true) => {
                (State::Returning, format!("waits for its first good check; the last one: {wrong}"))
            }
            (_, _, true) => (State::Returning, "waits for its first good check".to_owned()),
            _ => return None,
        };
        Some(Standing { state, since: self.since, why, until: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms { checked: true, healthy_after: 2, unhealthy_after: 3, ..Terms::default() }
    }

    fn after(unready: bool, results: &[bool]) -> CheckResults {
        let mut checks = CheckResults::new(Moment::at(0), unready);
        for (good, at) in results.iter().zip(1..) {
            let result = if *good { Ok(()) } else { Err("status 503".to_owned()) };
            checks.checked(result, &terms(), Moment::at(at));
        }
        checks
    }

    #[test]
    fn only_failures_in_a_row_eject_and_successes_in_a_row_bring_back() {
        assert!(!after(false, &[false, false, true, false, false]).is_failing());
        let ejected = after(false, &[true, false, false, false, false]);
        let standing = ejected.standing().unwrap();
        assert_eq!((standing.state, standing.since), (State::Ejected, Moment::at(4)));
        assert_eq!(standing.why, "4 checks in a row failed: status 503");
        assert!(after(false, &[false, false, false, true, false, true]).is_failing());
        let back = after(false, &[false, false, false, true, true]);
        assert!(!back.is_failing());
        assert_eq!((back.standing(), back.since()), (None, Moment::at(5)));
    }

    #[test]
    fn the_first_success_is_enough_for_a_worker_that_waits_for_it() {
        let waits = after(true, &[false]);
        assert!(!waits.is_ready());
        assert_eq!(waits.standing().unwrap().why, "waits for its first good check; the last one: status 503");
        let ready = after(true, &[false, false, false, false, true]);
        assert!(ready.is_ready() && !ready.is_failing());
    }

    #[test]
    fn a_check_that_is_taken_away_leaves_nothing_behind() {
        let mut failing = after(true, &[false, false, false]);
        failing.forget(Moment::at(9));
        assert!(failing.is_ready() && !failing.is_failing() && failing.last().is_none());
        let mut waits = after(true, &[]);
        waits.waive();
        assert!(waits.is_ready());
    }
}
