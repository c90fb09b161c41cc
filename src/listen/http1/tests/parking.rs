//! Connections on which nothing is under way: what wakes them, what ends them, and how small they are.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Wake, Waker};

use super::*;
use crate::clock::Moment;

fn serve_at_rest(rest: Rest, visitor: &Rc<Visitor>) -> Connection {
    let visitor = Rc::clone(visitor);
    Connection { visitor, state: State::Resting(rest), call: None, _held: None }
}

/// Since when a connection has been silent that may be parked now.
fn silent_before_parking(now: Moment) -> u64 {
    now.nanos.saturating_sub(u64::try_from(PARK_AFTER.as_nanos()).unwrap())
}

#[test]
fn a_parked_connection_goes_on_as_if_nothing_had_been() {
    run(async {
        let (transport, visitor, far) = connection(&place());
        let mut connection = serve(transport, visitor, None);
        let mut far = tokio::net::UnixStream::from_std(far).unwrap();
        for _ in 0..2 {
            // It has been silent for long enough, and for no longer than a first head may take.
            let now = connection.visitor.refresh_clock();
            let State::InUse(line, ..) = &connection.state else { panic!("it is not in use") };
            line.io.borrow_mut().since = silent_before_parking(now);
            poll_fn(|cx| match (Pin::new(&mut connection).poll(cx), &mut connection.state) {
                (Poll::Pending, State::Resting(rest)) => {
                    rest.since = connection.visitor.now().nanos;
                    Poll::Ready(())
                }
                (Poll::Pending, _) => Poll::Pending,
                (Poll::Ready(()), _) => panic!("it is closed"),
            })
            .await;
            let asking = async {
                far.write_all(GET).await.unwrap();
                // It comes in one write.
                let mut bytes = Vec::with_capacity(4096);
                far.read_buf(&mut bytes).await.unwrap();
                bytes
            };
            tokio::select! {
                bytes = asking => assert!(bytes.starts_with(b"HTTP/1.1 403 ")),
                () = &mut connection => panic!("it is closed"),
            }
        }
    });
}

#[test]
fn a_parked_connection_is_closed_after_keep_alive() {
    let shown = run(async {
        for _ in 0..100 {
            if is_there_before_the_end_and_closed_after_it().await {
                return true;
            }
        }
        false
    });
    assert!(shown, "this machine stands still all the time");
}

/// None of it is shown if the machine stands still for the 100 ms that are left before the end.
async fn is_there_before_the_end_and_closed_after_it() -> bool {
    const KEEP_ALIVE: u64 = 500_000_000;
    let place = place_that_keeps(Duration::from_nanos(KEEP_ALIVE));
    let (transport, visitor, mut far) = connection(&place);
    let now = visitor.refresh_clock();
    // Silent from an hour hence on: no machine stands still for so long.
    let begins = now.plus(Duration::from_secs(3600)).nanos;
    let mut connection = serve_at_rest(Rest { transport, since: begins, heads: 1 }, &visitor);
    assert!(waits(|cx| Pin::new(&mut connection).poll(cx)).await);

    let ends = visitor.refresh_clock().nanos + 100_000_000;
    let State::Resting(rest) = &mut connection.state else { panic!("it is not parked") };
    rest.since = ends - KEEP_ALIVE;
    // Whether it still waits, its state says: one that closes waits too.
    waits(|cx| Pin::new(&mut connection).poll(cx)).await;
    let State::Resting(rest) = &mut connection.state else {
        assert!(visitor.now().nanos >= ends, "it ends before its time");
        return false;
    };
    rest.since = now.nanos - KEEP_ALIVE;
    timeout(Duration::from_secs(15), connection).await.expect("it is closed");
    let mut said = Vec::new();
    far.read_to_end(&mut said).unwrap();
    assert!(said.is_empty(), "it is closed without a word");
    true
}

/// How often a task was woken.
#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn only_a_parked_connection_is_woken_when_keep_alive_ends() {
    run(async {
        let place = place();
        let (transport, visitor, mut far) = connection(&place);
        let now = visitor.refresh_clock();
        let mut connection = serve_at_rest(Rest { transport, since: now.nanos, heads: 1 }, &visitor);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut go_on = || Pin::new(&mut connection).poll(&mut Context::from_waker(&waker)).is_pending();
        assert!(go_on());
        let turned = |seconds| {
            let before = wakes.0.load(Relaxed);
            place.turn(now.plus(Duration::from_secs(seconds)));
            wakes.0.load(Relaxed) - before
        };
        assert_eq!((turned(59), turned(61)), (0, 1));
        assert!(go_on(), "it looked at the clock, and asked again");
        far.write_all(b"GET").unwrap();
        let before = wakes.0.load(Relaxed);
        while wakes.0.load(Relaxed) == before {
            tokio::task::yield_now().await;
        }
        assert!(go_on());
        assert_eq!(turned(120), 0, "it is in use");
    });
}

#[test]
fn a_parked_connection_is_closed_in_a_drain() {
    run(async {
        let place = place();
        let (transport, visitor, _far) = connection(&place);
        // It has been silent for as long as one that is parked, and has much more of `timeouts.head` left.
        let rest = Rest { transport, since: silent_before_parking(visitor.now()), heads: 0 };
        let mut connection = serve_at_rest(rest, &visitor);
        assert!(waits(|cx| Pin::new(&mut connection).poll(cx)).await);
        let draining = async {
            place.drain();
            std::future::pending::<()>().await;
        };
        let closed = async {
            tokio::select! {
                () = connection => {}
                () = draining => {}
            }
        };
        timeout(Duration::from_secs(15), closed).await.expect("it is closed");
    });
}

#[test]
fn an_idle_connection_is_small() {
    let bytes = size_of::<Connection>();
    assert!(bytes <= 120, "{bytes} bytes");
    let bytes = size_of::<Visitor>();
    assert!(bytes <= 224, "{bytes} bytes for the visitor");
    run(async {
        let (line, _far) = line();
        let bytes = size_of_val(&talk(line));
        assert!(bytes <= 12 * 1024, "{bytes} bytes while in use");
    });
}

#[test]
fn a_connection_that_waits_for_its_close_is_small() {
    run(async {
        let (line, _far) = line();
        let visitor = Rc::clone(&line.visitor);
        let io = Rc::into_inner(line).unwrap().io.into_inner();
        let bytes = size_of_val(&close::close(End::Done, io, &visitor));
        assert!(bytes <= 2 * 1024, "{bytes} bytes");
    });
}
