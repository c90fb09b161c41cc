//! `tls`: the files of a service, and whether it asks for certificates. Whom they name stands in `certificates.rs`.

use super::*;

#[test]
fn tls_has_certificates_with_their_keys() {
    let certificates = "write `certificates: [{ chain: tls/a.pem, key: tls/a.key }]`";
    says(&with("tls: {}"), "t.yaml:6:10: `certificates` is missing", certificates);
    says(
        &with("tls: { certificates: [] }"),
        "t.yaml:6:26: the list of certificates is empty",
        "write 1 to 1000, each with `chain` and `key`",
    );
    assert_eq!(
        inside("tls: { certificates: [{ chain: a }, { key: a }, { chain: '', key: b }] }"),
        [
            "t.yaml:6:27: `key` is missing",
            "t.yaml:6:41: `chain` is missing",
            "t.yaml:6:62: `chain` is not the name of a file",
        ]
    );
    says(
        &with("tls: { certificates: [{ chain: a, key: b }, { chain: a, key: c }] }"),
        "t.yaml:6:58: the chain a is already written at t.yaml:6:36",
        "remove one, or name another certificate's file",
    );
    let one = "{ chain: CHAIN, key: b }, ";
    let many: String = (0..1001).map(|i| one.replace("CHAIN", &i.to_string())).collect();
    assert_eq!(inside(&format!("tls: {{ certificates: [{many}] }}")), ["t.yaml:6:26: too many certificates"]);
    says(
        &with("tls: { certificates: [{ chain: a, key: b }], min_version: '1.1' }"),
        "t.yaml:6:63: `1.1` is not one of `1.2`, `1.3`",
        "did you mean `1.2`?",
    );
}

#[test]
fn a_private_key_in_clear_is_never_shown() {
    let text = with(
        "tls:\n  certificates:\n    - chain: a.pem\n      key: |\n        -----BEGIN PRIVATE KEY-----\n        hunter2",
    );
    let loaded = load_text(&text);
    assert_eq!(told(&loaded), ["t.yaml:10:13: `key` is not the name of a file"]);
    assert!(!loaded.render().contains("hunter2"), "{}", loaded.render());
    let shown = load_text(&with("tls: { certificates: [{ chain: '', key: tls/a.key }] }")).render();
    assert!(shown.contains("key: tls/a.key"), "{shown}");
    let shown = load_text(&with("tls: { certificates: [{ chain: '', key: hunter2 }] }")).render();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn asking_for_certificates_goes_with_the_files_for_it() {
    let tls = |rest: &str| with(&format!("tls: {{ certificates: [{{ chain: a, key: b }}], {rest} }}"));
    says(
        &tls("client_certificate: optional"),
        "t.yaml:6:70: nobody is named who may issue client certificates",
        "write `client_ca: tls/ca.pem` beside it",
    );
    let ask = "write `client_certificate: optional` or `required` beside it, or remove this";
    says(&tls("client_ca: c"), "t.yaml:6:61: `client_ca`, and clients are not asked for a certificate", ask);
    says(
        &tls("client_certificate: none, crl: c"),
        "t.yaml:6:81: `crl`, and clients are not asked for a certificate",
        ask,
    );
    assert_eq!(
        told(&load_text(&tls("client_ca: c, client_certificate: yes"))),
        ["t.yaml:6:84: `yes` is not one of `none`, `optional`, `required`"]
    );
    let forward = "there is no client certificate to forward: clients are not asked for one";
    let help = "write `tls:` with `client_ca:` and `client_certificate: optional`, or remove this";
    says(&with("forward_client_certificate: true"), &format!("t.yaml:6:33: {forward}"), help);
    says(
        &with("forward_client_certificate: true\ntls: { certificates: [{ chain: a, key: b }] }"),
        &format!("t.yaml:6:33: {forward}"),
        help,
    );
    sound(&with(&format!("forward_client_certificate: true\n{TLS}")));
}
