//! The operator's log: tracing-subscriber on standard error. The access log is another thing (`record`).

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::Log;

/// The level, changeable while running.
pub(super) type Level = reload::Handle<EnvFilter, Registry>;

/// Starts the log.
///
/// # Errors
/// `log.level` is not a filter.
pub(super) fn start(log: &Log) -> Result<Level, String> {
    let (filter, level) = reload::Layer::new(filter(&log.level)?);
    let lines: Box<dyn Layer<_> + Send + Sync> = if log.json {
        Box::new(fmt::layer().json().with_writer(std::io::stderr))
    } else {
        Box::new(
            fmt::layer()
                .with_target(false)
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(std::io::stderr),
        )
    };
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(level)
}

/// Changes the level of a running log.
///
/// # Errors
/// `log.level` is not a filter.
pub(super) fn change(level: &Level, log: &Log) -> Result<(), String> {
    level.reload(filter(&log.level)?).map_err(|error| error.to_string())
}

/// Checks `log.level` without using it.
///
/// # Errors
/// It is not a filter.
pub(super) fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| format!("`{level}` is not a log level: {error}"))
}
