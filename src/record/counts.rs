//! The counts of one service: written by its shards, each in its own slot, read as sums by whoever looks.
//!
//! They live as long as the service does, over reloads. Callers' counts stand in `callers.rs`. The few counts of the
//! whole process are here too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::callers::{CallerCounts, Shown};
use super::durations::{DurationSum, Durations};
use super::handshakes::Handshakes;
use super::labels::{CODES, METHODS};
use super::limited::Limited;
use super::refusals::{Kept, Ring};
use super::top::Top;
use crate::refusal::Reason;
use crate::shard::{Count, PerShard, ShardId};

type Named = HashMap<Arc<str>, Arc<PerShard<CallerCounts>>, foldhash::fast::RandomState>;

/// Everything that is counted of one service.
#[derive(Debug)]
pub struct ServiceCounts {
    /// One slot per shard.
    pub shards: PerShard<ShardCounts>,
    /// Exact counts of the configured callers that have asked, by name. A shard takes it when one first asks since a
    /// reload, so whoever looks holds it only to copy.
    named: Mutex<Named>,
    /// Which of the other callers were shown last.
    pub(super) shown: Mutex<Shown>,
    shard_count: usize,
}

impl ServiceCounts {
    /// Counts for `shards` shards, all zero.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: PerShard::new(shards),
            named: Mutex::default(),
            shown: Mutex::default(),
            shard_count: shards,
        })
    }

    /// The exact counts of a configured caller, made when it is first asked for.
    pub fn named(&self, name: &Arc<str>) -> Arc<PerShard<CallerCounts>> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = named.entry(Arc::clone(name));
        Arc::clone(counts.or_insert_with(|| Arc::new(PerShard::new(self.shard_count))))
    }

    /// The same, if there are any: none of a caller that a reload took out of the configuration.
    pub(super) fn find_named(&self, name: &str) -> Option<Arc<PerShard<CallerCounts>>> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.get(name).map(Arc::clone)
    }

    /// The exact counts of all configured callers that have asked, in no order.
    pub(super) fn all_named(&self) -> Vec<(Arc<str>, Arc<PerShard<CallerCounts>>)> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.iter().map(|(name, counts)| (Arc::clone(name), Arc::clone(counts))).collect()
    }

    /// Forgets callers that a reload took out of the configuration, whose names are not among `known`: the map stays
    /// as long as the file.
    pub fn keep_only(&self, known: &HashSet<&str>) {
        let all = self.all_named();
        let gone: Vec<_> = all.into_iter().filter(|(name, _)| !known.contains(&**name)).collect();
        for (name, _) in gone {
            self.named.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }
    }

    /// Client connections that are open now.
    pub fn connections(&self) -> u64 {
        self.shards.sum(|shard| &shard.connections)
    }

    /// Client connections open on one shard.
    pub fn connections_on(&self, shard: ShardId) -> u64 {
        self.shards.of(shard).connections.get()
    }

    /// TLS handshakes in progress.
    pub fn handshaking(&self) -> u64 {
        self.shards.sum(|shard| &shard.handshaking)
    }

    /// HTTP/2 connections that were ended for what their client did, by kind; only those that happened.
    pub fn floods(&self) -> BTreeMap<&'static str, u64> {
        let mut sum = BTreeMap::new();
        for shard in self.shards.iter() {
            for (kind, n) in shard.floods.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *sum.entry(*kind).or_default() += n;
            }
        }
        sum
    }

    /// Requests in progress.
    pub fn active(&self) -> u64 {
        self.shards.sum(|shard| &shard.active)
    }

    /// Finished requests by place in [`CODES`] and reason (None: nothing was wrong); only those that happened.
    pub fn requests(&self) -> Vec<(usize, Option<Reason>, u64)> {
        let mut found = Vec::new();
        for code in 0..CODES.len() {
            for reason in std::iter::once(None).chain(Reason::all().map(Some)) {
                let n = self.shards.iter().map(|shard| shard.requests.get(code, reason)).sum();
                if n > 0 {
                    found.push((code, reason, n));
                }
            }
        }
        found
    }

    /// Durations by place in [`METHODS`] and in [`CODES`]; only those that happened.
    pub fn durations(&self) -> Vec<(usize, usize, DurationSum)> {
        let mut found = Vec::new();
        for method in 0..METHODS.len() {
            for code in 0..CODES.len() {
                let mut sum = DurationSum::default();
                for shard in self.shards.iter() {
                    if let Some(one) = shard.durations.get(method, code) {
                        sum.add(one);
                    }
                }
                if sum.count() > 0 {
                    found.push((method, code, sum));
                }
            }
        }
        found
    }

    /// How long requests waited for a place; only those that did.
    pub fn queued(&self) -> DurationSum {
        let mut sum = DurationSum::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.queued));
        sum
    }

    /// Requests that got the fallback, by what was wrong; only what happened.
    pub fn fallbacks(&self) -> Vec<(Reason, u64)> {
        let counted =
            Reason::all().map(|reason| (reason, self.shards.sum(|shard| &shard.fallbacks[reason.index()])));
        counted.filter(|(_, n)| *n > 0).collect()
    }

    /// The rules that limited somebody, or would have: rule, whether only in shadow, reason, how often.
    pub fn limited(&self) -> Vec<(Box<str>, bool, Reason, u64)> {
        let mut all = Limited::default();
        for shard in self.shards.iter() {
            all.merge(&shard.limited.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all.rows()
    }

    /// The newest refusals, newest first, at most `limit`, of one caller if one is named.
    pub fn refusals(&self, caller: Option<&str>, limit: usize) -> Vec<Arc<Kept>> {
        let mut found = Vec::new();
        for shard in self.shards.iter() {
            let ring = shard.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(
                ring.iter().filter(|kept| caller.is_none_or(|name| kept.is_of(name))).map(Arc::clone),
            );
        }
        found.sort_by_key(|kept| std::cmp::Reverse(kept.unix_micros));
        found.truncate(limit);
        found
    }
}

/// What one shard counts of one service.
#[derive(Debug, Default)]
pub struct ShardCounts {
    /// Requests in progress.
    pub active: Count,
    /// Client connections open.
    pub connections: Count,
    /// Client connections accepted since the start.
    pub connections_total: Count,
    /// Tunnels open: upgraded connections, and those of `protocol: tcp`.
    pub tunnels: Count,
    /// Tunnels opened since the start.
    pub tunnels_total: Count,
    /// Bytes of request bodies.
    pub bytes_in: Count,
    /// Bytes of answers' bodies.
    pub bytes_out: Count,
    /// Attempts after the first.
    pub retries: Count,
    /// Attempts that were not made because `retries.budget` was used up.
    pub retries_denied: Count,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// Streams of HTTP/2 that were refused before they became requests.
    pub refused_streams: Count,
    /// TLS handshakes in progress.
    pub handshaking: Count,
    /// HTTP/2 connections that were ended for what their client did, by kind.
    pub(super) floods: Mutex<BTreeMap<&'static str, u64>>,
    /// All requests of callers that the configuration does not name.
    pub unnamed: CallerCounts,
    /// Refusals that were counted and not logged.
    pub suppressed: Count,
    /// Finished requests.
    pub(super) requests: Requests,
    /// How long they took.
    pub(super) durations: DurationTable,
    /// How long requests waited for a place.
    pub(super) queued: Durations,
    /// Requests that got the fallback, by [`Reason::index`].
    pub(super) fallbacks: [Count; Reason::COUNT],
    /// By rule. This lock is taken by this shard when another rule refuses than before, for each refusal in shadow,
    /// and by a scrape; the next two for what is written down, and for each request of a stranger.
    pub(super) limited: Mutex<Limited>,
    /// The newest refusals.
    pub(super) refusals: Mutex<Ring>,
    /// Callers that the configuration does not name. Taken once for each of their requests: uncontended, 10 to 20 ns.
    pub(super) top: Mutex<Top>,
}

/// Finished requests by code and reason; a code takes memory once it is used: a service knows few, and there may be a
/// thousand services.
#[derive(Debug)]
pub(super) struct Requests([OnceLock<Box<Reasons>>; CODES.len()]);

/// The requests of one code, by reason; those without one first.
type Reasons = [Count; Reason::COUNT + 1];

impl Default for Requests {
    fn default() -> Self {
        Self([const { OnceLock::new() }; CODES.len()])
    }
}

impl Requests {
    fn place(reason: Option<Reason>) -> usize {
        reason.map_or(0, |reason| reason.index() + 1)
    }

    /// Counts one request; only the owning shard may call it.
    pub(super) fn add(&self, code: usize, reason: Option<Reason>) {
        let reasons = self.0[code].get_or_init(|| Box::new(std::array::from_fn(|_| Count::default())));
        reasons[Self::place(reason)].add(1);
    }

    fn get(&self, code: usize, reason: Option<Reason>) -> u64 {
        self.0[code].get().map_or(0, |reasons| reasons[Self::place(reason)].get())
    }
}

/// Durations by method and code; a method and a cell take memory once they are used.
#[derive(Debug)]
pub(super) struct DurationTable([OnceLock<Box<Cells>>; METHODS.len()]);

/// The durations of one method by code.
type Cells = [OnceLock<Box<Durations>>; CODES.len()];

impl Default for DurationTable {
    fn default() -> Self {
        Self([const { OnceLock::new() }; METHODS.len()])
    }
}

impl DurationTable {
    /// The cell of this method and code.
    pub(super) fn cell(&self, method: usize, code: usize) -> &Durations {
        let cells = self.0[method].get_or_init(|| Box::new([const { OnceLock::new() }; CODES.len()]));
        cells[code].get_or_init(Box::default)
    }

    fn get(&self, method: usize, code: usize) -> Option<&Durations> {
        self.0[method].get()?[code].get().map(|cell| &**cell)
    }
}

/// What is counted of the process as a whole; from any thread, and rarely.
#[derive(Debug, Default)]
pub struct ProcessCounts {
    panics: AtomicU64,
    accept_errors: AtomicU64,
}

impl ProcessCounts {
    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// An accept failed.
    pub fn accept_failed(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    /// Panics that were caught.
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Accepts that failed.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Relaxed)
    }
}
