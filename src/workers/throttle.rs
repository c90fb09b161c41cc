//! How many requests a service that fails is asked: client-side throttling after "Site Reliability Engineering"
//! (Google, 2016), chapter 21, with one difference. There, requests that were rejected here count like failures; with
//! failures that strike at random that feeds on itself, until 10 % success has become none. Here only requests count
//! that were tried: 30 % failures reject nothing, and a service that is down gets a trickle.
//!
//! Whose requests fail matters: a caller who asks only for what never works would otherwise have everybody refused.
//! Callers are counted in [`GROUPS`] groups, by a keyed hash, and the worst quarter of the groups has no voice in what
//! holds for the others; for itself it has.

use std::time::Duration;

use crate::shard::{Count, PerShard};

/// The time constant of the window: short enough that a service which recovers is asked in full within a second,
/// however long it was ill. That takes half the window at worst (an outage of three windows, any rate), and what the
/// first answers and judgements take on top.
const WINDOW: Duration = Duration::from_millis(1_500);

/// So many requests are let through for each that goes well (K of the book): nothing is rejected while at least half
/// of them do.
const TRIED_FOR_EACH_GOOD: f64 = 2.0;

/// So many good requests are imagined (P): a few failures of a service with little traffic mean nothing.
const IMAGINED: f64 = 5.0;

/// Groups of callers. Two callers of the same group share their fate with a chance of one in so many.
pub const GROUPS: usize = 32;

/// The worst of so many groups, each, is not heard about the others.
const UNHEARD_OF: usize = 4;

/// A group with fewer requests than this in the window is not there.
const PRESENT: f64 = 0.5;

/// Never less than this: somebody has to find out that the service is well again.
const LEAST: f64 = 0.01;

/// How the newest requests of a service went, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleReading {
    /// Requests that went to workers, in the window.
    pub requests: f64,
    /// Those of them that went well.
    pub good: f64,
    /// The part of new requests, of all callers together, that may go on to the workers, 0.01 to 1.
    pub acceptance: f64,
}

/// The group of a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerGroup(u8);

impl CallerGroup {
    /// The group of the caller with this keyed hash (`admit::caller::Caller::hash`), which nobody outside can choose.
    pub const fn of(hash: u64) -> Self {
        Self((hash % GROUPS as u64) as u8)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0) % GROUPS
    }
}

/// What became of a service's requests, on one shard, by group of callers: of those requests that say something of the
/// workers.
#[derive(Debug, Default)]
pub struct RequestCounts([GroupCounts; GROUPS]);

/// The same of one group.
#[derive(Debug, Default)]
pub struct GroupCounts {
    /// A worker answered, and that it is overloaded was not the answer.
    pub good: Count,
    /// No worker answered, or with 502, 503 or 504.
    pub bad: Count,
}

impl RequestCounts {
    /// The counts of this group.
    pub fn of(&self, group: CallerGroup) -> &GroupCounts {
        &self.0[group.index()]
    }
}

/// What became of requests since the start, as it was at the last look.
type Seen = (u64, u64);

/// The decayed counts of a service, and what follows from them.
#[derive(Debug, Default)]
pub struct Throttle {
    groups: [Newest; GROUPS],
    seen: [Seen; GROUPS],
    total: Newest,
    /// The places of the groups that are there, the worst first. Kept for its room.
    present: Vec<usize>,
}

/// Decayed counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Newest {
    requests: f64,
    good: f64,
}

