//! Whole connections without a listener, and their parts: what a client may make them hold, and whose turn it is.

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
fn streams_that_are_reset_do_not_go_on_waiting_for_the_window() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        let wire = met.wire();
        let mut id = 1;
        // Answers use up the connection's window, which is never opened.
        while wire.open_streams() == 0 {
            met.send(&get(id)).await;
            met.heard();
            id += 2;
        }
        for _ in 0..500 {
            met.send(&get(id)).await;
            assert_eq!(wire.open_streams(), 2, "its answer waits");
            met.send(&cancel(id)).await;
            met.heard();
            assert!(wire.waiting() <= wire.open_streams());
            id += 2;
        }
    });
}

#[test]
fn a_large_answer_keeps_no_other_waiting() {
    run(async {
        let (mut transport, visitor, far) = connection(&place());
        let mut far = tokio::net::UnixStream::from_std(far).unwrap();
        let wire = Wire::new(visitor, BOUNDS);
        let kept: Vec<_> = [1, 3, 5].map(|id| open(&wire, id)).into();
        let mut receiving = Vec::new();
        for (_, (sending, other)) in kept {
            receiving.push(other);
            spawn_local(async move {
                let content = [0; 64 * 1024];
                while let Ok(room) = poll_fn(|cx| sending.poll_room(cx)).await {
                    let _ = sending.data(&content[..room], (true, false));
                }
            });
        }
        for id in [0, 1, 3, 5] {
            wire.widen(id, 1 << 20).unwrap();
        }
        let driven = Rc::clone(&wire);
        let driving = spawn_local(poll_fn(move |cx| {
            driven.begin_turn(cx);
            let _ = driven.poll_out(&mut transport, cx);
            Poll::<()>::Pending
        }));
        let (mut came, mut all) = ([0_usize; 3], Vec::new());
        for _ in 0..100 {
            let mut piece = vec![0; 64 * 1024];
            far.read_exact(&mut piece).await.unwrap();
            all.extend_from_slice(&piece);
            let mut at = 0;
            while let Some(&(kind, id, length)) =
                all.get(at..).and_then(|rest| cut(rest).first().copied()).as_ref()
            {
                if all.len() < at + 9 + length {
                    break;
                }
                assert_eq!(kind, DATA);
                came[id as usize / 2] += length;
                at += 9 + length;
                wire.widen(0, u32::try_from(length).unwrap()).unwrap();
                wire.widen(id, u32::try_from(length).unwrap()).unwrap();
            }
            all.drain(..at);
            let (most, least) = (came.iter().max().unwrap(), came.iter().min().unwrap());
            assert!(most - least <= 128 * 1024, "{came:?}");
        }
        assert!(came.iter().all(|came| *came > 1 << 20), "{came:?}");
        driving.abort();
        wire.break_all();
    });
}

#[test]
fn who_waits_for_others_is_not_stuck_and_who_waits_for_the_client_is() {
    run(async {
        let wire = wire();
        let (_, (first, _kept)) = open(&wire, 1);
        let (stream, (second, _too)) = open(&wire, 3);
        let began = wire.visitor.now().nanos;
        wire.widen(0, 1 << 20).unwrap();
        while let Poll::Ready(room) = first.poll_room(&context()) {
            first.data(&vec![0; room.unwrap()], (true, false)).unwrap();
        }
        assert!(second.poll_room(&context()).is_pending());
        let mut later = began;
        while later == began {
            later = wire.visitor.refresh_clock().nanos;
        }
        let (mut transport, _, _far) = connection(&place());
        poll_fn(|cx| wire.poll_out(&mut transport, cx)).await.unwrap();
        assert!(second.stuck_since(began) > began, "the socket took something meanwhile");
        stream.widen(-i64::from(FIRST_WINDOW));
        assert_eq!(second.stuck_since(began), began, "its own window is shut");
    });
}

