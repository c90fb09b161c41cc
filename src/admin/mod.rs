//! The admin listener: metrics, health, status and the newest refusals for whoever runs Buckler; and the one thing
//! that it may be told, to reload. Built on axum, served with our own timeouts and bounds.
//!
//! It only looks: what it shows is handed to it as a [`View`], replaced at each reload, and a [`ProcessState`]. Who may
//! look stands in `access.rs`, the pages in `pages.rs`, the status in `status.rs`.

mod access;
mod pages;
mod process;
mod readings;
mod status;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::admit::capacity::Capacity;
use crate::clock::Moment;
use crate::config;
use crate::record::access_log::AccessLog;
use crate::record::counts::ServiceCounts;
use crate::tls::TlsTerms;
use crate::workers::Workers;

pub use access::Token;
pub use process::{Phase, ProcessState, Reload};

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// From accept, or from the end of an answer, to the end of the next head; then the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection is closed after this, whatever it does: somebody who reads a page byte by byte holds one of few.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);

/// A listener that is closed keeps its connections so long.
const FINISH: Duration = Duration::from_secs(5);

/// The pause after a failed accept (out of file descriptors, say), so that it does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is shown, as one configuration makes it.
pub struct View {
    /// The file, as it was named on the command line.
    pub config_file: String,
    /// The hash of what it says.
    pub config_hash: String,
    /// The callers that it names.
    pub callers: Arc<config::Callers>,
    /// The services.
    pub services: Vec<ServiceView>,
    /// How full the ledger of quotas is.
    pub ledger: Box<dyn Fn() -> LedgerReading + Send + Sync>,
    /// The access log, if it is on.
    pub access_log: Option<Arc<AccessLog>>,
}

/// One service, as it is shown.
pub struct ServiceView {
    /// What the file says of it.
    pub config: Arc<config::Service>,
    /// Its counts.
    pub counts: Arc<ServiceCounts>,
    /// Its workers.
    pub workers: Arc<Workers>,
    /// Its places.
    pub capacity: Arc<Capacity>,
    /// Its certificates. None: it speaks no TLS.
    pub tls: Option<Arc<TlsTerms>>,
    /// What is left of a caller's quota at this moment, by the caller's name. None: it has no quota, or nobody knows.
    pub left: Box<LeftOf>,
    /// DNS questions that failed since the start; 0 for a written list.
    pub dns_failures: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Looks up what is left of a caller's quota.
pub type LeftOf = dyn Fn(&str, Moment) -> Option<Left> + Send + Sync;

/// What is left of a quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Left {
    /// The quota: `default`, `tier partner`, `agreement office`.
    pub policy: String,
    /// Requests that would pass at once now. None: no rate is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Requests that pass at once when nothing is used. None: no rate is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Requests in progress. None: they are not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<u64>,
    /// Requests that may be in progress. None: they are not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u64>,
}

/// How full the ledger of quotas is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LedgerReading {
    /// Quotas that are remembered.
    pub keys: u64,
    /// How many can be.
    pub max_keys: u64,
    /// How often a caller was held to another's debt, since there is no room for its own; since the start.
    pub evictions: u64,
}

/// Somebody asks for a reload and waits for how it went.
#[derive(Debug)]
pub struct ReloadRequest {
    /// To be told what happened: in words, or why it failed.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Everything that the admin listener needs.
pub struct Desk {
    /// What is shown.
    pub view: Arc<ArcSwap<View>>,
    /// How the process is.
    pub state: Arc<ProcessState>,
    /// Where a reload is asked for. One that finds it full is told that a reload is under way.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// What must be shown to be let in. None: only what comes from this machine is let in.
    pub token: ArcSwapOption<Token>,
    /// Where it listens: a name that a `Host` may give.
    pub listen: SocketAddr,
}

/// Serves until `stop` is told or dropped; then it closes the listener and finishes what it is answering: who asks for
/// a reload that moves this listener is told how it went. Dropping it closes its connections.
pub async fn serve(listener: TcpListener, desk: Arc<Desk>, mut stop: oneshot::Receiver<()>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let router = TowerToHyperService::new(pages::router(Arc::clone(&desk)));
    let mut open = JoinSet::new();
    loop {
        while let Some(ended) = open.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                desk.state.counts.panicked();
            }
        }
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            _ = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                desk.state.counts.accept_failed();
                tracing::warn!(%error, "the admin listener cannot accept; it tries again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, desk) = (router.clone(), Arc::clone(&desk));
        open.spawn(async move {
            let served = serve_one(stream, peer, router, desk);
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIMIT, served).await {
                tracing::debug!(%peer, %error, "an admin connection ended badly");
            }
            drop(slot);
        });
    }
    drop(listener);
    let finished = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FINISH, finished).await;
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    router: TowerToHyperService<axum::Router>,
    desk: Arc<Desk>,
) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let denied = access::denial(&desk, peer, &request);
        let router = router.clone();
        async move {
            match denied {
                Some(denied) => Ok(denied),
                None => router.call(request).await,
            }
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("config_file", &self.config_file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
