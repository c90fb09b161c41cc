//! What the admin listener shows of a running service.

use std::sync::Arc;

use crate::admin::{Left, ServiceView};
use crate::clock::Moment;
use crate::service::Service;

/// A service as it is shown.
pub(super) fn service(service: &Arc<Service>) -> ServiceView {
    let (asked, workers) = (Arc::clone(service), Arc::clone(&service.workers));
    ServiceView {
        config: Arc::clone(&service.config),
        counts: Arc::clone(&service.counts),
        workers: Arc::clone(&service.workers),
        capacity: Arc::clone(&service.capacity),
        left: Box::new(move |name, now| left(&asked, name, now)),
        tls: service.tls.clone(),
        dns_failures: Box::new(move || workers.dns_failures()),
    }
}

/// What is left of a caller's quota.
fn left(service: &Service, name: &str, now: Moment) -> Option<Left> {
    let caller = service.callers.of_name(name)?;
    let rule = service.limits.own_rule(&caller, now)?;
    let standing = service.limits.peek(&caller, now);
    let in_progress = service.limits.in_progress(&caller, now);
    Some(Left {
        policy: rule.name.clone(),
        requests: standing.as_ref().map(|standing| u64::from(standing.remaining)),
        burst: standing.as_ref().map(|standing| u64::from(standing.quota)),
        in_progress: in_progress.map(|(now, _)| now),
        concurrent: in_progress.map(|(_, most)| most),
    })
}
