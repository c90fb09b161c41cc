//! The strict reader of request framing: it sees a client's bytes before any parser does, and lets through only what
//! has exactly one meaning (RFC 9112 sections 2 to 7 and 11.2). A pure state machine: it owns no socket and no clock,
//! and of bytes none but the last request line and the last fields, to know them again (`wire/last.rs`).
//!
//! Not here: what a request means (target against Host, callers, rules), sockets, timers, answers.
//!
//! The caller keeps the bytes that it received and has not passed on yet, and asks again and again:
//!
//! ```
//! use buckler::listen::wire::{Event, Wire, WireBounds};
//!
//! let mut wire = Wire::new(WireBounds { head_bytes: 32 << 10, head_fields: 100, uri_bytes: 8 << 10 });
//! let mut held: Vec<u8> = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /b".to_vec();
//! let scan = wire.scan(&held).expect("nothing is wrong with this head");
//! assert!(matches!(scan.event, Event::Head(_)));
//! held.drain(..scan.pass); // these bytes may go to the parser
//! assert!(matches!(wire.scan(&held).expect("no body").event, Event::End));
//! assert!(matches!(wire.scan(&held).expect("so far").event, Event::More)); // `GET /b` is held
//! ```
//!
//! A head, a chunk's size line and a trailer section pass as a whole or not at all, so that nothing of a faulty one
//! is ever seen behind this file. Bytes of a body pass as they come; those of a known length are counted, not read.

mod chunk;
mod fields;
mod head;
mod last;
mod target;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::fields::FieldSpan;
use crate::refusal::{Reason, Refusal};
use chunk::{ChunkLine, EXTENSION_BYTES};
use fields::Trailers;
use head::Head;
use last::{Last, Likeness};

/// How much of a head is read before it is refused: 414 for the target, 431 for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireBounds {
    /// Of a head with its request line and last empty line; of a trailer section too.
    pub head_bytes: usize,
    /// Field lines in a head; in a trailer section too.
    pub head_fields: usize,
    /// Of a request target.
    pub uri_bytes: usize,
}

/// What is known of a request once its head is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadFacts {
    /// HTTP/1.0; otherwise HTTP/1.1.
    pub version_10: bool,
    /// The method, as far as framing and logs ask for it.
    pub method: MethodKind,
    /// `Content-Length`; none with `chunked`, and none without a body.
    pub content_length: Option<u64>,
    /// The body comes in chunks.
    pub chunked: bool,
    /// The client waits for 100 (Continue) before it sends its body (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
}

impl HeadFacts {
    /// No byte of a body follows.
    pub fn has_no_body(&self) -> bool {
        !self.chunked && self.content_length.unwrap_or(0) == 0
    }
}

/// The methods that are told apart here. Names are case-sensitive (RFC 9110 section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// OPTIONS.
    Options,
    /// Any other token.
    Other,
}

/// Where the parts of a section stand, counted from the first byte of the part that passed: of a head (with an empty
/// line before it, if there is one) or of a trailer section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// The method; of a head only.
    pub method: Range<usize>,
    /// The target; of a head only.
    pub target: Range<usize>,
    /// Where the fields begin: of a head, behind its request line.
    pub section: usize,
    /// The fields, in order, counted from there.
    pub fields: Vec<FieldSpan>,
    /// One of them is not written `name: value`: no blank before its value, other ones, or some behind it.
    pub oddly_written: bool,
}

/// One part of a body, as [`Wire::part`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// So many leading bytes are this part. None: more bytes are needed.
    pub taken: usize,
    /// What they are.
    pub kind: PartKind,
    /// The message ends with it.
    pub ends: bool,
}

/// What a part of a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Bytes of the content.
    Content,
    /// What stands around them.
    Framing,
    /// The trailer section, whose fields [`Wire::spans`] tells.
    Trailers,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// So many leading bytes may go on now. The caller drops them before it asks again.
    pub pass: usize,
    /// What the passed bytes end with.
    pub event: Event,
}

/// What the passed bytes end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing in particular; what was not passed is held until more bytes are there.
    More,
    /// A complete, sound head. Ask again at once.
    Head(HeadFacts),
    /// The end of a message; comes once for each head, also without a body. Ask again at once if bytes are left.
    End,
}

/// Where the stream stands; timers are chosen by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Between messages: no byte of the next request line is here.
    Idle,
    /// Inside a head.
    Head,
    /// Behind a head and before the end of its message.
    Body,
    /// After a fault; nothing passes any more.
    Failed,
}

