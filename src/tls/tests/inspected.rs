//! What is said about files, and who a certificate is.

use super::*;
use crate::config::Code;
use rcgen::{DnType, IsCa, SanType};

const SOON: Moment = Moment { unix_micros: 3_786_912_000_000_000 - 20 * 86_400_000_000, ..NOW };

/// Codes and messages, with their lines.
fn said(service: &Service, now: Moment) -> Vec<(Code, u32, String)> {
    TlsTerms::check(service, now).into_iter().map(|f| (f.code, f.at.line, f.message)).collect()
}

/// What is said about one chain and key.
fn about(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Vec<(Code, u32, String)> {
    let folder = Folder::new();
    folder.write("0.pem", chain);
    folder.write("0.key", key);
    said(&service(&folder, |_| {}), NOW)
}

#[track_caller]
fn is(said: &[(Code, u32, String)], code: Code, words: &str) {
    let found = said.iter().any(|(c, line, message)| *c == code && *line == 10 && message.contains(words));
    assert!(found, "{code} {words:?} is not among {said:?}");
}

#[test]
fn a_good_chain_has_nothing_to_be_said_about() {
    let root = Authority::new("root");
    let between = root.below("between");
    let leaf = between.server(&["a.test"]);
    assert_eq!(about(format!("{}{}", leaf.pem, between.pem), &leaf.key), []);
    assert_eq!(about(format!("{}{}{}", leaf.pem, between.pem, root.pem), &leaf.key), []);
}

#[test]
fn certificates_that_cannot_serve_are_told_of() {
    let root = Authority::new("root");
    let between = root.below("between");
    let (leaf, other) = (between.server(&["a.test"]), between.server(&["b.test"]));
    is(&about(&leaf.pem, &other.key), Code::CertificateUnfit, "is not the key of the certificate");
    is(&about(&leaf.pem, &leaf.key), Code::CertificateDoubtful, "incomplete: its issuer CN=between");
    is(&about(format!("{}{}", leaf.pem, root.pem), &leaf.key), Code::CertificateUnfit, "out of order");
    let ca = root.issue("ca", |params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![authority::dns("a.test")];
    });
    is(&about(&ca.pem, &ca.key), Code::CertificateUnfit, "begins with the certificate of a CA");
    let client = root.client(&[], &["a.test"]);
    is(&about(&client.pem, &client.key), Code::CertificateUnfit, "not for servers");
    let nameless = root.issue("a.test", |_| {});
    is(&about(&nameless.pem, &nameless.key), Code::CertificateDoubtful, "without a DNS name");
}

#[test]
fn a_self_signed_certificate_is_warned_of_and_served() {
    // What `openssl req -x509 -subj /CN=localhost` makes: a CA without a SAN.
    let (own, folder) = (Authority::new("localhost").itself(), Folder::new());
    let told = about(&own.pem, &own.key);
    is(&told, Code::CertificateDoubtful, "is self-signed and that of a CA");
    assert!(told.iter().all(|(code, ..)| *code == Code::CertificateDoubtful), "{told:?}");
    write_pair(&folder, 0, &own);
    assert_eq!(terms(&service(&folder, |_| {})).certificates()[0].subject, "CN=localhost");
    let other = Authority::new("localhost").itself();
    is(&about(&own.pem, &other.key), Code::CertificateUnfit, "is not the key of the certificate");
}

#[test]
fn dates_are_told_of() {
    let root = Authority::new("root");
    let dated = |from: i32, to: i32| {
        let leaf = root.issue("a.test", |params| {
            params.subject_alt_names = vec![authority::dns("a.test")];
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        });
        about(&leaf.pem, &leaf.key)
    };
    is(&dated(2020, 2026), Code::CertificateDates, "has expired: the certificate ended on 2026-01-01");
    is(&dated(2030, 2040), Code::CertificateDates, "is not yet valid: the certificate begins on 2030-01-01");
    let (folder, leaf) = (Folder::new(), root.server(&["a.test"]));
    folder.write("0.pem", format!("{}{}", leaf.pem, root.pem));
    folder.write("0.key", &leaf.key);
    is(&said(&service(&folder, |_| {}), SOON), Code::CertificateEndsSoon, "expires in 20 days");
}

