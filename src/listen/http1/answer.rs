//! An answer on its way out: its head and what is here of its body go in one write; what the client does not take at
//! once is kept, and nothing more is asked of the worker until it is gone.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::head::{self, Course, Framing};
use super::line::{Io, Line, Phase};
use super::said::Asked;
use super::{End, at_once, scratch};
use crate::inbound::{Reply, Visitor};
use crate::message::Response;

/// Pieces up to this size are put together before they are sent; larger ones go out from where they are. In bytes.
const COPIED: usize = 16 * 1024;

const CHUNK_END: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

/// An answer whose head is written.
struct Sending {
    /// None: all of it was taken. Its record is written then, before the client can know.
    reply: Option<Reply>,
    course: Course,
    /// A large piece under way.
    piece: Bytes,
    /// What comes behind it.
    tail: &'static [u8],
}

/// The answer could not be completed: the client must be able to see that.
struct Cut;

/// Of an answer that ends with its connection: if that ends before it is complete, however that comes about, it is
/// reset, since a plain close would look like the end of the answer.
pub(super) struct WholeOrReset<'a>(Option<&'a Line>);

impl<'a> WholeOrReset<'a> {
    pub(super) const fn until_close(line: &'a Line) -> Self {
        Self(Some(line))
    }

    /// All of it is out.
    pub(super) fn sent(mut self) {
        self.0 = None;
    }
}

impl Drop for WholeOrReset<'_> {
    fn drop(&mut self) {
        if let Some(io) = self.0.and_then(|line| line.io.try_borrow().ok()) {
            io.transport.reset_on_close();
        }
    }
}

/// What is left of an answer after its first step. In a box: it is rare, and large.
type Left = Box<(Sending, Out)>;

/// Sends an answer. The next request may follow, or the error says how the connection ends.
pub(super) async fn send(line: &Line, answer: Response<Reply>) -> Result<(), End> {
    let Some(left) = at_once(|cx| begin(cx, line, answer)).await? else { return Ok(()) };
    let (sending, out) = *left;
    let keep_alive = sending.go_on(line, out).await?;
    at_once(|cx| line.io.borrow_mut().settle(cx, &line.visitor, keep_alive)).await
}

/// Writes the head of an answer, and sends it with its body if that is here and not large, as nearly every answer is.
/// Some: there is more of it, or the client does not take it at once.
fn begin(cx: &mut Context<'_>, line: &Line, answer: Response<Reply>) -> Result<Option<Left>, End> {
    let Response { head, body: mut reply } = answer;
    let (mut out, asked, keep_alive) = line.begin_answer(cx);
    let now = line.visitor.now();
    let keep_alive = match reply.take_page(asked.is_head) {
        Some(page) => head::write_page((&head, page), (&asked, keep_alive), now, &mut out.bytes),
        None => {
            let course = head::write((&head, &reply), (&asked, keep_alive), now, &mut out.bytes);
            if !write_whole(&mut reply, course.framing, &mut out.bytes)? {
                return Ok(Some(Box::new((Sending::new(Some(reply), course), out))));
            }
            course.keep_alive
        }
    };
    // Its record is written before the client can know.
    drop(reply);
    let io = &mut *line.io.borrow_mut();
    out.write_at_once(io);
    let Poll::Ready(sent) = out.poll_write(cx, io, &line.visitor) else {
        let course = Course { framing: Framing::Length(0), keep_alive, trailers: Vec::new() };
        return Ok(Some(Box::new((Sending::new(None, course), out))));
    };
    out.keep(io);
    sent.map_err(|_| End::Broken)?;
    io.settle(cx, &line.visitor, keep_alive)?;
    Ok(None)
}

