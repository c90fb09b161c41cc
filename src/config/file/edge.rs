//! The outer side of a service as it is written: its Unix socket, its protocol, TLS, the life of its connections.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Field, List};
use crate::config::value::{ModeBits, ShareText, SpanText};

/// The file of a Unix socket: whose it is and who may connect.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Socket {
    /// Its permission bits in octal; who may write to it may connect. Default `"0660"`.
    pub(in crate::config) mode: Field<ModeBits>,
    /// Its user, by name or number. Default: the one that Buckler runs as; another takes root.
    pub(in crate::config) owner: Field<String>,
    /// Its group, by name or number. Default: the one that Buckler runs as.
    pub(in crate::config) group: Field<String>,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Protocol {
    /// HTTP/1.1 and HTTP/2 on the same port.
    Http,
    /// Bytes, carried as they are.
    Tcp,
}

/// What workers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WorkerProtocol {
    /// HTTP/1.1, one request at a time on a connection.
    Http1,
    /// HTTP/2 without TLS, with prior knowledge; many requests at once on a connection.
    Http2,
}

/// TLS on the port. Files are read again when they change; a faulty new one keeps the old one.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Tls {
    /// The certificates, at least one, at most 1000. The client's server name (SNI) picks one; the first is for clients
    /// that name no server, or one that none of them covers.
    #[schemars(required)]
    pub(in crate::config) certificates: Field<List<CertificateFiles>>,
    /// A PEM file with those who may issue client certificates. Relative to the file that names it.
    pub(in crate::config) client_ca: Field<String>,
    /// A PEM file with revocation lists for client certificates. Relative to the file that names it. Default: nothing
    /// is revoked.
    pub(in crate::config) crl: Field<String>,
    /// Whether clients are asked for a certificate: `optional` takes those without one too, `required` does not. One
    /// that is shown and not valid ends the handshake. Default `none`.
    pub(in crate::config) client_certificate: Field<ClientCertificate>,
    /// The oldest version that is spoken. Default `"1.2"`.
    pub(in crate::config) min_version: Field<TlsVersion>,
}

/// A certificate and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct CertificateFiles {
    /// A PEM file: the certificate, then its issuers. Relative to the file that names it.
    #[schemars(required)]
    pub(in crate::config) chain: Field<String>,
    /// A PEM file with its private key (PKCS #8, PKCS #1 or SEC1). Relative to the file that names it.
    #[schemars(required)]
    pub(in crate::config) key: Field<String>,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientCertificate {
    /// They are not asked.
    None,
    /// They are asked and may have none.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::config) enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// How long a client connection is kept. At its end the client is asked to close, after its present request.
/// A WebSocket, or whatever else it was upgraded to, is left alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Connections {
    /// How old it may get. Default: as old as the client likes. From 1s to 30d.
    pub(in crate::config) max_age: Field<SpanText>,
    /// Each connection's `max_age` is longer or shorter by up to this share, so that they do not all come back at
    /// once. Default `10%`, from 0% to 100%.
    pub(in crate::config) jitter: Field<ShareText>,
    /// How many requests it may carry. Default: no bound.
    #[schemars(range(min = 1))]
    pub(in crate::config) max_requests: Field<u64>,
}
