//! `/api/v1/status`: everything somebody asks first, as JSON. Counts are since the start. What is told of workers and
//! of the room for requests stands in files of their own below.

mod room;
mod workers;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{Desk, LedgerReading, Left, ServiceView};
use crate::balance::panicked;
use crate::clock::Moment;
use crate::config::{self, CertificateFiles, WorkerSource};
use crate::record::callers::{OTHERS, Tally};
use crate::record::labels::CODES;
use crate::record::timestamp;
use crate::tls::TlsTerms;
use crate::tls::certificate::Certificate;
use crate::workers::DnsAnswer;
use room::{CapacityStatus, RetriesStatus, ThrottleStatus};
use workers::WorkerStatus;

/// The whole page.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    phase: &'static str,
    started: String,
    uptime_seconds: f64,
    config: ConfigStatus,
    ledger: LedgerReading,
    services: Vec<ServiceStatus>,
}

#[derive(Serialize)]
struct ConfigStatus {
    file: String,
    hash: String,
    in_use_since: String,
    last_reload: ReloadStatus,
}

#[derive(Serialize)]
struct ReloadStatus {
    at: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

#[derive(Serialize)]
struct ServiceStatus {
    name: String,
    listen: String,
    requests: u64,
    active: u64,
    connections: u64,
    by_code: BTreeMap<&'static str, u64>,
    /// By reason: what Buckler refused, and what went wrong otherwise.
    by_reason: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<DnsStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsStatus>,
    /// Places for requests. None: nothing bounds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<CapacityStatus>,
    throttle: ThrottleStatus,
    /// The priority whose workers are all used although too many of them are ejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    panic: Option<u16>,
    retries: RetriesStatus,
    /// Requests that got the fallback.
    fallbacks: u64,
    /// `workers.balance`: the word.
    balance: &'static str,
    workers: Vec<WorkerStatus>,
    callers: Vec<CallerStatus>,
}

#[derive(Serialize)]
struct TlsStatus {
    certificates: Vec<CertificateStatus>,
    /// The files hold others, which cannot be used: since when, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_because: Option<String>,
    reload_failures: u64,
}

#[derive(Serialize)]
struct CertificateStatus {
    file: String,
    subject: String,
    issuer: String,
    /// Names and addresses that it covers.
    names: Vec<String>,
    not_before: String,
    not_after: String,
}

#[derive(Serialize)]
struct DnsStatus {
    name: String,
    age_seconds: Option<f64>,
    ttl_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
}

#[derive(Serialize)]
struct CallerStatus {
    name: String,
    known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    allowed: u64,
    refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Left>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<AgreementStatus>,
}

#[derive(Serialize)]
struct AgreementStatus {
    name: String,
    at: String,
    shared: bool,
    owner: Option<String>,
    reason: Option<String>,
    until: Option<String>,
    expired: bool,
}

/// Reads everything once.
pub(super) fn read(desk: &Desk, now: Moment) -> Status {
    let view = desk.view.load();
    let reload = desk.state.reload();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: desk.state.phase().word(),
        started: timestamp(desk.state.started.unix_micros),
        uptime_seconds: now.since(desk.state.started).as_secs_f64(),
        config: ConfigStatus {
            file: view.config_file.clone(),
            hash: view.config_hash.clone(),
            in_use_since: timestamp(reload.in_use_since.unix_micros),
            last_reload: ReloadStatus {
                at: timestamp(reload.at.unix_micros),
                ok: reload.failure.is_none(),
                failure: reload.failure,
            },
        },
        ledger: (view.ledger)(),
        services: view.services.iter().map(|service| read_service(service, &view.callers, now)).collect(),
    }
}

fn read_service(service: &ServiceView, callers: &config::Callers, now: Moment) -> ServiceStatus {
    let (mut by_code, mut by_reason) = (BTreeMap::new(), BTreeMap::new());
    let mut requests = 0;
    for (code, reason, n) in service.counts.requests() {
        requests += n;
        *by_code.entry(CODES[code]).or_default() += n;
        if let Some(reason) = reason {
            *by_reason.entry(reason.word()).or_default() += n;
        }
    }
    let set = service.workers.load();
    let dns = match (&service.config.workers, &set.dns) {
        (WorkerSource::Srv(name), answer) => Some(read_dns(name, answer.as_ref(), now)),
        (WorkerSource::List(_), _) => None,
    };
    ServiceStatus {
        name: service.config.name.to_string(),
        listen: service.config.listen.to_string(),
        requests,
        active: service.counts.active(),
        connections: service.counts.connections(),
        by_code,
        by_reason,
        dns,
        tls: service.tls.as_deref().map(read_tls),
        capacity: room::read_capacity(service, now),
        throttle: room::read_throttle(service, now),
        panic: panicked(&service.workers, now),
        retries: room::read_retries(service),
        fallbacks: service.counts.fallbacks().iter().map(|(_, n)| n).sum(),
        balance: room::balance_word(&service.config.balance),
        workers: workers::read(&service.workers, &set.members, now),
        callers: read_callers(service, callers, now),
    }
}

