//! What the fields of a request taught, for the next request of its connection that brings the same ones: which of them
//! matter on the way, and who calls.
//!
//! Who calls follows from three things: the fields, whose number says which they are; the connection, of which nothing
//! that enters here ever changes; and the book of callers with the name of the key header and the trusted proxies,
//! which a reload may replace by one with another number. Which fields matter follows from the same, and of the fields
//! only from their names, which have a number too. What is kept is found by these numbers, so nothing has to be taken
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
    /// Whether its peer is trusted, by the book of that number.
    pub(super) trust: (u64, bool),
    learned: Option<Box<Learned>>,
}

/// What was learned from the names of this number with the book of that number.
#[derive(Debug)]
struct Learned {
    names: NonZeroU64,
    book: u64,
    sight: Sight,
    /// From the fields of this number.
    caller: Option<(NonZeroU64, Caller)>,
}

impl Visitor {
    /// Looks at the fields of a request.
    pub(super) fn look<'a>(&self, head: &'a RequestHead, book: &CallerBook, trusted: bool) -> Seen<'a> {
        let look = || Seen::of(&head.fields, book.callers().api_key_header.as_str(), trusted);
        let Some(names) = head.names else { return look() };
        let mut memory = self.memory.borrow_mut();
        let memory = memory.get_or_insert_default();
        if let Some(learned) = of(&mut memory.learned, head, book) {
            debug_assert_eq!(learned.sight, look().sight());
            return Seen::again(&head.fields, learned.sight);
        }
        let seen = look();
        let learned = Learned { names, book: book.number, sight: seen.sight(), caller: None };
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
            Some(Learned { caller: Some((section, caller)), .. }) if head.section == Some(*section) => {
                debug_assert!(
                    ask(callers).is_ok_and(|anew| (anew.hash, anew.client) == (caller.hash, caller.client))
                );
                Ok(caller.clone())
            }
            Some(Learned { caller, .. }) => {
                let asked = ask(callers)?;
                *caller = head.section.map(|section| (section, asked.clone()));
                Ok(asked)
            }
            None => ask(callers),
        }
    }
}

