//! The PEM files of one service, read and taken apart: chains, keys, the bundle of client CAs, the CRLs. What is in
//! them is judged in `inspect.rs`. Errors say which file, what is wrong with it and what to do; contents are not shown.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::Finding;
use crate::config::{CertificateFiles, Code, NamedFile, Tls};

/// A file larger than this is not read: the largest CRLs of public CAs have about 10 MiB.
const MAX_BYTES: u64 = 32 << 20;

/// A chain and its key.
#[derive(Debug)]
pub struct Pair {
    /// The leaf first. Not empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key, if it is the right one.
    pub key: PrivateKeyDer<'static>,
}

/// Everything that a service's `tls` names, taken apart.
#[derive(Debug)]
pub struct Material {
    /// In the order of `certificates`.
    pub pairs: Vec<Pair>,
    /// `client_ca`. Empty without.
    pub client_ca: Vec<CertificateDer<'static>>,
    /// `crl`. Empty without.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// What all files held, to see whether they changed.
    pub contents: Contents,
}

/// SHA-256 of what the files held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Of the certificates and keys.
    pub shown: [u8; 32],
    /// Of the CAs and CRLs that clients' certificates are judged by.
    pub trusted: [u8; 32],
}

impl Material {
    /// Reads all files that `tls` names.
    ///
    /// # Errors
    /// Everything that cannot be read or is not PEM, at once.
    pub fn read(tls: &Tls) -> Result<Self, Vec<Finding>> {
        let (mut shown, mut trusted) = (Digest::new(), Digest::new());
        let mut faults = Vec::new();
        let mut pairs = Vec::new();
        for files in &tls.certificates {
            match pair(files, &mut shown) {
                Ok(pair) => pairs.push(pair),
                Err(fault) => faults.push(fault),
            }
        }
        let client_ca = bundle(tls.client_ca.as_ref(), "certificate", &mut trusted);
        let client_ca = client_ca.unwrap_or_else(|fault| none(&mut faults, fault));
        let crls = bundle(tls.crl.as_ref(), "certificate revocation list", &mut trusted);
        let crls = crls.unwrap_or_else(|fault| none(&mut faults, fault));
        if !faults.is_empty() {
            return Err(faults);
        }
        let contents = Contents { shown: shown.finish(), trusted: trusted.finish() };
        Ok(Self { pairs, client_ca, crls, contents })
    }
}

fn none<T>(faults: &mut Vec<Finding>, fault: Finding) -> Vec<T> {
    faults.push(fault);
    Vec::new()
}

/// Every file that `tls` names.
pub fn named(tls: &Tls) -> impl Iterator<Item = &NamedFile> {
    let pairs = tls.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
    pairs.chain(&tls.client_ca).chain(&tls.crl)
}

fn pair(files: &CertificateFiles, seen: &mut Digest) -> Result<Pair, Finding> {
    let chain_bytes = bytes(&files.chain)?;
    let key_bytes = bytes(&files.key)?;
    seen.add(&chain_bytes);
    seen.add(&key_bytes);
    let chain = CertificateDer::pem_slice_iter(&chain_bytes)
        .collect::<Result<Vec<_>, _>>()
        .and_then(not_empty)
        .map_err(|error| not_pem(&files.chain, &chain_bytes, "certificate", &error))?;
    let key = PrivateKeyDer::from_pem_slice(&key_bytes)
        .map_err(|error| not_pem(&files.key, &key_bytes, "private key", &error))?;
    Ok(Pair { chain, key })
}

/// All items of one kind in a file, at least one. Empty without a file.
fn bundle<T: PemObject>(file: Option<&NamedFile>, what: &str, seen: &mut Digest) -> Result<Vec<T>, Finding> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let bytes = bytes(file)?;
    seen.add(&bytes);
    let items = T::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    items.and_then(not_empty).map_err(|error| not_pem(file, &bytes, what, &error))
}

fn not_empty<T>(items: Vec<T>) -> Result<Vec<T>, PemError> {
    if items.is_empty() { Err(PemError::NoItemsFound) } else { Ok(items) }
}

fn bytes(file: &NamedFile) -> Result<Vec<u8>, Finding> {
    let path: &Path = &file.path;
    let cannot = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "look at its name; a relative path counts from the file that names it"
            }
            std::io::ErrorKind::PermissionDenied => "let the user that Buckler runs as read it",
            _ => "it must be a file that the user that Buckler runs as can read",
        };
        finding(file, format!("{} cannot be read: {error}", path.display()), help)
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|open| open.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("{} is larger than {} MiB", path.display(), MAX_BYTES >> 20);
        return Err(finding(file, message, "name a PEM file"));
    }
    Ok(bytes)
}

/// Says what a file is that should have been something else.
fn not_pem(file: &NamedFile, bytes: &[u8], what: &str, error: &PemError) -> Finding {
    let path = file.path.display();
    let holds = |marker: &str| bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    let (message, help) = match error {
        PemError::NoItemsFound
            if holds("-----BEGIN ENCRYPTED PRIVATE KEY") || holds("Proc-Type: 4,ENCRYPTED") =>
        {
            let help = "write it without a password (`openssl pkey -in … -out …`) and let only Buckler's user read it";
            (format!("{path}: the private key is encrypted"), help.to_owned())
        }
        // ASN.1 SEQUENCE with a long length: DER, which everything of X.509 begins with.
        PemError::NoItemsFound if bytes.first() == Some(&0x30) => {
            let help = "convert it: `openssl x509 -inform der` (or pkey, crl) writes PEM";
            (format!("{path} is DER, and PEM is read here"), help.to_owned())
        }
        PemError::NoItemsFound if bytes.is_empty() => {
            (format!("{path} is empty"), format!("it must hold a {what} as PEM"))
        }
        PemError::NoItemsFound => {
            let other = if holds("-----BEGIN ") { "something else as PEM" } else { "no PEM at all" };
            (format!("{path} holds no {what}, but {other}"), format!("name the file with the {what}"))
        }
        PemError::MissingSectionEnd { .. } => {
            (format!("{path} ends in the middle of a {what}"), "write it again, whole".to_owned())
        }
        _ => (format!("{path} is not valid PEM"), format!("write the {what} again")),
    };
    finding(file, message, &help)
}

fn finding(file: &NamedFile, message: String, help: &str) -> Finding {
    Finding { code: Code::CertificateFile, at: file.at.clone(), message, help: help.to_owned() }
}

/// SHA-256 over several files, each with its length in front.
struct Digest(digest::Context);

impl Digest {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(self.0.finish().as_ref());
        sum
    }
}
