//! Whether a request that failed may be sent once more, to whom, and after which pause: a pure rule over what is known
//! of the failure, and of who was asked before. How many retries there may be in all stands in `budget.rs`; who counts
//! them, in `tries.rs`.

use std::time::Duration;

use crate::config::Endpoint;

/// The longest pause before the first retry. It is drawn at random, so that requests which failed together do not come
/// back together (full jitter: Brooker, "Exponential Backoff And Jitter", AWS 2015).
pub const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause before any retry, however many went before.
pub const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How far a failed attempt had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No connection was made, or a new one took nothing: the worker saw nothing.
    NoConnection,
    /// A connection that had worked takes no more, and the request came back whole (RFC 9113 section 6.8: GOAWAY).
    Unsent,
    /// The worker refused the stream without looking at it (RFC 9113 section 8.7).
    Refused,
    /// The connection broke: some of it may have arrived, and no byte of an answer came.
    MaybeSent,
    /// The worker was given all of it and sent no answer in time.
    Silent,
    /// The worker answered with a status of `retries.on`.
    Answered,
    /// Nothing that another attempt would mend, or an answer had begun.
    TooFar,
}

/// What the rule needs to know of the request.
#[derive(Clone, Copy, Debug)]
pub struct Attempted {
    /// How far it came.
    pub reached: Reached,
    /// Whether the connection had carried a request before: then the worker may have closed it just as we sent.
    pub reused: bool,
    /// Whether the method is idempotent (RFC 9110 section 9.2.2) and no byte of the body, if any, is gone.
    pub repeatable: bool,
    /// Whether it was repeated once because of a connection that had been used before.
    pub replayed: bool,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Another worker is asked at once, which is no retry since this one was not asked; this one is left alone.
    PassOver,
    /// It is sent once more at once on another connection, to the same worker too: nothing is known against it.
    Replay,
    /// It is sent once more if `retries.attempts` and `retries.budget` allow it: to another worker, or to the same one
    /// if there is no other and `same` says so; after a pause or at once.
    Retry {
        /// Whether the same worker may get it if no other can.
        same: bool,
        /// Whether to pause first.
        pause: bool,
    },
    /// That is the end of it.
    Never,
}

/// May it be sent again? A request that was never sent, or that the worker did not look at, always. One that may have
/// arrived, only if it can be repeated. The worker closing a connection between two requests is the usual cause of a
/// break on a used one (RFC 9112 section 9.3.1), so that is not held against anyone, once.
///
/// A worker that was silent, or said a status of `retries.on`, is not asked the same again: that would double its work
/// just when it has too much.
pub fn again(attempted: Attempted) -> Again {
    let Attempted { reached, reused, repeatable, replayed } = attempted;
    match reached {
        Reached::NoConnection => Again::PassOver,
        Reached::Unsent if reused => Again::Replay,
        Reached::Unsent => Again::PassOver,
        Reached::Refused => Again::Retry { same: true, pause: false },
        Reached::MaybeSent if repeatable && reused && !replayed => Again::Replay,
        Reached::MaybeSent if repeatable => Again::Retry { same: true, pause: true },
        Reached::Silent | Reached::Answered if repeatable => Again::Retry { same: false, pause: true },
        Reached::MaybeSent | Reached::Silent | Reached::Answered | Reached::TooFar => Again::Never,
    }
}

/// How long to wait before the retry behind `sent` attempts (1 or more); `chance` in [0, 1) says where between nothing
/// and the longest.
pub fn pause(sent: u32, chance: f64) -> Duration {
    let doublings = sent.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE).mul_f64(chance.clamp(0.0, 1.0))
}

/// The workers that one request was sent to.
#[derive(Debug, Default)]
pub struct Asked {
    /// Those that are not asked again at all before the others.
    workers: Vec<Endpoint>,
    barred: usize,
}

impl Asked {
    /// All of them.
    pub fn all(&self) -> &[Endpoint] {
        &self.workers
    }

    /// Those that are not asked again.
    pub fn barred(&self) -> &[Endpoint] {
        &self.workers[..self.barred]
    }

