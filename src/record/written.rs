//! What is written of a request when it is over: counts, a line of the log, a kept refusal. What is known of it until
//! then stands in `outcome.rs`.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use super::counts::ShardCounts;
use super::labels::code_index;
use super::line::Line;
use super::outcome::{Asker, Outcome};
use super::refusals::{Kept, TEXT_BYTES};
use super::told::Part;
use crate::clock::Moment;
use crate::refusal::Refusal;

impl Outcome {
    pub(super) fn write(&self, now: Moment) {
        let mine = self.scribe.mine();
        let (status, reason) = (self.final_status(), self.reason());
        let code = code_index(status);
        let method = usize::from(self.method);
        mine.active.sub(1);
        mine.requests.add(code, reason);
        mine.durations.cell(method, code).observe_nanos(now.nanos.saturating_sub(self.begun.nanos));
        if self.tunnel.is_some() {
            mine.tunnels.sub(1);
        } else {
            mine.bytes_in.add(self.bytes_in);
            mine.bytes_out.add(self.bytes_out);
        }
        mine.retries.add(u64::from(self.attempts.saturating_sub(1)));
        if let Some(queued) = self.queued {
            mine.queued.observe(queued);
        }
        if let (true, Some(reason)) = (self.fallback, reason) {
            mine.fallbacks[reason.index()].add(1);
        }
        self.count_caller(mine);
        if let Some(Refusal { rule: Some(rule), reason, .. }) = &self.refusal {
            self.scribe.count_refused(mine, rule, *reason);
        }
        let sampled = match self.sampled {
            Some(sampled) => sampled,
            None if self.is_turned_away() => self.sample(now),
            None => Some(0),
        };
        let Some(suppressed) = sampled else {
            mine.suppressed.add(1);
            return;
        };
        if let Some(refusal) = &self.refusal {
            self.keep(refusal, now, suppressed);
        }
        if self.is_logged() {
            self.log(now, suppressed);
        }
    }

    #[inline(never)]
    fn log(&self, now: Moment, suppressed: u64) {
        let Some(log) = &self.scribe.log else { return };
        let line = Line { outcome: self, service: &self.scribe.service, now, suppressed };
        log.write(|format, second, out| line.write(format, second, out));
    }

    fn count_caller(&self, mine: &ShardCounts) {
        let Some(caller) = &self.caller else { return };
        let allowed = !self.is_turned_away();
        match &caller.who {
            Asker::Known(number) if self.count_known(*number, allowed) => return,
            Asker::Known(_) => {}
            Asker::Other(name) => mine.top.lock().unwrap_or_else(PoisonError::into_inner).add(name, allowed),
        }
        mine.unnamed.add(allowed);
    }

    fn count_known(&self, number: usize, allowed: bool) -> bool {
        match &self.tunnel {
            None => self.scribe.count_named(number, allowed),
            Some(tunnel) => {
                tunnel.caller.as_ref().is_some_and(|name| self.scribe.count_by_name(name, allowed))
            }
        }
    }

    /// Whether a request that was turned away is written down, and how many were not since the last one.
    pub(super) fn sample(&self, now: Moment) -> Option<u64> {
        let mut sampler = self.scribe.sampler.borrow_mut();
        match (self.caller.as_ref().map(|caller| &caller.who), self.client) {
            (Some(Asker::Known(number)), _) => sampler.admit(number, now),
            (Some(Asker::Other(name)), _) => sampler.admit(name.as_bytes(), now),
            (None, IpAddr::V4(address)) => sampler.admit(&address.octets(), now),
            // A /64 is one client: whoever has it has all its addresses.
            (None, IpAddr::V6(address)) => sampler.admit(&address.octets()[..8], now),
        }
    }

    /// Of a flood few are kept.
    #[cold]
    fn keep(&self, refusal: &Refusal, now: Moment, suppressed: u64) {
        let text = |part| String::from_utf8_lossy(self.part(part).unwrap_or_default());
        let kept = Kept {
            unix_micros: now.unix_micros,
            request_id: text(Part::RequestId).into_owned(),
            caller: self.caller_name().map(Arc::clone),
            client: self.client,
            method: cut(&text(Part::Method)),
            host: cut(&text(Part::Host)),
            path: cut(&text(Part::Path)),
            status: self.final_status(),
            reason: refusal.reason,
            detail: refusal.detail,
            rule: refusal.rule.as_ref().map(|rule| Arc::clone(rule.shared())),
            retry_after: refusal.retry_after,
            fallback: self.fallback,
            suppressed,
        };
        let mine = self.scribe.mine();
        mine.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES)].to_owned()
}
