//! What is kept of every request: counts, one line in the access log, and the newest refusals.
//!
//! An [`Outcome`] walks along with a request, is filled on the way and written exactly once, when it is dropped. A
//! [`Scribe`] makes them: one per shard and service. What the counts look like from outside stands in [`metrics`];
//! who may look at them is `admin`'s work. Nothing here decides anything.

pub mod access_log;
pub mod callers;
pub mod counts;
pub mod durations;
pub mod handshakes;
pub mod labels;
pub mod limited;
mod line;
pub mod metrics;
mod outcome;
mod page;
pub mod refusals;
mod sampler;
pub mod top;
mod tunnel;
mod written;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use crate::clock::Moment;
use crate::config::{Callers, ServiceName};
use crate::refusal::{HeldRule, Reason};
use crate::shard::{PerShard, ShardId};
use access_log::ShardLog;
use callers::CallerCounts;
use counts::{ServiceCounts, ShardCounts};
use handshakes::Handshake;
use limited::PerRule;
use sampler::Sampler;

pub use line::timestamp;
pub use outcome::{Asker, CallerNote, End, Outcome};
pub use tunnel::TunnelEnd;

/// How many refusals of one caller are kept each second for `/api/v1/refusals` when there is no access log to say it.
const KEPT_PER_SECOND: u32 = 10;

/// So many callers of `known` are counted from the start, with zero; of more of them, each from its first request.
const SHOWN_AT_ONCE: usize = 100;

/// Writes down what becomes of the requests of one service on one shard.
#[derive(Debug)]
pub struct Scribe {
    service: ServiceName,
    sheet: Rc<Sheet>,
    /// None: it writes for tunnels, each of which knows its caller by name.
    callers: Option<Arc<Callers>>,
    /// That one, once there was a tunnel.
    for_tunnels: OnceCell<Rc<Self>>,
    named: RefCell<Named>,
    /// The rule that refused last, and where that is counted: a flood is refused by one.
    refused_by: RefCell<Option<(HeldRule, Arc<PerRule>)>>,
    log: Option<Rc<ShardLog>>,
    sampler: RefCell<Sampler>,
}

/// The counts of those callers of `known` that have asked.
#[derive(Debug, Default)]
struct Named {
    /// By number.
    places: HashMap<usize, usize, foldhash::fast::FixedState>,
    counts: Vec<Arc<PerShard<CallerCounts>>>,
    /// The number that was counted last, and its place: many requests are of one caller.
    last: Option<(usize, usize)>,
}

impl Scribe {
    /// A scribe that counts into `counts` and writes lines to `log`, if there is one. `callers` are those of the same
    /// configuration as the numbers in [`Asker::Known`]; a reload makes a new scribe over the same counts.
    pub fn new(
        service: &ServiceName,
        counts: Arc<ServiceCounts>,
        shard: ShardId,
        callers: &Arc<Callers>,
        log: Option<Rc<ShardLog>>,
    ) -> Rc<Self> {
        if callers.known.len() <= SHOWN_AT_ONCE {
            callers.known.iter().for_each(|known| drop(counts.named(&known.name)));
        }
        Self::over(service, Rc::new(Sheet { counts, shard }), Some(Arc::clone(callers)), log)
    }

    fn over(
        service: &ServiceName,
        sheet: Rc<Sheet>,
        callers: Option<Arc<Callers>>,
        log: Option<Rc<ShardLog>>,
    ) -> Rc<Self> {
        let per_second = log.as_ref().map_or(KEPT_PER_SECOND, |log| log.refusals_per_second());
        let sampler = RefCell::new(Sampler::new(per_second));
        let (service, for_tunnels) = (service.clone(), OnceCell::new());
        let (named, refused_by) = (RefCell::default(), RefCell::default());
        Rc::new(Self { service, sheet, callers, for_tunnels, named, refused_by, log, sampler })
    }

    /// Begins to record a request whose head arrived (or failed to) from `peer`. It counts as active until the outcome
    /// is dropped.
    #[inline(always)]
    pub fn begin(self: &Rc<Self>, now: Moment, peer: SocketAddr) -> Outcome {
        self.mine().active.add(1);
        Outcome::new(Rc::clone(self), now, peer)
    }

    /// Counts a client connection as open until the value is dropped.
    pub fn connection(&self) -> OpenConnection {
        let mine = self.mine();
        mine.connections.add(1);
        mine.connections_total.add(1);
        OpenConnection(Rc::clone(&self.sheet))
    }

