//! The one timer of whoever waits for a worker. It is set again only when it would ring too late, and what rings too
//! early is looked at and set anew: an answer in time touches no timer.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// Whom it rings for: not noted anew for as long as it has not rung.
    rings_for: Option<Waker>,
}

impl Alarm {
    /// One that rings after so long, unless it is wanted sooner.
    pub(super) fn new(after: Duration) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(after)), rings_for: None }
    }

    /// Whether the deadline has passed; if not, `cx` is woken when it has.
    pub(super) fn is_late(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let is_noted = self.rings_for.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_noted && self.sleep.deadline() <= deadline && !self.sleep.is_elapsed() {
            return false;
        }
        self.set(cx, deadline)
    }

    fn set(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        loop {
            if self.sleep.deadline() > deadline {
                self.sleep.as_mut().reset(deadline);
            }
            // Reading from a worker that never stops uses up the task's turn, and a timer asked after that would
            // always say "later": it is asked beside tokio's budget.
            let mut sleep = pin!(tokio::task::coop::unconstrained(self.sleep.as_mut()));
            if sleep.as_mut().poll(cx) == Poll::Pending {
                self.rings_for = Some(cx.waker().clone());
                return false;
            }
            if self.sleep.deadline() >= deadline {
                return true;
            }
            // It was set for an earlier request, or an earlier wait.
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Wakes nobody from now on, and keeps nobody's task, until it is asked again.
    pub(super) fn forget(&mut self) {
        self.rings_for = None;
        let mut sleep = pin!(tokio::task::coop::unconstrained(self.sleep.as_mut()));
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Wake;

    use tokio::time::timeout;

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[tokio::test]
    async fn who_is_forgotten_is_not_held() {
        let task = Arc::new(Task);
        let mut alarm = Alarm::new(Duration::from_secs(60));
        let waker = Waker::from(Arc::clone(&task));
        assert!(!alarm.is_late(&mut Context::from_waker(&waker), Instant::now() + Duration::from_secs(30)));
        drop(waker);
        assert!(Arc::strong_count(&task) > 1, "the alarm has it");
        alarm.forget();
        assert_eq!(Arc::strong_count(&task), 1);
    }

    #[tokio::test]
    async fn whoever_asked_last_is_woken_for_the_deadline_that_it_named_last() {
        type Ask = fn(&mut Alarm, &mut Context<'_>, Instant) -> bool;
        let asks: [Ask; 4] = [
            // For somebody else, later, earlier, and again and again.
            |alarm, _, end| alarm.is_late(&mut Context::from_waker(Waker::noop()), end),
            |alarm, cx, end| alarm.is_late(cx, end + Duration::from_secs(60)),
            |alarm, cx, end| alarm.is_late(cx, end - Duration::from_millis(7)),
            |alarm, cx, end| (0..3).any(|_| alarm.is_late(cx, end)),
        ];
        for (first, second) in (0..asks.len()).flat_map(|n| (0..asks.len()).map(move |m| (n, m))) {
            let mut alarm = Alarm::new(Duration::from_secs(60));
            let end = Instant::now() + Duration::from_millis(10);
            let mut asked = false;
            let rings = poll_fn(|cx| {
                if !std::mem::replace(&mut asked, true) {
                    for ask in [first, second] {
                        // It may be late by now; then that is found below.
                        let _ = asks[ask](&mut alarm, cx, end);
                    }
                }
                if alarm.is_late(cx, end) { Poll::Ready(()) } else { Poll::Pending }
            });
            timeout(Duration::from_secs(30), rings).await.expect("it rings");
            assert!(Instant::now() >= end && alarm.is_late(&mut Context::from_waker(Waker::noop()), end));
        }
    }
}
