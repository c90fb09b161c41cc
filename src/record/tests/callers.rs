//! Whose requests and tunnels are counted under which name, over reloads too.

use std::collections::HashSet;

use super::*;
use crate::record::TunnelEnd;

#[test]
fn of_very_many_callers_those_are_shown_that_asked() {
    let mut many = callers();
    let one = many.known[0].clone();
    many.known = (0..1_000).map(|n| KnownCaller { name: format!("c-{n}").into(), ..one.clone() }).collect();
    let counts = ServiceCounts::new(1);
    let scribe =
        Scribe::new(&ServiceName::new("a").unwrap(), Arc::clone(&counts), ShardId(0), &Arc::new(many), None);
    assert!(counts.callers().named.is_empty());
    for number in [999, 7, 999, 1_000] {
        let mut outcome = scribe.begin(Moment::read(), peer());
        outcome.caller(CallerNote { who: Asker::Known(number), ..web() });
        good(&mut outcome);
    }
    let table = counts.callers();
    let named: Vec<_> = table.named.iter().map(|(name, tally)| (&**name, tally.allowed)).collect();
    assert_eq!(named, [("c-7", 1), ("c-999", 2)]);
    assert!(
        table.top.is_empty(),
        "a number that the configuration does not have is nobody that can be named"
    );
}

#[test]
fn callers_that_left_the_configuration_are_forgotten() {
    let world = World::json();
    drop(world.serve("/", web()));
    world.counts.keep_only(&HashSet::from(["web"]));
    assert_eq!(world.counts.callers().named.len(), 1);
    world.counts.keep_only(&HashSet::new());
    assert!(world.counts.callers().named.is_empty());
}

/// A tunnel of this caller's, open.
fn tunnel(world: &World, who: CallerNote) -> Outcome {
    let mut outcome = world.serve("/chat", who);
    outcome.tunnel_opened();
    outcome
}

/// What a shard has after a reload with these callers.
fn after_reload(counts: &Arc<ServiceCounts>, callers: Callers) -> Rc<Scribe> {
    let name = ServiceName::new("playlist").unwrap();
    Scribe::new(&name, Arc::clone(counts), ShardId(1), &Arc::new(callers), None)
}

#[test]
fn a_tunnel_outlives_its_configuration_in_memory_and_is_told_of_as_before() {
    let world = World::json();
    let before = Arc::downgrade(world.scribe.callers.as_ref().unwrap());
    let mut outcome = tunnel(&world, web());
    // A reload, after which the caller has another number.
    let World { counts, scribe, log, written } = world;
    drop(scribe);
    assert!(before.upgrade().is_none(), "an open tunnel keeps all callers in memory");
    let mut next = callers();
    next.known.insert(0, KnownCaller { name: "other".into(), ..next.known[0].clone() });
    let scribe = after_reload(&counts, next);
    counts.keep_only(&HashSet::from(["web", "other"]));
    outcome.carried(3, 4);
    assert_eq!(counts.shards.sum(|shard| &shard.tunnels), 1);
    outcome.tunnel_ended(TunnelEnd::ClientClosed);
    drop(outcome);
    assert_eq!((counts.shards.sum(|shard| &shard.tunnels), counts.active()), (0, 0));
    let none = Tally::default();
    let one = Tally { allowed: 1, refused: 0 };
    assert_eq!(counts.callers().named, [("other".into(), none), ("web".into(), one)]);
    assert_eq!(counts.callers().others, none);
    let line = &World { counts, scribe, log, written }.lines()[0];
    let told = (&line["service"], &line["caller"], &line["caller_via"], &line["tier"], &line["tunnel_end"]);
    assert_eq!(
        told,
        (&"playlist".into(), &"web".into(), &"api_key".into(), &"partner".into(), &"client_closed".into())
    );
}

#[test]
fn a_tunnel_counts_for_its_caller_if_that_is_still_one_or_is_again() {
    let one = Tally { allowed: 1, refused: 0 };
    let world = World::json();
    let (first, second) = (tunnel(&world, web()), tunnel(&world, web()));
    world.counts.keep_only(&HashSet::new());
    drop(first);
    let table = world.counts.callers();
    assert!(table.named.is_empty(), "it is named no more");
    assert_eq!(table.others, one);
    let _again = after_reload(&world.counts, callers());
    drop(second);
    assert_eq!(world.counts.callers().named, [("web".into(), one)]);
    drop(tunnel(&world, stranger()));
    assert_eq!(world.counts.callers().top, [("address:192.0.2.1".into(), one)]);
}
