//! Reading the configuration. While Buckler runs this happens on a thread of its own, behind all others: a file with
//! very many callers takes most of a second, in which the shards and control go on.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use tokio::sync::oneshot;

use crate::clock::Moment;
use crate::config::{self, Config, Loaded};

/// How far the thread stands behind the shards, by the kernel's scale from 0 to 19.
const NICENESS: i32 = 5;

/// What came of it.
pub(super) struct Read {
    /// None if there is an error.
    pub(super) config: Option<Config>,
    /// What the files say, as 16 hex digits; the same text gives the same hash on every machine.
    pub(super) hash: String,
    /// Everything to say about it, for people.
    pub(super) problems: String,
}

/// Reads the file and those that it includes.
pub(super) fn read(path: &Path) -> Read {
    let loaded = config::load(path, Moment::read(), &|name| std::env::var(name).ok());
    let (hash, problems) = (hash(&loaded), loaded.render());
    Read { config: loaded.config, hash, problems }
}

/// The same, elsewhere.
///
/// # Errors
/// No thread can be had, or it panicked.
pub(super) async fn read_behind(path: PathBuf) -> Result<Read, String> {
    let (done, is_done) = oneshot::channel();
    let work = move || {
        // Without it the reload only disturbs more.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let _ = done.send(read(&path));
    };
    let thread = std::thread::Builder::new().name("config".to_owned()).spawn(work);
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    is_done.await.map_err(|_| "reading the configuration panicked".to_owned())
}

fn hash(loaded: &Loaded) -> String {
    let mut digest = digest::Context::new(&digest::SHA256);
    for text in loaded.sources.texts() {
        digest.update(text.as_bytes());
    }
    digest.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