/// What was learned of the names of these fields, if nothing else was since.
fn of<'a>(
    learned: &'a mut Option<Box<Learned>>,
    head: &RequestHead,
    book: &CallerBook,
) -> Option<&'a mut Learned> {
    let names = head.names?;
    learned.as_deref_mut().filter(|learned| learned.names == names && learned.book == book.number)
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
    use crate::config::{self, At, Callers, Credential, KnownCaller, UnknownKey};
    use crate::inbound::Arrival;
    use crate::message::Target;
    use crate::refusal::Reason;
    use crate::service::{Desk, Place, Service};
    use crate::shard::ShardId;
    use crate::tls::identity::Identity;
    use crate::tls::{ClientCertificate, Session};

    const SECTIONS: [&[(&str, &str)]; 6] = [
        &[("host", "a"), ("x-api-key", "one")],
        &[("host", "a"), ("x-api-key", "two")],
        &[("x-token", "one"), ("host", "b"), ("content-length", "3"), ("te", "trailers")],
        &[("host", "a"), ("x-forwarded-for", "203.0.113.5"), ("x-forwarded-host", "c")],
        &[("host", "a"), ("x-api-key", "one"), ("x-api-key", "one")],
        &[],
    ];

    /// What those call themselves who connect with a certificate: a known caller, a stranger, two callers at once, and
    /// nobody. See [`certified`].
    const CERTIFIED: [&[&str]; 4] = [&["web.test"], &["other.test"], &["web.test", "office.test"], &[]];

    /// Whoever connects with a certificate of these names, which is faulty if there are none.
    fn certified(names: &[&str]) -> Arrival {
        let display = format!("certificate:{}", names.first().unwrap_or(&"0123456789ab")).into();
        let fault = names.is_empty().then_some("the client certificate cannot be read");
        let names = names.iter().map(|name| (*name).into()).collect();
        let certificate = ClientCertificate {
            identity: Identity { names, display, fault },
            fingerprint: "".into(),
            subject: "".into(),
            uris: Vec::new(),
            dns: Vec::new(),
            not_after: i64::MAX,
            der: Vec::new().into(),
        };
        let session = Session {
            server_name: None,
            certificate: Some(Arc::new(certificate)),
            version: "TLSv1.3",
            cipher: "",
            alpn_h2: false,
            resumed: false,
        };
        Arrival { session: Some(Box::new(session)), ..plain() }
    }

    fn plain() -> Arrival {
        Arrival::plain(([127, 0, 0, 1], 1).into())
    }

    /// Whoever connects: nobody with a certificate, one of [`CERTIFIED`], or somebody behind a balancer that does not
    /// say who.
    fn arrivals() -> Vec<Arrival> {
        let certified = CERTIFIED.iter().map(|names| certified(names));
        [plain(), Arrival::of_unknown(([127, 0, 0, 1], 1).into())].into_iter().chain(certified).collect()
    }

    fn known(name: &str) -> KnownCaller {
        KnownCaller {
            name: name.into(),
            api_keys: Vec::new(),
            certificates: vec![format!("{name}.test").into()],
            addresses: Vec::new(),
            tier: None,
            at: At { file: "t.yaml".into(), line: 1, column: 1 },
        }
    }

    fn books() -> Vec<CallerBook> {
        let book = |change: fn(&mut Callers)| {
            let mut callers = Arc::into_inner(config::plain_callers()).unwrap();
            callers.identify = vec![Credential::ApiKey, Credential::Address];
            callers.unknown_key = UnknownKey::Anonymous;
            callers.known = vec![known("web"), known("office")];
            change(&mut callers);
            CallerBook::new(Arc::new(callers))
        };
        vec![
            book(|_| {}),
            book(|callers| callers.api_key_header = HeaderName::from_static("x-token")),
            book(|callers| callers.unknown_key = UnknownKey::Refuse),
            book(|callers| callers.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]),
            book(|callers| callers.identify = vec![Credential::Address]),
            book(|callers| callers.identify.insert(0, Credential::Certificate)),
            book(|callers| {
                callers.identify = vec![Credential::ApiKey, Credential::Certificate];
                callers.known.reverse();
            }),
        ]
    }

    fn visitor() -> Rc<Visitor> {
        visitor_of(plain())
    }

    fn visitor_of(arrival: Arrival) -> Rc<Visitor> {
        let clock = ShardClock::new();
        let callers = Arc::new(CallerBook::new(config::plain_callers()));
        let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
        let service = Service::new((&Arc::new(config::plain_service()), None), &callers, &ledger, 1, None);
        let place = Place::new(Desk::new(service, (ShardId(0), &clock), None, None), clock);
        Visitor::new(arrival, place)
    }

    /// A request with these fields, whose number is known or not, and so that of their names.
    fn head(n: usize, numbered: bool) -> RequestHead {
        numbered_head(n, (numbered, numbered))
    }

    /// The same, with one without the other.
    fn numbered_head(n: usize, (section, names): (bool, bool)) -> RequestHead {
        let mut head = RequestHead::new(http::Method::GET, Target::default());
        SECTIONS[n].iter().for_each(|(name, value)| head.fields.add(name, value.as_bytes()));
        head.section = NonZeroU64::new(n as u64 + 1).filter(|_| section);
        let names_of = |n: usize| SECTIONS[n].iter().map(|(name, _)| *name);
        let first = (0..=n).find(|other| names_of(*other).eq(names_of(n))).unwrap_or(n);
        head.names = NonZeroU64::new(first as u64 + 1).filter(|_| names);
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
            who in 0..2 + CERTIFIED.len(),
            requests in proptest::collection::vec((0..SECTIONS.len(), 0_usize..3, 0_usize..7), 1..40),
        ) {
            let come = || visitor_of(arrivals().remove(who));
            let (visitor, books) = (come(), books());
            for (n, numbers, book) in requests {
                // Of fields with another value than before, only the names have a number.
                let (head, book) = (numbered_head(n, (numbers > 1, numbers > 0)), &books[book]);
                for _ in 0..2 {
                    let (sight, caller) = learned(&visitor, &head, book);
                    let (new_sight, new_caller) = learned(&come(), &head, book);
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

    /// Who calls by this book over a connection, asked three times, of which the last two are known already; its fields
    /// have a number, or not.
    fn caller(visitor: &Visitor, book: &CallerBook, numbered: bool) -> Result<String, &'static str> {
        let head = head(0, numbered);
        let answers = [0; 3].map(|_| {
            let seen = visitor.look(&head, book, false);
            let caller = visitor.identify(&head, book, &seen);
            caller.map(|caller| book.name(&caller).to_owned()).map_err(|refused| {
                assert_eq!(refused.reason, Reason::NoIdentity);
                refused.detail
            })
        });
        assert!(answers[0] == answers[1] && answers[1] == answers[2], "{answers:?}");
        answers[0].clone()
    }

    #[test]
    fn who_shows_a_certificate_is_whom_it_names_however_often_the_fields_were_seen() {
        let books = books();
        let by_certificate = &books[5];
        let [web, other, two, nobody] = CERTIFIED.map(|names| visitor_of(certified(names)));
        for numbered in [true, false, true] {
            let name = |visitor: &Visitor| caller(visitor, by_certificate, numbered);
            assert_eq!(name(&web), Ok("web".to_owned()));
            assert_eq!(name(&other), Ok("certificate:other.test".to_owned()));
            assert_eq!(name(&two), Err("the client certificate holds the names of two known callers"));
            assert_eq!(name(&nobody), Err("the client certificate cannot be read"));
            // The same fields, of who shows none: the key stands for itself.
            assert!(name(&visitor()).unwrap().starts_with("api_key:"));
        }
    }

    #[test]
    fn a_reload_that_looks_at_certificates_or_no_longer_does_is_followed_at_once() {
        let (books, web) = (books(), visitor_of(certified(CERTIFIED[0])));
        let (by_key, by_certificate) = (&books[0], &books[5]);
        for _ in 0..2 {
            assert!(caller(&web, by_key, true).unwrap().starts_with("api_key:"));
            assert_eq!(caller(&web, by_certificate, true), Ok("web".to_owned()));
        }
    }
}
