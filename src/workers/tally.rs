//! How a worker's outcomes and times are remembered: differences of its counts, in sums that fade. Plain arithmetic;
//! what follows from the sums stands in `score.rs`.

use std::time::Duration;

/// The time constant with which the past fades: long enough for a few hundred outcomes, short enough that a worker is
/// not held to what it did half a minute ago.
pub const WINDOW: Duration = Duration::from_secs(5);

/// Fewer outcomes (faded) than this say nothing about a worker as a sibling of others.
const FEWEST: f64 = 5.0;

/// A worker may be so much slower than its siblings before it counts: twice as slow, and 5 ms, since differences
/// below that are of the network and of chance.
const SLOWER: f64 = 2.0;
const SLOWER_BY: f64 = 0.005;

/// So many answers in the siblings' time are imagined: a single slow request of a quiet worker means nothing.
const IMAGINED: f64 = 32.0;

/// A single time counts for at most so many times the bound: together with [`IMAGINED`] one is never enough.
const CLIP: f64 = 16.0;

/// A time beyond the bound counts as far as it is more than so many standard errors beyond it: some requests wait long
/// at any worker (long polls, streams without a first message), at one more of them and at another fewer.
const DOUBT: f64 = 2.0;

/// Without an answer for so long, and for [`CLIP`] times the bound, a worker hangs, if it should have answered
/// [`MISSED`] requests by then, siblings have ended [`BUSY`], and [`HELD`] wait at it.
const SILENT: Duration = Duration::from_secs(1);
const MISSED: f64 = 16.0;
const BUSY: u64 = 20;
const HELD: u64 = 2;

/// Between two looks at the counts waiting is taken for constant, for so long at most: nobody looks at an idle service.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// What a worker's counts say, summed over shards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// `WorkerCounts::good` and `bad`.
    pub outcomes: Tally,
    /// `WorkerCounts::waiting`.
    pub waiting: u64,
    /// `WorkerCounts::waited`.
    pub waited: u64,
    /// `WorkerCounts::waited_nanos`.
    pub waited_nanos: u64,
}

/// Outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Good ones.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
}

/// What workers are compared with: the middle one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reference {
    /// The part of its attempts that is good, 0 to 1. None: too few workers are known well enough.
    pub success: Option<f64>,
    /// Seconds to an answer. None: as above.
    pub latency: Option<f64>,
}

/// What is new since the last look.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// Outcomes.
    pub outcomes: Tally,
    /// Answers.
    pub answers: u64,
    /// The answers took no longer than siblings may take.
    pub in_time: bool,
}

/// Faded sums of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    seen: Look,
    good: f64,
    bad: f64,
    /// Answers, and the seconds that they took, each at most [`CLIP`] times the bound.
    waited: f64,
    waited_seconds: f64,
    /// Of each look the square of those seconds by the number of answers: how much the times differ.
    squares: f64,
    /// Seconds that those have waited which wait still: what waiting adds up to (Little's law), less what ended. So a
    /// worker that hangs is seen before any of its requests has ended.
    pending_seconds: f64,
}

impl Tally {
    /// Both, added up.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { good: self.good.wrapping_add(other.good), bad: self.bad.wrapping_add(other.bad) }
    }
}

impl Reference {
    /// Seconds that a worker may take without losing share.
    pub fn bound(&self) -> Option<f64> {
        self.latency.map(|median| SLOWER.mul_add(median, SLOWER_BY))
    }
}

impl Sums {
    /// Nothing seen.
    pub const NONE: Self = Self {
        seen: Look { outcomes: Tally { good: 0, bad: 0 }, waiting: 0, waited: 0, waited_nanos: 0 },
        good: 0.0,
        bad: 0.0,
        waited: 0.0,
        waited_seconds: 0.0,
        squares: 0.0,
        pending_seconds: 0.0,
    };

