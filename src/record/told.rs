//! What only those want to know who read the log or look at refusals. Its texts stand one behind the other in one
//! buffer, as they came; how they are written in a line is the business of `line.rs`.

use std::sync::Arc;
use std::time::Duration;

use http::Version;

use crate::message::RequestHead;
use crate::refusal::{Reason, RuleRef};

/// Room for the texts of a usual request, in bytes.
const USUAL_BYTES: usize = 512;
/// A buffer with more room than this, in bytes, serves one request and no other.
const KEPT_BYTES: usize = 4096;

/// A text that is told of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    RequestId,
    Method,
    Path,
    Query,
    Host,
    Referer,
    UserAgent,
    Worker,
}

/// How many [`Part`]s there are.
const PARTS: usize = Part::Worker as usize + 1;

/// What is told of one request.
#[derive(Debug)]
pub(super) struct Told {
    text: Vec<u8>,
    places: [Place; PARTS],
    pub(super) version: Version,
    /// The priority of the worker that is named.
    pub(super) priority: u16,
    pub(super) connect: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
    /// What rules and limits in shadow would have refused it for.
    pub(super) shadows: Vec<(Arc<RuleRef>, Reason)>,
}

/// Where a text stands in the buffer.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u32,
    end: u32,
}

impl Place {
    /// It ends before it begins: nothing stands there, not even an empty text.
    const NONE: Self = Self { at: 1, end: 0 };
}

impl Told {
    /// Nothing yet.
    pub(super) fn nothing() -> Box<Self> {
        let (text, places) = (Vec::with_capacity(USUAL_BYTES), [Place::NONE; PARTS]);
        let version = Version::HTTP_11;
        let (connect, first_byte, shadows) = (None, None, Vec::new());
        Box::new(Self { text, places, version, priority: 0, connect, first_byte, shadows })
    }

    /// Notes a text. An earlier one of the same part is told no more; it stays in the buffer until that is cleared.
    #[inline]
    pub(super) fn note(&mut self, part: Part, text: &[u8]) {
        let at = self.text.len();
        // Whoever read the head has bounded it, far below 4 GiB.
        let Ok(end) = u32::try_from(at + text.len()) else { return };
        self.text.extend_from_slice(text);
        self.places[part as usize] = Place { at: at as u32, end };
    }

    /// Notes what is told of a head, but for the fields.
    pub(super) fn note_head(&mut self, head: &RequestHead) {
        self.note(Part::Method, head.method.as_str().as_bytes());
        self.note(Part::Path, head.target.path().as_bytes());
        self.version = head.version;
    }

    /// A text, if it was noted.
    #[inline]
    pub(super) fn get(&self, part: Part) -> Option<&[u8]> {
        let Place { at, end } = self.places[part as usize];
        self.text.get(at as usize..end as usize)
    }

    /// Gives back the room that is not used, of what is kept for long.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
    }

    /// Forgets all of it. False: its buffer is not worth keeping for another request.
    pub(super) fn clear(&mut self) -> bool {
        self.text.clear();
        self.places = [Place::NONE; PARTS];
        (self.version, self.priority) = (Version::HTTP_11, 0);
        (self.connect, self.first_byte) = (None, None);
        self.shadows.clear();
        (USUAL_BYTES..=KEPT_BYTES).contains(&self.text.capacity())
    }
}
