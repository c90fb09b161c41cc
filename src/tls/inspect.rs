//! Are these the files that they should be? Everything that `check`, the start and a reload say about certificates,
//! keys, CAs and CRLs, without a network: what a TLS library would only say to the first client.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::Finding;
use super::certificate::Certificate;
use super::files::{Material, Pair};
use super::names::CertificateBook;
use crate::clock::Moment;
use crate::config::{CertificateFiles, Code, HostPattern, NamedFile, Service, Tls, Verdict};

/// A certificate that ends sooner is warned of.
pub const ENDS_SOON_DAYS: i64 = 30;

const DAY: i64 = 86_400;

/// What came of looking at the files of one service.
#[derive(Debug)]
pub struct Inspected {
    /// The certificates that can be shown, with their keys.
    pub usable: Vec<(Certificate, Arc<CertifiedKey>)>,
    /// Everything to say about them and the rest.
    pub findings: Vec<Finding>,
}

/// Looks at everything that `tls` names.
pub fn inspect(tls: &Tls, material: &Material, provider: &CryptoProvider, now: Moment) -> Inspected {
    let mut look = Look { now: unix_seconds(now), findings: Vec::new() };
    let pairs = tls.certificates.iter().zip(&material.pairs);
    let usable = pairs.filter_map(|(files, pair)| look.pair(files, pair, provider)).collect();
    look.client_ca(tls, material);
    Inspected { usable, findings: look.findings }
}

/// Hosts that rules let in and that no certificate covers: clients refuse the connection before a rule is asked.
pub(super) fn uncovered(service: &Service, tls: &Tls, book: &CertificateBook) -> Vec<Finding> {
    let Some(file) = tls.certificates.first().map(|files| &files.chain) else { return Vec::new() };
    let rules = service.permissions.rules.iter().filter(|rule| rule.verdict == Verdict::Allow);
    let hosts = rules.flat_map(|rule| rule.hosts.iter().map(|host| (&rule.rule_ref, host)));
    let bare = hosts.filter(|(_, host)| !book.serves(host));
    let told = bare.map(|(rule, host)| {
        let host = match host {
            HostPattern::Exact(host) => host.to_string(),
            HostPattern::OneLabel(suffix) => format!("*{suffix}"),
        };
        Finding {
            code: Code::HostNotCovered,
            at: file.at.clone(),
            message: format!(
                "no certificate of {} covers {host}, which {} ({}) lets in",
                service.name, rule.name, rule.at
            ),
            help: "add a certificate with this name".to_owned(),
        }
    });
    told.collect()
}

/// The calendar as certificates count it: seconds since 1970.
pub fn unix_seconds(now: Moment) -> i64 {
    i64::try_from(now.unix_micros / 1_000_000).unwrap_or(i64::MAX)
}

struct Look {
    now: i64,
    findings: Vec<Finding>,
}

impl Look {
    fn say(&mut self, code: Code, file: &NamedFile, message: &str, help: &str) {
        let message = format!("{} {message}", file.path.display());
        self.findings.push(Finding { code, at: file.at.clone(), message, help: help.to_owned() });
    }

    /// A chain and its key. None: nothing can be served with them.
    fn pair(
        &mut self,
        files: &CertificateFiles,
        pair: &Pair,
        provider: &CryptoProvider,
    ) -> Option<(Certificate, Arc<CertifiedKey>)> {
        let mut chain = Vec::new();
        for (i, der) in pair.chain.iter().enumerate() {
            match Certificate::read(der) {
                Ok(certificate) => chain.push(certificate),
                Err(why) => {
                    let message = format!("holds a certificate (number {}) that {why}", i + 1);
                    self.say(Code::CertificateFile, &files.chain, &message, "write the chain again");
                    return None;
                }
            }
        }
        let leaf = chain.first()?.clone();
        let key = self.key(files, pair, provider)?;
        self.purpose(&files.chain, &leaf);
        self.dates(&files.chain, &chain);
        self.order(&files.chain, &chain);
        for weakness in chain.iter().filter_map(|certificate| certificate.weakness.as_ref()) {
            let message = format!("holds a certificate that clients refuse: {weakness}");
            self.say(Code::CertificateDoubtful, &files.chain, &message, "have it issued anew");
        }
        Some((leaf, key))
    }

