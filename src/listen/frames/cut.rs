//! Cutting a byte stream into HTTP/2 frames (RFC 9113 section 4.1), however it arrives. Payloads are counted and not
//! kept, but for their first bytes.

/// Bytes of a frame's head.
pub(super) const HEAD_BYTES: usize = 9;
/// So many bytes of a payload are kept: enough for what stands before a header block (1 of padding, 5 of priority) with
/// the block's first bytes, and for GOAWAY's two numbers (8) with the begin of its debug data.
pub(super) const KEPT: usize = 20;
/// One entry of SETTINGS (RFC 9113 section 6.5.1).
const SETTING: usize = 6;

/// The head of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    const fn read(raw: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = raw;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            // The highest bit is reserved and ignored (RFC 9113 section 4.1).
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
        }
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A frame's head; its payload follows.
    Head(Head),
    /// One entry of a SETTINGS frame: identifier and value.
    Setting(u16, u32),
    /// A frame's end, with the first bytes of its payload, zeros behind a shorter one.
    End(Head, [u8; KEPT]),
}

/// Where the stream stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// So many bytes of a head are here.
    Head([u8; HEAD_BYTES], usize),
    /// Inside a payload, or at its end.
    Payload(Payload),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Payload {
    head: Head,
    left: u32,
    kept: [u8; KEPT],
    have: usize,
}

impl Cut {
    /// Before the first frame.
    pub(super) const fn new() -> Self {
        Self::Head([0; HEAD_BYTES], 0)
    }

    /// Between two frames.
    pub(super) const fn is_between(&self) -> bool {
        matches!(self, Self::Head(_, 0))
    }

    /// The frame whose payload is under way.
    pub(super) const fn frame(&self) -> Option<Head> {
        match self {
            Self::Head(..) => None,
            Self::Payload(payload) => Some(payload.head),
        }
    }

    /// Takes bytes off the front of `bytes` up to the next part. None: `bytes` is empty, and more is needed.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Part> {
        loop {
            match self {
                Self::Head(raw, have) => {
                    let room = raw.get_mut(*have..)?;
                    let taken = room.len().min(bytes.len());
                    let (now, later) = bytes.split_at(taken);
                    room[..taken].copy_from_slice(now);
                    (*bytes, *have) = (later, *have + taken);
                    if *have < HEAD_BYTES {
                        return None;
                    }
                    let head = Head::read(*raw);
                    *self = Self::Payload(Payload { head, left: head.length, kept: [0; KEPT], have: 0 });
                    return Some(Part::Head(head));
                }
                Self::Payload(payload) if payload.left == 0 => {
                    let end = Part::End(payload.head, payload.kept);
                    *self = Self::new();
                    return Some(end);
                }
                Self::Payload(_) if bytes.is_empty() => return None,
                Self::Payload(payload) => {
                    if let Some(setting) = payload.take(bytes) {
                        return Some(setting);
                    }
                }
            }
        }
    }
}

impl Payload {
    /// Keeps what is kept of the next bytes, and counts off the rest.
    fn take(&mut self, bytes: &mut &[u8]) -> Option<Part> {
        let settings = self.head.kind == super::SETTINGS;
        let keep = if settings { SETTING } else { KEPT };
        let here = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if self.have >= keep {
            self.pass(bytes, here);
            return None;
        }
        let taken = here.min(keep - self.have);
        if let (Some(room), Some(now)) = (self.kept.get_mut(self.have..self.have + taken), bytes.get(..taken))
        {
            room.copy_from_slice(now);
        }
        self.have += taken;
        self.pass(bytes, taken);
        if !settings || self.have < SETTING {
            return None;
        }
        self.have = 0;
        let [a, b, c, d, e, f, ..] = std::mem::take(&mut self.kept);
        Some(Part::Setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f])))
    }

    fn pass(&mut self, bytes: &mut &[u8], count: usize) {
        *bytes = bytes.get(count..).unwrap_or_default();
        self.left = self.left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    }
}