    /// Whether any of them may be asked again.
    pub const fn may_come_again(&self) -> bool {
        self.barred < self.workers.len()
    }

    /// This one is asked again only if there is no other.
    pub fn ask_last(&mut self, worker: &Endpoint) {
        if !self.workers.contains(worker) {
            self.workers.push(worker.clone());
        }
    }

    /// This one is not asked again.
    pub fn bar(&mut self, worker: &Endpoint) {
        self.ask_last(worker);
        if let Some(at) = self.workers[self.barred..].iter().position(|asked| asked == worker) {
            self.workers.swap(self.barred, self.barred + at);
            self.barred += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    const ANYWHERE: Again = Again::Retry { same: true, pause: true };
    const ELSEWHERE: Again = Again::Retry { same: false, pause: true };

    fn rule(reached: Reached, reused: bool, repeatable: bool, replayed: bool) -> Again {
        again(Attempted { reached, reused, repeatable, replayed })
    }

    #[test]
    fn who_is_barred_is_asked_and_who_was_asked_is_barred_once() {
        let [one, two, three] =
            [1, 2, 3].map(|port| Endpoint::from(SocketAddr::from(([127, 0, 0, 1], port))));
        let mut asked = Asked::default();
        assert!(asked.all().is_empty() && !asked.may_come_again());
        asked.ask_last(&one);
        asked.ask_last(&two);
        asked.bar(&two);
        asked.ask_last(&two);
        asked.bar(&two);
        assert_eq!((asked.all(), asked.barred()), (&[two.clone(), one.clone()][..], &[two.clone()][..]));
        assert!(asked.may_come_again());
        asked.bar(&three);
        asked.bar(&one);
        assert_eq!(asked.barred(), [two, three, one]);
        assert!(!asked.may_come_again());
    }

    #[test]
    fn the_whole_table() {
        use Again::{Never, PassOver, Replay};
        let at_once = Again::Retry { same: true, pause: false };
        // Not repeatable; repeatable: on a new connection, on a used one, on a used one once more.
        for (reached, not, new, used, twice) in [
            (Reached::NoConnection, PassOver, PassOver, PassOver, PassOver),
            (Reached::Refused, at_once, at_once, at_once, at_once),
            (Reached::MaybeSent, Never, ANYWHERE, Replay, ANYWHERE),
            (Reached::Silent, Never, ELSEWHERE, ELSEWHERE, ELSEWHERE),
            (Reached::Answered, Never, ELSEWHERE, ELSEWHERE, ELSEWHERE),
            (Reached::TooFar, Never, Never, Never, Never),
        ] {
            for (reused, replayed) in [(false, false), (true, false), (true, true)] {
                assert_eq!(rule(reached, reused, false, replayed), not, "{reached:?}, not repeatable");
            }
            assert_eq!(rule(reached, false, true, false), new, "{reached:?}");
            assert_eq!(rule(reached, true, true, false), used, "{reached:?}");
            assert_eq!(rule(reached, true, true, true), twice, "{reached:?}");
        }
        for (repeatable, replayed) in [(false, false), (true, false), (true, true)] {
            assert_eq!(rule(Reached::Unsent, true, repeatable, replayed), Replay);
            assert_eq!(rule(Reached::Unsent, false, repeatable, replayed), PassOver);
        }
    }

    #[test]
    fn pauses_grow_to_their_bound_and_are_spread_from_nothing_on() {
        let most: Vec<_> = (1..8).map(|sent| pause(sent, 1.0).as_millis()).collect();
        assert_eq!(most, [10, 20, 40, 80, 160, 250, 250]);
        assert_eq!(pause(1, 0.0), Duration::ZERO);
        assert_eq!(pause(2, 0.5), Duration::from_millis(10));
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(sent in any::<u32>(), chance in any::<f64>()) {
            prop_assume!(!chance.is_nan());
            prop_assert!(pause(sent, chance) <= LONGEST_PAUSE);
        }
    }
}
