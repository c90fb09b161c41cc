//! From bytes to a request: the next head of a connection, judged by the wire, which also says where its parts
//! stand. Nothing is parsed a second time.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};

use super::End;
use super::body::RequestBody;
use super::line::{Io, Line, Phase};
use crate::forward::pace::Pace;
use crate::forward::source::Source;
use crate::inbound::Visitor;
use crate::listen::frames::PREFACE;
use crate::listen::wire::{Event, Fault, FieldSpan, HeadFacts, MethodKind, Spans, Stage};
use crate::refusal::{Reason, Refusal};

/// What the answer has to know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A request whose head is complete.
pub(super) type Heard = (Request<Source>, Asked);

impl Line {
    /// The next request.
    pub(super) fn poll_head(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Result<Heard, End>> {
        let io = &mut *self.io.borrow_mut();
        loop {
            if !io.held.is_empty()
                && let Some((head, facts)) = io.judge(&self.visitor)?
            {
                return Poll::Ready(self.begin(io, &head, facts));
            }
            if io.closed_at.is_some() {
                return Poll::Ready(Err(match io.head_since {
                    Some(_) => refused("the connection ended inside a request's head"),
                    None => End::Done,
                }));
            }
            if ready!(io.poll_receive(cx)).map_err(|_| End::Broken)? == 0 {
                io.closed_at = Some(self.visitor.now().nanos);
            }
        }
    }

    fn begin(self: &Rc<Self>, io: &mut Io, head: &Bytes, facts: HeadFacts) -> Result<Heard, End> {
        // The wire has let it pass: what it holds is a request, unless a bound is set beyond what these types hold.
        let read = read(head, io.wire.spans(), &facts);
        let (mut request, asked) = read.ok_or_else(|| refused("the request is not HTTP/1.1"))?;
        if facts.has_no_body() {
            // The end of the message, which is here already.
            let _ = io.wire.scan(&[]);
        } else {
            // What is faulty already is refused before a worker sees a part of it.
            io.wire.look_ahead(&io.held).map_err(|fault| {
                let Spans { method, target, .. } = io.wire.spans();
                refused_with(fault.refusal, &head[method.clone()], &head[target.clone()])
            })?;
            io.body.open = true;
            io.body.expects = facts.expect_continue;
            io.body.pace = Pace::default();
            *request.body_mut() =
                Source::Http1(Box::new(RequestBody::new(Rc::clone(self), facts.content_length)));
        }
        io.heads += 1;
        io.head_since = None;
        (io.phase, io.since) = (Phase::Serving, self.visitor.now().nanos);
        Ok((request, asked))
    }
}

impl Io {
    /// Judges what is held: a complete head is taken from it. None: more bytes are needed.
    fn judge(&mut self, visitor: &Visitor) -> Result<Option<(Bytes, HeadFacts)>, End> {
        if self.may_be_http2 {
            let n = self.held.len().min(PREFACE.len());
            self.may_be_http2 = self.held[..n] == PREFACE[..n];
            if self.may_be_http2 && n == PREFACE.len() {
                return Err(End::Http2);
            }
        }
        if !self.may_be_http2 {
            loop {
                let scan = self.wire.scan(&self.held).map_err(|fault| faulty(&fault, &self.held))?;
                match scan.event {
                    Event::Head(facts) => {
                        let head = match scan.pass == self.held.len() {
                            true => std::mem::take(&mut self.held),
                            false => self.held.split_to(scan.pass),
                        };
                        return Ok(Some((head.freeze(), facts)));
                    }
                    Event::End => {}
                    Event::More => break,
                }
            }
        }
        // A preface that has begun is a head that has, as far as time is concerned.
        if self.may_be_http2 || self.wire.stage() == Stage::Head {
            self.head_since = self.head_since.or_else(|| Some(visitor.now().nanos));
        }
        Ok(None)
    }
}

fn refused(detail: &'static str) -> End {
    refused_with(Refusal::new(Reason::BadRequest, detail), &[], &[])
}

/// With what is known of method and target.
fn refused_with(refusal: Refusal, method: &[u8], target: &[u8]) -> End {
    End::Refused(Box::new((refusal, method.to_vec(), target.to_vec())))
}

/// With what is known of the request line, for the log.
fn faulty(fault: &Fault, held: &[u8]) -> End {
    let part = |range: &std::ops::Range<usize>| held.get(range.clone()).unwrap_or_default();
    refused_with(fault.refusal.clone(), part(&fault.method), part(&fault.target))
}

/// The request that a judged head is. None: one of its parts is larger than the `http` crate's types hold.
fn read(head: &Bytes, spans: &Spans, facts: &HeadFacts) -> Option<Heard> {
    let mut asked = Asked {
        version_10: facts.version_10,
        is_head: facts.method == MethodKind::Head,
        keep_alive: !facts.version_10,
        closes: false,
        takes_trailers: false,
    };
    let mut request = Request::new(Source::None);
    *request.method_mut() = method(facts.method, &head[spans.method.clone()])?;
    *request.uri_mut() = Uri::from_maybe_shared(head.slice(spans.target.clone())).ok()?;
    *request.version_mut() = if facts.version_10 { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.headers_mut() = fields(head, &spans.fields, |name, value| note(&mut asked, name, value))?;
    Some((request, asked))
}

/// A section of fields over the bytes that they came in; `note` sees each.
pub(super) fn fields(
    section: &Bytes,
    spans: &[FieldSpan],
    mut note: impl FnMut(&HeaderName, &HeaderValue),
) -> Option<HeaderMap> {
    let mut fields = HeaderMap::try_with_capacity(spans.len()).ok()?;
    for span in spans {
        let name = HeaderName::from_bytes(&section[span.name.clone()]).ok()?;
        let value = HeaderValue::from_maybe_shared(section.slice(span.value.clone())).ok()?;
        note(&name, &value);
        fields.try_append(name, value).ok()?;
    }
    Some(fields)
}

fn method(kind: MethodKind, name: &[u8]) -> Option<Method> {
    Some(match kind {
        MethodKind::Get => Method::GET,
        MethodKind::Head => Method::HEAD,
        MethodKind::Post => Method::POST,
        MethodKind::Put => Method::PUT,
        MethodKind::Patch => Method::PATCH,
        MethodKind::Delete => Method::DELETE,
        MethodKind::Options => Method::OPTIONS,
        MethodKind::Other => Method::from_bytes(name).ok()?,
    })
}

/// Notes what a field says of the connection (RFC 9112 section 9.3) and of trailers (RFC 9110 section 10.1.4).
fn note(asked: &mut Asked, name: &HeaderName, value: &HeaderValue) {
    if *name == header::CONNECTION {
        // Whoever says both wants to close.
        if names(value, b"close") {
            (asked.keep_alive, asked.closes) = (false, true);
        } else if asked.version_10 && !asked.closes {
            asked.keep_alive |= names(value, b"keep-alive");
        }
    } else if *name == header::TE {
        asked.takes_trailers |= names(value, b"trailers");
    }
}

/// Whether a list has this member.
fn names(list: &HeaderValue, member: &[u8]) -> bool {
    list.as_bytes().split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(member))
}
