//! TLS in numbers: the handshakes of one service on one shard, by how they ended and by version; and how the page of
//! metrics shows them beside the certificates.

use std::fmt;

use super::metrics::Scrape;
use super::page::Page;
use crate::shard::Count;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Finished.
    Ok,
    /// One of the two sides did not agree, or the client went away.
    Failed,
    /// Not finished within `timeouts.handshake`.
    Timeout,
    /// Not begun: more than `bounds.handshakes` were in progress.
    Refused,
}

/// The words behind the label `result`, in the order of [`Handshake`].
pub const RESULTS: [&str; 4] = ["ok", "failed", "timeout", "refused"];

/// The values of the label `version`: what was agreed on, and nothing if it did not come to that.
pub const VERSIONS: [&str; 3] = ["TLSv1.2", "TLSv1.3", ""];

/// What one shard counts of one service's handshakes.
#[derive(Debug, Default)]
pub struct Handshakes {
    counts: [[Count; VERSIONS.len()]; RESULTS.len()],
    /// Of those that finished: how many went on with an earlier session.
    pub resumed: Count,
}

impl Handshakes {
    /// Counts one; only the owning shard may call it. `version` is `TLSv1.2`, `TLSv1.3` or nothing.
    pub fn add(&self, result: Handshake, version: &str) {
        let version = VERSIONS.iter().position(|known| *known == version).unwrap_or(VERSIONS.len() - 1);
        self.counts[result as usize][version].add(1);
    }

    /// One count, by places in [`RESULTS`] and [`VERSIONS`].
    pub fn count(&self, result: usize, version: usize) -> &Count {
        &self.counts[result][version]
    }
}

/// What is read of a service that speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsReading {
    /// Its certificates by file, and the last second of each in seconds since 1970.
    pub certificates: Vec<(String, i64)>,
    /// Whether the files hold others, which cannot be used.
    pub stale: bool,
    /// How often new files could not be used.
    pub failures: u64,
}

impl Scrape {
    /// Everything about TLS, of the services that speak it.
    pub(super) fn tls(&self, page: &mut Page<'_>) -> fmt::Result {
        let with_tls = || self.services.iter().filter_map(|service| Some((service, service.tls.as_ref()?)));
        let mut family = page.counter(
            "buckler_tls_handshakes",
            "TLS handshakes by how they ended, and the version if it came to one",
        )?;
        for (service, _) in with_tls() {
            for (result, result_word) in RESULTS.iter().enumerate() {
                for (version, version_word) in VERSIONS.iter().enumerate() {
                    let n = service.counts.shards.sum(|shard| shard.handshakes.count(result, version));
                    let labels = [
                        ("service", service.name.as_str()),
                        ("result", *result_word),
                        ("version", *version_word),
                    ];
                    // Most of the combinations cannot be.
                    if n > 0 {
                        family.counter(&labels, n)?;
                    }
                }
            }
        }
        let mut family =
            page.counter("buckler_tls_resumed", "Handshakes that went on with an earlier session")?;
        for (service, _) in with_tls() {
            let n = service.counts.shards.sum(|shard| &shard.handshakes.resumed);
            family.counter(&[("service", service.name.as_str())], n)?;
        }
        let mut family = page
            .gauge("buckler_tls_certificate_expiry_seconds", "When a certificate in use ends, since 1970")?;
        for (service, tls) in with_tls() {
            for (file, not_after) in &tls.certificates {
                let labels = [("service", service.name.as_str()), ("certificate", file.as_str())];
                family.gauge_f64(&labels, *not_after as f64)?;
            }
        }
        let mut family = page.gauge(
            "buckler_tls_certificates_stale",
            "1 if the files hold new certificates that cannot be used, and older ones are in use",
        )?;
        for (service, tls) in with_tls() {
            family.gauge(&[("service", service.name.as_str())], u64::from(tls.stale))?;
        }
        let mut family =
            page.counter("buckler_tls_reload_failures", "New certificate files that could not be used")?;
        for (service, tls) in with_tls() {
            family.counter(&[("service", service.name.as_str())], tls.failures)?;
        }
        Ok(())
    }
}
