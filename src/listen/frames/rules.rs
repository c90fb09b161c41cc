//! What is asked of each frame: its form (RFC 9113 section 6), its place (section 5.1), and its price.

use super::budget::{self, Bucket};
use super::cut::KEPT;
use super::{
    ACK, Block, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Ended, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, Flood, FloodKind, Frames, GOAWAY, HEADERS, Head, PADDED, PING, PRIORITY,
    PRIORITY_UPDATE, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED,
    WINDOW_UPDATE, WITH_PRIORITY,
};

/// Entries of one SETTINGS frame; nghttp2's and Node's bound. Nine are registered.
const SETTINGS_ENTRIES: u32 = 32;
/// CONTINUATION frames of a block that do not end it, however small `bounds.head_bytes` is. nghttp2 allows 8.
const CONTINUATIONS_LEAST: usize = 5;
/// So many times `bounds.head_bytes` a header block may have, packed: up to there it is answered with 431, as over
/// HTTP/1.1, and the connection lives. The unpacked head has the same factor.
const HEAD_FACTOR: usize = 4;
/// Streams that may be open beyond those that we allow: opened by a client that has not seen our SETTINGS yet, and
/// not refused yet. It bounds what is remembered here.
const UNSEEN_STREAMS: usize = 4096;

/// One entry of SETTINGS (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub(super) const fn setting(name: u16, value: u32) -> Result<(), Flood> {
    match (name, value) {
        (2 | 8, 2..) => Err(Flood::fault(PROTOCOL_ERROR, "a setting that is neither 0 nor 1")),
        (4, 0x8000_0000..) => {
            Err(Flood::fault(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE beyond 2^31-1"))
        }
        (5, ..16_384 | 16_777_216..) => {
            Err(Flood::fault(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE outside 2^14 to 2^24-1"))
        }
        _ => Ok(()),
    }
}

impl Frames {
    /// A frame's head came from the client.
    pub(super) fn head_came(&mut self, head: Head, now: u64) -> Result<(), Flood> {
        if !self.settings_came && (head.kind != SETTINGS || head.has(ACK)) {
            return Err(Flood::fault(PROTOCOL_ERROR, "SETTINGS do not come first"));
        }
        if head.length > self.bounds.frame_bytes {
            return Err(Flood::fault(FRAME_SIZE_ERROR, "a frame longer than SETTINGS_MAX_FRAME_SIZE"));
        }
        match self.block {
            Some(block) if head.kind != CONTINUATION || head.stream != block.stream => {
                return Err(Flood::fault(PROTOCOL_ERROR, "another frame within a header block"));
            }
            None if head.kind == CONTINUATION => {
                return Err(Flood::fault(PROTOCOL_ERROR, "CONTINUATION without a header block"));
            }
            _ => {}
        }
        length(head)?;
        self.place(head)?;
        match head.kind {
            HEADERS => self.headers_came(head, now),
            CONTINUATION => self.continuation_came(head, now),
            _ => self.price(head, now),
        }
    }

    /// Whether the frame belongs to its stream, or to none.
    fn place(&self, head: Head) -> Result<(), Flood> {
        let stream = head.stream;
        match head.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION if stream == 0 => {
                Err(Flood::fault(PROTOCOL_ERROR, "a frame of a stream on stream 0"))
            }
            SETTINGS | PING | GOAWAY | PRIORITY_UPDATE if stream != 0 => {
                Err(Flood::fault(PROTOCOL_ERROR, "a frame of the connection on a stream"))
            }
            PUSH_PROMISE => Err(Flood::fault(PROTOCOL_ERROR, "PUSH_PROMISE from a client")),
            HEADERS if stream.is_multiple_of(2) => {
                Err(Flood::fault(PROTOCOL_ERROR, "a client's stream with an even identifier"))
            }
            // Those with even identifiers would be ours, and we open none.
            DATA | RST_STREAM | WINDOW_UPDATE
                if self.streams.is_idle(stream) || (stream != 0 && stream.is_multiple_of(2)) =>
            {
                Err(Flood::fault(PROTOCOL_ERROR, "a frame on a stream that was never opened"))
            }
            DATA | HEADERS if self.streams.is_half_closed(stream) => {
                Err(Flood::fault(STREAM_CLOSED, "a frame behind the end of its stream"))
            }
            _ => Ok(()),
        }
    }

    fn headers_came(&mut self, head: Head, now: u64) -> Result<(), Flood> {
        let id = head.stream;
        if self.streams.is_idle(id) {
            let ignored = self.goaway.is_some_and(|last| id > last);
            self.streams.open(id, ignored);
            self.is_trailers = false;
            if self.streams.count() > self.bounds.streams as usize + UNSEEN_STREAMS {
                return Err(Flood::calm(FloodKind::RefusedStreams, "many more streams than allowed"));
            }
            let budgets = &mut self.budgets;
            budgets.priorities.give(budget::PRIORITIES_PER_STREAM);
            budgets.window_updates.give(budget::WINDOW_UPDATES_PER_STREAM);
            budgets.empty.give(1);
        } else {
            self.is_trailers = true;
        }
        if head.has(END_HEADERS) {
            return Ok(());
        }
        self.block = Some(Block {
            stream: id,
            since: self.part_since,
            bytes: head.length as usize,
            continuations: 0,
            ends_stream: head.has(END_STREAM),
        });
        if head.length == 0 { self.empty(now) } else { Ok(()) }
    }

    fn continuation_came(&mut self, head: Head, now: u64) -> Result<(), Flood> {
        let Some(block) = &mut self.block else { return Ok(()) };
        block.bytes += head.length as usize;
        let packed = self.bounds.head_bytes.saturating_mul(HEAD_FACTOR);
        if block.bytes > packed.max(self.bounds.frame_bytes as usize) {
            return Err(Flood::calm(FloodKind::Continuation, "a header block of too many bytes"));
        }
        if head.has(END_HEADERS) {
            return Ok(());
        }
        block.continuations += 1;
        // A quarter more than a block needs that fills its frames.
        let needed = self.bounds.head_bytes / self.bounds.frame_bytes.max(1) as usize;
        if block.continuations > (needed + needed / 4).max(CONTINUATIONS_LEAST) {
            return Err(Flood::calm(
                FloodKind::Continuation,
                "a header block of too many CONTINUATION frames",
            ));
        }
        if head.length == 0 { self.empty(now) } else { Ok(()) }
    }

    fn empty(&mut self, now: u64) -> Result<(), Flood> {
        let reason = "too many frames that carry nothing and end nothing";
        spend(&mut self.budgets.empty, now, FloodKind::EmptyFrames, reason)
    }

    /// Takes the frame's price from its budget.
    fn price(&mut self, head: Head, now: u64) -> Result<(), Flood> {
        let budgets = &mut self.budgets;
        match head.kind {
            // Their price depends on their payload.
            DATA | RST_STREAM => Ok(()),
            SETTINGS if head.length / 6 > SETTINGS_ENTRIES => {
                Err(Flood::calm(FloodKind::Settings, "too many entries in a SETTINGS frame"))
            }
            SETTINGS => spend(&mut budgets.settings, now, FloodKind::Settings, "too many SETTINGS frames"),
            PING => spend(&mut budgets.pings, now, FloodKind::Ping, "too many PING frames"),
            PRIORITY | PRIORITY_UPDATE => {
                spend(&mut budgets.priorities, now, FloodKind::Priority, "too many PRIORITY frames")
            }
            WINDOW_UPDATE => {
                let reason = "too many WINDOW_UPDATE frames";
                spend(&mut budgets.window_updates, now, FloodKind::WindowUpdate, reason)
            }
            GOAWAY => spend(&mut budgets.unknown, now, FloodKind::UnknownFrames, "too many GOAWAY frames"),
            _ => {
                spend(&mut budgets.unknown, now, FloodKind::UnknownFrames, "too many frames of unknown types")
            }
        }
    }

    /// A frame from the client is complete.
    pub(super) fn end_came(&mut self, head: Head, payload: [u8; KEPT], now: u64) -> Result<(), Flood> {
        match head.kind {
            SETTINGS => self.settings_came = true,
            HEADERS => self.block_begins(head, payload)?,
            DATA => self.data_came(head, payload, now)?,
            CONTINUATION if head.has(END_HEADERS) => {
                let ends = self.block.take().is_some_and(|block| block.ends_stream);
                self.client_ends(head.stream, ends);
            }
            PRIORITY if code(payload) & 0x7fff_ffff == head.stream => return Err(OF_ITSELF),
            RST_STREAM => match self.streams.reset(head.stream) {
                Ended::Answered => {}
                Ended::Unanswered | Ended::Closed => {
                    let reason = "too many streams opened and cancelled";
                    spend(&mut self.budgets.resets, now, FloodKind::RapidReset, reason)?;
                }
            },
            WINDOW_UPDATE if increment(payload) == 0 && head.stream == 0 => {
                return Err(Flood::fault(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing"));
            }
            _ => {}
        }
        Ok(())
    }

    /// A HEADERS frame is complete, and with it what stands before its header block.
    fn block_begins(&mut self, head: Head, payload: [u8; KEPT]) -> Result<(), Flood> {
        let padding = if head.has(PADDED) { u32::from(payload[0]) } else { 0 };
        let mut at = usize::from(head.has(PADDED));
        if head.has(WITH_PRIORITY) {
            let [_, a, b, c, d, ..] = payload;
            let parent = if at == 1 { u32::from_be_bytes([a, b, c, d]) } else { code(payload) };
            if parent & 0x7fff_ffff == head.stream {
                return Err(OF_ITSELF);
            }
            at += 5;
        }
        let before = u32::try_from(at).unwrap_or(u32::MAX);
        if before.saturating_add(padding) > head.length {
            return Err(Flood::fault(PROTOCOL_ERROR, "padding longer than its frame"));
        }
        let block = (head.length - before - padding) as usize;
        let first = payload.get(at..KEPT.min(at + block)).unwrap_or_default();
        if self.is_trailers && is_pseudo(first) {
            return Err(Flood::fault(PROTOCOL_ERROR, "a pseudo-header field in a trailer section"));
        }
        self.client_ends(head.stream, head.has(END_HEADERS) && head.has(END_STREAM));
        Ok(())
    }

    fn client_ends(&mut self, stream: u32, ends: bool) {
        if ends {
            self.streams.client_ends(stream);
        }
    }

    fn data_came(&mut self, head: Head, payload: [u8; KEPT], now: u64) -> Result<(), Flood> {
        let padding = if head.has(PADDED) { 1 + u32::from(payload[0]) } else { 0 };
        if padding > head.length {
            return Err(Flood::fault(PROTOCOL_ERROR, "padding longer than its frame"));
        }
        if head.has(END_STREAM) {
            self.streams.client_ends(head.stream);
            return Ok(());
        }
        match head.length - padding {
            0 => self.empty(now),
            1..budget::TINY => {
                let reason = "too many DATA frames of a few bytes";
                spend(&mut self.budgets.tiny_data, now, FloodKind::SmallData, reason)
            }
            _ => Ok(()),
        }
    }

    /// The engine answers a head that is too large, once unpacked, with 431.
    ///
    /// # Errors
    ///
    /// There were too many of them.
    pub(in crate::listen) fn head_too_large(&mut self, now: u64) -> Result<(), Flood> {
        let reason = "too many heads that are too large when unpacked";
        spend(&mut self.budgets.errors, now, FloodKind::HeaderList, reason)
    }

    /// A frame of ours is complete.
    pub(super) fn end_sent(&mut self, head: Head, payload: [u8; KEPT], now: u64) -> Result<(), Flood> {
        match head.kind {
            DATA | HEADERS => {
                // Of a head that is too large the engine makes an answer of its own (431).
                if head.kind == HEADERS && self.streams.is_kept(head.stream) {
                    self.refused += 1;
                    self.streams.hand_out(head.stream);
                }
                self.budgets.pings.give(1);
                if head.kind == DATA {
                    self.budgets.window_updates.give(budget::WINDOW_UPDATES_PER_DATA);
                }
                if head.has(END_STREAM) && self.streams.server_ends(head.stream) {
                    self.budgets.resets.give(1);
                }
            }
            RST_STREAM => {
                if self.streams.is_kept(head.stream) {
                    self.refused += 1;
                }
                self.streams.reset(head.stream);
                self.reset_sent(code(payload), now)?;
            }
            GOAWAY => self.goaway = Some(code(payload) & 0x7fff_ffff),
            _ => {}
        }
        Ok(())
    }

    /// Resets of our own making (no error, cancelled, an answer cut off) are nobody's fault.
    fn reset_sent(&mut self, code: u32, now: u64) -> Result<(), Flood> {
        let budgets = &mut self.budgets;
        match code {
            REFUSED_STREAM => {
                let reason = "too many streams beyond SETTINGS_MAX_CONCURRENT_STREAMS";
                spend(&mut budgets.refused, now, FloodKind::RefusedStreams, reason)
            }
            PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR | ENHANCE_YOUR_CALM => {
                let reason = "too many streams that had to be reset";
                spend(&mut budgets.errors, now, FloodKind::MadeYouReset, reason)
            }
            _ => Ok(()),
        }
    }
}

/// RFC 7540 section 5.3.1. RFC 9113 says nothing of it; no client means it.
const OF_ITSELF: Flood = Flood::fault(PROTOCOL_ERROR, "a stream that depends on itself");

/// Whether a header block begins with a pseudo-header field, as far as that can be seen without unpacking it (RFC 7541
/// section 6): by its place in the static table (1 to 14), or by a name that begins with a colon. A place in the
/// dynamic table tells nothing here; the engine drops such a field.
fn is_pseudo(block: &[u8]) -> bool {
    // Changes of the table's size come first.
    let at = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or(block.len());
    let name_begins = || match block.get(at + 1..) {
        Some([length, first, ..]) if length & 0x80 != 0 => first & 0xfe == 0xb8,
        Some([_, first, ..]) => *first == b':',
        _ => false,
    };
    match block.get(at) {
        Some(0x81..=0x8e | 0x41..=0x4e | 0x01..=0x0e | 0x11..=0x1e) => true,
        Some(0x40 | 0x00 | 0x10) => name_begins(),
        _ => false,
    }
}

/// Lengths that a type of frame prescribes (RFC 9113 section 6).
const fn length(head: Head) -> Result<(), Flood> {
    let sound = match head.kind {
        DATA | HEADERS => {
            head.length
                >= head.has(PADDED) as u32
                    + if head.kind == HEADERS && head.has(WITH_PRIORITY) { 5 } else { 0 }
        }
        // Asked to be a stream error, which an idle stream cannot have: section 5.4.1 allows this.
        PRIORITY => head.length == 5,
        RST_STREAM | WINDOW_UPDATE => head.length == 4,
        SETTINGS if head.has(ACK) => head.length == 0,
        SETTINGS => head.length.is_multiple_of(6),
        PING => head.length == 8,
        GOAWAY => head.length >= 8,
        PRIORITY_UPDATE => head.length >= 4,
        _ => true,
    };
    if sound {
        Ok(())
    } else {
        Err(Flood::fault(FRAME_SIZE_ERROR, "a frame of a length that its type forbids"))
    }
}

fn spend(bucket: &mut Bucket, now: u64, kind: FloodKind, reason: &'static str) -> Result<(), Flood> {
    if bucket.take(now) { Ok(()) } else { Err(Flood::calm(kind, reason)) }
}

/// The first number of RST_STREAM and GOAWAY.
const fn code(payload: [u8; KEPT]) -> u32 {
    let [a, b, c, d, ..] = payload;
    u32::from_be_bytes([a, b, c, d])
}

const fn increment(payload: [u8; KEPT]) -> u32 {
    code(payload) & 0x7fff_ffff
}
