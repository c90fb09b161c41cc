//! From bytes to a request: the next head of a connection, judged by the wire, which also says where its parts
//! stand. Nothing is parsed a second time, and what came in one piece is read where it was received.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{Method, Uri, Version};

use super::body::RequestBody;
use super::line::{BodyMarks, Io, Line, Phase};
use super::said::Said;
use super::{End, scratch};
use crate::fields::octets;
use crate::forward::source::Source;
use crate::inbound::Visitor;
use crate::listen::frames::PREFACE;
use crate::listen::wire::{Event, Fault, HeadFacts, MethodKind, Spans, Stage};
use crate::message::{Request, RequestHead, Target};
use crate::refusal::{Reason, Refusal};

/// The longest target that is kept for the next request, in bytes, for as long as the connection is in use.
const KEPT_TARGET: usize = 1024;

/// A request whose head is complete, with what is here of its body. None: it is not complete yet. Written where it is
/// read, through all of the steps, rather than handed on from one to the next.
pub(super) type Heard = Option<Request<Source>>;

impl Line {
    /// The next request is in `heard` then; what its answer has to know of it, in `Io::asked`.
    pub(super) fn poll_head(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        heard: &mut Heard,
    ) -> Poll<Result<(), End>> {
        let io = &mut *self.io.borrow_mut();
        if !io.held.is_empty() {
            self.hear_held(io, heard)?;
        }
        while heard.is_none() {
            if io.closed_at.is_some() {
                return Poll::Ready(Err(match io.head_since {
                    Some(_) => refused("the connection ended inside a request's head"),
                    None => End::Done,
                }));
            }
            ready!(self.poll_hear(io, cx, heard))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The request that what is held begins with, if its head is complete.
    // Apart: what most clients send comes in one piece, and nothing is held.
    #[inline(never)]
    fn hear_held(self: &Rc<Self>, io: &mut Io, heard: &mut Heard) -> Result<(), End> {
        let mut held = std::mem::take(&mut io.held);
        let taken = self.hear(io, &held, heard);
        if let Ok(taken) = &taken {
            held.advance(*taken);
        }
        io.held = if held.is_empty() { BytesMut::new() } else { held };
        taken.map(drop)
    }

    /// Receives one piece. If nothing is held before it, it is judged where it was received, and only what is left of
    /// it is held; otherwise all that is held is judged.
    fn poll_hear(
        self: &Rc<Self>,
        io: &mut Io,
        cx: &mut Context<'_>,
        heard: &mut Heard,
    ) -> Poll<Result<(), End>> {
        scratch::incoming(|scratch| {
            let received = io.transport.poll_receive(cx, scratch, &mut io.arriving);
            let piece = &scratch[..ready!(received).map_err(|_| End::Broken)?];
            if piece.is_empty() {
                io.closed_at = Some(self.visitor.now().nanos);
                return Poll::Ready(Ok(()));
            }
            if !io.held.is_empty() {
                io.held.extend_from_slice(piece);
                return Poll::Ready(self.hear_held(io, heard));
            }
            let taken = self.hear(io, piece, heard);
            let left = &piece[*taken.as_ref().unwrap_or(&0)..];
            if !left.is_empty() {
                io.held.extend_from_slice(left);
            }
            Poll::Ready(taken.map(drop))
        })
    }

    /// The request that `bytes`, all that are here, begin with, if its head is complete: how many of them that is.
    fn hear(self: &Rc<Self>, io: &mut Io, bytes: &[u8], heard: &mut Heard) -> Result<usize, End> {
        let Some((taken, facts)) = io.judge(bytes, &self.visitor)? else { return Ok(0) };
        let (head, rest) = bytes.split_at(taken);
        // The wire has let it pass: what it holds is a request, unless a bound is set beyond what these types hold.
        let head_read = io.read(head, &facts).ok_or_else(|| refused("the request is not HTTP/1.1"))?;
        let request = heard.insert(Request { head: head_read, body: Source::None });
        if facts.has_no_body() {
            io.wire.pass_end();
        } else {
            request.body = self.begin_body(io, (head, rest), &facts)?;
        }
        io.heads += 1;
        io.head_since = None;
        (io.phase, io.since) = (Phase::Serving, self.visitor.now().nanos);
        Ok(taken)
    }

    /// The body of the request that has this head, and of which `rest` is here.
    #[inline(never)]
    fn begin_body(
        self: &Rc<Self>,
        io: &mut Io,
        (head, rest): (&[u8], &[u8]),
        facts: &HeadFacts,
    ) -> Result<Source, End> {
        // What is faulty already is refused before a worker sees a part of it.
        io.wire.look_ahead(rest).map_err(|fault| {
            let Spans { method, target, .. } = io.wire.spans();
            refused_with(fault.refusal, &head[method.clone()], &head[target.clone()])
        })?;
        io.body = BodyMarks { open: true, expects: facts.expect_continue, ..BodyMarks::default() };
        Ok(Source::Http1(Box::new(RequestBody::new(Rc::clone(self), facts.content_length))))
    }
}

impl Io {
    /// Judges these bytes, all that are here: how many of them are a complete head. None: more are needed.
    fn judge(&mut self, bytes: &[u8], visitor: &Visitor) -> Result<Option<(usize, HeadFacts)>, End> {
        if !self.may_be_http2 || !self.begins_as_http2(bytes)? {
            loop {
                let scan = self.wire.scan(bytes).map_err(|fault| faulty(&fault, bytes))?;
                match scan.event {
                    Event::Head(facts) => return Ok(Some((scan.pass, facts))),
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

    /// Whether the first bytes of a connection may still be those of HTTP/2. The error says that they are.
    #[cold]
    fn begins_as_http2(&mut self, bytes: &[u8]) -> Result<bool, End> {
        let n = bytes.len().min(PREFACE.len());
        self.may_be_http2 = bytes[..n] == PREFACE[..n];
        if self.may_be_http2 && n == PREFACE.len() { Err(End::Http2) } else { Ok(self.may_be_http2) }
    }

    /// What a judged head says. None: one of its parts is larger than the `http` crate's types hold.
    #[inline]
    fn read(&mut self, head: &[u8], facts: &HeadFacts) -> Option<RequestHead> {
        let spans = self.wire.spans();
        let method = read_method(facts.method, &head[spans.method.clone()])?;
        let target = self.read_target(&head[self.wire.spans().target.clone()])?;
        let version = if facts.version_10 { Version::HTTP_10 } else { Version::HTTP_11 };
        let Said { section, names, fields, asked } = self.hear_fields(head, facts)?;
        self.asked = asked;
        Some(RequestHead { method, target, version, fields, section, names, extended: None })
    }

    /// Most clients ask for the same again, if only a few times: then nothing is read anew. A query may be as secret as
    /// a key, and somebody else's, if a proxy brings the requests of both.
    fn read_target(&mut self, text: &[u8]) -> Option<Target> {
        if let Some(last) = &self.target
            && octets::are_same(text, last.path_and_query().as_bytes())
        {
            return Some(last.clone());
        }
        match text {
            // The wire lets ASCII pass, and of that what may stand in a path and a query.
            [b'/' | b'*', ..] => {
                let target = Target::new("", "", std::str::from_utf8(text).ok()?);
                self.target = (text.len() <= KEPT_TARGET).then(|| target.clone());
                Some(target)
            }
            _ => Some(Target::of(&Uri::try_from(text).ok()?)),
        }
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

fn read_method(kind: MethodKind, name: &[u8]) -> Option<Method> {
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