fn read_dns(name: &str, answer: Option<&DnsAnswer>, now: Moment) -> DnsStatus {
    let answered_at = answer.and_then(|answer| answer.answered_at);
    DnsStatus {
        name: name.to_owned(),
        age_seconds: answered_at.map(|at| now.since(at).as_secs_f64()),
        ttl_seconds: answer.map_or(0.0, |answer| answer.ttl.as_secs_f64()),
        failure: answer.and_then(|answer| answer.failure.clone()),
        failing_since: answer
            .and_then(|answer| answer.failing_since)
            .map(|since| timestamp(since.unix_micros)),
    }
}

fn read_tls(terms: &TlsTerms) -> TlsStatus {
    let stale = terms.stale();
    let day = |seconds: i64| timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000));
    let certificates = terms.certificates();
    let read = |(files, certificate): (&CertificateFiles, &Certificate)| CertificateStatus {
        file: files.chain.path.display().to_string(),
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        names: certificate
            .dns
            .iter()
            .cloned()
            .chain(certificate.addresses.iter().map(ToString::to_string))
            .collect(),
        not_before: day(certificate.not_before),
        not_after: day(certificate.not_after),
    };
    TlsStatus {
        certificates: terms.tls().certificates.iter().zip(certificates.iter()).map(read).collect(),
        stale_since: stale.as_ref().map(|stale| timestamp(stale.since.unix_micros)),
        stale_because: stale.map(|stale| stale.why.clone()),
        reload_failures: terms.failures(),
    }
}

/// So many callers of `known` are all shown with each service; of more, those that asked it or have an agreement with
/// it.
const ALL_KNOWN: usize = 1_000;

fn read_callers(service: &ServiceView, callers: &config::Callers, now: Moment) -> Vec<CallerStatus> {
    let table = service.counts.callers();
    let left = |name: &str| (service.left)(name, now);
    let mut found = Vec::new();
    let tallies: HashMap<&str, Tally> = table.named.iter().map(|(name, tally)| (&**name, *tally)).collect();
    let agreements = agreements_of(&service.config.limits);
    let few = callers.known.len() <= ALL_KNOWN;
    for (number, known) in callers.known.iter().enumerate() {
        let tally = tallies.get(&*known.name).copied();
        let agreement = agreements.get(&number).copied();
        if !few && tally.is_none() && agreement.is_none() {
            continue;
        }
        let tier = known.tier.and_then(|tier| callers.tiers.get(tier)).map(|tier| tier.name.to_string());
        let agreement = agreement.map(|agreement| agreement_status(agreement, now));
        let caller = CallerStatus { tier, agreement, ..plain(&known.name, tally.unwrap_or_default()) };
        found.push(CallerStatus { known: true, left: left(&known.name), ..caller });
    }
    found.extend(
        table.top.iter().map(|(name, tally)| CallerStatus { left: left(name), ..plain(name, *tally) }),
    );
    found.push(plain(OTHERS, table.others));
    found
}

fn plain(name: &str, tally: Tally) -> CallerStatus {
    CallerStatus {
        name: name.to_owned(),
        known: false,
        tier: None,
        allowed: tally.allowed,
        refused: tally.refused,
        left: None,
        agreement: None,
    }
}

/// Agreements by the numbers of their callers.
fn agreements_of(limits: &config::Limits) -> HashMap<usize, &config::Agreement> {
    let agreements = limits.agreements.iter();
    agreements.flat_map(|one| one.callers.iter().map(move |number| (*number, one))).collect()
}

fn agreement_status(agreement: &config::Agreement, now: Moment) -> AgreementStatus {
    let rule = &agreement.quota.rule_ref;
    AgreementStatus {
        name: rule.name.clone(),
        at: rule.at.clone(),
        shared: agreement.shared,
        owner: agreement.owner.as_deref().map(str::to_owned),
        reason: rule.reason.clone(),
        until: agreement.until.map(|until| timestamp(until.saturating_mul(1_000_000))),
        expired: agreement.until.is_some_and(|until| now.unix_micros / 1_000_000 >= until),
    }
}