    fn key(
        &mut self,
        files: &CertificateFiles,
        pair: &Pair,
        provider: &CryptoProvider,
    ) -> Option<Arc<CertifiedKey>> {
        match CertifiedKey::from_der(pair.chain.clone(), pair.key.clone_key(), provider) {
            Ok(key) => Some(Arc::new(key)),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let message = format!("is not the key of the certificate in {}", files.chain.path.display());
                let help = "name the key that the certificate was requested with; the leaf stands first in the chain";
                self.say(Code::CertificateUnfit, &files.key, &message, help);
                None
            }
            Err(_) => {
                let help = "RSA of at least 2048 bits, ECDSA (P-256, P-384, P-521) and Ed25519 are";
                self.say(
                    Code::CertificateUnfit,
                    &files.key,
                    "holds a key of a kind that is not supported",
                    help,
                );
                None
            }
        }
    }

    /// Whether the leaf is one that servers show.
    fn purpose(&mut self, file: &NamedFile, leaf: &Certificate) {
        if leaf.is_ca && leaf.is_self_issued() {
            // What `openssl req -x509` makes unless told otherwise. Clients that are given it as a root mostly take it.
            let help = "for more than a test have it issued by a CA; with openssl add \
                        `-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:example.test`";
            let message = "begins with a certificate that is self-signed and that of a CA: some clients refuse it as a \
                           server's";
            self.say(Code::CertificateDoubtful, file, message, help);
        } else if leaf.is_ca {
            let help = "put the server's own certificate first in the chain";
            self.say(Code::CertificateUnfit, file, "begins with the certificate of a CA", help);
        }
        if !leaf.for_servers {
            let help = "have it issued with the extended key usage serverAuth";
            self.say(Code::CertificateUnfit, file, "begins with a certificate that is not for servers", help);
        }
        if leaf.dns.is_empty() && leaf.addresses.is_empty() {
            let message = "begins with a certificate without a DNS name or address in its SAN";
            let help = "clients do not look at the common name any more; have it issued with a subject alternative name";
            self.say(Code::CertificateDoubtful, file, message, help);
        }
    }

    fn dates(&mut self, file: &NamedFile, chain: &[Certificate]) {
        for (i, certificate) in chain.iter().enumerate() {
            let whose = match i {
                0 => "the certificate".to_owned(),
                _ => format!("the issuer's certificate {}", certificate.subject),
            };
            let (from, to) = (date(certificate.not_before), date(certificate.not_after));
            let (code, message) = if certificate.not_after < self.now {
                (Code::CertificateDates, format!("has expired: {whose} ended on {to}"))
            } else if certificate.not_before > self.now {
                (Code::CertificateDates, format!("is not yet valid: {whose} begins on {from}"))
            } else if certificate.not_after - self.now < ENDS_SOON_DAYS * DAY {
                let days = (certificate.not_after - self.now) / DAY;
                let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
                (Code::CertificateEndsSoon, format!("expires in {days}: {whose} ends on {to}"))
            } else {
                continue;
            };
            let help = match code {
                Code::CertificateDates if certificate.not_before > self.now => {
                    "look at this machine's clock, or wait"
                }
                _ => "renew it; files are read again when they change",
            };
            self.say(code, file, &message, help);
        }
    }

    /// Whether each certificate is signed by the next, and the last by one that clients have.
    fn order(&mut self, file: &NamedFile, chain: &[Certificate]) {
        for two in chain.windows(2) {
            let [signed, signer] = two else { continue };
            if signed.issuer_der != signer.subject_der {
                let message = format!(
                    "is out of order: behind {} must come its issuer {}",
                    signed.subject, signed.issuer
                );
                let help = "the leaf first, then the issuer of each, and nothing else";
                self.say(Code::CertificateUnfit, file, &message, help);
                return;
            }
        }
        let [only] = chain else { return };
        if !only.is_self_issued() {
            let message = format!("has a chain that is incomplete: its issuer {} is not in it", only.issuer);
            let help = "append the issuer's certificate, unless it is a root that all clients have";
            self.say(Code::CertificateDoubtful, file, &message, help);
        }
    }

    /// The bundle that clients' certificates are judged by, and its CRLs.
    fn client_ca(&mut self, tls: &Tls, material: &Material) {
        let Some(file) = &tls.client_ca else { return };
        let mut issuers = Vec::new();
        for der in &material.client_ca {
            match Certificate::read(der) {
                Ok(certificate) => issuers.push(certificate),
                Err(why) => {
                    let message = format!("holds a certificate that {why}");
                    self.say(Code::CertificateFile, file, &message, "write the bundle again");
                }
            }
        }
        for issuer in &issuers {
            let (subject, ended) = (&issuer.subject, issuer.not_after < self.now);
            if !issuer.is_ca {
                let message = format!("holds {subject}, which is no CA and can have issued no certificate");
                self.say(Code::CertificateDoubtful, file, &message, "name the CA that issues to clients");
            } else if ended || issuer.not_after - self.now < ENDS_SOON_DAYS * DAY {
                let verb = if ended { "has expired" } else { "expires soon" };
                let message = format!("holds a CA that {verb}: {subject}, on {}", date(issuer.not_after));
                self.say(Code::CertificateEndsSoon, file, &message, "add its successor to the bundle");
            }
        }
        if let Some(file) = &tls.crl {
            self.crls(file, &material.crls, &issuers);
        }
    }

    fn crls(&mut self, file: &NamedFile, crls: &[CertificateRevocationListDer<'_>], issuers: &[Certificate]) {
        let mut covered = HashSet::new();
        for der in crls {
            let Ok((_, crl)) = CertificateRevocationList::from_der(der) else {
                let message = "holds a certificate revocation list that cannot be read";
                self.say(Code::CertificateFile, file, message, "have the CA write it again");
                continue;
            };
            let name = super::certificate::distinguished_name(crl.issuer());
            if !issuers.iter().any(|issuer| *issuer.subject_der == *crl.issuer().as_raw()) {
                let message = format!("holds a list of {name}, which is not among `client_ca`");
                self.say(
                    Code::CertificateDoubtful,
                    file,
                    &message,
                    "name the list of the CA that issues to clients",
                );
            }
            covered.insert(crl.issuer().as_raw().to_vec());
            if let Some(next) = crl.next_update().map(|time| time.timestamp()).filter(|next| *next < self.now)
            {
                let message = format!("holds a list of {name} that ended on {}", date(next));
                let help = "it stays in force, but what was revoked since is not in it: fetch the new one";
                self.say(Code::CertificateEndsSoon, file, &message, help);
            }
        }
        for issuer in issuers.iter().filter(|issuer| !covered.contains(&*issuer.subject_der)) {
            let message = format!("holds no list of {}, which is among `client_ca`", issuer.subject);
            let help = "certificates of a CA without a list are refused, since nobody can say whether they are revoked; \
                        append its list";
            self.say(Code::CertificateDoubtful, file, &message, help);
        }
    }
}

/// The day of a time in seconds since 1970.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "an unknown day".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}
