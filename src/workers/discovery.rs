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
                self.log(Some(&why));
                workers.note_dns_failure(&why, now);
                self.back_off()
            }
        }
    }

    fn answered(&mut self, answer: Answer, workers: &Workers, now: Moment) -> Duration {
        let Answer { records, ttl, addresses, incomplete } = answer;
        self.absences = 0;
        self.addresses = addresses;
        self.log(incomplete.as_deref());
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
        self.log(Some(&why));
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

    fn log(&mut self, why: Option<&str>) {
        if self.logged.as_deref() == why {
            return;
        }
        match why {
            Some(why) => {
                tracing::warn!(name = &*self.name, why, "DNS gave no whole answer; the last good one stays")
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
