//! The score of one worker: what an answer says of it, how its outcomes are remembered, and what they make of its share
//! against its siblings. When that is looked at, and who the siblings are, stands in `judge.rs`.
//!
//! - *Smoothly*: failures and times over about the window of `tally.rs` lessen the share (`share`). What all workers
//!   do alike lessens nobody's.
//! - *At once*: a run of failures that siblings, as they did during that run, would hardly ever have (`Run`), or a
//!   silence while they answer, or a share that has shrunk to nothing, ejects the worker: it gets a trickle and its
//!   past is forgotten.
//! - *Back*: `GOOD_TO_RETURN` outcomes in a row that are good and in time, or a long time without any outcome. Slow
//!   start bounds what a mistake costs, and a shorter run ejects it again until it has proved itself.

use std::time::Duration;

use http::StatusCode;

use super::health::{FULL_SHARE, TRICKLE};
use super::tally::{Look, Sums};
use crate::clock::Moment;

pub use super::tally::{Reference, Tally};

/// Successes are worth their share of the siblings' to this power: 10 % more failures cost a third of the share, 30 %
/// three quarters.
const STEEPNESS: i32 = 4;

/// Failures count beyond so many standard deviations of what the siblings' rate would give, and one: a share of 64 in
/// 64 must not tremble when all fail alike. The window is exponential, so that this is really 2.8 of them.
const NOISE: f64 = 2.0;

/// Below this share (90 % of [`FULL_SHARE`]) a worker is suspect.
pub const SUSPECT_BELOW: u8 = 58;

/// A share is changed only by at least this part of itself: each change is a reason for every shard to lay out its
/// turns anew.
const HYSTERESIS: u8 = 8;

/// So many failures in a row at least eject a worker: fewer happen to one that fails a third of its requests, which
/// shall get less, not nothing.
const RUN: u64 = 8;

/// So many eject it again after it returned, before it has proved itself.
const RUN_AGAIN: u64 = 3;

/// A run counts if it is so unlikely for the siblings: e to this power, for each failure that is asked for. A run of
/// [`RUN`] has to be one in a million.
const SURPRISE: f64 = 1.75;

/// So many outcomes of siblings during the run must be known.
const SIBLINGS_SEEN: u64 = 5;

/// So many good outcomes in a row, in time, bring an ejected worker back: three seconds of trickle at a hundred
/// requests a second.
const GOOD_TO_RETURN: u64 = 3;

/// So many good outcomes after its return prove that a worker is well.
const PROOF: u64 = 10;

/// An ejected worker without any outcome for so long is tried by slow start, since a trickle of little is nothing.
/// Twice as long each time, up to 16 times, until it has proved itself.
const QUIET: Duration = Duration::from_secs(10);

/// What the end of an attempt says of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does its work, whatever it thinks of the request.
    Good,
    /// It is ill or overloaded.
    Bad,
}

/// What an answer with this status says of the worker: 500, 502, 503 and 504 are bad. 501 and 505 tell what the worker
/// was built for, and 4xx what the client did: both are good, since they were answered.
pub fn verdict(status: StatusCode) -> Verdict {
    match status.as_u16() {
        500 | 502..=504 => Verdict::Bad,
        _ => Verdict::Good,
    }
}

/// The score of one worker.
#[derive(Clone, Debug)]
pub struct Score {
    sums: Sums,
    /// What it has done, as far as it was looked at.
    own: Tally,
    run: Run,
    silence: Silence,
    ejected: Option<Ejected>,
    /// Ejections without a proof of health between them.
    ejections: u32,
    /// Good outcomes since the last return. [`PROOF`] of them make up for the past.
    proof: u64,
    share: u8,
    since: Moment,
    why: String,
}

/// Failures without a success between them, as far as one look at the counts can tell.
#[derive(Clone, Copy, Debug)]
struct Run {
    length: u64,
    /// When it began.
    began: Mark,
    /// What all had done at its newest failure: what siblings did since says nothing of that time. None: that failure
    /// is so new that it is not yet known.
    ended: Option<Tally>,
}

/// What had been done at some moment: from there on the siblings' outcomes are counted.
#[derive(Clone, Copy, Debug)]
struct Mark {
    total: Tally,
    own: Tally,
}

/// The time without an answer although something waits.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Moment,
    began: Mark,
    /// Answers in a second before.
    rate: f64,
}

#[derive(Clone, Copy, Debug)]
struct Ejected {
    /// Good outcomes in a row, in time.
    good: u64,
    /// When the last outcome was seen.
    last: Moment,
}

