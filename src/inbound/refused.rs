//! What a client is told whose request is refused: the page of the refusal, in gRPC's form for gRPC, or the operator's
//! `fallback`. Who refuses, and why, stands elsewhere.

use std::borrow::Cow;
use std::hint::cold_path;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use http::{Method, Uri};

use super::request_id::RequestId;
use super::{Journey, Parting, Visitor, caller_note};
use crate::fields::Fields;
use crate::forward::seen::Has;
use crate::forward::{Answer, headers};
use crate::message::{RequestHead, Response, ResponseHead, Target};
use crate::record::End;
use crate::refusal::page::{self, Asked, Lines, Page};
use crate::refusal::{self, Reason, Refusal, fallback};

impl Journey<'_> {
    /// The answer to a refused request. One that broke after its head was sent has no other: it is cut.
    pub(super) fn refuse(&mut self, refusal: Refusal, head: &RequestHead) -> Response<Answer> {
        self.refused = true;
        if let (None, Some(caller)) = (&self.standing, &self.caller) {
            self.standing = self.desk.service.limits.peek_enforced(caller, self.now);
        }
        let response = self.page(&refusal, &head.fields);
        let outcome = &mut self.held.outcome;
        outcome.refused(refusal);
        if outcome.is_turned_away() && outcome.has_queued().is_zero() {
            outcome.over(self.now);
        }
        // Of a flood few are written down, and only for those the head is kept.
        if outcome.is_kept() && !outcome.is_logged() {
            cold_path();
            outcome.request(head);
            outcome.request_id(self.request_id.as_bytes());
        }
        response
    }

    fn page(&mut self, refusal: &Refusal, fields: &Fields) -> Response<Answer> {
        let callers = &self.desk.service.callers;
        // Only who showed a credential is told its name: an address says nothing new to a stranger.
        let known = self.caller.as_ref().filter(|caller| caller.known().is_some());
        let accepts = self.has.is_none_or(|has| has.any(Has::ACCEPT));
        let asked = Asked {
            request_id: self.request_id.as_bytes(),
            id_is_plain: self.request_id.is_plain(),
            plain: accepts && page::wants_plain(accepted(fields).as_deref()),
            caller: known.map(|caller| callers.name(caller)),
            key_header: Some(callers.callers().api_key_header.as_str()),
        };
        if let Some(kind) = &self.grpc {
            cold_path();
            let page = refusal::grpc::page(refusal, &asked, kind.as_bytes()).map(|()| Answer::Own(None));
            return self.identified(page);
        }
        if let Some(given) = &self.desk.service.config.fallback
            && fallback::stands_in_for(refusal.reason)
        {
            cold_path();
            self.held.outcome.fell_back();
            let given = (given.status, &given.headers, &given.body);
            let page = fallback::page(refusal, &asked, given).map(Answer::Own);
            return self.identified(page);
        }
        let (status, mut fields) = (page::status(refusal.reason), Fields::default());
        let mut body = None;
        self.held.page = if self.one_at_a_time() { self.usual(refusal, &asked) } else { None };
        if self.held.page.is_none() {
            cold_path();
            body = Some(page::write(refusal, &asked, &mut fields));
        }
        // Who sends what can be read in two ways, or what is never forwarded, is not asked for a second request: what
        // comes behind it may be a part of the first one. Nor is who sends more than is read.
        if self.one_at_a_time() && is_doubtful(refusal.reason) {
            cold_path();
            fields.add("connection", b"close");
            self.visitor.part(Parting::TurnedOut);
        }
        Response { head: ResponseHead { status, reason: None, fields }, body: Answer::Own(body) }
    }

    /// The usual page of it, which says how the caller stands as well.
    fn usual(&self, refusal: &Refusal, asked: &Asked<'_>) -> Option<Page> {
        let limits = &self.desk.service.limits;
        let Some(standing) = self.told() else { return Page::usual(refusal, asked, &Lines::NONE) };
        let write = |put: &mut dyn FnMut(&[u8])| limits.with_header_lines(standing, put);
        Page::usual(refusal, asked, &Lines { key: limits.key_of_lines(standing), write: &write })
    }

    /// An answer in the words of others, with what Buckler says of each.
    #[cold]
    fn identified(&self, mut response: Response<Answer>) -> Response<Answer> {
        let told = self.told().is_some();
        headers::to_client_own(&mut response.head.fields, self.request_id.as_bytes(), told);
        response
    }
}

/// Whether more of the request may follow on its connection.
const fn is_doubtful(reason: Reason) -> bool {
    matches!(reason, Reason::BadRequest | Reason::HttpVersion | Reason::MethodRefused | Reason::BodyTooLarge)
}

/// What the client accepts, for a page of our own; the lines of the field are one list (RFC 9110 section 5.3).
pub(super) fn accepted(fields: &Fields) -> Option<Cow<'_, [u8]>> {
    let mut lines = fields.get_all("accept");
    let first = lines.next()?;
    Some(lines.fold(Cow::Borrowed(first), |mut joined, line| {
        joined.to_mut().extend([b",", line].concat());
        joined
    }))
}

/// Answers and records a request that never became one: its head was refused when it was read. Returns the bytes
/// to send.
pub fn refuse_unread(visitor: &Visitor, refusal: &Refusal, method: &[u8], target: &[u8]) -> Vec<u8> {
    let now = visitor.refresh_clock();
    let desk = Rc::clone(&visitor.desk());
    let mut outcome = desk.scribe.begin(now, visitor.arrival.peer);
    let request_id = RequestId::new(now);
    // What is left of the request line is logged if it makes sense at all.
    let uri: Uri = std::str::from_utf8(target).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    if let Ok(method) = Method::from_bytes(method) {
        outcome.request(&RequestHead::new(method, Target::of(&uri)));
    }
    outcome.request_id(request_id.as_bytes());
    if let Ok(caller) = desk.service.callers.identify(
        visitor.credentials(),
        &Fields::default(),
        &mut visitor.memory.borrow_mut().get_or_insert_default().callers,
    ) {
        outcome.caller(caller_note(&caller));
    }
    outcome.refused(refusal.clone());
    outcome.status(refusal.reason.status());
    outcome.ended(End::Complete);
    let asked = Asked { request_id: request_id.as_bytes(), ..Asked::default() };
    let date = UNIX_EPOCH + Duration::from_micros(now.unix_micros);
    page::raw(refusal, &asked, date, method == Method::HEAD.as_str().as_bytes())
}
