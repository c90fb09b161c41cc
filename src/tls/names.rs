//! Which certificate is for which name: exact names before wildcards of one label (RFC 9525 section 6.3), compared in
//! lower case; and the choice that rustls asks for. The first certificate is for whoever names nobody known.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use crate::config::HostPattern;

/// The certificates of one service, by name.
pub(super) struct CertificateBook {
    keys: Vec<Arc<CertifiedKey>>,
    exact: Names,
    /// By what follows the star: `.example.test`.
    wildcard: Names,
    addresses: HashMap<IpAddr, Vec<usize>>,
}

/// Places of certificates by name, the first in the file first: there may be one with RSA and one with ECDSA.
type Names = HashMap<Box<str>, Vec<usize>>;

impl CertificateBook {
    /// A book of these, at least one.
    pub(super) fn new(certificates: impl IntoIterator<Item = (Certificate, Arc<CertifiedKey>)>) -> Self {
        let mut book =
            Self { keys: Vec::new(), exact: Names::new(), wildcard: Names::new(), addresses: HashMap::new() };
        for (place, (certificate, key)) in certificates.into_iter().enumerate() {
            for name in certificate.dns {
                match name.strip_prefix('*') {
                    Some(suffix) => book.wildcard.entry(suffix.into()).or_default().push(place),
                    None => book.exact.entry(name.into()).or_default().push(place),
                }
            }
            for address in certificate.addresses {
                book.addresses.entry(address).or_default().push(place);
            }
            book.keys.push(key);
        }
        book
    }

    /// The certificates that cover this name, best first. Empty: none does.
    pub(super) fn covering(&self, name: &str) -> &[usize] {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.addresses.get(&address.to_canonical()).map_or(&[], Vec::as_slice);
        }
        if let Some(places) = self.exact.get(&*name) {
            return places;
        }
        // The star stands for one whole label, and not for none.
        let suffix = name.find('.').filter(|at| *at > 0).map(|at| &name[at..]);
        suffix.and_then(|suffix| self.wildcard.get(suffix)).map_or(&[], Vec::as_slice)
    }
}

impl CertificateBook {
    /// Whether a certificate covers at least some of the hosts that this pattern means.
    pub(super) fn serves(&self, hosts: &HostPattern) -> bool {
        match hosts {
            HostPattern::Exact(host) => !self.covering(host).is_empty(),
            HostPattern::OneLabel(suffix) => {
                let below = |name: &str| {
                    name.split_once('.').is_some_and(|(_, rest)| suffix.strip_prefix('.') == Some(rest))
                };
                self.wildcard.contains_key(&**suffix) || self.exact.keys().any(|name| below(name))
            }
        }
    }
}

impl ResolvesServerCert for CertificateBook {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let places = hello.server_name().map_or(&[][..], |name| self.covering(name));
        let mut usable = places.iter().filter_map(|place| self.keys.get(*place));
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let first = places.first().and_then(|place| self.keys.get(*place)).or_else(|| self.keys.first());
        usable.find(fits).or(first).map(Arc::clone)
    }
}

impl fmt::Debug for CertificateBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateBook")
            .field("exact", &self.exact)
            .field("wildcard", &self.wildcard)
            .finish()
    }
}
