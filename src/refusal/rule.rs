//! The rule behind a refusal, as people are told of it, how a refusal holds on to it, and where a thread keeps what
//! goes with it.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Rules that a thread keeps at hand, and pages; two that share a place take turns in it.
pub(super) const KEPT: usize = 16;
const _: () = assert!(KEPT.is_power_of_two());

/// A rule, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// What the rule is called: `rules[2]`, `default`, `agreement office`, `total`, `tier partner`.
    pub name: String,
    /// Where it is written: `buckler.yaml:34`. Empty for a built-in default.
    pub at: String,
    /// The operator's own words (`reason:`), if any.
    pub reason: Option<String>,
}

/// A rule that a refusal holds on to. All shards refuse by the same rules, in a flood by one: who holds it is counted
/// by each thread for itself, so that no two cores meet at a count.
#[derive(Clone, Debug)]
#[allow(
    clippy::redundant_allocation,
    reason = "the outer one counts for the thread what the inner one would for all"
)]
pub struct HeldRule(Rc<Arc<RuleRef>>);

thread_local! {
    static HELD: RefCell<[Option<HeldRule>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

impl HeldRule {
    /// Holds on to this rule.
    pub fn of(rule: &Arc<RuleRef>) -> Self {
        HELD.with_borrow_mut(|held| match &mut held[place_of(Some(rule))] {
            Some(held) if Arc::ptr_eq(&held.0, rule) => held.clone(),
            place => place.insert(Self(Rc::new(Arc::clone(rule)))).clone(),
        })
    }

    /// The rule itself, for whoever keeps it beyond the shard.
    pub fn shared(&self) -> &Arc<RuleRef> {
        &self.0
    }
}

/// Where a thread keeps what goes with this rule, or with none. Rules lie at like distances in memory, so neighbouring
/// bits of their addresses tell few of them apart: the upper bits of a product tell of all (Knuth, "The Art of Computer
/// Programming", volume 3, section 6.4: multiplicative hashing, by 2^64 over the golden ratio).
pub(super) fn place_of(rule: Option<&Arc<RuleRef>>) -> usize {
    let address = rule.map_or(0, |rule| Arc::as_ptr(rule).addr()) as u64;
    (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - KEPT.ilog2())) as usize
}

impl Deref for HeldRule {
    type Target = RuleRef;

    fn deref(&self) -> &RuleRef {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_rule_that_is_held_is_itself_and_only_the_kept_ones_are_held_on_to() {
        let name = |n: usize| RuleRef { name: format!("rules[{n}]"), at: String::new(), reason: None };
        let rules: Vec<_> = (0..4 * KEPT).map(|n| Arc::new(name(n))).collect();
        for _ in 0..2 {
            for (n, rule) in rules.iter().enumerate() {
                let (one, other) = (HeldRule::of(rule), HeldRule::of(rule));
                assert_eq!((one.name.as_str(), Arc::strong_count(rule)), (&*format!("rules[{n}]"), 2));
                assert!(Arc::ptr_eq(one.shared(), other.shared()) && Arc::ptr_eq(one.shared(), rule));
            }
        }
        let places: HashSet<_> = rules.iter().map(|rule| place_of(Some(rule))).collect();
        assert!(places.len() >= KEPT * 3 / 4, "they crowd in {places:?}");
        let held: usize = rules.iter().map(|rule| Arc::strong_count(rule) - 1).sum();
        assert_eq!(held, places.len());
    }
}
