//! What clients get to see, what they must show, and what they may come back with.

use proptest::prelude::*;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::tls::names::CertificateBook;

/// A service with three certificates: two names, a wildcard, an address.
fn three(root: &Authority) -> (Folder, Service) {
    let folder = Folder::new();
    write_pair(&folder, 0, &root.server(&["a.example.test", "b.example.test"]));
    write_pair(&folder, 1, &root.server(&["*.example.test"]));
    let address = root.issue("address", |params| {
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
    });
    write_pair(&folder, 2, &address);
    let service = service(&folder, |_| {});
    (folder, service)
}

#[test]
fn the_server_name_picks_the_certificate() {
    let root = Authority::new("root");
    let (_folder, service) = three(&root);
    let (terms, client) = (terms(&service), Client::new(&root));
    for (asked, shown) in [
        ("a.example.test", "CN=a.example.test"),
        ("B.Example.TEST", "CN=a.example.test"),
        ("c.example.test", "CN=*.example.test"),
    ] {
        assert_eq!(client.connect(&terms, asked).unwrap().leaf().subject, shown, "{asked}");
    }
    // Nobody is turned away for the name: the first certificate is shown, and the client decides.
    let refused = client.connect(&terms, "elsewhere.test").unwrap_err().to_string();
    assert!(refused.contains("a.example.test"), "{refused}");
    assert!(client.connect(&terms, "x.c.example.test").is_err());
}

#[test]
fn a_host_leads_to_the_certificate_that_covers_it() {
    let root = Authority::new("root");
    let (_folder, service) = three(&root);
    let terms = terms(&service);
    for (host, place) in [
        ("a.example.test", Some(0)),
        ("A.EXAMPLE.TEST.", Some(0)),
        ("c.example.test", Some(1)),
        ("127.0.0.1", Some(2)),
        ("example.test", None),
        (".example.test", None),
        ("x.c.example.test", None),
        ("127.0.0.2", None),
        ("[::1]", None),
        ("", None),
        (".", None),
    ] {
        assert_eq!(terms.which(host), place, "{host:?}");
    }
}

proptest! {
    #[test]
    fn a_wildcard_covers_exactly_one_label(labels in proptest::collection::vec("[a-c]{0,2}", 0..5), dot in any::<bool>()) {
        let root = CertificateDer::from(WILDCARD.with(|der| der.clone()));
        let certificate = Certificate::read(&root).unwrap();
        let key = KEY.with(Arc::clone);
        let book = CertificateBook::new([(certificate, key)]);
        let asked = format!("{}{}", labels.join("."), if dot { "." } else { "" });
        // One dot at the end is the root's, and only there.
        let name: Vec<_> = asked.strip_suffix('.').unwrap_or(&asked).split('.').collect();
        let one_label = name.len() == 3 && !name[0].is_empty() && name[1..] == ["a", "b"];
        prop_assert_eq!(!book.covering(&asked).is_empty(), one_label, "{}", asked);
    }
}

thread_local! {
    static ISSUED: Issued = Authority::new("root").server(&["*.a.b"]);
    static WILDCARD: Vec<u8> = ISSUED.with(|issued| issued.der.clone());
    static KEY: Arc<rustls::sign::CertifiedKey> = ISSUED.with(|issued| {
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(rustls::sign::CertifiedKey::from_der(vec![issued.der.clone().into()], key, &provider).unwrap())
    });
}

#[test]
fn http_agrees_on_its_version_and_bytes_on_nothing() {
    let root = Authority::new("root");
    let (_folder, mut service) = three(&root);
    let mut client = Client::new(&root);
    let agreed = client.connect(&terms(&service), "a.example.test").unwrap();
    assert!(agreed.session().alpn_h2);
    client.config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let agreed = client.connect(&terms(&service), "a.example.test").unwrap();
    assert!(!agreed.session().alpn_h2);
    assert_eq!(agreed.client.alpn_protocol(), Some(&b"http/1.1"[..]));
    client.config.alpn_protocols = vec![b"gopher".to_vec()];
    assert!(client.connect(&terms(&service), "a.example.test").is_err());
    service.protocol = Protocol::Tcp;
    let agreed = client.connect(&terms(&service), "a.example.test").unwrap();
    assert_eq!(agreed.server.alpn_protocol(), None);
}

