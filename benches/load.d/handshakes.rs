//! Full TLS handshakes: each on a new connection, without resumption, with the same version, cipher and key exchange
//! whoever the server is. Both ends then close in peace, so that the server has seen the handshake to its end.

use std::io::{self, Read};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};
use serde_json::{Value, json};
use socket2::SockRef;

use super::{Failure, Target, on_each};

/// The name in the certificate.
const SERVER: &str = "bench.test";
const SILENCE: Duration = Duration::from_secs(10);

/// Handshakes, one after another on each of the target's connections, until the time is over.
pub(crate) fn run(target: &Target, ca: &Path) -> Result<Value, Failure> {
    let config = Arc::new(config(ca)?);
    let began = Instant::now();
    let end = began + target.length();
    let done = on_each(target.connections, |_| {
        let mut done = 0_u64;
        while done == 0 || Instant::now() < end {
            handshake(target, &config)?;
            done += 1;
        }
        Ok(done)
    })?;
    Ok(json!({ "handshakes": done.iter().sum::<u64>(), "seconds": began.elapsed().as_secs_f64() }))
}

/// TLS 1.3, AES-256-GCM, X25519: what OpenSSL and rustls agree on by themselves, and nothing else.
fn config(ca: &Path) -> Result<ClientConfig, Failure> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).map_err(|error| format!("{}: {error}", ca.display()))?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn handshake(target: &Target, config: &Arc<ClientConfig>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut tls = ClientConnection::new(config.clone(), ServerName::try_from(SERVER)?)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    tls.send_close_notify();
    tls.complete_io(&mut stream)?;
    // To the server's own end: only then has it taken our last flight. Its tickets are not looked at.
    match io::copy(&mut stream.by_ref(), &mut io::sink()) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error.into()),
        _ => {}
    }
    // The port is free at once: else a long run uses them all up.
    Ok(SockRef::from(&stream).set_linger(Some(Duration::ZERO))?)
}
