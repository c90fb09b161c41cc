//! A service's outer side: where it listens, its socket file, the PROXY protocol, TLS, the life of its connections.
//! What makes no sense with `protocol: tcp` stands in `bytes.rs`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Checker, SECOND, items, value};
use crate::config::collect::Located;
use crate::config::file::{self, Field};
use crate::config::report::{Code, Spot};
use crate::config::tree::shorten;
use crate::config::value::EndpointText;
use crate::config::{
    Callers, CertificateFiles, ClientCertificate, ConnectionLife, Endpoint, NamedFile, SocketFile, Tls,
    TlsVersion,
};

/// The longest path of a Unix socket: `sun_path` has 108 bytes and ends with a zero (unix(7)).
const LONGEST_SOCKET: usize = 107;
/// So many certificates may one port have.
const MOST_CERTIFICATES: usize = 1_000;
/// The longest name of a protocol to go on with.
const LONGEST_PROTOCOL: usize = 64;
/// The longest `max_age`.
const OLDEST: Duration = Duration::from_secs(30 * 86_400);
/// Most systems allow no longer name of a user or group (useradd(8)).
const LONGEST_OWNER: usize = 32;

impl Checker<'_> {
    /// An address, or a socket of the file system with the path that Buckler opens.
    pub(super) fn endpoint(&mut self, written: &EndpointText, at: Spot) -> Endpoint {
        let endpoint = self.resolved(written, at);
        if let Endpoint::Unix(path) = &endpoint
            && path.as_os_str().len() > LONGEST_SOCKET
        {
            let message = format!("the path of this socket has {} bytes", path.as_os_str().len());
            let help = format!("the system takes at most {LONGEST_SOCKET}: choose a shorter folder");
            self.error(Code::BadValue, at, message, &help);
        }
        endpoint
    }

    /// The same, without a word about it.
    pub(super) fn resolved(&self, written: &EndpointText, at: Spot) -> Endpoint {
        let EndpointText(Endpoint::Unix(path)) = written else { return written.0.clone() };
        let path = self.path(&path.to_string_lossy(), at);
        // `./a` and `a` are one file; two listeners are compared by their paths.
        let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        Endpoint::Unix(Arc::from(plain))
    }

    /// `socket`, which needs a listener that has a file.
    pub(super) fn socket(&mut self, service: &file::Service) -> SocketFile {
        let default = SocketFile { mode: 0o660, owner: None, group: None };
        let Some(field) = &service.socket else { return default };
        if let Some(EndpointText(Endpoint::Tcp(address))) = value(&service.listen) {
            let message = format!("`socket` beside `listen: {address}`, which is no file");
            self.error(Code::Contradiction, field.at, message, "remove it, or write `listen: unix:/path`");
        }
        let Some(socket) = &field.value else { return default };
        SocketFile {
            mode: value(&socket.mode).map_or(default.mode, |mode| mode.0),
            owner: self.account("owner", &socket.owner, "www-data"),
            group: self.account("group", &socket.group, "www-data"),
        }
    }

    /// The name or number of a user or group.
    fn account(&mut self, key: &str, field: &Field<String>, example: &str) -> Option<Arc<str>> {
        let located = field.as_ref()?;
        let name = located.value.as_deref()?;
        let is_name = (1..=LONGEST_OWNER).contains(&name.len())
            && !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'$'));
        if !is_name {
            let message = format!("`{}` is no {key}'s name or number", shorten(name));
            self.error(
                Code::BadValue,
                located.at,
                message,
                &format!("write `{key}: {example}`, or a number"),
            );
        }
        Some(name.into())
    }

    /// `proxy_protocol`: somebody must be named whose headers are believed.
    pub(super) fn proxy_protocol(&mut self, service: &file::Service, callers: &Callers) -> bool {
        let Some(field) = &service.proxy_protocol else { return false };
        let wanted = field.value == Some(true);
        let is_file = matches!(value(&service.listen), Some(EndpointText(Endpoint::Unix(_))));
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (is_nobody, help) = match is_file {
            // Whoever may connect to a socket of the file system counts as this address.
            true => (
                !callers.trusted_proxies.iter().any(|net| net.contains(&here)),
                "write `callers: { trusted_proxies: [127.0.0.1] }`: as that counts whoever may open the socket",
            ),
            false => (
                callers.trusted_proxies.is_empty(),
                "write `callers: { trusted_proxies: [192.0.2.0/24] }` with the networks of your load balancers",
            ),
        };
        if wanted && is_nobody {
            self.error(Code::Contradiction, field.at, "nobody is trusted to send PROXY headers", help);
        }
        wanted
    }

    pub(super) fn tls(&mut self, field: &Field<file::Tls>) -> Option<Arc<Tls>> {
        const HELP: &str = "write `certificates: [{ chain: tls/a.pem, key: tls/a.key }]`";
        let located = field.as_ref()?;
        let tls = located.value.as_ref()?;
        self.needed(&tls.certificates, "certificates", located.at, HELP);
        let certificates = self.certificates(&tls.certificates);
        let client_certificate = match value(&tls.client_certificate) {
            None | Some(file::ClientCertificate::None) => ClientCertificate::None,
            Some(file::ClientCertificate::Optional) => ClientCertificate::Optional,
            Some(file::ClientCertificate::Required) => ClientCertificate::Required,
        };
        self.client_certificate(tls, client_certificate);
        Some(Arc::new(Tls {
            certificates,
            client_certificate,
            client_ca: self.named_file("client_ca", &tls.client_ca),
            crl: self.named_file("crl", &tls.crl),
            min_version: match value(&tls.min_version) {
                None | Some(file::TlsVersion::V1_2) => TlsVersion::V1_2,
                Some(file::TlsVersion::V1_3) => TlsVersion::V1_3,
            },
        }))
    }

    fn certificates(&mut self, list: &Field<file::List<file::CertificateFiles>>) -> Vec<CertificateFiles> {
        if let Some(located) = list
            && let Some(count) = located.value.as_ref().map(Vec::len)
            && (count == 0 || count > MOST_CERTIFICATES)
        {
            let message =
                if count == 0 { "the list of certificates is empty" } else { "too many certificates" };
            let help = format!("write 1 to {MOST_CERTIFICATES}, each with `chain` and `key`");
            self.error(Code::BadValue, located.at, message, &help);
        }
        let mut first: HashMap<PathBuf, Spot> = HashMap::new();
        let mut certificates = Vec::new();
        for (files, at) in items(list) {
            self.needed(
                &files.chain,
                "chain",
                at,
                "write `chain: tls/a.pem`, the certificate and its issuers",
            );
            self.needed(&files.key, "key", at, "write `key: tls/a.key`, its private key");
            let chain = self.named_file("chain", &files.chain);
            let key = self.named_file("key", &files.key);
            let (Some(chain), Some(key)) = (chain, key) else { continue };
            let at = files.chain.as_ref().map_or(at, |chain| chain.at);
            if let Some(other) = first.get(&chain.path) {
                let place = self.problems.place(*other);
                let message = format!("the chain {} is already written at {place}", chain.path.display());
                self.error(Code::GivenTwice, at, message, "remove one, or name another certificate's file");
                continue;
            }
            first.insert(chain.path.clone(), at);
            certificates.push(CertificateFiles { chain, key });
        }
        certificates
    }

    /// Whether clients are asked, and the files for it, go together.
    fn client_certificate(&mut self, tls: &file::Tls, asked: ClientCertificate) {
        if asked != ClientCertificate::None {
            if let (None, Some(field)) = (&tls.client_ca, &tls.client_certificate) {
                let message = "nobody is named who may issue client certificates";
                self.error(Code::Contradiction, field.at, message, "write `client_ca: tls/ca.pem` beside it");
            }
            return;
        }
        // A value that could not be read is one error already.
        if tls.client_certificate.as_ref().is_some_and(|field| field.value.is_none()) {
            return;
        }
        for (key, field) in [("client_ca", &tls.client_ca), ("crl", &tls.crl)] {
            if let Some(located) = field {
                let message = format!("`{key}`, and clients are not asked for a certificate");
                let help = "write `client_certificate: optional` or `required` beside it, or remove this";
                self.error(Code::Contradiction, located.at, message, help);
            }
        }
    }

    /// A file that will be read, and where it is named. Whether it is there is for whoever reads it.
    fn named_file(&mut self, key: &str, field: &Field<String>) -> Option<NamedFile> {
        let located = field.as_ref()?;
        let text = located.value.as_ref()?;
        // What does not look like a name may be the key itself: it stands in no message.
        if text.is_empty() || text.contains(char::is_control) {
            let message = format!("`{key}` is not the name of a file");
            let help = format!("write `{key}: tls/a.pem`, the name of a PEM file, not what is in it");
            self.error(Code::BadValue, located.at, message, &help);
            return None;
        }
        Some(NamedFile { path: self.path(text, located.at), at: self.problems.sources.at(located.at) })
    }

    /// `forward_client_certificate`, which needs clients that are asked for one.
    pub(super) fn forward_certificate(&mut self, service: &file::Service) -> bool {
        let Some(field) = &service.forward_client_certificate else { return false };
        let wanted = field.value == Some(true);
        // Of bytes it is an error whatever it says.
        let of_requests = value(&service.protocol) != Some(&file::Protocol::Tcp);
        if wanted && of_requests && !asks(service) {
            let message = "there is no client certificate to forward: clients are not asked for one";
            let help = "write `tls:` with `client_ca:` and `client_certificate: optional`, or remove this";
            self.error(Code::Contradiction, field.at, message, help);
        }
        wanted
    }

    /// `upgrades`: tokens, of which some would hide requests from rules and limits.
    pub(super) fn upgrades(&mut self, field: &Field<file::List<String>>) -> Vec<Arc<str>> {
        if field.is_none() {
            return vec!["websocket".into()];
        }
        let mut names: Vec<Arc<str>> = Vec::new();
        for (written, at) in items(field) {
            let name = written.to_ascii_lowercase();
            let is_token = (1..=LONGEST_PROTOCOL).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'+'));
            if !is_token {
                let message = format!("`{}` is no name of a protocol", shorten(written));
                self.error(Code::BadValue, at, message, "write it without a version: `websocket`");
            } else if ["http", "h2", "h2c", "h3", "tls"].contains(&name.as_str()) {
                let message = format!("`{name}` would carry requests that no rule and no limit sees");
                self.error(Code::BadValue, at, message, "remove it; HTTP/2 and TLS have keys of their own");
            } else if names.iter().any(|known| **known == *name) {
                self.error(Code::GivenTwice, at, format!("`{name}` is written twice"), "remove one");
            } else {
                names.push(name.into());
            }
        }
        names
    }

    pub(super) fn connections(&mut self, field: &Field<file::Connections>) -> ConnectionLife {
        let default = ConnectionLife::default();
        let Some(written) = value(field) else { return default };
        if let (Some(jitter), None) = (&written.jitter, &written.max_age) {
            let help = "write `max_age: 30m` beside it";
            self.error(Code::Contradiction, jitter.at, "`jitter` without `max_age`", help);
        }
        let max_age = written.max_age.is_some();
        let age = self.span(Some(&written.max_age), OLDEST, SECOND, OLDEST);
        if let Some(Located { value: Some(0), at }) = written.max_requests {
            let help = "write at least 1, or leave it out for no bound";
            self.error(Code::BadValue, at, "a `max_requests` of 0 lets nothing pass", help);
        }
        ConnectionLife {
            max_age: max_age.then_some(age),
            jitter_percent: value(&written.jitter).map_or(default.jitter_percent, |jitter| jitter.0.0),
            max_requests: value(&written.max_requests).copied(),
        }
    }

    /// `workers.send_proxy_protocol`: such a connection is of one client.
    pub(super) fn send_proxy_protocol(&mut self, workers: &file::Workers) -> bool {
        let Some(field) = &workers.send_proxy_protocol else { return false };
        let wanted = field.value == Some(true);
        if wanted && value(&workers.protocol) == Some(&file::WorkerProtocol::Http2) {
            let message =
                "`send_proxy_protocol` with `protocol: http2`, whose connections carry many clients";
            self.error(Code::Contradiction, field.at, message, "write `protocol: http1`, or remove this");
        }
        wanted
    }
}

/// Whether this service asks its clients for certificates. One whose `tls` could not be read may.
pub(super) fn asks(service: &file::Service) -> bool {
    let Some(tls) = &service.tls else { return false };
    let Some(tls) = &tls.value else { return true };
    let Some(asked) = &tls.client_certificate else { return false };
    asked.value != Some(file::ClientCertificate::None)
}