#[test]
fn the_least_version_holds_and_the_session_says_which_it_is() {
    let root = Authority::new("root");
    let (_folder, mut service) = three(&root);
    for (version, word, cipher) in
        [(&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_"), (&TLS13, "TLSv1.3", "TLS_AES_")]
    {
        let client = Client::built(&root, None, &[version]);
        let session = client.connect(&terms(&service), "a.example.test").unwrap().session();
        assert_eq!((session.version, session.server_name.as_deref()), (word, Some("a.example.test")));
        assert!(session.cipher.starts_with(cipher), "{}", session.cipher);
    }
    let tls = service.tls.as_deref().unwrap();
    service.tls = Some(Arc::new(Tls { min_version: TlsVersion::V1_3, ..tls.clone() }));
    assert!(Client::built(&root, None, &[&TLS12]).connect(&terms(&service), "a.example.test").is_err());
    assert!(Client::built(&root, None, &[&TLS13]).connect(&terms(&service), "a.example.test").is_ok());
}

/// A service that asks for certificates of `clients`.
fn asking(root: &Authority, clients: &Authority, how: Wanted) -> (Folder, Service) {
    let folder = Folder::new();
    write_pair(&folder, 0, &root.server(&["a.example.test"]));
    folder.write("ca.pem", &clients.pem);
    let service = service(&folder, |tls| tls.client_certificate = how);
    (folder, service)
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let (root, clients, others) =
        (Authority::new("root"), Authority::new("clients"), Authority::new("others"));
    let valid = clients.client(&["spiffe://example.test/playlist"], &["Playlist.example.test"]);
    let stranger = others.client(&["spiffe://example.test/playlist"], &[]);
    let expired = clients.expired_client("playlist.example.test");
    let server = clients.server(&["playlist.example.test"]);
    for (how, expected) in [
        // Nobody, valid, of another CA, expired, of a server.
        (Wanted::None, [true, true, true, true, true]),
        (Wanted::Optional, [true, true, false, false, false]),
        (Wanted::Required, [false, true, false, false, false]),
    ] {
        let (_folder, service) = asking(&root, &clients, how);
        let terms = terms(&service);
        let shown = [None, Some(&valid), Some(&stranger), Some(&expired), Some(&server)];
        for versions in [&[&TLS12][..], &[&TLS13][..]] {
            let passes = shown
                .map(|own| Client::built(&root, own, versions).connect(&terms, "a.example.test").is_ok());
            assert_eq!(passes, expected, "{how:?} {versions:?}");
        }
        let session = Client::with(&root, &valid).connect(&terms, "a.example.test").unwrap().session();
        let names = session.certificate.map(|certificate| certificate.identity.names.clone());
        let known: Vec<Arc<str>> =
            vec!["spiffe://example.test/playlist".into(), "playlist.example.test".into()];
        assert_eq!(names, (how != Wanted::None).then_some(known));
    }
}

#[test]
fn a_revoked_certificate_is_refused_even_by_a_list_that_has_ended() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let (good, revoked) = (clients.client(&[], &["good.test"]), clients.client(&[], &["revoked.test"]));
    for until in [2090, 2022] {
        let (folder, _) = asking(&root, &clients, Wanted::Optional);
        folder.write("crl.pem", clients.revokes(&[&revoked], until));
        let service = service(&folder, |tls| tls.client_certificate = Wanted::Optional);
        let terms = terms(&service);
        assert!(Client::with(&root, &good).connect(&terms, "a.example.test").is_ok(), "{until}");
        let refused = Client::with(&root, &revoked).connect(&terms, "a.example.test").unwrap_err();
        assert!(refused.to_string().contains("Revoked"), "{refused}");
        assert!(Client::new(&root).connect(&terms, "a.example.test").is_ok());
    }
}

#[test]
fn a_certificate_of_a_ca_without_a_list_is_refused_beside_lists() {
    let (root, clients, others) =
        (Authority::new("root"), Authority::new("clients"), Authority::new("others"));
    let (folder, _) = asking(&root, &clients, Wanted::Optional);
    folder.write("ca.pem", format!("{}{}", clients.pem, others.pem));
    folder.write("crl.pem", clients.revokes(&[], 2090));
    let service = service(&folder, |tls| tls.client_certificate = Wanted::Optional);
    let connect = |own: &Issued| Client::with(&root, own).connect(&terms(&service), "a.example.test").is_ok();
    assert!(connect(&clients.client(&[], &["x.test"])));
    assert!(!connect(&others.client(&[], &["x.test"])));
}

#[test]
fn sessions_are_resumed_over_a_reload_that_changes_only_certificates() {
    let root = Authority::new("root");
    for version in [&TLS12, &TLS13] {
        let (folder, service) = three(&root);
        let (first, client) = (terms(&service), Client::built(&root, None, &[version]));
        assert!(!client.connect(&first, "a.example.test").unwrap().resumed());
        assert!(client.connect(&first, "a.example.test").unwrap().resumed());
        write_pair(&folder, 0, &root.server(&["a.example.test"]));
        let (second, _) = TlsTerms::new(&service, Some(&first), NOW).unwrap();
        let again = client.connect(&second.unwrap(), "a.example.test").unwrap();
        assert!(again.resumed() && again.session().resumed, "{version:?}");
    }
}

#[test]
fn no_session_is_resumed_at_another_listener_or_for_another_name() {
    let root = Authority::new("root");
    for version in [&TLS12, &TLS13] {
        let (_folder, service) = three(&root);
        let (one, other) = (terms(&service), terms(&service));
        let client = Client::built(&root, None, &[version]);
        assert!(!client.connect(&one, "a.example.test").unwrap().resumed());
        assert!(!client.connect(&other, "a.example.test").unwrap().resumed(), "{version:?}");
        assert!(!client.connect(&other, "b.example.test").unwrap().resumed(), "{version:?}");
    }
}

#[test]
fn a_new_rule_for_client_certificates_forgets_every_session() {
    let (root, clients, others) =
        (Authority::new("root"), Authority::new("clients"), Authority::new("others"));
    let own = clients.client(&[], &["x.test"]);
    let (folder, before) = asking(&root, &clients, Wanted::Optional);
    let required = service(&folder, |tls| tls.client_certificate = Wanted::Required);
    folder.write("crl.pem", clients.revokes(&[&own], 2090));
    let revoking = service(&folder, |tls| tls.client_certificate = Wanted::Optional);
    for version in [&TLS12, &TLS13] {
        // The CRL was not there for these.
        let (first, client) = (terms(&before), Client::built(&root, Some(&own), &[version]));
        client.connect(&first, "a.example.test").unwrap();
        assert!(client.connect(&first, "a.example.test").unwrap().resumed());
        let second = TlsTerms::new(&required, Some(&first), NOW).unwrap().0.unwrap();
        assert!(!client.connect(&second, "a.example.test").unwrap().resumed(), "{version:?}: another rule");
        let third = TlsTerms::new(&revoking, Some(&first), NOW).unwrap().0.unwrap();
        assert!(client.connect(&third, "a.example.test").is_err(), "{version:?}: revoked since");
    }
    let (terms, client) = (terms(&before), Client::with(&root, &own));
    client.connect(&terms, "a.example.test").unwrap();
    folder.write("ca.pem", &others.pem);
    assert!(matches!(terms.reread(NOW), crate::tls::server::Reread::Taken(_)));
    assert!(client.connect(&terms, "a.example.test").is_err(), "another CA");
}

#[test]
fn a_resumed_session_ends_with_the_certificate_that_began_it() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let (_folder, service) = asking(&root, &clients, Wanted::Required);
    let (terms, client) = (terms(&service), Client::with(&root, &clients.client(&[], &["x.test"])));
    client.connect(&terms, "a.example.test").unwrap();
    let resumed = client.connect(&terms, "a.example.test").unwrap();
    assert!(resumed.session().resumed);
    let in_a_hundred_years = Moment { unix_micros: NOW.unix_micros + 3_200_000_000_000_000, ..NOW };
    assert!(Session::read(&resumed.server, in_a_hundred_years).is_err());
}
