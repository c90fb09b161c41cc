//! TLS handshakes of one service on one shard, by how they ended and by version.

use crate::shard::Count;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Finished.
    Ok,
    /// One of the two sides did not agree, or the client went away.
    Failed,
    /// Not finished within `timeouts.handshake`.
    Timeout,
    /// Not begun: more than `bounds.handshakes` were in progress.
    Refused,
}

/// The words behind the label `result`, in the order of [`Handshake`].
pub const RESULTS: [&str; 4] = ["ok", "failed", "timeout", "refused"];

/// The values of the label `version`: what was agreed on, and nothing if it did not come to that.
pub const VERSIONS: [&str; 3] = ["TLSv1.2", "TLSv1.3", ""];

/// What one shard counts of one service's handshakes.
#[derive(Debug, Default)]
pub struct Handshakes {
    counts: [[Count; VERSIONS.len()]; RESULTS.len()],
    /// Of those that finished: how many went on with an earlier session.
    pub resumed: Count,
}

impl Handshakes {
    /// Counts one; only the owning shard may call it. `version` is `TLSv1.2`, `TLSv1.3` or nothing.
    pub fn add(&self, result: Handshake, version: &str) {
        let version = VERSIONS.iter().position(|known| *known == version).unwrap_or(VERSIONS.len() - 1);
        self.counts[result as usize][version].add(1);
    }

    /// One count, by places in [`RESULTS`] and [`VERSIONS`].
    pub fn count(&self, result: usize, version: usize) -> &Count {
        &self.counts[result][version]
    }
}
