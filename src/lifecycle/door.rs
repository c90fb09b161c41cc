//! The admin listener over the life of the process. What can go wrong with it (its port is taken, its token cannot be
//! read) goes wrong in [`prepare`], before a reload has changed anything. What it shows stands in `admin`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{mpsc, oneshot};

use super::bind;
use super::generation::{Failure, file_hint};
use super::listeners::{cannot_bind, is_among};
use crate::admin::{self, ProcessState, ReloadRequest, Token, View};
use crate::config::{Admin, At};

/// The open admin listener. Dropping it closes the listener; answers in progress are finished.
pub(super) struct Door {
    listen: SocketAddr,
    desk: Arc<admin::Desk>,
    _open: oneshot::Sender<()>,
}

/// What is to become of the admin listener.
pub(super) enum Change {
    /// None is wanted.
    Close,
    /// It stays where it is; from now on this token is asked for.
    Token(Option<Token>),
    /// It opens here, in the place of one that was elsewhere.
    Open(SocketAddr, TcpListener, Option<Token>),
}

/// What the admin listener shows and steers; the same over all reloads.
pub(super) struct Behind {
    pub(super) view: Arc<ArcSwap<View>>,
    pub(super) state: Arc<ProcessState>,
    pub(super) reload: mpsc::Sender<ReloadRequest>,
}

/// Everything about the wanted admin listener that can fail. `ours`: where this process listens already.
///
/// # Errors
/// Its port cannot be bound, or its token cannot be read.
pub(super) fn prepare(
    wanted: Option<&Admin>,
    current: Option<&Door>,
    ours: &[SocketAddr],
) -> Result<Change, Failure> {
    let Some(admin) = wanted else { return Ok(Change::Close) };
    let read = |path: &Path| Token::read(path).map_err(|error| no_token(&admin.at, path, &error));
    let token = admin.token_file.as_deref().map(read).transpose()?;
    if current.is_some_and(|door| door.listen == admin.listen) {
        return Ok(Change::Token(token));
    }
    let bound = bind::reserve(admin.listen, 1, is_among(admin.listen, ours)).and_then(bind::open);
    let mut bound = bound.map_err(|error| cannot_bind(&admin.at, &admin.listen.into(), &error))?;
    let listener = bound.pop().ok_or_else(|| Failure::Run("the admin listener was not bound".to_owned()))?;
    Ok(Change::Open(admin.listen, listener, token))
}

fn no_token(at: &At, path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure::Config(format!("{at}: the token file {path} cannot be used: {error}{}", file_hint(error)))
}

/// Makes the change.
///
/// # Errors
/// The runtime does not take the listener.
pub(super) fn change(door: Option<Door>, change: Change, behind: &Behind) -> Result<Option<Door>, Failure> {
    let (listen, listener, token) = match change {
        Change::Close => return Ok(None),
        Change::Token(token) => {
            if let Some(door) = &door {
                door.desk.token.store(token.map(Arc::new));
            }
            return Ok(door);
        }
        Change::Open(listen, listener, token) => (listen, listener, token),
    };
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(|error| Failure::Run(format!("the admin listener cannot be used: {error}")))?;
    let desk = Arc::new(admin::Desk {
        view: Arc::clone(&behind.view),
        state: Arc::clone(&behind.state),
        reload: behind.reload.clone(),
        token: ArcSwapOption::new(token.map(Arc::new)),
        listen,
    });
    let (open, closed) = oneshot::channel();
    tokio::task::spawn_local(admin::serve(listener, Arc::clone(&desk), closed));
    Ok(Some(Door { listen, desk, _open: open }))
}
