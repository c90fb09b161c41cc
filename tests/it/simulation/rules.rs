//! What must hold whatever workers, DNS and clients do. A rule that is broken names the seed and the time. How turns
//! are shared out stands in `turns`.

use std::sync::Arc;

use buckler::balance::Picked;
use buckler::forward::budget::SAVED;
use buckler::workers::health::{FULL_SHARE, Use};
use buckler::workers::{Member, Worker, Workers};

use super::events::{Event, Run, number};
use super::plan::{Plan, QUIET_GAP, SECOND, Weather};
use super::request::{End, Request};
use super::turns::Turns;

/// Acceptance is 1 again this long after the last failure of a service that is well, if there were so many good
/// requests to see that.
const RECOVERED_AFTER: u64 = SECOND;
const RECOVERED_BY: u64 = 40;

/// After so much of a time in which all fail alike, what went before is no excuse.
const SETTLED: u64 = 2 * SECOND;

/// A worker that has long been well has at least this share (`workers/score.rs`: below it, it is suspect).
const WELL: u8 = 58;

/// What the rules remember of a run.
pub(super) struct Rules {
    pub(super) sums: Sums,
    pub(super) turns: Turns,
    /// When the workers failed a request for the last time.
    last_bad: u64,
    good_in_a_row: u64,
    /// All workers that ever were in the set.
    seen: Vec<Arc<Worker>>,
    /// For each phase: requests that came and went to workers, and the good ones among them.
    phases: Vec<(u64, u64)>,
    ended: u64,
    /// Those that were ejected at the last look, and when that was.
    ejected: (u64, Vec<Arc<Worker>>),
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) requests: u64,
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) left: u64,
    pub(super) throttled: u64,
    pub(super) without_room: u64,
    pub(super) nobody: u64,
    pub(super) retries: u64,
    pub(super) denied: u64,
    pub(super) passed_over: u64,
    pub(super) replayed: u64,
    pub(super) trials: u64,
    /// A hash of all that happened, in order.
    pub(super) log: u64,
}

impl Sums {
    pub(super) fn add(&mut self, one: &Self) {
        self.requests += one.requests;
        self.good += one.good;
        self.bad += one.bad;
        self.left += one.left;
        self.throttled += one.throttled;
        self.without_room += one.without_room;
        self.nobody += one.nobody;
        self.retries += one.retries;
        self.denied += one.denied;
        self.passed_over += one.passed_over;
        self.replayed += one.replayed;
        self.trials += one.trials;
        self.log ^= one.log;
    }
}

impl Rules {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            sums: Sums::default(),
            turns: Turns::new(plan),
            last_bad: 0,
            good_in_a_row: 0,
            seen: Vec::new(),
            phases: vec![(0, 0); plan.phases.len()],
            ended: 0,
            ejected: (0, Vec::new()),
        }
    }

    /// Other workers may be in the set.
    pub(super) fn meet(&mut self, workers: &Workers) {
        for member in &workers.load().members {
            if !self.seen.iter().any(|seen| Arc::ptr_eq(seen, &member.worker)) {
                self.seen.push(Arc::clone(&member.worker));
            }
        }
    }

    pub(super) fn log(&mut self, at: u64, event: &Event) {
        let kind = match event {
            Event::Arrives { .. } => 0,
            Event::Connects(_) => 1,
            Event::Ends(_) => 2,
            Event::Again(_) => 3,
            Event::Late => 4,
            Event::Checked(who) => 100 + *who as u64,
            Event::Dns => 5,
            Event::Phase(_) => 6,
            Event::Look => 7,
        };
        self.write(at);
        self.write(kind);
    }

    pub(super) fn log_pick(&mut self, who: usize, trial: bool) {
        self.write(1_000 + 2 * who as u64 + u64::from(trial));
    }

    /// FNV-1a, by whole numbers.
    const fn write(&mut self, what: u64) {
        self.sums.log = (self.sums.log ^ what).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    fn over(&mut self, request: &Request, end: End, (at, settled): (u64, bool)) {
        self.ended += 1;
        let count = match end {
            End::Good => &mut self.sums.good,
            End::Bad => &mut self.sums.bad,
            End::Left => &mut self.sums.left,
            End::Throttled => &mut self.sums.throttled,
            End::NoRoom => &mut self.sums.without_room,
            End::Nobody => &mut self.sums.nobody,
        };
        *count += 1;
        match end {
            End::Good => self.good_in_a_row += 1,
            End::Bad => (self.good_in_a_row, self.last_bad) = (0, at),
            // As long as there is more than the workers can take, success cannot be had.
            End::NoRoom => self.good_in_a_row = 0,
            _ => {}
        }
        if settled && matches!(end, End::Good | End::Bad | End::Throttled) {
            let (all, good) = &mut self.phases[request.phase];
            *all += 1;
            *good += u64::from(end == End::Good);
        }
    }
}

fn is_usable(member: &Member, run: &Run) -> bool {
    matches!(member.worker.usable(run.moment()), Use::Share(_) | Use::Trial)
}

