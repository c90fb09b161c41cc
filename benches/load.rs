//! The load that wrk and h2load cannot make for `benches/compare`: requests at a fixed rate, bodies with every byte
//! counted, TLS handshakes without resumption; and the origin that takes uploads. One thread for each connection, with
//! blocking sockets: what it measures owes nothing to a runtime's timers.
//! Not here: the proxies, the turns and the table, which `benches/compare` has.
//!
//! Each command prints one line of JSON. Without a command it sends a little of everything to itself, and fails if
//! something is wrong with it: that is what tests/run does.

#![allow(
    clippy::disallowed_methods,
    reason = "no shard and no logic here: the load is its own clock and sleeps"
)]

#[path = "load.d/bodies.rs"]
mod bodies;
#[path = "load.d/drain.rs"]
mod drain;
#[path = "load.d/handshakes.rs"]
mod handshakes;
#[path = "load.d/rate.rs"]
mod rate;
#[path = "load.d/wire.rs"]
mod wire;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

type Failure = Box<dyn Error + Send + Sync>;

/// Load and an origin for `benches/compare`.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// What cargo says to every bench; means nothing here.
    #[arg(long)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Requests at a fixed rate, whatever the answers take: latencies from the time when each was due.
    Rate {
        #[command(flatten)]
        target: Target,
        /// Requests a second, all connections together.
        #[arg(long)]
        rate: f64,
        /// Seconds before those that count.
        #[arg(long, default_value_t = 0.5)]
        warm_up: f64,
    },
    /// Large bodies, one after another on each connection. The last ones are finished when the time is over.
    Bodies {
        #[command(flatten)]
        target: Target,
        /// Bytes of each body.
        #[arg(long)]
        bytes: u64,
        /// From the client to the worker; left out, the other way.
        #[arg(long)]
        up: bool,
    },
    /// Full TLS 1.3 handshakes, each on a connection of its own, which then ends in peace.
    Handshakes {
        #[command(flatten)]
        target: Target,
        /// The CA that signed the server's certificate, in PEM.
        #[arg(long)]
        ca: PathBuf,
    },
    /// An origin: takes every body to its last byte, then answers 200 with the number of them in `x-drained`.
    Drain {
        /// Where to listen, separated by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        listen: Vec<SocketAddr>,
    },
}

/// Who is asked, for what, how long and over how many connections.
#[derive(Args, Clone)]
struct Target {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value = "/")]
    path: String,
    /// The caller's key, for `x-api-key`.
    #[arg(long, default_value = "none")]
    key: String,
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
}

impl Target {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() -> Result<(), Failure> {
    let report = match Options::parse().command {
        Some(Command::Rate { target, rate, warm_up }) => rate::run(&target, rate, warm_up)?,
        Some(Command::Bodies { target, bytes, up }) => bodies::run(&target, bytes, up)?,
        Some(Command::Handshakes { target, ca }) => handshakes::run(&target, &ca)?,
        Some(Command::Drain { listen }) => {
            let listeners = listen.iter().map(TcpListener::bind).collect::<Result<Vec<_>, _>>()?;
            return Ok(drain::run(listeners)?);
        }
        None => return smoke(),
    };
    println!("{report}");
    Ok(())
}

/// The outcomes of `work` on so many threads at once; the first failure is the failure of all.
fn on_each<T: Send>(
    connections: u16,
    work: impl Fn(u16) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    thread::scope(|scope| {
        let started: Vec<_> = (0..connections)
            .map(|number| {
                let work = &work;
                scope.spawn(move || work(number))
            })
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread of the load panicked")?)
            .collect()
    })
}

/// Uploads and requests at a rate, to an origin in this process.
fn smoke() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || drain::run(vec![listener]));
    let target =
        Target { address, path: "/".to_owned(), key: "none".to_owned(), seconds: 0.2, connections: 2 };
    let uploads = bodies::run(&target, 300_001, true)?;
    let asked = rate::run(&target, 200.0, 0.05)?;
    let count = |report: &Value, key: &str| report[key].as_u64().unwrap_or(0);
    if count(&uploads, "bytes") != count(&uploads, "bodies") * 300_001 || count(&asked, "counted") < 20 {
        return Err(format!("not all was sent and answered: {uploads} {asked}").into());
    }
    println!("load: {} uploads, {} requests at a rate", uploads["bodies"], asked["requests"]);
    Ok(())
}
