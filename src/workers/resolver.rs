//! Asking DNS for the workers of a service: SRV, a CNAME in front of it, and the addresses of the targets. What the
//! records mean stands in `srv.rs`; when to ask and what a failure does to the workers, in `discovery.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::task::JoinSet;

use super::Wanted;
use super::srv::{self, Addresses};
use crate::config::Dns;

/// CNAMEs in front of the SRV records that are followed; a longer chain is a failure.
const MAX_CNAMES: usize = 8;

/// Targets whose addresses are looked up at the same time, two questions each; further ones wait.
const TARGETS_AT_ONCE: usize = 8;

/// All address look-ups of one answer together; what is missing then counts as failed.
const ADDRESSES_LIMIT: Duration = Duration::from_secs(20);

/// The DNS servers of the configuration, or the system's. Keeps no answers: their age is ours to watch.
#[derive(Clone)]
pub struct Resolver {
    /// Asked in this order, until one gives an answer. (Inside one hickory resolver, SERVFAIL from the first server
    /// would end the question, so each configured server has a resolver of its own.)
    servers: Arc<[TokioResolver]>,
    max_ttl: Duration,
}

/// A usable answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The workers; empty if DNS says explicitly that there are none (target `.`).
    pub records: Vec<Wanted>,
    /// How long it is good: the shortest TTL of all records used, at least 1 s and at most `max_ttl`.
    pub ttl: Duration,
    /// The addresses of all targets, to stand in for those that cannot be looked up next time.
    pub addresses: Addresses,
    /// Why some addresses are missing, or taken from an older answer. None: all is well.
    pub incomplete: Option<String>,
}

/// Why there is no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// The server says that the name, or its SRV records, or all addresses of its targets, do not exist.
    Absent {
        /// In words.
        why: String,
        /// How long the server says that this is good, at least 1 s and at most `max_ttl`.
        ttl: Duration,
    },
    /// No answer, or one that says nothing: timeout, SERVFAIL, REFUSED, malformed, truncated over TCP too.
    Broken {
        /// In words.
        why: String,
    },
}

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { why, .. } | Self::Broken { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for LookupFailure {}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("servers", &self.servers.len())
            .field("max_ttl", &self.max_ttl)
            .finish()
    }
}

impl Resolver {
    /// A resolver for these servers; sends nothing yet.
    ///
    /// # Errors
    /// No servers are given and `/etc/resolv.conf` cannot be read.
    pub fn new(dns: &Dns) -> Result<Self, String> {
        let mut builders = Vec::new();
        for server in &dns.servers {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builders.push(builder);
        }
        if builders.is_empty() {
            builders.push(TokioResolver::builder_tokio().map_err(|error| {
                format!("cannot read /etc/resolv.conf: {error}; name the servers in `dns.servers`")
            })?);
        }
        let built = builders.into_iter().map(|builder| build(builder, dns.timeout));
        let servers: Vec<TokioResolver> =
            built.collect::<Result<_, _>>().map_err(|error| format!("cannot ask DNS servers: {error}"))?;
        Ok(Self { servers: servers.into(), max_ttl: dns.max_ttl })
    }

    /// The longest time between two questions.
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// Asks for the workers behind an SRV name, which is taken as complete (no search domains).
    ///
    /// `known` holds addresses from an earlier answer: they stand in for those of targets whose look-up fails now.
    ///
    /// # Errors
    /// See [`LookupFailure`].
    pub async fn lookup(&self, name: &str, known: &Addresses) -> Result<Answer, LookupFailure> {
        let mut name = Name::from_ascii(name)
            .map_err(|error| LookupFailure::Broken { why: format!("`{name}` is not a DNS name: {error}") })?;
        name.set_fqdn(true);
        let (reading, ttl) = self.records(name).await?;
        if srv::says_none(&reading.records) {
            let (records, addresses) = (Vec::new(), Addresses::new());
            return Ok(Answer { records, ttl: self.bounded(ttl), addresses, incomplete: None });
        }
        let mut targets: BTreeSet<Name> = reading.records.iter().map(|srv| srv.target.clone()).collect();
        targets.retain(|target| !target.is_root() && !reading.addresses.contains_key(target));
        let mut addresses = reading.addresses;
        let looked_up = self.addresses(targets, known, &mut addresses).await;
        let ttl = self.bounded(ttl.min(looked_up.ttl));
        let records = srv::gather(&reading.records, &addresses);
        match (records.is_empty(), looked_up.failure) {
            (false, incomplete) => Ok(Answer { records, ttl, addresses, incomplete }),
            (true, Some(why)) => Err(LookupFailure::Broken { why }),
            (true, None) => {
                let why = "the SRV records name no target with an address and a port".to_owned();
                Err(LookupFailure::Absent { why, ttl })
            }
        }
    }

    /// The SRV records, past CNAMEs, and the shortest TTL on the way.
    async fn records(&self, mut name: Name) -> Result<(srv::Reading, u32), LookupFailure> {
        let mut ttl = u32::MAX;
        for _ in 0..=MAX_CNAMES {
            // Of an answer with a CNAME and the SRV records behind it, hickory 0.26 makes "no records", so the CNAME
            // is asked for by itself.
            let failure = match self.ask(&name, RecordType::SRV).await {
                Ok(lookup) => {
                    let reading = srv::read(&name, lookup.message());
                    if !reading.records.is_empty() {
                        let ttl = ttl.min(reading.ttl);
                        return Ok((reading, ttl));
                    }
                    Trouble::Absent { nx: false, ttl: None }
                }
                Err(trouble @ Trouble::Broken(_)) => return Err(self.failure(&name, trouble)),
                Err(trouble) => trouble,
            };
            match self.ask(&name, RecordType::CNAME).await {
                Ok(lookup) => match canonical(&name, &lookup) {
                    Some((target, target_ttl)) => (name, ttl) = (target, ttl.min(target_ttl)),
                    None => return Err(self.failure(&name, failure)),
                },
                // Whether the name exists, this question tells: the other one may have followed an SRV target.
                Err(trouble) => return Err(self.failure(&name, trouble)),
            }
        }
        Err(LookupFailure::Broken { why: format!("more than {MAX_CNAMES} CNAMEs, the last one to {name}") })
    }

