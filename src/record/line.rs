//! One line of the access log, written by hand: a JSON library costs ten times as much, and this must never be more
//! than one valid line, whatever bytes a client sent.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use http::{Method, Version};

use super::outcome::Outcome;
use crate::clock::Moment;
use crate::config::{self, LogFormat, ServiceName};

/// The beginning of a member whose value is a text, or something else.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":\"")
    };
    ($name:literal, bare) => {
        concat!(",\"", $name, "\":")
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
        let told = outcome.told.as_deref();
        text(out, key!("request_id"), outcome.id_text());
        word(out, key!("service"), self.service.as_str());
        address(out, key!("client_ip"), outcome.client);
        address(out, key!("peer_ip"), outcome.peer.ip());
        if let Some(caller) = &outcome.caller {
            text(out, key!("caller"), outcome.caller_name().map(|name| &**name));
            word(out, key!("caller_via"), caller.via);
            text(out, key!("tier"), outcome.tier_name().map(|name| &**name));
        }
        if let Some(head) = outcome.head() {
            word(out, key!("method"), head.method.as_str());
            field(out, key!("host"), outcome.field("host"));
            out.extend_from_slice(key!("path").as_bytes());
            self.target(query, out, escape_json);
            out.push(b'"');
        }
        if !outcome.tcp {
            number(out, key!("status", bare), u64::from(outcome.final_status()));
        }
        if let Some(status) = outcome.grpc_status {
            number(out, key!("grpc_status", bare), u64::from(status));
        }
        self.json_why(out);
        if let Some((worker, priority)) = told.and_then(|told| told.worker.as_ref()) {
            text(out, key!("worker"), Some(worker));
            number(out, key!("worker_priority", bare), u64::from(*priority));
        }
        number(out, key!("attempts", bare), u64::from(outcome.attempts));
        number(out, key!("bytes_in", bare), outcome.bytes_in);
        number(out, key!("bytes_out", bare), outcome.bytes_out);
        seconds(out, key!("t_total", bare), Some(self.now.since(outcome.begun)));
        seconds(out, key!("t_queue", bare), outcome.queued);
        seconds(out, key!("t_connect", bare), told.and_then(|told| told.connect));
        seconds(out, key!("t_ttfb", bare), told.and_then(|told| told.first_byte));
        text(out, key!("tunnel_end"), outcome.tunnel.as_ref().map(|tunnel| tunnel.end.word()));
        if outcome.tcp {
            word(out, key!("proto"), "TCP");
        }
        if let Some(head) = outcome.head() {
            word(out, key!("proto"), protocol(head.version));
            field(out, key!("user_agent"), outcome.field("user-agent"));
        }
        if self.suppressed > 0 {
            number(out, key!("suppressed", bare), self.suppressed);
        }
        out.extend_from_slice(b"}\n");
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
        if outcome.shadows.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"shadow\":[");
        for (n, (rule, reason)) in outcome.shadows.iter().enumerate() {
            out.extend_from_slice(if n == 0 { b"{\"rule\":\"" } else { b",{\"rule\":\"" });
            escape_json(rule.name.as_bytes(), out);
            out.push(b'"');
            text(out, key!("rule_at"), Some(&rule.at));
            word(out, key!("reason"), reason.word());
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

/// A word of ours, a method or the name of a service: nothing in it has to be escaped.
fn word(out: &mut Vec<u8>, key: &str, word: &str) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        escaped(out, key, value.as_bytes());
    }
}

fn field(out: &mut Vec<u8>, key: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        escaped(out, key, value);
    }
}

fn escaped(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    escape_json(value, out);
    out.push(b'"');
}

fn address(out: &mut Vec<u8>, key: &str, address: IpAddr) {
    out.extend_from_slice(key.as_bytes());
    match address {
        // Several times faster than by a formatter.
        IpAddr::V4(address) => {
            for (n, octet) in address.octets().into_iter().enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Seconds with microseconds, as a number.
fn seconds(out: &mut Vec<u8>, key: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    number(out, key, value.as_secs());
    let mut fraction = *b".000000";
    digits(&mut fraction[1..], u64::from(value.subsec_micros()));
    out.extend_from_slice(&fraction);
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

/// What stands in a JSON string as it is, in bytes of their own: ASCII but controls, the quote and the backslash.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = !matches!(byte, b'"' | b'\\');
        byte += 1;
    }
    plain
};

/// Escapes as RFC 8259 section 7, and the controls of Latin-1 (U+0080 to U+009F) too: terminals obey them, and somebody
/// may look at the log in one. Bytes that are not UTF-8 are read as Latin-1, as old clients mean them.
pub(super) fn escape_json(value: &[u8], out: &mut Vec<u8>) {
    // Nearly always nothing in it is special.
    if value.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        return out.extend_from_slice(value);
    }
    for chunk in value.utf8_chunks() {
        for char in chunk.valid().chars() {
            match u8::try_from(char) {
                Ok(byte @ (b'"' | b'\\')) => out.extend_from_slice(&[b'\\', byte]),
                Ok(byte @ (0..0x20 | 0x7f..=0x9f)) => unicode(byte, out),
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|byte| unicode(*byte, out));
    }
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
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[..4], time.year);
    digits(&mut text[5..7], time.month);
    digits(&mut text[8..10], time.day);
    digits(&mut text[11..13], time.hour);
    digits(&mut text[14..16], time.minute);
    digits(&mut text[17..19], time.second);
    digits(&mut text[20..26], unix_micros % 1_000_000);
    out.extend_from_slice(&text);
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

/// Fills a field with a number, and zeros before it.
fn digits(field: &mut [u8], mut number: u64) {
    for place in field.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
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

    #[test]
    fn addresses_are_written_as_they_are_shown() {
        for shown in
            ["0.0.0.0", "9.10.99.100", "255.255.255.255", "::1", "2001:db8::ff00:42:8329", "::ffff:192.0.2.1"]
        {
            let mut out = Vec::new();
            address(&mut out, "", shown.parse().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), format!("{shown}\""));
        }
    }

    proptest! {
        #[test]
        fn escaped_bytes_are_always_a_json_string(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "[\u{0}-\u{ff}]{0,60}".prop_map(String::into_bytes),
            ],
        ) {
            let mut out = vec![b'"'];
            escape_json(&bytes, &mut out);
            out.push(b'"');
            prop_assert!(!str::from_utf8(&out).unwrap().chars().any(char::is_control));
            let text: String = serde_json::from_slice(&out).unwrap();
            if let Ok(valid) = std::str::from_utf8(&bytes) {
                prop_assert_eq!(text, valid);
            }
        }
    }
}
