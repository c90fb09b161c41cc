//! Who asks for what, and whether that is allowed: all that is judged of a request before anything is asked that
//! changes from one request to the next.
//!
//! A request that says again what the one before it on its connection said, in its path, its method and its fields, at
//! the same desk, is judged as that one was: the questions are the same. It is judged anew where the answer may have
//! become another one by the time alone, or is to be noted each time (rules that end, rules in shadow).

use std::rc::{Rc, Weak};

use http::Method;

use super::Visitor;
use super::learned::Memory;
use super::target::{self, Asked};
use crate::admit::caller::Caller;
use crate::admit::{Facts, Shadow, permission};
use crate::clock::Moment;
use crate::forward::seen::Seen;
use crate::message::RequestHead;
use crate::refusal::Refusal;
use crate::service::Desk;

/// A longer path, in bytes, is judged whenever it comes, instead of being remembered.
const LONGEST_REMEMBERED: usize = 256;

/// What was found of a request.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) caller: Caller,
    /// Whether the rules allow it.
    pub(super) may: Result<(), Refusal>,
}

/// What was found of the last request with certain fields.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Where it was asked. It keeps no desk that a reload has replaced, and no other comes to stand at its address.
    desk: Weak<Desk>,
    method: Method,
    /// Canonical as it came.
    path: String,
    host: Rc<str>,
    may: Result<(), Refusal>,
}

impl<'a> Asked<'a> {
    /// What rules and limits look at.
    pub(super) fn facts<'f>(&'f self, method: &'f Method) -> Facts<'f> {
        Facts { method, host: &self.host, path: self.path() }
    }
}

impl Visitor {
    /// Judges a request that came at `now`. What rules in shadow would have said goes to `shadows`.
    ///
    /// # Errors
    /// What it asks for, or who calls, is not valid. What the rules say stands in the answer: they know the caller.
    pub(super) fn judge<'a>(
        &self,
        desk: &Rc<Desk>,
        (head, seen): (&'a RequestHead, &Seen<'a>),
        now: Moment,
        shadows: &mut Vec<Shadow>,
    ) -> Result<Judged<'a>, Refusal> {
        let memory = self.memory.borrow();
        if let Some((caller, verdict)) = recall(memory.as_deref(), desk, head) {
            let asked = Asked::as_it_came(Rc::clone(&verdict.host), head.target.path());
            let judged = Judged { asked, caller: caller.clone(), may: verdict.may.clone() };
            drop(memory);
            debug_assert!(
                self.judge_anew(desk, (head, seen), now, &mut Vec::new())
                    .is_ok_and(|anew| judged.is_like(&anew))
            );
            return Ok(judged);
        }
        drop(memory);
        let judged = self.judge_anew(desk, (head, seen), now, shadows)?;
        self.remember(desk, head, &judged);
        Ok(judged)
    }

    #[inline(never)]
    fn judge_anew<'a>(
        &self,
        desk: &Desk,
        (head, seen): (&'a RequestHead, &Seen<'a>),
        now: Moment,
        shadows: &mut Vec<Shadow>,
    ) -> Result<Judged<'a>, Refusal> {
        let service = &desk.service;
        let asked = target::read(&head.method, &head.target, seen.host(), &self.host)?;
        self.is_directed_here(&asked.host)?;
        let caller = self.identify(head, &service.callers, seen)?;
        let named = (&caller, service.callers.name(&caller));
        let may = permission::judge(&service.rules, named, &asked.facts(&head.method), now, shadows);
        Ok(Judged { asked, caller, may })
    }

    /// Keeps what was judged, if its fields have come a second time: else they may never come again.
    #[inline(never)]
    fn remember(&self, desk: &Rc<Desk>, head: &RequestHead, judged: &Judged<'_>) {
        let path = head.target.path();
        let is_plain = judged.asked.authority.is_none() && judged.asked.path() == path;
        let Some(section) = head.section.filter(|_| is_plain && path.len() <= LONGEST_REMEMBERED) else {
            return;
        };
        let mut memory = self.memory.borrow_mut();
        let Some(kept) = memory.as_mut().and_then(|memory| memory.verdict(section)) else { return };
        if !desk.service.rules.is_steady() {
            return;
        }
        let mut text = kept.take().map_or_else(String::new, |before| before.path);
        text.clear();
        text.push_str(path);
        *kept = Some(Verdict {
            desk: Rc::downgrade(desk),
            method: head.method.clone(),
            path: text,
            host: Rc::clone(&judged.asked.host),
            may: judged.may.clone(),
        });
    }
}

/// What was found of a request that said the same at the same desk, and who called.
#[inline]
fn recall<'m>(
    memory: Option<&'m Memory>,
    desk: &Rc<Desk>,
    head: &RequestHead,
) -> Option<(&'m Caller, &'m Verdict)> {
    let (caller, verdict) = memory?.judged(head.section?)?;
    let is_same = Weak::as_ptr(&verdict.desk) == Rc::as_ptr(desk)
        && verdict.method == head.method
        && verdict.path == head.target.path()
        && head.target.authority().is_none();
    is_same.then_some((caller, verdict))
}

