//! `health`: what is seen on the way, how many may be left out, and active checks whose keys fit their kind.

use std::sync::Arc;
use std::time::Duration;

use super::{Checker, SECOND, items, value};
use crate::config::collect::Located;
use crate::config::file::{self, Field};
use crate::config::report::{Code, Spot};
use crate::config::tree::shorten;
use crate::config::units::Span;
use crate::config::value::{ShareText, StatusText};
use crate::config::{Check, CheckKind, Health};

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3_600);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
/// So much of a body is looked at, and a text in it cannot be longer.
const LONGEST_BODY: usize = 64 << 10;
/// The longest name of a gRPC service.
const LONGEST_SERVICE: usize = 255;

/// A share as a number from 0 to 1.
pub(super) fn share(field: &Field<ShareText>, default: f64) -> f64 {
    value(field).map_or(default, |share| f64::from(share.0.0) / 100.0)
}

fn place<T>(field: &Field<T>) -> Option<Spot> {
    field.as_ref().map(|located| located.at)
}

impl Checker<'_> {
    pub(super) fn health(&mut self, service: &file::Service) -> Health {
        let default = Health::default();
        let Some(health) = value(&service.health) else { return default };
        Health {
            passive: value(&health.passive).copied().unwrap_or(default.passive),
            max_ejected: share(&health.max_ejected, default.max_ejected),
            check: health.check.as_ref().and_then(|check| self.check(check, service)),
        }
    }

    fn check(&mut self, located: &Located<file::Check>, service: &file::Service) -> Option<Arc<Check>> {
        let check = located.value.as_ref()?;
        let (interval, timeout) = self.check_times(check);
        Some(Arc::new(Check {
            kind: self.check_kind(check, service)?,
            interval,
            timeout,
            healthy_after: self.number(Some(&check.healthy_after), 2, 1, 100),
            unhealthy_after: self.number(Some(&check.unhealthy_after), 3, 1, 100),
            required_at_start: value(&check.required_at_start).copied().unwrap_or(false),
        }))
    }

    /// Interval and timeout. A check that outlasts its interval would meet the next one.
    fn check_times(&mut self, check: &file::Check) -> (Duration, Duration) {
        let interval = self.span(Some(&check.interval), 5 * SECOND, SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let default = SECOND.min(interval);
        let timeout = self.span(Some(&check.timeout), default, SHORTEST_TIMEOUT, LONGEST_INTERVAL);
        // An interval that is wrong is one error already.
        let is_known = check.interval.is_none() || value(&check.interval).is_some();
        if let Some(at) = place(&check.timeout).filter(|_| is_known && timeout > interval) {
            let of = match place(&check.interval) {
                Some(other) => format!("at {}", self.problems.place(other)),
                None => "by default".to_owned(),
            };
            let message =
                format!("`timeout: {}` is longer than `interval: {}` {of}", Span(timeout), Span(interval));
            let help = "give it less time, or a longer interval";
            self.error(Code::Contradiction, at, message, help);
        }
        (interval, timeout)
    }

    /// What is asked, if that is clear, and whether the other keys speak of it.
    fn check_kind(&mut self, check: &file::Check, service: &file::Service) -> Option<CheckKind> {
        let is_tcp = value(&service.protocol) == Some(&file::Protocol::Tcp);
        let default = if is_tcp { file::CheckKind::Tcp } else { file::CheckKind::Http };
        let kind = match &check.kind {
            Some(field) => field.value?,
            None => default,
        };
        let why = match (&check.kind, is_tcp) {
            (Some(field), _) => format!("at {}", self.problems.place(field.at)),
            (None, true) => "by default with `protocol: tcp`".to_owned(),
            (None, false) => "by default".to_owned(),
        };
        if let (Some(at), true) = (place(&check.kind), is_tcp && kind != file::CheckKind::Tcp) {
            let message = "this check speaks of requests, and `protocol: tcp` carries bytes without any";
            self.error(Code::Contradiction, at, message, "write `kind: tcp`, or `protocol: http`");
            return None;
        }
        self.keys_fit(check, kind, &why);
        match kind {
            file::CheckKind::Tcp => Some(CheckKind::Tcp),
            file::CheckKind::Http => Some(CheckKind::Http {
                path: value(&check.path).map_or_else(|| "/".into(), |path| path.0.clone()),
                host: value(&check.host).map(|host| host.0.clone()),
                status: self.good_statuses(&check.status),
                body: self.body_text(&check.body),
            }),
            file::CheckKind::Grpc => {
                self.speaks_http2(check, service);
                Some(CheckKind::Grpc { service: self.grpc_service(&check.service) })
            }
        }
    }

    /// Every key that speaks of another kind of check is an error, which names both places.
    fn keys_fit(&mut self, check: &file::Check, kind: file::CheckKind, why: &str) {
        use file::CheckKind::{Grpc, Http, Tcp};
        let keys = [
            ("path", place(&check.path), Http),
            ("host", place(&check.host), Http),
            ("status", place(&check.status), Http),
            ("body", place(&check.body), Http),
            ("service", place(&check.service), Grpc),
        ];
        let word = |kind| match kind {
            Http => "http",
            Tcp => "tcp",
            Grpc => "grpc",
        };
        for (key, at, of) in keys {
            let Some(at) = at.filter(|_| of != kind) else { continue };
            let (is, wants) = (word(kind), word(of));
            let message =
                format!("`{key}` belongs to a check of `kind: {wants}`, and this one is {is} {why}");
            self.error(Code::Contradiction, at, message, &format!("remove it, or write `kind: {wants}`"));
        }
    }

    /// gRPC is HTTP/2, which workers of `http1` do not speak.
    fn speaks_http2(&mut self, check: &file::Check, service: &file::Service) {
        let protocol = value(&service.workers).and_then(|workers| workers.protocol.as_ref());
        let http1 = protocol.is_none_or(|field| field.value == Some(file::WorkerProtocol::Http1));
        let Some(at) = place(&check.kind).filter(|_| http1) else { return };
        let of = match protocol {
            Some(field) => format!("at {}", self.problems.place(field.at)),
            None => "by default".to_owned(),
        };
        let message = format!("`kind: grpc` needs HTTP/2, and these workers speak HTTP/1.1 {of}");
        self.error(
            Code::Contradiction,
            at,
            message,
            "write `protocol: http2` under `workers`, or `kind: tcp`",
        );
    }

    fn good_statuses(&mut self, field: &Field<file::List<StatusText>>) -> Vec<std::ops::RangeInclusive<u16>> {
        let Some(located) = field else { return vec![200..=399] };
        if located.value.as_ref().is_some_and(Vec::is_empty) {
            let help = "write those that are good: `[200]`, `[200-299]`";
            self.error(Code::BadValue, located.at, "with no good status no check can succeed", help);
        }
        items(field).map(|(status, _)| status.0.clone()).collect()
    }

    fn body_text(&mut self, field: &Field<String>) -> Option<Arc<str>> {
        let located = field.as_ref()?;
        let text = located.value.as_ref()?;
        if text.is_empty() || text.len() > LONGEST_BODY {
            let message = match text.is_empty() {
                true => "an empty text stands in every body".to_owned(),
                false => format!("a text of {} bytes stands in no body that is looked at", text.len()),
            };
            let help = "write what a good answer holds, at most 64 KiB, or leave it out";
            self.error(Code::BadValue, located.at, message, help);
        }
        Some(text.as_str().into())
    }

    fn grpc_service(&mut self, field: &Field<String>) -> Arc<str> {
        let Some((located, name)) = field.as_ref().and_then(|field| Some((field, field.value.as_ref()?)))
        else {
            return "".into();
        };
        let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        if name.len() > LONGEST_SERVICE || !name.bytes().all(in_name) {
            let message = format!("`{}` is not the name of a gRPC service", shorten(name));
            let help = "write it with its package: `example.v1.Playlist`";
            self.error(Code::BadValue, located.at, message, help);
        }
        name.as_str().into()
    }
}