    /// Looks up the targets and adds what it finds.
    async fn addresses(&self, targets: BTreeSet<Name>, known: &Addresses, found: &mut Addresses) -> LookedUp {
        let mut result = LookedUp { ttl: u32::MAX, failure: None };
        let mut missing = targets.clone();
        let mut waiting = targets.into_iter();
        let mut asking = JoinSet::new();
        let all = async {
            loop {
                while asking.len() < TARGETS_AT_ONCE
                    && let Some(target) = waiting.next()
                {
                    let resolver = self.clone();
                    asking.spawn(async move {
                        let both = tokio::join!(
                            resolver.ask(&target, RecordType::A),
                            resolver.ask(&target, RecordType::AAAA)
                        );
                        (target, both)
                    });
                }
                let Some(done) = asking.join_next().await else { break };
                let Ok((target, (v4, v6))) = done else { continue };
                missing.remove(&target);
                let old = known.get(&target).map_or(&[][..], Vec::as_slice);
                let mut addresses = result.take(&target, v4, old.iter().filter(|ip| ip.is_ipv4()));
                addresses.extend(result.take(&target, v6, old.iter().filter(|ip| ip.is_ipv6())));
                if !addresses.is_empty() {
                    found.insert(target, addresses);
                }
            }
        };
        let _out_of_time = tokio::time::timeout(ADDRESSES_LIMIT, all).await;
        for target in missing {
            result.failure.get_or_insert_with(|| format!("the address of {target} took too long"));
            if let Some(old) = known.get(&target) {
                found.insert(target, old.clone());
            }
        }
        result
    }

    /// One question, to each server in turn until one of them answers it.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Lookup, Trouble> {
        let mut trouble = Trouble::Broken("no DNS server is known".to_owned());
        for server in self.servers.iter() {
            match server.lookup(name.clone(), kind).await {
                Ok(lookup) => return Ok(lookup),
                Err(error) => trouble = Trouble::from(&error),
            }
            if matches!(trouble, Trouble::Absent { .. }) {
                break;
            }
        }
        Err(trouble)
    }

    fn failure(&self, name: &Name, trouble: Trouble) -> LookupFailure {
        match trouble {
            Trouble::Broken(why) => LookupFailure::Broken { why: format!("{name}: {why}") },
            Trouble::Absent { nx, ttl } => {
                let what = if nx { "does not exist (NXDOMAIN)" } else { "has no SRV records" };
                LookupFailure::Absent { why: format!("{name} {what}"), ttl: self.bounded(ttl.unwrap_or(0)) }
            }
        }
    }

    fn bounded(&self, ttl: u32) -> Duration {
        Duration::from_secs(u64::from(ttl)).min(self.max_ttl).max(super::discovery::SHORTEST_WAIT)
    }
}

/// How the look-up of addresses went.
struct LookedUp {
    ttl: u32,
    /// The first failure.
    failure: Option<String>,
}

impl LookedUp {
    /// The addresses of one family; `old` ones if the question failed.
    fn take<'a>(
        &mut self,
        target: &Name,
        asked: Result<Lookup, Trouble>,
        old: impl Iterator<Item = &'a IpAddr>,
    ) -> Vec<IpAddr> {
        match asked {
            Ok(lookup) => {
                let with_ttl =
                    lookup.answers().iter().filter_map(|record| Some((srv::address(record)?, record.ttl)));
                let addresses: Vec<(IpAddr, u32)> = with_ttl.collect();
                self.ttl = addresses.iter().map(|(_, ttl)| *ttl).fold(self.ttl, u32::min);
                addresses.into_iter().map(|(ip, _)| ip).collect()
            }
            Err(Trouble::Absent { .. }) => Vec::new(),
            Err(Trouble::Broken(why)) => {
                self.failure.get_or_insert_with(|| format!("the address of {target}: {why}"));
                old.copied().collect()
            }
        }
    }
}

/// Why a question has no answer.
#[derive(Debug)]
enum Trouble {
    /// The server says that there is none. `nx`: not even the name.
    Absent {
        nx: bool,
        ttl: Option<u32>,
    },
    Broken(String),
}

impl From<&NetError> for Trouble {
    fn from(error: &NetError) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => Self::Absent { nx: true, ttl: none.negative_ttl },
                // A server that only points to other servers does not know the name: it says nothing about it.
                _ if none.soa.is_none() && none.ns.is_some() => {
                    Self::Broken("the server only refers to other servers".to_owned())
                }
                _ => Self::Absent { nx: false, ttl: none.negative_ttl },
            },
            NetError::Dns(DnsError::ResponseCode(code)) => Self::Broken(format!("the server says {code}")),
            NetError::Timeout => Self::Broken("no answer in time".to_owned()),
            other => Self::Broken(other.to_string()),
        }
    }
}

fn build(
    mut builder: ResolverBuilder<TokioRuntimeProvider>,
    timeout: Duration,
) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.timeout = timeout;
    options.attempts = 1;
    options.cache_size = 0;
    options.try_tcp_on_error = true;
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    builder.build()
}

fn canonical(name: &Name, lookup: &Lookup) -> Option<(Name, u32)> {
    lookup.answers().iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *name => Some((target.0.clone(), record.ttl)),
        _ => None,
    })
}