#[test]
fn a_turn_that_is_not_used_is_passed_on() {
    run(async {
        let wire = wire();
        let streams: Vec<_> = (0..3).map(|n| open(&wire, 2 * n + 1)).collect();
        let sendings: Vec<_> = streams.iter().map(|(_, (sending, _))| sending).collect();
        let cx = &context();
        wire.widen(1, 1 << 20).unwrap();
        while let Poll::Ready(room) = sendings[0].poll_room(cx) {
            sendings[0].data(&vec![0; room.unwrap()], (true, false)).unwrap();
        }
        assert!(sendings.iter().all(|sending| sending.poll_room(cx).is_pending()));
        assert_eq!(wire.waiting(), 3);
        // The first is called, and shuts its own window; the second is called, and goes.
        wire.widen(0, 1).unwrap();
        let (mut transport, _, _far) = connection(&place());
        poll_fn(|cx| wire.poll_out(&mut transport, cx)).await.unwrap();
        streams[0].0.widen(-(2 << 20));
        assert!(sendings[0].poll_room(cx).is_pending());
        wire.reset(&streams[1].0, CANCEL, Interrupted::Gone);
        assert_eq!(sendings[2].poll_room(cx), Poll::Ready(Ok(1)));
    });
}

#[test]
fn what_a_request_leaves_unread_opens_the_connections_window_again() {
    run(async {
        let wire = wire();
        for n in 0..20 {
            let (stream, (sending, mut receiving)) = open(&wire, 2 * n + 1);
            for _ in 0..16 {
                assert!(wire.charge(FRAME_BYTES) && stream.charge(FRAME_BYTES), "stream {n}");
                assert!(matches!(stream.push(&[0; FRAME_BYTES as usize]), Ok(true)));
            }
            // A tunnel has taken a piece and passed half of it on.
            let Poll::Ready(Some(Ok(piece))) = receiving.poll_data(&mut context()) else { panic!("no data") };
            assert!(piece.len() <= PIECE_MOST);
            receiving.release(piece.len() / 2);
            drop((sending, receiving));
            assert_eq!(wire.window(), i64::from(CONNECTION_WINDOW));
        }
    });
}

#[test]
fn uploads_that_stand_still_leave_the_others_their_share() {
    run(async {
        let wire = wire();
        let piece = [0; FRAME_BYTES as usize];
        let held: Vec<_> = [1, 3, 5].map(|id| open(&wire, id)).into();
        for (stream, _) in &held {
            for _ in 0..16 {
                assert!(wire.charge(FRAME_BYTES) && stream.charge(FRAME_BYTES));
                let _ = stream.push(&piece);
            }
        }
        let (stream, (_sending, mut receiving)) = open(&wire, 7);
        for passed in 0..64 {
            assert!(wire.charge(FRAME_BYTES) && stream.charge(FRAME_BYTES), "stuck behind {passed} frames");
            let _ = stream.push(&piece);
            let Poll::Ready(Some(Ok(piece))) = receiving.poll_data(&mut context()) else { panic!("no data") };
            receiving.release(piece.len());
        }
    });
}

#[test]
fn while_the_others_fill_the_connections_window_a_client_is_held_back() {
    run(async {
        let wire = wire();
        let (stream, (_sending, mut receiving)) = open(&wire, 1);
        let (_other, (_too, waiting)) = open(&wire, 3);
        assert!(waiting.may_send() && waiting.held_back().is_zero());
        while wire.window() > 0 {
            assert!(wire.charge(FRAME_BYTES));
            stream.charge(FRAME_BYTES);
            let _ = stream.push(&[0; FRAME_BYTES as usize]);
        }
        let since = wire.visitor.now().nanos;
        while wire.visitor.refresh_clock().nanos == since {}
        assert!(!waiting.may_send() && !waiting.held_back().is_zero());
        let Poll::Ready(Some(Ok(piece))) = receiving.poll_data(&mut context()) else { panic!("no data") };
        receiving.release(piece.len());
        assert!(waiting.may_send());
        let before = waiting.held_back();
        let since = wire.visitor.now().nanos;
        while wire.visitor.refresh_clock().nanos == since {}
        assert!(!before.is_zero() && waiting.held_back() == before, "it may send since then");
    });
}

