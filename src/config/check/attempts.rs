//! `retries`, `timeouts.deadline_header` and `fallback`: what is tried again, what workers are told of the time left,
//! and what is answered instead. Also which headers an operator may name.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::health::share;
use super::{Checker, entries, items, value};
use crate::config::collect::{Located, Named};
use crate::config::file::{self, Field};
use crate::config::report::{Code, Spot};
use crate::config::tree::shorten;
use crate::config::{Callers, Fallback, Retries};

/// The longest body of a fallback.
const LONGEST_BODY: usize = 64 << 10;
/// So many headers may a fallback have, and so many bytes in each: well within what every client takes.
const MOST_HEADERS: usize = 64;
const LONGEST_VALUE: usize = 8 << 10;

/// Whether this header frames a message or belongs to one hop (RFC 9110 section 7.6.1, RFC 9112 section 6).
pub(super) fn is_of_one_hop(name: &HeaderName) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "content-length",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

/// Whether Buckler itself sets this header in an answer.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "x-request-id" | "ratelimit" | "ratelimit-policy") || name.starts_with("x-buckler-")
}

/// Whether this header of a request has a meaning of its own that a number of milliseconds would destroy.
fn is_taken(name: &HeaderName) -> bool {
    const NAMES: [&str; 12] = [
        "authorization",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "grpc-timeout",
        "host",
        "range",
        "via",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-request-id",
    ];
    let name = name.as_str();
    NAMES.contains(&name)
        || matches!(name, "x-forwarded-host" | "x-forwarded-proto")
        || name.starts_with("x-buckler-")
}

