//! The terms on which one service takes TLS connections. They hold for new connections from the moment on which they
//! are replaced; open ones keep theirs.
//!
//! Sessions and tickets belong to one listener and to its rule for client certificates. They are kept over a reload as
//! long as the rule, the CAs and the CRLs are the same, and forgotten with them: a resumed session is not checked anew,
//! so it would pass a new CRL by (rustls says the same of `ServerConfig::session_storage`).
//!
//! A CRL whose time is over stays in force and is warned of: refusing everybody would be worse. The whole chain is
//! checked, and a CA without a list cannot be asked, so that its certificates are refused.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    NoClientAuth, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
    danger::ClientCertVerifier,
};
use rustls::version::{TLS12, TLS13};

use super::Finding;
use super::certificate::Certificate;
use super::files::{Contents, Material};
use super::inspect::{inspect, uncovered};
use super::names::CertificateBook;
use super::session::{ALPN_H2, ALPN_HTTP1};
use crate::clock::Moment;
use crate::config::{ClientCertificate, Code, NamedFile, Protocol, Service, Tls, TlsVersion};

/// Sessions of TLS 1.2 clients without tickets that a listener remembers: up to 4 KiB each with a client's chain.
const SESSIONS: usize = 1_024;

/// What one service shows to clients and demands of them. Replaced in place when its files change.
#[derive(Debug)]
pub struct TlsTerms {
    tls: Arc<Tls>,
    protocol: Protocol,
    present: ArcSwap<Terms>,
    stale: ArcSwapOption<Stale>,
    failures: Arc<AtomicU64>,
}

/// The terms of a service, if it has any, and whatever there is to say about its files.
pub type Prepared = (Option<Arc<TlsTerms>>, Vec<Finding>);

/// The terms of a moment.
#[derive(Debug)]
struct Terms {
    config: Arc<ServerConfig>,
    book: Arc<CertificateBook>,
    certificates: Arc<[Certificate]>,
    contents: Contents,
    memory: Memory,
}

/// The files in use are older than those on the disk, which cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// When that was seen first.
    pub since: Moment,
    /// What is wrong with the new ones.
    pub why: String,
}

/// What came of reading the files again.
#[derive(Debug)]
pub enum Reread {
    /// They hold what they held.
    Unchanged,
    /// New connections get what they hold now. What there is to warn of.
    Taken(Vec<Finding>),
    /// They cannot be used; the old ones are still in use.
    Failed(String),
    /// The same, for the same reason as before.
    StillFailed,
}

impl TlsTerms {
    /// Reads the files of a service. `before` are the terms that these replace. Gives None if the service has no `tls`,
    /// and whatever there is to say about the files.
    ///
    /// # Errors
    /// What makes them unusable. `before` stays as it is, and says that it is stale if its own files are meant.
    pub fn new(service: &Service, before: Option<&Self>, now: Moment) -> Result<Prepared, Vec<Finding>> {
        let Some(tls) = &service.tls else { return Ok((None, Vec::new())) };
        let present = before.map(|before| before.present.load_full());
        let read = Material::read(tls);
        let built = read.and_then(|material| {
            build(tls, service.protocol, &material, present.as_deref().map(|terms| &terms.memory), now)
        });
        let built = built.inspect_err(|findings| {
            if let Some(before) = before.filter(|before| before.tls == *tls) {
                before.fail(&told(findings), now);
            }
        });
        let (terms, mut findings) = built?;
        findings.extend(uncovered(service, tls, &terms.book));
        let terms = Self {
            tls: Arc::clone(tls),
            protocol: service.protocol,
            present: ArcSwap::from_pointee(terms),
            stale: ArcSwapOption::empty(),
            failures: before.map_or_else(Arc::default, |before| Arc::clone(&before.failures)),
        };
        Ok((Some(Arc::new(terms)), findings))
    }

    /// Everything there is to say about the files of a service, without using them.
    pub fn check(service: &Service, now: Moment) -> Vec<Finding> {
        match Self::new(service, None, now) {
            Ok((_, findings)) | Err(findings) => findings,
        }
    }

