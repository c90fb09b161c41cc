//! What a run is made of, drawn from its seed: the workers, the configuration, the traffic, and what goes wrong when.

use std::num::NonZeroU32;
use std::time::Duration;

use buckler::config::{Balance, RingKey};
use buckler::workers::{Terms, Wanted};

pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLI;

/// No answer within this time: the attempt is given up.
pub(super) const TIMEOUT: u64 = 800 * MILLI;

/// All is well for so long at the end, with the usual traffic, so that whatever was learnt can be unlearnt.
const CALM: u64 = 5 * SECOND;

/// And for so long with a request now and then: the longest time for which an ejected worker of which nothing is heard
/// is left alone (16 × 10 s), three times.
const QUIET: u64 = 500 * SECOND;

/// Between two requests of the quiet time.
pub(super) const QUIET_GAP: u64 = 5 * SECOND;

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) members: Vec<Wanted>,
    pub(super) balance: Balance,
    pub(super) terms: Terms,
    pub(super) concurrent: Option<NonZeroU32>,
    /// For a place of the service or at a worker, in nanoseconds.
    pub(super) wait: u64,
    /// Between two checks of a worker, in nanoseconds.
    pub(super) check_every: Option<u64>,
    pub(super) attempts: u32,
    pub(super) budget: f64,
    /// `retries.on: [503]`.
    pub(super) on_503: bool,
    /// The nanoseconds that an answer takes on average.
    pub(super) service: u64,
    /// The nanoseconds between two requests on average.
    pub(super) gap: u64,
    pub(super) phases: Vec<Phase>,
    /// When the quiet time begins, and when all ends.
    pub(super) quiet: u64,
    pub(super) end: u64,
}

/// A time with one kind of weather.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) weather: Weather,
    /// So many requests come at once when it begins.
    pub(super) crowd: u32,
}

/// What the workers of a phase do. `who` has a bit for each worker; `every` is how long they do it before they do the
/// opposite for as long, 0: all the time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weather {
    Well,
    Ill {
        who: u16,
        ill: Ill,
        every: u64,
    },
    /// DNS leaves them out, or knows nothing for a while.
    Gone {
        who: u16,
        every: u64,
    },
}

/// What is wrong with a worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ill {
    /// It takes so many times as long.
    Slow(u64),
    /// It answers so many of 100 requests with 503.
    Fails(u32),
    /// It takes no connections.
    Refuses,
    /// It never answers.
    Hangs,
    /// It breaks the connection off.
    Resets,
    /// It refuses streams (HTTP/2), looking at none.
    Declines,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Status503,
    Silent,
    Broken,
    Declined,
    Unconnected,
    ClientLeaves,
}

impl Plan {
    /// Some hundred requests in 20 to 60 seconds, before the calm.
    pub(super) fn small(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let seconds = random.u64(20..=60);
        // Evenly over the logarithm, 100 to 800.
        let requests = (100.0 * 8_f64.powf(random.f64())) as u64;
        Self::draw(seed, &mut random, seconds, (requests / seconds).max(10).min(requests))
    }

