//! Every metric that Buckler shows: its name, its labels, what it means. Encoded as OpenMetrics text.
//!
//! A [`Scrape`] is one reading of everything; `admin` takes it. What is told of workers, of the room for requests and
//! of the process stands in files of their own below, what is told of TLS in `handshakes.rs`. The label values of all
//! series come from the configuration, from closed sets (`labels.rs`) or from bounded tables (`callers.rs`,
//! `limited.rs`), so that no client can make series without end.

mod process;
mod room;
mod workers;

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
use super::labels::{CODES, METHODS};
use super::page::Page;
use crate::config::ServiceName;
use crate::refusal::Reason;

pub use process::ProcessReading;
pub use room::{CapacityReading, RoomReading};
pub use workers::{ChecksReading, SeatsReading, WorkerReading};

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
    /// Places for its requests, and how many may go on.
    pub room: RoomReading,
    /// Its DNS side; none for a written list.
    pub dns: Option<DnsReading>,
    /// Its certificates; none if it speaks no TLS.
    pub tls: Option<TlsReading>,
}

/// What is read of the DNS side of a service.
#[derive(Clone, Copy, Debug)]
pub struct DnsReading {
    /// The age of the answer in use; none before the first answer.
    pub age: Option<Duration>,
    /// Questions that failed since the start.
    pub failures: u64,
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
        self.room(&mut page)?;
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
}

impl ServiceReading {
    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }
}