    /// What a new connection is to be accepted with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.present.load().config)
    }

    /// The place of the certificate that covers this host name or address, the exact name before the wildcard. None:
    /// none does, and clients that ask for it get the first. Two names of one place may share a connection; others must
    /// not (RFC 9110 section 15.5.20).
    pub fn which(&self, name: &str) -> Option<usize> {
        self.present.load().book.covering(name).first().copied()
    }

    /// The certificates in use, in the order of the file.
    pub fn certificates(&self) -> Arc<[Certificate]> {
        Arc::clone(&self.present.load().certificates)
    }

    /// What the file says.
    pub const fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    /// Whether what is in use is older than what the files hold.
    pub fn stale(&self) -> Option<Arc<Stale>> {
        self.stale.load_full()
    }

    /// How often new files could not be used, since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Reads the files again, and takes them for new connections if they can be used.
    pub fn reread(&self, now: Moment) -> Reread {
        let present = self.present.load_full();
        let material = match Material::read(&self.tls) {
            Ok(material) => material,
            Err(findings) => return self.fail(&told(&findings), now),
        };
        if material.contents == present.contents {
            self.stale.store(None);
            return Reread::Unchanged;
        }
        match build(&self.tls, self.protocol, &material, Some(&present.memory), now) {
            Err(findings) => self.fail(&told(&findings), now),
            Ok((terms, findings)) if terms.dated(now) > present.dated(now) => {
                self.fail(&told(&findings), now)
            }
            Ok((terms, findings)) => {
                self.present.store(Arc::new(terms));
                self.stale.store(None);
                Reread::Taken(findings)
            }
        }
    }

    fn fail(&self, why: &str, now: Moment) -> Reread {
        let before = self.stale.load_full();
        if before.as_ref().is_some_and(|stale| stale.why == why) {
            return Reread::StillFailed;
        }
        let since = before.map_or(now, |stale| stale.since);
        self.stale.store(Some(Arc::new(Stale { since, why: why.to_owned() })));
        self.failures.fetch_add(1, Relaxed);
        Reread::Failed(why.to_owned())
    }
}

impl Terms {
    /// How many of the certificates are outside their dates. Their issuers are not asked: a chain may carry one for old
    /// clients that has long expired, and every renewal would bring it again.
    fn dated(&self, now: Moment) -> usize {
        let now = super::inspect::unix_seconds(now);
        self.certificates.iter().filter(|leaf| leaf.not_after < now || leaf.not_before > now).count()
    }
}

/// The errors as one text.
fn told(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.is_error()).map(Finding::to_string);
    errors.collect::<Vec<_>>().join("\n")
}

/// Builds terms from what the files hold.
fn build(
    tls: &Tls,
    protocol: Protocol,
    material: &Material,
    before: Option<&Memory>,
    now: Moment,
) -> Result<(Terms, Vec<Finding>), Vec<Finding>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let inspected = inspect(tls, material, &provider, now);
    let mut findings = inspected.findings;
    let verifier = verifier(tls, material, &provider).map_err(|finding| findings.push(finding));
    let Ok(verifier) = verifier else { return Err(findings) };
    if findings.iter().any(Finding::stops) {
        return Err(findings);
    }
    let certificates = inspected.usable.iter().map(|(certificate, _)| certificate.clone()).collect();
    let book = Arc::new(CertificateBook::new(inspected.usable));
    let versions: &[_] = match tls.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let rule = Rule { clients: tls.client_certificate, trusted: material.contents.trusted };
    let built = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .and_then(|builder| Ok((builder, Memory::after(before, rule)?)));
    let (builder, memory) = built.map_err(|error| {
        let at = tls.certificates.first().map(|files| &files.chain);
        at.map(|file| unusable(file, &error.to_string())).into_iter().collect::<Vec<_>>()
    })?;
    let mut config =
        builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::clone(&book) as Arc<_>);
    config.session_storage = Arc::clone(&memory.sessions);
    config.ticketer = Arc::clone(&memory.tickets);
    if protocol == Protocol::Http {
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    }
    let config = Arc::new(config);
    Ok((Terms { config, book, certificates, contents: material.contents, memory }, findings))
}

/// Who judges the certificates of clients.
fn verifier(
    tls: &Tls,
    material: &Material,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Finding> {
    let Some(file) = tls.client_ca.as_ref().filter(|_| tls.client_certificate != ClientCertificate::None)
    else {
        return Ok(Arc::new(NoClientAuth));
    };
    let mut roots = RootCertStore::empty();
    for issuer in &material.client_ca {
        roots.add(issuer.clone()).map_err(|error| unusable(file, &error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(material.crls.iter().cloned());
    let builder = match tls.client_certificate {
        ClientCertificate::Optional => builder.allow_unauthenticated(),
        ClientCertificate::Required | ClientCertificate::None => builder,
    };
    let file = tls.crl.as_ref().unwrap_or(file);
    builder.build().map_err(|error| unusable(file, &error.to_string()))
}

fn unusable(file: &NamedFile, why: &str) -> Finding {
    Finding {
        code: Code::CertificateFile,
        at: file.at.clone(),
        message: format!("{} cannot be used: {why}", file.path.display()),
        help: "have it written again".to_owned(),
    }
}

/// What clients may come back with, and under which rule it was given to them.
#[derive(Clone)]
struct Memory {
    rule: Rule,
    sessions: Arc<dyn StoresServerSessions>,
    /// Keys change every 6 hours; a ticket is taken for at most 12.
    tickets: Arc<dyn ProducesTickets>,
}

/// What a client had to show, and to whose satisfaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    clients: ClientCertificate,
    trusted: [u8; 32],
}

impl Memory {
    fn after(before: Option<&Self>, rule: Rule) -> Result<Self, rustls::Error> {
        match before {
            Some(before) if before.rule == rule => Ok(before.clone()),
            _ => Ok(Self {
                rule,
                sessions: ServerSessionMemoryCache::new(SESSIONS),
                tickets: aws_lc_rs::Ticketer::new()?,
            }),
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("rule", &self.rule).finish_non_exhaustive()
    }
}
