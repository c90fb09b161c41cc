//! What one finished handshake agreed on.

use std::sync::Arc;

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};

use super::identity::ClientCertificate;
use super::inspect::unix_seconds;
use crate::clock::Moment;

/// The name of HTTP/2 in ALPN (RFC 9113 section 3.2).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// The name of HTTP/1.1 in ALPN (RFC 7301 section 6).
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// A TLS connection, as the requests that come over it see it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The server name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// The certificate that the client showed; it is valid, and may be unknown.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The suite, by its name at IANA.
    pub cipher: &'static str,
    /// Whether HTTP/2 was agreed on.
    pub alpn_h2: bool,
    /// Whether it went on with an earlier session, without looking at certificates anew.
    pub resumed: bool,
}

impl Session {
    /// What this connection agreed on, once its handshake has finished.
    ///
    /// # Errors
    /// The client's certificate has expired since the session began that is resumed: the connection is to be closed, as
    /// it would be without the earlier session.
    pub fn read(connection: &ServerConnection, now: Moment) -> Result<Self, &'static str> {
        let leaf = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate = leaf.map(|leaf| Arc::new(ClientCertificate::read(leaf)));
        if certificate.as_ref().is_some_and(|certificate| certificate.not_after < unix_seconds(now)) {
            return Err("the client certificate has expired");
        }
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "",
        };
        Ok(Self {
            server_name: connection.server_name().map(|name| name.to_ascii_lowercase().into()),
            certificate,
            version,
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
            alpn_h2: connection.alpn_protocol() == Some(ALPN_H2),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

/// rustls names the suites of TLS 1.3 otherwise than IANA does.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}
