//! Services in virtual time: the pure parts of Buckler (health, score, slow start, balance, capacity, seats, retries)
//! under workers that flap, lag, hang, refuse and vanish, and under crowds. No socket, no clock, no thread.
//!
//! Each run is drawn from a seed: `plan` says what goes wrong and when, `events` lets time pass, `request` is the way
//! of one request as `forward` goes it, and `rules` says what must hold whatever happens. A rule that is broken stops
//! the test and names the seed.
//!
//! ```text
//! BUCKLER_SEED=4711 cargo test --test it simulation     that one run, with its plan and its sums
//! BUCKLER_RUNS=100000 cargo test --test it simulation   so many runs of each test
//! BUCKLER_FROM=70000 …                                  runs from this seed on
//! ```

mod events;
mod plan;
mod request;
mod rules;
mod turns;

use events::Run;
use plan::Plan;

/// Runs of the smaller kind in a normal test run: about fifteen seconds of a core in a debug build.
const SMALL_RUNS: u64 = 1_200;

/// Runs with up to thousands of requests a second, which cost ten times as much.
const BUSY_RUNS: u64 = 30;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a whole number")))
}

/// Runs the plans that `draw` makes of the seeds which are asked for.
fn run_all(usual: u64, draw: fn(u64) -> Plan) {
    if let Some(seed) = number("BUCKLER_SEED") {
        let plan = draw(seed);
        println!("{plan:#?}");
        println!("{:#?}", Run::new(plan).finish());
        return;
    }
    let from = number("BUCKLER_FROM").unwrap_or(1);
    let runs = number("BUCKLER_RUNS").unwrap_or(usual);
    let mut sum = rules::Sums::default();
    for seed in from..from + runs {
        sum.add(&Run::new(draw(seed)).finish());
    }
    println!("{runs} runs from seed {from} on: {sum:?}");
    // A simulation in which nothing happens would prove nothing.
    if runs >= usual {
        assert!(sum.retries > 0 && sum.denied > 0 && sum.passed_over > 0 && sum.replayed > 0, "{sum:?}");
        assert!(sum.throttled > 0 && sum.without_room > 0 && sum.trials > 0, "{sum:?}");
    }
}

#[test]
fn whatever_workers_do_the_service_does_what_it_can() {
    run_all(SMALL_RUNS, Plan::small);
}

#[test]
fn so_it_is_with_thousands_of_requests_a_second() {
    run_all(BUSY_RUNS, Plan::busy);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4711] {
        let once = Run::new(Plan::small(seed)).finish();
        let again = Run::new(Plan::small(seed)).finish();
        assert!(once.requests > 50, "{once:?}");
        assert_eq!(once, again, "seed {seed}");
        assert_ne!(once.log, Run::new(Plan::small(seed + 1)).finish().log);
    }
}
