//! One check of one worker, on a connection of its own: from connect(2) to the verdict, within one time, and what went
//! wrong in words for operators.

use std::cell::Cell;
use std::io;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{Checking, grpc, http};
use crate::config::units::Span;
use crate::config::{CheckKind, Endpoint, WorkerProtocol};
use crate::socket::Socket;

/// The PROXY header, version 2, of a connection that speaks for nobody but the sender (LOCAL; haproxy.org's
/// proxy-protocol.txt section 2.2): where workers want a header they get one, and take no address from it.
const LOCAL_HEADER: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// How far a check has come: what is missing if its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connecting,
    Asking,
    Reading,
}

impl Step {
    const fn missing(self) -> &'static str {
        match self {
            Self::Connecting => "no connection",
            Self::Asking => "no answer",
            Self::Reading => "no end of the answer",
        }
    }
}

/// Asks the worker at this address once.
///
/// # Errors
/// It did not pass: why, in words.
pub(super) async fn probe(checking: &Checking, worker: &Endpoint) -> Result<(), String> {
    let step = Cell::new(Step::Connecting);
    let limit = checking.check.timeout;
    match timeout(limit, ask(checking, worker, &step)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("{} within {}", step.get().missing(), Span(limit))),
    }
}

async fn ask(checking: &Checking, worker: &Endpoint, step: &Cell<Step>) -> Result<(), String> {
    let mut socket = Socket::connect(worker).await.map_err(|error| refused(&error, worker))?;
    if checking.proxy_header {
        socket.write_all(&LOCAL_HEADER).await.map_err(|error| broken(&error))?;
    }
    step.set(Step::Asking);
    match &checking.check.kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http { path, host, status, body } => {
            let wanted = http::Wanted { status, body: body.as_deref() };
            let target = (checking.host(worker, host.as_deref()), &**path);
            match checking.protocol {
                WorkerProtocol::Http1 => http::over_http1(socket, target, wanted, step).await,
                WorkerProtocol::Http2 => http::over_http2(socket, target, wanted, step).await,
            }
        }
        CheckKind::Grpc { service } => {
            let host = checking.host(worker, None);
            grpc::ask(socket, &host, service, (checking.check.timeout, step)).await
        }
    }
}

fn refused(error: &io::Error, worker: &Endpoint) -> String {
    match (error.kind(), worker) {
        (io::ErrorKind::NotFound, Endpoint::Unix(_)) => "there is no such socket".to_owned(),
        _ => broken(error),
    }
}

/// What kept a connection from being made, or ended it.
pub(super) fn broken(error: &io::Error) -> String {
    use io::ErrorKind::{
        BrokenPipe, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        PermissionDenied, UnexpectedEof,
    };
    match error.kind() {
        UnexpectedEof => "the connection ended before the answer did".to_owned(),
        kind @ (BrokenPipe | ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable
        | PermissionDenied) => kind.to_string(),
        // Its own words say more than its kind.
        _ => error.to_string(),
    }
}
