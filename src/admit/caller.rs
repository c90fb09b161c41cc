//! Who is calling. The credentials are looked at in the order of `identify`; the first that is *present* decides:
//! right, it names the caller; wrong, the request ends with 401 and never falls through to a weaker identity.
//!
//! - A key header that comes twice is refused (400): two readers could take two different ones. A comma is part of a
//!   key. An empty key header is present and wrong. Keys are known by their SHA-256 and compared in constant time.
//! - A client certificate was found valid by the handshake. Any of its names that `known` has names the caller; names
//!   of two callers are nobody's; none of them makes a caller of its own, `certificate:` and its first name.
//! - The address is the peer's, or what trusted proxies say ([`super::forwarded`]). A caller of `known` is found by
//!   the longest prefix; others are named after their address, cut to `ipv4_prefix` or `ipv6_prefix`.
//!
//! Not here: what a caller may do ([`super::permission`], [`super::limit`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::{Callers, Credential};
use crate::fields::Fields;
use crate::refusal::{Reason, Refusal};
use crate::tls::identity::{Identity, compared};

use super::forwarded::{parse_forwarded_for, unmapped};
use super::seed::keyed_hash;
use prefixes::Prefixes;

mod address;
mod certificate;
mod key;
mod prefixes;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// One caller, as one request sees it. Belongs to the shard that made it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub who: Who,
    /// Its tier, as an index into [`Callers::tiers`]; only callers of `known` have one.
    pub tier: Option<usize>,
    /// What named it.
    pub via: Via,
    /// The address that is believed to be the client's; also for callers known by a key.
    pub client: IpAddr,
    /// Its name under a hash keyed once per process; what ledgers know it by.
    pub hash: u64,
}

/// A caller of `known`, or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The index into [`Callers::known`] of the configuration that identified it.
    Known(usize),
    /// Its name: `address:…`, `api_key:…` or `certificate:…`.
    Other(Arc<str>),
}

/// Which credential named a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A client certificate.
    Certificate,
    /// A key.
    ApiKey,
    /// An address.
    Address,
}

impl Caller {
    /// Its number in [`Callers::known`], if it is named there.
    pub const fn known(&self) -> Option<usize> {
        match self.who {
            Who::Known(number) => Some(number),
            Who::Other(_) => None,
        }
    }
}

impl Via {
    /// The word in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ApiKey => "api_key",
            Self::Address => "address",
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The address that it comes from.
    pub address: IpAddr,
    /// That is the address of a balancer, which has none of the client: trusted or not, it has said nothing of others.
    pub unknown: bool,
    /// What the certificate says that it showed in a handshake, if it showed one.
    pub certificate: Option<&'a Identity>,
}

impl From<IpAddr> for Peer<'_> {
    fn from(address: IpAddr) -> Self {
        Self { address, unknown: false, certificate: None }
    }
}

/// What the key header of a request says.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// It is not there.
    None,
    /// The one value.
    One(&'a [u8]),
    /// It comes more than once.
    Several,
}

/// What one connection remembers between requests, so that a keep-alive request hashes and allocates nothing. Empty
/// at the start; a new [`CallerBook`] (after a reload) forgets what the old one knew.
#[derive(Debug, Default)]
pub struct CachedCaller {
    book: u64,
    peer: Option<PeerMemo>,
    /// The last address that named a caller.
    address: Option<(IpAddr, Caller)>,
    /// The last key that named a caller.
    key: Option<(Vec<u8>, Caller)>,
    certificate: Option<(Identity, Caller)>,
}

#[derive(Clone, Copy, Debug)]
struct PeerMemo {
    /// As the connection says it; [`unmapped`], it is `peer`.
    came: IpAddr,
    peer: IpAddr,
    trusted: bool,
}

/// Everything needed to tell callers apart.
#[derive(Debug)]
pub struct CallerBook {
    callers: Arc<Callers>,
    /// No two books of a process have the same.
    pub(crate) number: u64,
    /// By the keyed hash of a digest; the digest itself is then compared in constant time.
    keys: HashMap<u64, Vec<([u8; 32], usize)>, foldhash::fast::FixedState>,
    /// By a name in a certificate.
    certificates: HashMap<String, usize, foldhash::fast::FixedState>,
    known: Prefixes<usize>,
    trusted: Prefixes<()>,
    /// The ledger hash of each known caller.
    hashes: Box<[u64]>,
    /// The number of a known caller, by its ledger hash.
    numbers: HashMap<u64, usize, foldhash::fast::FixedState>,
}

impl CallerBook {
    /// The book for these callers.
    pub fn new(callers: Arc<Callers>) -> Self {
        static BOOKS: AtomicU64 = AtomicU64::new(1);
        let mut keys: HashMap<u64, Vec<_>, _> = HashMap::default();
        let mut certificates = HashMap::default();
        let (mut known, mut trusted) = (Prefixes::default(), Prefixes::default());
        for (number, caller) in callers.known.iter().enumerate() {
            for key in &caller.api_keys {
                // One, nearly always: a Vec that grows begins with four.
                keys.entry(keyed_hash(key)).or_insert_with(|| Vec::with_capacity(1)).push((*key, number));
            }
            certificates.extend(caller.certificates.iter().map(|name| (compared(name), number)));
            caller.addresses.iter().for_each(|net| known.insert(*net, number));
        }
        callers.trusted_proxies.iter().for_each(|net| trusted.insert(*net, ()));
        let hashes: Box<[u64]> = callers.known.iter().map(|caller| hash_of(&caller.name)).collect();
        let numbers = hashes.iter().zip(0..).map(|(hash, number)| (*hash, number)).collect();
        let number = BOOKS.fetch_add(1, Relaxed);
        Self { number, keys, certificates, known, trusted, hashes, numbers, callers }
    }

