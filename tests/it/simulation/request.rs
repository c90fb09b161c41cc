//! The way of one request, as `inbound::room` and `forward` go it: room, a worker, attempts, the end. What is counted
//! is counted as `forward/active.rs` does it, and who is asked again as `forward/tries.rs` does.

use std::sync::Arc;

use buckler::admit::capacity::Permit;
use buckler::balance::Picked;
use buckler::config::Endpoint;
use buckler::forward::ATTEMPTS_MAX;
use buckler::forward::retry::{self, Again, Asked, Attempted, Reached};
use buckler::shard::ShardId;
use buckler::workers::seat::Seat;
use buckler::workers::{CallerGroup, Trial, Worker, WorkerCounts};

use super::events::{Event, Run, SHARDS, number};
use super::plan::{Fate, Ill, MILLI, TIMEOUT};

/// A request on its way.
pub(super) struct Request {
    pub(super) shard: usize,
    /// What may not be sent twice.
    pub(super) post: bool,
    key: u64,
    /// When it came, and in which weather.
    pub(super) came: u64,
    pub(super) phase: usize,
    /// A worker may have seen it.
    pub(super) may_have_arrived: bool,
    asked: Asked,
    sent: u32,
    rounds: u32,
    replayed: bool,
    waits_until: Option<u64>,
    permit: Option<Permit>,
    attempt: Option<Attempt>,
}

/// An attempt in progress.
struct Attempt {
    worker: Arc<Worker>,
    _seat: Seat,
    _trial: Option<Trial>,
    reused: bool,
    began: u64,
    fate: Fate,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Good,
    /// The workers failed it.
    Bad,
    /// The client left.
    Left,
    /// Most requests failed: it was not let through.
    Throttled,
    /// There was no place for it.
    NoRoom,
    /// Nobody could be asked.
    Nobody,
}

impl Run {
    /// A request comes.
    pub(super) fn arrives(&mut self) {
        let acceptance = self.workers.acceptance(self.moment());
        self.rule_of_recovery(acceptance);
        let shard = self.random.usize(..usize::from(SHARDS));
        let mut request = Box::new(Request {
            shard,
            post: self.random.u8(..4) == 0,
            key: self.random.u64(..),
            came: self.now,
            phase: self.phase,
            may_have_arrived: false,
            asked: Asked::default(),
            sent: 0,
            rounds: 0,
            replayed: false,
            waits_until: None,
            permit: None,
            attempt: None,
        });
        self.rules.sums.requests += 1;
        if acceptance < 1.0 && self.random.f64() >= acceptance {
            return self.over(&request, End::Throttled);
        }
        // Who comes now does not overtake those who wait.
        let permit = match self.for_room.len() {
            0 => self.shards[shard].entrance.try_enter(acceptance),
            _ => None,
        };
        if permit.is_some() {
            self.enters(request, permit);
        } else if acceptance < 1.0 || self.plan.wait == 0 {
            self.over(&request, End::NoRoom);
        } else {
            self.may_wait(&mut request);
            self.for_room.push_back(request);
        }
    }

    fn may_wait(&mut self, request: &mut Request) {
        if request.waits_until.is_none() {
            request.waits_until = Some(self.now + self.plan.wait);
            self.after(self.plan.wait, Event::Late);
        }
    }

    fn enters(&mut self, mut request: Box<Request>, permit: Option<Permit>) {
        request.permit = permit;
        self.rule_of_capacity();
        let shard = &mut self.shards[request.shard];
        shard.budget.request();
        shard.requests += 1;
        self.next(request);
    }

    /// Goes to the next worker, or waits for a place at one.
    pub(super) fn next(&mut self, mut request: Box<Request>) {
        let picked = match self.for_seat.len() {
            0 => self.choose(&request),
            _ => Picked::Full,
        };
        if matches!(picked, Picked::Full) {
            self.may_wait(&mut request);
            return self.for_seat.push_back(request);
        }
        self.goes_to(request, picked);
    }

    /// Something may have been given back, or somebody's time may be over.
    pub(super) fn serve_those_who_wait(&mut self) {
        let is_late = |request: &Request, now| request.waits_until.is_some_and(|until| until <= now);
        while let Some(request) = self.for_seat.pop_front() {
            match self.choose(&request) {
                Picked::Full if is_late(&request, self.now) => {
                    let end = if request.asked.all().is_empty() { End::NoRoom } else { End::Bad };
                    self.gives_up(&request, end);
                }
                Picked::Full => {
                    self.for_seat.push_front(request);
                    break;
                }
                picked => self.goes_to(request, picked),
            }
        }
        while let Some(request) = self.for_room.pop_front() {
            let acceptance = self.workers.acceptance(self.moment());
            let permit = self.shards[request.shard].entrance.try_enter(acceptance);
            if permit.is_some() {
                self.enters(request, permit);
            } else if is_late(&request, self.now) {
                self.over(&request, End::NoRoom);
            } else {
                self.for_room.push_front(request);
                break;
            }
        }
    }

