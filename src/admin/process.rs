//! How the process is: starting, running or draining; how the newest reload went; what the kernel says of it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Moment;
use crate::record::counts::ProcessCounts;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not every listener is bound yet.
    Starting,
    /// It takes requests.
    Running,
    /// It ends: requests in progress are finished.
    Draining,
}

impl Phase {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// How the newest reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When it was tried.
    pub at: Moment,
    /// Why it failed, if it did: the configuration from before is then in use.
    pub failure: Option<String>,
    /// When the configuration in use was loaded.
    pub in_use_since: Moment,
}

/// How the process is. Shared by all who change it and the admin listener.
#[derive(Debug)]
pub struct ProcessState {
    /// When it started.
    pub started: Moment,
    /// Panics and failed accepts.
    pub counts: Arc<ProcessCounts>,
    phase: AtomicU8,
    reload: Mutex<Reload>,
    /// Held once more by each earlier configuration that is still in memory.
    earlier: Arc<()>,
}

impl ProcessState {
    /// A process that starts now, with its first configuration.
    pub fn new(now: Moment) -> Self {
        let reload = Reload { at: now, failure: None, in_use_since: now };
        Self {
            started: now,
            counts: Arc::default(),
            phase: AtomicU8::new(Phase::Starting as u8),
            reload: Mutex::new(reload),
            earlier: Arc::default(),
        }
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Running,
            _ => Phase::Draining,
        }
    }

    /// It is there now.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// How the newest reload went; before the first one, the start counts as one.
    pub fn reload(&self) -> Reload {
        self.reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new configuration is in use.
    pub fn reloaded(&self, now: Moment) {
        let newest = Reload { at: now, failure: None, in_use_since: now };
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }

    /// An earlier configuration is in memory for as long as this is held.
    pub fn keep_earlier(&self) -> Arc<()> {
        Arc::clone(&self.earlier)
    }

    /// How many configurations are in memory: the one in use, and earlier ones.
    pub fn configurations(&self) -> u64 {
        Arc::strong_count(&self.earlier) as u64
    }

    /// A reload failed; the configuration from before stays in use.
    pub fn reload_failed(&self, now: Moment, why: String) {
        let mut reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        (reload.at, reload.failure) = (now, Some(why));
    }
}

/// Resident memory in bytes, from `/proc/self/status`.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Open file descriptors, without the one that it takes to count them.
pub(super) fn open_fds() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(open).ok()?.checked_sub(1)
}