#[test]
fn padding_uses_up_no_window() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        let wire = met.wire();
        // Nobody asks for its body, and it is never refused: the stream is not a request's.
        let (stream, _ends) = open(&wire, 1);
        met.send(&frame(HEADERS, END_HEADERS, 1, POST)).await;
        let padding = [&[254_u8][..], &[0; 254]].concat();
        for _ in 0..90 {
            assert!(wire.charge(255) && stream.charge(255));
            wire.release(255, Some(&stream));
        }
        assert_eq!(wire.window(), i64::from(CONNECTION_WINDOW));
        for _ in 0..80 {
            met.send(&frame(DATA, PADDED, 1, &padding)).await;
        }
        assert_eq!(wire.window(), i64::from(CONNECTION_WINDOW));
    });
}

#[test]
fn padding_longer_than_its_frame_opens_no_window() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        met.send(&frame(HEADERS, END_HEADERS, 1, POST)).await;
        // Its end, with which it is judged, does not come.
        met.send(&frame(DATA, PADDED, 1, &[255; 10])[..10]).await;
        assert_eq!(met.wire().window(), i64::from(CONNECTION_WINDOW));
    });
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
fn what_waits_for_a_slow_client_is_not_destroyed_by_a_graceful_end() {
    run(async {
        for client_leaves in [true, false] {
            let mut met = Met::new();
            met.send(&begin()).await;
            if client_leaves {
                met.send(&frame(GOAWAY, 0, 0, &[0; 8])).await;
                assert!(met.watch().is_none(), "nothing was under way: it is closed");
                continue;
            }
            let wire = met.wire();
            // More than the socket takes.
            (0..400).for_each(|_| wire.say(PING, 0, &[0; 8 * 1024]));
            met.turns().await;
            let watch = met.watch().unwrap();
            watch.ask();
            assert_eq!(watch.deadline().unwrap().1, Overdue::Send, "its word may be behind what waits");
            watch.engine.tell_last();
            assert_eq!(watch.deadline().unwrap().1, Overdue::Send, "asked to leave");
            watch.end(code::NO_ERROR);
            assert_eq!(watch.deadline().unwrap().1, Overdue::Send, "about to end");
            let mut watch = Met::new();
            let watch = watch.watch().unwrap();
            (0..400).for_each(|_| watch.wire.say(PING, 0, &[0; 8 * 1024]));
            let _ = watch.turn(&mut context());
            watch.end(code::PROTOCOL_ERROR);
            assert_eq!(watch.deadline().unwrap().1, Overdue::End, "who broke the rules is not waited for");
        }
    });
}

#[test]
fn the_socket_goes_with_its_connection_whoever_still_holds_a_stream() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        let wire = met.wire();
        let (_stream, _ends) = open(&wire, 99);
        met.send(b"this is no frame, and far too long for one").await;
        met.far.shutdown(std::net::Shutdown::Write).unwrap();
        met.end().await;
        met.heard();
        assert_eq!(met.far.read(&mut [0; 9]).unwrap(), 0, "closed");
        assert!(Rc::strong_count(&wire) > 1);
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

#[test]
fn a_client_that_does_not_say_that_it_knows_is_told_all_the_same() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        let wire = met.wire();
        let (_stream, _ends) = open(&wire, 1);
        met.heard();
        let watch = met.watch().unwrap();
        watch.ask();
        assert!(watch.overdue(Overdue::Word).is_none());
        met.turns().await;
        let kinds: Vec<u8> = cut(&met.heard()).iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [GOAWAY, PING, GOAWAY]);
        assert!(!met.watch().unwrap().engine.waits_for_word());
    });
}

#[test]
fn a_parked_connection_holds_nothing_and_goes_on_as_if_nothing_had_been() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        met.send(&get(1)).await;
        assert!(!met.heard().is_empty());
        let watch = met.watch().unwrap();
        assert_eq!(watch.deadline().unwrap().1, Overdue::Awake);
        assert!(watch.overdue(Overdue::Awake).is_none());
        assert_eq!(watch.deadline().unwrap().1, Overdue::Idle);
        assert_eq!(watch.wire.room_kept(), 0);
        met.send(&get(3)).await;
        assert_eq!(met.visitor.begun(), 2);
        assert!(cut(&met.heard()).iter().any(|(kind, id, _)| (*kind, *id) == (HEADERS, 3)));
        assert_eq!(met.watch().unwrap().deadline().unwrap().1, Overdue::Awake, "it is parked once more");
    });
}