    /// Counts a TLS handshake as in progress until the value is dropped.
    pub fn handshaking(self: &Rc<Self>) -> OpenHandshake {
        self.mine().handshaking.add(1);
        OpenHandshake(Rc::clone(self))
    }

    /// Counts a TLS handshake that has ended.
    pub fn handshake(&self, result: Handshake, session: Option<(&str, bool)>) {
        let (version, resumed) = session.unwrap_or_default();
        let handshakes = &self.mine().handshakes;
        handshakes.add(result, version);
        handshakes.resumed.add(u64::from(resumed));
    }

    /// Counts streams of HTTP/2 that became no requests.
    pub fn refused_streams(&self, n: u32) {
        self.mine().refused_streams.add(u64::from(n));
    }

    /// Counts an HTTP/2 connection that was ended for what its client did. The kinds are a closed set.
    pub fn flood(&self, kind: &'static str) {
        let mut floods = self.mine().floods.lock().unwrap_or_else(PoisonError::into_inner);
        *floods.entry(kind).or_default() += 1;
    }

    /// The counts of the service, on all shards.
    pub fn counts(&self) -> &Arc<ServiceCounts> {
        &self.sheet.counts
    }

    /// The same scribe without its callers. A tunnel may last for days, over many reloads: it holds this one, since the
    /// callers of its configuration would stay in memory with it.
    fn for_tunnels(&self) -> Rc<Self> {
        let made = || Self::over(&self.service, Rc::clone(&self.sheet), None, self.log.clone());
        Rc::clone(self.for_tunnels.get_or_init(made))
    }

    /// The name of a caller of `known`. None: the configuration has no such number.
    fn caller_name(&self, number: usize) -> Option<&Arc<str>> {
        Some(&self.callers.as_ref()?.known.get(number)?.name)
    }

    /// The name of one of `tiers`.
    fn tier_name(&self, number: usize) -> Option<&Arc<str>> {
        Some(&self.callers.as_ref()?.tiers.get(number)?.name)
    }

    /// Counts a request of a caller of `known`. False: the configuration has no such number.
    fn count_named(&self, number: usize, allowed: bool) -> bool {
        let Named { places, counts, last } = &mut *self.named.borrow_mut();
        let place = match *last {
            Some((last, place)) if last == number => place,
            _ => match places.entry(number) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(place) => match self.caller_name(number) {
                    Some(name) => {
                        counts.push(self.sheet.counts.named(name));
                        *place.insert(counts.len() - 1)
                    }
                    None => return false,
                },
            },
        };
        *last = Some((number, place));
        counts[place].of(self.sheet.shard).add(allowed);
        true
    }

    /// The same of one whose name was looked up when its tunnel began. False: the configuration has it no more.
    fn count_by_name(&self, name: &str, allowed: bool) -> bool {
        let counts = self.sheet.counts.find_named(name);
        counts.inspect(|counts| counts.of(self.sheet.shard).add(allowed)).is_some()
    }

    /// Counts a refusal by this rule.
    fn count_refused(&self, mine: &ShardCounts, rule: &HeldRule, reason: Reason) {
        let mut refused_by = self.refused_by.borrow_mut();
        let counts = match &mut *refused_by {
            Some((last, counts)) if Arc::ptr_eq(last.shared(), rule.shared()) => counts,
            last => {
                let mut limited = mine.limited.lock().unwrap_or_else(PoisonError::into_inner);
                &mut last.insert((rule.clone(), Arc::clone(limited.of(&rule.name)))).1
            }
        };
        counts.add(false, reason);
    }

    fn mine(&self) -> &ShardCounts {
        self.sheet.mine()
    }
}

/// Where one shard counts for a service: what stays the same over all reloads.
#[derive(Debug)]
struct Sheet {
    counts: Arc<ServiceCounts>,
    shard: ShardId,
}

impl Sheet {
    fn mine(&self) -> &ShardCounts {
        self.counts.shards.of(self.shard)
    }
}

/// A client connection, counted as open while this lives. That may be for days, over many reloads: it holds the counts
/// and not the scribe, which would keep the callers of its configuration in memory.
#[derive(Debug)]
pub struct OpenConnection(Rc<Sheet>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.mine().connections.sub(1);
    }
}

/// A TLS handshake, counted as in progress while this lives.
#[derive(Debug)]
pub struct OpenHandshake(Rc<Scribe>);

impl Drop for OpenHandshake {
    fn drop(&mut self) {
        self.0.mine().handshaking.sub(1);
    }
}

#[cfg(test)]
mod tests;
