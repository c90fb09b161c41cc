//! What is recorded of a tunnel: an upgraded connection, or one of `protocol: tcp`. It is an [`Outcome`] like any
//! other, whose bytes are counted as they go.

use std::sync::Arc;

use super::outcome::{Asker, End, Outcome};
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

/// What stays of a request whose connection carries bytes now. Names, and not the numbers that its configuration has
/// for them: a tunnel may last longer than that.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) end: TunnelEnd,
    /// The name of a caller of `known`.
    pub(super) caller: Option<Arc<str>>,
    pub(super) tier: Option<Arc<str>>,
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
        self.end = End::Complete;
        self.let_go();
    }

    /// What is kept stays for as long as the tunnel: of the configuration two names, and of the head no more room than
    /// it needs.
    fn let_go(&mut self) {
        let caller = match self.caller.as_ref().map(|caller| &caller.who) {
            Some(Asker::Known(number)) => self.scribe.caller_name(*number).map(Arc::clone),
            _ => None,
        };
        if let Some(name) = &caller {
            // So that there are counts at the end, unless a reload took the caller out meanwhile.
            drop(self.scribe.counts().named(name));
        }
        let tier = self.tier_name().map(Arc::clone);
        self.tunnel = Some(Box::new(Tunnel { end: TunnelEnd::Drained, caller, tier }));
        self.scribe = self.scribe.for_tunnels();
        if let Some(told) = &mut self.told {
            told.shrink();
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
    pub fn tunnel_ended(&mut self, end: TunnelEnd) {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.end = end;
        }
        self.end = match end {
            TunnelEnd::ClientReset => End::ClientClosed,
            TunnelEnd::WorkerReset => End::Cut(Reason::WorkerReset),
            _ => End::Complete,
        };
    }
}
