//! `buckler demo`: the whole of Buckler on one machine with nothing else installed. Three workers, a DNS server,
//! Buckler started as an operator starts it, and four callers; a table each second says what happens.
//!
//! Here: the arguments, the play from curtain to curtain, and its exit code. The players stand in the files beside.
//! All figures come from what the callers saw and the workers counted, none from Buckler's own admin port.

mod client;
mod dns;
mod front;
mod table;
mod tally;
mod traffic;
mod workers;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Moment;
use dns::{DnsServer, Zone};
use front::{Addresses, Folder, Front};
use table::Screen;
use tally::{Due, Place, Reading, Summary};
use traffic::{CAST, Traffic};
use workers::Worker;

const EXIT_FAILED: u8 = 1;
const EXIT_CANNOT_BIND: u8 = 3;

/// The service's port where `--port` is left out.
const SERVICE_PORT: u16 = 4070;
/// The admin port where `--admin-port` is left out.
const ADMIN_PORT: u16 = 9900;

/// The workers: name, SRV priority, SRV weight. `c` is the backup of the other two.
const WORKERS: [(&str, u16, u16); 3] = [("a", 10, 3), ("b", 10, 1), ("c", 20, 1)];

/// One table each so often.
const TICK: Duration = Duration::from_secs(1);
/// The play starts again after this where `--for` is left out.
const PLAY: Duration = Duration::from_secs(30);
/// Bounds of `--for`.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// See Buckler at work on this machine: workers, DNS, callers and limits, with nothing to install.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End by itself after this time, for example 10s or 2m; left out: at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub run_for: Option<Duration>,
    /// The service's port on 127.0.0.1 [default: 4070, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The admin port on 127.0.0.1 [default: 9900, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Print the summary as JSON on standard output, everything else on standard error
    #[arg(long)]
    pub json: bool,
}

/// Plays the demo to its end. The exit code: 0 fine, 1 failed at run time, 3 cannot bind.
pub fn run(args: &DemoArgs) -> u8 {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::at_run_time(format!("The demo's runtime could not be made: {error}.")))
        .and_then(|runtime| runtime.block_on(play(args)));
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            // Where standard error is gone, the exit code still tells.
            let _ = writeln!(io::stderr(), "buckler demo: {failure}");
            failure.code
        }
    }
}

/// Why the demo ended otherwise than planned, in full sentences.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn at_run_time(text: String) -> Self {
        Self { code: EXIT_FAILED, text }
    }

    fn cannot_bind(what: &str, error: &io::Error) -> Self {
        Self { code: EXIT_CANNOT_BIND, text: format!("{what}: {error}.") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::at_run_time(format!("The demo's output could not be written: {error}."))
    }
}

/// Sets the stage, plays, clears it. Whatever fails on the way: dropping the players ends and joins them all.
async fn play(args: &DemoArgs) -> Result<(), Failure> {
    let mut curtain = Curtain::listen()?;
    let mut screen = open_screen(args.json);
    let mut cast = Stage::set(args, &mut screen)?;
    screen.say("Starting Buckler ...\n")?;
    tokio::select! {
        ready = cast.front.ready(&cast.addresses) => ready?,
        () = curtain.falls() => {
            // Nothing to drain yet, and perhaps nobody who would hear TERM: dropping the stage ends it.
            screen.say("Stopped before Buckler was ready.\n")?;
            return Ok(());
        }
    }
    screen.say("Ready. Ctrl-C ends the demo.\n\n")?;
    let summary = perform(args.run_for, &mut cast, &mut screen, &mut curtain).await?;
    screen.say(&table::summary(&summary))?;
    cast.front.stop().await?;
    drop(cast.workers);
    drop(cast.dns);
    if summary.callers.iter().all(|caller| caller.allowed == 0) {
        return Err(Failure::at_run_time("No caller got a single answer from a worker.".into()));
    }
    screen.say("Everything has stopped cleanly.\n")?;
    if args.json {
        let text = serde_json::to_string_pretty(&summary)
            .map_err(|error| Failure::at_run_time(format!("The summary could not be written: {error}.")))?;
        writeln!(io::stdout(), "{text}")?;
    }
    Ok(())
}

fn open_screen(json: bool) -> Screen {
    let (out, is_terminal): (Box<dyn Write>, bool) = if json {
        (Box::new(io::stderr()), io::stderr().is_terminal())
    } else {
        (Box::new(io::stdout()), io::stdout().is_terminal())
    };
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    Screen::new(out, is_terminal && !is_dumb)
}

/// Everything that runs, except the callers.
struct Stage {
    front: Front,
    dns: DnsServer,
    workers: Vec<Worker>,
    addresses: Addresses,
}

