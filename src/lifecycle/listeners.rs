//! What the services of a configuration listen on: taken before anything is changed, listened on when nothing else can
//! fail, and left open where the configuration before listens there already, be it for another service.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use socket2::Socket;

use super::bind;
use super::generation::Failure;
use super::socket_file::{self, Change, Placed};
use crate::config::{self, At, Config, Endpoint, ServiceName};
use crate::listen::listener::Bound;
use crate::service::Service;

/// The files of the Unix sockets that this process listens on.
pub(super) type Files = HashMap<Arc<Path>, Placed>;

/// What runs already.
#[derive(Clone, Copy)]
pub(super) struct Current<'a> {
    pub(super) services: &'a BTreeMap<ServiceName, Arc<Service>>,
    pub(super) files: &'a Files,
    /// Every port that this process listens on.
    pub(super) addresses: &'a [SocketAddr],
}

/// What is taken and not listened on yet; given up on drop.
pub(super) struct Reserved<'a> {
    taken: Vec<(&'a ServiceName, &'a config::Service, Taken)>,
    heirs: HashMap<ServiceName, ServiceName>,
    /// Files that stay and shall be somebody else's.
    changes: Vec<(&'a config::Service, Change)>,
    files: Files,
}

enum Taken {
    /// One for each shard.
    Ports(Vec<Socket>),
    File(Socket),
}

/// What is listened on, and not yet in use.
pub(super) struct Listeners {
    /// New ones, for each shard in turn.
    pub(super) new: HashMap<ServiceName, std::vec::IntoIter<Bound>>,
    /// Services that take over the listeners of another, and of which.
    pub(super) heirs: HashMap<ServiceName, ServiceName>,
    /// The files of the new ones.
    pub(super) files: Files,
}

/// Takes what `config` wants to listen on and `current` does not.
///
/// # Errors
/// A port or a path cannot be had.
pub(super) fn reserve<'a>(config: &'a Config, current: Current<'_>) -> Result<Reserved<'a>, Failure> {
    let mut reserved =
        Reserved { taken: Vec::new(), heirs: HashMap::new(), changes: Vec::new(), files: Files::new() };
    let holders = current.holders();
    for (name, wanted) in &config.services {
        if let Some(holder) = current.holder(&holders, name, &wanted.listen) {
            if let Endpoint::Unix(path) = &wanted.listen {
                let change = Change::new(path, &holder.config.socket, &wanted.socket);
                let change = change.map_err(|why| cannot_listen(wanted, &why))?;
                reserved.changes.extend(change.map(|change| (&**wanted, change)));
            }
            if holder.config.name != *name {
                reserved.heirs.insert(name.clone(), holder.config.name.clone());
            }
            continue;
        }
        let taken = match &wanted.listen {
            Endpoint::Tcp(address) => {
                let ours = is_among(*address, current.addresses);
                let sockets = bind::reserve(*address, config.threads.get(), ours);
                Taken::Ports(sockets.map_err(|error| cannot_bind(&wanted.listen_at, &wanted.listen, &error))?)
            }
            Endpoint::Unix(path) => {
                let taken = socket_file::reserve(path, &wanted.socket);
                let (socket, placed) = taken.map_err(|why| cannot_listen(wanted, &why))?;
                reserved.files.insert(Arc::clone(path), placed);
                Taken::File(socket)
            }
        };
        reserved.taken.push((name, wanted, taken));
    }
    Ok(reserved)
}

impl Reserved<'_> {
    /// Listens on everything, once for each of `shards`, and makes the files that stay whose they are to be.
    ///
    /// # Errors
    /// Somebody else listens there by now, or a file cannot be given away; then all files are as before.
    pub(super) fn open(self, shards: usize) -> Result<Listeners, Failure> {
        let mut new = HashMap::new();
        for (name, wanted, taken) in self.taken {
            let open: io::Result<Vec<Bound>> = match taken {
                Taken::Ports(sockets) => {
                    bind::open(sockets).map(|open| open.into_iter().map(Bound::Tcp).collect())
                }
                Taken::File(socket) => {
                    socket_file::open(&socket, shards).map(|open| open.into_iter().map(Bound::Unix).collect())
                }
            };
            let open = open.map_err(|error| cannot_bind(&wanted.listen_at, &wanted.listen, &error))?;
            new.insert(name.clone(), open.into_iter());
        }
        let mut made = Vec::new();
        for (wanted, change) in self.changes {
            match change.make() {
                Ok(undo) => made.push(undo),
                Err(why) => {
                    made.iter().rev().for_each(socket_file::Undo::undo);
                    return Err(cannot_listen(wanted, &why));
                }
            }
        }
        Ok(Listeners { new, heirs: self.heirs, files: self.files })
    }
}

impl<'a> Current<'a> {
    /// The service that listens exactly there, `name` before any other. A Unix socket whose file is gone is reached by
    /// nobody any more, so nobody listens there.
    fn holder(
        self,
        holders: &HashMap<&Endpoint, &'a Service>,
        name: &ServiceName,
        listen: &Endpoint,
    ) -> Option<&'a Service> {
        if let Endpoint::Unix(path) = listen
            && !self.files.get(path).is_some_and(Placed::is_there)
        {
            return None;
        }
        let itself = self.services.get(name).map(Arc::as_ref);
        itself.filter(|service| service.config.listen == *listen).or_else(|| holders.get(listen).copied())
    }

    /// The first service that listens at each place.
    fn holders(self) -> HashMap<&'a Endpoint, &'a Service> {
        let services = self.services.values().map(Arc::as_ref);
        services.rev().map(|service| (&service.config.listen, service)).collect()
    }
}

/// Whether this process listens there already, or on a wider or narrower address of the same port.
pub(super) fn is_among(address: SocketAddr, ours: &[SocketAddr]) -> bool {
    let wide = |address: &SocketAddr| address.ip().is_unspecified();
    ours.iter()
        .any(|own| own.port() == address.port() && (own.ip() == address.ip() || wide(own) || wide(&address)))
}

pub(super) fn cannot_bind(at: &At, listen: &Endpoint, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there: stop it, or choose another port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    };
    Failure::Bind(format!("{at}: cannot listen on {listen}: {error}{hint}"))
}

fn cannot_listen(wanted: &config::Service, why: &str) -> Failure {
    Failure::Bind(format!("{}: cannot listen on {}: {why}", wanted.listen_at, wanted.listen))
}