impl Throttle {
    /// Looks at the counts, the last look being `passed` ago.
    pub fn look(&mut self, counts: &PerShard<RequestCounts>, passed: Duration) {
        for (index, seen) in self.seen.iter_mut().enumerate() {
            let now = (counts.sum(|counts| &counts.0[index].good), counts.sum(|counts| &counts.0[index].bad));
            let before = std::mem::replace(seen, now);
            self.groups[index].note(now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1), passed);
        }
    }

    /// The part of new requests that may go on to the workers, 0.01 to 1, for the service as a whole; and, to
    /// `of_group`, that of each group.
    pub fn decide(&mut self, mut of_group: impl FnMut(CallerGroup, f64)) -> f64 {
        let groups = &self.groups;
        self.present.clear();
        self.present.extend((0..GROUPS).filter(|index| groups[*index].requests >= PRESENT));
        let failed = |index: &usize| groups[*index].requests - groups[*index].good;
        self.present.sort_by(|a, b| failed(b).total_cmp(&failed(a)));
        // A group that is alone is the service.
        let unheard = if self.present.len() > 1 { self.present.len().div_ceil(UNHEARD_OF) } else { 0 };
        let sum =
            |indices: &[usize]| indices.iter().fold(Newest::default(), |sum, index| sum.plus(groups[*index]));
        self.total = sum(&self.present);
        let heard = sum(self.present.get(unheard..).unwrap_or_default()).acceptance();
        for (index, group) in groups.iter().enumerate() {
            let alone = self.present.iter().take(unheard).any(|worst| *worst == index);
            let own = if alone { group.acceptance() } else { 1.0 };
            of_group(CallerGroup(index as u8), own.min(heard));
        }
        heard
    }

    /// The counts, for people; `of_group` is the part of each group's requests that may go on. The part of all of them
    /// is that of each weighed by what it wants: of a group that is held to a tenth, ten times what went on.
    pub fn reading(&self, of_group: impl Fn(CallerGroup) -> f64) -> ThrottleReading {
        let wanted =
            |index: &usize| self.groups[*index].requests / of_group(CallerGroup(*index as u8)).max(LEAST);
        let wanted: f64 = self.present.iter().map(wanted).sum();
        let Newest { requests, good } = self.total;
        let acceptance = if wanted > 0.0 { (requests / wanted).clamp(LEAST, 1.0) } else { 1.0 };
        ThrottleReading { requests, good, acceptance }
    }
}

impl Newest {
    fn note(&mut self, good: u64, bad: u64, passed: Duration) {
        let kept = (-passed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        self.good = self.good.mul_add(kept, good as f64);
        self.requests = self.requests.mul_add(kept, good as f64 + bad as f64);
    }

    fn plus(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, good: self.good + other.good }
    }

