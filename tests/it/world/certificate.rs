//! Certificates for real TLS clients: a CA of the world's own, a server's for localhost, a client's with a SPIFFE name.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::World;

/// The identity in `client.pem`.
pub(crate) const CLIENT: &str = "spiffe://example.test/playlist";

impl World {
    /// Writes `ca.pem`, `localhost.pem` with `localhost.key`, and `client.pem` with `client.key` into the world's
    /// directory.
    pub(crate) fn certificates(&self) {
        let mut root = named("the world's CA");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        self.file("ca.pem", &root.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(root, key);
        let mut server = named("localhost");
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        server.subject_alt_names = vec![dns("localhost"), SanType::IpAddress([127, 0, 0, 1].into())];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issued("localhost", &server, &issuer);
        let mut client = named("client");
        client.subject_alt_names = vec![SanType::URI(CLIENT.try_into().unwrap())];
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issued("client", &client, &issuer);
    }

    fn issued(&self, name: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        self.file(&format!("{name}.pem"), &params.signed_by(&key, issuer).unwrap().pem());
        self.file(&format!("{name}.key"), &key.serialize_pem());
    }

    /// The path of a file in the world's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir().join(name).to_str().unwrap().to_owned()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params
}
