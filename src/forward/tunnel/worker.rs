//! The worker's end of a tunnel: how one is had, by a connection of its own or by an answer that switches protocols.

use std::rc::Rc;

use crate::forward::answer::Answer;
use crate::forward::http1::head::Head;
use crate::forward::pool::{Link, Open};
use crate::forward::proxy_header::Spoken;
use crate::forward::refused::{beside_the_worker, not_connected};
use crate::forward::tries::{Failed, Tries};
use crate::forward::upgrade::Wish;
use crate::forward::{ATTEMPTS_MAX, Active, Fair, Reserved, Route, headers, unasked};
use crate::message::Response;
use crate::record::Outcome;
use crate::refusal::{Reason, Refusal};
use crate::socket::Socket;
use crate::workers::CallerGroup;

/// The worker's end of a tunnel. It counts as a connection of that worker, and as an attempt in progress.
#[derive(Debug)]
pub struct WorkerSide {
    pub(super) socket: Socket,
    /// What the worker sent already.
    pub(super) early: Vec<u8>,
    pub(super) active: Active,
    _open: Open,
}

impl WorkerSide {
    const fn new(socket: Socket, early: Vec<u8>, active: Active, open: Open) -> Self {
        Self { socket, early, active, _open: open }
    }

    /// The attempt that it is what came of.
    pub(in crate::forward) const fn active(&self) -> &Active {
        &self.active
    }
}

impl Route {
    /// Connects to a worker for a client that gets it whole, to the one that was `reserved` first; `key` and `group`
    /// are as in [`crate::forward::Call`].
    ///
    /// # Errors
    /// The refusal that is recorded: 502, 503 or 504.
    pub async fn open(
        &self,
        spoken: Spoken,
        mut reserved: Reserved,
        (key, group): (u64, CallerGroup),
        outcome: &mut Outcome,
    ) -> Result<WorkerSide, Refusal> {
        let spoken = self.tells.then_some(spoken);
        let mut tries = Tries::begin(self.clock.refresh());
        for _ in 0..ATTEMPTS_MAX {
            let chosen = match reserved.take() {
                Some(chosen) => Some(chosen),
                None => self.next(&mut tries, (key, None), outcome).await,
            };
            let Some(chosen) = chosen else { break };
            let lane = Rc::clone(&chosen.lane);
            outcome.attempt(&lane.worker.name, chosen.priority);
            match lane.open(&self.open, self.terms(spoken)).await {
                Ok((socket, open)) => {
                    let connected = self.clock.refresh();
                    outcome.connected(connected.since(tries.now));
                    self.workers.connected(&lane.worker, connected);
                    let active = Active::begin(&lane, self, chosen.seat, Fair::default());
                    active.connected(group);
                    return Ok(WorkerSide::new(socket, Vec::new(), active, open));
                }
                Err(failure) => {
                    if let Some(refusal) = beside_the_worker(&failure) {
                        return Err(refusal);
                    }
                    self.pass_over(&mut tries, &lane.worker, not_connected(&failure));
                }
            }
        }
        let blamed = tries.is_any_blamed();
        let refusal = tries.into_refusal();
        self.gave_up(&refusal, blamed, group);
        Err(refusal)
    }
}

/// Turns an answer that switches protocols into the worker's side of a tunnel, if that is what was asked for.
pub(in crate::forward) fn switch(
    link: Link,
    mut head: Head,
    active: Active,
    asked: Option<&Wish>,
) -> Result<Response<Answer>, Box<Failed>> {
    let granted = asked.is_some_and(|asked| asked.is_granted(head.status, &head.fields));
    let (Some(protocol), true) = (head.fields.get("upgrade").map(<[u8]>::to_vec), granted) else {
        return Err(unasked(&active));
    };
    if asked.is_some_and(|asked| !asked.is_accepted(&head.fields)) {
        active.failed();
        let detail = "the worker's `Sec-WebSocket-Accept` does not answer the key that it was sent";
        return Err(Failed::end(Refusal::new(Reason::WorkerProtocol, detail)));
    }
    let (socket, early, open) = link.into_socket();
    active.head(head.status, None);
    active.answered(head.status);
    active.complete();
    headers::to_client(&mut head.fields, head.status, head.version);
    headers::agree_upgrade(&mut head.fields, &protocol);
    let side = WorkerSide::new(socket, early.into(), active, open);
    Ok(head.with(Answer::Switched(Box::new(side))))
}