    /// Takes the counts as they are now, `passed` after the last look.
    pub fn look(&mut self, look: Look, passed: Duration, reference: &Reference) -> News {
        let seen = std::mem::replace(&mut self.seen, look);
        let good = since(look.outcomes.good, seen.outcomes.good);
        let bad = since(look.outcomes.bad, seen.outcomes.bad);
        let answers = since(look.waited, seen.waited);
        let waited = answers as f64;
        let seconds = since(look.waited_nanos, seen.waited_nanos) as f64 / 1e9;
        let bound = reference.bound();

        let kept = (-passed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        self.good = self.good.mul_add(kept, good as f64);
        self.bad = self.bad.mul_add(kept, bad as f64);
        self.waited = self.waited.mul_add(kept, waited);
        let counted = bound.map_or(seconds, |bound| seconds.min(CLIP * bound * waited));
        self.waited_seconds = self.waited_seconds.mul_add(kept, counted);
        let square = if answers > 0 { counted * counted / waited } else { 0.0 };
        self.squares = self.squares.mul_add(kept, square);
        let waiting = f64::midpoint(look.waiting as f64, seen.waiting as f64);
        let step = passed.min(LONGEST_STEP).as_secs_f64();
        let pending = waiting.mul_add(step, self.pending_seconds * kept) - seconds;
        self.pending_seconds = if look.waiting == 0 { 0.0 } else { pending.max(0.0) };

        let in_time = bound.is_none_or(|bound| seconds <= bound * waited);
        News { outcomes: Tally { good, bad }, answers, in_time }
    }

    /// The same counts seen, and nothing remembered.
    #[must_use]
    pub const fn cleared(&self) -> Self {
        Self { seen: self.seen, ..Self::NONE }
    }

    /// Attempts with an outcome, and the bad ones of them.
    pub const fn outcomes(&self) -> (f64, f64) {
        (self.good + self.bad, self.bad)
    }

    /// The part of attempts that was good. None: too few of them.
    pub fn success(&self) -> Option<f64> {
        let outcomes = self.good + self.bad;
        (outcomes >= FEWEST).then(|| self.good / outcomes)
    }

    /// Seconds to an answer. None: too few of them.
    pub fn latency(&self) -> Option<f64> {
        (self.waited >= FEWEST).then(|| self.waited_seconds / self.waited)
    }

    /// Seconds to an answer for siblings to be compared with: those that wait are counted as they are in the
    /// comparison. None: too few.
    pub fn comparable(&self, reference: &Reference) -> Option<f64> {
        let (pending, waiting) = self.pending(reference.bound().unwrap_or(f64::INFINITY));
        (self.waited >= FEWEST).then(|| (self.waited_seconds + pending) / (self.waited + waiting))
    }

    /// Answers in a second, of late.
    pub fn rate(&self) -> f64 {
        self.waited / WINDOW.as_secs_f64()
    }

    /// Whether a worker hangs that gave no answer for `silent`, while siblings ended `siblings` attempts and it
    /// answered `rate` requests a second before.
    pub fn hangs(&self, silent: Duration, siblings: u64, rate: f64, reference: &Reference) -> bool {
        let Some(bound) = reference.bound() else { return false };
        let seconds = silent.as_secs_f64();
        self.seen.waiting >= HELD
            && siblings >= BUSY
            && silent > SILENT
            && seconds > CLIP * bound
            && rate * seconds >= MISSED
    }

    /// Whether anything waits for an answer.
    pub const fn is_anything_waiting(&self) -> bool {
        self.seen.waiting > 0
    }

    /// The time that siblings may take, as a part of the time that this one takes; at most 1.
    pub fn speed(&self, reference: &Reference) -> f64 {
        match (reference.bound(), self.compared(reference)) {
            (Some(bound), Some(seconds)) if seconds > bound => bound / seconds,
            _ => 1.0,
        }
    }

    /// Why its share is less, in words: the worse of failures and times.
    pub fn told(&self, reference: &Reference) -> String {
        let success = self.success().unwrap_or(1.0);
        let usual = reference.success.unwrap_or(1.0);
        if let (Some(seconds), Some(median)) = (self.compared(reference), reference.latency)
            && self.speed(reference) < success / usual.max(f64::MIN_POSITIVE)
        {
            return format!("{} to an answer, its siblings {}", time(seconds), time(median));
        }
        let percent = |part: f64| (100.0 * (1.0 - part)).round();
        format!("fails {} % of its requests, its siblings {} %", percent(success), percent(usual))
    }

    /// Seconds to an answer, those that wait included, tempered by imagined answers in the siblings' time and by how
    /// much the times differ.
    fn compared(&self, reference: &Reference) -> Option<f64> {
        let (median, bound) = (reference.latency?, reference.bound()?);
        let (pending, waiting) = self.pending(bound);
        let (seconds, answers) = (self.waited_seconds + pending, self.waited + waiting);
        let mut squares = self.squares;
        if waiting > 0.0 {
            squares += pending * pending / waiting;
        }
        let variance = if answers > 0.0 { squares - seconds * seconds / answers } else { 0.0 };
        let doubt = DOUBT * variance.max(0.0).sqrt();
        Some((IMAGINED.mul_add(median, seconds) - doubt) / (answers + IMAGINED))
    }

    /// Seconds that those have waited which wait still, each at most [`CLIP`] times the bound, and their number.
    fn pending(&self, bound: f64) -> (f64, f64) {
        if self.pending_seconds <= 0.0 || self.seen.waiting == 0 {
            return (0.0, 0.0);
        }
        let waiting = self.seen.waiting as f64;
        (self.pending_seconds.min(waiting * CLIP * bound), waiting)
    }
}

/// How much a count grew. One that seems to have shrunk was read while it changed: nothing.
const fn since(now: u64, then: u64) -> u64 {
    let grown = now.wrapping_sub(then);
    if grown > u64::MAX / 2 { 0 } else { grown }
}

fn time(seconds: f64) -> String {
    if seconds < 0.010 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 10.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.0} s")
    }
}
