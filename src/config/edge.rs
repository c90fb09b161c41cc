//! The checked configuration of a service's outer side: where it listens, what is spoken there, TLS, how long a client
//! connection is kept; and where a worker is reached, which may be a socket of the file system too.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::At;

/// An address of the network or a socket of the file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `127.0.0.1:4070`.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(Arc<Path>),
}

impl Endpoint {
    /// The address, if it is one of the network.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path, if it is a socket of the file system.
    pub const fn path(&self) -> Option<&Arc<Path>> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `socket`: whose a Unix socket is that a service listens on, and who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// `mode`: its permission bits. Default 0660.
    pub mode: u32,
    /// `owner`: the user's name or number. None: the one that Buckler runs as.
    pub owner: Option<Arc<str>>,
    /// `group`: the group's name or number. None: the one that Buckler runs as.
    pub group: Option<Arc<str>>,
}

/// `protocol`: what a service speaks with its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2 on the same port.
    #[default]
    Http,
    /// Bytes, carried as they are.
    Tcp,
}

/// `workers.protocol`: what is spoken with the workers of an HTTP service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerProtocol {
    /// HTTP/1.1, one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113 section 3.3).
    Http2,
}

/// `tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `certificates`, at least one; the first is for clients that name no server, or one that is not known.
    pub certificates: Vec<CertificateFiles>,
    /// `client_certificate`.
    pub client_certificate: ClientCertificate,
    /// `client_ca`: who may issue client certificates. There if `client_certificate` is not `none`.
    pub client_ca: Option<NamedFile>,
    /// `crl`: revoked client certificates.
    pub crl: Option<NamedFile>,
    /// `min_version`. Default 1.2.
    pub min_version: TlsVersion,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `chain`: the leaf first, then its issuers.
    pub chain: NamedFile,
    /// `key`: PKCS #8, PKCS #1 or SEC1.
    pub key: NamedFile,
}

/// A file that the configuration names, and where it does so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The path, relative ones made so to the file that names it.
    pub path: PathBuf,
    /// Where it is written.
    pub at: At,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one that is shown must be valid.
    Optional,
    /// Without a valid one there is no connection.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// `connections`: how long a client connection is kept, so that the load of a restart does not come back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLife {
    /// `max_age`: after so long the client is asked to close after its present request. None (the default): never.
    pub max_age: Option<Duration>,
    /// `jitter`: each connection's age is longer or shorter by up to this share, from 0 to 100 per cent. Default 10.
    pub jitter_percent: u8,
    /// `max_requests`: after so many the client is asked to close. None (the default): never.
    pub max_requests: Option<u64>,
}

impl Default for ConnectionLife {
    fn default() -> Self {
        Self { max_age: None, jitter_percent: 10, max_requests: None }
    }
}
