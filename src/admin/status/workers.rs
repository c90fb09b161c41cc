//! What `/api/v1/status` tells of the workers of a service: what each deserves and gets, how it is and why.

use std::time::Duration;

use serde::Serialize;

use super::room::millis;
use crate::clock::Moment;
use crate::record::timestamp;
use crate::workers::health::WorkerHealth;
use crate::workers::{Member, Workers};

#[derive(Serialize)]
pub(super) struct WorkerStatus {
    address: String,
    priority: u16,
    weight: u16,
    /// Its part of the weight of its priority, 0 to 1.
    share_configured: f64,
    /// Its part of the attempts of its priority, 0 to 1; none before the first.
    share_actual: Option<f64>,
    /// How much of what its weight gives it it gets now, 0 to 1.
    share: f64,
    state: &'static str,
    since: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Of its newest attempts, the part that failed by its fault; none without attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_share: Option<f64>,
    /// From the end of a request to the head of its answer, of the newest attempts; none without attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    /// The lower median of that over the other workers of its priority that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    siblings_latency_ms: Option<f64>,
    /// How far it has come with its slow start, 0 to 1; none if it is not in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<f64>,
    ejections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<CheckStatus>,
    active: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seats: Option<SeatsStatus>,
    connections: u64,
    attempts: u64,
    failures: u64,
    connect_failures: u64,
}

#[derive(Serialize)]
struct CheckStatus {
    at: String,
    ok: bool,
    /// What was wrong; empty if nothing was.
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
}

/// Places at the worker (`workers.concurrent_per_worker`).
#[derive(Serialize)]
struct SeatsStatus {
    taken: u32,
    each: u32,
}

/// The workers of a service, in their order.
pub(super) fn read(workers: &Workers, members: &[Member], now: Moment) -> Vec<WorkerStatus> {
    // First the newest outcomes: what follows is from one moment.
    workers.judge_if_due(now);
    let healths: Vec<WorkerHealth> = members.iter().map(|member| member.worker.reading(now)).collect();
    let tables = (members, &healths[..]);
    (0..members.len()).map(|at| read_one(at, tables, workers.seats_each())).collect()
}

fn read_one(
    at: usize,
    (members, healths): (&[Member], &[WorkerHealth]),
    seats_each: Option<u32>,
) -> WorkerStatus {
    let (member, health) = (&members[at], healths[at].clone());
    let (worker, counts) = (&member.worker, &member.worker.counts);
    let (share_configured, share_actual) = shares(member, members);
    WorkerStatus {
        address: worker.name.to_string(),
        priority: member.priority,
        weight: member.weight,
        share_configured,
        share_actual,
        share: health.share,
        state: health.state.word(),
        since: timestamp(health.since.unix_micros),
        why: health.why,
        until: health.until.map(|until| timestamp(until.unix_micros)),
        failure_share: health.failure_share,
        latency_ms: health.latency.map(millis),
        siblings_latency_ms: siblings_latency(at, members, healths).map(millis),
        slow_start: health.slow_start,
        ejections: health.ejections,
        last_check: health.last_check.map(|(at, result)| CheckStatus {
            at: timestamp(at.unix_micros),
            ok: result.is_ok(),
            text: result.err().unwrap_or_default(),
        }),
        active: worker.active(),
        seats: seats_each.map(|each| SeatsStatus { taken: worker.seats_taken(), each }),
        connections: counts.sum(|shard| &shard.connections),
        attempts: attempts(member),
        failures: counts.sum(|shard| &shard.failures),
        connect_failures: counts.sum(|shard| &shard.connect_failures),
    }
}

/// Its part of the weight of its priority, and of the attempts there.
fn shares(member: &Member, members: &[Member]) -> (f64, Option<f64>) {
    let peers = || members.iter().filter(|peer| peer.priority == member.priority);
    let weights: u64 = peers().map(|peer| u64::from(peer.weight)).sum();
    // RFC 2782: if no weight is set at all, they are all alike.
    let configured = match weights {
        0 => 1.0 / peers().count().max(1) as f64,
        weights => f64::from(member.weight) / weights as f64,
    };
    let all: u64 = peers().map(attempts).sum();
    (configured, (all > 0).then(|| attempts(member) as f64 / all as f64))
}

fn attempts(member: &Member) -> u64 {
    member.worker.counts.sum(|shard| &shard.attempts)
}

/// The lower median of the latencies of the others of its priority.
fn siblings_latency(at: usize, members: &[Member], healths: &[WorkerHealth]) -> Option<Duration> {
    let others = members.iter().zip(healths).enumerate();
    let others = others.filter(|(n, (member, _))| *n != at && member.priority == members[at].priority);
    let mut latencies: Vec<Duration> = others.filter_map(|(_, (_, health))| health.latency).collect();
    latencies.sort_unstable();
    latencies.get(latencies.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::workers::Wanted;

    /// The members of these priorities, with these latencies in milliseconds; 0: none is known.
    fn members(told: &[(u16, u64)]) -> (Vec<Member>, Vec<WorkerHealth>) {
        let now = Moment::at(1_000_000_000);
        let workers = Workers::new(1);
        let wanted = told.iter().zip(9_000..).map(|((priority, _), port)| Wanted {
            address: SocketAddr::from(([127, 0, 0, 1], port)).into(),
            priority: *priority,
            weight: 1,
        });
        workers.replace(wanted.collect(), None, now);
        let members = workers.load().members.clone();
        let latency = |millis: u64| (millis > 0).then(|| Duration::from_millis(millis));
        let reading = |(member, (_, millis)): (&Member, &(u16, u64))| WorkerHealth {
            latency: latency(*millis),
            ..member.worker.reading(now)
        };
        let healths = members.iter().zip(told).map(reading).collect();
        (members, healths)
    }

    #[test]
    fn siblings_are_the_others_of_the_same_priority_that_have_a_latency() {
        let (members, healths) = members(&[(1, 900), (1, 12), (1, 0), (1, 10), (1, 14), (2, 1)]);
        let of = |at| siblings_latency(at, &members, &healths).map(|latency| latency.as_millis());
        assert_eq!(of(0), Some(12));
        assert_eq!(of(1), Some(14), "the middle one of 10, 14, 900");
        assert_eq!(of(2), Some(12), "the lower middle one of four");
        assert_eq!(of(5), None, "it is alone");
    }

    #[test]
    fn a_worker_alone_in_its_priority_has_all_of_it() {
        let (members, _) = members(&[(1, 0), (1, 0), (2, 0)]);
        assert_eq!(shares(&members[0], &members), (0.5, None));
        assert_eq!(shares(&members[2], &members), (1.0, None));
    }
}
