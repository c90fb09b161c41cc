//! The tasks of a place that wait for it, by number: each is woken when the place drains, and at the time that it asked
//! for. One wheel of coarse steps in place of a timer each, since thousands wait and most are woken by something else.
//! What a task does once it is woken is its own business.

use std::task::Waker;

use crate::clock::Moment;

/// The length of a step, in nanoseconds: 100 ms. Nobody is woken before the time asked for, nor later than a step after
/// it, if the wheel is turned then.
const STEP: u64 = 100_000_000;
/// Steps of a round: 102.4 s. Who asks for more is woken after a round, and asks again.
const ROUND: usize = 1024;
/// No sleeper. Fewer files than this can be open.
const NOBODY: u32 = u32::MAX;
/// What a sleeper's `before` says if it is the first of its step: this, and the step's place in the round.
const FIRST: u32 = 1 << 31;

/// Tasks, some of which have asked for a time. There are as many as connections, and their numbers are used again. So
/// the memory of the numbers, 24 bytes each (twice that at most, since a vector doubles), is that of the most tasks
/// that there were at once, and it stays so large until there is none at all: then all of it goes.
#[derive(Debug)]
pub(super) struct TimerWheel {
    sleepers: Vec<Sleeper>,
    /// The first of the numbers that are free.
    free: u32,
    taken: usize,
    /// The first sleeper of each step. Empty until somebody asks for a time.
    steps: Box<[u32]>,
    /// How many have asked for a time.
    set: usize,
    /// The last step whose sleepers were woken, counted from the beginning of time.
    turned: u64,
}

/// One task, and its neighbours in the list of its step, or of the free numbers.
#[derive(Debug)]
struct Sleeper {
    waker: Option<Waker>,
    behind: u32,
    /// [`NOBODY`]: it has asked for no time.
    before: u32,
}

impl TimerWheel {
    /// A wheel without tasks. It takes no memory.
    pub(super) fn new() -> Self {
        Self { sleepers: Vec::new(), free: NOBODY, taken: 0, steps: Box::default(), set: 0, turned: 0 }
    }

    /// Takes a task, and gives it a number.
    pub(super) fn add(&mut self, waker: Waker) -> u32 {
        self.taken += 1;
        let sleeper = Sleeper { waker: Some(waker), behind: NOBODY, before: NOBODY };
        let number = self.free;
        match self.sleepers.get_mut(number as usize) {
            Some(free) => {
                self.free = free.behind;
                *free = sleeper;
                number
            }
            None => {
                self.sleepers.push(sleeper);
                u32::try_from(self.sleepers.len() - 1).unwrap_or(NOBODY)
            }
        }
    }

    /// Lets a task go. With the last one goes all memory.
    pub(super) fn remove(&mut self, number: u32) -> Option<Waker> {
        self.unset(number);
        let sleeper = self.sleepers.get_mut(number as usize)?;
        let waker = sleeper.waker.take()?;
        sleeper.behind = self.free;
        self.free = number;
        self.taken -= 1;
        if self.taken == 0 {
            *self = Self::new();
        }
        Some(waker)
    }

    /// Has a task woken at `at`, nanoseconds of [`Moment`], and not at the time that it asked for before.
    pub(super) fn set(&mut self, number: u32, at: u64, now: Moment) {
        self.unset(number);
        if self.set == 0 {
            self.turned = now.nanos / STEP;
        }
        if self.steps.is_empty() {
            self.steps = vec![NOBODY; ROUND].into();
        }
        let step = at.div_ceil(STEP).clamp(self.turned + 1, self.turned + ROUND as u64);
        let place = place_of(step);
        let behind = self.steps[place as usize];
        let Some(sleeper) = self.sleepers.get_mut(number as usize) else { return };
        (sleeper.behind, sleeper.before) = (behind, FIRST | place);
        self.steps[place as usize] = number;
        if let Some(next) = self.sleepers.get_mut(behind as usize) {
            next.before = number;
        }
        self.set += 1;
    }

    /// Has a task not woken at the time that it asked for.
    pub(super) fn unset(&mut self, number: u32) {
        let Some(sleeper) = self.sleepers.get_mut(number as usize) else { return };
        let (before, behind) = (sleeper.before, sleeper.behind);
        if before == NOBODY {
            return;
        }
        (sleeper.before, sleeper.behind) = (NOBODY, NOBODY);
        match before & FIRST {
            0 => self.sleepers[before as usize].behind = behind,
            _ => self.steps[(before & !FIRST) as usize] = behind,
        }
        if let Some(next) = self.sleepers.get_mut(behind as usize) {
            next.before = before;
        }
        self.set -= 1;
    }

    /// Wakes those whose time has come. From then on they have asked for none.
    pub(super) fn turn(&mut self, now: Moment) {
        if self.set == 0 {
            return;
        }
        let present = now.nanos / STEP;
        // However long nobody turned it: after a round, each step has had its turn.
        for step in (self.turned + 1).max(present.saturating_sub(ROUND as u64 - 1))..=present {
            let place = place_of(step) as usize;
            while let Some(sleeper) = self.sleepers.get(self.steps[place] as usize) {
                if let Some(waker) = &sleeper.waker {
                    waker.wake_by_ref();
                }
                self.unset(self.steps[place]);
            }
        }
        self.turned = self.turned.max(present);
    }