/// What is wrong, and where.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The first byte, counted from the start of the held bytes, that cannot be.
    pub at: usize,
    /// The refusal to answer with; the connection ends after it.
    pub refusal: Refusal,
    /// Where the method stands in the held bytes, for the log; empty if it is not known or already passed.
    pub method: Range<usize>,
    /// The same for the target.
    pub target: Range<usize>,
}

/// The state machine of one connection's incoming bytes.
#[derive(Debug)]
pub struct Wire {
    bounds: WireBounds,
    state: State,
    /// Bytes of chunk extensions in this body so far.
    extensions: usize,
    spans: Spans,
    last: Last,
}

#[derive(Debug)]
enum State {
    /// In or before a head.
    Head(Head),
    /// In a body with so many bytes to come.
    Length(u64),
    /// In a chunk's size line.
    Size(ChunkLine),
    /// In a chunk with so many bytes to come.
    Data(u64),
    /// Before the CRLF that ends a chunk's data.
    DataEnd,
    /// In the trailer section, or the empty line in its place.
    Trailers(Trailers),
    /// A message has just ended.
    End,
    /// Something was wrong.
    Failed(Fault),
}

/// A fault as the parts of this machine tell it: where, counted from the start of their own part, and why.
#[derive(Clone, Copy, Debug)]
struct Bad {
    at: usize,
    reason: Reason,
    detail: &'static str,
}

impl Bad {
    const fn request(at: usize, detail: &'static str) -> Self {
        Self { at, reason: Reason::BadRequest, detail }
    }
}

impl Wire {
    /// The machine of a new connection.
    pub fn new(bounds: WireBounds) -> Self {
        Self::in_state(State::Head(Head::new()), bounds)
    }

    fn in_state(state: State, bounds: WireBounds) -> Self {
        Self { bounds, state, extensions: 0, spans: Spans::default(), last: Last::default() }
    }

    /// Where the parts of the last section stand: of a head once its event came, of a trailer section once it passed.
    pub const fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Whether the fields of the last head are those of the head before it, byte for byte and in the same version.
    /// Never by chance; that they are may be missed.
    pub const fn repeats(&self) -> bool {
        matches!(self.last.likeness(), Likeness::Same)
    }

    /// Whether they have the same names in the same order, in the same version, and values of the same lengths, of
    /// which all that say something of framing or of the connection are the same. Not if it [repeats](Self::repeats)
    /// them.
    pub const fn resembles(&self) -> bool {
        matches!(self.last.likeness(), Likeness::Alike)
    }

    /// Whether the next head may repeat the last one.
    pub const fn may_repeat(&self) -> bool {
        self.last.is_kept()
    }

    /// The same as [`scan`](Self::scan) for a body, but in parts: no further than one kind of bytes goes.
    ///
    /// # Errors
    ///
    /// The first fault of the stream; it stays, and nothing of `held` passes.
    pub fn part(&mut self, held: &[u8]) -> Result<Part, Fault> {
        let kind = match &self.state {
            State::Length(_) | State::Data(_) => PartKind::Content,
            State::Trailers(_) => PartKind::Trailers,
            _ => PartKind::Framing,
        };
        match self.step(held) {
            Ok(Stride { taken, event }) => Ok(Part { taken, kind, ends: event == Some(Event::End) }),
            Err(bad) => Err(self.fail(bad, 0)),
        }
    }