    /// Hundreds to thousands of requests a second.
    pub(super) fn busy(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0xB057);
        let seconds = random.u64(8..=16);
        let rps = (200.0 * 10_f64.powf(random.f64())) as u64;
        let mut plan = Self::draw(seed, &mut random, seconds, rps);
        if matches!(plan.balance, Balance::Ring(_)) {
            // Around a full ring a debug build walks for a tenth of a millisecond, for each place that is given back.
            plan.terms.seats_each = 0;
        }
        plan
    }

    fn draw(seed: u64, random: &mut fastrand::Rng, seconds: u64, rps: u64) -> Self {
        let count = random.usize(1..=12);
        let members = members(random, count);
        let service = random.u64(1..=60) * MILLI;
        // How many are at the workers when all is well.
        let busy = (rps * service).div_ceil(SECOND) as u32;
        let balance = match random.u8(..3) {
            0 => Balance::Weighted,
            1 => Balance::LeastRequests,
            _ => Balance::Ring(RingKey::Caller),
        };
        let seats_each = match random.u8(..4) {
            0 => 1 + 4 * busy / count as u32 + random.u32(..4),
            1 => 1 + random.u32(..3),
            _ => 0,
        };
        let check_every = (random.u8(..3) == 0).then(|| random.u64(500..5_000) * MILLI);
        let terms = Terms {
            passive: random.u8(..6) > 0,
            max_ejected: *random.choice(&[0.5, 0.5, 0.2, 1.0, 0.0]).unwrap(),
            slow_start: Duration::from_secs(*random.choice(&[0, 1, 5, 10]).unwrap()),
            seats_each,
            // The simulation has no capacity.
            concurrent: 0,
            by_ring: matches!(balance, Balance::Ring(_)),
            checked: check_every.is_some(),
            required_at_start: check_every.is_some() && random.bool(),
            healthy_after: random.u32(1..=3),
            unhealthy_after: random.u32(1..=3),
        };
        let phases = phases(random, count, seconds, rps);
        let quiet = phases.last().unwrap().end;
        Self {
            seed,
            members,
            balance,
            terms,
            concurrent: NonZeroU32::new(if random.bool() { 0 } else { 1 + 3 * busy + random.u32(..8) }),
            wait: *random.choice(&[0, 10, 200, 1_000]).unwrap() * MILLI,
            check_every,
            attempts: random.u32(1..=4),
            budget: *random.choice(&[0.0, 0.2, 0.2, 1.0]).unwrap(),
            on_503: random.bool(),
            service,
            gap: SECOND / rps,
            phases,
            quiet,
            end: quiet + QUIET,
        }
    }

    /// What is wrong with worker `who` at `now`, which is in this phase.
    pub(super) fn ill(&self, phase: usize, who: usize, now: u64) -> Option<Ill> {
        let Phase { begin, weather, .. } = self.phases[phase];
        match weather {
            Weather::Ill { who: ills, ill, every } if ills >> who & 1 == 1 => {
                let spell = (now - begin).checked_div(every).unwrap_or(0);
                spell.is_multiple_of(2).then_some(ill)
            }
            _ => None,
        }
    }

    /// The part of requests that fail, if the workers do nothing else wrong and all do it alike.
    pub(super) fn all_fail(&self, phase: usize) -> Option<f64> {
        match self.phases[phase].weather {
            Weather::Ill { who: u16::MAX, ill: Ill::Fails(percent), every: 0 } => {
                Some(f64::from(percent) / 100.0)
            }
            _ => None,
        }
    }
}

fn members(random: &mut fastrand::Rng, count: usize) -> Vec<Wanted> {
    let (priorities, weights) = (random.u16(1..=3), *random.choice(&[1, 5, 5, 1_000]).unwrap());
    let zeros = random.u8(..5) == 0;
    (1..=count as u16)
        .map(|port| Wanted {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
            priority: random.u16(..priorities),
            weight: if zeros && random.bool() { 0 } else { random.u16(1..=weights) },
        })
        .collect()
}

/// Well and ill in turn, with the calm at the end.
fn phases(random: &mut fastrand::Rng, count: usize, seconds: u64, rps: u64) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut begin = SECOND;
    while begin < seconds * SECOND {
        let well = begin + random.u64(3_000..6_000) * MILLI;
        phases.push(Phase { begin, end: well, weather: Weather::Well, crowd: 0 });
        let end = well + random.u64(1_000..12_000) * MILLI;
        phases.push(Phase { begin: well, end, weather: weather(random, count), crowd: 0 });
        begin = end;
    }
    phases.push(Phase { begin, end: begin + CALM, weather: Weather::Well, crowd: 0 });
    // Those who waited for the end of an outage come all at once.
    for phase in phases.iter_mut().skip(1) {
        if random.u8(..6) == 0 {
            phase.crowd = random.u32(..(rps as u32 * 4).min(4_000));
        }
    }
    phases
}

fn weather(random: &mut fastrand::Rng, count: usize) -> Weather {
    let ill = match random.u8(..8) {
        0 | 1 => Ill::Fails(random.u32(10..=40)),
        2 => Ill::Fails(100),
        3 => Ill::Refuses,
        4 => Ill::Hangs,
        5 => Ill::Resets,
        6 => Ill::Declines,
        _ => Ill::Slow(random.u64(2..=20)),
    };
    let one = 1 << random.usize(..count);
    let who = match random.u8(..3) {
        0 => one,
        1 => u16::MAX,
        _ => one | random.u16(..),
    };
    let every = if random.u8(..3) > 0 { 0 } else { random.u64(50..3_000) * MILLI };
    match random.u8(..8) {
        0 => Weather::Gone { who, every: every.max(300 * MILLI) },
        _ => Weather::Ill { who, ill, every },
    }
}
