//! The waker of a worker's connection. Whoever uses a connection drives it inside its own task, so most of what
//! happens on it happens while that task runs: a wake-up from inside would only make the task run once more for
//! nothing. Such a wake-up is noted and looked at by the driver; one from outside, from the socket, wakes the task.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// The waker of one connection.
#[derive(Debug)]
pub(super) struct LinkWaker {
    own: Waker,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The task that uses the connection is running inside [`LinkWaker::inside`].
    inside: AtomicBool,
    /// A wake-up came, from inside or outside, since it was last asked.
    woken: AtomicBool,
    /// The task; none while the connection is idle.
    task: Mutex<Option<Waker>>,
}

// Relaxed is enough: a connection, its task and its socket's driver all live on one shard's thread.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Relaxed);
        if !self.inside.load(Relaxed)
            && let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner)
        {
            task.wake_by_ref();
        }
    }
}

impl LinkWaker {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        Self { own: Waker::from(Arc::clone(&shared)), shared }
    }

    /// From now on this task is woken for the connection.
    pub(super) fn belongs_to(&self, task: &Waker) {
        let mut held = self.shared.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.as_ref().is_some_and(|held| held.will_wake(task)) {
            *held = Some(task.clone());
        }
    }

    /// Nobody is woken for it any more: it is idle, and is looked at before it is used again.
    pub(super) fn belongs_to_nobody(&self) {
        *self.shared.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Runs `work` with this waker; what wakes it meanwhile is noted instead of waking the task.
    pub(super) fn inside<T>(&self, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.shared.inside.store(true, Relaxed);
        let done = work(&mut Context::from_waker(&self.own));
        self.shared.inside.store(false, Relaxed);
        done
    }

    /// Whether a wake-up was noted since the last time it was asked.
    pub(super) fn was_woken(&self) -> bool {
        self.shared.woken.swap(false, Relaxed)
    }
}
