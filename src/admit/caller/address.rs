//! Callers by their address.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{CachedCaller, Caller, CallerBook, Via, Who};
use crate::admit::seed::keyed_hash;

/// The longest name, in bytes: `address:`, eight groups of four digits, and the length of a prefix.
const LONGEST_NAME: usize = 51;

impl CallerBook {
    /// Who has this address.
    pub(super) fn by_address(&self, client: IpAddr, cached: &mut CachedCaller) -> Caller {
        match &cached.address {
            Some((address, caller)) if *address == client => caller.clone(),
            _ => {
                let caller = self.address_caller(client);
                cached.address = Some((client, caller.clone()));
                caller
            }
        }
    }

    pub(super) fn address_caller(&self, client: IpAddr) -> Caller {
        if let Some(number) = self.known.longest(client) {
            return self.known_caller(*number, Via::Address, client);
        }
        let (length, full) = match client {
            IpAddr::V4(_) => (self.callers.ipv4_prefix, 32),
            IpAddr::V6(_) => (self.callers.ipv6_prefix, 128),
        };
        // A length above the full one cannot come out of a checked configuration; the whole address is then meant.
        let net =
            IpNet::new(client, length.min(full)).map_or_else(|_| IpNet::from(client), |net| net.trunc());
        Caller {
            who: Who::Other(name(net).into()),
            tier: None,
            via: Via::Address,
            client,
            hash: keyed_hash(("address", net)),
        }
    }
}

/// What strangers of this network are called; without the length of its prefix if it is one address.
fn name(net: IpNet) -> String {
    let mut name = String::with_capacity(LONGEST_NAME);
    name.push_str("address:");
    match net.addr() {
        // Most are such, and `write!` takes three times as long for them.
        IpAddr::V4(address) => {
            for (n, octet) in address.octets().into_iter().enumerate() {
                name.push_str(if n == 0 { "" } else { "." });
                name.push_str(itoa::Buffer::new().format(octet));
            }
        }
        IpAddr::V6(address) => {
            let _ = write!(name, "{address}");
        }
    }
    if net.prefix_len() < net.max_prefix_len() {
        let _ = write!(name, "/{}", net.prefix_len());
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_network_is_called_as_it_is_written(address: IpAddr, length in 0..=128_u8) {
            let whole = IpNet::from(address);
            let net = IpNet::new(address, length.min(whole.max_prefix_len())).unwrap();
            let want = if net == whole { format!("address:{address}") } else { format!("address:{net}") };
            prop_assert_eq!(name(net), want);
        }
    }

    #[test]
    fn the_longest_name_has_its_room() {
        let net: IpNet = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127".parse().unwrap();
        assert_eq!(name(net).len(), LONGEST_NAME);
    }
}
