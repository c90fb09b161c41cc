//! What the fields of a request say: the fields themselves, and what its answer has to know of them. Those that say
//! again what the fields before said, but for values that say nothing here, are copied from those, and not read.

use std::num::NonZeroU64;

use super::line::Io;
use crate::fields::Fields;
use crate::listen::wire::{HeadFacts, MethodKind, Spans};

/// The longest name of a field, in bytes: what the `http` crate holds, which requests go to workers of HTTP/2 by.
const LONGEST_NAME: usize = 65_535;

/// What the answer has to know of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// In HTTP/1.0.
    pub(super) version_10: bool,
    /// By HEAD: without a body.
    pub(super) is_head: bool,
    /// The client would send another request on this connection.
    pub(super) keep_alive: bool,
    /// It said that it would not.
    pub(super) closes: bool,
    /// The client reads trailers (`TE: trailers`).
    pub(super) takes_trailers: bool,
}

/// What the fields of a request say.
#[derive(Debug)]
pub(super) struct Said {
    /// The number of the request that said it first, if it was kept since then: the first one of a connection has 1.
    pub(super) section: Option<NonZeroU64>,
    /// The same of its names.
    pub(super) names: Option<NonZeroU64>,
    pub(super) fields: Fields,
    pub(super) asked: Asked,
}

impl Io {
    /// What the fields of a judged head say. None: a name is longer than one may be.
    pub(super) fn hear_fields(&mut self, head: &[u8], facts: &HeadFacts) -> Option<Said> {
        let (spans, number) = (self.wire.spans(), NonZeroU64::new(self.heads + 1));
        if let Some(said) = &mut self.said {
            let is_alike = self.wire.resembles() && said.overwrite(head, spans, number);
            if is_alike || self.wire.repeats() {
                let mut again = said.again(facts);
                debug_assert!(
                    read(head, spans, facts)
                        .is_some_and(|read| (&read.fields, read.asked) == (&again.fields, again.asked))
                );
                // Of what is new each time nothing is learned that the next one may have no use for.
                again.section = again.section.filter(|_| !is_alike);
                return Some(again);
            }
        }
        let mut said = read(head, spans, facts)?;
        self.said = None;
        if self.wire.may_repeat() {
            (said.section, said.names) = (number, number);
            self.said = Some(Box::new(said.again(facts)));
        }
        Some(said)
    }
}

impl Said {
    /// The same of a head with the same fields.
    fn again(&self, facts: &HeadFacts) -> Self {
        let asked = Asked { is_head: facts.method == MethodKind::Head, ..self.asked };
        Self { section: self.section, names: self.names, fields: self.fields.clone(), asked }
    }

    /// Makes it what a head says whose fields resemble these; false if there are not as many, and then it is of no use
    /// any more. Those that [`Asked`] looks at are the same.
    fn overwrite(&mut self, head: &[u8], spans: &Spans, number: Option<NonZeroU64>) -> bool {
        self.section = number;
        self.fields.overwrite(&head[spans.section..], &spans.fields)
    }
}

fn read(head: &[u8], spans: &Spans, facts: &HeadFacts) -> Option<Said> {
    if head.len() > LONGEST_NAME && spans.fields.iter().any(|field| field.name.len() > LONGEST_NAME) {
        return None;
    }
    let mut fields = Fields::new();
    fields.read(&head[spans.section..], &spans.fields, !spans.oddly_written);
    let asked = Asked::of(&fields, facts);
    Some(Said { section: None, names: None, fields, asked })
}

impl Asked {
    fn of(fields: &Fields, facts: &HeadFacts) -> Self {
        let mut asked = Self {
            version_10: facts.version_10,
            is_head: facts.method == MethodKind::Head,
            keep_alive: !facts.version_10,
            closes: false,
            takes_trailers: fields.get_all("te").any(|value| names(value, b"trailers")),
        };
        // RFC 9112 section 9.3. Whoever says both wants to close.
        for value in fields.get_all("connection") {
            if names(value, b"close") {
                (asked.keep_alive, asked.closes) = (false, true);
            } else if asked.version_10 && !asked.closes {
                asked.keep_alive |= names(value, b"keep-alive");
            }
        }
        asked
    }
}

/// Whether a list has this member. Most have one only.
pub(super) fn names(list: &[u8], member: &[u8]) -> bool {
    list.trim_ascii().eq_ignore_ascii_case(member) || (list.contains(&b',') && has_member(list, member))
}

fn has_member(list: &[u8], member: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(member))
}
