//! What is recorded of a tunnel: an upgraded connection, or one of `protocol: tcp`. It is an [`Outcome`] like any
//! other, whose bytes are counted as they go.

use super::outcome::{End, Outcome};
use crate::refusal::Reason;

/// How a tunnel ended: an upgraded connection, or one of `protocol: tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// The client ended it.
    ClientClosed,
    /// The worker ended it.
    WorkerClosed,
    /// The client broke it off; the worker's side was reset.
    ClientReset,
    /// The worker broke it off; the client's side was reset.
    WorkerReset,
    /// No byte went either way for `timeouts.tunnel`.
    Idle,
    /// Its service was shut down, or taken out of the configuration.
    Drained,
}

impl TunnelEnd {
    /// The word in the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::WorkerClosed => "worker_closed",
            Self::ClientReset => "client_reset",
            Self::WorkerReset => "worker_reset",
            Self::Idle => "idle",
            Self::Drained => "drained",
        }
    }
}

impl Outcome {
    /// It is no request but a connection that carries bytes: it has no head and no status.
    pub const fn tcp(&mut self) {
        self.tcp = true;
    }

    /// From now on bytes are carried. Until it is told how that ends, it is taken to be drained: nothing but the end of
    /// the shard takes a tunnel away.
    pub fn tunnel_opened(&mut self) {
        let mine = self.scribe.mine();
        mine.tunnels.add(1);
        mine.tunnels_total.add(1);
        self.tunnel = Some(TunnelEnd::Drained);
        self.end = End::Complete;
        self.let_go();
    }

    /// What is kept of the head stays for as long as the tunnel: in no more room than it needs.
    fn let_go(&mut self) {
        if let Some(told) = &mut self.told {
            told.fields.shrink();
        }
    }

    /// So many bytes were carried: from the client, and to it. They are counted at once, since a tunnel may last for
    /// days.
    pub fn carried(&mut self, from_client: u64, to_client: u64) {
        let mine = self.scribe.mine();
        mine.bytes_in.add(from_client);
        mine.bytes_out.add(to_client);
        self.bytes_in += from_client;
        self.bytes_out += to_client;
    }

    /// How the tunnel ended.
    pub const fn tunnel_ended(&mut self, end: TunnelEnd) {
        self.tunnel = Some(end);
        self.end = match end {
            TunnelEnd::ClientReset => End::ClientClosed,
            TunnelEnd::WorkerReset => End::Cut(Reason::WorkerReset),
            _ => End::Complete,
        };
    }
}
