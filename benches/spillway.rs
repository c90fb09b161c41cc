//! The load and the workers of the spillway experiment (see README.md): clients in a closed loop, each request at
//! random to service A or B, and the workers behind both, in one process, so that what reached a worker is known.
//! Not here: the proxies and the table, which `benches/spillway` has.
//!
//! It prints the workers' ports, reads the proxy's two from standard input, prints each phase as it begins, and at the
//! end the report: a line of JSON each time. Without `--seconds` it runs for a second without a proxy and fails if
//! anything of B was not delivered: that is what tests/run does.

#[path = "spillway.d/clients.rs"]
mod clients;
#[path = "spillway.d/scene.rs"]
mod scene;
#[path = "spillway.d/tally.rs"]
mod tally;
#[path = "spillway.d/wire.rs"]
mod wire;
#[path = "spillway.d/workers.rs"]
mod workers;

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use clients::Crowd;
use scene::{Illness, PHASES, Phase, SERVICES, Scene};
use tally::Tally;

/// The load and the workers of the spillway experiment; `benches/spillway` starts it.
#[derive(Parser)]
struct Options {
    /// Length of each of the three phases in seconds. Without it: a short run without a proxy.
    #[arg(long)]
    seconds: Option<f64>,
    /// Length of the warm-up in seconds.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Clients at once.
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// How A fails: `slow` (90 % take 10 s, then 500), `quick` (30 % at once) or `hang` (one of three never answers).
    #[arg(long, default_value = "slow")]
    illness: String,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What cargo says to every bench; means nothing here.
    #[arg(long)]
    bench: bool,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let illness = Illness::named(&options.illness)
        .ok_or_else(|| format!("--illness {}: none of slow, quick, hang", options.illness))?;
    if options.clients == 0 || !options.seconds.is_none_or(|seconds| (0.1..=3600.0).contains(&seconds)) {
        return Err("--clients wants at least 1, --seconds 0.1 to 3600".into());
    }
    let scene = Arc::new(Scene::new(illness, options.clients));
    let ports = start_workers(&scene, options.seed)?;
    let Some(seconds) = options.seconds else { return smoke(&options, &scene, &ports) };
    println!("{}", json!({ "workers": { "a": ports[0], "b": ports[1] } }));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let mut proxy = line.split_whitespace().map(str::parse);
    let (Some(a), Some(b)) = (proxy.next(), proxy.next()) else {
        return Err("standard input wants the proxy's two ports, of A and of B, on one line".into());
    };
    let mut report = play(&options, &scene, seconds, [loopback(a?), loopback(b?)])?;
    report["done"] = json!(true);
    println!("{report}");
    Ok(())
}

/// All workers, on a thread and a runtime of their own. Their ports, by service.
fn start_workers(scene: &Arc<Scene>, seed: u64) -> Result<[Vec<u16>; 2], Failure> {
    let mut bound = Vec::new();
    let mut ports = [Vec::new(), Vec::new()];
    for service in SERVICES {
        for number in 0..workers::WORKERS[service as usize] {
            let (listener, address) = workers::bind()?;
            ports[service as usize].push(address.port());
            bound.push(((service, number), listener));
        }
    }
    let scene = scene.clone();
    std::thread::Builder::new().name("workers".to_owned()).spawn(move || -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = LocalSet::new();
        {
            let _inside = runtime.enter();
            for (chance, (place, listener)) in (1_000_000..).zip(bound) {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tasks.spawn_local(workers::serve(listener, place, scene.clone(), seed ^ chance));
            }
        }
        runtime.block_on(tasks);
        Ok(())
    })?;
    Ok(ports)
}

/// All phases, with all clients, through `addresses` of A and B.
fn play(
    options: &Options,
    scene: &Arc<Scene>,
    seconds: f64,
    addresses: [SocketAddr; 2],
) -> Result<Value, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let began = Instant::now() + Duration::from_secs_f64(options.warm_up);
        let length = Duration::from_secs_f64(seconds);
        let crowd = Rc::new(Crowd { scene: scene.clone(), tally: tally.clone(), addresses, began, length });
        for (number, chance) in (0..options.clients).zip(1..) {
            tokio::task::spawn_local(clients::run(
                number,
                crowd.clone(),
                options.seed.wrapping_mul(1_000) + chance,
            ));
        }
        for (phase, begins) in PHASES.into_iter().skip(1).zip(0..) {
            sleep_until(began + length * begins).await;
            scene.enter(phase);
            println!("{}", json!({ "phase": phase.name() }));
        }
        sleep_until(began + length * 3).await;
        // What is under way ends with the runtime and counts for nothing.
        println!("{}", json!({ "phase": "end" }));
    });
    let report = tally.borrow_mut().report(scene, seconds);
    Ok(report)
}

/// A short run without a proxy: both services must deliver, and nothing of B may fail.
fn smoke(options: &Options, scene: &Arc<Scene>, ports: &[Vec<u16>; 2]) -> Result<(), Failure> {
    let short = Options { seconds: None, warm_up: 0.1, illness: String::new(), ..*options };
    let report = play(&short, scene, 0.3, [loopback(ports[0][0]), loopback(ports[1][0])])?;
    for phase in [Phase::Normal, Phase::Failure, Phase::Recovery] {
        let of =
            |service: &str, key: &str| report["phases"][phase.name()][service][key].as_u64().unwrap_or(0);
        let lost = of("b", "failed") + of("b", "refused");
        if lost > 0 || phase == Phase::Normal && (of("a", "delivered") == 0 || of("b", "delivered") == 0) {
            return Err(format!("{}: not all was delivered: {report}", phase.name()).into());
        }
    }
    println!("spillway: load and workers run, without a proxy");
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
