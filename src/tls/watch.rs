//! Certificates are read again when their files change. The folders are watched, not the files: files are replaced by
//! renaming, a Kubernetes volume swaps the symbolic link `..data`, certbot swaps links from one folder to another, so
//! every link on the way to a file counts too. Bursts are waited out, and what the files hold is compared.
//!
//! Where the kernel does not tell (no inotify, a folder that is gone), the files are looked at every 10 s; and every
//! minute anyway, since network file systems tell nothing either.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::files::named;
use super::inspect::{ENDS_SOON_DAYS, unix_seconds};
use super::server::{Reread, TlsTerms};
use crate::clock::Moment;
use crate::config::ServiceName;

/// Symbolic links on the way to one file; as many as Linux follows.
const MOST_LINKS: usize = 40;

/// How often to warn of a certificate that ends soon.
const WARN_EVERY: Duration = Duration::from_secs(86_400);

const DAY_SECONDS: i64 = 86_400;

/// How patiently files are watched.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A burst of changes is over when nothing has changed for so long.
    pub quiet: Duration,
    /// A burst is not waited for any longer than this.
    pub burst: Duration,
    /// How often to look if the kernel does not tell.
    pub untold: Duration,
    /// How often to look anyway.
    pub anyway: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(300),
            burst: Duration::from_secs(3),
            untold: Duration::from_secs(10),
            anyway: Duration::from_secs(60),
        }
    }
}

/// Reads the files of these services again whenever they change. Does not end; drop it to end it.
pub async fn run(services: Vec<(ServiceName, Arc<TlsTerms>)>, pace: Pace) {
    let mut told = true;
    let mut warned = Moment::read();
    loop {
        let changed = Arc::new(Notify::new());
        // Before the files are read: what changes in between is seen.
        let watcher = watcher(&services, &changed);
        match &watcher {
            Err(error) if told => {
                let seconds = pace.untold.as_secs();
                tracing::warn!(%error, "cannot watch the folders of certificates; looking every {seconds} s instead");
            }
            Ok(_) if !told => tracing::info!("the folders of certificates are watched again"),
            _ => {}
        }
        told = watcher.is_ok();
        services.iter().for_each(|(name, terms)| reread(name, terms));
        let now = Moment::read();
        if now.since(warned) >= WARN_EVERY {
            warned = now;
            services.iter().for_each(|(name, terms)| warn(name, terms, now));
        }
        let patience = if told { pace.anyway } else { pace.untold };
        if timeout(patience, changed.notified()).await.is_ok() {
            let end = Instant::now() + pace.burst;
            while Instant::now() < end && timeout(pace.quiet, changed.notified()).await.is_ok() {}
        }
    }
}

fn reread(service: &ServiceName, terms: &TlsTerms) {
    match terms.reread(Moment::read()) {
        Reread::Unchanged | Reread::StillFailed => {}
        Reread::Taken(findings) => {
            tracing::info!(%service, "certificates were read again; new connections get the new ones");
            for finding in findings {
                tracing::warn!(%service, "{finding}");
            }
        }
        Reread::Failed(why) => {
            tracing::error!(%service, "the new certificates cannot be used, the old ones stay in use:\n{why}");
        }
    }
}

fn warn(service: &ServiceName, terms: &TlsTerms, now: Moment) {
    let now = unix_seconds(now);
    for certificate in terms.certificates().iter() {
        let days = (certificate.not_after - now).div_euclid(DAY_SECONDS);
        if days < 0 {
            tracing::error!(%service, certificate = certificate.subject, "a certificate in use has expired");
        } else if days < ENDS_SOON_DAYS {
            tracing::warn!(%service, certificate = certificate.subject, days, "a certificate in use expires soon");
        }
    }
}

/// A watcher that tells of every change of the files or of a link on the way to them.
fn watcher(
    services: &[(ServiceName, Arc<TlsTerms>)],
    changed: &Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let mut steps = BTreeSet::new();
    for file in services.iter().flat_map(|(_, terms)| named(terms.tls())) {
        way(&file.path, &mut steps);
    }
    let folders: BTreeSet<PathBuf> =
        steps.iter().filter_map(|step| step.parent().map(Path::to_path_buf)).collect();
    let (of_interest, changed) =
        (folders.union(&steps).cloned().collect::<BTreeSet<_>>(), Arc::clone(changed));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error means that events were lost: look.
        let counts = event.map_or(true, |event| {
            changes(&event.kind) && event.paths.iter().any(|path| of_interest.contains(path))
        });
        if counts {
            changed.notify_one();
        }
    })?;
    for folder in &folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Reading a file, which this does itself, is an event too.
const fn changes(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if !matches!(access, AccessKind::Close(AccessMode::Write)))
}

/// Every symbolic link on the way to a file, and the file itself, each with a folder that is none.
fn way(path: &Path, steps: &mut BTreeSet<PathBuf>) {
    let mut ahead: Vec<PathBuf> = vec![std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())];
    for _ in 0..MOST_LINKS {
        let Some(path) = ahead.pop() else { return };
        let mut so_far = PathBuf::new();
        let mut parts = path.components();
        while let Some(part) = parts.next() {
            match part {
                Component::ParentDir => {
                    so_far.pop();
                    continue;
                }
                part => so_far.push(part),
            }
            let Ok(target) = std::fs::read_link(&so_far) else { continue };
            steps.insert(so_far.clone());
            so_far.pop();
            ahead.push(so_far.join(target).join(parts.as_path()));
            break;
        }
        if ahead.is_empty() {
            steps.insert(so_far);
        }
    }
}
