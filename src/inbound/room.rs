//! Is there room, and quota left? The order is the point: while most requests fail at the workers, only some go on at
//! all; then the caller's own rate is looked at, which takes nothing; then a place of the service's capacity is taken,
//! at once or after a short wait, and, where those are bounded, one at a worker; only who has both is charged. So what
//! is refused for want of room has cost nobody anything, and nobody waits who would be refused afterwards.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::admit::caller::Caller;
use crate::admit::capacity::Permit;
use crate::admit::limit::{Grant, Refused};
use crate::admit::{Facts, Shadow};
use crate::clock::{Moment, ShardClock};
use crate::forward::Reserved;
use crate::queue::NoPlace;
use crate::record::Outcome;
use crate::refusal::{Reason, Refusal};
use crate::service::Desk;
use crate::workers::CallerGroup;

/// When to try again where there was no place: nobody knows when one will be free, and it is the least that
/// `Retry-After` can say.
const RETRY: Duration = Duration::from_secs(1);

/// A request that asks for room.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) desk: &'a Desk,
    pub(super) clock: &'a ShardClock,
    pub(super) caller: &'a Caller,
    pub(super) facts: &'a Facts<'a>,
    /// What `balance: ring` goes by.
    pub(super) key: u64,
    /// When all must be over.
    pub(super) until: Option<Instant>,
}

/// What a request that passed holds until its last byte: it counts as in progress for the service's capacity and for
/// its limits until this is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) grant: Grant,
    /// The place at the first worker: to be taken along to it.
    pub(super) reserved: Reserved,
    _permit: Permit,
}

/// Asks for room, and then charges, where nothing has to be waited for and places at workers are not bounded: nearly
/// always. `now` is when the request came. None: to be asked in turn.
///
/// # Errors
/// 503 `workers_failing`, which charged nothing; else what the limits said, and no place is taken.
pub(super) fn enter_at_once(
    asking: &Asking<'_>,
    now: Moment,
    shadows: &mut Vec<Shadow>,
) -> Option<Result<Admission, Refused>> {
    let desk = asking.desk;
    let workers = &desk.service.workers;
    let of_caller = workers.acceptance_of(CallerGroup::of(asking.caller.hash), now);
    if of_caller < 1.0 && fastrand::f64() >= of_caller {
        let detail = "most of the newest requests failed at the workers; a few go on, to see when that ends";
        return Some(Err(no_room(Reason::WorkersFailing, detail)));
    }
    if workers.seats_each().is_some() {
        return None;
    }
    let takes_place = desk.entrance.is_bounded();
    let claims = match desk.service.limits.look(asking.caller, asking.facts, now, takes_place) {
        Ok(claims) => claims,
        Err(refused) => return Some(Err(refused)),
    };
    let permit = desk.entrance.try_enter(workers.acceptance(now))?;
    let charged = claims.charge(now, shadows);
    Some(charged.map(|grant| Admission { grant, reserved: Reserved::default(), _permit: permit }))
}

/// The same, waiting for what is not there at once. In a box: waiting is rare, and its state would make every request's
/// larger.
///
/// # Errors
/// 503 `overload`, which charged nothing; else what the limits said, and no place is taken.
pub(super) fn enter<'a>(
    asking: &'a Asking<'_>,
    now: Moment,
    outcome: &'a mut Outcome,
    shadows: &'a mut Vec<Shadow>,
) -> Pin<Box<dyn Future<Output = Result<Admission, Refused>> + 'a>> {
    Box::pin(enter_in_turn(asking, now, outcome, shadows))
}

async fn enter_in_turn(
    asking: &Asking<'_>,
    now: Moment,
    outcome: &mut Outcome,
    shadows: &mut Vec<Shadow>,
) -> Result<Admission, Refused> {
    let desk = asking.desk;
    let workers = &desk.service.workers;
    let acceptance = workers.acceptance(now);
    // Nobody takes a place, waits or keeps others waiting who would be refused afterwards.
    desk.service.limits.check(asking.caller, asking.facts, now)?;
    let (permit, mut now) = match desk.entrance.try_enter(acceptance) {
        Some(permit) => (permit, now),
        None => (wait(asking, acceptance, now, outcome).await?, asking.clock.refresh()),
    };
    let mut reserved = Reserved::default();
    if workers.seats_each().is_some() {
        // Its quota may have gone while it waited for a place.
        desk.service.limits.check(asking.caller, asking.facts, now)?;
        reserved =
            desk.route.reserve(asking.key, asking.until, outcome).await.map_err(Refused::without_standing)?;
        now = asking.clock.now();
    }
    let grant = desk.service.limits.charge(asking.caller, asking.facts, now, shadows)?;
    Ok(Admission { grant, reserved, _permit: permit })
}