impl Run {
    /// The rule that is looked at holds, or the run ends here.
    #[track_caller]
    pub(super) fn hold(&self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds {
            let (seed, now) = (self.plan.seed, (self.now as f64) / 1e9);
            let broken = broken();
            let phase = &self.plan.phases[self.phase];
            panic!(
                "seed {seed}, at {now:.3} s: {broken}\nin {phase:?}\n\
                 once more: BUCKLER_SEED={seed} cargo test --test it simulation"
            );
        }
    }

    /// A request is over.
    pub(super) fn over(&mut self, request: &Request, end: End) {
        let settled = request.came >= self.plan.phases[request.phase].begin + SETTLED;
        self.rules.over(request, end, (self.now, settled));
    }

    /// Acceptance stays within its bounds, and is whole soon after the workers are well.
    pub(super) fn rule_of_recovery(&self, acceptance: f64) {
        self.hold((0.01..=1.0).contains(&acceptance), || format!("acceptance is {acceptance}"));
        let phase = &self.plan.phases[self.phase];
        if acceptance >= 1.0 || !matches!(phase.weather, Weather::Well) {
            return;
        }
        self.hold(self.plan.terms.passive, || format!("acceptance is {acceptance} without passive health"));
        let well = self.now.saturating_sub(phase.begin.max(self.rules.last_bad));
        let crowded = !(self.for_room.is_empty() && self.for_seat.is_empty());
        let late = well > RECOVERED_AFTER && !crowded && self.rules.good_in_a_row >= RECOVERED_BY;
        self.hold(!late, || format!("acceptance is {acceptance:.3}, and all is well for {well} ns"));
    }

    /// Who is let in has a place.
    pub(super) fn rule_of_capacity(&self) {
        let reading = self.capacity.reading(1.0);
        let most = reading.concurrent.unwrap_or(0);
        self.hold(reading.in_use <= most, || format!("{} are in, {most} are allowed", reading.in_use));
    }

    pub(super) fn rule_of_budget(&self, shard: usize) {
        let shard = &self.shards[shard];
        let most = (self.plan.budget * shard.requests as f64) + f64::from(SAVED) + 1e-3;
        self.hold(shard.retries as f64 <= most, || format!("{} retries, {most} are allowed", shard.retries));
    }

    pub(super) fn rule_of_repetition(&self, request: &Request) {
        let twice = request.post && request.may_have_arrived;
        self.hold(!twice, || "a POST that may have arrived is sent once more".to_owned());
    }

    /// What was chosen for a request that was at the workers in `without` before.
    pub(super) fn rules_of_choice(&mut self, picked: &Picked, without: &[buckler::config::Endpoint]) {
        let set = Arc::clone(&self.workers.load());
        let untried = || set.members.iter().filter(|one| !without.contains(&one.worker.address));
        let now = self.moment();
        match picked {
            Picked::Nobody => {
                let left = untried().find(|one| one.worker.usable(now) != Use::Unready);
                self.hold(left.is_none(), || {
                    format!("total ejection: nobody is chosen of\n  {}", self.shown(&set.members))
                });
            }
            Picked::Full => {
                // With too many ejected, those are used too.
                let used = |one: &&Member| {
                    is_usable(one, self)
                        || matches!(one.worker.usable(now), Use::Ejected(_)) && self.is_full(&one.worker)
                };
                let best = untried().filter(used).map(|one| one.priority).min();
                let free = untried().find(|one| {
                    Some(one.priority) == best && is_usable(one, self) && !self.is_full(&one.worker)
                });
                self.hold(free.is_none(), || {
                    format!("all are said to be full:\n  {}", self.shown(&set.members))
                });
            }
            Picked::One(pick) => {
                let chosen = set.members[pick.index].clone();
                self.rules_of_the_chosen(&set.members, &chosen, pick.trial, without);
                if without.is_empty() {
                    self.rules.turns.took(number(&chosen.worker));
                }
            }
        }
    }

    fn rules_of_the_chosen(
        &self,
        members: &[Member],
        chosen: &Member,
        trial: bool,
        without: &[buckler::config::Endpoint],
    ) {
        let usable = chosen.worker.usable(self.moment());
        let name = &chosen.worker.name;
        self.hold(usable != Use::Unready, || format!("{name} has yet to pass its first check"));
        let most = self.plan.terms.seats_each;
        let taken = chosen.worker.seats_taken();
        self.hold(most == 0 || taken <= most, || format!("{name} has {taken} requests, {most} are allowed"));
        let others = || members.iter().filter(|one| one.worker.address != chosen.worker.address);
        let mut better =
            others().filter(|one| !without.contains(&one.worker.address) && is_usable(one, self));
        if without.contains(&chosen.worker.address) {
            let left = better.next();
            self.hold(left.is_none(), || {
                format!("{name} was asked before, and of\n  {}", self.shown(members))
            });
        } else if matches!(usable, Use::Share(_)) || trial {
            let left = better.find(|one| one.priority < chosen.priority);
            self.hold(left.is_none(), || {
                format!("{name} is not of the best priority of\n  {}", self.shown(members))
            });
        } else if matches!(usable, Use::NotBefore(_)) {
            let left = others().find(|one| matches!(one.worker.usable(self.moment()), Use::Share(_)));
            self.hold(left.is_none(), || {
                format!("{name} takes no connections, and of\n  {}", self.shown(members))
            });
        }
    }