impl Checker<'_> {
    /// `retries`, or `retry`.
    pub(super) fn retries(&mut self, service: &file::Service) -> Retries {
        if let (Some(one), Some(other)) = (&service.retries, &service.retry) {
            let (first, second, key) =
                if one.at < other.at { (one, other, "retries") } else { (other, one, "retry") };
            let place = self.problems.place(first.at);
            let message =
                format!("`retries` and `retry` are the same, and `{key}` is already written at {place}");
            self.error(Code::Contradiction, second.at, message, "write all of it under `retries`");
        }
        let default = Retries::default();
        let Some(written) = value(&service.retries).or(value(&service.retry)) else { return default };
        let attempts = self.number(Some(&written.attempts), default.attempts, 1, 10);
        let on = self.retried_statuses(&written.on);
        if let (1, Some(at), Some(of)) = (attempts, &written.on, &written.attempts)
            && !on.is_empty()
        {
            let place = self.problems.place(of.at);
            let message = format!("`on`, and `attempts: 1` at {place} never tries again");
            self.error(Code::Contradiction, at.at, message, "write `attempts: 2`, or remove `on`");
        }
        let budget = share(&written.budget, default.budget);
        if let (true, Some(at), Some(of)) = (budget <= 0.0 && !on.is_empty(), &written.on, &written.budget) {
            let place = self.problems.place(of.at);
            let message = format!("`on`, and `budget: 0%` at {place} never tries again");
            self.error(Code::Contradiction, at.at, message, "write `budget: 20%`, or remove `on`");
        }
        Retries { attempts, budget, on }
    }

    fn retried_statuses(&mut self, field: &Field<file::List<u16>>) -> Vec<StatusCode> {
        let mut statuses = Vec::new();
        for (number, at) in items(field) {
            let status = StatusCode::from_u16(*number).ok().filter(|_| (500..=599).contains(number));
            match status {
                None => {
                    let message = format!("a status of {number} is no failure of a worker");
                    self.error(Code::BadValue, at, message, "write statuses from 500 to 599: `[502, 503]`");
                }
                Some(status) if statuses.contains(&status) => {
                    let message = format!("{number} is written twice");
                    self.error(Code::GivenTwice, at, message, "remove one");
                }
                Some(status) => statuses.push(status),
            }
        }
        statuses
    }

    /// `timeouts.deadline_header`, which tells what is left of `timeouts.total`.
    pub(super) fn deadline_header(
        &mut self,
        service: &file::Service,
        callers: &Callers,
    ) -> Option<HeaderName> {
        let timeouts = value(&service.timeouts)?;
        let located = timeouts.deadline_header.as_ref()?;
        let name = &located.value.as_ref()?.0;
        match &timeouts.total {
            None => {
                let message = "`deadline_header` without `total`: there is no time to tell of";
                self.error(Code::Contradiction, located.at, message, "write `total: 5s` beside it");
            }
            Some(total) if total.value.as_ref().is_some_and(|total| total.0.is_none()) => {
                let place = self.problems.place(total.at);
                let message =
                    format!("`deadline_header`, and `total` is off at {place}: there is no time to tell of");
                self.error(Code::Contradiction, located.at, message, "write `total: 5s`, or remove this");
            }
            Some(_) => {}
        }
        if is_of_one_hop(name) || is_taken(name) || *name == callers.api_key_header {
            let message = format!("`{name}` already means something else in a request");
            self.error(Code::BadValue, located.at, message, "write a name of your own: `x-timeout-ms`");
        }
        Some(name.clone())
    }

    pub(super) fn fallback(&mut self, field: &Field<file::Fallback>) -> Option<Arc<Fallback>> {
        let fallback = field.as_ref()?.value.as_ref()?;
        let status = self.fallback_status(&fallback.status);
        let body = value(&fallback.body).map_or("", String::as_str);
        if let Some(at) = fallback.body.as_ref().map(|body| body.at) {
            self.body_fits(body, at, status, fallback.status.as_ref());
        }
        Some(Arc::new(Fallback {
            status,
            headers: self.fallback_headers(&fallback.headers),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }))
    }

    fn fallback_status(&mut self, field: &Field<u16>) -> StatusCode {
        let Some((number, at)) = field.as_ref().and_then(|field| Some((field.value?, field.at))) else {
            return StatusCode::OK;
        };
        let status = StatusCode::from_u16(number).ok().filter(|_| (200..=599).contains(&number));
        status.unwrap_or_else(|| {
            self.error(Code::BadValue, at, format!("{number} is out of bounds"), "write 200 to 599");
            StatusCode::OK
        })
    }

    fn body_fits(&mut self, body: &str, at: Spot, status: StatusCode, of: Option<&Located<u16>>) {
        if body.len() > LONGEST_BODY {
            let message = format!("this body has {} bytes", body.len());
            self.error(Code::BadValue, at, message, "write at most 65536; callers need a small answer now");
        }
        // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
        if let (204 | 205 | 304, Some(of), false) = (status.as_u16(), of, body.is_empty()) {
            let place = self.problems.place(of.at);
            let message = format!("a `body`, and `status: {}` at {place} has none", status.as_u16());
            self.error(Code::Contradiction, at, message, "remove it, or write `status: 200`");
        }
    }

    fn fallback_headers(&mut self, field: &Field<Named<String>>) -> HeaderMap {
        let written = entries(field);
        if let Some(many) = field.as_ref().filter(|_| written.len() > MOST_HEADERS) {
            let message = format!("{} headers", written.len());
            self.error(Code::BadValue, many.at, message, &format!("write at most {MOST_HEADERS}"));
        }
        let mut headers = HeaderMap::new();
        for (key, text) in written.iter().take(MOST_HEADERS) {
            let Some(name) = key.value.as_ref().and_then(|name| self.fallback_header(name, key.at)) else {
                continue;
            };
            if headers.contains_key(&name) {
                let message = format!("the header `{name}` is written twice");
                self.error(Code::GivenTwice, key.at, message, "remove one");
                continue;
            }
            let Some(written) = &text.value else { continue };
            let visible = written.len() <= LONGEST_VALUE
                && written.trim() == written
                && written.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            match HeaderValue::from_str(written) {
                Ok(value) if visible => drop(headers.insert(name, value)),
                _ => {
                    let message = format!("`{}` cannot be the value of a header", shorten(written));
                    let help = "write characters of ASCII without line breaks, and no space at either end";
                    self.error(Code::BadValue, text.at, message, help);
                }
            }
        }
        headers
    }

    fn fallback_header(&mut self, written: &str, at: Spot) -> Option<HeaderName> {
        let Ok(name) = written.parse::<HeaderName>() else {
            let message = format!("`{}` is not the name of a header", shorten(written));
            self.error(Code::BadValue, at, message, "write one like `content-type`");
            return None;
        };
        if is_of_one_hop(&name) || is_ours(&name) {
            let message = format!("`{name}` is set by Buckler where it is due");
            self.error(Code::BadValue, at, message, "remove it");
            return None;
        }
        Some(name)
    }
}
