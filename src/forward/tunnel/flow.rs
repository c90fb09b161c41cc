//! One direction of a tunnel: what one side sends is written to the other as it comes, and what is not taken is held.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The scratch buffer of a shard, in bytes: so much is read at once, and so much may wait in one direction.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;
/// How often a direction is moved before the other one, and other connections, have their turn.
const ROUNDS: usize = 16;

thread_local! {
    /// Used within one poll and never across: a shard is one thread.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One direction.
pub(super) struct Flow {
    /// What was read and not taken yet; at most the scratch buffer, or what went first.
    held: Vec<u8>,
    sent: usize,
    unflushed: bool,
    pub(super) stage: Stage,
    /// Bytes that were read and not told to the record yet.
    pub(super) fresh: u64,
    /// Bytes moved since it was last asked.
    pub(super) moved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// The source has ended; the other side is to be told.
    Ending,
    /// The target has ended and takes nothing more: what comes is thrown away.
    Spilling,
    Ended,
}

/// Which side of a direction broke.
pub(super) enum Broken {
    Source,
    Target,
}

/// Lends the shard's scratch buffer, within one poll.
pub(in crate::forward) fn with_scratch<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(SCRATCH_BYTES, 0);
        use_it(scratch)
    })
}

impl Flow {
    pub(super) fn new(mut held: Vec<u8>) -> Self {
        // The room of a buffer that was made for more would stay for as long as the tunnel.
        held.shrink_to_fit();
        Self { held, sent: 0, unflushed: false, stage: Stage::Open, fresh: 0, moved: false }
    }

    /// Whether the source has ended, and not only the target.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ending | Stage::Ended)
    }

    /// Whether its source is not read at the moment, or never again.
    pub(super) const fn reads_nothing(&self) -> bool {
        !self.held.is_empty() || !matches!(self.stage, Stage::Open)
    }

    /// Moves bytes as long as the one side has some and the other takes them.
    pub(super) fn poll<S: AsyncRead + Unpin, T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        target: &mut T,
        scratch: &mut [u8],
    ) -> Result<(), Broken> {
        for _ in 0..ROUNDS {
            if !self.send_held(cx, target)? {
                return self.flush(cx, target);
            }
            match self.stage {
                Stage::Open => {}
                Stage::Ending => return self.end(cx, target),
                Stage::Ended => return Ok(()),
                Stage::Spilling => return self.spill(cx, source, scratch),
            }
            let mut piece = ReadBuf::new(scratch);
            match Pin::new(&mut *source).poll_read(cx, &mut piece) {
                Poll::Pending => return self.flush(cx, target),
                Poll::Ready(Err(_)) => return Err(Broken::Source),
                Poll::Ready(Ok(())) => self.pass(cx, target, piece.filled())?,
            }
        }
        cx.waker().wake_by_ref();
        self.flush(cx, target)
    }

    /// What a break means, if the target had ended before: no more than that nothing is to be sent to it.
    pub(super) fn forgiven(
        &mut self,
        cx: &Context<'_>,
        polled: Result<(), Broken>,
        other: &Self,
    ) -> Result<(), Broken> {
        if matches!(polled, Err(Broken::Target)) && other.stage != Stage::Open {
            self.held = Vec::new();
            self.stage = if self.stage == Stage::Open { Stage::Spilling } else { Stage::Ended };
            cx.waker().wake_by_ref();
            return Ok(());
        }
        polled
    }

    fn spill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        scratch: &mut [u8],
    ) -> Result<(), Broken> {
        for _ in 0..ROUNDS {
            let mut piece = ReadBuf::new(scratch);
            match Pin::new(&mut *source).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {}
                Poll::Ready(_) => {
                    self.stage = Stage::Ended;
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Whether nothing is held any more.
    fn send_held<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut T,
    ) -> Result<bool, Broken> {
        if self.held.is_empty() {
            return Ok(true);
        }
        let held = std::mem::take(&mut self.held);
        self.sent += self.send(cx, target, &held[self.sent..])?;
        if self.sent < held.len() {
            self.held = held;
            return Ok(false);
        }
        self.sent = 0;
        Ok(true)
    }

    /// Passes on what was just read, and holds what is not taken.
    fn pass<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut T,
        bytes: &[u8],
    ) -> Result<(), Broken> {
        if bytes.is_empty() {
            self.stage = Stage::Ending;
            return Ok(());
        }
        self.fresh += bytes.len() as u64;
        self.moved = true;
        let sent = self.send(cx, target, bytes)?;
        self.held = bytes[sent..].to_vec();
        Ok(())
    }

    /// How many bytes the target took.
    fn send<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut T,
        bytes: &[u8],
    ) -> Result<usize, Broken> {
        let mut sent = 0;
        while sent < bytes.len() {
            match Pin::new(&mut *target).poll_write(cx, &bytes[sent..]) {
                Poll::Ready(Ok(n @ 1..)) => {
                    sent += n;
                    self.moved = true;
                    self.unflushed = true;
                }
                Poll::Ready(_) => return Err(Broken::Target),
                Poll::Pending => break,
            }
        }
        Ok(sent)
    }

    /// A socket holds nothing back; TLS does.
    fn flush<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, target: &mut T) -> Result<(), Broken> {
        if self.unflushed {
            match Pin::new(target).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed.map_err(|_| Broken::Target)?;
                    self.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn end<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, target: &mut T) -> Result<(), Broken> {
        if let Poll::Ready(ended) = Pin::new(target).poll_shutdown(cx) {
            // A side that is gone already needs no goodbye.
            let _ = ended;
            self.stage = Stage::Ended;
        }
        Ok(())
    }
}
