//! Virtual time: what happens next, and to whom. What a request does stands in `request`.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buckler::admit::capacity::{Capacity, Entrance};
use buckler::balance::Picker;
use buckler::clock::Moment;
use buckler::forward::budget::Budget;
use buckler::workers::{Worker, Workers};

use super::plan::{Ill, MILLI, Plan, QUIET_GAP, SECOND, Weather};
use super::request::Request;
use super::rules::{Rules, Sums};

/// Shards: as many as it takes for two not to know of each other.
pub(super) const SHARDS: u16 = 2;

/// One run.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) random: fastrand::Rng,
    pub(super) now: u64,
    pub(super) workers: Arc<Workers>,
    pub(super) capacity: Arc<Capacity>,
    pub(super) shards: Vec<Shard>,
    pub(super) phase: usize,
    /// Those who wait for a place of the service, and for one at a worker.
    pub(super) for_room: VecDeque<Box<Request>>,
    pub(super) for_seat: VecDeque<Box<Request>>,
    pub(super) rules: Rules,
    /// What comes, by time, then by when it was said.
    due: BTreeMap<(u64, u64), Event>,
    said: u64,
}

/// What one shard has for itself.
pub(super) struct Shard {
    pub(super) picker: Picker,
    pub(super) entrance: Rc<Entrance>,
    pub(super) budget: Budget,
    pub(super) requests: u64,
    pub(super) retries: u64,
}

pub(super) enum Event {
    /// A request comes; if it is one of the stream, so does the next one.
    Arrives { stream: bool },
    /// A connection is made, or refused.
    Connects(Box<Request>),
    /// An attempt ends.
    Ends(Box<Request>),
    /// A pause before a retry is over.
    Again(Box<Request>),
    /// Somebody may have waited for long enough.
    Late,
    /// The check of a worker ends.
    Checked(usize),
    /// DNS is asked.
    Dns,
    /// Other weather.
    Phase(usize),
    /// Rules that hold at any time are looked at.
    Look,
}

impl Run {
    pub(super) fn new(plan: Plan) -> Self {
        let seed = plan.seed;
        // `Workers::connect_failed` draws its jitter from the thread's own.
        fastrand::seed(seed);
        let workers = Workers::new(usize::from(SHARDS));
        workers.adopt(plan.terms.clone());
        workers.replace(plan.members.clone(), None, Moment::at(SECOND));
        let capacity = Arc::<Capacity>::default();
        capacity.adopt(plan.concurrent, Duration::from_nanos(plan.wait));
        let shard = |number: u16| Shard {
            picker: Picker::new(seed ^ u64::from(number) << 32, &plan.balance),
            entrance: Entrance::new(&capacity),
            budget: Budget::new(plan.budget),
            requests: 0,
            retries: 0,
        };
        let mut run = Self {
            random: fastrand::Rng::with_seed(!seed),
            now: SECOND,
            shards: (0..SHARDS).map(shard).collect(),
            rules: Rules::new(&plan),
            workers,
            capacity,
            phase: 0,
            for_room: VecDeque::new(),
            for_seat: VecDeque::new(),
            due: BTreeMap::new(),
            said: 0,
            plan,
        };
        run.rules.meet(&run.workers);
        run.schedule();
        run
    }

    /// What is known from the start.
    fn schedule(&mut self) {
        self.after(0, Event::Arrives { stream: true });
        self.after(0, Event::Look);
        for place in 0..self.plan.phases.len() {
            self.after(self.plan.phases[place].begin - self.now, Event::Phase(place));
        }
        if let Some(every) = self.plan.check_every {
            for who in 0..self.plan.members.len() {
                let offset = self.random.u64(..every);
                self.after(offset, Event::Checked(who));
            }
        }
    }

