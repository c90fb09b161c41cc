//! The checked `callers`: who is known, by what, and in which tier. Identifying them is `admit`'s.

use std::num::NonZeroUsize;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;

use super::{At, Quota};

/// `callers`.
#[derive(Debug)]
pub struct Callers {
    /// `identify`: credentials in the order in which they are looked at; the first present one decides.
    pub identify: Vec<Credential>,
    /// `api_key.header`. Default `x-api-key`.
    pub api_key_header: HeaderName,
    /// `api_key.unknown`: what a key that matches nobody is.
    pub unknown_key: UnknownKey,
    /// `address.ipv4_prefix`, 0 to 32. Default 32.
    pub ipv4_prefix: u8,
    /// `address.ipv6_prefix`, 0 to 128. Default 64.
    pub ipv6_prefix: u8,
    /// `trusted_proxies`: peers whose X-Forwarded-For, X-Forwarded-Proto/-Host and X-Request-Id are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `known`, in the order written. A caller's place here is its number everywhere else.
    pub known: Vec<KnownCaller>,
    /// `tiers`, in the order written.
    pub tiers: Vec<Tier>,
    /// `ledger.max_keys`: how many callers' quotas are remembered at once; fixes the memory (16 bytes a key). The
    /// services of the start share them equally.
    pub max_keys: NonZeroUsize,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The client's certificate.
    Certificate,
    /// A key in a header.
    ApiKey,
    /// The peer's address, or what a trusted proxy says of it; always present.
    Address,
}

/// What a key is that matches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKey {
    /// Wrong: 401.
    Refuse,
    /// A caller of its own: `api_key:` and the first 12 hex digits of its hash.
    Anonymous,
}

/// One entry of `callers.known`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCaller {
    /// Its name.
    pub name: Arc<str>,
    /// SHA-256 of each of its keys.
    pub api_keys: Vec<[u8; 32]>,
    /// Names in its certificates: SPIFFE ids (`spiffe://…`) or DNS names in lower case.
    pub certificates: Vec<Arc<str>>,
    /// Networks it calls from.
    pub addresses: Vec<IpNet>,
    /// Its tier, as an index into [`Callers::tiers`].
    pub tier: Option<usize>,
    /// Where it is written.
    pub at: At,
}

/// One entry of `callers.tiers`.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its name.
    pub name: Arc<str>,
    /// What each of its callers may do, per service.
    pub quota: Quota,
}
