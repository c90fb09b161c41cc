//! Which configuration is meant, its loading, and how its problems are shown: the same for all commands.

use std::path::{Path, PathBuf};

use super::arguments::ConfigFile;
use super::exit::Exit;
use super::output;
use crate::clock::Moment;
use crate::config::{self, Config};

/// Where the configuration is looked for when it is not named, in this order.
const PLACES: [&str; 2] = ["buckler.yaml", "/etc/buckler/buckler.yaml"];

/// A sound configuration and where it came from.
pub(super) struct Sound {
    /// The file.
    pub(super) path: PathBuf,
    /// What it says.
    pub(super) config: Config,
}

/// The path of the configuration: the named one, or the first place where one exists.
///
/// # Errors
///
/// There is none; that has been said.
pub(super) fn find(file: &ConfigFile) -> Result<PathBuf, Exit> {
    let here = || PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    file.config.clone().or_else(here).ok_or_else(|| {
        let [here, there] = PLACES;
        output::say(&format!(
            "buckler: no configuration: neither ./{here} nor {there} exists; name one with -c FILE"
        ));
        Exit::BadConfiguration
    })
}

/// Loads a file as `run` would: with today's date and this process's environment.
pub(super) fn load(path: &Path) -> config::Loaded {
    config::load(path, Moment::read(), &|name| std::env::var(name).ok())
}

/// The configuration if Buckler would start with it.
///
/// # Errors
///
/// It would not; every reason has been said.
pub(super) fn sound(file: &ConfigFile) -> Result<Sound, Exit> {
    let path = find(file)?;
    let mut loaded = load(&path);
    match loaded.config.take() {
        Some(config) => Ok(Sound { path, config }),
        None => {
            output::say(loaded.render().trim_end());
            Err(Exit::BadConfiguration)
        }
    }
}
