//! How long a connection lasts: what is waited for, what a client that is asked to leave is told, and how it ends.

use super::*;

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
