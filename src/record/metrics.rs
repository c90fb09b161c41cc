//! Every metric that Buckler shows: its name, its labels, what it means. Encoded as OpenMetrics text.
//!
//! A [`Scrape`] is one reading of everything; `admin` takes it. The label values of all series come from the
//! configuration, from closed sets (`labels.rs`) or from bounded tables (`callers.rs`, `limited.rs`), so that no client
//! can make series without end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::callers::OTHERS;
use super::counts::ServiceCounts;
use super::handshakes::TlsReading;
use super::labels::{CLASSES, CODES, METHODS};
use super::page::{Page, seconds};
use crate::config::ServiceName;
use crate::refusal::Reason;

/// The content type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One reading of everything that is shown as a metric.
#[derive(Debug)]
pub struct Scrape {
    /// Per service.
    pub services: Vec<ServiceReading>,
    /// Of the whole process.
    pub process: ProcessReading,
}

/// What is read of a service.
#[derive(Debug)]
pub struct ServiceReading {
    /// Its name.
    pub name: ServiceName,
    /// Its counts.
    pub counts: Arc<ServiceCounts>,
    /// Its workers.
    pub workers: Vec<WorkerReading>,
    /// Its DNS side; none for a written list.
    pub dns: Option<DnsReading>,
    /// Its certificates; none if it speaks no TLS.
    pub tls: Option<TlsReading>,
}

/// What is read of a worker.
#[derive(Clone, Debug)]
pub struct WorkerReading {
    /// Its address as text.
    pub name: Arc<str>,
    /// Whether it gets requests as its weight says.
    pub up: bool,
    /// Its configured weight.
    pub weight: u16,
    /// Attempts in progress.
    pub active: u64,
    /// Open connections.
    pub connections: u64,
    /// Answers by class, 1xx to 5xx.
    pub answers: [u64; 5],
    /// Attempts that ended without a whole answer, by the worker's fault.
    pub failures: u64,
    /// Connections refused, or not made in time.
    pub connect_failures: u64,
}

/// What is read of the DNS side of a service.
#[derive(Clone, Copy, Debug)]
pub struct DnsReading {
    /// The age of the answer in use; none before the first answer.
    pub age: Option<Duration>,
    /// Questions that failed since the start.
    pub failures: u64,
}

/// What is read of the process.
#[derive(Clone, Debug, Default)]
pub struct ProcessReading {
    /// Callers' quotas that are remembered now.
    pub limiter_keys: u64,
    /// Quotas that were forgotten to make room.
    pub limiter_evictions: u64,
    /// Whether the newest reload (or the start) succeeded.
    pub reload_ok: bool,
    /// When the newest reload that succeeded (or the start) was, in microseconds since 1970.
    pub reloaded_unix_micros: u64,
    /// The hash of the configuration in use.
    pub config_hash: String,
    /// Access log lines lost because the writing thread could not keep up.
    pub log_dropped: u64,
    /// Access log writes that failed.
    pub log_write_errors: u64,
    /// Panics that were caught.
    pub panics: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Resident memory in bytes, if it can be read.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors, if they can be counted.
    pub open_fds: Option<u64>,
    /// When the process started, in microseconds since 1970.
    pub started_unix_micros: u64,
}

/// Encodes a reading as OpenMetrics text, with its `# EOF`.
///
/// # Errors
/// Only if the text cannot be written, which a string never refuses.
pub fn encode(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.requests(&mut page)?;
        self.durations(&mut page)?;
        self.traffic(&mut page)?;
        self.refusals(&mut page)?;
        self.callers(&mut page)?;
        self.workers(&mut page)?;
        self.dns(&mut page)?;
        self.tls(&mut page)?;
        self.process.limiter_and_config(&mut page)?;
        self.process.process(&mut page)
    }
}

