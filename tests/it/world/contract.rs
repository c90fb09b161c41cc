//! The agreed configuration `one-port.yaml`, word for word but for its ports and its rates: those are slow here, so
//! that a test on a busy machine counts the same as on an idle one.

/// Its callers: `web` (key `web-secret`), `scraper` (key `scraper-secret`), `office` (from 127.0.0.9).
pub(crate) const ONE_PORT: &str = r#"callers:
  trusted_proxies: [127.0.0.2/32]
  identify: [api_key, address]
  api_key: { header: x-api-key }
  address: { ipv4_prefix: 32, ipv6_prefix: 64 }
  known:
    web:
      # the key is: web-secret
      api_keys: ["sha256:761fed9dbb22427bedbc73c3f0ab93fff41104aa77eb145025d0113be8c035a3"]
      tier: partner
    scraper:
      # the key is: scraper-secret
      api_keys: ["sha256:7ccc6f421648a8f89c218935d5b404a0a83efc4a90ac589c7bc0e318715bca93"]
    office:
      addresses: [127.0.0.9/32]
  tiers:
    partner: { rate: 10/h, burst: 30 }

services:
  playlist:
    listen: 127.0.0.1:{port}
    workers:
      addresses:
        - { address: "{worker:a}", priority: 10, weight: 12 }
        - { address: "{worker:b}", priority: 10, weight: 12 }
        - { address: "{worker:c}", priority: 10, weight: 24 }
        - { address: "{worker:d}", priority: 20, weight: 1 }
    permissions:
      default: allow
      rules:
        - { deny: { callers: [scraper] }, reason: "crawls without an agreement" }
        - { allow: { callers: [web, office], paths: ["/admin/**"] } }
        - { deny: { paths: ["/admin/**"] }, reason: "staff only" }
        - { deny: { methods: [DELETE] } }
    limits:
      default: { rate: 10/h, burst: 20, concurrent: 5 }
      total: { rate: 2000/s, burst: 2000 }
      agreements:
        - caller: office
          rate: 10/h
          burst: 50
          concurrent: 50
          owner: playlist-squad
          reason: "batch import every night"
          until: 2099-03-01
      costs:
        - { paths: ["/search/**"], cost: 5 }
"#;

/// Only its callers, for services of a test's own.
pub(crate) fn callers() -> &'static str {
    &ONE_PORT[..ONE_PORT.find("services:").unwrap_or_default()]
}
