//! Who gets how much, against what weights and shares say: nobody starves, and a worker that returns is not run over.
//! Only first choices count, of services whose workers have no bound and where keys do not decide.

use buckler::clock::Moment;
use buckler::config::Balance;
use buckler::workers::health::{FULL_SHARE, Use};
use buckler::workers::{Member, Workers};

use super::events::{Run, number};
use super::plan::Plan;

/// Turns that a worker may be off whatever its share: those that a new layout costs, and those of weight 0.
const SLACK: f64 = 10.0;

/// What was expected of a worker's turns, and what it got.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    expected: f64,
    got: f64,
}

/// Turns by worker: those that it had with its whole share, and those with less.
pub(super) struct Turns {
    counted: bool,
    whole: Vec<Turn>,
    lessened: Vec<Turn>,
    /// The part of turns of each worker as things are, and whether its share is less than whole; none if it is too much
    /// to say.
    parts: Vec<(usize, f64, bool)>,
    version: Option<u64>,
    changes_at: u64,
}

impl Turns {
    pub(super) fn new(plan: &Plan) -> Self {
        let nothing = vec![Turn::default(); plan.members.len()];
        Self {
            counted: plan.terms.seats_each == 0 && !matches!(plan.balance, Balance::Ring(_)),
            whole: nothing.clone(),
            lessened: nothing,
            parts: Vec::new(),
            version: None,
            changes_at: 0,
        }
    }

    /// Looks before a choice.
    pub(super) fn look(&mut self, workers: &Workers, now: Moment) {
        let version = Some(workers.version());
        if !self.counted || self.version == version && now.nanos < self.changes_at {
            return;
        }
        let set = workers.load();
        let outlooks: Vec<_> = set.members.iter().map(|one| one.worker.outlook(now)).collect();
        self.version = version;
        self.changes_at = outlooks.iter().map(|outlook| outlook.changes_at).min().unwrap_or(u64::MAX);
        self.parts.clear();
        let usable = |at: &usize| matches!(outlooks[*at].usable, Use::Share(_) | Use::Trial);
        let Some(best) = (0..outlooks.len()).find(usable).map(|at| set.members[at].priority) else { return };
        let tier: Vec<(&Member, Use)> = set
            .members
            .iter()
            .zip(&outlooks)
            .filter(|(member, _)| member.priority == best)
            .map(|(member, outlook)| (member, outlook.usable))
            .collect();
        // With ejected ones it depends on `max_ejected` who is used, which `balance` tests by itself.
        if tier.iter().any(|(_, usable)| matches!(usable, Use::Ejected(_) | Use::NotBefore(_))) {
            return;
        }
        let part = |&(member, usable): &(&Member, Use)| match usable {
            Use::Share(share) => f64::from(share) * f64::from(member.weight),
            Use::Trial => f64::from(FULL_SHARE) * f64::from(member.weight),
            _ => 0.0,
        };
        let sum: f64 = tier.iter().map(part).sum();
        if sum > 0.0 {
            let less = |usable: &Use| *usable != Use::Share(FULL_SHARE);
            self.parts =
                tier.iter().map(|one| (number(&one.0.worker), part(one) / sum, less(&one.1))).collect();
        }
    }

    /// A first choice was made.
    pub(super) fn took(&mut self, who: usize) {
        for (number, part, less) in &self.parts {
            let turn = if *less { &mut self.lessened[*number] } else { &mut self.whole[*number] };
            turn.expected += part;
            turn.got += f64::from(u8::from(*number == who));
        }
    }

    pub(super) fn rules_at_the_end(&self, run: &Run) {
        let weighted = matches!(run.plan.balance, Balance::Weighted);
        for (turns, kind) in [(&self.whole, "its whole share"), (&self.lessened, "less than its share")] {
            for (who, Turn { expected, got }) in turns.iter().enumerate() {
                let chance = 6.0 * expected.sqrt() + SLACK;
                // Of two that are drawn the less busy one is taken: up to twice as many.
                let most = if weighted { expected * 1.2 } else { expected * 2.0 } + chance;
                run.hold(*got <= most, || {
                    format!("worker {who} with {kind} had {got} turns where {expected:.0} are due: run over")
                });
                let least = if weighted { expected * 0.8 - chance } else { expected * 0.2 - chance };
                run.hold(*got >= least, || {
                    format!("worker {who} with {kind} had {got} turns where {expected:.0} are due: starved")
                });
            }
        }
    }
}
