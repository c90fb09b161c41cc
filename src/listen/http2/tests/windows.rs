//! Whose turn it is to be sent something, and whose window is opened for what.

use super::*;

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
