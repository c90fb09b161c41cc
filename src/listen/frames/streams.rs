//! Which streams of a connection are open, as its frames tell (RFC 9113 section 5.1).

/// The streams that are open, in order of their identifiers.
#[derive(Debug)]
pub(super) struct Streams {
    open: Vec<Stream>,
    highest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    id: u32,
    client_done: bool,
    server_done: bool,
    /// It became a request.
    handed_out: bool,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// We had answered in full.
    Answered,
    /// The client did not wait for our answer's end.
    Unanswered,
    /// It was not open.
    Closed,
}

impl Streams {
    pub(super) const fn new() -> Self {
        Self { open: Vec::new(), highest: 0 }
    }

    /// Keeps no more room than is needed.
    pub(super) fn rest(&mut self) {
        self.open.shrink_to_fit();
    }

    /// How many are open.
    pub(super) const fn count(&self) -> usize {
        self.open.len()
    }

    /// No frame has opened this one, or a later one.
    pub(super) const fn is_idle(&self, id: u32) -> bool {
        id > self.highest
    }

    /// Whether END_STREAM came, and our side is still open.
    pub(super) fn is_half_closed(&self, id: u32) -> bool {
        self.find(id).and_then(|at| self.open.get(at)).is_some_and(|stream| stream.client_done)
    }

    /// HEADERS opens it. One that is `ignored` (it came after our GOAWAY) is only noted as no longer idle.
    pub(super) fn open(&mut self, id: u32, ignored: bool) {
        self.highest = id;
        if !ignored {
            self.open.push(Stream { id, client_done: false, server_done: false, handed_out: false });
        }
    }

    /// It has become a request.
    pub(super) fn hand_out(&mut self, id: u32) {
        if let Some(stream) = self.find(id).and_then(|at| self.open.get_mut(at)) {
            stream.handed_out = true;
        }
    }

    /// Whether it is open and became no request.
    pub(super) fn is_kept(&self, id: u32) -> bool {
        self.find(id).and_then(|at| self.open.get(at)).is_some_and(|stream| !stream.handed_out)
    }

    /// END_STREAM came.
    pub(super) fn client_ends(&mut self, id: u32) {
        let Some(at) = self.find(id) else { return };
        if self.open.get(at).is_some_and(|stream| stream.server_done) {
            self.open.remove(at);
        } else if let Some(stream) = self.open.get_mut(at) {
            stream.client_done = true;
        }
    }

    /// We sent END_STREAM; true if the stream was open and unanswered.
    pub(super) fn server_ends(&mut self, id: u32) -> bool {
        let Some(at) = self.find(id) else { return false };
        let answered = self.open.get(at).is_some_and(|stream| !stream.server_done);
        if self.open.get(at).is_some_and(|stream| stream.client_done) {
            self.open.remove(at);
        } else if let Some(stream) = self.open.get_mut(at) {
            stream.server_done = true;
        }
        answered
    }

    /// RST_STREAM of either side.
    pub(super) fn reset(&mut self, id: u32) -> Ended {
        let Some(at) = self.find(id) else { return Ended::Closed };
        if self.open.remove(at).server_done { Ended::Answered } else { Ended::Unanswered }
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.open.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}
