//! How much of what costs us more than the client a connection may do: one bucket of tokens for each kind of frame,
//! filled by time and by honest work. Each number stands here with its reason.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// How a bucket is filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Tokens at the start, and the most that it holds.
    pub(super) burst: u32,
    /// Tokens a second.
    pub(super) per_second: u32,
}

/// Streams that the client ends before they are answered (CVE-2023-44487). nghttp2 and Node allow 1000 and 33 a
/// second, netty 200 in 30 s, Envoy 500 in all if they are half of the streams. A browser that leaves a page ends some
/// dozens at once; a gRPC client whose deadline passes ends all it has, so a stream that was answered gives one back.
pub(super) const RESETS: Rate = Rate { burst: 1000, per_second: 100 };
/// Streams that we end because of what the client did in them (CVE-2025-8671). Clients with a fault are few, but DATA
/// that crosses an early answer (429 to an upload) is one too: a window of 64 KiB has four frames of it.
pub(super) const ERRORS: Rate = Rate { burst: 500, per_second: 100 };
/// Streams beyond SETTINGS_MAX_CONCURRENT_STREAMS. Before it has seen our SETTINGS, a client may open as many as it
/// likes (`h2load -m 1000` does); after that, none. Node closes at 100.
pub(super) const REFUSED: Rate = Rate { burst: 2000, per_second: 100 };
/// SETTINGS, each to be acknowledged (CVE-2019-9515). A client sends one, and one more for each change: gRPC changes
/// its window as it learns the bandwidth, some a second at most.
pub(super) const SETTINGS: Rate = Rate { burst: 100, per_second: 10 };
/// PING, each to be answered (CVE-2019-9512). grpc-go sends one for each round trip in which data came, which is
/// thousands a second on a LAN: each DATA or HEADERS frame that we send allows one more.
pub(super) const PINGS: Rate = Rate { burst: 200, per_second: 20 };
/// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513). Envoy allows 100 a stream. Browsers send about one a stream, and
/// again when a picture comes into view.
pub(super) const PRIORITIES: Rate = Rate { burst: 500, per_second: 50 };
/// More of them for each stream opened.
pub(super) const PRIORITIES_PER_STREAM: u32 = 10;
/// WINDOW_UPDATE. Envoy allows 10 for each DATA frame sent; gRPC's C core sends up to two, curl one for each stream.
pub(super) const WINDOW_UPDATES: Rate = Rate { burst: 1000, per_second: 100 };
/// More of them for each DATA frame that we send.
pub(super) const WINDOW_UPDATES_PER_DATA: u32 = 10;
/// More of them for each stream opened.
pub(super) const WINDOW_UPDATES_PER_STREAM: u32 = 5;
/// DATA, HEADERS and CONTINUATION that carry nothing and end nothing (CVE-2019-9518). Envoy allows one in a row,
/// netty two. Some libraries flush an empty DATA frame once a stream: each stream opened allows one more.
pub(super) const EMPTY: Rate = Rate { burst: 100, per_second: 10 };
/// Frames of unknown types, which are to be ignored (RFC 9113 section 5.5): clients send them as grease, a few a
/// connection. GOAWAY of the client too, of which one is enough.
pub(super) const UNKNOWN: Rate = Rate { burst: 100, per_second: 10 };
/// DATA of less than [`TINY`] bytes. Each costs a task's turn and an allocation, for nine bytes of head.
pub(super) const TINY_DATA: Rate = Rate { burst: 4000, per_second: 1000 };
/// An empty gRPC message has five bytes, and a masked WebSocket frame six: less is no message of either, and streams
/// of small messages are left alone at any speed.
pub(super) const TINY: u32 = 5;

/// A bucket of tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    tokens: u32,
    /// Nanoseconds; the tokens are counted up to here.
    at: u64,
}

impl Bucket {
    /// A full one.
    pub(super) const fn new(rate: Rate, now: u64) -> Self {
        Self { rate, tokens: rate.burst, at: now }
    }

    /// Takes one token; false if there is none.
    pub(super) fn take(&mut self, now: u64) -> bool {
        if self.tokens == 0 {
            self.fill(now);
        } else if self.tokens == self.rate.burst {
            // While it is full, time adds nothing.
            self.at = self.at.max(now);
        }
        let some = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        some
    }

    /// Puts `count` tokens back, as far as there is room.
    pub(super) fn give(&mut self, count: u32) {
        self.tokens = self.tokens.saturating_add(count).min(self.rate.burst);
    }

    /// Only when it is empty: a division for each frame would be dear, and a bucket that never ran empty needs none.
    fn fill(&mut self, now: u64) {
        let each = SECOND / u64::from(self.rate.per_second);
        let grown = now.saturating_sub(self.at) / each;
        self.at = self.at.max(now - now.saturating_sub(self.at) % each);
        self.give(u32::try_from(grown).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(Rate { burst: 3, per_second: 2 }, 0);
        let taken = |bucket: &mut Bucket, now| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, SECOND / 2 - 1), 0);
        assert_eq!(taken(&mut bucket, SECOND / 2), 1);
        assert_eq!(taken(&mut bucket, SECOND * 3 / 4), 0);
        assert_eq!(taken(&mut bucket, SECOND), 1);
        assert_eq!(taken(&mut bucket, 100 * SECOND), 3);
        let mut long_full = Bucket::new(Rate { burst: 3, per_second: 2 }, 0);
        assert_eq!(taken(&mut long_full, 100 * SECOND), 3);
    }

    #[test]
    fn honest_work_gives_tokens_back_up_to_the_burst() {
        let mut bucket = Bucket::new(Rate { burst: 2, per_second: 1 }, 0);
        assert!(bucket.take(0) && bucket.take(0) && !bucket.take(0));
        bucket.give(10);
        assert!(bucket.take(0) && bucket.take(0) && !bucket.take(0));
    }

    #[test]
    fn a_clock_that_goes_back_hands_out_nothing() {
        let mut bucket = Bucket::new(Rate { burst: 1, per_second: 1 }, 10 * SECOND);
        assert!(bucket.take(10 * SECOND));
        assert!(!bucket.take(0) && !bucket.take(10 * SECOND));
        assert!(bucket.take(11 * SECOND));
    }
}
