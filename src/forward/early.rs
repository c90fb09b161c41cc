//! Interim answers (1xx, RFC 9110 section 15.2) on their way from a worker to the client. They are hints: one that
//! cannot be passed on in time is dropped, and none is ever taken for the answer itself. `100 Continue` is not among
//! them, since each hop says that for itself, nor is `101 Switching Protocols`, which is an answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::StatusCode;

use super::headers;
use crate::fields::Fields;
use crate::message::ResponseHead;

/// Interim answers that one request may have; a worker that sends more has sent them for nothing.
pub const EARLY_MAX: u32 = 16;

/// The interim answers of one request, or of one request after another.
#[derive(Clone, Debug, Default)]
pub struct Early(Rc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    any: Cell<bool>,
    /// How many this request has had.
    told: Cell<u32>,
    answers: RefCell<Vec<ResponseHead>>,
}

impl Early {
    /// Another request begins: what an earlier one left behind is none of its own.
    pub fn begin(&self) {
        if self.0.told.replace(0) > 0 {
            drop(self.take());
        }
    }

    /// Keeps an interim answer for the client, made fit for its hop.
    pub fn tell(&self, status: StatusCode, mut fields: Fields) {
        if !passes(status) || self.count() >= EARLY_MAX {
            return;
        }
        headers::to_client_early(&mut fields);
        self.0.answers.borrow_mut().push(ResponseHead { status, reason: None, fields });
        self.0.any.set(true);
    }

    /// Keeps Buckler's own `100 Continue` for a client that waits for it.
    pub fn tell_continue(&self) {
        let answer = ResponseHead { status: StatusCode::CONTINUE, reason: None, fields: Fields::default() };
        self.count();
        self.0.answers.borrow_mut().insert(0, answer);
        self.0.any.set(true);
    }

    /// Whether any waits.
    pub fn is_waiting(&self) -> bool {
        self.0.any.get()
    }

    /// Takes those that wait, oldest first.
    pub fn take(&self) -> Vec<ResponseHead> {
        self.0.any.set(false);
        self.0.answers.take()
    }

    /// Counts one more; how many there were before it.
    fn count(&self) -> u32 {
        let told = self.0.told.get();
        self.0.told.set(told.saturating_add(1));
        told
    }
}

fn passes(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::CONTINUE && status != StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_pass_and_what_belongs_to_one_hop_does_not() {
        let early = Early::default();
        let mut fields = Fields::new();
        fields.add("link", b"</a.css>; rel=preload");
        fields.add("connection", b"x-hop");
        fields.add("x-hop", b"1");
        fields.add("content-length", b"5");
        for status in [100, 101, 102, 103, 200] {
            early.tell(StatusCode::from_u16(status).unwrap(), fields.clone());
        }
        let told = early.take();
        assert_eq!(told.iter().map(|answer| answer.status.as_u16()).collect::<Vec<_>>(), [102, 103]);
        assert_eq!(told[1].fields.len(), 1, "{told:?}");
        assert!(!early.is_waiting() && early.take().is_empty());
    }

    #[test]
    fn a_flood_of_hints_is_cut() {
        let early = Early::default();
        for _ in 0..1_000 {
            early.tell(StatusCode::EARLY_HINTS, Fields::default());
        }
        assert_eq!(early.take().len(), EARLY_MAX as usize);
        early.tell(StatusCode::EARLY_HINTS, Fields::default());
        assert!(early.take().is_empty(), "the bound is for the whole request");
        early.begin();
        early.tell(StatusCode::EARLY_HINTS, Fields::default());
        assert_eq!(early.take().len(), 1);
    }
}