    fn acceptance(&self) -> f64 {
        let acceptance = TRIED_FOR_EACH_GOOD * (self.good + IMAGINED) / (self.requests + IMAGINED);
        acceptance.clamp(LEAST, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shard::ShardId;

    const STEP: Duration = Duration::from_millis(50);

    /// `seconds` at 1000 requests a second offered, of which `failing` of each hundred fail.
    fn run(throttle: &mut Newest, seconds: f64, failing: f64) {
        let mut owed = (0.0, 0.0);
        let mut gone = 0.0;
        while gone < seconds {
            let tried = 50.0 * throttle.acceptance();
            owed = (owed.0 + tried * (1.0 - failing / 100.0), owed.1 + tried * failing / 100.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, not negative")]
            let whole = (owed.0 as u64, owed.1 as u64);
            owed = (owed.0 - whole.0 as f64, owed.1 - whole.1 as f64);
            throttle.note(whole.0, whole.1, STEP);
            gone += STEP.as_secs_f64();
        }
    }

    #[test]
    fn a_third_of_failures_rejects_nothing() {
        let mut throttle = Newest::default();
        run(&mut throttle, 60.0, 30.0);
        assert!((throttle.acceptance() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn most_failures_still_let_their_part_through() {
        let mut throttle = Newest::default();
        run(&mut throttle, 60.0, 90.0);
        assert!((0.15..0.3).contains(&throttle.acceptance()), "{}", throttle.acceptance());
    }

    #[test]
    fn a_service_that_is_down_gets_a_trickle_and_all_of_it_a_second_after_it_is_back() {
        let mut throttle = Newest::default();
        run(&mut throttle, 10.0, 0.0);
        run(&mut throttle, 60.0, 100.0);
        assert!(throttle.acceptance() < 0.1, "{}", throttle.acceptance());
        run(&mut throttle, 1.0, 0.0);
        assert!((throttle.acceptance() - 1.0).abs() < 1e-9, "{}", throttle.acceptance());
    }

    #[test]
    fn a_few_failures_of_a_quiet_service_reject_nothing() {
        let mut throttle = Newest::default();
        throttle.note(0, 5, STEP);
        assert!((throttle.acceptance() - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_more_failures_never_let_more_through(
            steps in prop::collection::vec((0_u64..100_000, 0_u64..100_000, 0_u64..u64::MAX), 1..50),
            more in 1_u64..100_000,
        ) {
            let (mut one, mut other) = (Newest::default(), Newest::default());
            for (good, bad, nanos) in steps {
                one.note(good, bad, Duration::from_nanos(nanos));
                other.note(good, bad + more, Duration::from_nanos(nanos));
                prop_assert!((LEAST..=1.0).contains(&one.acceptance()));
                prop_assert!(other.acceptance() <= one.acceptance());
            }
        }
    }

    /// What each of these groups may send after they had so many good and bad requests, and what the service may.
    fn decided(groups: &[(u64, u64)]) -> (Vec<f64>, f64) {
        let counts = PerShard::<RequestCounts>::new(2);
        let mut throttle = Throttle::default();
        for (index, (good, bad)) in groups.iter().enumerate() {
            let group = CallerGroup::of(index as u64);
            counts.of(ShardId(0)).of(group).good.add(*good);
            counts.of(ShardId(1)).of(group).bad.add(*bad);
        }
        throttle.look(&counts, STEP);
        let mut each = vec![0.0; GROUPS];
        let all = throttle.decide(|group, acceptance| each[group.index()] = acceptance);
        each.truncate(groups.len());
        (each, all)
    }

    #[test]
    fn a_caller_who_asks_only_for_what_fails_has_nobody_else_refused() {
        let (each, all) = decided(&[(0, 10_000), (30, 0), (5, 1)]);
        assert!(each[0] < 0.02, "{each:?}");
        assert_eq!((each[1], each[2], all), (1.0, 1.0, 1.0));
        let (each, all) = decided(&[(0, 10_000), (30, 0)]);
        assert!(each[0] < 0.02 && all == 1.0 && each[1] == 1.0, "{each:?} {all}");
    }

    #[test]
    fn a_service_that_fails_all_callers_is_asked_less_by_all() {
        for groups in [1, 2, 3, 5, 32] {
            let (each, all) = decided(&vec![(0, 1_000); groups]);
            assert!(each.iter().all(|one| *one < 0.05) && all < 0.05, "{groups}: {each:?} {all}");
            let (each, all) = decided(&vec![(700, 300); groups]);
            assert!(each.iter().all(|one| *one == 1.0) && all == 1.0, "{groups}: {each:?} {all}");
        }
        // Thirty-two callers with a little each are a lot together.
        let (each, all) = decided(&[(0, 4); 32]);
        assert!(each.iter().all(|one| *one < 0.2) && all < 0.2, "{each:?} {all}");
    }

    #[test]
    fn the_part_of_all_requests_is_that_of_what_callers_want() {
        let mut throttle = Throttle::default();
        throttle.groups[0] = Newest { requests: 100.0, good: 0.0 };
        throttle.groups[1] = Newest { requests: 1_000.0, good: 1_000.0 };
        throttle.decide(|_, _| {});
        // The first wants a thousand and is let through with a hundred.
        let reading = throttle.reading(|group| if group == CallerGroup::of(0) { 0.1 } else { 1.0 });
        assert!((reading.acceptance - 0.55).abs() < 1e-9, "{reading:?}");
        assert_eq!(Throttle::default().reading(|_| 0.1).acceptance, 1.0);
    }

    #[test]
    fn nobody_asked_is_nobody_refused() {
        assert_eq!(decided(&[]), (Vec::new(), 1.0));
    }
}
