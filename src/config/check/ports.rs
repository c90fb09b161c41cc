//! No two listeners on one port or path: services and the admin listener, wildcard addresses too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Checker, entries, value};
use crate::config::Endpoint;
use crate::config::collect::Located;
use crate::config::file::File;
use crate::config::report::{Code, Spot};

impl Checker<'_> {
    /// Every pair of listeners that the system would refuse, or worse, share between two services.
    pub(super) fn ports(&mut self, file: &File) {
        let mut taken: Vec<(Endpoint, Spot, String)> = Vec::new();
        let admin = file.admin.as_ref().and_then(|admin| admin.value.as_ref()).map(|admin| &admin.listen);
        let admin = admin.and_then(|listen| Some((Endpoint::Tcp(value(listen)?.0), listen.as_ref()?.at)));
        let admin = admin.map(|(listen, at)| (listen, at, "the admin listener".to_owned()));
        let mut all: Vec<_> = admin.into_iter().collect();
        for (name, service) in entries(&file.services) {
            let Some(Located { value: Some(listen), at }) =
                service.value.as_ref().and_then(|service| service.listen.as_ref())
            else {
                continue;
            };
            let whose = format!("service `{}`", name.value.as_deref().unwrap_or_default());
            all.push((self.resolved(listen, *at), *at, whose));
        }
        for (listen, at, whose) in all {
            if listen.tcp().is_some_and(|address| address.port() == 0) {
                continue;
            }
            if let Some((_, other, whose)) = taken.iter().find(|(other, ..)| is_shared(other, &listen)) {
                let message =
                    format!("{listen} is already taken by {whose} at {}", self.problems.place(*other));
                let help = match listen {
                    Endpoint::Tcp(_) => "give each listener a port of its own",
                    Endpoint::Unix(_) => "give each listener a path of its own",
                };
                self.error(Code::SamePort, at, message, help);
            }
            taken.push((listen, at, whose));
        }
    }
}

/// Whether one socket would have to be both.
fn is_shared(a: &Endpoint, b: &Endpoint) -> bool {
    match (a, b) {
        (Endpoint::Tcp(a), Endpoint::Tcp(b)) => overlap(*a, *b),
        _ => a == b,
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
