//! The guard of an HTTP/2 connection: it sees every byte of both directions before and after the protocol's engine,
//! and says when a client breaks the framing (RFC 9113) or does what costs us much and it little. A pure state
//! machine: it owns no bytes, no socket and no clock; times are nanoseconds on the caller's clock.
//!
//! Not here: HPACK, flow control, stream states in full (`http2.rs`), what a request means.
//!
//! ```
//! use buckler::listen::frames::{FloodKind, FrameBounds, Frames};
//!
//! let bounds = FrameBounds { head_bytes: 32 << 10, head_fields: 100, streams: 100, frame_bytes: 16 << 10 };
//! let mut frames = Frames::new(bounds, 0);
//! frames.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1).expect("the preface");
//! let data_on_stream_0 = [0, 0, 1, 0, 0, 0, 0, 0, 0, b'x'];
//! let flood = frames.received(&data_on_stream_0, 2).expect_err("SETTINGS come first");
//! assert_eq!(flood.kind, FloodKind::Protocol);
//! ```

mod budget;
mod cut;
mod rules;
mod streams;
#[cfg(test)]
mod tests;

use budget::Bucket;
use cut::{Cut, Head, Part};
use streams::{Ended, Streams};

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// RFC 9218 section 7.1.
const PRIORITY_UPDATE: u8 = 16;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// Error codes (RFC 9113 section 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What the frames of a connection are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBounds {
    /// `bounds.head_bytes`: of a request's head, as SETTINGS_MAX_HEADER_LIST_SIZE tells it.
    pub head_bytes: usize,
    /// `bounds.head_fields`: in a trailer section.
    pub head_fields: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS, as we tell it.
    pub streams: u32,
    /// SETTINGS_MAX_FRAME_SIZE, as we tell it; at least 16,384.
    pub frame_bytes: u32,
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// What is counted.
    pub kind: FloodKind,
    /// The error code for GOAWAY (RFC 9113 section 7).
    pub code: u32,
    /// For the log, and for the debug data of GOAWAY: plain ASCII.
    pub reason: &'static str,
}

/// The kinds, each a value of the label `kind` of `buckler_http2_floods_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FloodKind {
    /// Streams opened and cancelled (CVE-2023-44487).
    RapidReset,
    /// Streams that we must reset for what the client does in them (CVE-2025-8671).
    MadeYouReset,
    /// Streams opened beyond the number that we allow.
    RefusedStreams,
    /// A header block of too many frames or bytes (CVE-2024-27316 and its class).
    Continuation,
    /// SETTINGS (CVE-2019-9515).
    Settings,
    /// PING (CVE-2019-9512).
    Ping,
    /// PRIORITY (CVE-2019-9513).
    Priority,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// Frames with nothing in them (CVE-2019-9518).
    EmptyFrames,
    /// Frames of types that nobody knows.
    UnknownFrames,
    /// DATA of a byte or so.
    SmallData,
    /// A head that is too long when unpacked. Counted by whoever unpacks it.
    HeaderList,
    /// A client that takes nothing of its answers (CVE-2019-9517). Counted by whoever writes.
    Stalled,
    /// Not a flood: the framing is broken.
    Protocol,
}

impl FloodKind {
    /// All of them, for the metrics.
    pub const ALL: [Self; 14] = [
        Self::RapidReset,
        Self::MadeYouReset,
        Self::RefusedStreams,
        Self::Continuation,
        Self::Settings,
        Self::Ping,
        Self::Priority,
        Self::WindowUpdate,
        Self::EmptyFrames,
        Self::UnknownFrames,
        Self::SmallData,
        Self::HeaderList,
        Self::Stalled,
        Self::Protocol,
    ];

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::MadeYouReset => "made_you_reset",
            Self::RefusedStreams => "refused_streams",
            Self::Continuation => "continuation",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::Priority => "priority",
            Self::WindowUpdate => "window_update",
            Self::EmptyFrames => "empty_frames",
            Self::UnknownFrames => "unknown_frames",
            Self::SmallData => "small_data",
            Self::HeaderList => "header_list",
            Self::Stalled => "stalled",
            Self::Protocol => "protocol",
        }
    }
}

impl Flood {
    pub(super) const fn calm(kind: FloodKind, reason: &'static str) -> Self {
        Self { kind, code: ENHANCE_YOUR_CALM, reason }
    }

    pub(super) const fn fault(code: u32, reason: &'static str) -> Self {
        Self { kind: FloodKind::Protocol, code, reason }
    }
}

/// The frames of one connection, both ways.
#[derive(Debug)]
pub struct Frames {
    bounds: FrameBounds,
    budgets: Budgets,
    streams: Streams,
    /// Bytes of the preface that came.
    preface: usize,
    settings_came: bool,
    block: Option<Block>,
    /// The last HEADERS frame came on an open stream.
    is_trailers: bool,
    inward: Cut,
    outward: Cut,
    goaway: Option<u32>,
    /// Streams that the engine refused by itself, since last asked.
    refused: u32,
    flood: Option<Flood>,
    began: u64,
    /// When the frame that is under way began.
    part_since: u64,
}

/// A header block that has not ended.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    since: u64,
    bytes: usize,
    continuations: usize,
    ends_stream: bool,
}

