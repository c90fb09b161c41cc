//! One line of the access log, written by hand: a JSON library costs ten times as much, and this must never be more
//! than one valid line, whatever bytes a client sent.

use std::io::Write;
use std::time::Duration;

use http::{Method, Version};

use super::outcome::Outcome;
use super::tunnel::TunnelEnd;
use crate::clock::Moment;
use crate::config::{self, LogFormat, ServiceName};

/// What a line tells.
pub(super) struct Line<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) service: &'a ServiceName,
    pub(super) now: Moment,
    pub(super) suppressed: u64,
}

impl Line<'_> {
    /// Appends the line and its end.
    pub(super) fn write(&self, settings: &config::AccessLog, out: &mut Vec<u8>) {
        match settings.format {
            LogFormat::Json => self.json(settings.query, out),
            LogFormat::Combined => self.combined(settings.query, out),
            LogFormat::Off => {}
        }
    }

    fn json(&self, query: bool, out: &mut Vec<u8>) {
        let outcome = self.outcome;
        out.extend_from_slice(b"{\"ts\":\"");
        write_timestamp(self.now.unix_micros, out);
        out.push(b'"');
        text(out, "request_id", outcome.id_text());
        text(out, "service", Some(self.service.as_str()));
        shown(out, "client_ip", outcome.client);
        shown(out, "peer_ip", outcome.peer.ip());
        if let Some(caller) = &outcome.caller {
            text(out, "caller", outcome.caller_name().map(|name| &**name));
            text(out, "caller_via", Some(caller.via));
            text(out, "tier", outcome.tier_name());
        }
        if let Some(head) = outcome.head() {
            text(out, "method", Some(head.method.as_str()));
            bytes(out, "host", outcome.field("host"));
            key(out, "path");
            self.target(query, out, escape_json);
            out.push(b'"');
        }
        if !outcome.tcp {
            number(out, "status", u64::from(outcome.final_status()));
        }
        if let Some(status) = outcome.grpc_status {
            number(out, "grpc_status", u64::from(status));
        }
        self.json_why(out);
        if let Some((worker, priority)) = outcome.told.as_ref().and_then(|told| told.worker.as_ref()) {
            text(out, "worker", Some(worker));
            number(out, "worker_priority", u64::from(*priority));
        }
        number(out, "attempts", u64::from(outcome.attempts));
        number(out, "bytes_in", outcome.bytes_in);
        number(out, "bytes_out", outcome.bytes_out);
        seconds(out, "t_total", Some(self.now.since(outcome.begun)));
        seconds(out, "t_queue", outcome.queued);
        seconds(out, "t_connect", outcome.told.as_ref().and_then(|told| told.connect));
        seconds(out, "t_ttfb", outcome.told.as_ref().and_then(|told| told.first_byte));
        text(out, "tunnel_end", outcome.tunnel.map(TunnelEnd::word));
        if outcome.tcp {
            text(out, "proto", Some("TCP"));
        }
        if let Some(head) = outcome.head() {
            text(out, "proto", Some(protocol(head.version)));
            bytes(out, "user_agent", outcome.field("user-agent"));
        }
        if self.suppressed > 0 {
            number(out, "suppressed", self.suppressed);
        }
        out.extend_from_slice(b"}\n");
    }

    fn json_why(&self, out: &mut Vec<u8>) {
        let outcome = self.outcome;
        text(out, "reason", outcome.reason().map(crate::refusal::Reason::word));
        if outcome.fallback {
            out.extend_from_slice(b",\"fallback\":true");
        }
        if let Some(rule) = outcome.refusal.as_ref().and_then(|refusal| refusal.rule.as_ref()) {
            text(out, "rule", Some(&rule.name));
            if !rule.at.is_empty() {
                text(out, "rule_at", Some(&rule.at));
            }
        }
        if outcome.shadows.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"shadow\":[");
        for (n, (rule, reason)) in outcome.shadows.iter().enumerate() {
            out.extend_from_slice(if n == 0 { b"{\"rule\":\"" } else { b",{\"rule\":\"" });
            escape_json(rule.name.as_bytes(), out);
            out.push(b'"');
            text(out, "rule_at", Some(&rule.at));
            text(out, "reason", Some(reason.word()));
            out.push(b'}');
        }
        out.push(b']');
    }

    /// Apache's combined format; with the caller's name as the user.
    fn combined(&self, query: bool, out: &mut Vec<u8>) {
        let outcome = self.outcome;
        let _ = write!(out, "{} - ", outcome.client);
        match outcome.caller_name() {
            Some(name) => escape_combined(name.as_bytes(), out),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" [");
        combined_time(self.now.unix_micros, out);
        out.extend_from_slice(b"] \"");
        if let Some(head) = outcome.head() {
            escape_combined(head.method.as_str().as_bytes(), out);
            out.push(b' ');
            self.target(query, out, escape_combined);
            out.push(b' ');
            out.extend_from_slice(protocol(head.version).as_bytes());
        } else {
            out.push(b'-');
        }
        let _ = match outcome.tcp {
            true => write!(out, "\" - {}", outcome.bytes_out),
            false => write!(out, "\" {} {}", outcome.final_status(), outcome.bytes_out),
        };
        for name in ["referer", "user-agent"] {
            out.extend_from_slice(b" \"");
            escape_combined(outcome.field(name).unwrap_or(b"-"), out);
            out.push(b'"');
        }
        out.push(b'\n');
    }

    fn target(&self, query: bool, out: &mut Vec<u8>, escape: fn(&[u8], &mut Vec<u8>)) {
        let Some(head) = self.outcome.head() else { return };
        let path = if head.method == Method::CONNECT { "" } else { head.target.path() };
        escape(path.as_bytes(), out);
        if let (true, Some(query)) = (query, head.target.query()) {
            out.push(b'?');
            escape(query.as_bytes(), out);
        }
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    key(out, name);
    escape_json(value.as_bytes(), out);
    out.push(b'"');
}

