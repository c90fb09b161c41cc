//! `callers`: who is known, by which key or network, in which tier.

use std::collections::hash_map::Entry;
use std::num::NonZeroUsize;
use std::sync::Arc;

use http::HeaderName;

use super::edge::asks;
use super::{Checker, Quick, each, entries, items, value};
use crate::config::collect::{Located, nearest};
use crate::config::file::{self, File};
use crate::config::report::{Code, Spot};
use crate::config::tree::shorten;
use crate::config::{Callers, Credential, KnownCaller, Tier, UnknownKey};

/// Headers that cannot carry a key: they belong to one connection (RFC 9110 section 7.6.1), to the message, or to
/// Buckler.
const NO_KEY_HEADERS: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "content-type",
    "date",
    "expect",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "x-forwarded-client-cert",
    "traceparent",
    "tracestate",
];

/// How many names a hint may list.
const NAMES_LISTED: usize = 12;

/// The order of credentials when none is written.
fn usual(known: &[KnownCaller]) -> Vec<Credential> {
    let by_certificate = known.iter().any(|caller| !caller.certificates.is_empty());
    let first = by_certificate.then_some(Credential::Certificate);
    first.into_iter().chain([Credential::ApiKey, Credential::Address]).collect()
}

impl Checker<'_> {
    pub(super) fn callers(&mut self, callers: Option<&Located<file::Callers>>) -> Callers {
        let written = callers.and_then(|callers| callers.value.as_ref());
        let tiers = written.map(|w| self.tiers(w)).unwrap_or_default();
        self.numbers.tiers = numbered(tiers.iter().map(|tier| &tier.name));
        let known = written.map(|w| self.known(w, &tiers)).unwrap_or_default();
        self.numbers.callers = numbered(known.iter().map(|caller| &caller.name));
        self.numbers.members = vec![0; tiers.len()];
        for tier in known.iter().filter_map(|caller| caller.tier) {
            self.numbers.members[tier] += 1;
        }
        let (header, unknown) = self.api_key(written.and_then(|w| w.api_key.as_ref()));
        let prefixes = written.and_then(|w| value(&w.address));
        let trusted_proxies = written.map(|w| self.trusted(w)).unwrap_or_default();
        let ledger = written.and_then(|w| value(&w.ledger)).map(|ledger| &ledger.max_keys);
        let max_keys = self.number(ledger, 1_000_000, 1 << 10, 1 << 28);
        Callers {
            identify: written.map_or_else(|| usual(&known), |w| self.identify(w, &known)),
            api_key_header: header,
            unknown_key: unknown,
            ipv4_prefix: self.prefix(prefixes.map(|p| &p.ipv4_prefix), 32, 32),
            ipv6_prefix: self.prefix(prefixes.map(|p| &p.ipv6_prefix), 64, 128),
            trusted_proxies,
            known,
            tiers,
            max_keys: NonZeroUsize::new(max_keys as usize).unwrap_or(NonZeroUsize::MIN),
        }
    }

    fn prefix(&mut self, field: Option<&file::Field<u8>>, default: u8, most: u8) -> u8 {
        let Some(located) = field.and_then(Option::as_ref) else { return default };
        let Some(bits) = located.value else { return default };
        if bits > most {
            self.error(
                Code::BadValue,
                located.at,
                format!("{bits} is out of bounds"),
                &format!("write 0 to {most}"),
            );
        }
        bits.min(most)
    }

    fn identify(&mut self, written: &file::Callers, known: &[KnownCaller]) -> Vec<Credential> {
        let mut order = Vec::new();
        for (credential, at) in items(&written.identify) {
            let credential = match credential {
                file::Credential::Certificate => Credential::Certificate,
                file::Credential::ApiKey => Credential::ApiKey,
                file::Credential::Address => Credential::Address,
            };
            if order.contains(&credential) {
                self.error(Code::GivenTwice, at, "this credential is written twice", "remove one");
            } else {
                order.push(credential);
            }
        }
        let Some(list) = &written.identify else { return usual(known) };
        let complete = list.value.as_ref().is_some_and(|list| list.iter().all(|item| item.value.is_some()));
        if complete && order.last() != Some(&Credential::Address) {
            let message = "`identify` must end with `address`, which is always present";
            self.error(Code::BadValue, list.at, message, "write `identify: [api_key, address]`");
        }
        order
    }

    /// Certificates that can never say who calls: nobody asks for them, or nobody looks at them.
    pub(super) fn certificates_asked(&mut self, file: &File) {
        let Some(callers) = value(&file.callers) else { return };
        let services = entries(&file.services).iter();
        let asked = services.flat_map(|(_, service)| &service.value).any(asks);
        let unlooked = callers.identify.as_ref().is_some_and(|list| {
            let listed = list.value.as_deref().unwrap_or_default();
            listed.iter().all(|one| one.value.is_some_and(|one| one != file::Credential::Certificate))
        });
        let why = match (unlooked, asked) {
            (true, _) => "`identify` has no `certificate`",
            (false, false) => "no service asks for client certificates",
            (false, true) => return,
        };
        let help = match unlooked {
            true => "write `identify: [certificate, api_key, address]`",
            false => "write `tls:` with `client_ca:` and `client_certificate: optional` in a service",
        };
        for (credential, at) in items(&callers.identify) {
            if *credential == file::Credential::Certificate {
                let message = format!("`certificate` is never present: {why}");
                self.problems.warn(Code::NeverAsked, at, message, Some(help));
            }
        }
        for (key, caller) in entries(&callers.known) {
            let (Some(name), Some(caller)) = (&key.value, &caller.value) else { continue };
            let Some(field) = &caller.certificates else { continue };
            let message = format!("`{}` is never known by its certificates: {why}", shorten(name));
            self.problems.warn(Code::NeverAsked, field.at, message, Some(help));
        }
    }

    fn api_key(&mut self, field: Option<&Located<file::ApiKey>>) -> (HeaderName, UnknownKey) {
        let written = field.and_then(|field| field.value.as_ref());
        let unknown = match written.and_then(|w| value(&w.unknown)) {
            None | Some(file::UnknownKey::Refuse) => UnknownKey::Refuse,
            Some(file::UnknownKey::Anonymous) => UnknownKey::Anonymous,
        };
        let default = HeaderName::from_static("x-api-key");
        let Some(header) = written.and_then(|w| w.header.as_ref()) else { return (default, unknown) };
        let Some(name) = header.value.as_ref().map(|name| &name.0) else { return (default, unknown) };
        if NO_KEY_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-buckler-") {
            let message = format!("the header `{name}` has a meaning of its own and cannot carry a key");
            self.error(Code::BadValue, header.at, message, "write one like `x-api-key`");
        }
        (name.clone(), unknown)
    }

    fn trusted(&mut self, written: &file::Callers) -> Vec<ipnet::IpNet> {
        let mut networks = Vec::new();
        for (network, at) in items(&written.trusted_proxies) {
            if network.0.prefix_len() == 0 {
                let message = format!(
                    "{} makes every peer a trusted proxy: each can claim to be any address",
                    network.0
                );
                let help = "write the networks of your own proxies";
                self.problems.warn(Code::TrustsEverybody, at, message, Some(help));
            }
            if networks.contains(&network.0) {
                self.error(Code::GivenTwice, at, format!("{} is written twice", network.0), "remove one");
            }
            networks.push(network.0);
        }
        networks
    }

    fn tiers(&mut self, written: &file::Callers) -> Vec<Tier> {
        let mut tiers = Vec::new();
        for (key, tier) in entries(&written.tiers) {
            let Some(name) = &key.value else { continue };
            self.caller_name("tier", name, key.at);
            let Some(tier) = &tier.value else {
                // Kept, so that callers of this tier are not reported too.
                let rule_ref = self.rule_ref(format!("tier {name}"), Some(key.at), None);
                tiers.push(Tier { name: name.as_str().into(), quota: super::limits::unlimited(rule_ref) });
                continue;
            };
            let parts = super::limits::Parts::of_tier(tier, key.at);
            let quota = self.quota(&parts, format!("tier {name}"));
            tiers.push(Tier { name: name.as_str().into(), quota });
        }
        tiers
    }

    fn known(&mut self, written: &file::Callers, tiers: &[Tier]) -> Vec<KnownCaller> {
        let mut keys: Quick<[u8; 32], (Spot, &str)> = Quick::default();
        let mut certificates: Quick<Arc<str>, (Spot, &str)> = Quick::default();
        let mut networks: Quick<ipnet::IpNet, (Spot, &str)> = Quick::default();
        let mut known = Vec::with_capacity(entries(&written.known).len());
        for (key, caller) in entries(&written.known) {
            let Some(name) = &key.value else { continue };
            self.caller_name("caller", name, key.at);
            let Some(caller) = &caller.value else {
                let at = self.problems.sources.at(key.at);
                let name: Arc<str> = name.as_str().into();
                known.push(KnownCaller {
                    name,
                    api_keys: Vec::new(),
                    certificates: Vec::new(),
                    addresses: Vec::new(),
                    tier: None,
                    at,
                });
                continue;
            };
            if caller.api_keys.is_none() && caller.certificates.is_none() && caller.addresses.is_none() {
                let message = format!("nothing says how to know `{}`", shorten(name));
                let help = "write `api_keys:`, `certificates:` or `addresses:`";
                self.error(Code::MissingKey, key.at, message, help);
            }
            for (hash, at) in items(&caller.api_keys) {
                self.given_once(&mut keys, hash.0, "this key", at, name);
            }
            for (certificate, at) in items(&caller.certificates) {
                self.given_once(&mut certificates, certificate.0.clone(), "this name", at, name);
            }
            for (network, at) in items(&caller.addresses) {
                self.given_once(&mut networks, network.0, "this network", at, name);
            }
            known.push(KnownCaller {
                name: name.as_str().into(),
                api_keys: each(&caller.api_keys, |hash| hash.0),
                certificates: each(&caller.certificates, |name| Arc::clone(&name.0)),
                addresses: each(&caller.addresses, |network| network.0),
                tier: caller.tier.as_ref().and_then(|tier| self.tier(tier.value.as_ref()?, tier.at, tiers)),
                at: self.problems.sources.at(key.at),
            });
        }
        known
    }

    fn caller_name(&mut self, what: &str, name: &str, at: Spot) {
        let fits = (1..=63).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@' | b'/'));
        if !fits || name.starts_with('_') {
            let message = format!("`{}` is not a name for a {what}", shorten(name));
            // With a colon it could look like `address:...`, with a leading `_` like `_other` in metrics.
            let help = "write 1 to 63 of the characters a-z A-Z 0-9 - _ . @ /, not `_` first";
            self.error(Code::BadValue, at, message, help);
        }
    }

    fn given_once<'f, K: std::hash::Hash + Eq>(
        &mut self,
        seen: &mut Quick<K, (Spot, &'f str)>,
        thing: K,
        what: &str,
        at: Spot,
        name: &'f str,
    ) {
        match seen.entry(thing) {
            Entry::Vacant(free) => {
                free.insert((at, name));
            }
            Entry::Occupied(taken) => {
                let (first, owner) = taken.get();
                let message =
                    format!("{what} already belongs to `{owner}` at {}", self.problems.place(*first));
                self.error(Code::GivenTwice, at, message, "each belongs to one caller only; remove one");
            }
        }
    }

    /// The number of a tier by its name.
    pub(super) fn tier(&mut self, name: &str, at: Spot, tiers: &[Tier]) -> Option<usize> {
        let found = self.numbers.tiers.get(name).copied();
        if found.is_none() {
            let message = format!("the tier `{}` is defined nowhere", shorten(name));
            let help = hint(name, tiers.iter().map(|tier| &*tier.name), "define it under `callers.tiers`");
            self.error(Code::UnknownName, at, message, &help);
        }
        found
    }

    /// The number of a known caller by its name.
    pub(super) fn caller(&mut self, name: &str, at: Spot, callers: &Callers) -> Option<usize> {
        let found = self.numbers.callers.get(name).copied();
        if found.is_none() {
            let message = format!("the caller `{}` is known nowhere", shorten(name));
            let names = callers.known.iter().map(|caller| &*caller.name);
            self.error(Code::UnknownName, at, message, &hint(name, names, "define it under `callers.known`"));
        }
        found
    }
}

/// The place of each name, its first one.
fn numbered<'n>(names: impl Iterator<Item = &'n Arc<str>>) -> Quick<Arc<str>, usize> {
    let mut numbers = Quick::default();
    numbers.reserve(names.size_hint().0);
    for (number, name) in names.enumerate() {
        numbers.entry(Arc::clone(name)).or_insert(number);
    }
    numbers
}

/// What may have been meant, or what there is, or what to do.
fn hint<'n>(name: &str, names: impl Iterator<Item = &'n str> + Clone, otherwise: &str) -> String {
    if let Some(near) = nearest(name, names.clone()) {
        return format!("did you mean `{near}`?");
    }
    let listed: Vec<_> = names.take(NAMES_LISTED).map(|name| format!("`{name}`")).collect();
    if listed.is_empty() {
        otherwise.to_owned()
    } else {
        format!("known are {}; or {otherwise}", listed.join(", "))
    }
}
