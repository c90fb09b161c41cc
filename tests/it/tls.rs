//! TLS through the whole process: who is let in with which certificate, what workers are told of it, and files that
//! change while connections are open. Clients are curl and rustls.

#[path = "../../src/tls/tests/authority.rs"]
#[allow(dead_code, reason = "shared with the tests beside the code, which need more of it")]
mod authority;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::neighbours::curl;
use crate::world::{Buckler, End, PARKED, World, eventually, linger};
use authority::{Authority, Issued};

/// As in contract/edge.yaml, with a second name and a list of what is revoked.
const EDGE: &str = r#"
callers:
  identify: [certificate, api_key, address]
  api_key: { header: x-api-key }
  known:
    playlist:
      certificates: ["spiffe://example.test/playlist", "playlist.example.test"]
services:
  user-data:
    listen: 127.0.0.1:{port}
    tls:
      certificates:
        - { chain: "{dir}/user-data.pem", key: "{dir}/user-data.key" }
        - { chain: "{dir}/wildcard.pem", key: "{dir}/wildcard.key" }
      client_ca: "{dir}/ca.pem"
      crl: "{dir}/crl.pem"
      client_certificate: optional
    workers: { addresses: ["{worker:a}"] }
    permissions:
      default: deny
      rules:
        - { allow: { callers: [playlist] } }
"#;

/// The authorities of a test, with the files that [`EDGE`] names.
struct Edge {
    world: World,
    root: Authority,
    clients: Authority,
}

impl Edge {
    fn new() -> Self {
        let (world, root, clients) = (World::new(), Authority::new("root"), Authority::new("clients"));
        let edge = Self { world, root, clients };
        edge.pair("user-data", &edge.root.server(&["user-data.test", "localhost"]));
        edge.pair("wildcard", &edge.root.server(&["*.wild.test"]));
        for (file, text) in [
            ("root.pem", &edge.root.pem),
            ("ca.pem", &edge.clients.pem),
            ("crl.pem", &edge.clients.revokes(&[], 2090)),
        ] {
            edge.world.file(file, text);
        }
        edge
    }

    fn pair(&self, name: &str, issued: &Issued) {
        self.world.file(&format!("{name}.pem"), &issued.pem);
        self.world.file(&format!("{name}.key"), &issued.key);
    }

    /// What curl gets for this URL's host and path, with a certificate if one is named, and more arguments.
    fn curl(&self, buckler: &Buckler, url: &str, own: Option<&Issued>, more: &[&str]) -> (u16, String) {
        let path = |name: &str| self.world.dir().join(name).to_str().unwrap().to_owned();
        let (to, root) = (format!("::127.0.0.1:{}", buckler.port()), path("root.pem"));
        let mut all = vec!["--connect-to", &to, "--cacert", &root, url];
        let (chain, key) = (path("own.pem"), path("own.key"));
        if let Some(own) = own {
            self.pair("own", own);
            all.extend(["--cert", &chain, "--key", &key]);
        }
        all.extend(more);
        curl(&all)
    }

    fn trusting(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
    }
}

/// A TLS connection that stays open.
struct Secure(StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    fn connect(buckler: &Buckler, config: &Arc<ClientConfig>, name: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", buckler.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream))
    }

    /// Sends a request and reads the answer, which has a length; gives the status.
    fn status(&mut self, host: &str) -> std::io::Result<u16> {
        self.0.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            self.more(&mut answer)?;
        }
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let whole = text.find("\r\n\r\n").unwrap() + 4 + length.map_or(0, |length| length.parse().unwrap());
        while answer.len() < whole {
            self.more(&mut answer)?;
        }
        Ok(text[9..12].parse().unwrap())
    }

    fn more(&mut self, answer: &mut Vec<u8>) -> std::io::Result<()> {
        let mut piece = [0; 4096];
        let n = self.0.read(&mut piece)?;
        answer.extend(&piece[..n]);
        if n == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// The names that the server's certificate was issued for.
    fn shown(&self) -> String {
        let chain = self.0.conn.peer_certificates().unwrap();
        buckler::tls::certificate::Certificate::read(&chain[0]).unwrap().subject
    }
}

/// Waits until handshakes that ended so are counted.
#[track_caller]
fn counted(buckler: &Buckler, result: &str, at_least: f64) {
    eventually(result, || {
        buckler.metrics().sum("buckler_tls_handshakes_total", &[("result", result)]) >= at_least
    });
}

