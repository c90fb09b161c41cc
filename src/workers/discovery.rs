//! Keeping the workers of a service as DNS says: when to ask next, and what each outcome does to the set. Asking
//! itself is the work of `resolver.rs`.
//!
//! What empties a set that works:
//!
//! - The target `.`, at once: RFC 2782 has it for exactly that, so somebody wrote it on purpose.
//! - NXDOMAIN, or a name without SRV records or addresses, seen [`ABSENT_IN_A_ROW`] times in a row, each time after the
//!   negative TTL of the time before: operators do remove services, but a zone that is just being loaded, or a wrong
//!   push that is soon corrected, looks the same at first.
//! - Timeouts, SERVFAIL, REFUSED and malformed answers never: they say nothing about the workers. The last good
//!   answer stays, with its age and the failure shown.

use std::sync::Arc;
use std::time::Duration;

use super::resolver::{Answer, LookupFailure, Resolver};
use super::srv::Addresses;
use super::{DnsAnswer, Workers};
use crate::clock::Moment;

/// The shortest time between two questions, also for a TTL of 0. Failures wait this long first, then twice as long
/// each time, up to `max_ttl`.
pub const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// So many times in a row DNS must say that a service is not there before its workers are dropped.
pub const ABSENT_IN_A_ROW: u32 = 3;

/// What whoever reads of a failure can do.
const LOOK_AT: &str =
    "Look at the name, and whether the servers of `dns.servers`, else of /etc/resolv.conf, can be asked";

/// Every wait is shortened by up to this share, so that many questions do not fall together.
const JITTER: f64 = 0.1;

/// Asks for `name` now and then again and again, for as long as it is polled, and keeps `workers` as DNS says. Never
/// ends by itself; may be dropped at any time, since a set is replaced whole or not at all. Also starts while DNS is
/// down: the set is then empty until the first answer.
pub async fn run(name: Arc<str>, resolver: Arc<Resolver>, workers: Arc<Workers>) {
    let mut discovery = Discovery::new(Arc::clone(&name), resolver.max_ttl());
    loop {
        let outcome = resolver.lookup(&name, discovery.known()).await;
        let wait = discovery.apply(outcome, &workers, Moment::read());
        tokio::time::sleep(jittered(wait, fastrand::f64())).await;
    }
}

/// What is remembered from question to question.
#[derive(Debug)]
pub struct Discovery {
    name: Arc<str>,
    max_ttl: Duration,
    /// Questions in a row without a whole answer.
    failures: u32,
    /// Answers in a row that say that the service is not there.
    absences: u32,
    addresses: Addresses,
    /// What was last said in the log, so that it is said once.
    logged: Option<String>,
}

impl Discovery {
    /// Nothing asked yet.
    pub fn new(name: Arc<str>, max_ttl: Duration) -> Self {
        let max_ttl = max_ttl.max(SHORTEST_WAIT);
        Self { name, max_ttl, failures: 0, absences: 0, addresses: Addresses::new(), logged: None }
    }

    /// The addresses of the targets of the last answer.
    pub fn known(&self) -> &Addresses {
        &self.addresses
    }

    /// Takes the outcome of a question into `workers`. Returns how long to wait before the next one, before jitter.
    pub fn apply(
        &mut self,
        outcome: Result<Answer, LookupFailure>,
        workers: &Workers,
        now: Moment,
    ) -> Duration {
        match outcome {
            Ok(answer) => self.answered(answer, workers, now),
            Err(LookupFailure::Absent { why, ttl }) => self.absent(why, ttl, workers, now),
            Err(LookupFailure::Broken { why }) => {
                self.absences = 0;
                self.log(Some(&why), workers);
                workers.note_dns_failure(&why, now);
                self.back_off()
            }
        }
    }

