//! The rule behind a refusal, as people are told of it, how a refusal holds on to it, and where a thread keeps what
//! goes with it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::Reason;
use super::kept::Prepared;

/// Rules that a thread keeps at hand, with their pages; two that share a place take turns in it.
pub(super) const KEPT: usize = 16;
const _: () = assert!(KEPT.is_power_of_two());

/// Pages kept with one rule: a limit refuses by its rate or by its number in progress, whose reasons are neighbours.
const PAGES: usize = 2;
const _: () = assert!(Reason::CallerRate as usize % PAGES != Reason::CallerConcurrency as usize % PAGES);

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
#[derive(Clone)]
pub struct HeldRule(Rc<Held>);

/// What goes with a rule on one thread.
struct Held {
    rule: Arc<RuleRef>,
    /// The pages by which it refused last.
    pages: [Cell<Option<Box<Prepared>>>; PAGES],
}

thread_local! {
    static HELD: RefCell<[Option<HeldRule>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

impl HeldRule {
    /// Holds on to this rule.
    pub fn of(rule: &Arc<RuleRef>) -> Self {
        HELD.with_borrow_mut(|held| match &mut held[place_of(rule)] {
            Some(held) if Arc::ptr_eq(held.shared(), rule) => held.clone(),
            place => place.insert(Self::anew(rule)).clone(),
        })
    }

    #[cold]
    fn anew(rule: &Arc<RuleRef>) -> Self {
        Self(Rc::new(Held { rule: Arc::clone(rule), pages: Default::default() }))
    }

    /// The rule itself, for whoever keeps it beyond the shard.
    pub fn shared(&self) -> &Arc<RuleRef> {
        &self.0.rule
    }

    /// Where the thread keeps the page by which it refuses for this reason.
    pub(super) fn page(&self, reason: Reason) -> &Cell<Option<Box<Prepared>>> {
        &self.0.pages[reason.index() % PAGES]
    }
}

/// Where a thread keeps what goes with this rule. Rules lie at like distances in memory, so neighbouring
/// bits of their addresses tell few of them apart: the upper bits of a product tell of all (Knuth, "The Art of Computer
/// Programming", volume 3, section 6.4: multiplicative hashing, by 2^64 over the golden ratio).
fn place_of(rule: &Arc<RuleRef>) -> usize {
    let address = Arc::as_ptr(rule).addr() as u64;
    (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - KEPT.ilog2())) as usize
}

impl Deref for HeldRule {
    type Target = RuleRef;

    fn deref(&self) -> &RuleRef {
        &self.0.rule
    }
}

impl fmt::Debug for HeldRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldRule").field(self.shared()).finish()
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
        let places: HashSet<_> = rules.iter().map(place_of).collect();
        assert!(places.len() >= KEPT * 3 / 4, "they crowd in {places:?}");
        let held: usize = rules.iter().map(|rule| Arc::strong_count(rule) - 1).sum();
        assert_eq!(held, places.len());
    }
}