impl Judged<'_> {
    /// Whether it says the same.
    fn is_like(&self, other: &Self) -> bool {
        let told = |may: &Result<(), Refusal>| {
            may.as_ref()
                .map_err(|refusal| (refusal.reason, refusal.rule.as_ref().map(|rule| rule.name.clone())))
                .copied()
        };
        (&self.asked.host, self.asked.path()) == (&other.asked.host, other.asked.path())
            && (self.caller.hash, self.caller.client) == (other.caller.hash, other.caller.client)
            && told(&self.may) == told(&other.may)
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU64, NonZeroUsize};
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::admit::caller::CallerBook;
    use crate::admit::ledger::Ledger;
    use crate::clock::ShardClock;
    use crate::config::{self, HostPattern, Mode, Rule, Verdict};
    use crate::inbound::Arrival;
    use crate::message::Target;
    use crate::refusal::RuleRef;
    use crate::service::{Place, Service};
    use crate::shard::ShardId;

    /// In seconds since 1970: when one of the rules ends.
    const END: u64 = 1_000;

    const HOSTS: [&str; 3] = ["a.test", "B.test:80", "a..test"];
    const PATHS: [&str; 5] = ["/", "/?q=1", "/x/../y", "http://b.test/", "/%"];

    /// A rule against DELETE, but for this.
    fn denies(change: fn(&mut Rule)) -> Rule {
        let mut rule = Rule {
            verdict: Verdict::Deny,
            callers: vec![],
            tiers: vec![],
            methods: vec![Method::DELETE],
            hosts: vec![],
            paths: vec![],
            until: None,
            mode: Mode::Enforce,
            rule_ref: Arc::new(RuleRef { name: "rules[0]".into(), at: String::new(), reason: None }),
        };
        change(&mut rule);
        rule
    }

    fn desks() -> Vec<Rc<Desk>> {
        let rules = [
            denies(|_| {}),
            denies(|rule| rule.hosts = vec![HostPattern::Exact("b.test".into())]),
            denies(|rule| rule.until = Some(END)),
            denies(|rule| rule.mode = Mode::Shadow),
            denies(|rule| rule.methods = vec![Method::GET]),
        ];
        rules.into_iter().map(desk).collect()
    }

    fn desk(rule: Rule) -> Rc<Desk> {
        let callers = Arc::new(CallerBook::new(config::plain_callers()));
        let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
        let mut service = config::plain_service();
        service.permissions.rules = vec![rule];
        let service = Service::new((&Arc::new(service), None), &callers, &ledger, 1, None);
        Desk::new(service, (ShardId(0), &ShardClock::new()), None, None)
    }

    fn visitor(desk: &Rc<Desk>) -> Rc<Visitor> {
        Visitor::new(
            Arrival::plain(([127, 0, 0, 1], 1).into()),
            Place::new(Rc::clone(desk), ShardClock::new()),
        )
    }

    fn head(method: Method, path: usize, host: usize, numbered: bool) -> RequestHead {
        let mut head = RequestHead::new(method, Target::of(&PATHS[path].parse().unwrap()));
        head.fields.add("host", HOSTS[host].as_bytes());
        head.section = NonZeroU64::new(host as u64 + 1).filter(|_| numbered);
        head
    }

    /// All that is found, and how many shadows.
    fn found(visitor: &Visitor, desk: &Rc<Desk>, head: &RequestHead, now: Moment) -> (String, usize) {
        let mut shadows = Vec::new();
        let seen = visitor.look(head, &desk.service.callers, false);
        let judged =
            visitor.judge(desk, (head, &seen), now, &mut shadows).map(|Judged { asked, caller, may }| {
                format!("{} {} {:?} {caller:?} {may:?}", asked.host, asked.path(), asked.authority)
            });
        (judged.unwrap_or_else(|refusal| refusal.to_string()), shadows.len())
    }

    proptest! {
        // Each makes many services.
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// One connection, whose requests say the same again or not while rules change and end.
        #[test]
        fn a_request_is_judged_as_if_it_were_the_first(
            requests in proptest::collection::vec(
                (any::<bool>(), 0..PATHS.len(), 0..HOSTS.len(), any::<bool>(), 0_usize..5, -1_i64..2), 1..30,
            ),
        ) {
            let desks = desks();
            let visitor = visitor(&desks[0]);
            for (deletes, path, host, numbered, desk, late) in requests {
                let method = if deletes { Method::DELETE } else { Method::GET };
                let now = Moment::at(END.saturating_add_signed(late) * 1_000_000_000);
                let head = head(method, path, host, numbered);
                // The third time it is remembered.
                for _ in 0..3 {
                    let anew = found(&self::visitor(&desks[0]), &desks[desk], &head, now);
                    prop_assert_eq!(found(&visitor, &desks[desk], &head, now), anew);
                }
            }
        }
    }

    #[test]
    fn what_is_asked_a_third_time_is_remembered_and_what_may_change_is_not() {
        let desks = desks();
        let remembers = |desk: &Rc<Desk>, path: usize| {
            let visitor = visitor(desk);
            let head = head(Method::GET, path, 0, true);
            let ask = |_| {
                let remembers = recall(visitor.memory.borrow().as_deref(), desk, &head).is_some();
                found(&visitor, desk, &head, Moment::at(1));
                remembers
            };
            (0..4).map(ask).collect::<Vec<_>>()
        };
        assert_eq!(remembers(&desks[0], 0), [false, false, true, true]);
        assert_eq!(remembers(&desks[4], 0), [false, false, true, true], "refused or not");
        for (desk, path) in [(2, 0), (3, 0), (0, 2), (0, 3)] {
            assert_eq!(remembers(&desks[desk], path), [false; 4], "{desk} {path}");
        }
    }

    #[test]
    fn a_desk_that_was_replaced_is_not_held() {
        let old = desks().swap_remove(0);
        let visitor = visitor(&desks()[0]);
        (0..3).for_each(|_| drop(found(&visitor, &old, &head(Method::GET, 0, 0, true), Moment::at(1))));
        assert_eq!(Rc::strong_count(&old), 1);
        visitor.rest();
        assert_eq!(Rc::weak_count(&old), 0);
    }
}
