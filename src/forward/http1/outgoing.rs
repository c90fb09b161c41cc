//! A request on its way out to a worker over HTTP/1.1: its head, and its body as the client sends it and the worker
//! takes it. What is small leaves together in one write; nothing is kept but what the socket has not taken.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::HeaderName;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::head::digits;
use crate::fields::{Fields, text};
use crate::forward::Order;
use crate::forward::headers;
use crate::forward::upload::{Taken, Upload};
use crate::refusal::{Reason, Refusal};
use crate::socket::Socket;

/// Up to so many bytes are put together for one write; a longer piece is written from where it is.
const TOGETHER: usize = 16 * 1024;
/// Pieces written before others have their turn.
const ROUNDS: usize = 16;
/// The end of a chunked body without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

thread_local! {
    /// Lent for as long as a write takes: a shard is one thread.
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A request on its way out.
#[derive(Debug)]
pub(in crate::forward) struct Outgoing {
    framing: Framing,
    stage: Stage,
    /// Bytes that leave before the piece: the head, small pieces, what frames them.
    front: Vec<u8>,
    /// Of those, so many are gone.
    gone: usize,
    /// A piece of the body, and what frames its end.
    piece: Bytes,
    behind: &'static [u8],
    /// The socket has taken something.
    begun: bool,
    /// Of the body, taken from the client before that: it can be put back.
    first: Bytes,
    /// The same of the trailers of a body that has nothing else.
    trailers: Option<Box<HeaderMap>>,
}

/// How the body is framed.
#[derive(Debug)]
enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks; these trailers may follow.
    Chunked(Vec<HeaderName>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The body goes on.
    Open,
    /// All of it was taken from the client.
    Last,
    /// All of it was taken by the socket.
    Done,
    /// It ended before that.
    Stopped(Stop),
}

/// Why a request does not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Stop {
    /// The worker takes nothing more.
    Worker,
    /// The client's body broke; the upload knows why.
    Client,
}

impl Outgoing {
    /// A request that begins to go out. None if all of it is gone: it has no body, and the socket took the head at
    /// once. Without a `socket` nothing is written yet: whether that one is alive has to be looked at first.
    pub(in crate::forward) fn begin(order: &Order, socket: Option<&Socket>) -> Option<Box<Self>> {
        let mut front = LENT.take();
        front.clear();
        let framing = write_head(order, &mut front);
        let gone = match socket {
            // What is wrong with the socket, it says again.
            Some(socket) if order.body.is_none() => socket.try_write(&front).unwrap_or(0),
            _ => 0,
        };
        if gone == front.len() {
            LENT.set(front);
            return None;
        }
        Some(Box::new(Self {
            framing,
            stage: if order.body.is_none() { Stage::Last } else { Stage::Open },
            front,
            gone,
            piece: Bytes::new(),
            behind: b"",
            begun: gone > 0,
            first: Bytes::new(),
            trailers: None,
        }))
    }