#[test]
fn certificates_name_callers_and_permissions_hold() {
    let edge = Edge::new();
    let buckler = edge.world.buckler(EDGE);
    let url = "https://user-data.test/";
    let named = |issued: &Issued| {
        assert_eq!(edge.curl(&buckler, url, Some(issued), &[]).0, 200);
        edge.world.worker("a").last().field("x-buckler-caller").unwrap().to_owned()
    };
    assert_eq!(named(&edge.clients.client(&["spiffe://example.test/playlist"], &[])), "playlist");
    assert_eq!(
        named(&edge.clients.client(&["spiffe://example.test/x"], &["Playlist.Example.Test"])),
        "playlist"
    );
    let stranger = edge.clients.client(&["spiffe://example.test/stranger"], &[]);
    assert_eq!(edge.curl(&buckler, url, Some(&stranger), &[]).0, 403);
    let line = buckler.logged("the stranger", |line| line["status"] == 403);
    assert_eq!(line["caller"], "certificate:spiffe://example.test/stranger", "{line}");
    assert_eq!(line["caller_via"], "certificate", "{line}");
    let two = edge.clients.client(&["spiffe://example.test/playlist", "spiffe://example.test/x"], &[]);
    assert_eq!(edge.curl(&buckler, url, Some(&two), &[]).0, 401);
    // Without one, the address is the caller.
    assert_eq!(edge.curl(&buckler, url, None, &[]).0, 403);
    buckler.logged("the address", |line| line["caller"] == "address:127.0.0.1");
}

#[test]
fn bytes_are_carried_for_those_whose_certificate_may() {
    let edge = Edge::new();
    let buckler = edge.world.buckler(&EDGE.replace("    workers:", "    protocol: tcp\n    workers:"));
    let url = "https://user-data.test/";
    let known = edge.clients.client(&["spiffe://example.test/playlist"], &[]);
    assert_eq!(edge.curl(&buckler, url, Some(&known), &["--http1.1"]).0, 200);
    let seen = edge.world.worker("a").last();
    assert_eq!((seen.field("x-buckler-caller"), seen.field("host")), (None, Some("user-data.test")));
    let line = buckler.logged("the connection", |line| line["proto"] == "TCP");
    assert_eq!((&line["caller"], &line["caller_via"]), (&"playlist".into(), &"certificate".into()));
    // 0: curl got no answer at all.
    let stranger = edge.clients.client(&["spiffe://example.test/stranger"], &[]);
    assert_eq!(edge.curl(&buckler, url, Some(&stranger), &["--http1.1"]).0, 0);
    assert_eq!(edge.curl(&buckler, url, None, &["--http1.1"]).0, 0);
    assert_eq!(buckler.refused("denied_by_rule"), 2.0);
    assert_eq!(edge.world.worker("a").count(), 1);
}

#[test]
fn certificates_that_are_not_valid_fail_the_handshake() {
    let edge = Edge::new();
    let revoked = edge.clients.client(&["spiffe://example.test/playlist"], &[]);
    edge.world.file("crl.pem", &edge.clients.revokes(&[&revoked], 2090));
    let buckler = edge.world.buckler(EDGE);
    let expired = edge.clients.expired_client("playlist.example.test");
    let foreign = Authority::new("clients").client(&["spiffe://example.test/playlist"], &[]);
    for (n, issued) in [revoked, expired, foreign].iter().enumerate() {
        assert_eq!(edge.curl(&buckler, "https://user-data.test/", Some(issued), &[]).0, 0, "{n}");
    }
    counted(&buckler, "failed", 3.0);
    assert_eq!(edge.world.worker("a").count(), 0);
    let required = EDGE.replace("optional", "required");
    edge.world.reload(&buckler, &required);
    assert_eq!(edge.curl(&buckler, "https://user-data.test/", None, &[]).0, 0);
    let good = edge.clients.client(&["spiffe://example.test/playlist"], &[]);
    assert_eq!(edge.curl(&buckler, "https://user-data.test/", Some(&good), &[]).0, 200);
}

