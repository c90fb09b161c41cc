//! How a worker is, all in all: the words for it, and what its connections, its active checks, its score and slow
//! start say together. Each of them is judged in a file of its own (`back_off`, `checked`, `score`, `slow_start`); no
//! clock is read here.
//!
//! A worker gets requests if nothing speaks against it: a good answer does not overrule failing checks, nor a passing
//! check a failing score. When the last of them no longer ejects it, it returns by slow start.

use std::fmt;
use std::time::Duration;

use super::Terms;
use super::back_off::BackOff;
pub use super::back_off::TRIAL_LIMIT;
use super::checked::CheckResults;
use super::score::{Reference, SUSPECT_BELOW, Score, Tally};
use super::slow_start::Ramp;
use crate::clock::Moment;

/// The states of a worker. The words are the same in logs, metrics and the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets its whole share, or nearly.
    Healthy,
    /// It does its work worse than its siblings and gets less; or it takes connections again after a refusal, and a new
    /// refusal goes on where the last back-off stopped (ends by itself after as long as it had been left alone).
    Suspect,
    /// It refused connections, fails its checks (it gets nothing), or fails or lags far beyond its siblings (it gets a
    /// trickle), unless too many others are ejected.
    Ejected,
    /// One request at a time tries it; or it gets more and more by slow start; or it waits for its first check.
    Returning,
}

impl State {
    /// The word for people and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Ejected => "ejected",
            Self::Returning => "returning",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a worker stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// Why, in words; empty for a worker that never failed.
    pub why: String,
    /// When this state ends by itself. None: never.
    pub until: Option<Moment>,
}

/// How a worker stands, with numbers, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerHealth {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// Why, in words; empty for a worker that never failed.
    pub why: String,
    /// When this state ends by itself. None: never.
    pub until: Option<Moment>,
    /// The part of what its weight gives it that it gets, 0 to 1.
    pub share: f64,
    /// The part of its newest attempts that were bad, 0 to 1. None: too few of them.
    pub failure_share: Option<f64>,
    /// From the whole request to the head of the answer, on average of the newest attempts. None: too few of them.
    pub latency: Option<Duration>,
    /// When the newest active check ended, and how.
    pub last_check: Option<(Moment, Result<(), String>)>,
    /// How often it was ejected, since it is in the set.
    pub ejections: u64,
    /// How far slow start has gone, 0 to 1. None: it is not in slow start.
    pub slow_start: Option<f64>,
}

/// The whole of a worker's share, in the steps in which shares are counted.
pub const FULL_SHARE: u8 = 64;

/// What an ill worker still gets, so that it is seen when it is well again: one part of [`FULL_SHARE`].
pub const TRICKLE: u8 = 1;

/// What may be sent to a worker now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// So many parts of [`FULL_SHARE`] of what its weight gives it; never 0.
    Share(u8),
    /// One request, to try it: see [`Health::begin_trial`].
    Trial,
    /// It takes no connections: nothing before this moment on the monotonic clock (nanoseconds), unless every other is
    /// as bad.
    NotBefore(u64),
    /// Judged to be ill: so many parts of [`FULL_SHARE`], a trickle or nothing (0), unless too many others are ejected
    /// (`health.max_ejected`).
    Ejected(u8),
    /// It has yet to pass its first check (`required_at_start`): nothing, whatever the others do.
    Unready,
}

/// What may be sent to a worker, and how long that holds if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// What may be sent.
    pub usable: Use,
    /// From this moment on (monotonic nanoseconds) time alone may have changed it.
    pub changes_at: u64,
}

/// The health of one worker.
#[derive(Clone, Debug)]
pub struct Health {
    connection: BackOff,
    pub(super) score: Score,
    checks: CheckResults,
    ramp: Option<Ramp>,
    /// This ejection is more than one connection that was refused: the return is slow.
    deep: bool,
    ejections: u64,
}

impl Health {
    /// A worker of which nothing is known. `unready`: it gets nothing before its first good check. `ramp`: others serve
    /// already, so it starts slowly.
    pub const fn new(now: Moment, unready: bool, ramp: Option<Ramp>) -> Self {
        Self {
            connection: BackOff::new(now),
            score: Score::new(now),
            checks: CheckResults::new(now, unready),
            ramp,
            deep: false,
            ejections: 0,
        }
    }

    /// A connection was refused, or not made in time; see [`BackOff::refused`].
    pub fn refused(&mut self, terms: &Terms, now: Moment, chance: f64) {
        self.change(terms, now, |health| {
            health.connection.refused(now, chance);
        });
    }

    /// A connection was made; see [`BackOff::connected`].
    pub fn connected(&mut self, terms: &Terms, now: Moment) {
        self.change(terms, now, |health| {
            health.connection.connected(now);
        });
    }

    /// An active check ended.
    pub fn checked(&mut self, terms: &Terms, result: Result<(), String>, now: Moment) {
        self.change(terms, now, |health| {
            if result.is_ok() {
                // It made a connection, which is what a trial would show.
                health.connection.connected(now);
            }
            health.checks.checked(result, terms, now);
        });
    }

    /// Its newest outcomes are in `score`: what follows from them, against its siblings.
    pub fn judge(&mut self, terms: &Terms, reference: &Reference, total: Tally, now: Moment) {
        self.change(terms, now, |health| {
            if !terms.checked {
                health.checks.forget(now);
            } else if !terms.required_at_start {
                health.checks.waive();
            }
            if terms.passive {
                health.score.judge(reference, total, now);
            } else {
                health.score.pardon(now);
            }
        });
        let is_ready = self.checks.is_ready();
        if let Some(ramp) = self.ramp.take_if(|ramp| is_ready && ramp.is_over(now)) {
            // Shown as the time since when the worker is healthy.
            self.score.well_since(ramp.end());
        }
    }

