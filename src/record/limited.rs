//! How often each rule or limit refused, or in shadow would have refused. Touched only on refusals.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::refusal::Reason;
use crate::shard::Count;

/// Rules counted by name on one shard; more (only after very many reloads) are counted as [`OTHER_RULE`].
const MAX_RULES: usize = 1024;

/// What rules beyond the bound are counted as.
const OTHER_RULE: &str = "_other";

/// Counts by rule, mode and reason.
#[derive(Debug, Default)]
pub struct Limited {
    /// Where each rule's counts stand.
    places: HashMap<Box<str>, usize, RandomState>,
    rules: Vec<(Box<str>, Arc<PerRule>)>,
}

/// What one rule refused, or would have, by reason.
#[derive(Debug, Default)]
pub struct PerRule([[Count; Reason::COUNT]; 2]);

impl PerRule {
    /// Counts one refusal; with `shadow`, one that was not given. Only the owning shard may call it.
    pub fn add(&self, shadow: bool, reason: Reason) {
        self.0[usize::from(shadow)][reason.index()].add(1);
    }
}

impl Limited {
    /// Where this rule is counted.
    pub fn of(&mut self, rule: &str) -> &Arc<PerRule> {
        let place = self.place(rule);
        &self.rules[place].1
    }

    /// Adds another shard's counts.
    pub fn merge(&mut self, other: &Self) {
        for (rule, theirs) in &other.rules {
            let mine = self.of(rule).0.iter().flatten();
            mine.zip(theirs.0.iter().flatten()).for_each(|(mine, theirs)| mine.add(theirs.get()));
        }
    }

    /// What happened: rule, shadow, reason, how often; in order of the rule's name.
    pub fn rows(&self) -> Vec<(Box<str>, bool, Reason, u64)> {
        let mut rows = Vec::new();
        for (rule, counts) in &self.rules {
            for (shadow, by_reason) in [false, true].into_iter().zip(counts.0.iter()) {
                let happened = Reason::all().map(|reason| (reason, by_reason[reason.index()].get()));
                let happened = happened.filter(|(_, n)| *n > 0);
                rows.extend(happened.map(|(reason, n)| (rule.clone(), shadow, reason, n)));
            }
        }
        rows.sort_by(|a, b| (&a.0, a.1, a.2.index()).cmp(&(&b.0, b.1, b.2.index())));
        rows
    }

    fn place(&mut self, rule: &str) -> usize {
        // Looked up first: the way of a flood, which must not copy the name.
        if let Some(place) = self.places.get(rule) {
            return *place;
        }
        let rule = if self.rules.len() >= MAX_RULES { OTHER_RULE } else { rule };
        let next = self.rules.len();
        let place = *self.places.entry(rule.into()).or_insert(next);
        if place == next {
            self.rules.push((rule.into(), Arc::default()));
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadow_and_enforced_are_counted_apart() {
        let mut one = Limited::default();
        one.of("default").add(false, Reason::CallerRate);
        one.of("default").add(true, Reason::CallerRate);
        let mut two = Limited::default();
        two.of("default").add(true, Reason::CallerRate);
        one.merge(&two);
        assert_eq!(
            one.rows(),
            [
                ("default".into(), false, Reason::CallerRate, 1),
                ("default".into(), true, Reason::CallerRate, 2)
            ]
        );
    }

    #[test]
    fn rules_that_take_turns_are_counted_each_for_itself() {
        let mut limited = Limited::default();
        for n in 0..300 {
            limited.of(["a", "b", "c"][n % 3]).add(n % 2 == 0, Reason::CallerRate);
        }
        let rows = limited.rows();
        assert_eq!(rows.len(), 6);
        assert!(rows.iter().all(|row| row.3 == 50), "{rows:?}");
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let mut limited = Limited::default();
        for n in 0..MAX_RULES * 2 {
            limited.of(&format!("rules[{n}]")).add(false, Reason::DeniedByRule);
        }
        assert_eq!(limited.rules.len(), MAX_RULES + 1);
        let sum: u64 = limited.rows().iter().map(|row| row.3).sum();
        assert_eq!(sum, MAX_RULES as u64 * 2);
    }
}
