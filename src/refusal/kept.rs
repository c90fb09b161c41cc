//! The usual page of a refusal, in JSON: what is the same for all that one rule refuses is put together once for each
//! thread, is kept with the rule, and is lent to the answer, which fills in the rest. So a flood is refused by writing
//! down two ids. What a page says stands in `refusal/page.rs` too.

use std::cell::Cell;

use bytes::Bytes;

use super::page::{
    Asked, END_OF_STATUS, PROXY_STATUS, REQUEST_ID, begin_status, is_plain, name_caller, whole_seconds,
};
use super::{HeldRule, Reason, Refusal};
use crate::fields::{Fields, Form};

thread_local! {
    /// Those by no rule, by reason.
    static PAGES: [Cell<Option<Box<Prepared>>>; Reason::COUNT] =
        const { [const { Cell::new(None) }; Reason::COUNT] };
}

/// The answer to a refused request but for its first line and what its connection says: field lines, the end of the
/// head, and a body in JSON. Once it is written, its thread keeps it for the next one.
#[derive(Debug)]
pub struct Page(Box<Prepared>);

/// Field lines that a page has more in its head.
pub struct Lines<'a> {
    /// Lines of the same key are the same: what a page has is not written again. All 0: there are none.
    pub key: [u64; 5],
    /// Hands them over.
    pub write: &'a Write<'a>,
}

/// Hands lines to whoever puts them where they belong.
type Write<'a> = dyn Fn(&mut dyn FnMut(&[u8])) + 'a;

impl Lines<'_> {
    /// None.
    pub const NONE: Lines<'static> = Lines { key: [0; 5], write: &|put| put(b"") };
}

impl Page {
    /// The page of this refusal, with these lines more in its head. None: it would not be the usual one, since the
    /// client does not take JSON or more is to be said than stands in it.
    pub fn usual(refusal: &Refusal, asked: &Asked<'_>, lines: &Lines<'_>) -> Option<Self> {
        let says_more = matches!(refusal.reason, Reason::NoIdentity | Reason::MethodRefused);
        if asked.plain || says_more { None } else { Some(Self::filled(refusal, asked, lines)) }
    }

    pub(super) fn filled(refusal: &Refusal, asked: &Asked<'_>, lines: &Lines<'_>) -> Self {
        let parts = (refusal.retry_after.is_some(), !asked.request_id.is_empty());
        let mut page = match at_place(refusal.rule.as_ref(), refusal.reason, Cell::take) {
            Some(page) if page.is_of(refusal, parts) => page,
            _ => Prepared::of(refusal, parts),
        };
        page.rule.clone_from(&refusal.rule);
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

    fn keep(mut self) {
        let (rule, reason) = (self.0.rule.take(), self.0.reason);
        at_place(rule.as_ref(), reason, |place| place.set(Some(self.0)));
    }
}

/// Does something where a thread keeps the page of this rule and reason.
fn at_place<T>(
    rule: Option<&HeldRule>,
    reason: Reason,
    act: impl FnOnce(&Cell<Option<Box<Prepared>>>) -> T,
) -> T {
    match rule {
        Some(rule) => act(rule.page(reason)),
        None => PAGES.with(|pages| act(&pages[reason.index()])),
    }
}

/// What all pages have in common by which one rule refuses for one reason, as it was filled in last.
pub(super) struct Prepared {
    /// Whose it is, while it is lent. None while it is kept: there it is that rule's, which would hold itself.
    rule: Option<HeldRule>,
    reason: Reason,
    detail: &'static str,
    /// Whether it says when to come back, and which request it answers.
    parts: (bool, bool),
    form: Form,
    gaps: Gaps,
    /// What mostly stays the same from one page to the next: the seconds to wait, the caller, the key of the lines
    /// more, the length of the body.
    wait: u64,
    caller: Option<String>,
    lines: [u64; 5],
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
    /// Whether it is the one for this refusal, by whose rule it was kept.
    fn is_of(&self, refusal: &Refusal, parts: (bool, bool)) -> bool {
        let same_text = std::ptr::eq(self.detail, refusal.detail) && self.parts == parts;
        self.reason == refusal.reason && same_text
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
        let (reason, detail) = (refusal.reason, refusal.detail);
        let (wait, caller, lines, length) = (0, None, [0; 5], 0);
        Box::new(Self { rule: None, reason, detail, parts, form, gaps, wait, caller, lines, length })
    }

    /// Fills in what is of this request alone.
    fn fill(&mut self, refusal: &Refusal, asked: &Asked<'_>, lines: &Lines<'_>) {
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
        if lines.key != self.lines {
            (lines.write)(&mut |lines| form.put(gaps.lines, lines));
            self.lines = lines.key;
        }
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
