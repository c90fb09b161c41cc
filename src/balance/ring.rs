//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2018): the same key goes to the same worker
//! as long as that has room, and otherwise to the next one around the circle. The circle itself is `workers/ring.rs`.

use std::sync::Arc;

use super::table::{Rank, Table};
use crate::workers::WorkerSet;
use crate::workers::health::FULL_SHARE;
use crate::workers::ring::{Ring, hash, mixed};

/// A worker may have so many times (5/4) its part of all requests in progress: the paper's c = 1 + ε. A smaller one
/// moves more keys away, a greater one evens out less.
const ROOM: (u128, u128) = (5, 4);

/// Points looked at for one choice. All of them refuse only if nearly nobody has room; then weight decides.
const STEPS_MAX: usize = 512;

/// Workers whose load is read anew with each choice: the sum over all is never older than `workers / 16` choices.
const READ_AT_ONCE: usize = 16;

/// What a request is known by on the circle: the same for the same text on every start.
pub fn key_of(text: &[u8]) -> u64 {
    hash(text)
}

/// The workers of the serving priority on their circle, as one shard sees them.
#[derive(Debug)]
pub(super) struct Circle {
    ring: Arc<Ring>,
    priority: u16,
    /// By place in the set: the effective weight; 0 for those that take no turns.
    units: Vec<u64>,
    whole: u64,
    /// The greatest share of all: when all have shrunk alike, nobody's keys move.
    top: u8,
    /// Requests in progress at each member that takes turns, as read last, and their sum.
    loads: Vec<u64>,
    sum: u64,
    next: usize,
}

impl Circle {
    /// A circle of these turns with these weights. None if there are none.
    pub(super) fn new(set: &WorkerSet, table: &Table, turns: &[u32], weights: &[u64]) -> Option<Self> {
        let priority = set.members.get(*turns.first()? as usize)?.priority;
        let mut units = vec![0; set.members.len()];
        let (mut loads, mut top) = (Vec::with_capacity(turns.len()), 1);
        for (place, unit) in turns.iter().map(|place| *place as usize).zip(weights) {
            units[place] = *unit;
            loads.push(set.members[place].worker.active());
            top = top.max(table.share(place));
        }
        let sum = loads.iter().fold(0_u64, |sum, load| sum.wrapping_add(*load));
        let ring = Arc::clone(set.ring());
        Some(Self { ring, priority, units, whole: weights.iter().sum(), top, loads, sum, next: 0 })
    }

    /// Reads the loads of some workers anew.
    pub(super) fn read_loads(&mut self, set: &WorkerSet, turns: &[u32]) {
        for _ in 0..READ_AT_ONCE.min(turns.len()) {
            let active = set.members[turns[self.next] as usize].worker.active();
            self.sum = self.sum.wrapping_sub(self.loads[self.next]).wrapping_add(active);
            self.loads[self.next] = active;
            self.next = if self.next + 1 == turns.len() { 0 } else { self.next + 1 };
        }
    }

    /// The first worker clockwise of `key` that `take` accepts: of those with room, or else the first of all.
    ///
    /// A worker whose share has shrunk gives away a fixed part of its keys, so that the rest stay and each comes back
    /// as the share grows. One that was ejected gets its trickle by chance: fixed keys would be callers who always
    /// fail.
    pub(super) fn walk<T>(
        &self,
        (set, table): (&WorkerSet, &Table),
        key: u64,
        random: &mut fastrand::Rng,
        mut take: impl FnMut(usize) -> Option<T>,
    ) -> Option<T> {
        let points = self.ring.points(self.priority);
        let begin = points.partition_point(|point| point.at < mixed(key));
        let around = points[begin..].iter().chain(&points[..begin]);
        let mut crowded = None;
        for point in around.take(STEPS_MAX) {
            let place = point.member as usize;
            if self.units[place] == 0 {
                continue;
            }
            let draw = match table.rank(place) {
                Rank::Trickle => random.u8(..FULL_SHARE),
                _ => self.draw(key, set, place),
            };
            if draw >= table.share(place) {
                continue;
            }
            if !self.has_room(set, place) {
                crowded = crowded.or(Some(place));
            } else if let Some(taken) = take(place) {
                return Some(taken);
            }
        }
        crowded.and_then(take)
    }

    /// A number below the greatest share that is always the same for this key and worker.
    fn draw(&self, key: u64, set: &WorkerSet, place: usize) -> u8 {
        let both = mixed(mixed(!key) ^ hash(set.members[place].worker.name.as_bytes()));
        ((u128::from(both) * u128::from(self.top)) >> 64) as u8
    }

    /// Whether the worker is below its bound, counting the request that asks.
    fn has_room(&self, set: &WorkerSet, place: usize) -> bool {
        let active = u128::from(set.members[place].worker.active());
        let all = u128::from(self.sum.saturating_add(1));
        active * u128::from(self.whole) * ROOM.1 < all * u128::from(self.units[place]) * ROOM.0
    }
}
