//! From bytes to a request: the next head of a connection, judged by the wire, which also says where its parts
//! stand. Nothing is parsed a second time, and what came in one piece is read where it was received.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{Method, Uri, Version};
use tokio::io::{AsyncRead, ReadBuf};

use super::body::RequestBody;
use super::line::{Io, Line, Phase};
use super::said::{Asked, Said};
use super::{End, scratch};
use crate::forward::pace::Pace;
use crate::forward::source::Source;
use crate::inbound::Visitor;
use crate::listen::frames::PREFACE;
use crate::listen::wire::{Event, Fault, HeadFacts, MethodKind, Spans, Stage};
use crate::message::{Request, RequestHead, Target};
use crate::refusal::{Reason, Refusal};

/// A request whose head is complete.
pub(super) type Heard = (Request<Source>, Asked);

impl Line {
    /// The next request.
    pub(super) fn poll_head(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Result<Heard, End>> {
        let io = &mut *self.io.borrow_mut();
        // Written where it is read, through all of the steps, rather than handed on from one to the next.
        let mut heard = None;
        if !io.held.is_empty() {
            self.hear_held(io, &mut heard)?;
        }
        loop {
            if let Some(heard) = heard {
                return Poll::Ready(Ok(heard));
            }
            if io.closed_at.is_some() {
                return Poll::Ready(Err(match io.head_since {
                    Some(_) => refused("the connection ended inside a request's head"),
                    None => End::Done,
                }));
            }
            ready!(self.poll_hear(io, cx, &mut heard))?;
        }
    }

    /// The request that what is held begins with, if its head is complete.
    fn hear_held(self: &Rc<Self>, io: &mut Io, heard: &mut Option<Heard>) -> Result<(), End> {
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
        heard: &mut Option<Heard>,
    ) -> Poll<Result<(), End>> {
        scratch::incoming(|scratch| {
            let mut piece = ReadBuf::new(scratch);
            ready!(Pin::new(&mut io.transport).poll_read(cx, &mut piece)).map_err(|_| End::Broken)?;
            let piece = piece.filled();
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
    fn hear(self: &Rc<Self>, io: &mut Io, bytes: &[u8], heard: &mut Option<Heard>) -> Result<usize, End> {
        let Some((taken, facts)) = io.judge(bytes, &self.visitor)? else { return Ok(0) };
        *heard = Some(self.begin(io, bytes.split_at(taken), &facts)?);
        Ok(taken)
    }

    fn begin(
        self: &Rc<Self>,
        io: &mut Io,
        (head, rest): (&[u8], &[u8]),
        facts: &HeadFacts,
    ) -> Result<Heard, End> {
        // The wire has let it pass: what it holds is a request, unless a bound is set beyond what these types hold.
        let (request, asked) = io.read(head, facts).ok_or_else(|| refused("the request is not HTTP/1.1"))?;
        let mut body = Source::None;
        if facts.has_no_body() {
            io.wire.pass_end();
        } else {
            // What is faulty already is refused before a worker sees a part of it.
            io.wire.look_ahead(rest).map_err(|fault| {
                let Spans { method, target, .. } = io.wire.spans();
                refused_with(fault.refusal, &head[method.clone()], &head[target.clone()])
            })?;
            io.body.open = true;
            io.body.expects = facts.expect_continue;
            io.body.pace = Pace::default();
            body = Source::Http1(Box::new(RequestBody::new(Rc::clone(self), facts.content_length)));
        }
        io.heads += 1;
        io.head_since = None;
        (io.phase, io.since) = (Phase::Serving, self.visitor.now().nanos);
        Ok((Request { head: request, body }, asked))
    }
}

impl Io {
    /// Judges these bytes, all that are here: how many of them are a complete head. None: more are needed.
    fn judge(&mut self, bytes: &[u8], visitor: &Visitor) -> Result<Option<(usize, HeadFacts)>, End> {
        if self.may_be_http2 {
            let n = bytes.len().min(PREFACE.len());
            self.may_be_http2 = bytes[..n] == PREFACE[..n];
            if self.may_be_http2 && n == PREFACE.len() {
                return Err(End::Http2);
            }
        }
        if !self.may_be_http2 {
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

    /// What a judged head says. None: one of its parts is larger than the `http` crate's types hold.
    fn read(&mut self, head: &[u8], facts: &HeadFacts) -> Option<(RequestHead, Asked)> {
        let spans = self.wire.spans();
        let (method, target) = (&head[spans.method.clone()], &head[spans.target.clone()]);
        let (method, target) = (read_method(facts.method, method)?, read_target(target)?);
        let version = if facts.version_10 { Version::HTTP_10 } else { Version::HTTP_11 };
        let Said { section, names, fields, asked } = self.hear_fields(head, facts)?;
        Some((RequestHead { method, target, version, fields, section, names, extended: None }, asked))
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

fn read_target(text: &[u8]) -> Option<Target> {
    match text {
        // The wire lets ASCII pass, and of that what may stand in a path and a query.
        [b'/' | b'*', ..] => Some(Target::new("", "", std::str::from_utf8(text).ok()?)),
        _ => Some(Target::of(&Uri::try_from(text).ok()?)),
    }
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
