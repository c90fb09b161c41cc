//! The certificates of a configuration: read before anything is swapped, and watched while it runs.

use std::collections::HashMap;
use std::sync::Arc;

use super::generation::Failure;
use crate::clock::Moment;
use crate::config::{Config, ServiceName};
use crate::service::Service;
use crate::tls::{Finding, TlsTerms};

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