#[test]
fn a_connection_too_many_is_closed_without_clear_text() {
    let edge = Edge::new();
    let bounded = EDGE.replace("    workers:", "    bounds: { connections: 1 }\n    workers:");
    let buckler = edge.world.buckler(&bounded.replace("default: deny", "default: allow"));
    let mut held = Secure::connect(&buckler, &edge.trusting(), "user-data.test");
    assert_eq!(held.status("user-data.test").unwrap(), 200);
    assert_eq!(buckler.connect().closed(), End::Closed);
    assert_eq!(buckler.refused("connections"), 1.0);
}

#[test]
fn a_connection_that_was_idle_for_a_while_goes_on() {
    let edge = Edge::new();
    let buckler = edge.world.buckler(&EDGE.replace("default: deny", "default: allow"));
    let mut open = Secure::connect(&buckler, &edge.trusting(), "user-data.test");
    for _ in 0..2 {
        assert_eq!(open.status("user-data.test").unwrap(), 200);
        linger(PARKED);
    }
    assert_eq!(open.status("user-data.test").unwrap(), 200);
}

#[test]
fn a_host_of_another_certificate_is_misdirected() {
    let edge = Edge::new();
    let buckler = edge.world.buckler(&EDGE.replace("default: deny", "default: allow"));
    for (name, host, status) in [
        ("user-data.test", "user-data.test", 200),
        ("user-data.test", "localhost", 200),
        ("user-data.test", "a.wild.test", 421),
        ("user-data.test", "elsewhere.test", 421),
        ("a.wild.test", "b.wild.test", 200),
        ("a.wild.test", "user-data.test", 421),
        ("a.wild.test", "USER-DATA.test.", 421),
    ] {
        for version in ["--http1.1", "--http2"] {
            let host_field = format!("host: {host}");
            let url = format!("https://{name}/");
            let (got, body) = edge.curl(&buckler, &url, None, &["-H", &host_field, version]);
            assert_eq!(got, status, "{name} {host} {version}: {body}");
        }
    }
    // A client that names a server that no certificate covers gets what it asks for, if it wants to.
    assert_eq!(edge.curl(&buckler, "https://elsewhere.test/", None, &["-k"]).0, 200);
}

#[test]
fn workers_learn_of_the_certificate_on_request_and_never_from_outside() {
    let edge = Edge::new();
    let buckler = edge.world.buckler(EDGE);
    let own = edge.clients.client(&["spiffe://example.test/playlist"], &["a.test"]);
    let forged = ["-H", "x-forwarded-client-cert: Hash=00"];
    assert_eq!(edge.curl(&buckler, "https://user-data.test/", Some(&own), &forged).0, 200);
    assert_eq!(edge.world.worker("a").last().field("x-forwarded-client-cert"), None);
    let told = EDGE.replace("    workers:", "    forward_client_certificate: true\n    workers:");
    edge.world.reload(&buckler, &told);
    assert_eq!(edge.curl(&buckler, "https://user-data.test/", Some(&own), &forged).0, 200);
    let value = edge.world.worker("a").last();
    let value = value.field("x-forwarded-client-cert").unwrap();
    let expected = ";Subject=\"CN=client\";URI=spiffe://example.test/playlist;DNS=a.test";
    assert!(value.starts_with("Hash=") && value.len() == "Hash=".len() + 64 + expected.len(), "{value}");
    assert!(value.ends_with(expected), "{value}");
}

#[test]
fn a_handshake_that_stalls_is_timed_out_and_too_many_are_refused() {
    let edge = Edge::new();
    let hasty = EDGE.replace(
        "    workers:",
        "    timeouts: { handshake: 500ms }\n    bounds: { handshakes: 2 }\n    workers:",
    );
    let buckler = edge.world.buckler(&hasty);
    let mut silent = Vec::new();
    // All are held, so that whichever two came first keep their places, on whatever shard the others arrive.
    eventually("one too many", || {
        let mut raw = buckler.connect();
        // The beginning of a handshake record, and then nothing.
        raw.send(b"\x16\x03\x01\x02\x00");
        silent.push(raw);
        buckler.metrics().sum("buckler_tls_handshakes_total", &[("result", "refused")]) > 0.5
    });
    for raw in &mut silent {
        // A close with bytes of it unread looks like a reset from here.
        assert!(raw.read_to_end().0.is_empty(), "there is nothing to say to half a handshake");
    }
    counted(&buckler, "timeout", 2.0);
    eventually("they have given their place back", || {
        edge.curl(&buckler, "https://user-data.test/", None, &[]).0 == 403
    });
    // What is no TLS gets an alert and no answer.
    let (said, _) = buckler.connect().send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").read_to_end();
    assert!(said.first().is_none_or(|byte| *byte == 0x15), "{said:?}");
    counted(&buckler, "failed", 1.0);
}

