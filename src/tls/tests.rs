//! Terms over their life, with a rustls client at the other end of a buffer.

mod authority;
mod clients;
mod inspected;
mod watched;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, SupportedProtocolVersion,
};

use super::certificate::Certificate;
use super::*;
use crate::clock::Moment;
use crate::config::{
    At, CertificateFiles, ClientCertificate as Wanted, NamedFile, Protocol, Service, Tls, TlsVersion,
};
use authority::{Authority, Folder, Issued};

/// 22 November 2026, about when this was written.
const NOW: Moment = Moment { nanos: 1, unix_micros: 1_795_305_600_000_000 };

fn named(path: std::path::PathBuf, line: u32) -> NamedFile {
    NamedFile { path, at: At { file: "t.yaml".into(), line, column: 7 } }
}

/// A service whose files stand in a folder: `0.pem` and `0.key`, `1.pem` and so on; `ca.pem`; `crl.pem`.
fn service(folder: &Folder, change: impl FnOnce(&mut Tls)) -> Service {
    let certificates = (0..9_u32).map_while(|n| {
        let chain = folder.path(&format!("{n}.pem"));
        let files = CertificateFiles {
            chain: named(chain.clone(), 10 + n),
            key: named(folder.path(&format!("{n}.key")), 10 + n),
        };
        chain.exists().then_some(files)
    });
    let there =
        |name: &str, line| Some(folder.path(name)).filter(|path| path.exists()).map(|path| named(path, line));
    let mut tls = Tls {
        certificates: certificates.collect(),
        client_certificate: Wanted::None,
        client_ca: there("ca.pem", 20),
        crl: there("crl.pem", 21),
        min_version: TlsVersion::V1_2,
    };
    change(&mut tls);
    Service { tls: Some(Arc::new(tls)), ..crate::config::plain_service() }
}

fn write_pair(folder: &Folder, number: u32, issued: &Issued) {
    folder.write(&format!("{number}.pem"), &issued.pem);
    folder.write(&format!("{number}.key"), &issued.key);
}

fn terms(service: &Service) -> Arc<TlsTerms> {
    TlsTerms::new(service, None, NOW).unwrap().0.unwrap()
}

/// A client that trusts one root.
struct Client {
    config: ClientConfig,
}

impl Client {
    fn new(root: &Authority) -> Self {
        Self::built(root, None, rustls::ALL_VERSIONS)
    }

    fn with(root: &Authority, own: &Issued) -> Self {
        Self::built(root, Some(own), rustls::ALL_VERSIONS)
    }

    fn built(root: &Authority, own: Option<&Issued>, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.pem.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(16);
        Self { config }
    }

    fn connect(&self, terms: &TlsTerms, name: &str) -> Result<Connection, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = Connection {
            client: ClientConnection::new(Arc::new(self.config.clone()), name).unwrap(),
            server: ServerConnection::new(terms.config()).unwrap(),
        };
        connection.exchange()?;
        assert!(!connection.client.is_handshaking() && !connection.server.is_handshaking());
        Ok(connection)
    }
}

/// Both ends of a connection.
#[derive(Debug)]
struct Connection {
    client: ClientConnection,
    server: ServerConnection,
}

impl Connection {
    /// Carries bytes to and fro until neither end has more to say.
    fn exchange(&mut self) -> Result<(), rustls::Error> {
        while self.client.wants_write() || self.server.wants_write() {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            while self.client.wants_write() {
                self.client.write_tls(&mut up).unwrap();
            }
            let mut rest = up.as_slice();
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).unwrap();
                self.server.process_new_packets()?;
            }
            while self.server.wants_write() {
                self.server.write_tls(&mut down).unwrap();
            }
            let mut rest = down.as_slice();
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets()?;
            }
        }
        Ok(())
    }

    /// Whether something written at one end is read at the other.
    fn carries(&mut self) -> bool {
        use std::io::{Read, Write};
        self.client.writer().write_all(b"still here?").unwrap();
        self.exchange().unwrap();
        let mut heard = [0; 11];
        self.server.reader().read_exact(&mut heard).unwrap();
        heard == *b"still here?"
    }

    fn leaf(&self) -> Certificate {
        Certificate::read(&self.client.peer_certificates().unwrap()[0]).unwrap()
    }

    fn resumed(&self) -> bool {
        self.server.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn session(&self) -> Session {
        Session::read(&self.server, NOW).unwrap()
    }
}
