//! A worker that refuses connections: a state machine without a clock of its own.
//!
//! It is left alone for a short time that doubles with every further refusal. When the time is over, one request tries
//! it (a trial); its outcome decides. What happens inside a connection (answers, times) is not judged here.

use std::time::Duration;

use super::health::{FULL_SHARE, Outlook, Standing, State, Use};
use crate::clock::Moment;

/// How long a worker is left alone after its first refusal, before jitter.
pub const FIRST_BACK_OFF: Duration = Duration::from_millis(100);

/// The longest time a worker is left alone, before jitter: reached at the eighth refusal in a row.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

/// Back-offs are stretched or shortened by up to this share, so that workers which fell together are not tried
/// together.
pub const JITTER: f64 = 0.2;

/// A trial without an outcome after this time is taken for lost: the next one may begin.
pub const TRIAL_LIMIT: Duration = Duration::from_secs(5);

/// What the connections of one worker say of it.
#[derive(Clone, Debug)]
pub struct BackOff {
    phase: Phase,
    since: Moment,
    /// Refusals without a calm time between them.
    refusals: u32,
    /// The length of the newest back-off, jitter included.
    back_off: Duration,
}

/// What is remembered. Time turns `Probation` into healthy and `Out` into returning without any event.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Healthy,
    Probation { until: Moment },
    Out { until: Moment, trial: Option<Moment> },
}

impl BackOff {
    /// A worker of which nothing bad is known.
    pub const fn new(now: Moment) -> Self {
        Self { phase: Phase::Healthy, since: now, refusals: 0, back_off: Duration::ZERO }
    }

    /// A connection was refused, or not made in time. `chance` in [0, 1) sets the jitter. Returns whether the worker
    /// may now be used differently than before.
    ///
    /// Refusals during a back-off are echoes of connections begun earlier and count for nothing.
    pub fn refused(&mut self, now: Moment, chance: f64) -> bool {
        match self.phase {
            Phase::Out { until, .. } if now.nanos < until.nanos => return false,
            Phase::Probation { until } if now.nanos >= until.nanos => self.refusals = 0,
            _ => {}
        }
        self.refusals = self.refusals.saturating_add(1);
        self.back_off = back_off(self.refusals, chance);
        self.since = now;
        self.phase = Phase::Out { until: now.plus(self.back_off), trial: None };
        true
    }

    /// A connection was made. Returns whether the worker may now be used differently than before.
    ///
    /// During a back-off it counts for nothing: a worker that has closed its port still answers over the connections
    /// that it kept, and must not come and go with each of those answers.
    pub fn connected(&mut self, now: Moment) -> bool {
        let Phase::Out { until, .. } = self.phase else { return false };
        if now.nanos < until.nanos {
            return false;
        }
        self.since = now;
        self.phase = Phase::Probation { until: now.plus(self.back_off) };
        true
    }

    /// Whether it refused, and no trial has gone well since.
    pub const fn is_away(&self) -> bool {
        matches!(self.phase, Phase::Out { .. })
    }

    /// Refusals without a calm time between them.
    pub const fn refusals(&self) -> u32 {
        self.refusals
    }

    /// What may be sent to it at `now`, as far as its connections go.
    pub fn outlook(&self, now: Moment) -> Outlook {
        let (usable, changes_at) = match self.phase {
            Phase::Healthy | Phase::Probation { .. } => (Use::Share(FULL_SHARE), u64::MAX),
            Phase::Out { until, .. } if now.nanos < until.nanos => (Use::NotBefore(until.nanos), until.nanos),
            Phase::Out { trial: Some(end), .. } if now.nanos < end.nanos => {
                (Use::NotBefore(end.nanos), end.nanos)
            }
            Phase::Out { .. } => (Use::Trial, u64::MAX),
        };
        Outlook { usable, changes_at }
    }

    /// The first half of [`Self::outlook`].
    pub fn usable(&self, now: Moment) -> Use {
        self.outlook(now).usable
    }