    /// Whether the socket has taken any of it.
    pub(in crate::forward) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Writes what the socket takes of what the client sends. Ready when nothing more can be done: all of it is gone,
    /// or nothing more will go. Asked again, it says the same.
    pub(in crate::forward) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        body: &mut Upload,
    ) -> Poll<Result<(), Stop>> {
        if self.front.capacity() == 0 {
            self.front = LENT.take();
        }
        let polled = self.write_on(cx, socket, body);
        if self.gone == self.front.len() {
            self.front.clear();
            self.gone = 0;
            LENT.set(std::mem::take(&mut self.front));
        }
        polled
    }

    /// Puts what was taken of the body back where it came from: the socket has taken nothing of this request.
    pub(in crate::forward) fn take_back(&mut self, body: &mut Upload) {
        let first = std::mem::take(&mut self.first);
        let pieces = if first.is_empty() { VecDeque::new() } else { [first].into() };
        body.put_back(Taken { pieces, trailers: self.trailers.take().map(|trailers| *trailers) });
    }

    fn write_on(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        body: &mut Upload,
    ) -> Poll<Result<(), Stop>> {
        for _ in 0..ROUNDS {
            // Also while the socket is full, as far as there is room: who asks for the rest knows whether the client
            // keeps it waiting or the worker does.
            let gathered = self.gather(cx, body);
            if let Stage::Stopped(stop) = self.stage {
                return Poll::Ready(Err(stop));
            }
            if let Err(stop) = ready!(self.flush(cx, socket)) {
                body.unwanted();
                return Poll::Ready(Err(stop));
            }
            if matches!(self.stage, Stage::Last | Stage::Done) {
                self.stage = Stage::Done;
                return Poll::Ready(Ok(()));
            }
            ready!(gathered);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_flushed(&self) -> bool {
        self.gone == self.front.len() && self.piece.is_empty() && self.behind.is_empty()
    }

    /// Takes as much of the body as goes into one write; pending if the client has none.
    fn gather(&mut self, cx: &mut Context<'_>, body: &mut Upload) -> Poll<()> {
        while self.stage == Stage::Open && self.has_room() {
            // Of more than one piece nothing could be put back.
            if !self.begun && !self.first.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => self.end(body),
                Some(Err(_)) => self.stage = Stage::Stopped(Stop::Client),
                Some(Ok(frame)) => self.take(frame, body),
            }
        }
        Poll::Ready(())
    }

    /// Whether more can be put behind what waits for the socket.
    fn has_room(&self) -> bool {
        self.piece.is_empty() && self.behind.is_empty() && self.front.len() < TOGETHER
    }

    fn take(&mut self, frame: Frame<Bytes>, body: &mut Upload) {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                self.take_trailers(&trailers, body);
                if !self.begun {
                    self.trailers = Some(Box::new(trailers));
                }
                return;
            }
        };
        if !self.begun {
            self.first = data.clone();
        }
        let chunked = match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(less) => {
                    *left = less;
                    false
                }
                None => return self.spoil(body),
            },
            Framing::Chunked(_) => true,
        };
        if !data.is_empty() {
            if chunked {
                // A Vec takes whatever is written to it.
                let _ = write!(self.front, "{:x}\r\n", data.len());
            }
            let end: &[u8] = if chunked { b"\r\n" } else { b"" };
            if self.front.is_empty() || self.front.len() + data.len() > TOGETHER {
                (self.piece, self.behind) = (data, end);
            } else {
                self.front.extend_from_slice(&data);
                self.front.extend_from_slice(end);
            }
        }
        if body.is_end_stream() {
            self.end(body);
        }
    }

    /// Trailers go on if the client announced them, and only behind chunks.
    fn take_trailers(&mut self, trailers: &HeaderMap, body: &Upload) {
        let Framing::Chunked(announced) = &self.framing else { return self.end(body) };
        let may =
            |name: &HeaderName| announced.contains(name) && !headers::is_no_trailer(name.as_str().as_bytes());
        self.front.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().filter(|(name, _)| may(name)) {
            write_field(name.as_str().as_bytes(), value.as_bytes(), &mut self.front);
        }
        self.front.extend_from_slice(b"\r\n");
        self.stage = Stage::Last;
    }

    /// The client's body is complete.
    fn end(&mut self, body: &Upload) {
        match &self.framing {
            Framing::Length(0) => self.stage = Stage::Last,
            Framing::Length(_) => self.spoil(body),
            Framing::Chunked(_) if self.piece.is_empty() => {
                self.front.extend_from_slice(LAST_CHUNK);
                self.stage = Stage::Last;
            }
            Framing::Chunked(_) => {
                self.behind = b"\r\n0\r\n\r\n";
                self.stage = Stage::Last;
            }
        }
    }

    /// The body is not as long as its head said: nothing is sent that could be taken for something else.
    fn spoil(&mut self, body: &Upload) {
        let detail = "the body is not as long as its `Content-Length` says";
        body.break_off(Refusal::new(Reason::BadRequest, detail));
        self.stage = Stage::Stopped(Stop::Client);
    }

    fn flush(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<Result<(), Stop>> {
        while !self.is_flushed() {
            let front = &self.front[self.gone..];
            let wrote = if self.piece.is_empty() && self.behind.is_empty() {
                ready!(Pin::new(&mut *socket).poll_write(cx, front))
            } else if front.is_empty() && self.behind.is_empty() {
                ready!(Pin::new(&mut *socket).poll_write(cx, &self.piece))
            } else {
                let parts = [IoSlice::new(front), IoSlice::new(&self.piece), IoSlice::new(self.behind)];
                ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &parts))
            };
            let Ok(wrote @ 1..) = wrote else {
                self.stage = Stage::Stopped(Stop::Worker);
                return Poll::Ready(Err(Stop::Worker));
            };
            self.advance(wrote);
        }
        self.front.clear();
        self.gone = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, wrote: usize) {
        if !self.begun {
            self.begun = true;
            (self.first, self.trailers) = (Bytes::new(), None);
        }
        let of_front = wrote.min(self.front.len() - self.gone);
        self.gone += of_front;
        let of_piece = (wrote - of_front).min(self.piece.len());
        self.piece.advance(of_piece);
        self.behind = &self.behind[wrote - of_front - of_piece..];
    }
}