#[test]
fn files_that_are_something_else_are_told_of() {
    let root = Authority::new("root");
    let leaf = root.server(&["a.test"]);
    is(&about(&leaf.der, &leaf.key), Code::CertificateFile, "is DER");
    is(&about("", &leaf.key), Code::CertificateFile, "is empty");
    is(&about("hello", &leaf.key), Code::CertificateFile, "no PEM at all");
    is(&about(&leaf.key, &leaf.key), Code::CertificateFile, "holds no certificate, but something else");
    is(&about(&leaf.pem, &leaf.pem), Code::CertificateFile, "holds no private key");
    is(&about(&leaf.pem[..leaf.pem.len() / 2], &leaf.key), Code::CertificateFile, "ends in the middle");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    is(&about(&leaf.pem, encrypted), Code::CertificateFile, "is encrypted");
    let junk = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    is(&about(junk, &leaf.key), Code::CertificateFile, "is not an X.509 certificate");
    let folder = Folder::new();
    folder.write("0.pem", &leaf.pem);
    is(&said(&service(&folder, |_| {}), NOW), Code::CertificateFile, "0.key cannot be read");
}

#[test]
fn lists_of_revoked_certificates_are_told_of() {
    let (root, clients, others) =
        (Authority::new("root"), Authority::new("clients"), Authority::new("others"));
    let folder = Folder::new();
    write_pair(&folder, 0, &root.server(&["a.test"]));
    folder.write("ca.pem", &clients.pem);
    for (list, code, words) in [
        (clients.revokes(&[], 2022), Code::CertificateEndsSoon, "of CN=clients that ended on 2022-01-01"),
        (
            others.revokes(&[], 2090),
            Code::CertificateDoubtful,
            "of CN=others, which is not among `client_ca`",
        ),
        (others.revokes(&[], 2090), Code::CertificateDoubtful, "no list of CN=clients"),
        (root.pem.clone(), Code::CertificateFile, "holds no certificate revocation list"),
    ] {
        folder.write("crl.pem", list);
        let said = said(&service(&folder, |tls| tls.client_certificate = Wanted::Optional), NOW);
        let found =
            said.iter().any(|(c, line, message)| *c == code && *line == 21 && message.contains(words));
        assert!(found, "{code} {words:?} is not among {said:?}");
    }
    folder.write("crl.pem", clients.revokes(&[], 2090));
    folder.write("ca.pem", &root.server(&["a.test"]).pem);
    let said = said(&service(&folder, |tls| tls.client_certificate = Wanted::Optional), NOW);
    assert!(said.iter().any(|(_, line, message)| *line == 20 && message.contains("is no CA")), "{said:?}");
}

#[test]
fn a_host_that_no_certificate_covers_is_told_of() {
    let text = "services: {playlist: {listen: 127.0.0.1:4070, workers: {addresses: [127.0.0.1:9001]}, permissions: \
                {rules: [{deny: {hosts: [d.test]}}, {allow: {hosts: [a.test, b.test, '*.c.test', '*.test']}}]}}}";
    let loaded = crate::config::load_str("t.yaml", text, &crate::config::NoFiles, NOW, &|_| None);
    assert_eq!(loaded.errors().count(), 0, "{}", loaded.render());
    let written = Arc::into_inner(loaded.config.unwrap().services.pop_first().unwrap().1).unwrap();
    let (root, folder) = (Authority::new("root"), Folder::new());
    write_pair(&folder, 0, &root.server(&["a.test"]));
    let service = Service { tls: service(&folder, |_| {}).tls, ..written };
    let hosts = said(&service, NOW).into_iter().filter(|(code, ..)| *code == Code::HostNotCovered);
    let hosts: Vec<String> = hosts.map(|(_, _, message)| message).collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    assert!(
        hosts[0].contains("covers b.test, which permissions.rules[2]") && hosts[1].contains("*.c.test"),
        "{hosts:?}"
    );
}

