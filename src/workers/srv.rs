//! What an SRV answer means (RFC 2782): which workers it names, with which priority and weight. Pure; asking is the
//! work of `resolver.rs`, and when to ask that of `discovery.rs`.
//!
//! An answer comes from outside: everything here is bounded and nothing panics, whatever stands in it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record};

use super::Wanted;

/// At most so many SRV records of an answer, and at most so many workers in all, are used: those with the lowest
/// priority numbers.
pub const MAX_RECORDS: usize = 1000;

/// At most so many addresses of one target are used: the numerically lowest.
pub const MAX_ADDRESSES: usize = 64;

/// The addresses of targets, by name in lower case.
pub type Addresses = HashMap<Name, Vec<IpAddr>>;

/// What one DNS message says about a name.
#[derive(Debug)]
pub struct Reading {
    /// The SRV records of the name, each once, in order of priority; at most [`MAX_RECORDS`].
    pub records: Vec<SRV>,
    /// The addresses of their targets that the message brought along in its additional section.
    pub addresses: Addresses,
    /// The shortest TTL of all of these, in seconds.
    pub ttl: u32,
}

/// Reads the SRV records of `name` and the addresses of their targets out of a message. Other records, and records of
/// other names, are left aside.
pub fn read(name: &Name, message: &Message) -> Reading {
    let mut ttl = u32::MAX;
    let mut records = Vec::new();
    for record in message.answers.iter().filter(|record| record.dns_class == DNSClass::IN) {
        if let RData::SRV(srv) = &record.data
            && record.name.eq_ignore_root(name)
        {
            ttl = ttl.min(record.ttl);
            let target = srv.target.to_lowercase();
            records.push(SRV::new(srv.priority, srv.weight, srv.port, target));
        }
    }
    // Servers rotate their answers; in this order the same records are used each time.
    records.sort_by(|a, b| {
        (a.priority, &a.target, a.port, a.weight).cmp(&(b.priority, &b.target, b.port, b.weight))
    });
    records.dedup();
    records.truncate(MAX_RECORDS);

    let mut addresses: Addresses = records.iter().map(|srv| (srv.target.clone(), Vec::new())).collect();
    for record in message.additionals.iter().filter(|record| record.dns_class == DNSClass::IN) {
        if let Some(address) = address(record)
            && let Some(known) = addresses.get_mut(&record.name.to_lowercase())
        {
            ttl = ttl.min(record.ttl);
            known.push(address);
        }
    }
    addresses.retain(|_, known| !known.is_empty());
    Reading { records, addresses, ttl }
}

/// The address in an A or AAAA record.
pub fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// Whether the records say that the service is decidedly not available: nothing but the target `.` (RFC 2782).
pub fn says_none(records: &[SRV]) -> bool {
    !records.is_empty() && records.iter().all(|srv| srv.target.is_root())
}

/// The workers that these records name, in order of priority, then address; at most [`MAX_RECORDS`].
///
/// The addresses of one target share its weight. Of a worker that is named by several records, the lowest priority
/// number counts, and the weights at that priority add up (at most 65535). Records with port 0 or the target `.`, and
/// addresses that nobody can connect to, are left out.
pub fn gather(records: &[SRV], addresses: &Addresses) -> Vec<Wanted> {
    let mut tiers: BTreeMap<u16, Vec<(u16, Vec<SocketAddr>)>> = BTreeMap::new();
    for srv in records.iter().take(MAX_RECORDS) {
        let mut at: Vec<SocketAddr> = addresses
            .get(&srv.target)
            .into_iter()
            .flatten()
            .filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
            .map(|ip| SocketAddr::new(*ip, srv.port))
            .collect();
        at.sort_unstable();
        at.dedup();
        at.truncate(MAX_ADDRESSES);
        if srv.port != 0 && !srv.target.is_root() && !at.is_empty() {
            tiers.entry(srv.priority).or_default().push((srv.weight, at));
        }
    }
    let mut workers: BTreeMap<SocketAddr, Wanted> = BTreeMap::new();
    for (priority, tier) in tiers {
        for (address, weight) in share(&tier) {
            let known = workers.entry(address).or_insert(Wanted { address, priority, weight: 0 });
            if known.priority == priority {
                known.weight = known.weight.saturating_add(weight);
            }
        }
    }
    let mut workers: Vec<Wanted> = workers.into_values().collect();
    workers.sort_by_key(|worker| (worker.priority, worker.address));
    workers.truncate(MAX_RECORDS);
    workers
}

/// Divides the weight of each target of one priority among its addresses.
///
/// Where a weight does not divide evenly, all weights of the priority are first multiplied by the same number, as far
/// as 65535 allows: their proportions stay, and so does every target's share. What is then left over goes to the
/// first addresses, one each. An address of a target with weight never gets 0, which would mean "rarely".
fn share(tier: &[(u16, Vec<SocketAddr>)]) -> impl Iterator<Item = (SocketAddr, u16)> {
    let heaviest = tier.iter().map(|(weight, _)| *weight).max().unwrap_or(0);
    let room = u64::from(u16::MAX / heaviest.max(1));
    let factor = tier.iter().fold(1, |factor: u64, (weight, at)| {
        let parts = at.len() as u64;
        let missing = parts / gcd(parts, u64::from(*weight) * factor);
        if factor * missing <= room { factor * missing } else { factor }
    });
    tier.iter().flat_map(move |(weight, at)| {
        let weight = u64::from(*weight) * factor;
        let parts = at.len() as u64;
        let least = u64::from(weight > 0);
        at.iter().zip(0_u64..).map(move |(address, place)| {
            let part = (weight / parts + u64::from(place < weight % parts)).max(least);
            (*address, u16::try_from(part).unwrap_or(u16::MAX))
        })
    })
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