    /// Claims the one trial of a returning worker. False: it is not returning, or somebody else is trying it.
    pub fn begin_trial(&mut self, now: Moment) -> bool {
        if self.usable(now) != Use::Trial {
            return false;
        }
        if let Phase::Out { trial, .. } = &mut self.phase {
            *trial = Some(now.plus(TRIAL_LIMIT));
        }
        true
    }

    /// The trial that began at `begun` ended without an outcome: another may begin at once. Returns whether it was
    /// still under way.
    pub fn give_up_trial(&mut self, begun: Moment) -> bool {
        if let Phase::Out { trial, .. } = &mut self.phase
            && trial.is_some_and(|end| end.nanos == begun.plus(TRIAL_LIMIT).nanos)
        {
            *trial = None;
            return true;
        }
        false
    }

    /// How it stands at `now`, for people.
    pub fn standing(&self, now: Moment) -> Standing {
        let state = self.state(now);
        let (since, until) = match (self.phase, state) {
            (Phase::Healthy, _) => (self.since, None),
            (Phase::Probation { until }, State::Suspect) | (Phase::Out { until, .. }, State::Ejected) => {
                (self.since, Some(until))
            }
            (Phase::Probation { until }, _) => (until, None),
            (Phase::Out { until, trial }, _) => (until, trial.filter(|end| now.nanos < end.nanos)),
        };
        Standing { state, since, why: self.why(state), until }
    }

    /// The word for it.
    pub const fn state(&self, now: Moment) -> State {
        match self.phase {
            Phase::Probation { until } if now.nanos < until.nanos => State::Suspect,
            Phase::Healthy | Phase::Probation { .. } => State::Healthy,
            Phase::Out { until, .. } if now.nanos < until.nanos => State::Ejected,
            Phase::Out { .. } => State::Returning,
        }
    }

    fn why(&self, state: State) -> String {
        let times = match self.refusals {
            1 => "1 connection failed".to_owned(),
            n => format!("{n} connections in a row failed"),
        };
        let left_alone = format!("left alone for {} ms", self.back_off.as_millis());
        match state {
            State::Healthy if self.refusals == 0 => String::new(),
            State::Healthy => format!("takes connections again; before, {times}"),
            State::Suspect => format!("takes connections again; just before, {times}"),
            State::Ejected => format!("{times}; {left_alone}"),
            State::Returning => format!("{times}; was {left_alone}; one request at a time tries it"),
        }
    }
}

