//! The usual page of a refusal, in JSON: what is the same for all that one rule refuses is put together once for each
//! thread, is looked up by the rule and the reason, and is lent to the answer, which fills in the rest. So a flood is
//! refused by writing down two ids. What a page says stands in `refusal/page.rs` too.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::page::{
    Asked, END_OF_STATUS, PROXY_STATUS, REQUEST_ID, begin_status, is_plain, name_caller, whole_seconds,
};
use super::rule::{KEPT, place_of};
use super::{HeldRule, Reason, Refusal};
use crate::fields::{Fields, Form};

thread_local! {
    static PAGES: RefCell<[Option<Box<Prepared>>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// The answer to a refused request but for its first line and what its connection says: field lines, the end of the
/// head, and a body in JSON. Once it is written, its thread keeps it for the next one.
#[derive(Debug)]
pub struct Page(Box<Prepared>);

impl Page {
    /// The page of this refusal, with these lines more in its head. None: it would not be the usual one, since the
    /// client does not take JSON or more is to be said than stands in it.
    pub fn usual(refusal: &Refusal, asked: &Asked<'_>, lines: &[u8]) -> Option<Self> {
        let says_more = matches!(refusal.reason, Reason::NoIdentity | Reason::MethodRefused);
        if asked.plain || says_more { None } else { Some(Self::filled(refusal, asked, lines)) }
    }

    pub(super) fn filled(refusal: &Refusal, asked: &Asked<'_>, lines: &[u8]) -> Self {
        let parts = (refusal.retry_after.is_some(), !asked.request_id.is_empty());
        let kept = PAGES.with_borrow_mut(|pages| pages[place(refusal.rule.as_ref(), refusal.reason)].take());
        let mut page = match kept {
            Some(page) if page.is_of(refusal, parts) => page,
            _ => Prepared::of(refusal, parts),
        };
        page.fill(refusal, asked, lines);
        Self(page)
    }

    /// How long its body is, in bytes.
    pub fn body_bytes(&self) -> usize {
        self.0.length
    }

    /// Writes it behind `out`, with its body or without.
    pub fn write(self, with_body: bool, out: &mut Vec<u8>) {
        let all = self.0.form.as_bytes();
        let end = if with_body { all.len() } else { all.len() - self.0.length };
        out.extend_from_slice(&all[..end]);
        self.keep();
    }

    /// Adds its usual fields to `fields`, but for its length and the lines more. Returns its body.
    pub(super) fn write_apart(self, fields: &mut Fields) -> Bytes {
        fields.add_form(&self.0.form);
        let body = Bytes::copy_from_slice(self.0.body());
        self.keep();
        body
    }

    fn keep(self) {
        let place = place(self.0.rule.as_ref(), self.0.reason);
        PAGES.with_borrow_mut(|pages| pages[place] = Some(self.0));
    }
}

/// Where a thread keeps the page of this rule and reason.
fn place(rule: Option<&HeldRule>, reason: Reason) -> usize {
    (place_of(rule.map(HeldRule::shared)) + reason.index()) % KEPT
}

/// What all pages have in common by which one rule refuses for one reason, as it was filled in last.
struct Prepared {
    /// Held, so that no other rule can come to stand at its address.
    rule: Option<HeldRule>,
    reason: Reason,
    detail: &'static str,
    /// Whether it says when to come back, and which request it answers.
    parts: (bool, bool),
    form: Form,
    gaps: Gaps,
    /// What mostly stays the same from one page to the next: the seconds to wait, the caller, the length of the body.
    wait: u64,
    caller: Option<String>,
    length: usize,
}

/// The numbers of its gaps, in the head and in the body where it is in both.
struct Gaps {
    wait: (usize, usize),
    caller: usize,
    id: (usize, usize),
    /// Lines more.
    lines: usize,
    length: usize,
}

impl Prepared {
    fn is_of(&self, refusal: &Refusal, parts: (bool, bool)) -> bool {
        let same_rule = match (&self.rule, &refusal.rule) {
            (Some(mine), Some(other)) => Arc::ptr_eq(mine.shared(), other.shared()),
            (None, None) => true,
            _ => false,
        };
        let same_text = std::ptr::eq(self.detail, refusal.detail) && self.parts == parts;
        same_rule && self.reason == refusal.reason && same_text
    }

    #[cold]
    fn of(refusal: &Refusal, parts: (bool, bool)) -> Box<Self> {
        let (waits, identified) = parts;
        let mut status = Vec::with_capacity(192);
        begin_status(refusal, &mut status);
        let mut form = Form::default()
            .line("content-type", &[b"application/problem+json"])
            .line("cache-control", &[b"no-store"]);
        let mut gaps = Gaps { wait: (0, 0), caller: 0, id: (0, 0), lines: 0, length: 0 };
        gaps.wait.0 = form.gaps();
        if waits {
            form = form.line("retry-after", &[b"", b""]);
        }
        gaps.caller = form.gaps();
        form = form.line(PROXY_STATUS, &[&status, END_OF_STATUS]);
        gaps.id.0 = form.gaps();
        if identified {
            form = form.line(REQUEST_ID, &[b"", b""]);
        }
        gaps.lines = form.gaps();
        gaps.length = gaps.lines + 1;
        form = form.behind(&[b"", b"content-length: ", b"\r\n\r\n"]).behind(&[&begin_problem(refusal)]);
        gaps.wait.1 = form.gaps();
        if waits {
            form = form.behind(&[b",\"retry_after\":", b""]);
        }
        gaps.id.1 = form.gaps();
        if identified {
            form = form.behind(&[b",\"request_id\":\"", b"\""]);
        }
        form = form.behind(&[b"}\n"]);
        let (rule, reason, detail) = (refusal.rule.clone(), refusal.reason, refusal.detail);
        Box::new(Self { rule, reason, detail, parts, form, gaps, wait: 0, caller: None, length: 0 })
    }

    /// Fills in what is of this request alone.
    fn fill(&mut self, refusal: &Refusal, asked: &Asked<'_>, lines: &[u8]) {
        let (waits, identified) = self.parts;
        let (form, gaps) = (&mut self.form, &self.gaps);
        let wait = refusal.retry_after.map_or(0, whole_seconds);
        if waits && wait != self.wait {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(wait).as_bytes();
            form.put(gaps.wait.0, digits);
            form.put(gaps.wait.1, digits);
            self.wait = wait;
        }
        if asked.caller != self.caller.as_deref() {
            let mut said = Vec::new();
            asked.caller.iter().for_each(|caller| name_caller(caller, &mut said));
            form.put(gaps.caller, &said);
            self.caller = asked.caller.map(str::to_owned);
        }
        if identified {
            form.put(gaps.id.0, asked.request_id);
            if asked.id_is_plain || is_plain(asked.request_id) {
                form.put(gaps.id.1, asked.request_id);
            } else {
                let mut escaped = Vec::new();
                escape(asked.request_id, &mut escaped);
                form.put(gaps.id.1, &escaped);
            }
        }
        form.put(gaps.lines, lines);
        let length = self.body().len();
        if length != self.length {
            self.form.put(self.gaps.length, itoa::Buffer::new().format(length).as_bytes());
            self.length = length;
        }
    }

    fn body(&self) -> &[u8] {
        &self.form.after(self.gaps.length)[b"\r\n\r\n".len()..]
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// A body of `application/problem+json` (RFC 9457), up to what it says of one request.
fn begin_problem(refusal: &Refusal) -> Vec<u8> {
    let reason = refusal.reason;
    let mut body = Vec::with_capacity(448);
    member(&mut body, "{\"type\":", problem_type(reason));
    member(&mut body, ",\"title\":", reason.title());
    number(&mut body, ",\"status\":", u64::from(reason.status()));
    member(&mut body, ",\"detail\":", refusal.detail);
    member(&mut body, ",\"reason\":", reason.word());
    if let Some(rule) = &refusal.rule {
        member(&mut body, ",\"rule\":", &rule.name);
        if let Some(why) = &rule.reason {
            member(&mut body, ",\"rule_reason\":", why);
        }
        if matches!(reason, Reason::CallerRate | Reason::CallerConcurrency) {
            member(&mut body, ",\"violated-policies\":[", &rule.name);
            body.push(b']');
        }
    }
    body
}

fn number(body: &mut Vec<u8>, before: &str, value: u64) {
    body.extend_from_slice(before.as_bytes());
    body.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `before` and then a JSON string (RFC 8259 section 7).
fn member(body: &mut Vec<u8>, before: &str, value: &str) {
    body.extend_from_slice(before.as_bytes());
    body.push(b'"');
    escape(value.as_bytes(), body);
    body.push(b'"');
}

/// What stands inside a JSON string for a text in UTF-8.
fn escape(text: &[u8], body: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => body.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit & 0xf)];
                body.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]);
            }
            _ => body.push(byte),
        }
    }
}

/// The problem types that the RateLimit draft (draft-ietf-httpapi-ratelimit-headers-10) registers; else none.
pub(super) fn problem_type(reason: Reason) -> &'static str {
    match reason {
        Reason::CallerRate | Reason::CallerConcurrency => {
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        }
        Reason::ServiceLimit | Reason::Overload | Reason::WorkersFailing | Reason::Connections => {
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        }
        _ => "about:blank",
    }
}