    /// Lets all of it happen, and says what came of it.
    pub(super) fn finish(mut self) -> Sums {
        while let Some(((at, _), event)) = self.due.pop_first() {
            self.now = at;
            self.rules.log(at, &event);
            let gives_back = !matches!(event, Event::Arrives { .. } | Event::Again(_) | Event::Look);
            let before = self.workers.version();
            self.happens(event);
            if gives_back || self.workers.version() != before {
                self.serve_those_who_wait();
            }
        }
        self.rules_at_the_end();
        self.rules.sums
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrives { stream } => {
                if stream && self.now < self.plan.end {
                    let gap = if self.now < self.plan.quiet { self.plan.gap } else { QUIET_GAP };
                    // Poisson: gaps are exponential.
                    let gap = -(1.0 - self.random.f64()).ln() * gap as f64;
                    self.after(gap as u64, Event::Arrives { stream });
                }
                self.arrives();
            }
            Event::Connects(request) => self.connects(request),
            Event::Ends(request) => self.ends(request),
            Event::Again(request) => self.next(request),
            Event::Late => {}
            Event::Checked(who) => self.checked(who),
            Event::Dns => self.dns(),
            Event::Phase(phase) => self.begins(phase),
            Event::Look => {
                self.rules_at_any_time();
                if self.now < self.plan.end {
                    let gap = if self.now < self.plan.quiet { SECOND / 2 } else { 20 * SECOND };
                    self.after(gap, Event::Look);
                }
            }
        }
    }

    pub(super) fn after(&mut self, gap: u64, event: Event) {
        self.said += 1;
        self.due.insert((self.now + gap, self.said), event);
    }

    pub(super) const fn moment(&self) -> Moment {
        Moment::at(self.now)
    }

    /// What is wrong with this worker now.
    pub(super) fn ill(&self, who: usize) -> Option<Ill> {
        self.plan.ill(self.phase, who, self.now)
    }

    fn begins(&mut self, phase: usize) {
        self.phase = phase;
        for _ in 0..self.plan.phases[phase].crowd {
            let late = self.random.u64(..20 * MILLI);
            self.after(late, Event::Arrives { stream: false });
        }
        // All are named again when such a phase ends.
        if phase > 0 {
            self.dns();
        }
    }

    /// DNS names those whom it names now, and is asked again when that changes.
    fn dns(&mut self) {
        let mut wanted = self.plan.members.clone();
        if let Weather::Gone { who, every } = self.plan.phases[self.phase].weather {
            let begin = self.plan.phases[self.phase].begin;
            if ((self.now - begin) / every).is_multiple_of(2) {
                wanted.retain(|one| who >> (one.address.tcp().unwrap().port() - 1) & 1 == 0);
            }
            if self.now + every < self.plan.phases[self.phase].end {
                self.after(every, Event::Dns);
            }
            if self.random.u8(..4) == 0 {
                self.workers.note_dns_failure("timed out", self.moment());
            }
        }
        self.workers.replace(wanted, None, self.moment());
        self.rules.meet(&self.workers);
    }

    fn checked(&mut self, who: usize) {
        let address = &self.plan.members[who].address;
        let worker = self
            .workers
            .load()
            .members
            .iter()
            .find_map(|member| (member.worker.address == *address).then(|| Arc::clone(&member.worker)));
        if let Some(worker) = worker {
            let result = match self.ill(who) {
                Some(Ill::Fails(percent)) if self.random.u32(..100) < percent => Err("status 503"),
                Some(Ill::Refuses | Ill::Hangs | Ill::Resets) => Err("no answer"),
                _ => Ok(()),
            };
            self.workers.checked(&worker, result.map_err(str::to_owned), self.moment());
        }
        if let Some(every) = self.plan.check_every.filter(|_| self.now < self.plan.end) {
            let jitter = self.random.f64().mul_add(0.2, 0.9);
            // Seldom in the quiet time, which is long.
            let every = if self.now < self.plan.quiet { every } else { 10 * SECOND };
            self.after((every as f64 * jitter) as u64, Event::Checked(who));
        }
    }
}

/// The number of a worker, from 0 on.
pub(super) fn number(worker: &Worker) -> usize {
    usize::from(worker.address.tcp().unwrap().port()) - 1
}