impl Score {
    /// Nothing known.
    pub const fn new(now: Moment) -> Self {
        Self {
            sums: Sums::NONE,
            own: Tally { good: 0, bad: 0 },
            run: Run::NONE,
            silence: Silence { since: now, began: Mark::NONE, rate: 0.0 },
            ejected: None,
            ejections: 0,
            proof: PROOF,
            share: FULL_SHARE,
            since: now,
            why: String::new(),
        }
    }

    /// Takes the counts as they are now; `passed` since the last look, when all workers together had done `total` and
    /// were like `reference`. Returns what is new.
    pub fn look(
        &mut self,
        look: Look,
        passed: Duration,
        (reference, total): (&Reference, Tally),
        now: Moment,
    ) -> Tally {
        let news = self.sums.look(look, passed, reference);
        let Tally { good, bad } = news.outcomes;
        // Both without what is new: the siblings' outcomes of this look count, and its own are known.
        let mark = Mark { total, own: self.own };
        self.own = self.own.plus(news.outcomes);
        if news.answers > 0 || !self.sums.is_anything_waiting() {
            self.silence = Silence { since: now, began: mark, rate: self.sums.rate() };
        }
        if good > 0 {
            // Of failures and successes in any order, so many are behind the last success on average.
            self.run = Run { length: bad / (good + 1), began: mark, ended: None };
        } else if bad > 0 {
            let began = if self.run.length == 0 { mark } else { self.run.began };
            self.run = Run { length: self.run.length.saturating_add(bad), began, ended: None };
        }
        if let Some(ejected) = &mut self.ejected
            && good + bad > 0
        {
            ejected.last = now;
            ejected.good = if bad == 0 && news.in_time { ejected.good.saturating_add(good) } else { 0 };
        } else if self.ejected.is_none() && self.proof < PROOF {
            self.proof += good;
            self.ejections = if self.proof < PROOF { self.ejections } else { 0 };
        }
        news.outcomes
    }

    /// What the outcomes make of it now, against its siblings.
    pub fn judge(&mut self, reference: &Reference, total: Tally, now: Moment) {
        if let Some(ejected) = self.ejected {
            let quiet = QUIET * (1 << self.ejections.saturating_sub(1).min(4));
            let is_quiet = now.since(ejected.last) >= quiet && !self.sums.is_anything_waiting();
            if ejected.good >= GOOD_TO_RETURN || is_quiet {
                self.come_back(now);
            }
            return;
        }
        if let Some(why) = self.unlikely_run(total).or_else(|| self.hangs(reference, total, now)) {
            return self.eject(why, now);
        }
        let share = share(&self.sums, reference);
        if share <= TRICKLE {
            return self.eject(self.sums.told(reference), now);
        }
        let moved = share.abs_diff(self.share);
        if moved > 0 && (share == FULL_SHARE || moved >= (self.share / HYSTERESIS).max(1)) {
            let was_suspect = self.share < SUSPECT_BELOW;
            self.share = share;
            if share < SUSPECT_BELOW {
                self.why = self.sums.told(reference);
            } else if was_suspect {
                "does as well as its siblings again".clone_into(&mut self.why);
            }
            if was_suspect != (share < SUSPECT_BELOW) {
                self.since = now;
            }
        }
    }

    /// Scores do not count (`passive: false`): it gets its whole share.
    pub fn pardon(&mut self, now: Moment) {
        if self.ejected.is_some() || self.share != FULL_SHARE {
            let sums = self.sums.cleared();
            *self = Self { sums, own: self.own, ..Self::new(now) };
        }
    }

    /// Slow start ended: what was before is over.
    pub fn well_since(&mut self, now: Moment) {
        if self.ejected.is_none() && self.share == FULL_SHARE {
            self.since = now;
        }
    }

    /// Whether it is ejected, but for a trickle.
    pub const fn is_out(&self) -> bool {
        self.ejected.is_some()
    }

    /// Its share, [`TRICKLE`] to [`FULL_SHARE`].
    pub const fn share(&self) -> u8 {
        if self.is_out() { TRICKLE } else { self.share }
    }

    /// Since when it is as it is: healthy, suspect or ejected.
    pub const fn since(&self) -> Moment {
        self.since
    }

    /// Why, in words.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The part of its newest attempts that were bad. None: too few of them.
    pub fn failure_share(&self) -> Option<f64> {
        self.sums.success().map(|success| 1.0 - success)
    }