    /// Who sends this request over a connection from `peer`.
    ///
    /// # Errors
    /// 401 `no_identity` if the first credential that is present is wrong or means two callers, or none is; 400
    /// `bad_request` if the key
    /// header comes more than once.
    pub fn identify(
        &self,
        peer: Peer<'_>,
        fields: &Fields,
        cached: &mut CachedCaller,
    ) -> Result<Caller, Refusal> {
        let mut keys = fields.get_all(self.callers.api_key_header.as_str());
        let keys = match (keys.next(), keys.next()) {
            (None, _) => Keys::None,
            (Some(key), None) => Keys::One(key),
            (Some(_), Some(_)) => Keys::Several,
        };
        self.identify_by(peer, keys, Some(fields), cached)
    }

    /// The same, of a request whose key header was looked at. `forwarded`: the fields, if `X-Forwarded-For` is among
    /// them.
    ///
    /// # Errors
    /// As of [`Self::identify`].
    pub fn identify_by(
        &self,
        peer: Peer<'_>,
        keys: Keys<'_>,
        forwarded: Option<&Fields>,
        cached: &mut CachedCaller,
    ) -> Result<Caller, Refusal> {
        let memo = self.peer_memo(peer.address, cached);
        let client = match forwarded.filter(|_| memo.trusted && !peer.unknown) {
            Some(fields) => {
                let lines = fields.get_all(FORWARDED_FOR);
                parse_forwarded_for(memo.peer, lines, |address| self.is_trusted(address))
            }
            None => memo.peer,
        };
        for credential in &self.callers.identify {
            match credential {
                Credential::Certificate => {
                    if let Some(shown) = peer.certificate {
                        return self.by_certificate(client, shown, cached);
                    }
                }
                Credential::ApiKey => {
                    if let Some(answer) = self.by_key(client, keys, cached) {
                        return answer;
                    }
                }
                Credential::Address => return Ok(self.by_address(client, cached)),
            }
        }
        Err(Refusal::new(Reason::NoIdentity, "no credential was sent"))
    }

    /// The name of a caller that this book identified: the same in logs, metrics and towards the worker.
    pub fn name<'a>(&'a self, caller: &'a Caller) -> &'a str {
        match &caller.who {
            Who::Known(number) => self.callers.known.get(*number).map_or("", |known| &known.name),
            Who::Other(name) => name,
        }
    }

    /// The same, to be kept beyond the request.
    pub fn shared_name(&self, caller: &Caller) -> Arc<str> {
        match &caller.who {
            Who::Known(number) => {
                self.callers.known.get(*number).map_or_else(|| "".into(), |k| Arc::clone(&k.name))
            }
            Who::Other(name) => Arc::clone(name),
        }
    }

    /// The caller that has this name, for people who look at quotas. None for a name that cannot be led back to a
    /// credential, which is that of an anonymous key.
    pub fn of_name(&self, name: &str) -> Option<Caller> {
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        if let Some(number) = self.numbers.get(&hash_of(name))
            && *self.callers.known[*number].name == *name
        {
            return Some(self.known_caller(*number, Via::Address, nowhere));
        }
        if name.starts_with("certificate:") {
            return Some(Self::stranger_with(&name.into(), nowhere));
        }
        let address = name.strip_prefix("address:")?;
        let client = address.split('/').next().and_then(|text| text.parse().ok())?;
        Some(self.address_caller(client))
    }

    /// Whether this peer's X-Forwarded-For, -Proto, -Host and X-Request-Id are believed.
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.longest(unmapped(peer)).is_some()
    }

    /// The same for the peer of a connection, which remembers it.
    pub fn trusts(&self, peer: IpAddr, cached: &mut CachedCaller) -> bool {
        self.peer_memo(peer, cached).trusted
    }

    /// What the book was made from.
    pub fn callers(&self) -> &Arc<Callers> {
        &self.callers
    }

    /// What is remembered of this connection's peer; whatever another book left behind is forgotten first.
    fn peer_memo(&self, came: IpAddr, cached: &mut CachedCaller) -> PeerMemo {
        if cached.book != self.number {
            *cached = CachedCaller { book: self.number, ..CachedCaller::default() };
        }
        match cached.peer {
            Some(memo) if memo.came == came => memo,
            _ => *cached.peer.insert(PeerMemo { came, peer: unmapped(came), trusted: self.is_trusted(came) }),
        }
    }

    fn known_caller(&self, number: usize, via: Via, client: IpAddr) -> Caller {
        let tier = self.callers.known.get(number).and_then(|known| known.tier);
        Caller { who: Who::Known(number), tier, via, client, hash: self.hashes[number] }
    }
}

/// What the ledger knows a caller of `known` by.
fn hash_of(name: &str) -> u64 {
    keyed_hash(("known", name))
}

#[cfg(test)]
mod tests;