/// Writes all of an answer's body behind its head, if it is here and not large. Whether it did.
fn write_whole(reply: &mut Reply, framing: Framing, out: &mut Vec<u8>) -> Result<bool, End> {
    match framing {
        Framing::Length(0) => {
            // The head is all of it, whether its worker has said so or not.
            reply.complete();
            Ok(true)
        }
        Framing::Length(length) if length <= COPIED as u64 => match reply.take_whole() {
            Some(page) if page.len() as u64 != length => Err(End::Broken),
            Some(page) => {
                out.extend_from_slice(&page);
                Ok(true)
            }
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

impl Line {
    /// The head of an answer follows: behind what it is written, what it has to know of its request, and whether
    /// another may follow on the connection: not if what the client still has to say stands in its way.
    #[inline]
    fn begin_answer(&self, cx: &mut Context<'_>) -> (Out, Asked, bool) {
        let io = &mut *self.io.borrow_mut();
        io.phase = Phase::Answering;
        // Hints that came with the head belong before it.
        io.write_hints(&self.early);
        let in_the_way = io.is_in_body() && !io.body.open && !io.drain_body(cx);
        (Out::take(io), io.asked, io.asked.keep_alive && !in_the_way)
    }
}

impl Io {
    /// The answer is complete: the next request can be read, or the connection is done.
    pub(super) fn settle(
        &mut self,
        cx: &mut Context<'_>,
        visitor: &Visitor,
        keep_alive: bool,
    ) -> Result<(), End> {
        if !keep_alive {
            return Err(End::Done);
        }
        (self.phase, self.since) = (Phase::Listening, visitor.now().nanos);
        // A body that somebody still has would take the next request's for its own.
        if self.body.open || (self.is_in_body() && !self.drain_body(cx)) {
            return Err(End::Done);
        }
        if self.held.is_empty() && self.held.capacity() > 0 {
            self.held = BytesMut::new();
        }
        Ok(())
    }
}

impl Sending {
    const fn new(reply: Option<Reply>, course: Course) -> Self {
        Self { reply, course, piece: Bytes::new(), tail: &[] }
    }

    /// Sends what is left of it, with what is in `out` this once; later steps take the buffer anew.
    async fn go_on(mut self, line: &Line, out: Out) -> Result<bool, End> {
        let whole = (self.course.framing == Framing::Close).then(|| WholeOrReset::until_close(line));
        let mut first = Some(out);
        let sent = poll_fn(|cx| {
            let mut out = first.take().unwrap_or_else(|| Out::take(&mut line.io.borrow_mut()));
            let polled = self.poll(cx, line, &mut out);
            out.keep(&mut line.io.borrow_mut());
            polled
        })
        .await;
        if sent.is_ok()
            && let Some(whole) = whole
        {
            whole.sent();
        }
        sent
    }

    fn poll(&mut self, cx: &mut Context<'_>, line: &Line, out: &mut Out) -> Poll<Result<bool, End>> {
        loop {
            // No borrow of the connection here: the answer may want the request's body.
            let filled = self.fill(cx, &mut out.bytes);
            let written = {
                let io = &mut *line.io.borrow_mut();
                match self.poll_piece(cx, io, line, out) {
                    Poll::Ready(Ok(())) => out.poll_write(cx, io, &line.visitor),
                    written => written,
                }
            };
            match (filled, written) {
                (Err(Cut), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(Err(End::Broken)),
                (Ok(_), Poll::Pending) => {
                    // Meanwhile its request goes on: the client may read nothing before it has said all of it.
                    if let Some(reply) = &mut self.reply {
                        Pin::new(reply).drive(cx);
                    }
                    return Poll::Pending;
                }
                (Ok(Poll::Pending), Poll::Ready(Ok(()))) => return Poll::Pending,
                (Ok(Poll::Ready(())), Poll::Ready(Ok(()))) if self.reply.is_none() => {
                    return Poll::Ready(Ok(self.course.keep_alive));
                }
                (Ok(Poll::Ready(())), Poll::Ready(Ok(()))) => {}
            }
        }
    }

    /// Takes what is here of the answer, as much as goes out at once. Pending: there is more, and it is not here.
    fn fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<Poll<()>, Cut> {
        while out.len() < COPIED && self.piece.is_empty() {
            let Some(reply) = &mut self.reply else { break };
            if let Some(page) = reply.take_whole() {
                self.add(page.into_bytes(), true, out)?;
                continue;
            }
            match Pin::new(&mut *reply).poll_frame(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Some(Err(_))) => return Err(Cut),
                Poll::Ready(None) => {
                    self.end(out, LAST_CHUNK)?;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let is_last = reply.is_end_stream();
                        self.add(data, is_last, out)?;
                        self.finish(cx);
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.end_with(&trailers, out)?;
                        }
                    }
                },
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Lets an answer go whose last promised byte is there. Whether a worker of HTTP/2 has said so yet does not matter.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if self.course.framing != Framing::Length(0) {
            return;
        }
        if let Some(mut reply) = self.reply.take()
            && !matches!(Pin::new(&mut reply).poll_frame(cx), Poll::Ready(Some(Err(_))))
        {
            reply.complete();
        }
    }

    fn add(&mut self, mut data: Bytes, is_last: bool, out: &mut Vec<u8>) -> Result<(), Cut> {
        let mut tail: &'static [u8] = &[];
        match &mut self.course.framing {
            Framing::Length(left) => {
                // Never more than was promised.
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
            }
            Framing::Chunked if data.is_empty() => tail = if is_last { LAST_CHUNK } else { &[] },
            Framing::Chunked => {
                write_size(data.len(), out);
                tail = if is_last { CHUNK_END_AND_LAST } else { CHUNK_END };
            }
            Framing::Close => {}
        }
        if data.len() > COPIED {
            (self.piece, self.tail) = (data, tail);
        } else {
            out.extend_from_slice(&data);
            out.extend_from_slice(tail);
        }
        if is_last { self.end(out, &[]) } else { Ok(()) }
    }

    fn end_with(&mut self, trailers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Cut> {
        if self.course.framing == Framing::Chunked {
            head::write_trailers(trailers, &self.course.trailers, out);
        }
        self.end(out, &[])
    }

    /// The body is complete, and `last` says so where that is to be said.
    fn end(&mut self, out: &mut Vec<u8>, last: &[u8]) -> Result<(), Cut> {
        self.reply = None;
        match self.course.framing {
            Framing::Length(1..) => return Err(Cut),
            Framing::Chunked => out.extend_from_slice(last),
            Framing::Length(0) | Framing::Close => {}
        }
        Ok(())
    }

    /// Sends a large piece with what stands before it. What stands behind it is then all that is to be sent.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        line: &Line,
        out: &mut Out,
    ) -> Poll<io::Result<()>> {
        while !self.piece.is_empty() {
            let small = &out.bytes[out.sent..];
            let slices = [IoSlice::new(small), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let slices = &slices[usize::from(small.is_empty())..];
            let polled = Pin::new(&mut io.transport).poll_write_vectored(cx, slices);
            let taken = ready!(io.note_write(polled, &line.visitor))?;
            self.taken(taken, out);
        }
        Poll::Ready(Ok(()))
    }

    /// The client has taken so many bytes.
    fn taken(&mut self, mut taken: usize, out: &mut Out) {
        let small = taken.min(out.bytes.len() - out.sent);
        out.sent += small;
        taken -= small;
        let large = taken.min(self.piece.len());
        self.piece.advance(large);
        if self.piece.is_empty() {
            self.piece = Bytes::new();
            out.clear();
            out.bytes.extend_from_slice(&self.tail[taken - large..]);
            self.tail = &[];
        }
    }
}

/// The shard's buffer for sending, with what this connection could not send before.
struct Out {
    bytes: Vec<u8>,
    sent: usize,
}

impl Out {
    #[inline]
    fn take(io: &mut Io) -> Self {
        let mut bytes = scratch::take();
        if !io.out.is_empty() {
            bytes.extend_from_slice(&std::mem::take(&mut io.out));
        }
        Self { bytes, sent: 0 }
    }

    /// Sends what the client takes at once. What is left of it, or goes wrong, is for [`poll_write`](Self::poll_write).
    #[inline]
    fn write_at_once(&mut self, io: &mut Io) {
        if let Ok(taken) = io.transport.try_write(&self.bytes) {
            (self.sent, io.writing) = (taken, None);
        }
    }

    /// Sends it, all of it.
    fn poll_write(&mut self, cx: &mut Context<'_>, io: &mut Io, visitor: &Visitor) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let polled = Pin::new(&mut io.transport).poll_write(cx, &self.bytes[self.sent..]);
            self.sent += ready!(io.note_write(polled, visitor))?;
        }
        self.clear();
        io.poll_flush(cx, visitor)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// What is left stays with the connection, and the buffer with the shard.
    #[inline]
    fn keep(self, io: &mut Io) {
        if self.sent < self.bytes.len() {
            io.out = self.bytes[self.sent..].to_vec();
        }
        scratch::give_back(self.bytes);
    }
}

/// The first line of a chunk.
fn write_size(size: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|place| b"0123456789abcdef"[size >> (4 * place) & 15]));
    out.extend_from_slice(CHUNK_END);
}