    /// As `forward/choice.rs` has it: one that was not asked yet; one that was, only if there is no other; never one
    /// that is barred.
    fn choose(&mut self, request: &Request) -> Picked {
        let barred = request.asked.barred();
        let first = self.choose_without(request, request.asked.all(), barred);
        if matches!(first, Picked::Nobody) && request.asked.may_come_again() {
            return self.choose_without(request, barred, barred);
        }
        first
    }

    fn choose_without(&mut self, request: &Request, without: &[Endpoint], barred: &[Endpoint]) -> Picked {
        let now = self.moment();
        self.rules.turns.look(&self.workers, now);
        let picker = &mut self.shards[request.shard].picker;
        let picked = picker.pick(&self.workers, now, without, request.key);
        self.rules_of_choice(&picked, without);
        if let Picked::One(pick) = &picked {
            let worker = &self.shards[request.shard].picker.set().members[pick.index].worker;
            if barred.contains(&worker.address) {
                drop(pick.trial.then(|| self.workers.trial(worker, now)));
                return Picked::Nobody;
            }
        }
        picked
    }

    fn goes_to(&mut self, mut request: Box<Request>, picked: Picked) {
        let Picked::One(pick) = picked else {
            let bad = !request.asked.all().is_empty();
            return self.gives_up(&request, if bad { End::Bad } else { End::Nobody });
        };
        let worker = Arc::clone(&self.shards[request.shard].picker.set().members[pick.index].worker);
        self.rules.log_pick(number(&worker), pick.trial);
        request.rounds += 1;
        let trial = pick.trial.then(|| self.workers.trial(&worker, self.moment()));
        self.rules.sums.trials += u64::from(pick.trial);
        let reused = !pick.trial && self.random.u8(..10) > 0;
        let fate = self.fate(number(&worker), reused);
        request.attempt = Some(Attempt { worker, _seat: pick.seat, _trial: trial, reused, began: 0, fate });
        if reused && fate != Fate::Unconnected {
            self.is_sent(request);
        } else {
            self.after(MILLI / 4, Event::Connects(request));
        }
    }

    fn fate(&mut self, who: usize, reused: bool) -> Fate {
        if self.random.u8(..50) == 0 {
            return Fate::ClientLeaves;
        }
        match self.ill(who) {
            None => Fate::Good,
            Some(Ill::Slow(times)) if self.plan.service * times > TIMEOUT => Fate::Silent,
            Some(Ill::Slow(_)) => Fate::Good,
            Some(Ill::Fails(percent)) if self.random.u32(..100) < percent => Fate::Status503,
            Some(Ill::Fails(_)) => Fate::Good,
            Some(Ill::Refuses) if reused && self.random.u8(..4) == 0 => Fate::Broken,
            Some(Ill::Refuses) => Fate::Unconnected,
            Some(Ill::Hangs) => Fate::Silent,
            Some(Ill::Resets) => Fate::Broken,
            Some(Ill::Declines) => Fate::Declined,
        }
    }

    pub(super) fn connects(&mut self, mut request: Box<Request>) {
        let Some(attempt) = &mut request.attempt else { unreachable!("it is being connected") };
        let worker = Arc::clone(&attempt.worker);
        if attempt.fate != Fate::Unconnected {
            self.workers.connected(&worker, self.moment());
            return self.is_sent(request);
        }
        self.rules.sums.passed_over += 1;
        // The trial, if it was one, ends by this and not by being dropped.
        self.workers.connect_failed(&worker, self.moment());
        request.attempt = None;
        self.once_more(request, &worker, Reached::NoConnection, false);
    }