impl Scrape {
    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family = page.counter(
            "buckler_requests",
            "Finished requests by status code and, if something was wrong, the reason",
        )?;
        for service in &self.services {
            for (code, reason, n) in service.counts.requests() {
                let reason = reason.map_or("", Reason::word);
                family
                    .counter(&[("service", service.name()), ("code", CODES[code]), ("reason", reason)], n)?;
            }
        }
        Ok(())
    }

    fn durations(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family = page.family(
            "http_server_request_duration",
            "Time from a request's head to the end of its answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for service in &self.services {
            for (method, code, sum) in service.counts.durations() {
                let labels =
                    [("service", service.name()), ("method", METHODS[method]), ("code", CODES[code])];
                family.histogram(&labels, &sum)?;
            }
        }
        Ok(())
    }

    fn traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family = page.gauge("buckler_active_requests", "Requests in progress")?;
        for service in &self.services {
            family.gauge(&[("service", service.name())], service.counts.active())?;
        }
        let mut family = page.gauge("buckler_connections", "Open client connections")?;
        for service in &self.services {
            for (number, shard) in service.counts.shards.iter().enumerate() {
                let number = number.to_string();
                let labels = [("service", service.name()), ("shard", number.as_str())];
                family.gauge(&labels, shard.connections.get())?;
            }
        }
        self.sums(page, "buckler_connections_accepted", "Client connections accepted", |shard| {
            &shard.connections_total
        })?;
        let mut family =
            page.gauge("buckler_tunnels", "Open tunnels: upgraded connections, and all of TCP")?;
        for service in &self.services {
            let open = service.counts.shards.sum(|shard| &shard.tunnels);
            family.gauge(&[("service", service.name())], open)?;
        }
        self.sums(page, "buckler_tunnels_opened", "Tunnels opened", |shard| &shard.tunnels_total)?;
        let mut family = page
            .counter("buckler_http2_floods", "HTTP/2 connections ended for what their client did, by kind")?;
        for service in &self.services {
            for (kind, n) in service.counts.floods() {
                family.counter(&[("service", service.name()), ("kind", kind)], n)?;
            }
        }
        self.sums(
            page,
            "buckler_http2_refused_streams",
            "HTTP/2 streams refused before they became requests",
            |shard| &shard.refused_streams,
        )?;
        self.sums(page, "buckler_received_bytes", "Bytes of request bodies", |shard| &shard.bytes_in)?;
        self.sums(page, "buckler_sent_bytes", "Bytes of answers' bodies", |shard| &shard.bytes_out)?;
        self.sums(page, "buckler_retries", "Attempts after a request's first", |shard| &shard.retries)?;
        self.sums(
            page,
            "buckler_access_log_suppressed",
            "Refusals of a flood, counted and not logged",
            |shard| &shard.suppressed,
        )
    }

    fn refusals(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family = page.counter(
            "buckler_limited",
            "Refusals by a rule or limit; in mode shadow, those that it would have given",
        )?;
        for service in &self.services {
            for (rule, shadow, reason, n) in service.counts.limited() {
                let mode = if shadow { "shadow" } else { "enforce" };
                let labels = [
                    ("service", service.name()),
                    ("rule", &*rule),
                    ("mode", mode),
                    ("reason", reason.word()),
                ];
                family.counter(&labels, n)?;
            }
        }
        Ok(())
    }

    fn callers(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family = page.counter(
            "buckler_caller_requests",
            "Requests of the configured callers, of the heaviest others, and of the rest as _other",
        )?;
        for service in &self.services {
            let table = service.counts.callers();
            let named = table.named.iter().map(|(name, tally)| (&**name, *tally));
            let top = table.top.iter().map(|(name, tally)| (name.as_str(), *tally));
            for (caller, tally) in named.chain(top).chain([(OTHERS, table.others)]) {
                for (verdict, n) in [("allowed", tally.allowed), ("refused", tally.refused)] {
                    let labels = [("service", service.name()), ("caller", caller), ("verdict", verdict)];
                    family.counter(&labels, n)?;
                }
            }
        }
        Ok(())
    }

    fn workers(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family =
            page.counter("buckler_worker_requests", "Answers of a worker by class of status code")?;
        for service in &self.services {
            for worker in &service.workers {
                for (class, n) in CLASSES.iter().zip(worker.answers) {
                    let labels =
                        [("service", service.name()), ("worker", &*worker.name), ("code_class", *class)];
                    family.counter(&labels, n)?;
                }
            }
        }
        self.per_worker(page, "buckler_worker_failures", "Attempts that a worker failed", true, |worker| {
            worker.failures
        })?;
        self.per_worker(
            page,
            "buckler_worker_connect_failures",
            "Connections that a worker refused or that were not made in time",
            true,
            |worker| worker.connect_failures,
        )?;
        self.per_worker(page, "buckler_worker_active", "Attempts in progress", false, |worker| {
            worker.active
        })?;
        self.per_worker(
            page,
            "buckler_worker_connections",
            "Open connections to a worker",
            false,
            |worker| worker.connections,
        )?;
        self.per_worker(page, "buckler_worker_up", "1 if the worker gets its share", false, |worker| {
            u64::from(worker.up)
        })?;
        self.per_worker(page, "buckler_worker_weight", "The weight that is configured", false, |worker| {
            u64::from(worker.weight)
        })
    }

    fn dns(&self, page: &mut Page<'_>) -> fmt::Result {
        let with_dns = || self.services.iter().filter_map(|service| Some((service, service.dns?)));
        let help = "Age of the DNS answer in use";
        let mut family = page.family("buckler_dns_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (service, dns) in with_dns() {
            if let Some(age) = dns.age {
                family.gauge_f64(&[("service", service.name())], age.as_secs_f64())?;
            }
        }
        let mut family = page.counter("buckler_dns_failures", "DNS questions that failed")?;
        for (service, dns) in with_dns() {
            family.counter(&[("service", service.name())], dns.failures)?;
        }
        Ok(())
    }

    fn sums(
        &self,
        page: &mut Page<'_>,
        name: &'static str,
        help: &str,
        count: fn(&super::counts::ShardCounts) -> &crate::shard::Count,
    ) -> fmt::Result {
        let mut family = page.counter(name, help)?;
        for service in &self.services {
            family.counter(&[("service", service.name())], service.counts.shards.sum(count))?;
        }
        Ok(())
    }

    fn per_worker(
        &self,
        page: &mut Page<'_>,
        name: &'static str,
        help: &str,
        counter: bool,
        value: fn(&WorkerReading) -> u64,
    ) -> fmt::Result {
        let mut family = if counter { page.counter(name, help)? } else { page.gauge(name, help)? };
        for service in &self.services {
            for worker in &service.workers {
                let labels = [("service", service.name()), ("worker", &*worker.name)];
                if counter {
                    family.counter(&labels, value(worker))?;
                } else {
                    family.gauge(&labels, value(worker))?;
                }
            }
        }
        Ok(())
    }
}

