//! The certificates of a configuration: read before anything is swapped, and watched while it runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::generation::Failure;
use crate::clock::Moment;
use crate::config::{Config, ServiceName};
use crate::service::Service;
use crate::tls::watch::{self, Pace};
use crate::tls::{Finding, TlsTerms};

/// Files that are watched; dropping it ends that.
pub(super) struct Watching(AbortHandle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches the TLS files of these services. None: there are none.
pub(super) fn watch(services: &BTreeMap<ServiceName, Arc<Service>>) -> Option<Watching> {
    let terms = |(name, service): (&ServiceName, &Arc<Service>)| Some((name.clone(), service.tls.clone()?));
    let watched: Vec<_> = services.iter().filter_map(terms).collect();
    if watched.is_empty() {
        return None;
    }
    Some(Watching(tokio::task::spawn_local(watch::run(watched, Pace::default())).abort_handle()))
}

/// Reads the TLS files of every service. What is only to be warned of is logged.
///
/// # Errors
/// Everything that makes one of them unusable.
pub(super) fn prepare<'a>(
    config: &Config,
    before: &dyn Fn(&ServiceName) -> Option<&'a Arc<Service>>,
    now: Moment,
) -> Result<HashMap<ServiceName, Arc<TlsTerms>>, Failure> {
    let (mut prepared, mut faults) = (HashMap::new(), Vec::new());
    for (name, wanted) in &config.services {
        let old = before(name).and_then(|service| service.tls.as_deref());
        match TlsTerms::new(wanted, old, now) {
            Ok((terms, findings)) => {
                log(name, &findings);
                prepared.extend(terms.map(|terms| (name.clone(), terms)));
            }
            Err(findings) => faults.extend(findings.iter().filter(|f| f.is_error()).map(Finding::to_string)),
        }
    }
    if faults.is_empty() { Ok(prepared) } else { Err(Failure::Config(faults.join("\n"))) }
}

/// Says in the log what there is to say about the files of a service.
fn log(service: &ServiceName, findings: &[Finding]) {
    for finding in findings {
        if finding.is_error() {
            tracing::error!(%service, "{finding}");
        } else {
            tracing::warn!(%service, "{finding}");
        }
    }
}