/// An RSA key of 1024 bits, signed with SHA-1; nothing makes such any more, so it is written down.
const WEAK: &str = include_str!("weak.pem");

#[test]
fn weak_keys_and_signatures_are_told_of() {
    let read = |n: usize| {
        let der = CertificateDer::pem_slice_iter(WEAK.as_bytes()).nth(n).unwrap().unwrap();
        Certificate::read(&der).unwrap().weakness.unwrap()
    };
    assert!(read(0).contains("1024 bits"), "{}", read(0));
    assert!(read(1).contains("SHA-1"), "{}", read(1));
}

fn shown(uris: &[&str], names: &[&str]) -> ClientCertificate {
    ClientCertificate::read(&Authority::new("root").client(uris, names).der.into())
}

#[test]
fn a_certificate_is_called_by_its_spiffe_id_then_its_name_then_its_hash() {
    let both = shown(&["https://elsewhere.test/", "SPIFFE://Example.test/Playlist"], &["B.test", "a.test"]);
    let names: Vec<&str> = both.identity.names.iter().map(|name| &**name).collect();
    assert_eq!(names, ["spiffe://example.test/Playlist", "b.test", "a.test"]);
    assert_eq!(
        (&*both.identity.display, both.identity.fault),
        ("certificate:spiffe://example.test/Playlist", None)
    );
    assert_eq!(&*shown(&[], &["B.test", "a.test"]).identity.display, "certificate:b.test");
    let bare = shown(&[], &[]);
    assert_eq!(*bare.identity.display, format!("certificate:{}", &bare.fingerprint[..12]));
    let long = format!("spiffe://example.test/{}", "x".repeat(300));
    let long = shown(&[&long], &[]);
    assert_eq!((long.identity.names.len(), long.identity.display.len()), (1, "certificate:".len() + 12));
}

#[test]
fn two_spiffe_ids_are_nobody() {
    let two = shown(&["spiffe://example.test/a", "spiffe://example.test/b"], &[]);
    assert!(two.identity.fault.unwrap().contains("more than one SPIFFE id"));
    let hidden = shown(&["spiffe://example.test/a", "Spiffe://example.test/b"], &[]);
    assert!(hidden.identity.fault.is_some());
    assert!(ClientCertificate::read(&b"junk".to_vec().into()).identity.fault.is_some());
}

#[test]
fn a_dns_name_that_is_spelled_like_a_spiffe_id_names_nobody() {
    let forged = shown(&[], &["spiffe://example.test/playlist", "a.test/b", "_a-1.Test", "*.a.test"]);
    let names: Vec<&str> = forged.identity.names.iter().map(|name| &**name).collect();
    assert_eq!((names, forged.dns.len()), (vec!["_a-1.test", "*.a.test"], 2));
    let alone = shown(&[], &["SPIFFE://example.test/playlist"]);
    assert_eq!(alone.identity.names, [] as [Arc<str>; 0]);
    assert_eq!(*alone.identity.display, format!("certificate:{}", &alone.fingerprint[..12]));
}

#[test]
fn workers_are_told_of_a_certificate_as_envoy_does() {
    let root = Authority::new("root");
    let issued = root.issue("Play, \"list\"; é\\", |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.subject_alt_names = vec![
            SanType::URI("spiffe://example.test/a;b=c,d".try_into().unwrap()),
            authority::dns("a.test"),
            authority::dns("b.test"),
        ];
    });
    let shown = ClientCertificate::read(&issued.der.into());
    let told = shown.forwarded();
    let expected = format!(
        "Hash={};Subject=\"O=Example,CN=Play\\, \\22list\\22\\; \\C3\\A9\\5C\";URI=\"spiffe://example.test/a;b=c,d\";DNS=a.test;DNS=b.test",
        shown.fingerprint
    );
    assert_eq!(told, expected);
    assert_eq!(shown.fingerprint.len(), 64);
    assert!(http::HeaderValue::from_str(&told).is_ok());
}