    fn answered(&mut self, answer: Answer, workers: &Workers, now: Moment) -> Duration {
        let Answer { records, ttl, addresses, incomplete } = answer;
        self.absences = 0;
        self.addresses = addresses;
        self.log(incomplete.as_deref(), workers);
        let wait = if incomplete.is_some() {
            self.back_off().min(ttl)
        } else {
            self.failures = 0;
            ttl
        };
        let count = records.len();
        let failing_since = incomplete.is_some().then(|| failing_since(workers, now));
        let dns = DnsAnswer { answered_at: Some(now), ttl, failure: incomplete, failing_since };
        if workers.replace(records, Some(dns), now) {
            tracing::info!(name = &*self.name, workers = count, "DNS gave new workers");
        }
        wait
    }

    fn absent(&mut self, why: String, ttl: Duration, workers: &Workers, now: Moment) -> Duration {
        self.failures = 0;
        self.absences = self.absences.saturating_add(1);
        self.log(Some(&why), workers);
        let seen = self.absences;
        if seen >= ABSENT_IN_A_ROW {
            let (failure, failing_since) = (Some(why), Some(failing_since(workers, now)));
            self.addresses.clear();
            if workers.replace(
                Vec::new(),
                Some(DnsAnswer { answered_at: Some(now), ttl, failure, failing_since }),
                now,
            ) {
                tracing::warn!(
                    name = &*self.name,
                    "DNS keeps saying that there are no workers: they are dropped"
                );
            }
        } else {
            let note =
                format!("{why} (said {seen} of {ABSENT_IN_A_ROW} times before the workers are dropped)");
            workers.note_dns_failure(&note, now);
        }
        ttl.clamp(SHORTEST_WAIT, self.max_ttl)
    }

    fn back_off(&mut self) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        SHORTEST_WAIT.saturating_mul(1 << doublings).min(self.max_ttl)
    }

    fn log(&mut self, why: Option<&str>, workers: &Workers) {
        if self.logged.as_deref() == why {
            return;
        }
        let known = workers.load().members.len();
        match why {
            Some(why) if known == 0 => {
                tracing::warn!(
                    name = &*self.name,
                    why,
                    "DNS gave no whole answer, and no worker is known yet; requests get 503 until it does. {LOOK_AT}"
                );
            }
            Some(why) => {
                tracing::warn!(
                    name = &*self.name,
                    why,
                    known,
                    "DNS gave no whole answer; the workers known before stay. {LOOK_AT}"
                );
            }
            None => tracing::info!(name = &*self.name, "DNS answers again"),
        }
        self.logged = why.map(str::to_owned);
    }
}

/// When the failures in a row began, if this one follows others.
fn failing_since(workers: &Workers, now: Moment) -> Moment {
    workers.load().dns.as_ref().and_then(|dns| dns.failing_since).unwrap_or(now)
}

