//! The newest refusals of a service, for `/api/v1/refusals`: who, what, why, by which rule at which line.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::refusal::{Reason, RuleRef};

/// Refusals kept per service and shard; the oldest goes first.
pub const KEPT: usize = 256;

/// The longest text kept of what a client sent (host, path), in bytes.
pub const TEXT_BYTES: usize = 512;

/// One refusal, as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// When, in microseconds since 1970 (UTC).
    pub unix_micros: u64,
    /// The request's identity; empty if its head was never read.
    pub request_id: String,
    /// Who asked.
    pub caller: Option<Arc<str>>,
    /// From where.
    pub client: IpAddr,
    /// The method; empty if the head was never read.
    pub method: String,
    /// The host, cut after [`TEXT_BYTES`].
    pub host: String,
    /// The path, cut after [`TEXT_BYTES`].
    pub path: String,
    /// The status that was sent.
    pub status: u16,
    /// Why.
    pub reason: Reason,
    /// What exactly was wrong.
    pub detail: &'static str,
    /// The rule, if one decided.
    pub rule: Option<Arc<RuleRef>>,
    /// How long it was told to wait.
    pub retry_after: Option<Duration>,
    /// Whether the client got the fallback instead.
    pub fallback: bool,
    /// How many of the same caller were only counted since the one before.
    pub suppressed: u64,
}

impl Kept {
    /// Whether it is this caller's.
    pub fn is_of(&self, caller: &str) -> bool {
        self.caller.as_deref() == Some(caller)
    }
}

/// The newest [`KEPT`].
#[derive(Debug, Default)]
pub struct Ring(VecDeque<Arc<Kept>>);

impl Ring {
    /// Keeps one more, and forgets the oldest if there are too many.
    pub fn push(&mut self, kept: Kept) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Arc::new(kept));
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kept>> {
        self.0.iter()
    }
}
