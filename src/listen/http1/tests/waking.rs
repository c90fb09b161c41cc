//! What wakes a connection that is in use, and when it asks for that. Those that are parked are tested in `parking.rs`.

use tokio::task::coop::{consume_budget, has_budget_remaining};

use super::*;
use crate::listen::transport::Arriving;

/// Whether a request is heard whose last bytes come while it is waited for.
async fn is_woken_by(line: &Rc<Line>, far: &mut UnixStream, bytes: &[u8]) -> bool {
    let listening = async { timeout(Duration::from_secs(20), next(line)).await.expect("it is woken") };
    let speaking = async { far.write_all(bytes).unwrap() };
    tokio::join!(listening, speaking).0.is_ok()
}

#[test]
fn what_comes_wakes_a_connection_that_awaited_it_more_than_once() {
    run(async {
        let (line, mut far) = line();
        for _ in 0..3 {
            assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
            assert_eq!(line.io.borrow().arriving, Arriving::Awaited);
        }
        assert!(is_woken_by(&line, &mut far, GET).await);
        assert_eq!(
            line.io.borrow().arriving,
            Arriving::Drained,
            "what came has woken it, and nothing else will"
        );
        assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
        assert_eq!(line.io.borrow().arriving, Arriving::Awaited);
    });
}

/// What is told of something that was read already, together with what came before it, wakes for nothing.
#[test]
fn a_connection_that_was_woken_for_nothing_awaits_what_comes_anew() {
    run(async {
        let (line, mut far) = line();
        far.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        poll_fn(|cx| line.io.borrow().transport.poll_read_ready(cx)).await.unwrap();
        far.write_all(b"host: a\r\n").unwrap();
        assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
        assert_eq!(line.io.borrow().arriving, Arriving::Awaited);
        assert!(line.io.borrow().held.ends_with(b"host: a\r\n"));
        // The runtime looks, and is told of the second line.
        tokio::task::yield_now().await;
        assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
        assert!(is_woken_by(&line, &mut far, b"\r\n").await);
    });
}

#[test]
fn a_task_that_has_used_up_its_turn_awaits_nothing_yet() {
    run(async {
        let (line, _far) = line();
        let waiting = tokio::task::spawn_local(poll_fn(move |cx| {
            for _ in 0..1_000 {
                if pin!(consume_budget()).poll(cx).is_pending() {
                    break;
                }
            }
            assert!(!has_budget_remaining());
            assert!(line.poll_head(cx, &mut None).is_pending());
            assert_eq!(
                line.io.borrow().arriving,
                Arriving::Anything,
                "it is woken at once, and not when something comes"
            );
            Poll::Ready(())
        }));
        waiting.await.unwrap();
    });
}
