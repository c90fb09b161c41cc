//! Waiting for a condition. The only file of the tests that sleeps: everything else waits for events.

use std::time::{Duration, Instant};

/// How long anything may take that should happen: long enough for a busy machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How long a client says nothing whose connection is to be parked meanwhile (after one second). Nothing shows from
/// outside whether it is: what is asked after this holds either way, and the tests beside the code see it parked.
pub(crate) const PARKED: Duration = Duration::from_millis(1300);

const POLL: Duration = Duration::from_millis(5);

/// Waits until the condition holds; panics, with `what` was waited for, if it does not within [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until there is something, and returns it.
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(POLL);
    }
}

/// Waits until a number has not changed for `quiet`, and returns it: "it has stopped".
#[track_caller]
pub(crate) fn steady(what: &str, quiet: Duration, mut number: impl FnMut() -> u64) -> u64 {
    let mut last = (number(), Instant::now());
    eventually_some(what, || {
        let now = number();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() >= quiet).then_some(now)
    })
}

/// Lets time pass, for workers and clients that are slow on purpose; never to wait for something to have happened.
pub(crate) fn linger(time: Duration) {
    std::thread::sleep(time);
}
