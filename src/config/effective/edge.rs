//! The outer side of a service, written back key by key.

use crate::config::units::{Share, Span};
use crate::config::{
    ClientCertificate, ConnectionLife, Endpoint, Protocol, Service, SocketFile, Tls, TlsVersion,
    WorkerProtocol,
};

use super::Map;

/// What stands between `listen` and `workers`.
pub(super) fn edge(map: &mut Map<'_>, service: &Service) {
    if matches!(service.listen, Endpoint::Unix(_)) {
        map.map("socket", |map| socket(map, &service.socket));
    }
    map.text(
        "protocol",
        &match service.protocol {
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
        },
    );
    map.put("proxy_protocol", service.proxy_protocol);
    if let Some(of_port) = &service.tls {
        map.map("tls", |map| tls(map, of_port));
    }
    if service.protocol == Protocol::Http {
        map.put("forward_client_certificate", service.forward_client_certificate);
        map.texts("upgrades", &service.upgrades);
        connections(map, &service.connections);
    }
}

/// What `workers` says besides who they are.
pub(super) fn workers(map: &mut Map<'_>, service: &Service) {
    if service.protocol == Protocol::Http {
        map.text(
            "protocol",
            &match service.worker_protocol {
                WorkerProtocol::Http1 => "http1",
                WorkerProtocol::Http2 => "http2",
            },
        );
    }
    map.put("send_proxy_protocol", service.send_proxy_protocol);
}

fn socket(map: &mut Map<'_>, socket: &SocketFile) {
    map.put("mode", format!("{:04o}", socket.mode));
    if let Some(owner) = &socket.owner {
        map.text("owner", owner);
    }
    if let Some(group) = &socket.group {
        map.text("group", group);
    }
}

fn tls(map: &mut Map<'_>, tls: &Tls) {
    map.maps("certificates", &tls.certificates, |map, files| {
        map.text("chain", &files.chain.path.display());
        map.text("key", &files.key.path.display());
    });
    for (key, file) in [("client_ca", &tls.client_ca), ("crl", &tls.crl)] {
        if let Some(file) = file {
            map.text(key, &file.path.display());
        }
    }
    map.text(
        "client_certificate",
        &match tls.client_certificate {
            ClientCertificate::None => "none",
            ClientCertificate::Optional => "optional",
            ClientCertificate::Required => "required",
        },
    );
    map.text(
        "min_version",
        &match tls.min_version {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        },
    );
}

fn connections(map: &mut Map<'_>, life: &ConnectionLife) {
    if life.max_age.is_none() && life.max_requests.is_none() {
        return;
    }
    map.map("connections", |map| {
        if let Some(age) = life.max_age {
            map.text("max_age", &Span(age));
            // Without an age there is nothing to spread, and to write it would be an error.
            map.text("jitter", &Share(life.jitter_percent));
        }
        if let Some(requests) = life.max_requests {
            map.put("max_requests", requests);
        }
    });
}