fn jittered(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 - JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::workers::Wanted;

    const MAX_TTL: Duration = Duration::from_secs(30);

    fn now(seconds: u64) -> Moment {
        Moment::at((1 + seconds) * 1_000_000_000)
    }

    fn discovery() -> (Discovery, Arc<Workers>) {
        (Discovery::new("_web._http.example.test".into(), MAX_TTL), Workers::new(1))
    }

    fn answer(workers: u16, ttl: u64) -> Result<Answer, LookupFailure> {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Answer {
            records: (1..=workers)
                .map(|port| Wanted { address: at(port).into(), priority: 0, weight: 1 })
                .collect(),
            ttl: Duration::from_secs(ttl),
            addresses: Addresses::new(),
            incomplete: None,
        })
    }

    fn broken() -> Result<Answer, LookupFailure> {
        Err(LookupFailure::Broken { why: "no answer in time".to_owned() })
    }

    fn absent(ttl: u64) -> Result<Answer, LookupFailure> {
        Err(LookupFailure::Absent { why: "NXDOMAIN".to_owned(), ttl: Duration::from_secs(ttl) })
    }

    fn count(workers: &Workers) -> usize {
        workers.load().members.len()
    }

    #[test]
    fn a_good_answer_is_asked_again_after_its_ttl() {
        let (mut discovery, workers) = discovery();
        assert_eq!(discovery.apply(answer(2, 7), &workers, now(0)).as_secs(), 7);
        assert_eq!(count(&workers), 2);
        assert_eq!(workers.load().dns.as_ref().unwrap().answered_at, Some(now(0)));
    }

    #[test]
    fn a_broken_answer_never_empties_the_set_however_often_it_comes() {
        let (mut discovery, workers) = discovery();
        discovery.apply(answer(2, 7), &workers, now(0));
        let waits: Vec<u64> =
            (1..=8).map(|second| discovery.apply(broken(), &workers, now(second)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(count(&workers), 2);
        let dns = workers.load().dns.clone().unwrap();
        assert_eq!(dns.answered_at, Some(now(0)));
        assert_eq!(dns.failure.as_deref(), Some("no answer in time"));
        assert_eq!(dns.failing_since, Some(now(1)));
        discovery.apply(answer(1, 7), &workers, now(20));
        assert_eq!(count(&workers), 1);
        assert_eq!(workers.load().dns.clone().unwrap().failure, None);
        assert_eq!(discovery.apply(broken(), &workers, now(21)).as_secs(), 1, "the back-off begins anew");
    }

    #[test]
    fn a_name_that_is_gone_empties_the_set_at_the_third_time_only() {
        let (mut discovery, workers) = discovery();
        discovery.apply(answer(2, 7), &workers, now(0));
        assert_eq!(discovery.apply(absent(12), &workers, now(1)).as_secs(), 12, "its negative TTL");
        assert_eq!(discovery.apply(absent(0), &workers, now(2)).as_secs(), 1, "never at once");
        assert_eq!(count(&workers), 2);
        let failure = workers.load().dns.clone().unwrap().failure.unwrap();
        assert!(failure.contains("2 of 3"), "{failure}");
        assert_eq!(discovery.apply(absent(500), &workers, now(3)).as_secs(), 30, "not after max_ttl");
        assert_eq!(count(&workers), 0);
        assert_eq!(workers.load().dns.clone().unwrap().failing_since, Some(now(1)));
    }

    #[test]
    fn a_timeout_in_between_starts_the_count_of_absences_anew() {
        let (mut discovery, workers) = discovery();
        discovery.apply(answer(2, 7), &workers, now(0));
        for second in 1..20 {
            discovery.apply(absent(1), &workers, now(second));
            discovery.apply(absent(1), &workers, now(second));
            discovery.apply(broken(), &workers, now(second));
        }
        assert_eq!(count(&workers), 2);
    }

    #[test]
    fn the_target_dot_empties_the_set_at_once() {
        let (mut discovery, workers) = discovery();
        discovery.apply(answer(2, 7), &workers, now(0));
        discovery.apply(answer(0, 7), &workers, now(7));
        assert_eq!(count(&workers), 0);
        assert_eq!(workers.load().dns.clone().unwrap().failure, None);
    }

    #[test]
    fn an_incomplete_answer_is_used_and_asked_again_soon() {
        let (mut discovery, workers) = discovery();
        let incomplete = || {
            let mut answer = answer(1, 3).unwrap();
            answer.incomplete = Some("the address of b: no answer in time".to_owned());
            Ok(answer)
        };
        let waits: Vec<u64> =
            (0..4).map(|n| discovery.apply(incomplete(), &workers, now(n)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 3, 3]);
        assert_eq!(count(&workers), 1);
        assert_eq!(workers.load().dns.clone().unwrap().failing_since, Some(now(0)));
    }

    #[test]
    fn jitter_only_shortens_and_by_a_tenth_at_most() {
        let whole = Duration::from_secs(10);
        assert_eq!(jittered(whole, 0.0), whole);
        assert_eq!(jittered(whole, 1.0), Duration::from_secs(9));
    }
}
