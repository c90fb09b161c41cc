//! What the fields of a request taught, for the next request of its connection that brings the same ones: which of them
//! matter on the way, and who calls.
//!
//! Both follow from three things: the fields, whose number says which they are; the connection, of which nothing that
//! enters here ever changes; and the book of callers with the name of the key header and the trusted proxies, which a
//! reload may replace by one with another number. What is kept is found by both numbers, so nothing has to be taken
//! back. A refusal is not kept: whoever is refused is judged anew.

use std::num::NonZeroU64;

use super::Visitor;
use super::judged::Verdict;
use crate::admit::caller::{CachedCaller, Caller, CallerBook, Keys};
use crate::forward::seen::{Has, Seen, Sight};
use crate::message::RequestHead;
use crate::refusal::Refusal;

/// What a connection remembers of its callers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By what they showed, whatever it came with.
    pub(super) callers: CachedCaller,
    /// Whether its peer is trusted, by the book of that number.
    pub(super) trust: (u64, bool),
    learned: Option<Box<Learned>>,
}

/// What was learned from the fields of this number with the book of that number.
#[derive(Debug)]
struct Learned {
    section: NonZeroU64,
    book: u64,
    sight: Sight,
    caller: Option<Caller>,
    /// They came more than once.
    repeats: bool,
    /// What was judged of the last request that came with them.
    verdict: Option<Verdict>,
}

impl Memory {
    /// What was judged of the last request, if that came with these fields: who called, and what was found.
    pub(super) fn judged(&self, section: NonZeroU64) -> Option<(&Caller, &Verdict)> {
        let learned = self.learned.as_deref().filter(|learned| learned.section == section)?;
        Some((learned.caller.as_ref()?, learned.verdict.as_ref()?))
    }

    /// Where that is kept, if these fields have come more than once.
    pub(super) fn verdict(&mut self, section: NonZeroU64) -> Option<&mut Option<Verdict>> {
        let learned = self.learned.as_deref_mut()?;
        (learned.section == section && learned.repeats).then_some(&mut learned.verdict)
    }
}

impl Visitor {
    /// Looks at the fields of a request.
    pub(super) fn look<'a>(&self, head: &'a RequestHead, book: &CallerBook, trusted: bool) -> Seen<'a> {
        let look = || Seen::of(&head.fields, book.callers().api_key_header.as_str(), trusted);
        let Some(section) = head.section else { return look() };
        let mut memory = self.memory.borrow_mut();
        let memory = memory.get_or_insert_default();
        if let Some(learned) = of(&mut memory.learned, head, book) {
            learned.repeats = true;
            debug_assert_eq!(learned.sight, look().sight());
            return Seen::again(&head.fields, learned.sight);
        }
        let seen = look();
        let (book, sight) = (book.number, seen.sight());
        let learned = Learned { section, book, sight, caller: None, repeats: false, verdict: None };
        memory.learned = Some(Box::new(learned));
        seen
    }

    /// Who calls.
    ///
    /// # Errors
    /// As of [`CallerBook::identify`].
    pub(super) fn identify(
        &self,
        head: &RequestHead,
        book: &CallerBook,
        seen: &Seen<'_>,
    ) -> Result<Caller, Refusal> {
        let mut memory = self.memory.borrow_mut();
        let Memory { callers, learned, .. } = &mut **memory.get_or_insert_default();
        let ask = |callers: &mut CachedCaller| {
            let keys = match seen.key() {
                Some(key) if seen.keys() == 1 => Keys::One(key),
                Some(_) => Keys::Several,
                None => Keys::None,
            };
            let forwarded = seen.has().any(Has::FORWARDED_FOR).then_some(&head.fields);
            book.identify_by(self.credentials(), keys, forwarded, callers)
        };
        match of(learned, head, book) {
            Some(Learned { caller: Some(caller), .. }) => {
                debug_assert!(
                    ask(callers).is_ok_and(|anew| (anew.hash, anew.client) == (caller.hash, caller.client))
                );
                Ok(caller.clone())
            }
            Some(Learned { caller, .. }) => Ok(caller.insert(ask(callers)?).clone()),
            None => ask(callers),
        }
    }
}

