//! The one timer of whoever waits for a worker. It is set again only when it would ring too late, and what rings too
//! early is looked at and set anew: an answer in time touches no timer.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer.
#[derive(Debug)]
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// One that rings after so long, unless it is wanted sooner.
    pub(super) fn new(after: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep(after)))
    }

    /// Whether the deadline has passed; if not, `cx` is woken when it has.
    pub(super) fn is_late(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        loop {
            if self.0.deadline() > deadline {
                self.0.as_mut().reset(deadline);
            }
            // Reading from a worker that never stops uses up the task's turn, and a timer asked after that would
            // always say "later": it is asked beside tokio's budget.
            let mut sleep = pin!(tokio::task::coop::unconstrained(self.0.as_mut()));
            if sleep.as_mut().poll(cx) == Poll::Pending {
                return false;
            }
            if self.0.deadline() >= deadline {
                return true;
            }
            // It was set for an earlier request, or an earlier wait.
            self.0.as_mut().reset(deadline);
        }
    }

    /// Wakes nobody from now on, and keeps nobody's task, until it is asked again.
    pub(super) fn forget(&mut self) {
        let mut sleep = pin!(tokio::task::coop::unconstrained(self.0.as_mut()));
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

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
        assert_eq!(Arc::strong_count(&task), 2, "the alarm has one");
        alarm.forget();
        assert_eq!(Arc::strong_count(&task), 1);
    }
}