    /// How long its answers take. None: too few of them.
    pub fn latency(&self) -> Option<Duration> {
        self.sums.latency().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// What siblings are compared with: the part that was good, and the seconds to an answer; none if it is ejected,
    /// or too little is known.
    pub fn evidence(&self, reference: &Reference) -> (Option<f64>, Option<f64>) {
        if self.is_out() { (None, None) } else { (self.sums.success(), self.sums.comparable(reference)) }
    }

    /// Why the run of failures ejects it, if it does.
    fn unlikely_run(&mut self, total: Tally) -> Option<String> {
        let total = *self.run.ended.get_or_insert(total);
        let length = self.run.length;
        let needed = if self.proof < PROOF { RUN_AGAIN } else { RUN };
        let Tally { good, bad } = self.run.began.siblings(total, self.own);
        if length < needed || good.saturating_add(bad) < SIBLINGS_SEEN {
            return None;
        }
        let failing = (bad as f64 + 1.0) / (good as f64 + bad as f64 + 2.0);
        (-failing.ln() * length as f64 >= SURPRISE * needed as f64).then(|| {
            format!(
                "{length} requests in a row failed; of its siblings' {bad} of {}",
                good.saturating_add(bad)
            )
        })
    }

    /// Why its silence ejects it, if it does: the mean of its times still holds what it did before.
    fn hangs(&self, reference: &Reference, total: Tally, now: Moment) -> Option<String> {
        let silent = now.since(self.silence.since);
        let Tally { good, bad } = self.silence.began.siblings(total, self.own);
        let siblings = good.saturating_add(bad);
        let hangs = self.sums.hangs(silent, siblings, self.silence.rate, reference);
        hangs.then(|| format!("no answer for {:.1} s; its siblings gave {siblings}", silent.as_secs_f64()))
    }

    fn eject(&mut self, why: String, now: Moment) {
        self.ejected = Some(Ejected { good: 0, last: now });
        self.ejections = self.ejections.saturating_add(1);
        self.start_anew(why, now);
    }

    fn come_back(&mut self, now: Moment) {
        self.ejected = None;
        self.proof = 0;
        self.start_anew("was ejected; its newest requests went well, or there were none".to_owned(), now);
    }

    fn start_anew(&mut self, why: String, now: Moment) {
        (self.why, self.since, self.share) = (why, now, FULL_SHARE);
        self.sums = self.sums.cleared();
        self.run = Run::NONE;
    }
}

impl Run {
    const NONE: Self = Self { length: 0, began: Mark::NONE, ended: None };
}

impl Mark {
    const NONE: Self = Self { total: Tally { good: 0, bad: 0 }, own: Tally { good: 0, bad: 0 } };

    /// What the siblings of a worker have done since, if all and it have done this.
    const fn siblings(&self, total: Tally, own: Tally) -> Tally {
        Tally {
            good: total
                .good
                .wrapping_sub(self.total.good)
                .saturating_sub(own.good.wrapping_sub(self.own.good)),
            bad: total.bad.wrapping_sub(self.total.bad).saturating_sub(own.bad.wrapping_sub(self.own.bad)),
        }
    }
}

/// The share of a worker with these sums among siblings like `reference`, [`TRICKLE`] to [`FULL_SHARE`].
fn share(sums: &Sums, reference: &Reference) -> u8 {
    let parts = f64::from(FULL_SHARE) * success_factor(sums, reference) * sums.speed(reference).powi(2);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 64, and a cast saturates"
    )]
    let parts = parts.round() as u8;
    parts.clamp(TRICKLE, FULL_SHARE)
}

/// What failures beyond those of the siblings leave of a share, 0 to 1: (own successes / what the siblings would have
/// had) to the power of [`STEEPNESS`], with the benefit of the doubt.
fn success_factor(sums: &Sums, reference: &Reference) -> f64 {
    let Some(failing) = reference.success.map(|success| 1.0 - success) else { return 1.0 };
    let (outcomes, bad) = sums.outcomes();
    let expected = failing * outcomes;
    let noise = NOISE * expected.mul_add(1.0 - failing, 1.0).sqrt();
    let excess = bad - expected - noise;
    let hoped = outcomes - expected;
    if excess <= 0.0 || hoped <= 0.0 {
        return 1.0;
    }
    (1.0 - excess / hoped).clamp(0.0, 1.0).powi(STEEPNESS)
}

#[cfg(test)]
mod tests;