/// Waits for a place, if that is of use: it is against bursts, not for workers that fail.
async fn wait(
    asking: &Asking<'_>,
    acceptance: f64,
    now: Moment,
    outcome: &mut Outcome,
) -> Result<Permit, Refused> {
    let service = &asking.desk.service;
    let longest = asking.desk.entrance.longest_wait();
    if acceptance < 1.0 || longest.is_zero() {
        asking.desk.entrance.note_refused();
        return Err(no_room(Reason::Overload, "all places of `capacity` are taken"));
    }
    let until = Instant::from_std(now.instant()) + longest;
    let until = asking.until.map_or(until, |all| all.min(until));
    let acceptance = || service.workers.acceptance(asking.clock.now());
    let waited = asking.desk.entrance.enter_in_turn(until, acceptance).await;
    outcome.queued(asking.clock.refresh().since(now));
    waited.map_err(|no_place| {
        asking.desk.entrance.note_refused();
        let detail = match no_place {
            NoPlace::Late => "no place of `capacity` was free within `capacity.wait`",
            NoPlace::TooManyWait => "all places of `capacity` are taken, and too many requests wait for one",
        };
        no_room(Reason::Overload, detail)
    })
}

fn no_room(reason: Reason, detail: &'static str) -> Refused {
    Refused::without_standing(Refusal::new(reason, detail).after(RETRY))
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};
    use std::rc::Rc;
    use std::sync::Arc;

    use http::Method;

    use super::*;
    use crate::admit::caller::{CachedCaller, CallerBook};
    use crate::admit::ledger::Ledger;
    use crate::config::{self, Mode, Quota, Rate};
    use crate::fields::Fields;
    use crate::refusal::RuleRef;
    use crate::service::Service;
    use crate::shard::ShardId;

    const FACTS: Facts<'_> = Facts { method: &Method::GET, host: "h", path: "/" };

    /// One request an hour.
    fn one(name: &str) -> Quota {
        let rate = Rate { interval: Duration::from_secs(3600), burst: NonZeroU32::MIN };
        let rule_ref = Arc::new(RuleRef { name: name.into(), at: String::new(), reason: None });
        Quota { rate: Some(rate), concurrent: None, mode: Mode::Enforce, rule_ref }
    }

    /// A service of one place, with these limits; and what callers of these addresses are told at once, one after
    /// another, each of whom leaves. None: to be asked in turn.
    fn told(
        total: Option<Quota>,
        hold: impl Fn(&Desk, usize) -> Option<Permit>,
        addresses: &[u8],
    ) -> Vec<Option<Result<(), Reason>>> {
        let clock = ShardClock::new();
        let callers = Arc::new(CallerBook::new(config::plain_callers()));
        let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
        let mut service = config::plain_service();
        service.limits.default = Some(one("default"));
        service.limits.total = total;
        service.capacity.concurrent = Some(NonZeroU32::MIN);
        let service = Service::new((&Arc::new(service), None), &callers, &ledger, 1, None);
        let desk: Rc<Desk> = Desk::new(service, (ShardId(0), &clock), None, None);
        let ask = |(n, last): (usize, &u8)| {
            let address = std::net::IpAddr::from([127, 0, 0, *last]);
            let caller = callers.identify(address.into(), &Fields::default(), &mut CachedCaller::default());
            let caller = &caller.unwrap();
            let asking = Asking { desk: &desk, clock: &clock, caller, facts: &FACTS, key: 0, until: None };
            let _held = hold(&desk, n);
            let told = enter_at_once(&asking, clock.now(), &mut Vec::new());
            told.map(|told| told.map(drop).map_err(|refused| refused.refusal.reason))
        };
        addresses.iter().enumerate().map(ask).collect()
    }

    #[test]
    fn who_is_over_its_own_rate_hears_so_before_it_takes_a_place() {
        // While the only place is taken, whoever asked for one first would have to be asked in turn.
        let taken_after_the_first =
            |desk: &Desk, n| (n > 0).then(|| desk.entrance.try_enter(1.0).expect("nobody has it"));
        let told = told(None, taken_after_the_first, &[1, 1, 2]);
        assert_eq!(told, [Some(Ok(())), Some(Err(Reason::CallerRate)), None]);
    }

    #[test]
    fn who_is_over_its_own_rate_hears_of_that_before_the_total_is_asked() {
        let told = told(Some(one("total")), |_, _| None, &[1, 1, 2]);
        let refused = [Reason::CallerRate, Reason::ServiceLimit].map(|reason| Some(Err(reason)));
        assert_eq!(told, [Some(Ok(())), refused[0], refused[1]]);
    }
}
