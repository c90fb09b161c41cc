//! The way of a connection of `protocol: tcp`: who is calling, may they, is there room and a connection left, which
//! worker, and then bytes. It asks the same questions as a request, once, and its bytes are nobody's business.

use std::rc::Rc;

use http::Method;

use super::request_id::RequestId;
use super::room::{self, Admission, Asking};
use super::{Visitor, caller_note, key, note_shadows};
use crate::admit::{Facts, permission};
use crate::fields::Fields;
use crate::forward::tunnel::{self, ClientSide, Opening, TunnelTerms, WorkerSide};
use crate::record::{End, Outcome};
use crate::refusal::Refusal;
use crate::service::Desk;
use crate::workers::CallerGroup;

/// What rules see of a connection. A rule that asks for a method, a host or a path never matches one: the method is one
/// that no rule can name, since it is never forwarded.
const FACTS: Facts<'static> = Facts { method: &Method::CONNECT, host: "", path: "" };

/// A connection that may have its bytes carried, and the worker that they go to.
#[derive(Debug)]
pub struct Opened {
    visitor: Rc<Visitor>,
    worker: WorkerSide,
    /// Held to the end: the connection counts as a request in progress.
    _admission: Admission,
    outcome: Box<Outcome>,
}

/// Asks everything that stands before the first byte, and connects to a worker. The connection is charged one request.
/// None: it is to be closed, which has been recorded; there is no protocol to say why in.
pub async fn open(visitor: Rc<Visitor>) -> Option<Opened> {
    let desk = Rc::clone(&visitor.desk());
    let mut outcome = begin(&visitor, &desk);
    let opened = match admit(&visitor, &desk, &mut outcome).await {
        Ok((mut admission, whose)) => {
            let spoken = visitor.arrival.spoken();
            let reserved = std::mem::take(&mut admission.reserved);
            desk.route.open(spoken, reserved, whose, &mut outcome).await.map(|worker| (worker, admission))
        }
        Err(refusal) => Err(refusal),
    };
    match opened {
        Ok((worker, admission)) => Some(Opened { visitor, worker, outcome, _admission: admission }),
        Err(refusal) => {
            refuse(outcome, refusal);
            None
        }
    }
}

impl Opened {
    /// Carries bytes between this client and the worker until that ends.
    pub async fn carry<C: ClientSide>(mut self, mut client: C) {
        let visitor = &self.visitor;
        let idle = visitor.timeouts().tunnel;
        let terms = TunnelTerms { idle, clock: visitor.clock(), drain: visitor.drain_begins() };
        tunnel::carry(&mut client, &mut self.worker, Opening::default(), terms, &mut self.outcome).await;
    }
}

/// Records a connection that is closed before any question is asked. The client is told nothing but the close: there
/// is no protocol to tell it in.
pub fn turn_away(visitor: &Visitor, refusal: &Refusal) {
    let desk = Rc::clone(&visitor.desk());
    refuse(begin(visitor, &desk), refusal.clone());
}

fn begin(visitor: &Visitor, desk: &Desk) -> Box<Outcome> {
    let now = visitor.refresh_clock();
    let mut outcome = Box::new(desk.scribe.begin(now, visitor.arrival.peer));
    outcome.tcp();
    outcome.request_id(RequestId::new(now).as_bytes());
    outcome
}

/// Besides what the connection holds: what a ring goes by, and the caller's group.
async fn admit(
    visitor: &Visitor,
    desk: &Desk,
    outcome: &mut Outcome,
) -> Result<(Admission, (u64, CallerGroup)), Refusal> {
    let service = &desk.service;
    let now = outcome.begun();
    let caller = service.callers.identify(
        visitor.credentials(),
        &Fields::default(),
        &mut visitor.memory.borrow_mut().get_or_insert_default().callers,
    )?;
    outcome.client(caller.client);
    outcome.caller(caller_note(&caller));
    let named = (&caller, service.callers.name(&caller));
    let key = key::of(&service.config.balance, &Fields::default(), named.1);
    let mut shadows = Vec::new();
    let judged = permission::judge(&service.rules, named, &FACTS, now, &mut shadows);
    let admitted = match judged {
        Ok(()) => {
            let clock = visitor.clock();
            let asking = Asking { desk, clock, caller: &caller, facts: &FACTS, key, until: None };
            let admitted = match room::enter_at_once(&asking, now, &mut shadows) {
                Some(admitted) => admitted,
                None => room::enter(&asking, now, outcome, &mut shadows).await,
            };
            admitted.map_err(|refused| refused.refusal)
        }
        Err(refusal) => Err(refusal),
    };
    note_shadows(outcome, &shadows);
    admitted.map(|admission| (admission, (key, CallerGroup::of(caller.hash))))
}

fn refuse(mut outcome: Box<Outcome>, refusal: Refusal) {
    outcome.refused(refusal);
    outcome.ended(End::Complete);
}
