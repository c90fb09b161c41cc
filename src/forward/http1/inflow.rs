//! What comes in from a worker: read through the shard's scratch buffer as long as it is little, and straight into a
//! buffer of its own once it is much. What was read and not taken yet waits here.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::body::Framing;
use super::head::{self, Bad, Head};
use super::heads::Heads;
use crate::forward::tunnel::with_scratch;
use crate::forward::whole::Came;
use crate::socket::Socket;

/// So much is read at once into a buffer of its own, in bytes. There is one for an answer, used again as soon as the
/// client has taken what was in it.
const PIECE: usize = 64 * 1024;
/// A read that brings so much is followed by one into a buffer of its own. Less is copied into memory of just its size:
/// a stream of small events holds none while it is silent.
const LARGE: usize = 16 * 1024;

/// There is no head, and none will come.
pub(in crate::forward) enum Missed {
    /// What came is none.
    Wrong(Bad),
    /// The connection is over.
    Gone,
}

impl From<Bad> for Missed {
    fn from(bad: Bad) -> Self {
        Self::Wrong(bad)
    }
}

/// What comes in.
#[derive(Debug, Default)]
pub(in crate::forward) struct Inflow {
    /// Read, and not taken yet.
    pub(in crate::forward) ahead: Bytes,
    /// The whole body of the head that was read last, if it came with it and nothing else did, and is short.
    pub(in crate::forward) came: Option<Came>,
    /// The beginning of a head, or the buffer that is read into.
    filling: BytesMut,
    large: bool,
}

