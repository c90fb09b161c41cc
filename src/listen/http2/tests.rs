//! Whole connections without a listener, and their parts: what a client may make them hold, and whose turn it is.

mod leaving;
mod windows;

use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::task::Waker;

use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_local;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE,
};
use super::pieces::PIECE_MOST;
use super::stream::Stream;
use super::*;
use crate::forward::source::{Interrupted, StreamBody};
use crate::listen::http1::tests::{connection, place, run};

const BOUNDS: FrameBounds =
    FrameBounds { head_bytes: 32 << 10, head_fields: 100, streams: 100, frame_bytes: FRAME_BYTES };

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: a`.
const GET: &[u8] = b"\x82\x86\x84\x01\x01a";
/// The same with POST.
const POST: &[u8] = b"\x83\x86\x84\x01\x01a";

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

fn begin() -> Vec<u8> {
    [&PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

fn wire() -> Rc<Wire> {
    let (_, visitor, _) = connection(&place());
    Wire::new(visitor, BOUNDS)
}

fn open(wire: &Rc<Wire>, id: u32) -> (Rc<Stream>, (Sending, Receiving)) {
    let stream = wire.open(id, None, false);
    let ends = ends::of(wire, &stream);
    (stream, ends)
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A connection whose service refuses every request, and its far end.
struct Met {
    connection: Connection,
    visitor: Rc<Visitor>,
    far: UnixStream,
    over: bool,
}

impl Met {
    fn new() -> Self {
        let (transport, visitor, far) = connection(&place());
        Self { connection: serve(transport, Rc::clone(&visitor), None), visitor, far, over: false }
    }

    fn watch(&mut self) -> Option<&mut Watch> {
        match &mut self.connection.state {
            State::InUse(watch) => Some(watch),
            State::Last(_) | State::Gone => None,
        }
    }

    fn wire(&mut self) -> Rc<Wire> {
        Rc::clone(&self.watch().unwrap().wire)
    }

    /// Gives the connection and its requests a few turns; whether it is over.
    async fn turns(&mut self) -> bool {
        for _ in 0..4 {
            if self.over {
                break;
            }
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.connection).poll(cx))).await;
            self.over = polled.is_ready();
            // The runtime looks at its sockets when nothing else is to be done.
            tokio::task::yield_now().await;
        }
        self.over
    }

    /// The same until it is over.
    async fn end(&mut self) {
        for _ in 0..10_000 {
            if self.turns().await {
                return;
            }
        }
        panic!("a connection without a client is not over");
    }

    /// Has the connection read a request, whose task has not run yet.
    async fn read_one(&mut self, request: &[u8]) {
        self.far.write_all(request).unwrap();
        for _ in 0..10_000 {
            let watch = self.watch().unwrap();
            assert_eq!(watch.turn(&mut context()), None);
            if watch.wire.open_streams() > 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("a request is not read");
    }

    /// Sends this, as far as the connection takes it.
    async fn send(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.far.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
            if self.turns().await {
                return true;
            }
        }
        self.turns().await
    }

    /// What has come back.
    fn heard(&mut self) -> Vec<u8> {
        let (mut all, mut piece) = (Vec::new(), [0; 64 * 1024]);
        while let Ok(n @ 1..) = self.far.read(&mut piece) {
            all.extend_from_slice(&piece[..n]);
        }
        all
    }
}

/// Kind, stream and length of the frames.
fn cut(mut bytes: &[u8]) -> Vec<(u8, u32, usize)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, d, e, f, g, behind @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames.push((*kind, u32::from_be_bytes([*d, *e, *f, *g]), length));
        bytes = behind.get(length..).unwrap_or_default();
    }
    frames
}

#[test]
fn a_stream_is_reset_once() {
    run(async {
        let wire = wire();
        let (stream, (sending, _receiving)) = open(&wire, 1);
        sending.reset(CANCEL);
        wire.reset(&stream, code::PROTOCOL_ERROR, Interrupted::Malformed);
        let (mut transport, _, mut far) = connection(&place());
        poll_fn(|cx| wire.poll_out(&mut transport, cx)).await.unwrap();
        let mut sent = [0; 100];
        let length = far.read(&mut sent).unwrap();
        assert_eq!(cut(&sent[..length]), [(RST_STREAM, 1, 4)]);
    });
}

#[test]
fn a_request_that_was_taken_back_at_once_never_begins() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        let pairs: Vec<u8> = (0..50).flat_map(|n| [get(2 * n + 1), cancel(2 * n + 1)].concat()).collect();
        met.far.write_all(&pairs).unwrap();
        met.turns().await;
        assert_eq!(met.visitor.begun(), 0);
        met.send(&get(1001)).await;
        assert_eq!(met.visitor.begun(), 1);
    });
}

/// Something that a client may send, sound or not.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let head = (any::<bool>(), any::<bool>(), 0_u32..20).prop_map(|(posts, ends, n)| {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        frame(HEADERS, flags, 2 * n + 1, if posts { POST } else { GET })
    });
    let body = (0_usize..20_000, any::<u8>(), 0_u32..20).prop_map(|(length, flags, n)| {
        frame(DATA, flags & (END_STREAM | PADDED), 2 * n + 1, &vec![9; length])
    });
    let any_frame = (0_u8..12, any::<u8>(), 0_u32..24, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, flags, id, payload)| frame(kind, flags, id, &payload));
    prop_oneof![
        4 => head,
        4 => body,
        2 => (0_u32..20).prop_map(|n| cancel(2 * n + 1)),
        2 => (0_u32..20, 1_u32..100_000).prop_map(|(n, by)| {
            frame(WINDOW_UPDATE, 0, if n == 0 { 0 } else { 2 * n - 1 }, &by.to_be_bytes())
        }),
        1 => (0_u32..200_000).prop_map(|window| {
            frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat())
        }),
        1 => Just(frame(PING, 0, 0, &[7; 8])),
        1 => Just(frame(SETTINGS, ACK, 0, &[])),
        1 => any_frame,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_client_sends_nothing_panics_and_the_bounds_hold(
        parts in prop::collection::vec(anything(), 1..60),
        cuts in prop::collection::vec(1_usize..5_000, 1..8),
        reads in any::<bool>(),
    ) {
        run(async {
            let mut met = Met::new();
            let bytes = [begin(), parts.concat()].concat();
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = behind;
                if met.send(piece).await {
                    break;
                }
                if reads {
                    met.heard();
                }
                let Some(watch) = met.watch() else { break };
                let wire = &watch.wire;
                prop_assert!(wire.open_streams() <= 100 && wire.waiting() <= wire.open_streams());
                prop_assert!((0..=i64::from(CONNECTION_WINDOW)).contains(&wire.window()));
                prop_assert!(wire.held_bytes() as i64 <= i64::from(CONNECTION_WINDOW) - wire.window());
                prop_assert!(watch.engine.held() <= 4 * 32 * 1024 + 2 * FRAME_BYTES as usize);
            }
            met.far = UnixStream::pair().unwrap().0;
            met.end().await;
            Ok(())
        })?;
    }
}