#[derive(Debug)]
struct Budgets {
    resets: Bucket,
    errors: Bucket,
    refused: Bucket,
    settings: Bucket,
    pings: Bucket,
    priorities: Bucket,
    window_updates: Bucket,
    empty: Bucket,
    unknown: Bucket,
    tiny_data: Bucket,
}

impl Budgets {
    const fn new(now: u64) -> Self {
        Self {
            resets: Bucket::new(budget::RESETS, now),
            errors: Bucket::new(budget::ERRORS, now),
            refused: Bucket::new(budget::REFUSED, now),
            settings: Bucket::new(budget::SETTINGS, now),
            pings: Bucket::new(budget::PINGS, now),
            priorities: Bucket::new(budget::PRIORITIES, now),
            window_updates: Bucket::new(budget::WINDOW_UPDATES, now),
            empty: Bucket::new(budget::EMPTY, now),
            unknown: Bucket::new(budget::UNKNOWN, now),
            tiny_data: Bucket::new(budget::TINY_DATA, now),
        }
    }
}

impl Frames {
    /// A connection that begins now, before the client's preface.
    pub const fn new(bounds: FrameBounds, now_nanos: u64) -> Self {
        Self {
            bounds,
            budgets: Budgets::new(now_nanos),
            streams: Streams::new(),
            preface: 0,
            settings_came: false,
            block: None,
            is_trailers: false,
            inward: Cut::new(),
            outward: Cut::new(),
            goaway: None,
            refused: 0,
            flood: None,
            began: now_nanos,
            part_since: now_nanos,
        }
    }

    /// Judges what came from the client, in pieces of any size; a payload costs nothing.
    ///
    /// # Errors
    ///
    /// The first fault or flood of the connection; it stays. Nothing of `bytes` need be passed on then.
    pub fn received(&mut self, bytes: &[u8], now_nanos: u64) -> Result<(), Flood> {
        if let Some(flood) = self.flood {
            return Err(flood);
        }
        self.read(bytes, now_nanos).inspect_err(|flood| self.flood = Some(*flood))
    }

    fn read(&mut self, mut bytes: &[u8], now: u64) -> Result<(), Flood> {
        if let Some(wanted) = PREFACE.get(self.preface..).filter(|wanted| !wanted.is_empty()) {
            let (here, rest) = bytes.split_at(wanted.len().min(bytes.len()));
            if !wanted.starts_with(here) {
                return Err(Flood::fault(PROTOCOL_ERROR, "not the HTTP/2 preface"));
            }
            self.preface += here.len();
            bytes = rest;
        }
        while !bytes.is_empty() || !self.inward.is_between() {
            if self.inward.is_between() {
                self.part_since = now;
            }
            match self.inward.next(&mut bytes) {
                None => break,
                Some(Part::Head(head)) => self.head_came(head, now)?,
                Some(Part::Setting(name, value)) => rules::setting(name, value)?,
                Some(Part::End(head, payload)) => self.end_came(head, payload, now)?,
            }
        }
        Ok(())
    }

    /// Notes what goes to the client: the engine's frames, of which each is sound.
    ///
    /// # Errors
    ///
    /// The client has made us reset too many streams; told once. The bytes may still be sent.
    pub fn sent(&mut self, mut bytes: &[u8], now_nanos: u64) -> Result<(), Flood> {
        let mut found = None;
        while !bytes.is_empty() || !self.outward.is_between() {
            match self.outward.next(&mut bytes) {
                None => break,
                Some(Part::Head(_) | Part::Setting(..)) => {}
                Some(Part::End(head, payload)) => {
                    found = found.or(self.end_sent(head, payload, now_nanos).err());
                }
            }
        }
        match (found, self.flood) {
            (Some(flood), None) => {
                self.flood = Some(flood);
                Err(flood)
            }
            _ => Ok(()),
        }
    }

    /// Nothing is asked for a while: room that is not needed is let go.
    pub(super) fn rest(&mut self) {
        self.streams.rest();
    }

    /// The engine has made this stream a request.
    pub fn handed_out(&mut self, stream: u32) {
        self.streams.hand_out(stream);
    }

    /// How many streams the engine has refused by itself since it was last asked: malformed ones, those beyond
    /// SETTINGS_MAX_CONCURRENT_STREAMS, and heads that are too large when unpacked. No request tells of them.
    pub fn take_refused(&mut self) -> u32 {
        std::mem::take(&mut self.refused)
    }

    /// The fault or flood that was found.
    pub const fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// The client's preface is complete, and so is its first SETTINGS frame.
    pub const fn preface_done(&self) -> bool {
        self.settings_came
    }

    /// Since when the preface, a header block, or a frame other than DATA is incomplete; nanoseconds.
    pub fn head_since(&self) -> Option<u64> {
        if !self.settings_came {
            return Some(self.began);
        }
        if let Some(block) = self.block {
            return Some(block.since);
        }
        let incomplete = self.inward.frame().map_or(!self.inward.is_between(), |head| head.kind != DATA);
        incomplete.then_some(self.part_since)
    }

    /// Streams that are open on either side.
    pub const fn open_streams(&self) -> usize {
        self.streams.count()
    }

    /// The last stream that our GOAWAY named, if one was sent.
    pub const fn goaway_sent(&self) -> Option<u32> {
        self.goaway
    }
}
