//! One line of the access log, written by hand: a JSON library costs ten times as much, and this must never be more
//! than one valid line, whatever bytes a client sent. How a value is written stands in `spelling.rs`.

use std::time::Duration;

use http::Version;

use super::outcome::Outcome;
use super::spelling::{Second, address, escape_combined, escape_json, number, seconds};
use super::told::{Part, Told};
use crate::clock::Moment;
use crate::config::{LogFormat, ServiceName};

/// The beginning of a member whose value is a text, or something else.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":\"").as_bytes()
    };
    ($name:literal, bare) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// What a line tells.
pub(super) struct Line<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) service: &'a ServiceName,
    pub(super) now: Moment,
    pub(super) suppressed: u64,
}

impl Line<'_> {
    /// Appends the line and its end.
    pub(super) fn write(&self, format: LogFormat, second: &mut Second, out: &mut Vec<u8>) {
        second.turn_to(self.now.unix_micros);
        match format {
            LogFormat::Json => self.json(second, out),
            LogFormat::Combined => self.combined(second, out),
            LogFormat::Off => {}
        }
    }

    fn json(&self, second: &Second, out: &mut Vec<u8>) {
        let outcome = self.outcome;
        out.extend_from_slice(b"{\"ts\":\"");
        second.rfc_3339(self.now.unix_micros, out);
        out.push(b'"');
        let told = outcome.told.as_deref();
        part(out, key!("request_id"), told, Part::RequestId);
        word(out, key!("service"), self.service.as_str().as_bytes());
        self.addresses(out);
        if let Some(caller) = &outcome.caller {
            text(out, key!("caller"), outcome.caller_name().map(|name| &**name));
            word(out, key!("caller_via"), caller.via.as_bytes());
            text(out, key!("tier"), outcome.tier_name().map(|name| &**name));
        }
        let head = told.filter(|told| told.get(Part::Method).is_some());
        if let Some(head) = head {
            word(out, key!("method"), head.get(Part::Method).unwrap_or_default());
            part(out, key!("host"), told, Part::Host);
            out.extend_from_slice(key!("path"));
            escape_json(path(head), out);
            if let Some(query) = head.get(Part::Query) {
                out.push(b'?');
                escape_json(query, out);
            }
            out.push(b'"');
        }
        if !outcome.tcp {
            count(out, key!("status", bare), u64::from(outcome.final_status()));
        }
        if let Some(status) = outcome.grpc_status {
            count(out, key!("grpc_status", bare), u64::from(status));
        }
        self.json_why(out);
        if let Some(told) = told.filter(|told| told.get(Part::Worker).is_some()) {
            part(out, key!("worker"), Some(told), Part::Worker);
            count(out, key!("worker_priority", bare), u64::from(told.priority));
        }
        count(out, key!("attempts", bare), u64::from(outcome.attempts));
        count(out, key!("bytes_in", bare), outcome.bytes_in);
        count(out, key!("bytes_out", bare), outcome.bytes_out);
        took(out, key!("t_total", bare), Some(self.now.since(outcome.begun)));
        took(out, key!("t_queue", bare), outcome.queued);
        took(out, key!("t_connect", bare), told.and_then(|told| told.connect));
        took(out, key!("t_ttfb", bare), told.and_then(|told| told.first_byte));
        text(out, key!("tunnel_end"), outcome.tunnel.as_ref().map(|tunnel| tunnel.end.word()));
        if outcome.tcp {
            word(out, key!("proto"), b"TCP");
        }
        if let Some(head) = head {
            word(out, key!("proto"), protocol(head.version).as_bytes());
            part(out, key!("user_agent"), told, Part::UserAgent);
        }
        if self.suppressed > 0 {
            count(out, key!("suppressed", bare), self.suppressed);
        }
        out.extend_from_slice(b"}\n");
    }

    /// The client's, and the peer's, which is nearly always the same.
    fn addresses(&self, out: &mut Vec<u8>) {
        let (client, peer) = (self.outcome.client, self.outcome.peer.ip());
        out.extend_from_slice(key!("client_ip"));
        let begin = out.len();
        address(client, out);
        let shown = begin..out.len();
        out.push(b'"');
        out.extend_from_slice(key!("peer_ip"));
        if peer == client {
            out.extend_from_within(shown);
        } else {
            address(peer, out);
        }
        out.push(b'"');
    }

    fn json_why(&self, out: &mut Vec<u8>) {
        let outcome = self.outcome;
        text(out, key!("reason"), outcome.reason().map(crate::refusal::Reason::word));
        if outcome.fallback {
            out.extend_from_slice(b",\"fallback\":true");
        }
        if let Some(rule) = outcome.refusal.as_ref().and_then(|refusal| refusal.rule.as_ref()) {
            text(out, key!("rule"), Some(&rule.name));
            if !rule.at.is_empty() {
                text(out, key!("rule_at"), Some(&rule.at));
            }
        }
        let shadows = outcome.told.as_ref().map(|told| &*told.shadows).unwrap_or_default();
        if shadows.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"shadow\":[");
        for (n, (rule, reason)) in shadows.iter().enumerate() {
            out.extend_from_slice(if n == 0 { b"{\"rule\":\"" } else { b",{\"rule\":\"" });
            escape_json(rule.name.as_bytes(), out);
            out.push(b'"');
            text(out, key!("rule_at"), Some(&rule.at));
            word(out, key!("reason"), reason.word().as_bytes());
            out.push(b'}');
        }
        out.push(b']');
    }

    /// Apache's combined format; with the caller's name as the user.
    fn combined(&self, second: &Second, out: &mut Vec<u8>) {
        let outcome = self.outcome;
        let told = outcome.told.as_deref();
        address(outcome.client, out);
        out.extend_from_slice(b" - ");
        match outcome.caller_name() {
            Some(name) => escape_combined(name.as_bytes(), out),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" [");
        second.apache(out);
        out.extend_from_slice(b"] \"");
        match told.and_then(|told| Some((told, told.get(Part::Method)?))) {
            Some((head, method)) => {
                out.extend_from_slice(method);
                out.push(b' ');
                escape_combined(path(head), out);
                if let Some(query) = head.get(Part::Query) {
                    out.push(b'?');
                    escape_combined(query, out);
                }
                out.push(b' ');
                out.extend_from_slice(protocol(head.version).as_bytes());
            }
            None => out.push(b'-'),
        }
        out.extend_from_slice(b"\" ");
        match outcome.tcp {
            true => out.push(b'-'),
            false => number(u64::from(outcome.final_status()), out),
        }
        out.push(b' ');
        number(outcome.bytes_out, out);
        for part in [Part::Referer, Part::UserAgent] {
            out.extend_from_slice(b" \"");
            escape_combined(outcome.part(part).unwrap_or(b"-"), out);
            out.push(b'"');
        }
        out.push(b'\n');
    }
}

/// What CONNECT asks for has none.
fn path(head: &Told) -> &[u8] {
    let path = head.get(Part::Path).filter(|_| head.get(Part::Method) != Some(b"CONNECT"));
    path.unwrap_or_default()
}

// Keys are copied in place, since each is known where it is written: hence always inlined, here and below.

/// A word of ours, a method or the name of a service: nothing in it has to be escaped.
#[inline(always)]
fn word(out: &mut Vec<u8>, key: &[u8], word: &[u8]) {
    out.extend_from_slice(key);
    out.extend_from_slice(word);
    out.push(b'"');
}

#[inline(always)]
fn text(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        escaped(out, key, value.as_bytes());
    }
}

#[inline(always)]
fn part(out: &mut Vec<u8>, key: &[u8], told: Option<&Told>, part: Part) {
    if let Some(value) = told.and_then(|told| told.get(part)) {
        escaped(out, key, value);
    }
}

#[inline(always)]
fn escaped(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    escape_json(value, out);
    out.push(b'"');
}

#[inline(always)]
fn count(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    number(value, out);
}

#[inline(always)]
fn took(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        seconds(value, out);
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/3",
    }
}