impl Inflow {
    /// Reads until the next head is here, of an answer to a request of this `method`; one that is here already is taken
    /// as it is.
    pub(in crate::forward) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        (method, heads): (&Method, &Heads),
    ) -> Poll<Result<Head, Missed>> {
        loop {
            if let Some(head) = self.take_head(method, heads)? {
                return Poll::Ready(Ok(head));
            }
            if self.large || !self.filling.is_empty() {
                if !ready!(self.poll_fill(cx, socket)).unwrap_or(false) {
                    return Poll::Ready(Err(Missed::Gone));
                }
                continue;
            }
            // Out of the scratch buffer: only what is behind it has to be kept.
            let read = with_scratch(|scratch| {
                let mut piece = ReadBuf::new(scratch);
                match ready!(Pin::new(&mut *socket).poll_read(cx, &mut piece)) {
                    Ok(()) if !piece.filled().is_empty() => {}
                    Ok(()) | Err(_) => return Poll::Ready(Err(Missed::Gone)),
                }
                let read = piece.filled();
                self.large = read.len() >= LARGE;
                let head = heads.read(read, method)?;
                match &head {
                    Some((head, length)) => self.take_behind(head, &read[*length..]),
                    None => self.filling.extend_from_slice(read),
                }
                Poll::Ready(Ok(head))
            });
            if let Some((head, _)) = ready!(read)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Takes what came behind this head, and was read with it.
    fn take_behind(&mut self, head: &Head, behind: &[u8]) {
        if head.framing == Framing::Length(behind.len() as u64) {
            self.came = Came::of(behind);
        }
        if self.came.is_none() {
            self.ahead = Bytes::copy_from_slice(behind);
        }
    }

    /// Reads once, where nothing is ahead. False: the other side has ended.
    ///
    /// # Errors
    /// The connection is broken.
    pub(in crate::forward) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<bool>> {
        debug_assert!(self.ahead.is_empty(), "what is ahead is taken first");
        let read = if self.large {
            // As soon as the client has taken what was read before, its memory is used again.
            if !self.filling.try_reclaim(PIECE) && self.filling.capacity() < LARGE {
                self.filling.reserve(PIECE);
            }
            let read = ready!(pin!(socket.read_buf(&mut self.filling)).poll(cx))?;
            self.ahead = self.filling.split().freeze();
            read
        } else {
            let polled = with_scratch(|scratch| {
                let mut piece = ReadBuf::new(scratch);
                ready!(Pin::new(socket).poll_read(cx, &mut piece))?;
                Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(piece.filled())))
            });
            self.ahead = ready!(polled)?;
            self.ahead.len()
        };
        let large = read >= LARGE;
        if self.large && !large {
            self.filling = BytesMut::new();
        }
        self.large = large;
        Poll::Ready(Ok(read > 0))
    }

    /// Takes the next head of an answer to a request of this `method`. None: it is not all here, and what there is of
    /// it is kept. One that comes byte by byte is not parsed again before its end has come.
    ///
    /// # Errors
    /// As of [`head::read`].
    fn take_head(&mut self, method: &Method, heads: &Heads) -> Result<Option<Head>, Bad> {
        if !self.filling.is_empty() {
            let known = self.filling.len();
            self.filling.extend_from_slice(&std::mem::take(&mut self.ahead));
            if !head::has_end(&self.filling, known) && self.filling.len() <= heads.most() {
                return Ok(None);
            }
            self.ahead = self.filling.split().freeze();
        }
        if self.ahead.is_empty() {
            return Ok(None);
        }
        let Some((head, length)) = heads.read(&self.ahead, method)? else {
            self.filling = BytesMut::from(std::mem::take(&mut self.ahead));
            return Ok(None);
        };
        self.ahead.advance(length);
        Ok(Some(head))
    }

    /// Gives its memory back: the connection is idle.
    pub(in crate::forward) fn rest(&mut self) {
        self.ahead = Bytes::new();
        if self.large || self.filling.capacity() > 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::body::{Body, Step};
    use super::*;

    /// An answer as it was understood: its heads, its body, and whether it ended, broke, or wants more.
    #[derive(Debug, Default, PartialEq)]
    struct Understood {
        heads: Vec<(u16, usize)>,
        data: Vec<u8>,
        trailers: usize,
        ended: bool,
        broken: bool,
    }

    fn understand<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Understood {
        let (mut inflow, mut body, mut seen) = (Inflow::default(), None, Understood::default());
        let heads = Heads::new(300);
        for part in parts {
            if seen.ended || seen.broken {
                break;
            }
            assert!(inflow.ahead.is_empty());
            inflow.ahead = Bytes::copy_from_slice(part);
            read_on(&mut inflow, &heads, &mut body, &mut seen);
        }
        seen
    }

    fn read_on(inflow: &mut Inflow, heads: &Heads, body: &mut Option<Body>, seen: &mut Understood) {
        while body.is_none() {
            match inflow.take_head(&Method::GET, heads) {
                Ok(Some(head)) => {
                    seen.heads.push((head.status.as_u16(), head.fields.len()));
                    if !head.is_interim() {
                        *body = Some(Body::new(head.framing, 300));
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    seen.broken = true;
                    return;
                }
            }
        }
        let Some(body) = body else { return };
        loop {
            match body.next(&mut inflow.ahead) {
                Ok(Step::Data(data)) => seen.data.extend_from_slice(&data),
                Ok(Step::Trailers(trailers)) => seen.trailers += trailers.len(),
                Ok(Step::More) => return,
                Ok(Step::End) => {
                    seen.ended = true;
                    return;
                }
                Err(_) => {
                    seen.broken = true;
                    return;
                }
            }
        }
    }

    fn answer() -> impl Strategy<Value = Vec<u8>> {
        let line_end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
        let interim = prop::collection::vec(Just("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"), 0..3);
        let framing = prop_oneof![
            Just(("content-length: 11", "hello world")),
            Just(("transfer-encoding: chunked", "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n")),
            Just(("transfer-encoding: chunked", "B\r\nhello world\r\n0\r\nsum: 1\r\n\r\n")),
            Just(("x: until the end", "hello world")),
        ];
        let fields = prop::collection::vec("[a-z]{1,9}: [ -~]{0,20}", 0..6);
        (interim, line_end, framing, fields, "[a-z ]{0,9}").prop_map(
            |(interim, end, framing, fields, behind)| {
                let fields: String = fields.iter().map(|field| format!("x-{field}{end}")).collect();
                let (framing, body) = framing;
                let head = format!("HTTP/1.1 200 OK{end}{fields}{framing}{end}{end}");
                format!("{}{head}{body}{behind}", interim.concat()).into_bytes()
            },
        )
    }

    proptest! {
        #[test]
        fn however_an_answer_is_cut_it_is_the_same_answer(
            text in answer(),
            cuts in prop::collection::vec(1_usize..60, 1..40),
            spoil in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut text = text;
            if let Some((at, byte)) = spoil {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let (mut parts, mut rest, mut cuts) = (Vec::new(), &text[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (part, more) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                parts.push(part);
                rest = more;
            }
            let mut whole = understand([&text[..]]);
            let mut cut = understand(parts);
            let mut bytewise = understand(text.chunks(1));
            // A head that is not complete and wrong is found out now or when it is complete.
            for seen in [&mut whole, &mut cut, &mut bytewise] {
                seen.broken |= seen.heads.last().is_none_or(|(status, _)| *status < 200);
            }
            prop_assert_eq!(&whole, &cut);
            prop_assert_eq!(&whole, &bytewise);
            if spoil.is_none() {
                prop_assert!(!whole.broken && whole.data.starts_with(b"hello world"));
            }
        }
    }
}
