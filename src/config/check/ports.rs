//! No two listeners on one port: services and the admin listener, wildcard addresses too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Checker, entries, value};
use crate::config::file::File;
use crate::config::report::{Code, Spot};

impl Checker<'_> {
    /// Every pair of listeners that the system would refuse, or worse, share between two services.
    pub(super) fn ports(&mut self, file: &File) {
        let mut taken: Vec<(SocketAddr, Spot, String)> = Vec::new();
        let admin = file.admin.as_ref().and_then(|admin| admin.value.as_ref()).map(|admin| &admin.listen);
        let admin = admin.into_iter().map(|listen| ("the admin listener".to_owned(), listen));
        let services = entries(&file.services).iter().filter_map(|(name, service)| {
            Some((format!("service `{}`", name.value.as_ref()?), &service.value.as_ref()?.listen))
        });
        for (who, listen) in admin.chain(services) {
            let (Some(address), Some(at)) = (value(listen), listen.as_ref().map(|listen| listen.at)) else {
                continue;
            };
            let address = address.0;
            if address.port() == 0 {
                continue;
            }
            if let Some((_, other, whose)) = taken.iter().find(|(other, ..)| overlap(*other, address)) {
                let message =
                    format!("{address} is already taken by {whose} at {}", self.problems.place(*other));
                self.error(Code::SamePort, at, message, "give each listener a port of its own");
            }
            taken.push((address, at, who));
        }
    }
}

/// Whether a connection could be meant for both.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (one, other) = (plain(a.ip()), plain(b.ip()));
    let covers = |wide: IpAddr, narrow: IpAddr| {
        // Linux takes IPv4 connections on `[::]` too unless told otherwise.
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    a.port() == b.port() && (one == other || covers(one, other) || covers(other, one))
}

fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, |v4: Ipv4Addr| IpAddr::V4(v4)),
        IpAddr::V4(_) => ip,
    }
}
