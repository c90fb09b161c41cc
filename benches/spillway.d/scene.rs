//! What clients and workers share: the phase that is on, what A's workers do in the failure, and the counters of the
//! workers. Clients count for themselves, in `tally`.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// Where the experiment stands. Outcomes count to the phase in which they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connections are made; nothing is reported.
    WarmUp = 0,
    Normal = 1,
    Failure = 2,
    Recovery = 3,
}

pub(crate) const PHASES: [Phase; 4] = [Phase::WarmUp, Phase::Normal, Phase::Failure, Phase::Recovery];

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Normal => "normal",
            Self::Failure => "failure",
            Self::Recovery => "recovery",
        }
    }
}

/// How A's workers fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illness {
    /// 90 % of the requests take 10 s and then get 500; the others are normal.
    Slow,
    /// 30 % fail at once, half of them by a close without an answer and half by 503; the others are normal.
    Quick,
    /// One worker accepts and reads, and answers nothing until the failure ends, as a process that is stopped and
    /// goes on; the other workers are normal.
    Hang,
}

impl Illness {
    /// What `--illness` calls it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "slow" => Some(Self::Slow),
            "quick" => Some(Self::Quick),
            "hang" => Some(Self::Hang),
            _ => None,
        }
    }
}

/// The two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    A = 0,
    B = 1,
}

pub(crate) const SERVICES: [Service; 2] = [Service::A, Service::B];

impl Service {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// What the workers of a service did in a phase.
#[derive(Default)]
pub(crate) struct Work {
    /// Requests of clients that arrived.
    pub(crate) arrived: AtomicU64,
    /// 200 that were sent.
    pub(crate) answered: AtomicU64,
    /// Of those answers, the ones that reached their clients, in this phase or the next.
    pub(crate) delivered: AtomicU64,
    /// Requests at the workers at once, at most.
    pub(crate) most_at_once: AtomicU32,
}

pub(crate) struct Scene {
    pub(crate) illness: Illness,
    phase: AtomicU8,
    /// Told whenever a phase begins.
    begun: Notify,
    /// By client: how often its present request has reached a worker.
    reached: Vec<AtomicU32>,
    /// By client: the phase in which a worker last sent it 200.
    answered_in: Vec<AtomicU8>,
    work: [[Work; PHASES.len()]; 2],
    at_once: [AtomicU32; 2],
}

impl Scene {
    pub(crate) fn new(illness: Illness, clients: usize) -> Self {
        Self {
            illness,
            phase: AtomicU8::new(Phase::WarmUp as u8),
            begun: Notify::new(),
            reached: (0..clients).map(|_| AtomicU32::new(0)).collect(),
            answered_in: (0..clients).map(|_| AtomicU8::new(0)).collect(),
            work: Default::default(),
            at_once: Default::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Relaxed))]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.begun.notify_waiters();
    }

    /// Returns once the failure is over; at once if there is none.
    pub(crate) async fn failure_over(&self) {
        loop {
            // Before the look at the phase: a phase that begins between the two is not missed.
            let begun = self.begun.notified();
            if self.phase() != Phase::Failure {
                return;
            }
            begun.await;
        }
    }

    pub(crate) fn work(&self, service: Service, phase: Phase) -> &Work {
        &self.work[service as usize][phase as usize]
    }

    /// A worker has got a client's request. The guard counts it as being there.
    pub(crate) fn arrived(&self, service: Service, client: usize) -> AtWorker<'_> {
        if let Some(reached) = self.reached.get(client) {
            reached.fetch_add(1, Relaxed);
        }
        let work = self.work(service, self.phase());
        work.arrived.fetch_add(1, Relaxed);
        let at_once = self.at_once[service as usize].fetch_add(1, Relaxed) + 1;
        work.most_at_once.fetch_max(at_once, Relaxed);
        AtWorker { scene: self, service, client }
    }

    /// This client has got a 200: it counts for the phase in which it was sent.
    pub(crate) fn delivered(&self, service: Service, client: usize) {
        let phase = PHASES[usize::from(self.answered_in[client].load(Relaxed))];
        self.work(service, phase).delivered.fetch_add(1, Relaxed);
    }

    /// How often this client's request has reached a worker; counts from nothing again.
    pub(crate) fn take_reached(&self, client: usize) -> u32 {
        self.reached[client].swap(0, Relaxed)
    }
}

/// A request at a worker, until it is dropped.
pub(crate) struct AtWorker<'a> {
    scene: &'a Scene,
    service: Service,
    client: usize,
}

impl AtWorker<'_> {
    /// A 200 goes out now; counted before it is sent, so that its client finds it counted.
    pub(crate) fn answered(&self) {
        let phase = self.scene.phase();
        self.scene.work(self.service, phase).answered.fetch_add(1, Relaxed);
        if let Some(answered_in) = self.scene.answered_in.get(self.client) {
            answered_in.store(phase as u8, Relaxed);
        }
    }
}

impl Drop for AtWorker<'_> {
    fn drop(&mut self) {
        self.scene.at_once[self.service as usize].fetch_sub(1, Relaxed);
    }
}
