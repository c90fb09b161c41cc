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
            let known =
                workers.entry(address).or_insert(Wanted { address: address.into(), priority, weight: 0 });
            if known.priority == priority {
                known.weight = known.weight.saturating_add(weight);
            }
        }
    }
    let mut workers: Vec<Wanted> = workers.into_values().collect();
    workers.sort_by(|a, b| (a.priority, &a.address).cmp(&(b.priority, &b.address)));
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

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::{MessageType, OpCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> SRV {
        SRV::new(priority, weight, port, name(target))
    }

    fn addresses(of: &[(&str, &[&str])]) -> Addresses {
        let parsed = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
        of.iter().map(|(target, list)| (name(target), parsed(list))).collect()
    }

    fn shown(workers: &[Wanted]) -> Vec<String> {
        workers.iter().map(|one| format!("{} {} {}", one.priority, one.weight, one.address)).collect()
    }

    #[test]
    fn priority_weight_and_port_come_from_the_record() {
        let records = [srv(1, 5, 81, "b."), srv(0, 65_535, 80, "a."), srv(0, 0, 82, "a.")];
        let known = addresses(&[("a.", &["10.0.0.1"]), ("b.", &["2001:db8::1"])]);
        assert_eq!(
            shown(&gather(&records, &known)),
            ["0 65535 10.0.0.1:80", "0 0 10.0.0.1:82", "1 5 [2001:db8::1]:81"]
        );
    }

    #[test]
    fn several_addresses_share_the_weight_of_their_target() {
        let records = [srv(0, 10, 80, "a."), srv(0, 10, 80, "b.")];
        let known = addresses(&[("a.", &["10.0.0.1", "10.0.0.2"]), ("b.", &["10.0.0.3"])]);
        assert_eq!(
            shown(&gather(&records, &known)),
            ["0 5 10.0.0.1:80", "0 5 10.0.0.2:80", "0 10 10.0.0.3:80"]
        );
    }

    #[test]
    fn a_weight_that_does_not_divide_makes_all_weights_of_its_priority_finer() {
        let records = [srv(0, 1, 80, "a."), srv(0, 1, 80, "b."), srv(1, 7, 80, "c.")];
        let known = addresses(&[
            ("a.", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
            ("b.", &["10.0.0.4", "10.0.0.5"]),
            ("c.", &["10.0.0.6"]),
        ]);
        let workers = gather(&records, &known);
        let weights: Vec<u16> = workers.iter().map(|one| one.weight).collect();
        assert_eq!(weights, [2, 2, 2, 3, 3, 7]);
    }

    #[test]
    fn where_weights_cannot_be_finer_the_sum_still_holds_and_nobody_gets_nothing() {
        let records = [srv(0, 65_535, 80, "a."), srv(0, 1, 80, "b.")];
        let known = addresses(&[("a.", &["10.0.0.1", "10.0.0.2"]), ("b.", &["10.0.0.3", "10.0.0.4"])]);
        let weights: Vec<u16> = gather(&records, &known).iter().map(|one| one.weight).collect();
        assert_eq!(weights, [32_768, 32_767, 1, 1]);
    }

    #[test]
    fn weight_zero_stays_zero_for_all_addresses() {
        let known = addresses(&[("a.", &["10.0.0.1", "10.0.0.2"])]);
        let workers = gather(&[srv(0, 0, 80, "a.")], &known);
        assert!(workers.iter().all(|one| one.weight == 0) && workers.len() == 2);
    }

    #[test]
    fn a_worker_named_twice_is_one_worker() {
        let known = addresses(&[("a.", &["10.0.0.1", "10.0.0.1"]), ("b.", &["10.0.0.1"])]);
        let same_priority = [srv(0, 10, 80, "a."), srv(0, 5, 80, "b.")];
        assert_eq!(shown(&gather(&same_priority, &known)), ["0 15 10.0.0.1:80"]);
        let two_priorities = [srv(3, 10, 80, "a."), srv(2, 5, 80, "b.")];
        assert_eq!(shown(&gather(&two_priorities, &known)), ["2 5 10.0.0.1:80"]);
        let full = [srv(0, 65_535, 80, "a."), srv(0, 5, 80, "b.")];
        assert_eq!(shown(&gather(&full, &known)), ["0 65535 10.0.0.1:80"]);
    }

    #[test]
    fn what_nobody_can_connect_to_is_left_out() {
        let known = addresses(&[(".", &["10.0.0.9"]), ("a.", &["0.0.0.0", "::", "224.0.0.1", "ff02::1"])]);
        let records =
            [srv(0, 1, 0, "a."), srv(0, 1, 80, "a."), srv(0, 1, 80, "."), srv(0, 1, 80, "unknown.")];
        assert_eq!(gather(&records, &known), []);
    }

    #[test]
    fn only_the_target_dot_alone_says_that_there_are_none() {
        assert!(says_none(&[srv(0, 0, 0, ".")]));
        assert!(!says_none(&[srv(0, 0, 0, "."), srv(0, 0, 80, "a.")]));
        assert!(!says_none(&[]));
    }

    #[test]
    fn more_than_a_thousand_records_are_cut_from_the_worst_priority() {
        let records: Vec<SRV> =
            (0..1_500).map(|n| srv(u16::from(n >= 900), 1, 1_000 + n, "a.")).rev().collect();
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        for record in records {
            message.add_answer(Record::from_rdata(name("_x._tcp."), 60, RData::SRV(record)));
        }
        let read = read(&name("_x._tcp."), &message);
        assert_eq!(read.records.len(), MAX_RECORDS);
        assert_eq!(read.records.iter().filter(|srv| srv.priority == 0).count(), 900);
    }

    #[test]
    fn many_addresses_of_one_target_are_cut() {
        let many: Vec<IpAddr> = (0..1_000_u32).map(|n| IpAddr::V4((0x0A00_0001 + n).into())).collect();
        let workers = gather(&[srv(0, 100, 80, "a.")], &Addresses::from([(name("a."), many)]));
        assert_eq!(workers.len(), MAX_ADDRESSES);
        assert_eq!(workers[0].address.to_string(), "10.0.0.1:80");
    }

    #[test]
    fn a_message_gives_records_addresses_of_their_targets_and_the_shortest_ttl() {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        let owner = name("_web._http.example.test.");
        message.add_answer(Record::from_rdata(
            owner.clone(),
            60,
            RData::SRV(srv(0, 1, 80, "W.example.test.")),
        ));
        message.add_answer(Record::from_rdata(
            owner.clone(),
            60,
            RData::SRV(srv(0, 1, 80, "w.example.test.")),
        ));
        message.add_answer(Record::from_rdata(name("other."), 1, RData::SRV(srv(0, 1, 80, "evil."))));
        let mut additional = |of: &str, ttl, data| {
            message.add_additional(Record::from_rdata(name(of), ttl, data));
        };
        additional("w.EXAMPLE.test.", 30, RData::A(A::new(10, 0, 0, 1)));
        additional("w.example.test.", 40, RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
        additional("evil.", 1, RData::A(A::new(10, 6, 6, 6)));
        let read = read(&name("_WEB._http.example.test."), &message);
        assert_eq!(read.records, [srv(0, 1, 80, "w.example.test.")]);
        assert_eq!(read.addresses, addresses(&[("w.example.test.", &["10.0.0.1", "2001:db8::1"])]));
        assert_eq!(read.ttl, 30);
    }

    proptest! {
        #[test]
        fn every_target_keeps_its_share(
            targets in prop::collection::vec((0_u16..=200, 1_usize..6), 1..12),
        ) {
            let mut records = Vec::new();
            let mut known = Addresses::new();
            let mut next = 0x0A00_0001_u32;
            for (place, (weight, count)) in targets.iter().enumerate() {
                let target = format!("t{place}.");
                records.push(srv(0, *weight, 80, &target));
                let list = (0..*count).map(|_| { next += 1; IpAddr::V4(next.into()) }).collect();
                known.insert(name(&target), list);
            }
            let workers = gather(&records, &known);
            let sum: f64 = workers.iter().map(|one| f64::from(one.weight)).sum();
            let wanted: f64 = targets.iter().map(|(weight, _)| f64::from(*weight)).sum();
            prop_assume!(wanted > 0.0);
            for (place, (weight, _)) in targets.iter().enumerate() {
                let list = &known[&name(&format!("t{place}."))];
                let got: f64 = workers.iter().filter(|one| list.contains(&one.address.tcp().unwrap().ip()))
                    .map(|one| f64::from(one.weight)).sum();
                // 1..6 addresses: a factor of 60 is always enough, and 200 * 60 fits.
                prop_assert!((got / sum - f64::from(*weight) / wanted).abs() < 1e-9);
            }
        }

        #[test]
        fn no_bytes_on_the_wire_break_it(bytes in prop::collection::vec(0_u8.., 0..600)) {
            if let Ok(message) = Message::from_vec(&bytes) {
                let owner = message.answers.first().map_or_else(Name::root, |record| record.name.clone());
                let read = read(&owner, &message);
                prop_assert!(gather(&read.records, &read.addresses).len() <= MAX_RECORDS);
            }
        }

        #[test]
        fn no_records_break_it(
            records in prop::collection::vec((0_u16..3, 0_u16.., 0_u16.., 0_usize..5), 0..60),
            lists in prop::collection::vec(prop::collection::vec(any::<IpAddr>(), 0..100), 5),
        ) {
            let target = |place: usize| if place == 0 { Name::root() } else { name(&format!("t{place}.")) };
            let records: Vec<SRV> = records.into_iter()
                .map(|(priority, weight, port, place)| SRV::new(priority, weight, port, target(place))).collect();
            let known: Addresses = lists.into_iter().enumerate().map(|(place, list)| (target(place), list)).collect();
            let workers = gather(&records, &known);
            prop_assert!(workers.len() <= MAX_RECORDS);
            let mut seen: Vec<SocketAddr> = workers.iter().filter_map(|one| one.address.tcp()).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), workers.len());
        }
    }
}