    /// Where the stream stands after the last scan.
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Head(head) if head.is_idle() => Stage::Idle,
            State::Head(_) => Stage::Head,
            State::Failed(_) => Stage::Failed,
            _ => Stage::Body,
        }
    }

    /// Judges `held`: all bytes that were received and not passed yet, in order, beginning with those that the last
    /// scan did not pass. It remembers how far it looked, so that a head in a thousand pieces costs no more than one
    /// in one piece. How the stream is cut into calls changes neither verdicts nor positions.
    ///
    /// # Errors
    ///
    /// The first fault of the stream; it stays, and nothing of `held` passes.
    pub fn scan(&mut self, held: &[u8]) -> Result<Scan, Fault> {
        let mut pass = 0;
        loop {
            let rest = held.get(pass..).unwrap_or_default();
            match self.step(rest) {
                Ok(Stride { taken: 0, event: None }) => return Ok(Scan { pass, event: Event::More }),
                Ok(Stride { taken, event: None }) => pass += taken,
                Ok(Stride { taken, event: Some(event) }) => return Ok(Scan { pass: pass + taken, event }),
                Err(bad) => return Err(self.fail(bad, pass)),
            }
        }
    }

    /// Judges what is here of a body in chunks of which nothing has passed yet, and passes nothing of it: so what is
    /// faulty already can be refused before anybody sees its head. Of another body there is nothing to judge.
    ///
    /// # Errors
    ///
    /// The first fault of `held` up to the end of the message.
    pub fn look_ahead(&self, held: &[u8]) -> Result<(), Fault> {
        match self.state {
            State::Size(_) => {
                let mut ahead = Self::in_state(State::Size(ChunkLine::default()), self.bounds);
                ahead.scan(held).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Passes the end of a message of which no byte is behind its head: it is here with the head.
    pub fn pass_end(&mut self) {
        if matches!(self.state, State::End) {
            self.state = State::Head(Head::new());
        }
    }

    /// One part further. A stride of nothing means that more bytes are needed.
    fn step(&mut self, rest: &[u8]) -> Result<Stride, Bad> {
        match &mut self.state {
            State::Head(head) => {
                let Some(taken) = head.scan(rest, &self.bounds, &mut self.spans, &mut self.last)? else {
                    return Ok(Stride::NONE);
                };
                let facts = head.facts();
                self.extensions = 0;
                self.state = match facts {
                    HeadFacts { chunked: true, .. } => State::Size(ChunkLine::default()),
                    HeadFacts { content_length: Some(length @ 1..), .. } => State::Length(length),
                    _ => State::End,
                };
                Ok(Stride { taken, event: Some(Event::Head(facts)) })
            }
            State::End => {
                self.pass_end();
                Ok(Stride { taken: 0, event: Some(Event::End) })
            }
            _ => self.step_in_body(rest),
        }
    }

    /// The same behind a head that has a body.
    // Apart, so that the way of most requests, which have none, is short.
    #[inline(never)]
    fn step_in_body(&mut self, rest: &[u8]) -> Result<Stride, Bad> {
        match &mut self.state {
            State::Length(left) => {
                let taken = count_off(left, rest);
                Ok(if *left == 0 { self.end(taken) } else { Stride { taken, event: None } })
            }
            State::Size(line) => {
                let Some((taken, size)) = line.scan(rest)? else { return Ok(Stride::NONE) };
                self.extensions += line.extension_bytes();
                if self.extensions >= EXTENSION_BYTES {
                    return Err(Bad::request(taken - 1, "more chunk extensions than allowed"));
                }
                self.state = match size {
                    0 => {
                        self.spans.fields.clear();
                        self.spans.section = 0;
                        State::Trailers(Trailers::default())
                    }
                    _ => State::Data(size),
                };
                Ok(Stride { taken, event: None })
            }
            State::Data(left) => {
                let taken = count_off(left, rest);
                if *left == 0 {
                    self.state = State::DataEnd;
                }
                Ok(Stride { taken, event: None })
            }
            State::DataEnd => match rest {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size(ChunkLine::default());
                    Ok(Stride { taken: 2, event: None })
                }
                [] | [b'\r'] => Ok(Stride::NONE),
                [first, ..] => {
                    Err(Bad::request(usize::from(*first == b'\r'), "no CRLF where the chunk's data ends"))
                }
            },
            State::Trailers(trailers) => {
                let Some(taken) = trailers.scan(rest, &self.bounds, &mut self.spans)? else {
                    return Ok(Stride::NONE);
                };
                Ok(self.end(taken))
            }
            State::Failed(fault) => {
                Err(Bad { at: fault.at, reason: fault.refusal.reason, detail: fault.refusal.detail })
            }
            State::Head(_) | State::End => Ok(Stride::NONE),
        }
    }

    /// The message ends after `taken` bytes.
    fn end(&mut self, taken: usize) -> Stride {
        self.state = State::Head(Head::new());
        Stride { taken, event: Some(Event::End) }
    }

    /// Remembers the fault, counted from the start of the held bytes.
    #[cold]
    fn fail(&mut self, bad: Bad, pass: usize) -> Fault {
        let fault = match &self.state {
            State::Failed(fault) => fault.clone(),
            State::Head(head) => bad.behind(pass).with(head.method(), head.target()),
            _ => bad.behind(pass).with(0..0, 0..0),
        };
        self.state = State::Failed(fault.clone());
        fault
    }
}

/// How far one step went. No event and nothing taken: more bytes are needed.
struct Stride {
    taken: usize,
    event: Option<Event>,
}

impl Stride {
    const NONE: Self = Self { taken: 0, event: None };
}

impl Bad {
    const fn behind(self, pass: usize) -> Self {
        Self { at: self.at + pass, ..self }
    }

    const fn with(self, method: Range<usize>, target: Range<usize>) -> Fault {
        Fault { at: self.at, refusal: Refusal::new(self.reason, self.detail), method, target }
    }
}

/// Takes from `left` what `bytes` have of it, and says how many that were.
fn count_off(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= taken as u64;
    taken
}