    fn shown(&self, members: &[Member]) -> String {
        let one = |member: &Member| {
            let Member { worker, priority, weight } = member;
            let (usable, taken) = (worker.usable(self.moment()), worker.seats_taken());
            format!("{} priority {priority} weight {weight}: {usable:?}, {taken} requests", worker.name)
        };
        members.iter().map(one).collect::<Vec<_>>().join("\n  ")
    }

    fn is_full(&self, worker: &Worker) -> bool {
        self.plan.terms.seats_each > 0 && worker.seats_taken() >= self.plan.terms.seats_each
    }

    /// Shares within their bounds, no more in progress than there are places.
    pub(super) fn rules_at_any_time(&mut self) {
        self.rule_of_capacity();
        self.rule_of_slow_start();
        for member in &self.workers.load().members {
            let (worker, most) = (&member.worker, self.plan.terms.seats_each);
            let within = match worker.usable(self.moment()) {
                Use::Share(share) => (1..=FULL_SHARE).contains(&share),
                Use::Ejected(share) => share <= 1,
                Use::Unready => self.plan.terms.required_at_start,
                Use::Trial | Use::NotBefore(_) => true,
            };
            self.hold(within, || format!("beyond its bounds: {}", self.shown(std::slice::from_ref(member))));
            let taken = worker.seats_taken();
            self.hold(most == 0 || taken <= most, || format!("{taken} requests at {}", worker.name));
        }
    }

    /// No stampede: who was ejected at the last look has no more than what slow start gives it since.
    fn rule_of_slow_start(&mut self) {
        let set = Arc::clone(&self.workers.load());
        let (at, ejected) = &self.rules.ejected;
        let part = (self.now - at) as f64 / 1e9 / self.plan.terms.slow_start.as_secs_f64().max(1e-9);
        // A step of sixteen more.
        let most = f64::from(FULL_SHARE) * (part + 1.0 / 16.0);
        for worker in ejected {
            if let Use::Share(share) = worker.usable(self.moment()) {
                self.hold(f64::from(share) <= most.max(1.0), || {
                    format!("{} was ejected {part} slow starts ago, and its share is {share}", worker.name)
                });
            }
        }
        let is_ejected = |one: &&Member| matches!(one.worker.usable(self.moment()), Use::Ejected(_));
        let ejected = set.members.iter().filter(is_ejected).map(|one| Arc::clone(&one.worker)).collect();
        self.rules.ejected = (self.now, ejected);
    }

    /// Nothing is left behind, everybody is well again, and what was promised was kept.
    pub(super) fn rules_at_the_end(&self) {
        let sums = &self.rules.sums;
        let (came, ended) = (sums.requests, self.rules.ended);
        self.hold(came == ended, || format!("{came} requests came, {ended} ended"));
        let in_use = self.capacity.reading(1.0).in_use;
        self.hold(in_use == 0, || format!("{in_use} permits are lost"));
        for worker in &self.rules.seen {
            let waiting = worker.counts.sum(|counts| &counts.waiting);
            let left = (worker.active(), waiting, worker.seats_taken());
            self.hold(left == (0, 0, 0), || {
                format!("{} has (active, waiting, seats) {left:?} left", worker.name)
            });
        }
        self.rule_of_return();
        self.rule_of_proportion();
        self.rules.turns.rules_at_the_end(self);
    }

    /// No starvation: who has been well for long has its share again. One for which no turn has come may wait for its
    /// trial.
    fn rule_of_return(&self) {
        let set = self.workers.load();
        let best = set.members.first().map_or(0, |one| one.priority);
        let turns = (self.plan.end - self.plan.quiet) / QUIET_GAP;
        let weights: u64 = set.members.iter().filter(|one| one.priority == best).map(weight).sum();
        for member in &set.members {
            let usable = member.worker.usable(self.moment());
            let seldom = member.priority > best || turns * weight(member) < 20 * weights;
            let well = match usable {
                Use::Share(share) => share >= WELL,
                Use::Trial => seldom,
                _ => false,
            };
            self.hold(well, || {
                let name = &member.worker.name;
                format!(
                    "{name} is well for long, and is {usable:?}: {:?}",
                    member.worker.standing(self.moment())
                )
            });
        }
    }

    /// Of requests of which all workers fail the same part, the others succeed.
    fn rule_of_proportion(&self) {
        for (place, (all, good)) in self.rules.phases.iter().enumerate() {
            let Some(failing) = self.plan.all_fail(place).filter(|failing| *failing <= 0.4 && *all >= 50)
            else {
                continue;
            };
            let (all, good) = (*all as f64, *good as f64);
            let chance = 4.5 * (failing * (1.0 - failing) / all).sqrt();
            let least = 1.0 - failing - 0.03 - chance;
            self.hold(good / all >= least, || {
                format!("phase {place}: workers fail {failing} of requests, and only {good} of {all} succeed")
            });
        }
    }
}

fn weight(member: &Member) -> u64 {
    u64::from(member.weight)
}
