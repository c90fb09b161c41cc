//! Any bytes as a DNS message: what is read of it is bounded, in order, and means the same whichever way round a
//! server writes its records.

#![no_main]

use std::collections::BTreeMap;

use buckler::workers::srv::{MAX_ADDRESSES, MAX_RECORDS, gather, read, says_none};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{Name, RData};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut message) = Message::from_vec(bytes) else { return };
    // The name that is asked for: whichever has an SRV record, else the root.
    let named = message.answers.iter().find(|record| matches!(record.data, RData::SRV(_)));
    let name = named.map_or_else(Name::root, |record| record.name.clone());
    let reading = read(&name, &message);
    assert!(reading.records.len() <= MAX_RECORDS);
    let workers = gather(&reading.records, &reading.addresses);
    assert!(workers.len() <= MAX_RECORDS);
    assert!(!says_none(&reading.records) || workers.is_empty());
    for worker in &workers {
        let usable = |address: std::net::SocketAddr| address.port() != 0 && !address.ip().is_unspecified();
        assert!(worker.address.tcp().is_some_and(usable), "{worker:?}");
    }
    assert!(workers.is_sorted_by_key(|worker| (worker.priority, worker.address.clone())));
    let mut addresses: Vec<_> = workers.iter().map(|worker| worker.address.clone()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), workers.len(), "one worker stands twice in the set");
    weights_are_kept(
        &reading.records.iter().map(|srv| (srv.priority, srv.weight)).collect::<Vec<_>>(),
        &workers,
    );
    // Servers rotate their answers.
    message.answers.reverse();
    message.additionals.reverse();
    let turned = read(&name, &message);
    assert_eq!(turned.records, reading.records);
    assert_eq!(turned.ttl, reading.ttl);
    if reading.addresses.values().all(|known| known.len() <= MAX_ADDRESSES) {
        assert_eq!(gather(&turned.records, &turned.addresses), workers);
    }
});

/// No worker comes to a priority that no record has, and none with weight 0 out of records that all have some.
fn weights_are_kept(records: &[(u16, u16)], workers: &[buckler::workers::Wanted]) {
    let mut lightest: BTreeMap<u16, u16> = BTreeMap::new();
    for (priority, weight) in records {
        let known = lightest.entry(*priority).or_insert(*weight);
        *known = (*known).min(*weight);
    }
    for worker in workers {
        let lightest = lightest.get(&worker.priority).expect("a record has this priority");
        assert!(worker.weight > 0 || *lightest == 0, "{worker:?}");
    }
}