impl ServiceReading {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl ProcessReading {
    fn limiter_and_config(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("buckler_limiter_keys", "Callers' quotas remembered now")?
            .gauge(&[], self.limiter_keys)?;
        page.counter("buckler_limiter_evictions", "Callers' quotas forgotten to make room")?
            .counter(&[], self.limiter_evictions)?;
        page.gauge("buckler_config_last_reload_success", "1 if the newest reload, or the start, succeeded")?
            .gauge(&[], u64::from(self.reload_ok))?;
        page.gauge(
            "buckler_config_last_reload_timestamp_seconds",
            "When the configuration in use was loaded",
        )?
        .gauge_f64(&[], seconds(self.reloaded_unix_micros))?;
        page.family("buckler_config_hash", "The configuration in use", None, MetricType::Info)?
            .info(&[("hash", self.config_hash.as_str())])
    }

    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counter(
            "buckler_access_log_dropped",
            "Access log lines lost because the disk could not keep up",
        )?
        .counter(&[], self.log_dropped)?;
        page.counter("buckler_access_log_write_errors", "Writes of the access log that failed")?
            .counter(&[], self.log_write_errors)?;
        page.counter("buckler_panics", "Panics that were caught")?.counter(&[], self.panics)?;
        page.counter("buckler_accept_errors", "Accepts that failed")?.counter(&[], self.accept_errors)?;
        page.family("buckler_build", "What runs here", None, MetricType::Info)?
            .info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let bytes = Some(&Unit::Bytes);
        let mut family =
            page.family("process_resident_memory", "Resident memory", bytes, MetricType::Gauge)?;
        if let Some(resident) = self.resident_bytes {
            family.gauge(&[], resident)?;
        }
        let mut family = page.gauge("process_open_fds", "Open file descriptors")?;
        if let Some(open) = self.open_fds {
            family.gauge(&[], open)?;
        }
        page.gauge("process_start_time_seconds", "When the process started, since 1970")?
            .gauge_f64(&[], seconds(self.started_unix_micros))
    }
}