    /// The whole request is at the worker.
    fn is_sent(&mut self, mut request: Box<Request>) {
        let (random, now) = (self.random.f64() + 0.5, self.now);
        let Some(attempt) = &mut request.attempt else { unreachable!("it was chosen") };
        attempt.began = now;
        let counts = attempt.worker.counts.of(ShardId(request.shard as u16));
        counts.attempts.add(1);
        counts.active.add(1);
        counts.waiting.add(1);
        let (fate, who) = (attempt.fate, number(&attempt.worker));
        self.rule_of_repetition(&request);
        let slower = match self.ill(who) {
            Some(Ill::Slow(times)) => times,
            _ => 1,
        };
        let usual = (self.plan.service as f64 * random) as u64;
        let takes = match fate {
            Fate::Good => (usual * slower).min(TIMEOUT),
            Fate::Silent => TIMEOUT,
            Fate::Status503 | Fate::Broken | Fate::ClientLeaves => usual / 2,
            Fate::Declined | Fate::Unconnected => usual / 8,
        };
        self.after(takes, Event::Ends(request));
    }

    /// An attempt ends.
    pub(super) fn ends(&mut self, mut request: Box<Request>) {
        let Some(attempt) = request.attempt.take() else { unreachable!("it was sent") };
        let Attempt { worker, fate, reused, began, .. } = &attempt;
        let (worker, fate, reused) = (Arc::clone(worker), *fate, *reused);
        let counts = worker.counts.of(ShardId(request.shard as u16));
        tell(counts, fate, self.now - began);
        drop(attempt);
        if reused && matches!(fate, Fate::Good | Fate::Status503) {
            self.workers.connected(&worker, self.moment());
        }
        let reached = match fate {
            Fate::Good => {
                self.workers
                    .requests
                    .of(ShardId(request.shard as u16))
                    .of(CallerGroup::default())
                    .good
                    .add(1);
                return self.over(&request, End::Good);
            }
            Fate::ClientLeaves => return self.over(&request, End::Left),
            Fate::Status503 if !self.plan.on_503 => return self.gives_up(&request, End::Bad),
            Fate::Status503 => Reached::Answered,
            Fate::Silent => Reached::Silent,
            Fate::Broken => Reached::MaybeSent,
            Fate::Declined | Fate::Unconnected => Reached::Refused,
        };
        request.may_have_arrived |= reached != Reached::Refused;
        self.once_more(request, &worker, reached, reused);
    }

    /// As `forward/tries.rs` has it.
    fn once_more(&mut self, mut request: Box<Request>, worker: &Worker, reached: Reached, reused: bool) {
        let (repeatable, replayed) = (!request.post, request.replayed);
        let again = retry::again(Attempted { reached, reused, repeatable, replayed });
        request.sent += u32::from(again != Again::PassOver);
        let mut gap = 0;
        let goes_on = match again {
            Again::Never => false,
            Again::PassOver => {
                request.asked.bar(&worker.address);
                true
            }
            Again::Replay => {
                self.rules.sums.replayed += 1;
                request.replayed = true;
                request.asked.ask_last(&worker.address);
                true
            }
            Again::Retry { same, pause } => {
                if same {
                    request.asked.ask_last(&worker.address);
                } else {
                    request.asked.bar(&worker.address);
                }
                let chance = self.random.f64();
                gap = if pause { retry::pause(request.sent, chance).as_nanos() as u64 } else { 0 };
                self.may_retry(&request)
            }
        };
        if goes_on && request.rounds < ATTEMPTS_MAX {
            self.after(gap, Event::Again(request));
        } else {
            self.gives_up(&request, End::Bad);
        }
    }

    fn may_retry(&mut self, request: &Request) -> bool {
        let members = &self.workers.load().members;
        let barred = request.asked.barred();
        if request.sent >= self.plan.attempts
            || members.iter().all(|member| barred.contains(&member.worker.address))
        {
            return false;
        }
        let granted = self.shards[request.shard].budget.take();
        if granted {
            self.rules.sums.retries += 1;
            self.shards[request.shard].retries += 1;
            self.rule_of_budget(request.shard);
        } else {
            self.rules.sums.denied += 1;
        }
        granted
    }

    /// No worker gave what was asked for.
    fn gives_up(&mut self, request: &Request, end: End) {
        // That there are no workers is not the workers' fault.
        if end == End::Bad {
            self.workers.requests.of(ShardId(request.shard as u16)).of(CallerGroup::default()).bad.add(1);
        }
        self.over(request, end);
    }
}

/// Counts the end of an attempt as `forward/active.rs` does.
fn tell(counts: &WorkerCounts, fate: Fate, waited: u64) {
    counts.waiting.sub(1);
    counts.active.sub(1);
    if fate == Fate::ClientLeaves {
        return;
    }
    counts.waited.add(1);
    counts.waited_nanos.add(waited);
    match fate {
        Fate::Good => counts.good.add(1),
        Fate::Status503 => counts.bad.add(1),
        _ => {
            counts.failures.add(1);
            counts.bad.add(1);
        }
    }
}
