//! Where keys find workers: points on a circle (Karger et al., "Consistent hashing and random trees", 1997). The
//! points of a worker depend on its address and weight and on nothing random: they are the same after a restart, and
//! stay where they are when others come and go. Which worker near a point gets a request is decided in `balance`.

use super::Member;

/// Points of a worker of average weight. With so many the parts of equal workers differ by a tenth or so.
pub const POINTS_EACH: usize = 128;

/// Points of all workers together, 16 bytes each: of more than 2048 workers each gets fewer than [`POINTS_EACH`].
pub const POINTS_MAX: usize = 1 << 18;

/// The circles of one set of workers, one for each priority.
#[derive(Debug)]
pub struct Ring {
    tiers: Vec<(u16, Box<[Point]>)>,
}

/// A point on the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Where on the circle it is.
    pub at: u64,
    /// Whose it is: a place among the set's members.
    pub member: u32,
}

impl Ring {
    /// The circles of these members, which are in order of priority.
    pub fn of(members: &[Member]) -> Self {
        let each = POINTS_EACH.min(POINTS_MAX / members.len().max(1)).max(1);
        let mut first = 0_u32;
        let tier = |members: &[Member]| {
            let points = circle(members, first, each as u64);
            first = first.saturating_add(u32::try_from(members.len()).unwrap_or(u32::MAX));
            (members[0].priority, points)
        };
        Self { tiers: members.chunk_by(|a, b| a.priority == b.priority).map(tier).collect() }
    }

    /// The points of the workers of this priority, in order around the circle.
    pub fn points(&self, priority: u16) -> &[Point] {
        self.tiers.iter().find(|(tier, _)| *tier == priority).map_or(&[], |(_, points)| points)
    }
}

/// Points in proportion to weight, none less than one: that is the very small chance of weight 0 (RFC 2782).
fn circle(members: &[Member], first: u32, each: u64) -> Box<[Point]> {
    let sum: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let weighty = members.iter().filter(|member| member.weight > 0).count() as u64;
    let mut points = Vec::new();
    for (member, place) in members.iter().zip(first..) {
        let count = match sum {
            0 => each,
            _ => (u64::from(member.weight) * each * weighty + sum / 2) / sum,
        };
        let name = hash(member.worker.name.as_bytes());
        points.extend((0..count.max(1)).map(|n| Point { at: mixed(name ^ mixed(n)), member: place }));
    }
    points.sort_unstable();
    points.into_boxed_slice()
}

/// A fixed hash, the same on every start and machine: FNV-1a (Fowler, Noll, Vo) and [`mixed`]. Not for tables that a
/// stranger could flood: it has no secret.
pub fn hash(text: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    mixed(text.iter().fold(0xCBF2_9CE4_8422_2325, step))
}

/// Spreads the difference of two numbers over all bits: the last step of `SplitMix64` (Steele et al., 2014).
pub const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Moment;
    use crate::workers::{Terms, Wanted, WorkerSet, Workers};

    fn set(weights: &[u16]) -> Arc<WorkerSet> {
        let workers = Workers::new(1);
        let wanted = (1..).zip(weights).map(|(port, weight)| Wanted {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
            priority: 0,
            weight: *weight,
        });
        workers.replace(wanted.collect(), None, Moment::at(1));
        Arc::clone(&workers.load())
    }

    fn of(points: &[Point], member: u32) -> usize {
        points.iter().filter(|point| point.member == member).count()
    }

    #[test]
    fn the_hash_is_the_same_on_every_start() {
        // FNV-1a of "a" is 0xaf63dc4c8601ec8c by its authors' table.
        assert_eq!(hash(b"a"), mixed(0xAF63_DC4C_8601_EC8C));
        assert_eq!(mixed(0), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn points_are_in_proportion_to_weight_and_nobody_has_none() {
        let set = set(&[1, 3, 0]);
        let points = set.ring().points(0);
        assert_eq!((of(points, 0), of(points, 1), of(points, 2)), (64, 192, 1));
    }

    #[test]
    fn the_points_of_very_many_workers_are_bounded() {
        let set = set(&[7; 10_000]);
        let points = set.ring().points(0);
        assert_eq!(points.len(), 10_000 * (POINTS_MAX / 10_000));
        assert!(points.is_sorted());
    }

    #[test]
    fn the_ring_is_made_before_a_request_needs_it() {
        let workers = Workers::new(1);
        let wanted = |port| Wanted {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
            priority: 0,
            weight: 1,
        };
        workers.replace(vec![wanted(1)], None, Moment::at(1));
        assert!(workers.load().ring.get().is_none(), "nobody needs it");
        workers.adopt(Terms { by_ring: true, ..Terms::default() });
        assert!(workers.load().ring.get().is_some());
        workers.replace(vec![wanted(1), wanted(2)], None, Moment::at(2));
        assert!(workers.load().ring.get().is_some());
    }

    #[test]
    fn a_change_that_leaves_the_places_as_they_are_keeps_the_ring() {
        let workers = Workers::new(1);
        let wanted = || {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
            vec![Wanted { address, priority: 0, weight: 1 }]
        };
        workers.replace(wanted(), None, Moment::at(1));
        let ring = Arc::clone(workers.load().ring());
        workers.replace(wanted(), None, Moment::at(2));
        workers.note_dns_failure("timed out", Moment::at(3));
        assert!(Arc::ptr_eq(&ring, workers.load().ring()));
    }
}