    /// Wakes every task.
    pub(super) fn wake_all(&self) {
        self.sleepers.iter().filter_map(|sleeper| sleeper.waker.as_ref()).for_each(Waker::wake_by_ref);
    }
}

/// Where a step stands in the round.
#[allow(clippy::cast_possible_truncation, reason = "less than the round")]
const fn place_of(step: u64) -> u32 {
    (step % ROUND as u64) as u32
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicU32);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    impl Task {
        fn rings(&self) -> u32 {
            self.0.load(Relaxed)
        }
    }

    fn task(wheel: &mut TimerWheel) -> (Arc<Task>, u32) {
        let task = Arc::new(Task::default());
        let number = wheel.add(Arc::clone(&task).into());
        (task, number)
    }

    /// What happens to one of a few tasks, or to time.
    #[derive(Clone, Debug)]
    enum Event {
        Add,
        Remove(usize),
        Set(usize, u64),
        Unset(usize),
        Pass(u64),
    }

    fn an_event() -> impl Strategy<Value = Event> {
        let span = prop_oneof![0..3 * STEP, 0..200 * STEP, 0..2 * ROUND as u64 * STEP];
        prop_oneof![
            Just(Event::Add),
            (0_usize..9).prop_map(Event::Remove),
            (0_usize..9, span.clone()).prop_map(|(whose, after)| Event::Set(whose, after)),
            (0_usize..9).prop_map(Event::Unset),
            span.prop_map(Event::Pass),
        ]
    }

    /// A task as it should be: when it asked to be woken, when it asked that, and how often it was woken.
    struct Expected {
        task: Arc<Task>,
        number: u32,
        asked: Option<(u64, u64)>,
        rings: u32,
    }

    proptest! {
        #[test]
        fn each_is_woken_once_and_in_its_time(
            begin in STEP..1 << 50, events in prop::collection::vec(an_event(), 1..120),
        ) {
            let (mut wheel, mut now) = (TimerWheel::new(), Moment::at(begin));
            let mut all: Vec<Expected> = Vec::new();
            for event in events {
                match event {
                    Event::Add => {
                        let (task, number) = task(&mut wheel);
                        prop_assert!(all.iter().all(|one| one.number != number), "taken");
                        all.push(Expected { task, number, asked: None, rings: 0 });
                    }
                    Event::Remove(whose) if whose < all.len() => {
                        let gone = all.remove(whose);
                        prop_assert!(wheel.remove(gone.number).is_some());
                        prop_assert_eq!(Arc::strong_count(&gone.task), 1, "nobody holds it");
                    }
                    Event::Set(whose, after) if whose < all.len() => {
                        all[whose].asked = Some((now.nanos + after, now.nanos));
                        wheel.set(all[whose].number, now.nanos + after, now);
                    }
                    Event::Unset(whose) if whose < all.len() => {
                        all[whose].asked = None;
                        wheel.unset(all[whose].number);
                    }
                    Event::Pass(nanos) => now.nanos += nanos,
                    _ => {}
                }
                wheel.turn(now);
                for one in &mut all {
                    let is_rung = one.task.rings() > one.rings;
                    if let (true, Some((at, since))) = (is_rung, one.asked) {
                        // Who asked for more than a round is woken after one.
                        let round = now.nanos >= since + (ROUND as u64 - 1) * STEP;
                        prop_assert!(now.nanos >= at || round, "{} too early", at - now.nanos);
                        one.asked = None;
                    } else {
                        let late = one.asked.is_some_and(|(at, _)| now.nanos >= at + STEP);
                        prop_assert!(!is_rung && !late, "rung {is_rung}, late {late}");
                        continue;
                    }
                    one.rings += 1;
                    prop_assert_eq!(one.task.rings(), one.rings, "once");
                }
                let asked = all.iter().filter(|one| one.asked.is_some()).count();
                prop_assert_eq!((wheel.taken, wheel.set), (all.len(), asked));
                prop_assert!(wheel.sleepers.len() <= 120);
            }
            for one in all {
                wheel.remove(one.number);
            }
            prop_assert!(wheel.sleepers.capacity() == 0 && wheel.steps.is_empty());
        }
    }

    #[test]
    fn a_number_is_used_again_and_a_removed_task_is_not_woken() {
        let mut wheel = TimerWheel::new();
        let (first, number) = task(&mut wheel);
        let (_stays, _) = task(&mut wheel);
        wheel.set(number, 5 * STEP, Moment::at(STEP));
        drop(wheel.remove(number));
        let (second, again) = task(&mut wheel);
        assert_eq!(number, again);
        wheel.turn(Moment::at(9 * STEP));
        assert_eq!((first.rings(), second.rings()), (0, 0));
        wheel.wake_all();
        assert_eq!((first.rings(), second.rings()), (0, 1));
        assert!(wheel.sleepers.len() == 2, "no more than there were at once");
    }

    #[test]
    fn a_sleeper_is_small() {
        assert_eq!(size_of::<Sleeper>(), 24);
    }
}