fn bytes(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let Some(value) = value else { return };
    key(out, name);
    escape_json(value, out);
    out.push(b'"');
}

fn shown(out: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    key(out, name);
    let _ = write!(out, "{value}");
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Seconds with microseconds, as a number.
fn seconds(out: &mut Vec<u8>, name: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    number(out, name, value.as_secs());
    out.push(b'.');
    digits(u64::from(value.subsec_micros()), 6, out);
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

/// Escapes as RFC 8259 section 7. Bytes that are not UTF-8 are read as Latin-1, as old clients mean them.
pub(super) fn escape_json(value: &[u8], out: &mut Vec<u8>) {
    // Nearly always all of it is UTF-8, and that is found out several times faster in one piece.
    if let Ok(valid) = std::str::from_utf8(value) {
        return escape_valid(valid, out);
    }
    for chunk in value.utf8_chunks() {
        escape_valid(chunk.valid(), out);
        chunk.invalid().iter().for_each(|byte| unicode(*byte, out));
    }
}

fn escape_valid(value: &str, out: &mut Vec<u8>) {
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, 0..0x20 | b'"' | b'\\' | 0x7f)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            special @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', special]),
            control => unicode(control, out),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn unicode(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u00");
    hex(byte, out);
}

/// Escapes as Apache does: what is not printable ASCII as `\xhh`.
fn escape_combined(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => {
                out.extend_from_slice(b"\\x");
                hex(*byte, out);
            }
        }
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// A time in microseconds since 1970 as RFC 3339 in UTC, to the microsecond.
pub fn timestamp(unix_micros: u64) -> String {
    let mut out = Vec::with_capacity(27);
    write_timestamp(unix_micros, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn write_timestamp(unix_micros: u64, out: &mut Vec<u8>) {
    let time = Civil::of(unix_micros / 1_000_000);
    for (value, width, end) in [
        (time.year, 4, b'-'),
        (time.month, 2, b'-'),
        (time.day, 2, b'T'),
        (time.hour, 2, b':'),
        (time.minute, 2, b':'),
        (time.second, 2, b'.'),
        (unix_micros % 1_000_000, 6, b'Z'),
    ] {
        digits(value, width, out);
        out.push(end);
    }
}

/// `10/Oct/2000:13:55:36 +0000`.
fn combined_time(unix_micros: u64, out: &mut Vec<u8>) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = Civil::of(unix_micros / 1_000_000);
    let month = MONTHS[(time.month as usize - 1) % 12];
    let _ = write!(
        out,
        "{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000",
        time.day, time.year, time.hour, time.minute, time.second
    );
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// The date of a second since 1970, by eras of 400 years that begin on 1 March, so that the leap day comes last.
    fn of(unix: u64) -> Self {
        let days = unix / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        Self {
            year: era * 400 + year + u64::from(month <= 2),
            month,
            day,
            hour: unix / 3_600 % 24,
            minute: unix / 60 % 60,
            second: unix % 60,
        }
    }
}

fn digits(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_868_800_000_001, "2000-03-01T00:00:00.000001Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (1_798_761_600_000_000, "2027-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(micros), text);
        }
    }

    proptest! {
        #[test]
        fn escaped_bytes_are_always_a_json_string(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut out = vec![b'"'];
            escape_json(&bytes, &mut out);
            out.push(b'"');
            prop_assert!(out.iter().all(|b| *b >= 0x20));
            let text: String = serde_json::from_slice(&out).unwrap();
            if let Ok(valid) = std::str::from_utf8(&bytes) {
                prop_assert_eq!(text, valid);
            }
        }
    }
}