fn back_off(refusals: u32, chance: f64) -> Duration {
    let doublings = refusals.saturating_sub(1).min(16);
    let plain = FIRST_BACK_OFF.saturating_mul(1 << doublings).min(LONGEST_BACK_OFF);
    plain.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIDDLE: f64 = 0.5;

    fn at(millis: u64) -> Moment {
        Moment::at(1_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn a_refusal_ejects_for_a_tenth_of_a_second() {
        let mut health = BackOff::new(at(0));
        assert_eq!(health.usable(at(0)), Use::Share(FULL_SHARE));
        assert!(health.refused(at(0), MIDDLE));
        assert_eq!(health.standing(at(99)).state, State::Ejected);
        assert_eq!(health.standing(at(99)).until, Some(at(100)));
        assert_eq!(health.usable(at(99)), Use::NotBefore(at(100).nanos));
        assert_eq!(health.standing(at(100)).state, State::Returning);
        assert_eq!(health.usable(at(100)), Use::Trial);
    }

    #[test]
    fn each_failed_trial_doubles_the_time_up_to_ten_seconds() {
        let mut health = BackOff::new(at(0));
        let mut now = at(0);
        let mut lengths = Vec::new();
        for _ in 0..10 {
            assert!(health.refused(now, MIDDLE));
            let until = health.standing(now).until.unwrap();
            lengths.push(until.since(now).as_millis());
            now = until;
            assert!(health.begin_trial(now));
        }
        assert_eq!(lengths, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn refusals_that_arrive_together_count_once() {
        let mut health = BackOff::new(at(0));
        assert!(health.refused(at(0), MIDDLE));
        for late in 1..100 {
            assert!(!health.refused(at(late), MIDDLE));
        }
        assert_eq!(health.standing(at(50)).until, Some(at(100)));
    }

    #[test]
    fn one_trial_at_a_time() {
        let mut health = BackOff::new(at(0));
        assert!(!health.begin_trial(at(0)), "a healthy worker needs no trial");
        health.refused(at(0), MIDDLE);
        assert!(!health.begin_trial(at(50)), "its back-off still runs");
        assert!(health.begin_trial(at(100)));
        assert!(!health.begin_trial(at(100)), "somebody is trying it");
        assert_eq!(health.usable(at(101)), Use::NotBefore(at(5_100).nanos));
    }

    #[test]
    fn a_lost_trial_blocks_nobody_for_ever() {
        let mut health = BackOff::new(at(0));
        health.refused(at(0), MIDDLE);
        assert!(health.begin_trial(at(100)));
        assert!(!health.begin_trial(at(5_099)));
        assert!(health.begin_trial(at(5_100)));
    }

    #[test]
    fn a_good_trial_gives_the_whole_share_back_at_once() {
        let mut health = BackOff::new(at(0));
        health.refused(at(0), MIDDLE);
        health.begin_trial(at(100));
        assert!(health.connected(at(101)));
        assert_eq!(health.usable(at(101)), Use::Share(FULL_SHARE));
        assert_eq!(health.standing(at(101)).state, State::Suspect);
        assert_eq!(health.standing(at(201)).state, State::Healthy);
        assert_eq!(health.standing(at(201)).since, at(201));
        assert!(!health.connected(at(300)), "further connections change nothing");
    }

    #[test]
    fn a_worker_that_flaps_is_left_alone_longer_and_a_calm_one_starts_anew() {
        let mut flapping = BackOff::new(at(0));
        flapping.refused(at(0), MIDDLE);
        flapping.connected(at(100));
        flapping.refused(at(150), MIDDLE);
        assert_eq!(flapping.standing(at(150)).until, Some(at(350)));

        let mut calm = BackOff::new(at(0));
        calm.refused(at(0), MIDDLE);
        calm.connected(at(100));
        calm.refused(at(200), MIDDLE);
        assert_eq!(calm.standing(at(200)).until, Some(at(300)));
    }

    #[test]
    fn an_answer_over_a_kept_connection_does_not_end_a_back_off() {
        let mut health = BackOff::new(at(0));
        health.refused(at(0), MIDDLE);
        assert!(!health.connected(at(10)));
        assert_eq!(health.usable(at(10)), Use::NotBefore(at(100).nanos));
    }

    #[test]
    fn people_are_told_why() {
        let mut health = BackOff::new(at(0));
        assert_eq!(health.standing(at(0)).why, "");
        health.refused(at(0), MIDDLE);
        assert_eq!(health.standing(at(0)).why, "1 connection failed; left alone for 100 ms");
        health.refused(at(100), MIDDLE);
        assert_eq!(health.standing(at(100)).why, "2 connections in a row failed; left alone for 200 ms");
    }

    proptest! {
        #[test]
        fn a_back_off_is_within_a_fifth_of_its_length(refusals in 1_u32.., chance in 0.0_f64..1.0) {
            let length = back_off(refusals, chance).as_secs_f64();
            let plain = (0.1 * 2_f64.powi(i32::try_from(refusals.min(20)).unwrap() - 1)).min(10.0);
            prop_assert!(length >= plain * 0.799 && length <= plain * 1.201, "{length} for {plain}");
        }

        #[test]
        fn whatever_happens_a_worker_can_be_used_again(
            events in prop::collection::vec((0_u8..3, 0_u64..20_000), 1..60),
        ) {
            let mut health = BackOff::new(at(0));
            let mut now = 0;
            for (event, wait) in events {
                now += wait;
                match event {
                    0 => { health.refused(at(now), MIDDLE); }
                    1 => { health.connected(at(now)); }
                    _ => { health.begin_trial(at(now)); }
                }
            }
            // The longest back-off with its jitter, and the trial limit.
            let later = at(now + 12_000 + 5_000);
            prop_assert!(!matches!(health.usable(later), Use::NotBefore(_)));
        }
    }
}