    fn change(&mut self, terms: &Terms, now: Moment, change: impl FnOnce(&mut Self)) {
        let (was_out, was_ready) = (self.is_out(), self.checks.is_ready());
        change(self);
        let is_out = self.is_out();
        if is_out {
            self.ejections += u64::from(!was_out);
            self.deep |= self.checks.is_failing() || self.score.is_out() || self.connection.refusals() > 1;
        } else if was_out {
            if std::mem::take(&mut self.deep) {
                self.ramp = Ramp::new(now, terms.slow_start);
            }
        } else if !was_ready && self.checks.is_ready() && self.ramp.is_some() {
            self.ramp = Ramp::new(now, terms.slow_start);
        }
    }

    /// Whether anything ejects it now.
    pub const fn is_out(&self) -> bool {
        self.checks.is_failing() || self.connection.is_away() || self.score.is_out()
    }

    /// Whether its connections are what ejects it.
    pub const fn is_away(&self) -> bool {
        self.connection.is_away()
    }

    /// Whether it waits for its first good check.
    pub const fn is_unready(&self) -> bool {
        !self.checks.is_ready()
    }

    /// What may be sent to it at `now`.
    pub fn outlook(&self, now: Moment) -> Outlook {
        let for_good = |usable| Outlook { usable, changes_at: u64::MAX };
        if self.is_unready() {
            return for_good(Use::Unready);
        }
        let connection = self.connection.outlook(now);
        match connection.usable {
            Use::NotBefore(_) => return connection,
            _ if self.checks.is_failing() => return for_good(Use::Ejected(0)),
            Use::Trial => return connection,
            _ if self.score.is_out() => return for_good(Use::Ejected(TRICKLE)),
            _ => {}
        }
        let share = self.score.share();
        match &self.ramp {
            Some(ramp) if !ramp.is_over(now) => {
                let part = u16::from(share) * u16::from(ramp.share(now)) / u16::from(FULL_SHARE);
                let share = u8::try_from(part).unwrap_or(FULL_SHARE).max(TRICKLE);
                Outlook { usable: Use::Share(share), changes_at: ramp.next_step(now) }
            }
            _ => for_good(Use::Share(share)),
        }
    }

    /// The first half of [`Self::outlook`].
    pub fn usable(&self, now: Moment) -> Use {
        self.outlook(now).usable
    }

    /// Claims the one trial of a returning worker. False: it is not returning, or somebody else is trying it.
    pub fn begin_trial(&mut self, now: Moment) -> bool {
        self.usable(now) == Use::Trial && self.connection.begin_trial(now)
    }

    /// The trial that began at `begun` ended without an outcome: another may begin at once. Returns whether it was
    /// still under way.
    pub fn give_up_trial(&mut self, begun: Moment) -> bool {
        self.connection.give_up_trial(begun)
    }

    /// How it stands at `now`, for people.
    pub fn standing(&self, now: Moment) -> Standing {
        if let Some(standing) = self.checks.standing() {
            return standing;
        }
        let connection = self.connection.standing(now);
        if self.connection.is_away() {
            return connection;
        }
        let why = || self.score.why().to_owned();
        if self.score.is_out() {
            return Standing { state: State::Ejected, since: self.score.since(), why: why(), until: None };
        }
        if let Some(ramp) = self.ramp.as_ref().filter(|ramp| !ramp.is_over(now)) {
            return ramp.standing();
        }
        if self.score.share() < SUSPECT_BELOW {
            return Standing { state: State::Suspect, since: self.score.since(), why: why(), until: None };
        }
        if connection.state == State::Suspect {
            return connection;
        }
        let ended = self.ramp.as_ref().map_or(connection.since, Ramp::end);
        let since = [connection.since, self.checks.since(), self.score.since(), ended]
            .into_iter()
            .fold(connection.since, |last, next| if next.nanos > last.nanos { next } else { last });
        let why = if connection.why.is_empty() { why() } else { connection.why };
        Standing { state: State::Healthy, since, why, until: None }
    }

    /// The word for it: [`Self::standing`] without the words that follow.
    pub fn state(&self, now: Moment) -> State {
        if self.checks.is_failing() {
            State::Ejected
        } else if self.is_unready() {
            State::Returning
        } else if self.connection.is_away() {
            self.connection.state(now)
        } else if self.score.is_out() {
            State::Ejected
        } else if self.ramp.as_ref().is_some_and(|ramp| !ramp.is_over(now)) {
            State::Returning
        } else if self.score.share() < SUSPECT_BELOW {
            State::Suspect
        } else {
            self.connection.state(now)
        }
    }

    /// How it stands at `now`, with numbers, for people.
    pub fn reading(&self, now: Moment) -> WorkerHealth {
        let Standing { state, since, why, until } = self.standing(now);
        let share = match self.usable(now) {
            Use::Share(parts) | Use::Ejected(parts) => parts,
            Use::Trial | Use::NotBefore(_) | Use::Unready => 0,
        };
        let ramp = self.ramp.as_ref().filter(|ramp| !ramp.is_over(now) && !self.is_out());
        WorkerHealth {
            state,
            since,
            why,
            until,
            share: f64::from(share) / f64::from(FULL_SHARE),
            failure_share: self.score.failure_share(),
            latency: self.score.latency(),
            last_check: self.checks.last().cloned(),
            ejections: self.ejections,
            slow_start: ramp.map(|ramp| ramp.done(now)),
        }
    }
}

#[cfg(test)]
mod tests;
