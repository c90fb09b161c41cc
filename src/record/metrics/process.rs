//! What `/metrics` tells of the process as a whole: its memory and files, its configuration, what it lost.

use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::record::page::{Page, seconds};

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
    /// How many configurations are in memory, the one in use among them.
    pub configurations: u64,
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

impl ProcessReading {
    pub(super) fn limiter_and_config(&self, page: &mut Page<'_>) -> fmt::Result {
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
        page.gauge("buckler_config_held", "Configurations in memory: the one in use, and earlier ones")?
            .gauge(&[], self.configurations)?;
        page.family("buckler_config_hash", "The configuration in use", None, MetricType::Info)?
            .info(&[("hash", self.config_hash.as_str())])
    }

    pub(super) fn process(&self, page: &mut Page<'_>) -> fmt::Result {
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
