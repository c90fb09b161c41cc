//! The life of the process: start, signals, reload, drain, end. Control runs on the main thread with a runtime of its
//! own; requests run on the shards (`shards`); what is built from a configuration stands in `generation`.
//!
//! Signals: TERM, INT and QUIT drain (a second one ends at once), HUP reloads, USR1 reopens the access log.

mod bind;
mod certificates;
mod checks;
mod door;
mod generation;
mod listeners;
mod logging;
mod reading;
mod retired;
mod shards;
mod shown;
mod socket_file;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sd_notify::NotifyState;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::{Phase, ProcessState, ReloadRequest};
use crate::clock::Moment;
use door::Behind;
use generation::{Failure, Running};
use reading::Read;

/// Everything fine.
pub const FINE: u8 = 0;
/// Failed at run time, or ended at once by a second signal.
pub const FAILED: u8 = 1;
/// A port cannot be bound.
pub const CANNOT_BIND: u8 = 3;
/// The configuration is not valid (`EX_CONFIG` of sysexits.h).
pub const BAD_CONFIG: u8 = 78;

/// Reloads that may wait; one more is told that a reload is under way.
const RELOADS_WAITING: usize = 4;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
}

/// Runs until told to end. Returns the exit code.
pub fn run(options: &RunOptions) -> u8 {
    let Read { config, hash, problems } = reading::read(&options.config);
    // People who start it by hand see what `check` would say; warnings too.
    eprint!("{problems}");
    let Some(config) = config else {
        eprintln!("buckler: {} is not valid; nothing was started", options.config.display());
        return BAD_CONFIG;
    };
    let level = match logging::start(&config.log) {
        Ok(level) => level,
        Err(why) => {
            eprintln!("buckler: `log.level`: {why}");
            return BAD_CONFIG;
        }
    };
    raise_descriptor_limit();
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return FAILED;
        }
    };
    runtime.block_on(async {
        let state = Arc::new(ProcessState::new(Moment::read()));
        match Running::start(config, hash, level, Arc::clone(&state)).await {
            Ok((running, door)) => control(running, door, options, &state).await,
            Err(failure) => {
                tracing::error!("{failure}");
                failure.exit_code()
            }
        }
    })
}

/// A proxy needs two descriptors a request; the hard limit is what the administrator allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = ?limit.current, "cannot raise the limit of open files");
    }
}

/// The signals that are listened to.
struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal that ends the process.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "TERM",
            _ = self.int.recv() => "INT",
            _ = self.quit.recv() => "QUIT",
        }
    }
}

/// Waits for signals and commands, until one says to end.
async fn control(
    mut running: Running,
    door: door::Change,
    options: &RunOptions,
    state: &Arc<ProcessState>,
) -> u8 {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot listen to signals");
            return FAILED;
        }
    };
    let (ask_reload, mut reloads) = mpsc::channel(RELOADS_WAITING);
    let view = Arc::new(ArcSwap::from_pointee(running.view(options)));
    let behind = Behind { view, state: Arc::clone(state), reload: ask_reload };
    if let Err(failure) = running.change_door(door, &behind) {
        tracing::error!("{failure}");
        return failure.exit_code();
    }
    state.enter(Phase::Running);
    tell_systemd(&[NotifyState::Ready, NotifyState::Status(&running.summary())]);
    tracing::info!(config = %options.config.display(), "{}", running.summary());
    let by = loop {
        tokio::select! {
            _ = signals.term.recv() => break "TERM",
            _ = signals.int.recv() => break "INT",
            _ = signals.quit.recv() => break "QUIT",
            _ = signals.hup.recv() => {
                let _ = reload(&mut running, options, &behind, "HUP").await;
            }
            Some(ReloadRequest { answer }) = reloads.recv() => {
                let _ = answer.send(reload(&mut running, options, &behind, "admin").await);
            }
            _ = signals.usr1.recv() => {
                tracing::info!("USR1: reopening the access log");
                running.reopen_logs();
            }
            _ = signals.usr2.recv() => {
                tracing::warn!("USR2: replacing the running program is not built in this version; restart it instead");
            }
        }
    };
    // Whoever asks for a reload from now on is told at once that there will be none.
    drop(reloads);
    end(running, signals, state, by).await
}

/// Builds all of the new, and only then swaps: an error leaves everything as it was, and shows.
async fn reload(
    running: &mut Running,
    options: &RunOptions,
    behind: &Behind,
    by: &str,
) -> Result<String, String> {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell_systemd(&[NotifyState::Reloading, now]);
    }
    let read = reading::read_behind(options.config.clone()).await;
    let (result, problems) = match read {
        Ok(Read { config: Some(config), hash, problems }) => {
            (running.reload(config, hash).await.map_err(|failure| failure.to_string()), problems)
        }
        Ok(Read { config: None, problems, .. }) => (Err(problems.clone()), problems),
        Err(why) => (Err(why), String::new()),
    };
    let result = result.and_then(|door| {
        behind.view.store(Arc::new(running.view(options)));
        running.change_door(door, behind).map_err(|failure| failure.to_string())
    });
    let now = Moment::read();
    let answer = match result {
        Ok(()) => {
            behind.state.reloaded(now);
            if !problems.is_empty() {
                tracing::warn!("the configuration has warnings:\n{problems}");
            }
            tracing::info!(by, "reloaded: {}", running.summary());
            Ok(format!("reloaded: {}", running.summary()))
        }
        Err(why) => {
            tracing::error!(by, "the reload failed and changed nothing:\n{why}");
            behind.state.reload_failed(now, why.clone());
            Err(why)
        }
    };
    tell_systemd(&[NotifyState::Ready, NotifyState::Status(&running.summary())]);
    answer
}

/// Drains: no new connections, requests in progress are finished, at most for `shutdown.grace`.
async fn end(running: Running, mut signals: Signals, state: &ProcessState, by: &str) -> u8 {
    state.enter(Phase::Draining);
    let grace = running.grace();
    tell_systemd(&[NotifyState::Stopping]);
    tracing::info!(
        by,
        grace_s = grace.as_secs(),
        "draining: requests in progress are finished, new ones refused"
    );
    tokio::select! {
        drained = running.drain(grace) => {
            if drained {
                tracing::info!("drained; ending");
            } else {
                tracing::warn!("`shutdown.grace` is over; ending with requests in progress");
            }
            FINE
        }
        again = signals.end() => {
            tracing::warn!(by = again, "a second signal: ending at once");
            FAILED
        }
    }
}

fn tell_systemd(what: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell, and that is no fault.
    let _ = sd_notify::notify(what);
}

impl Failure {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Bind(_) => CANNOT_BIND,
            Self::Config(_) => BAD_CONFIG,
            Self::Run(_) => FAILED,
        }
    }
}
