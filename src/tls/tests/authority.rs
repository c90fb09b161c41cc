//! A CA for tests: certificates, keys and revocation lists, made anew each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub(crate) pem: String,
}

/// A certificate and its key.
pub(crate) struct Issued {
    /// The certificate, PEM.
    pub(crate) pem: String,
    /// The private key, PEM.
    pub(crate) key: String,
    /// The certificate, DER.
    pub(crate) der: Vec<u8>,
    serial: SerialNumber,
}

/// Serial numbers: no two certificates of a process have the same.
fn serial() -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    NEXT.fetch_add(1, Relaxed).into()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial());
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// A root.
    pub(crate) fn new(name: &str) -> Self {
        let (params, key) = (ca_params(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A CA below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        let (params, key) = (ca_params(name), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate with its key, as a server shows one that is self-signed.
    pub(crate) fn itself(&self) -> Issued {
        Issued {
            pem: self.pem.clone(),
            key: self.issuer.key().serialize_pem(),
            der: Vec::new(),
            serial: serial(),
        }
    }

    /// A certificate, with whatever `change` makes of it.
    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = params(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            pem: made.pem(),
            key: key.serialize_pem(),
            der: made.der().to_vec(),
            serial: params.serial_number.unwrap(),
        }
    }

    /// A server's certificate for these DNS names.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        self.issue(names[0], |params| {
            params.subject_alt_names = names.iter().map(|name| dns(name)).collect();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// A client's certificate with these URIs and DNS names.
    pub(crate) fn client(&self, uris: &[&str], names: &[&str]) -> Issued {
        self.issue("client", |params| as_client(params, uris, names))
    }

    /// A client's certificate that ended long ago.
    pub(crate) fn expired_client(&self, name: &str) -> Issued {
        self.issue("client", |params| {
            as_client(params, &[], &[name]);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// A list of what is revoked, PEM, that is good until the start of this year.
    pub(crate) fn revokes(&self, revoked: &[&Issued], until: i32) -> String {
        let entry = |issued: &&Issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: serial(),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn as_client(params: &mut CertificateParams, uris: &[&str], names: &[&str]) {
    let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
    params.subject_alt_names = uris.chain(names.iter().map(|name| dns(name))).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

/// A DNS name for a SAN.
pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// A folder of its own, gone in the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// A new one, empty.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("buckler-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        // Watchers tell real paths.
        Self(path.canonicalize().unwrap())
    }

    /// Writes a file, as a tool does that does not rename.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
