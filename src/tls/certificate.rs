//! What one X.509 certificate says (RFC 5280): its names, its dates, what it is for. Plain data, read once; whether
//! that is good is judged elsewhere.

use std::fmt::Write as _;
use std::net::IpAddr;

use x509_parser::oid_registry::asn1_rs::oid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

/// The least bits of an RSA key (NIST SP 800-57 part 1, CA/Browser Forum).
const LEAST_RSA_BITS: usize = 2048;

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, as RFC 4514 writes names; ASCII only.
    pub subject: String,
    /// Who signed it, written alike.
    pub issuer: String,
    /// DNS names of the SAN, in lower case; only those of letters, digits, `.`, `-`, `_` and `*`.
    pub dns: Vec<String>,
    /// URIs of the SAN; only those of visible ASCII.
    pub uris: Vec<String>,
    /// Addresses of the SAN.
    pub addresses: Vec<IpAddr>,
    /// First second of its life, since 1970.
    pub not_before: i64,
    /// Last second of its life, since 1970.
    pub not_after: i64,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Whether it may be shown by servers: no extended key usage, or one with serverAuth.
    pub for_servers: bool,
    /// What is too weak about it.
    pub weakness: Option<String>,
    /// Subject and issuer as they stand, to find who signed whom.
    pub(super) subject_der: Box<[u8]>,
    pub(super) issuer_der: Box<[u8]>,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It is not one, or comes with bytes behind it.
    pub fn read(der: &[u8]) -> Result<Self, &'static str> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| "is not an X.509 certificate")?;
        if !rest.is_empty() {
            return Err("has bytes behind its end");
        }
        let alternative = parsed.subject_alternative_name().map_err(|_| "has unreadable names")?;
        let usage = parsed.extended_key_usage().map_err(|_| "has an unreadable extended key usage")?;
        let (mut dns, mut uris, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) if is_dns_name(name) => dns.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) if is_visible(uri) => uris.push((*uri).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        let (subject, issuer) = (parsed.subject(), parsed.issuer());
        Ok(Self {
            subject: distinguished_name(subject),
            issuer: distinguished_name(issuer),
            dns,
            uris,
            addresses,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            is_ca: parsed.is_ca(),
            for_servers: usage.is_none_or(|usage| usage.value.server_auth || usage.value.any),
            weakness: weakness(&parsed),
            subject_der: subject.as_raw().into(),
            issuer_der: issuer.as_raw().into(),
        })
    }

    /// Whether its issuer is itself, by name.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }
}

/// A CA may check URIs and never look at how a DNS name is written: one that is spelled like a SPIFFE id must not
/// count as one, so what no host is called is no name (RFC 1123 section 2.1; `_` as services write it, `*` as a
/// wildcard).
fn is_dns_name(text: &str) -> bool {
    let of_hosts = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
    !text.is_empty() && text.bytes().all(of_hosts)
}

/// URIs go into headers and logs: space, controls and other letters have no place there.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn weakness(certificate: &X509Certificate<'_>) -> Option<String> {
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed()
        && key.key_size() < LEAST_RSA_BITS
    {
        return Some(format!("its RSA key has {} bits, and {LEAST_RSA_BITS} are the least", key.key_size()));
    }
    let signature = &certificate.signature_algorithm.algorithm;
    // A root's own signature is never looked at.
    let self_signed = certificate.subject().as_raw() == certificate.issuer().as_raw();
    let outdated = [
        (oid!(1.2.840.113549.1.1.4), "MD5"),
        (oid!(1.2.840.113549.1.1.5), "SHA-1"),
        (oid!(1.2.840.10045.4.1), "SHA-1"),
        (oid!(1.2.840.10040.4.3), "SHA-1"),
    ];
    let found = outdated.iter().find(|(oid, _)| oid == signature).filter(|_| !self_signed);
    found.map(|(_, hash)| format!("it is signed with {hash}"))
}

/// A name as RFC 4514 writes it, the last part first: `CN=playlist,O=Example`. What is not plain is escaped, so that
/// quotes, controls and other alphabets never appear as themselves.
pub fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (i, attribute) in part.iter().enumerate() {
            if i > 0 {
                text.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            text.push_str(short_name(&oid).unwrap_or(&oid));
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    attribute.as_slice().iter().for_each(|byte| {
                        let _ = write!(text, "{byte:02x}");
                    });
                }
            }
        }
    }
    text
}

/// RFC 4514 section 3, and OpenSSL's word for an address of e-mail.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514 section 2.4.
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (i, byte) in value.bytes().enumerate() {
        match byte {
            b'+' | b',' | b';' | b'<' | b'>' | b'=' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' ' if i == 0 || i == last => text.push_str("\\ "),
            b'#' if i == 0 => text.push_str("\\#"),
            b' '..=b'~' if byte != b'"' && byte != b'\\' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}
