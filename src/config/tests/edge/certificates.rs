//! Callers that are known by the names in their certificates.

use super::*;
use crate::config::Credential;

/// A service that asks for certificates, and callers that have these names.
fn certificates(names: &str) -> String {
    format!("{}callers: {{ known: {{ web: {{ certificates: [{names}] }} }} }}\n", with(TLS))
}

#[test]
fn callers_are_known_by_names_in_certificates() {
    let config = sound(&certificates("'spiffe://a.test/x/Y_z', Web.Example.TEST., localhost"));
    let names: Vec<_> = config.callers.known[0].certificates.iter().map(|name| &**name).collect();
    assert_eq!(names, ["spiffe://a.test/x/Y_z", "web.example.test", "localhost"]);
    assert_eq!(config.callers.identify, [Credential::Certificate, Credential::ApiKey, Credential::Address]);
    assert_eq!(sound(SERVICE).callers.identify, [Credential::ApiKey, Credential::Address]);
}

#[test]
fn names_in_certificates_say_what_is_wrong_with_them() {
    let dns = "write a DNS name, `playlist.example.test`, or a SPIFFE id, `spiffe://example.test/playlist`";
    for (name, why) in [
        ("https://a.test/x", ": of URIs only SPIFFE ids are read"),
        ("10.0.0.1", ": addresses stand under `addresses`"),
        ("*.a.test", ": with a wildcard it would name more than one caller"),
        ("a..test", ""),
        ("CN=web", ""),
        ("", ""),
        ("10.0.0.300", ""),
    ] {
        let what = format!("t.yaml:7:43: `{name}` is not a name in a certificate{why}");
        says(&certificates(&format!("'{name}'")), &what, dns);
    }
    let spiffe = "write it as in the certificate: `spiffe://example.test/playlist`";
    let path = "a path has segments of the characters a-z A-Z 0-9 . - _, none of them empty, `.` or `..`";
    let domain = "a trust domain has the characters a-z 0-9 . - _";
    for (name, why) in [
        ("SPIFFE://a.test/x", "`spiffe` stands in lower case"),
        ("spiffe://a.test", "its path names the caller, and is missing"),
        ("spiffe://A.test/x", domain),
        ("spiffe://a.test:80/x", domain),
        ("spiffe:///x", domain),
        ("spiffe://a.test/x/", path),
        ("spiffe://a.test/../x", path),
        ("spiffe://a.test/x?y", path),
        ("spiffe://a.test/%41", path),
    ] {
        let what = format!("t.yaml:7:43: `{name}` is not a SPIFFE id: {why}");
        says(&certificates(&format!("'{name}'")), &what, spiffe);
    }
}

#[test]
fn a_name_in_a_certificate_belongs_to_one_caller() {
    let text = format!(
        "{}callers:\n  known:\n    a: {{ certificates: [a.test] }}\n    b: {{ certificates: [A.test] }}\n",
        with(TLS)
    );
    says(
        &text,
        "t.yaml:10:25: this name already belongs to `a` at t.yaml:9:25",
        "each belongs to one caller only; remove one",
    );
}

#[test]
fn certificates_that_nobody_asks_for_are_a_warning() {
    let known = "callers: { known: { web: { certificates: [web.test] } } }\n";
    says(
        &format!("{SERVICE}{known}"),
        "t.yaml:6:42: `web` is never known by its certificates: no service asks for client certificates",
        "write `tls:` with `client_ca:` and `client_certificate: optional` in a service",
    );
    assert!(load_text(&format!("{SERVICE}{known}")).config.is_some());
    says(
        &format!("{SERVICE}callers: {{ identify: [certificate, address] }}\n"),
        "t.yaml:6:23: `certificate` is never present: no service asks for client certificates",
        "write `tls:` with `client_ca:` and `client_certificate: optional` in a service",
    );
    let unlooked = known.replace("known:", "identify: [address], known:");
    says(
        &format!("{}{unlooked}", with(TLS)),
        "t.yaml:7:63: `web` is never known by its certificates: `identify` has no `certificate`",
        "write `identify: [certificate, api_key, address]`",
    );
    assert_eq!(told(&load_text(&format!("{}{known}", with(TLS)))), [""; 0]);
}

#[test]
fn rules_name_certificates_as_buckler_spells_them() {
    let rule = |name: &str| {
        let rules = format!("permissions: {{ rules: [{{ deny: {{ callers: ['{name}'] }} }}] }}");
        let known = "callers: { known: { web: { certificates: ['spiffe://a.test/Web', web.test] } } }\n";
        format!("{}{known}", with(&format!("{TLS}\n{rules}")))
    };
    let what = |name: &str| format!("t.yaml:7:48: `certificate:{name}` is no caller's name");
    says(&rule("certificate:A.test"), &what("A.test"), "write `certificate:a.test`");
    says(
        &rule("certificate:spiffe://A.test/X"),
        &what("spiffe://A.test/X"),
        "write `certificate:spiffe://a.test/X`",
    );
    says(&rule("certificate:web.test"), &what("web.test"), "write `web`, who has this certificate");
    says(
        &rule("certificate:spiffe://a.test/Web"),
        &what("spiffe://a.test/Web"),
        "write `web`, who has this certificate",
    );
    for fine in ["certificate:*", "certificate:spiffe://a.test/*", "certificate:other.test", "web"] {
        assert_eq!(told(&load_text(&rule(fine))), [""; 0], "{fine}");
    }
}
