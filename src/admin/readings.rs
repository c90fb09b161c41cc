//! From what the process holds to the plain numbers that `record/metrics.rs` encodes.

use super::{Desk, ServiceView, process};
use crate::clock::Moment;
use crate::record::handshakes::TlsReading;
use crate::record::metrics::{DnsReading, ProcessReading, Scrape, ServiceReading, WorkerReading};
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
        workers: set.members.iter().map(|member| read_worker(member, now)).collect(),
        dns,
        tls,
    }
}

fn read_worker(member: &Member, now: Moment) -> WorkerReading {
    let counts = &member.worker.counts;
    WorkerReading {
        name: member.worker.name.clone(),
        up: matches!(member.worker.usable(now), Use::Share(_)),
        weight: member.weight,
        active: counts.sum(|shard| &shard.active),
        connections: counts.sum(|shard| &shard.connections),
        answers: std::array::from_fn(|class| counts.sum(|shard| &shard.answers[class])),
        failures: counts.sum(|shard| &shard.failures),
        connect_failures: counts.sum(|shard| &shard.connect_failures),
    }
}
