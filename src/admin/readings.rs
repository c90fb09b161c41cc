//! From what the process holds to the plain numbers that `record/metrics.rs` encodes.

use super::{Desk, ServiceView, process};
use crate::balance::panicked;
use crate::clock::Moment;
use crate::record::handshakes::TlsReading;
use crate::record::metrics::{
    CapacityReading, ChecksReading, DnsReading, ProcessReading, RoomReading, Scrape, SeatsReading,
    ServiceReading, WorkerReading,
};
use crate::workers::Member;
use crate::workers::health::Use;

/// Reads everything once.
pub(super) fn scrape(desk: &Desk, now: Moment) -> Scrape {
    let view = desk.view.load();
    let services = view.services.iter().map(|service| read_service(service, now)).collect();
    let reload = desk.state.reload();
    let ledger = (view.ledger)();
    let process = ProcessReading {
        limiter_keys: ledger.keys,
        limiter_evictions: ledger.evictions,
        reload_ok: reload.failure.is_none(),
        reloaded_unix_micros: reload.in_use_since.unix_micros,
        config_hash: view.config_hash.clone(),
        configurations: desk.state.configurations(),
        log_dropped: view.access_log.as_ref().map_or(0, |log| log.dropped()),
        log_write_errors: view.access_log.as_ref().map_or(0, |log| log.write_errors()),
        panics: desk.state.counts.panics(),
        accept_errors: desk.state.counts.accept_errors(),
        resident_bytes: process::resident_bytes(),
        open_fds: process::open_fds(),
        started_unix_micros: desk.state.started.unix_micros,
    };
    Scrape { services, process }
}

fn read_service(service: &ServiceView, now: Moment) -> ServiceReading {
    // First, since it judges the newest outcomes: shares and states are those of this moment.
    let room = read_room(service, now);
    let set = service.workers.load();
    let dns = set.dns.as_ref().map(|dns| DnsReading {
        age: dns.answered_at.map(|answered| now.since(answered)),
        failures: (service.dns_failures)(),
    });
    let tls = service.tls.as_deref().map(|terms| {
        let files = terms.tls().certificates.iter().map(|files| files.chain.path.display().to_string());
        let ends = terms.certificates();
        TlsReading {
            certificates: files.zip(ends.iter().map(|certificate| certificate.not_after)).collect(),
            stale: terms.stale().is_some(),
            failures: terms.failures(),
        }
    });
    ServiceReading {
        name: service.config.name.clone(),
        counts: service.counts.clone(),
        workers: set.members.iter().map(|member| read_worker(service, member, now)).collect(),
        room,
        dns,
        tls,
    }
}

fn read_room(service: &ServiceView, now: Moment) -> RoomReading {
    let acceptance = service.workers.acceptance(now);
    let reading = service.capacity.reading(acceptance);
    let capacity = reading.concurrent.map(|limit| CapacityReading {
        limit,
        effective: reading.effective.unwrap_or(limit),
        in_use: reading.in_use,
    });
    let acceptance = service.workers.throttle_reading(now).acceptance;
    let panic = panicked(&service.workers, now).is_some();
    RoomReading { capacity, waiting: waiting(service), acceptance, panic }
}

/// Requests of a service that wait for a place, its own or a worker's.
pub(super) fn waiting(service: &ServiceView) -> u64 {
    service.capacity.reading(1.0).waiting + service.workers.freed.waiting() as u64
}

fn read_worker(service: &ServiceView, member: &Member, now: Moment) -> WorkerReading {
    let worker = &member.worker;
    let (counts, health) = (&worker.counts, worker.reading(now));
    let checked = service.config.health.check.is_some();
    WorkerReading {
        name: worker.name.clone(),
        up: matches!(worker.usable(now), Use::Share(_)),
        state: health.state.word(),
        share: health.share,
        weight: member.weight,
        active: counts.sum(|shard| &shard.active),
        connections: counts.sum(|shard| &shard.connections),
        answers: std::array::from_fn(|class| counts.sum(|shard| &shard.answers[class])),
        failures: counts.sum(|shard| &shard.failures),
        connect_failures: counts.sum(|shard| &shard.connect_failures),
        ejections: health.ejections,
        checks: checked
            .then(|| ChecksReading { ok: worker.checks.good.get(), failed: worker.checks.bad.get() }),
        seats: service.workers.seats_each().map(|all| SeatsReading { all, taken: worker.seats_taken() }),
    }
}