impl Stage {
    fn set(args: &DemoArgs, screen: &mut Screen) -> Result<Self, Failure> {
        let workers = WORKERS
            .iter()
            .map(|(name, priority, weight)| Worker::start(name, *priority, *weight))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| {
                Failure::cannot_bind("A worker could not start on a free port of 127.0.0.1", &error)
            })?;
        let targets: Vec<_> = workers.iter().map(Worker::target).collect();
        let dns = Zone::new(&targets).and_then(DnsServer::start).map_err(|error| {
            Failure::cannot_bind("The DNS server could not start on a free port of 127.0.0.1", &error)
        })?;
        let service = choose_port("--port", args.port, SERVICE_PORT)?;
        let admin = choose_port("--admin-port", args.admin_port, ADMIN_PORT)?;
        for note in [&service.note, &admin.note].into_iter().flatten() {
            screen.say(note)?;
        }
        let addresses = Addresses { service: service.address, admin: admin.address, dns: dns.address() };
        // Both ports were held until both were chosen, so that they differ; from here on they are Buckler's.
        drop((service, admin));
        let folder = Folder::create().map_err(|error| {
            Failure::at_run_time(format!("No folder for temporary files could be made: {error}."))
        })?;
        let program = std::env::current_exe().unwrap_or_else(|_| "buckler".into());
        screen.say(&table::introduction(&addresses, &folder.config(), &program))?;
        let front = Front::start(folder, &addresses)?;
        Ok(Self { front, dns, workers, addresses })
    }

    fn places(&self) -> Vec<Place> {
        self.workers.iter().map(Worker::place).collect()
    }

    /// Stops and starts workers as the scene wants it.
    fn change_to(&mut self, scene: Scene) -> Result<(), Failure> {
        for worker in &mut self.workers {
            if scene.stopped().contains(&worker.name()) {
                worker.stop();
            } else {
                worker.resume().map_err(|error| {
                    let what = format!("Worker {} could not return to {}", worker.name(), worker.address());
                    Failure::cannot_bind(&what, &error)
                })?;
            }
        }
        Ok(())
    }
}

/// Lets the callers call and the scenes change, one table a second, until the time is over or somebody ends it.
async fn perform(
    run_for: Option<Duration>,
    stage: &mut Stage,
    screen: &mut Screen,
    curtain: &mut Curtain,
) -> Result<Summary, Failure> {
    let mut traffic = Traffic::start(stage.addresses.service)
        .map_err(|error| Failure::at_run_time(format!("The callers could not start: {error}.")))?;
    let begin = Moment::read();
    let first = read(begin, &traffic, stage);
    let mut last = first.clone();
    let mut due = Due::default();
    let mut scene = Scene::Opening;
    let mut ticks = tokio::time::interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = tokio::time::sleep(run_for.unwrap_or(LONGEST));
    tokio::pin!(end);
    let mut seconds = 0;
    loop {
        tokio::select! {
            biased;
            () = curtain.falls() => break,
            _ = ticks.tick() => {}
            () = &mut end, if run_for.is_some() => break,
        }
        seconds += 1;
        stage.front.still_runs()?;
        let now = read(begin, &traffic, stage);
        let interval = now.since(&last);
        due.add(&interval, &stage.places());
        let workers: Vec<_> =
            stage.workers.iter().map(|worker| (worker.place(), worker.address().to_string())).collect();
        screen.show(&table::frame(&title(seconds, run_for, scene), &interval, &workers))?;
        last = now;
        scene = Scene::at(TICK * seconds, run_for.unwrap_or(PLAY));
        stage.change_to(scene)?;
    }
    traffic.stop();
    let now = read(begin, &traffic, stage);
    due.add(&now.since(&last), &stage.places());
    let names = CAST.map(|caller| caller.name);
    Ok(Summary::new(&now.since(&first), &names, &stage.places(), &due))
}

fn read(begin: Moment, traffic: &Traffic, stage: &Stage) -> Reading {
    Reading {
        millis: u64::try_from(Moment::read().since(begin).as_millis()).unwrap_or(u64::MAX),
        callers: traffic.counts(),
        served: stage.workers.iter().map(Worker::served).collect(),
    }
}

fn title(seconds: u32, run_for: Option<Duration>, scene: Scene) -> String {
    let of = run_for.map_or_else(String::new, |run_for| format!(" of {}", run_for.as_secs_f64()));
    format!("second {seconds}{of}: {}", scene.note())
}

/// What the workers are doing. Each scene shows one thing that SRV records mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Opening,
    WithoutB,
    WithoutAAndB,
    Return,
}

