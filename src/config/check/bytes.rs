//! `protocol: tcp`: Buckler carries bytes and sees no request, so keys about requests are errors, not silence.

use super::{Checker, items, value};
use crate::config::collect::Located;
use crate::config::file::{self, Field};
use crate::config::report::{Code, Spot};

/// A key that may be written, by its name, with its place if it is.
type Key = (&'static str, Option<Spot>);

impl Checker<'_> {
    /// Everything written in a service of bytes that speaks of requests.
    pub(super) fn only_bytes(&mut self, service: &file::Service) {
        if value(&service.protocol) != Some(&file::Protocol::Tcp) {
            return;
        }
        let mut keys: Vec<Key> = vec![
            ("forward_client_certificate", place(&service.forward_client_certificate)),
            ("upgrades", place(&service.upgrades)),
            ("connections", place(&service.connections)),
            ("retries", place(&service.retries)),
            ("retry", place(&service.retry)),
            ("fallback", place(&service.fallback)),
        ];
        if let Some(workers) = value(&service.workers) {
            keys.push(("workers.protocol", place(&workers.protocol)));
            let header = value(&workers.balance).and_then(|balance| place(&balance.header));
            keys.push(("workers.balance.header", header));
        }
        if let Some(limits) = value(&service.limits) {
            keys.extend([("limits.headers", place(&limits.headers)), ("limits.costs", place(&limits.costs))]);
        }
        keys.extend(value(&service.permissions).into_iter().flat_map(of_rules));
        keys.extend(value(&service.timeouts).into_iter().flat_map(of_timeouts));
        if service.proxy_protocol.as_ref().is_some_and(|field| field.value != Some(false)) {
            // So long may a PROXY header take.
            keys.retain(|(key, _)| *key != "timeouts.head");
        }
        keys.extend(value(&service.bounds).into_iter().flat_map(of_bounds));
        for (key, at) in keys {
            let Some(at) = at else { continue };
            let message =
                format!("`{key}` speaks of requests, and `protocol: tcp` carries bytes without any");
            self.error(Code::Contradiction, at, message, "remove it, or write `protocol: http`");
        }
    }
}

fn of_rules(permissions: &file::Permissions) -> Vec<Key> {
    let rules = items(&permissions.rules).flat_map(|(rule, _)| rule.allow.iter().chain(&rule.deny));
    let matches = rules.filter_map(|matches| matches.value.as_ref());
    let keys = matches.flat_map(|m| {
        [("methods", place(&m.methods)), ("hosts", place(&m.hosts)), ("paths", place(&m.paths))]
    });
    keys.collect()
}

/// All but `handshake`, `connect` and `tunnel`.
fn of_timeouts(timeouts: &file::Timeouts) -> [Key; 8] {
    [
        ("timeouts.head", place(&timeouts.head)),
        ("timeouts.body", place(&timeouts.body)),
        ("timeouts.send", place(&timeouts.send)),
        ("timeouts.keep_alive", place(&timeouts.keep_alive)),
        ("timeouts.response", place(&timeouts.response)),
        ("timeouts.idle", place(&timeouts.idle)),
        ("timeouts.total", place(&timeouts.total)),
        ("timeouts.deadline_header", place(&timeouts.deadline_header)),
    ]
}

/// All but `connections`, `handshakes` and `worker_connections`.
fn of_bounds(bounds: &file::Bounds) -> [Key; 8] {
    [
        ("bounds.head_bytes", place(&bounds.head_bytes)),
        ("bounds.head_fields", place(&bounds.head_fields)),
        ("bounds.uri_bytes", place(&bounds.uri_bytes)),
        ("bounds.body_bytes", place(&bounds.body_bytes)),
        ("bounds.upload_rate", place(&bounds.upload_rate)),
        ("bounds.response_head_bytes", place(&bounds.response_head_bytes)),
        ("bounds.streams", place(&bounds.streams)),
        ("bounds.worker_streams", place(&bounds.worker_streams)),
    ]
}

fn place<T>(field: &Field<T>) -> Option<Spot> {
    field.as_ref().map(|Located { at, .. }| *at)
}