/// Writes a request's head, and says how its body is framed. The fields decide that; a body that they say nothing of
/// goes out in chunks.
fn write_head(order: &Order, out: &mut Vec<u8>) -> Framing {
    let head = &order.head;
    let target = head.target.path_and_query();
    let fields = &head.fields;
    out.reserve(fields.as_lines().len() + target.len() + 64);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let framing = framing(order);
    let chunked = matches!(framing, Framing::Chunked(_));
    if fields.contains("transfer-encoding") || (chunked && fields.contains("content-length")) {
        // Said below, where it is true; and beside it no length.
        let goes = |name: &[u8]| name == b"transfer-encoding" || (chunked && name == b"content-length");
        fields.iter().filter(|(name, _)| !goes(name)).for_each(|(name, value)| write_field(name, value, out));
    } else {
        out.extend_from_slice(fields.as_lines());
    }
    if chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn framing(order: &Order) -> Framing {
    if order.body.is_none() {
        return Framing::Length(0);
    }
    let fields = &order.head.fields;
    let mut lengths = fields.get_all("content-length");
    // One line of digits, since it goes out as it is; whatever else it says, chunks say it better.
    match (lengths.next().and_then(digits), lengths.next()) {
        (Some(length), None) if !fields.contains("transfer-encoding") => Framing::Length(length),
        _ => Framing::Chunked(announced(fields)),
    }
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The names that `Trailer` lists.
fn announced(fields: &Fields) -> Vec<HeaderName> {
    let lines = fields.get_all("trailer").filter_map(text);
    lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use http::{HeaderValue, Method};
    use http_body::SizeHint;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::clock::Moment;
    use crate::forward::exchange::{Late, Patience};
    use crate::forward::source::{ClientBody, Source};
    use crate::message::{RequestHead, Target};

    fn order(fields: &[(&'static str, &str)], body: Upload) -> Order {
        let mut head = RequestHead::new(Method::POST, Target::new("", "", "/a?b"));
        fields.iter().for_each(|(name, value)| head.fields.add(name, value.as_bytes()));
        Order { head, body }
    }

    fn body(pieces: &[Vec<u8>], trailers: Option<HeaderMap>) -> Upload {
        Upload::made_up(Taken { pieces: pieces.iter().map(|piece| piece.clone().into()).collect(), trailers })
    }

    /// What a worker reads of this request that reads so much at once, and what came of it.
    async fn sent(mut order: Order, at_once: usize) -> (Vec<u8>, Result<(), Stop>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut socket = Socket::Unix(ours);
        let mut outgoing = Outgoing::begin(&order, None).unwrap();
        let (mut read, mut all) = (vec![0; at_once], Vec::new());
        let ended = loop {
            tokio::select! {
                biased;
                ended = poll_fn(|cx| outgoing.poll(cx, &mut socket, &mut order.body)) => break ended,
                n = theirs.read(&mut read) => all.extend_from_slice(&read[..n.unwrap()]),
            }
        };
        drop(socket);
        theirs.read_to_end(&mut all).await.unwrap();
        (all, ended)
    }

    fn text(order: Order) -> String {
        let (bytes, ended) = tokio_test(sent(order, 100));
        assert_eq!(ended, Ok(()));
        String::from_utf8(bytes).unwrap()
    }

    fn tokio_test<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn what_frames_a_body_is_what_is_sent_of_it() {
        let head = "POST /a?b HTTP/1.1\r\n";
        let pieces = [b"hel".to_vec(), b"lo".to_vec()];
        let none = order(&[("host", "a"), ("transfer-encoding", "chunked")], Upload::none());
        assert_eq!(text(none), format!("{head}host: a\r\n\r\n"));
        let length = order(&[("content-length", "5")], body(&pieces, None));
        assert_eq!(text(length), format!("{head}content-length: 5\r\n\r\nhello"));
        let chunks = "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        for fields in [
            &[][..],
            &[("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked"), ("content-length", "9")],
            &[("content-length", "x")],
            &[("content-length", "+5")],
            &[("content-length", "5"), ("content-length", "5")],
        ] {
            assert_eq!(text(order(fields, body(&pieces, None))), format!("{head}{chunks}"));
        }
    }

    #[test]
    fn trailers_go_on_if_they_were_announced_and_may() {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "x-other", "host"] {
            trailers.insert(name, HeaderValue::from_static("7"));
        }
        let with = |fields| text(order(fields, body(&[b"a".to_vec()], Some(trailers.clone()))));
        assert!(with(&[]).ends_with("1\r\na\r\n0\r\n\r\n"));
        let told = with(&[("trailer", "X-Sum, host"), ("trailer", "x-none")]);
        assert!(told.ends_with("1\r\na\r\n0\r\nx-sum: 7\r\n\r\n"), "{told}");
        assert!(with(&[("content-length", "1")]).ends_with("\r\n\r\na"));
    }

    #[test]
    fn never_more_nor_less_is_sent_than_was_promised() {
        for length in ["4", "6"] {
            let order = order(&[("content-length", length)], body(&[b"hel".to_vec(), b"lo".to_vec()], None));
            let watch = order.body.watch();
            let (bytes, ended) = tokio_test(sent(order, 100));
            assert_eq!(ended, Err(Stop::Client));
            assert!(watch.failure().is_some());
            assert!(bytes.len() <= "POST /a?b HTTP/1.1\r\ncontent-length: 4\r\n\r\nhel".len());
        }
    }

    #[test]
    fn a_request_of_which_nothing_went_has_its_body_back() {
        tokio_test(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            drop(theirs);
            let mut socket = Socket::Unix(ours);
            let mut order = order(&[("content-length", "5")], body(&[b"hello".to_vec()], None));
            let mut outgoing = Outgoing::begin(&order, None).unwrap();
            let ended = poll_fn(|cx| outgoing.poll(cx, &mut socket, &mut order.body)).await;
            assert_eq!((ended, outgoing.has_begun()), (Err(Stop::Worker), false));
            outgoing.take_back(&mut order.body);
            let (bytes, ended) = sent(order, 100).await;
            assert!(ended.is_ok() && bytes.ends_with(b"\r\n\r\nhello"));
        });
    }

    #[test]
    fn trailers_alone_go_out_once_more_too() {
        tokio_test(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            drop(theirs);
            let mut socket = Socket::Unix(ours);
            let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from(7))]);
            let mut order = order(&[("trailer", "x-sum")], body(&[], Some(trailers)));
            let mut outgoing = Outgoing::begin(&order, None).unwrap();
            let ended = poll_fn(|cx| outgoing.poll(cx, &mut socket, &mut order.body)).await;
            assert_eq!((ended, outgoing.has_begun()), (Err(Stop::Worker), false));
            outgoing.take_back(&mut order.body);
            assert!(!order.body.watch().ended());
            let (bytes, ended) = sent(order, 100).await;
            assert!(ended.is_ok() && bytes.ends_with(b"\r\n\r\n0\r\nx-sum: 7\r\n\r\n"));
        });
    }

    /// A client that sends a KiB each time it was waited for, without end.
    #[derive(Debug, Default)]
    struct Steady {
        waits: bool,
    }

    impl ClientBody for Steady {
        fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
            self.waits = !self.waits;
            if self.waits {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'a'; 1024])))))
        }

        fn is_end_stream(&self) -> bool {
            false
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::default()
        }
    }

    /// The upload is sent until nothing moves any more; then the time is over for an answer.
    fn late(socket: UnixStream) -> (u64, Option<Late>) {
        let body = Upload::new(Source::Http1(Box::<Steady>::default()), u64::MAX, false);
        let mut order = order(&[], body);
        let (watch, mut socket) = (order.body.watch(), Socket::Unix(socket));
        let mut outgoing = Outgoing::begin(&order, None).unwrap();
        let (now, mut cx) = (Moment::at(0), Context::from_waker(Waker::noop()));
        let (mut before, mut still) = (0, 0);
        while still < 4 {
            let _ = outgoing.poll(&mut cx, &mut socket, &mut order.body);
            still = if watch.bytes() == before { still + 1 } else { 0 };
            before = watch.bytes();
        }
        let patience = Patience { from: now, response: Duration::from_secs(1), until: None };
        (before, patience.late(&watch, now))
    }

    #[test]
    fn a_worker_that_stops_reading_is_late_and_not_the_client() {
        tokio_test(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (taken, late) = late(ours);
            assert!(taken >= TOGETHER as u64, "{taken}");
            assert_eq!(late, Some(Late::Worker));
            drop(theirs);
        });
    }

    #[test]
    fn a_worker_that_takes_no_more_and_says_nothing_is_late_too() {
        tokio_test(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let theirs = theirs.into_std().unwrap();
            theirs.shutdown(std::net::Shutdown::Read).unwrap();
            assert_eq!(late(ours).1, Some(Late::Worker));
            drop(theirs);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_byte_arrives_once_and_in_order(
            sizes in prop::collection::vec(prop_oneof![0_usize..40, 10_000_usize..40_000, Just(300_000)], 1..6),
            at_once in 1_000_usize..100_000,
            chunked: bool,
        ) {
            let pieces: Vec<Vec<u8>> = sizes
                .iter()
                .enumerate()
                .map(|(n, size)| (0..*size).map(|i| (i * 7 + n) as u8).collect())
                .collect();
            let plain = pieces.concat();
            let length = plain.len().to_string();
            let fields = [("content-length", length.as_str())];
            let fields = if chunked { &[] } else { &fields[..] };
            let (bytes, ended) = tokio_test(sent(order(fields, body(&pieces, None)), at_once));
            prop_assert_eq!(ended, Ok(()));
            let begin = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            let expected = if chunked {
                let chunk = |piece: &Vec<u8>| match piece.len() {
                    0 => Vec::new(),
                    size => [format!("{size:x}\r\n").as_bytes(), piece, b"\r\n"].concat(),
                };
                [pieces.iter().flat_map(chunk).collect(), LAST_CHUNK.to_vec()].concat()
            } else {
                plain
            };
            prop_assert!(bytes[begin..] == expected[..]);
        }
    }
}