impl Scene {
    /// The scene at a moment of a play of this length; a play that is over starts again.
    fn at(elapsed: Duration, length: Duration) -> Self {
        let percent = elapsed.as_millis() % length.as_millis().max(1) * 100 / length.as_millis().max(1);
        match percent {
            0..30 => Self::Opening,
            30..45 => Self::WithoutB,
            45..67 => Self::WithoutAAndB,
            _ => Self::Return,
        }
    }

    fn stopped(self) -> &'static [&'static str] {
        match self {
            Self::Opening | Self::Return => &[],
            Self::WithoutB => &["b"],
            Self::WithoutAAndB => &["a", "b"],
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Opening => "a and b share 3 to 1, c is their backup",
            Self::WithoutB => "b is stopped, its share goes to a",
            Self::WithoutAAndB => "a and b are stopped, the backup c serves",
            Self::Return => "a and b are back; Buckler tries each after a short pause",
        }
    }
}

/// SIGINT and SIGTERM, heard from before anything starts until everything has stopped.
struct Curtain {
    interrupt: Signal,
    terminate: Signal,
}

impl Curtain {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::at_run_time(format!("Signals could not be listened for: {error}.")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn falls(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A port that was free a moment ago, held until this is dropped.
struct Port {
    address: SocketAddr,
    note: Option<String>,
    _held: TcpListener,
}

/// The port asked for, or nothing else; where none was asked for, the usual one or a free one.
fn choose_port(flag: &str, asked: Option<u16>, usual: u16) -> Result<Port, Failure> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let (held, note) = match asked {
        Some(port) => {
            let held = bind(port).map_err(|error| Failure {
                code: EXIT_CANNOT_BIND,
                text: format!(
                    "127.0.0.1:{port} cannot be used: {error}. Leave out {flag} and a free port is taken."
                ),
            })?;
            (held, None)
        }
        None => match bind(usual) {
            Ok(held) => (held, None),
            Err(error) => {
                let held =
                    bind(0).map_err(|error| Failure::cannot_bind("127.0.0.1 has no free port", &error))?;
                (
                    held,
                    Some(format!(
                        "127.0.0.1:{usual} cannot be used ({error}); taking a free port instead.\n"
                    )),
                )
            }
        },
    };
    let address = held.local_addr().map_err(|error| Failure::cannot_bind("A port has no address", &error))?;
    Ok(Port { address, note, _held: held })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number =
        digits.parse::<u32>().map_err(|_| "write a number and a unit, for example 10s or 2m".to_string())?;
    let duration = match &text[digits.len()..] {
        "ms" => Duration::from_millis(number.into()),
        "s" => Duration::from_secs(number.into()),
        "m" => Duration::from_secs(u64::from(number) * 60),
        "h" => Duration::from_secs(u64::from(number) * 3600),
        "" => return Err(format!("{number} of what? Write {number}s for seconds")),
        unit => return Err(format!("the unit {unit:?} is not one of ms, s, m, h")),
    };
    if (SHORTEST..=LONGEST).contains(&duration) {
        Ok(duration)
    } else {
        Err("the demo runs for 1s to 24h".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_stay_in_bounds() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "s", "", "10x", "0s", "25h", "-1s", "1.5s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_play_goes_through_its_scenes_and_starts_again() {
        let at = |seconds: u64| Scene::at(Duration::from_secs(seconds), Duration::from_secs(10));
        let scenes: Vec<_> = (0..10).map(at).collect();
        use Scene::{Opening, Return, WithoutAAndB, WithoutB};
        assert_eq!(
            scenes,
            [
                Opening,
                Opening,
                Opening,
                WithoutB,
                WithoutB,
                WithoutAAndB,
                WithoutAAndB,
                Return,
                Return,
                Return
            ]
        );
        let short =
            |length: u32| (0..length).map(move |n| Scene::at(TICK * n, Duration::from_secs(length.into())));
        for length in 3..60 {
            assert!(
                short(length).any(|scene| scene == WithoutAAndB),
                "`--for {length}s` never shows the backup"
            );
        }
        assert_eq!(at(10), Opening);
        assert_eq!(at(13), WithoutB);
    }

    #[test]
    fn a_port_that_was_asked_for_and_is_taken_is_an_error_but_the_usual_one_gives_way() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let failure = choose_port("--port", Some(port), SERVICE_PORT).err().unwrap();
        assert_eq!(failure.code, EXIT_CANNOT_BIND);
        assert!(failure.text.contains(&port.to_string()), "{failure}");
        let other = choose_port("--port", None, port).unwrap();
        assert_ne!(other.address.port(), port);
        assert!(other.note.unwrap().contains(&port.to_string()));
    }
}