#[test]
fn a_request_whose_task_has_not_run_yet_is_work() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        met.send(&get(1)).await;
        let watch = met.watch().unwrap();
        assert!(watch.overdue(Overdue::Awake).is_none());
        assert_eq!(watch.deadline().unwrap().1, Overdue::Idle, "parked");
        met.read_one(&get(3)).await;
        let watch = met.watch().unwrap();
        assert!(
            !matches!(watch.deadline(), Some((_, Overdue::Awake | Overdue::Idle))),
            "it would be parked at once"
        );
        met.turns().await;
        assert_eq!(met.visitor.begun(), 2);
        assert_eq!(met.watch().unwrap().deadline().unwrap().1, Overdue::Awake, "it is parked once more");
    });
}

#[test]
fn who_was_asked_to_leave_is_told_what_was_its_last_request() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        met.watch().unwrap().park();
        met.watch().unwrap().ask();
        assert!(matches!(met.watch().unwrap().deadline(), Some((_, Overdue::End))), "nothing is under way");
        met.read_one(&get(1)).await;
        assert_eq!(met.watch().unwrap().deadline().unwrap().1, Overdue::Word, "no request is lost");
        met.turns().await;
        assert!(cut(&met.heard()).iter().any(|(kind, id, _)| (*kind, *id) == (HEADERS, 1)));
        assert!(met.watch().unwrap().overdue(Overdue::End).is_none());
        met.turns().await;
        let heard = met.heard();
        assert_eq!(heard, frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    });
}

#[test]
fn who_was_asked_to_leave_has_more_time_with_each_byte_that_comes() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        met.watch().unwrap().park();
        met.watch().unwrap().ask();
        let mut timeouts = met.visitor.timeouts();
        let (ends, what) = met.watch().unwrap().idle_ends(&timeouts);
        assert_eq!(what, Overdue::End);
        let asked = met.watch().unwrap().asked.unwrap();
        while met.visitor.refresh_clock().nanos == asked {}
        met.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
        let watch = met.watch().unwrap();
        assert!(watch.idle_ends(&timeouts).0 > ends);
        // But not for ever.
        watch.asked = Some(1);
        timeouts.send = LAST_WORDS;
        let since = watch.wire.emptied_at().max(watch.wire.visitor.rested_at());
        assert_eq!(watch.idle_ends(&timeouts).0, after(since, LAST_WORDS));
    });
}

#[test]
fn a_client_that_still_takes_its_answers_is_not_cut_off() {
    run(async {
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(3600));
        for (wait, most) in [(short, long), (long, short)] {
            let (mut transport, visitor, mut far) = connection(&place());
            let until = after(visitor.refresh_clock().nanos, 3 * short);
            let mut parting = Box::pin(part_slowly(&mut transport, wait, most));
            let mut over = false;
            while !over && visitor.refresh_clock().nanos < until {
                over = poll_fn(|cx| Poll::Ready(parting.as_mut().poll(cx).is_ready())).await;
                // It is there before the runtime looks at its timers.
                let _ = far.write(&[0]);
                tokio::task::yield_now().await;
            }
            assert!(!over || most < wait, "cut off");
            if !over {
                parting.await;
            }
        }
    });
}

#[test]
fn a_head_is_not_waited_for_while_nothing_is_read() {
    run(async {
        let mut met = Met::new();
        met.send(&begin()).await;
        met.send(&get(1)[..12]).await;
        let watch = met.watch().unwrap();
        let began = watch.wire.frames.borrow().head_since().unwrap();
        assert_eq!(watch.engine.head_awaited(began), Some(began));
        // More than the socket takes.
        (0..400).for_each(|_| watch.wire.say(PING, 0, &[0; 8 * 1024]));
        met.turns().await;
        let watch = met.watch().unwrap();
        assert_eq!(watch.engine.head_awaited(began), None);
        assert_eq!(watch.deadline().unwrap().1, Overdue::Send);
        for _ in 0..10_000 {
            met.heard();
            met.turns().await;
            if met.watch().unwrap().wire.writing_since().is_none() {
                break;
            }
        }
        assert!(met.watch().unwrap().engine.head_awaited(began).unwrap() > began, "its time begins anew");
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
