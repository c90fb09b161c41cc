//! Who a client's certificate says it is, and how workers are told of it. That the certificate is valid has been
//! checked by the handshake; whether the name is known is decided by `admit`.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;

/// What begins the URI of a SPIFFE id.
const SPIFFE: &str = "spiffe://";

/// A longer name is not shown; the certificate is called by its fingerprint then. DNS names have at most 253 bytes.
const LONGEST_SHOWN: usize = 255;

/// What a certificate calls its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the owner can be known by: the SPIFFE id if there is one, then the DNS names of the SAN in lower case.
    pub names: Vec<Arc<str>>,
    /// What an owner is called that nobody knows: `certificate:` and the first name, or the first 12 hex digits of the
    /// certificate's SHA-256.
    pub display: Arc<str>,
    /// Why it names nobody, although the certificate is valid: no request passes with it.
    pub fault: Option<&'static str>,
}

/// The verified certificate of a client, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whose it is.
    pub identity: Identity,
    /// SHA-256 of the certificate, 64 hex digits.
    pub fingerprint: Box<str>,
    /// Its subject as RFC 4514 writes it; ASCII only.
    pub subject: Box<str>,
    /// The URIs of its SAN.
    pub uris: Vec<Box<str>>,
    /// The DNS names of its SAN, in lower case.
    pub dns: Vec<Box<str>>,
    /// Last second of its life, since 1970.
    pub not_after: i64,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
}

impl Identity {
    /// The owner of a certificate that holds just this name.
    pub fn of_name(name: &str) -> Self {
        let name = compared(name);
        Self { display: format!("certificate:{name}").into(), names: vec![name.into()], fault: None }
    }
}

impl ClientCertificate {
    /// Reads a certificate that a handshake has verified. One that cannot be read names nobody and says so in
    /// [`Identity::fault`].
    pub fn read(leaf: &CertificateDer<'_>) -> Self {
        let fingerprint = fingerprint(leaf);
        let (said, unreadable) = match Certificate::read(leaf) {
            Ok(said) => (Some(said), None),
            Err(_) => (None, Some("the client certificate cannot be read")),
        };
        let (uris, dns, subject, not_after) = said.map_or_else(
            || (Vec::new(), Vec::new(), String::new(), i64::MAX),
            |said| (said.uris, said.dns, said.subject, said.not_after),
        );
        let mut ids = uris.iter().filter_map(|uri| spiffe_id(uri));
        let (id, second) = (ids.next(), ids.next());
        // SPIFFE X509-SVID section 2: a certificate is one workload's.
        let several = second.map(|_| "the client certificate holds more than one SPIFFE id");
        let names: Vec<Arc<str>> =
            id.into_iter().map(Arc::from).chain(dns.iter().map(|name| name.as_str().into())).collect();
        let shown =
            names.iter().find(|name| name.len() <= LONGEST_SHOWN).map_or(&fingerprint[..12], |name| name);
        let display = format!("certificate:{shown}").into();
        Self {
            identity: Identity { names, display, fault: unreadable.or(several) },
            subject: subject.into(),
            uris: uris.into_iter().map(String::into_boxed_str).collect(),
            dns: dns.into_iter().map(String::into_boxed_str).collect(),
            not_after,
            der: leaf.clone().into_owned(),
            fingerprint,
        }
    }

    /// The value of `x-forwarded-client-cert` in Envoy's format, ASCII only:
    /// `Hash=…;Subject="…";URI=…;DNS=…`, URI and DNS as often as the certificate has them.
    pub fn forwarded(&self) -> String {
        let mut value = format!("Hash={};Subject=\"{}\"", self.fingerprint, self.subject);
        let mut add = |key: &str, text: &str| {
            let _ = write!(value, ";{key}=");
            if text.contains([',', ';', '=', '"', '\\']) {
                let _ = write!(value, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            } else {
                value.push_str(text);
            }
        };
        self.uris.iter().for_each(|uri| add("URI", uri));
        self.dns.iter().for_each(|name| add("DNS", name));
        value
    }
}

/// A name of a certificate in the form in which it is compared: a SPIFFE id, or a DNS name in lower case.
pub fn compared(name: &str) -> String {
    spiffe_id(name).unwrap_or_else(|| name.to_ascii_lowercase())
}

/// A SPIFFE id with scheme and trust domain in lower case, which is how they are compared (SPIFFE-ID section 2).
fn spiffe_id(uri: &str) -> Option<String> {
    let scheme = uri.get(..SPIFFE.len())?;
    if !scheme.eq_ignore_ascii_case(SPIFFE) {
        return None;
    }
    let rest = &uri[SPIFFE.len()..];
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some(format!("{SPIFFE}{}{path}", domain.to_ascii_lowercase()))
}

fn fingerprint(der: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(64);
    for byte in digest::digest(&digest::SHA256, der).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}