/// What was learned of these fields, if nothing else was since.
fn of<'a>(
    learned: &'a mut Option<Box<Learned>>,
    head: &RequestHead,
    book: &CallerBook,
) -> Option<&'a mut Learned> {
    let section = head.section?;
    learned.as_deref_mut().filter(|learned| learned.section == section && learned.book == book.number)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::rc::Rc;
    use std::sync::Arc;

    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;
    use crate::admit::ledger::Ledger;
    use crate::clock::ShardClock;
    use crate::config::{self, Callers, Credential, UnknownKey};
    use crate::inbound::Arrival;
    use crate::message::Target;
    use crate::service::{Desk, Place, Service};
    use crate::shard::ShardId;

    const SECTIONS: [&[(&str, &str)]; 6] = [
        &[("host", "a"), ("x-api-key", "one")],
        &[("host", "a"), ("x-api-key", "two")],
        &[("x-token", "one"), ("host", "b"), ("content-length", "3"), ("te", "trailers")],
        &[("host", "a"), ("x-forwarded-for", "203.0.113.5"), ("x-forwarded-host", "c")],
        &[("host", "a"), ("x-api-key", "one"), ("x-api-key", "one")],
        &[],
    ];

    fn books() -> Vec<CallerBook> {
        let book = |change: fn(&mut Callers)| {
            let mut callers = Arc::into_inner(config::plain_callers()).unwrap();
            callers.identify = vec![Credential::ApiKey, Credential::Address];
            callers.unknown_key = UnknownKey::Anonymous;
            change(&mut callers);
            CallerBook::new(Arc::new(callers))
        };
        vec![
            book(|_| {}),
            book(|callers| callers.api_key_header = HeaderName::from_static("x-token")),
            book(|callers| callers.unknown_key = UnknownKey::Refuse),
            book(|callers| callers.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]),
            book(|callers| callers.identify = vec![Credential::Address]),
        ]
    }

    fn visitor() -> Rc<Visitor> {
        let clock = ShardClock::new();
        let callers = Arc::new(CallerBook::new(config::plain_callers()));
        let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
        let service = Service::new((&Arc::new(config::plain_service()), None), &callers, &ledger, 1, None);
        let place = Place::new(Desk::new(service, (ShardId(0), &clock), None, None), clock);
        Visitor::new(Arrival::plain(([127, 0, 0, 1], 1).into()), place)
    }

    /// A request with these fields, whose number is known or not.
    fn head(n: usize, numbered: bool) -> RequestHead {
        let mut head = RequestHead::new(http::Method::GET, Target::default());
        SECTIONS[n].iter().for_each(|(name, value)| head.fields.add(name, value.as_bytes()));
        head.section = NonZeroU64::new(n as u64 + 1).filter(|_| numbered);
        head
    }

    /// What is seen, and who calls.
    fn learned(visitor: &Visitor, head: &RequestHead, book: &CallerBook) -> (Sight, Result<String, Refusal>) {
        let trusted = book.is_trusted(visitor.arrival.peer.ip());
        let seen = visitor.look(head, book, trusted);
        let caller = visitor.identify(head, book, &seen);
        (seen.sight(), caller.map(|caller| format!("{caller:?}")))
    }

    proptest! {
        // Each makes many services.
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// One connection, whose requests repeat their fields or not while the book of callers changes.
        #[test]
        fn what_was_learned_is_what_is_learned_anew(
            requests in proptest::collection::vec((0..SECTIONS.len(), any::<bool>(), 0_usize..5), 1..40),
        ) {
            let (visitor, books) = (visitor(), books());
            for (n, numbered, book) in requests {
                let (head, book) = (head(n, numbered), &books[book]);
                for _ in 0..2 {
                    let (sight, caller) = learned(&visitor, &head, book);
                    let (new_sight, new_caller) = learned(&self::visitor(), &head, book);
                    prop_assert_eq!(sight, new_sight);
                    let detail = |refused: Refusal| (refused.reason, refused.detail);
                    prop_assert_eq!(caller.map_err(detail), new_caller.map_err(detail));
                }
            }
        }
    }

    #[test]
    fn who_was_refused_is_not_taken_for_somebody() {
        let (visitor, books) = (visitor(), books());
        let (known, refusing) = (&books[0], &books[2]);
        assert!(learned(&visitor, &head(0, true), known).1.is_ok());
        for _ in 0..2 {
            assert!(learned(&visitor, &head(0, true), refusing).1.is_err());
        }
        assert!(learned(&visitor, &head(0, true), known).1.is_ok());
    }
}