#[test]
fn new_certificates_are_taken_without_touching_a_connection() {
    let edge = Edge::new();
    let buckler = edge.world.buckler(&EDGE.replace("default: deny", "default: allow"));
    let config = edge.trusting();
    let mut open = Secure::connect(&buckler, &config, "localhost");
    assert_eq!(open.status("localhost").unwrap(), 200);
    edge.pair("user-data", &edge.root.server(&["new.test", "localhost"]));
    eventually("the new certificate", || {
        let mut next = Secure::connect(&buckler, &edge.trusting(), "localhost");
        next.status("localhost").unwrap() == 200 && next.shown() == "CN=new.test"
    });
    assert_eq!(open.status("localhost").unwrap(), 200, "the open connection goes on");
    assert_eq!(open.shown(), "CN=user-data.test");
    // A session from before is taken up again: tickets outlive certificates.
    let mut again = Secure::connect(&buckler, &config, "localhost");
    assert_eq!(again.status("localhost").unwrap(), 200);
    assert_eq!(again.0.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(buckler.metrics().sum("buckler_tls_resumed_total", &[]) > 0.5);

    edge.world.file("user-data.pem", "half a certif");
    eventually("it shows", || buckler.metrics().sum("buckler_tls_certificates_stale", &[]) > 0.5);
    assert!(buckler.metrics().sum("buckler_tls_reload_failures_total", &[]) > 0.5);
    assert!(buckler.stderr().contains("the old ones stay in use"), "{}", buckler.stderr());
    let status = buckler.status_json();
    let tls = &status["services"][0]["tls"];
    assert_eq!(tls["certificates"][0]["names"], serde_json::json!(["new.test", "localhost"]), "{tls}");
    assert!(tls["stale_because"].as_str().unwrap().contains("user-data.pem"), "{tls}");
    let mut next = Secure::connect(&buckler, &edge.trusting(), "localhost");
    assert_eq!((next.status("localhost").unwrap(), next.shown().as_str()), (200, "CN=new.test"));
    // HUP reads them too, and says no.
    edge.world.reload(&buckler, EDGE);
    assert_eq!(buckler.status_json()["config"]["last_reload"]["ok"], false);
    edge.pair("user-data", &edge.root.server(&["newer.test", "localhost"]));
    edge.world.reload(&buckler, EDGE);
    assert_eq!(buckler.status_json()["config"]["last_reload"]["ok"], true);
    let metrics = buckler.metrics();
    assert!(metrics.sum("buckler_tls_certificates_stale", &[]) < 0.5);
    let expiry = metrics.sum("buckler_tls_certificate_expiry_seconds", &[]);
    assert!((expiry - 2.0 * 3_786_912_000.0).abs() < 1.0, "two certificates until 2090: {expiry}");
}

#[test]
fn check_knows_what_a_certificate_is_for() {
    let edge = Edge::new();
    let (code, said) = edge.world.check(EDGE);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("check.yaml:13:") && said.contains("incomplete"), "the leaf stands alone: {said}");
    let expired = edge.root.issue("user-data.test", |params| {
        params.subject_alt_names = vec![authority::dns("user-data.test")];
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    edge.pair("user-data", &expired);
    let (code, said) = edge.world.check(EDGE);
    assert_eq!(code, 78, "{said}");
    assert!(
        said.contains("check.yaml:13:") && said.contains("has expired") && said.contains("B0042"),
        "{said}"
    );
    edge.world.file("wildcard.key", &expired.key);
    let (code, said) = edge.world.check(EDGE);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("check.yaml:14:") && said.contains("is not the key of the certificate"), "{said}");
    let refused = edge.world.buckler_starting(EDGE);
    assert_eq!(refused.wait_exit(), 78);
    assert!(refused.stderr().contains("is not the key of the certificate"), "{}", refused.stderr());
    let (_, said) = edge.world.check(&EDGE.replace("ca.pem", "no.pem"));
    assert!(said.contains("check.yaml:15:") && said.contains("no.pem cannot be read"), "{said}");
}
