//! What the fields of a request taught, for the next request of its connection that brings the same ones: which of them
//! matter on the way, and who calls.
//!
//! Both follow from three things: the fields, whose number says which they are; the connection, of which nothing that
//! enters here ever changes; and the book of callers with the name of the key header and the trusted proxies, which a
//! reload may replace by one with another number. What is kept is found by both numbers, so nothing has to be taken
//! back. A refusal is not kept: whoever is refused is judged anew.

use std::num::NonZeroU64;

use super::Visitor;
use crate::admit::caller::{CachedCaller, Caller, CallerBook, Keys};
use crate::forward::seen::{Has, Seen, Sight};
use crate::message::RequestHead;
use crate::refusal::Refusal;

/// What a connection remembers of its callers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By what they showed, whatever it came with.
    pub(super) callers: CachedCaller,
    learned: Option<Learned>,
}

/// What was learned from the fields of this number with the book of that number.
#[derive(Debug)]
struct Learned {
    section: NonZeroU64,
    book: u64,
    sight: Sight,
    caller: Option<Caller>,
}

impl Visitor {
    /// Looks at the fields of a request.
    pub(super) fn look<'a>(&self, head: &'a RequestHead, book: &CallerBook, trusted: bool) -> Seen<'a> {
        let look = || Seen::of(&head.fields, book.callers().api_key_header.as_str(), trusted);
        let Some(section) = head.section else { return look() };
        let mut memory = self.memory.borrow_mut();
        let memory = memory.get_or_insert_default();
        if let Some(learned) = of(&mut memory.learned, head, book) {
            debug_assert_eq!(learned.sight, look().sight());
            return Seen::again(&head.fields, learned.sight);
        }
        let seen = look();
        let book = book.number();
        memory.learned = Some(Learned { section, book, sight: seen.sight(), caller: None });
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
        let Memory { callers, learned } = &mut **memory.get_or_insert_default();
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
                debug_assert!(ask(callers).is_ok_and(|anew| anew.hash == caller.hash));
                Ok(caller.clone())
            }
            Some(Learned { caller, .. }) => Ok(caller.insert(ask(callers)?).clone()),
            None => ask(callers),
        }
    }
}

/// What was learned of these fields, if nothing else was since.
fn of<'a>(
    learned: &'a mut Option<Learned>,
    head: &RequestHead,
    book: &CallerBook,
) -> Option<&'a mut Learned> {
    let section = head.section?;
    learned.as_mut().filter(|learned| learned.section == section && learned.book == book.number())
}
