//! `timeouts` and `bounds` of a service: defaults, least and most.

use std::time::Duration;

use super::{Checker, SECOND};
use crate::config::collect::Located;
use crate::config::file::{self, Field};
use crate::config::report::Code;
use crate::config::units::{Size, Span};
use crate::config::value::{BytesOrNone, SizeText, SpanOrOff};
use crate::config::{Bounds, Timeouts};

const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
/// Bytes a second that a body has to come with: what Kestrel asks for (MinRequestBodyDataRate), and less than any
/// network that carries a request at all.
const UPLOAD_RATE: u64 = 240;
const FASTEST: u64 = 1 << 30;
/// The longest target that `http::Uri` holds.
const LONGEST_URI: u64 = 65_534;

impl Checker<'_> {
    pub(super) fn timeouts(&mut self, timeouts: Option<&Located<file::Timeouts>>) -> Timeouts {
        let written = timeouts.and_then(|timeouts| timeouts.value.as_ref());
        let mut span = |field: fn(&file::Timeouts) -> &Field<_>, seconds: u64| {
            self.span(written.map(field), Duration::from_secs(seconds), LEAST, MOST)
        };
        Timeouts {
            head: span(|t| &t.head, 10),
            body: span(|t| &t.body, 30),
            send: span(|t| &t.send, 30),
            keep_alive: span(|t| &t.keep_alive, 75),
            connect: span(|t| &t.connect, 1),
            response: span(|t| &t.response, 60),
            idle: span(|t| &t.idle, 60),
            handshake: span(|t| &t.handshake, 5),
            tunnel: span(|t| &t.tunnel, 600),
            total: self.total_time(written.and_then(|t| t.total.as_ref())),
        }
    }

    fn total_time(&mut self, total: Option<&Located<SpanOrOff>>) -> Option<Duration> {
        let located = total?;
        let Span(span) = located.value.as_ref()?.0?;
        if !(LEAST..=MOST).contains(&span) {
            let help = format!("write {} to {}, or `off`", Span(LEAST), Span(MOST));
            self.error(Code::BadValue, located.at, format!("`{}` is out of bounds", Span(span)), &help);
        }
        Some(span.max(SECOND / 1_000))
    }

    pub(super) fn bounds(&mut self, bounds: Option<&Located<file::Bounds>>) -> Bounds {
        let written = bounds.and_then(|bounds| bounds.value.as_ref());
        let head_bytes = self.size(written.map(|b| &b.head_bytes), 32 * KIB, KIB, KIB * KIB);
        let body = written.and_then(|b| b.body_bytes.as_ref()).and_then(|body| body.value.as_ref());
        Bounds {
            head_bytes,
            head_fields: self.number(written.map(|b| &b.head_fields), 100, 1, 1_000) as usize,
            uri_bytes: self.size(
                written.map(|b| &b.uri_bytes),
                (8 * KIB).min(head_bytes as u64),
                64,
                LONGEST_URI.min(head_bytes as u64),
            ),
            upload_rate: self.upload_rate(written.and_then(|b| b.upload_rate.as_ref())),
            body_bytes: body.and_then(|BytesOrNone(size)| size.map(|Size(bytes)| bytes)),
            response_head_bytes: self.size(written.map(|b| &b.response_head_bytes), 64 * KIB, KIB, KIB * KIB),
            connections: self.number(written.map(|b| &b.connections), 10_000, 1, u32::MAX).into(),
            handshakes: self.number(written.map(|b| &b.handshakes), 1_000, 1, u32::MAX).into(),
            streams: self.number(written.map(|b| &b.streams), 100, 1, 1_000),
            worker_streams: self.number(written.map(|b| &b.worker_streams), 100, 1, 10_000),
            worker_connections: self
                .number(written.map(|b| &b.worker_connections), 10_000, 1, u32::MAX)
                .into(),
        }
    }

    fn upload_rate(&mut self, rate: Option<&Located<BytesOrNone>>) -> Option<u64> {
        let Some(located) = rate else { return Some(UPLOAD_RATE) };
        let Some(BytesOrNone(written)) = located.value.as_ref() else { return Some(UPLOAD_RATE) };
        let Size(bytes) = (*written)?;
        if !(1..=FASTEST).contains(&bytes) {
            let help = format!("write {} to {}, or `none`", Size(1), Size(FASTEST));
            self.error(Code::BadValue, located.at, format!("`{}` is out of bounds", Size(bytes)), &help);
            return Some(UPLOAD_RATE);
        }
        Some(bytes)
    }

    fn size(&mut self, field: Option<&Field<SizeText>>, default: u64, least: u64, most: u64) -> usize {
        let narrow = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let Some(located) = field.and_then(Option::as_ref) else { return narrow(default) };
        let Some(SizeText(Size(bytes))) = located.value else { return narrow(default) };
        if bytes < least || bytes > most {
            let message = format!("`{}` is out of bounds", Size(bytes));
            self.error(
                Code::BadValue,
                located.at,
                message,
                &format!("write {} to {}", Size(least), Size(most)),
            );
            return narrow(default);
        }
        narrow(bytes)
    }
}
