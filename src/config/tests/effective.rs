//! The effective configuration, the files in `conf/` and their schema.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::schema;

fn all_files() -> Vec<PathBuf> {
    let mut files = vec![
        PathBuf::from("conf/buckler.yaml"),
        "tests/it/contract/one-port.yaml".into(),
        "tests/it/contract/discovery.yaml".into(),
        "tests/it/contract/edge.yaml".into(),
        "tests/it/contract/workers.yaml".into(),
    ];
    let entries = std::fs::read_dir("conf/examples").unwrap();
    files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    files
}

#[test]
fn every_file_that_we_ship_loads_without_a_word() {
    for path in all_files() {
        let loaded = load(&path, today(), &|_| None);
        assert_eq!(loaded.render(), "", "{}", path.display());
        assert!(loaded.config.is_some());
    }
    assert!(all_files().len() >= 11);
}

#[test]
fn the_effective_configuration_loads_again_to_the_same() {
    for path in all_files() {
        let first = load(&path, today(), &|_| None);
        let yaml = first.effective().unwrap().to_yaml();
        let again = load_str("again.yaml", &yaml, &NoFiles, today(), &|_| None);
        assert_eq!(again.render(), "", "{}\n{yaml}", path.display());
        let second = again.effective().unwrap().to_yaml();
        let plain = |yaml: &str| -> Vec<String> {
            yaml.lines().map(|line| line.split("  # ").next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(plain(&yaml), plain(&second), "{}", path.display());
        assert_eq!(without_places(&first), without_places(&again), "{}", path.display());
    }
}

/// The configuration as text, with the places taken out, which are of another file.
fn without_places(loaded: &Loaded) -> String {
    let text = format!("{:#?}", loaded.config.as_ref().unwrap());
    let place = |line: &&str| {
        !["at: ", "file: ", "line: ", "column: "].iter().any(|key| line.trim().starts_with(key))
    };
    text.lines().filter(place).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_value_says_where_it_comes_from() {
    let loaded = load(Path::new("tests/it/contract/one-port.yaml"), today(), &|_| None);
    let effective = loaded.effective().unwrap();
    let yaml = effective.to_yaml();
    for line in [
        "  listen: \"127.0.0.1:9900\"  # tests/it/contract/one-port.yaml:3",
        "      tier: partner  # tests/it/contract/one-port.yaml:14",
        "      total: \"off\"  # default",
        "        - address: \"127.0.0.1:9003\"  # tests/it/contract/one-port.yaml:30",
        "          weight: 24  # tests/it/contract/one-port.yaml:30",
        "          until: \"2099-03-01\"  # tests/it/contract/one-port.yaml:49",
        "  grace: 30s  # default",
    ] {
        assert!(yaml.lines().any(|found| found == line), "{line}\n{yaml}");
    }
    let json = effective.to_json();
    assert_eq!(json["services.playlist.limits.default.rate"]["value"], "20/s");
    assert_eq!(json["services.playlist.limits.default.rate"]["from"], "tests/it/contract/one-port.yaml:40");
    assert_eq!(json["services.playlist.permissions.rules[2].allow.paths"]["value"][0], "/admin/**");
    assert_eq!(json["dns.max_ttl"]["from"], "default");
}

#[test]
fn a_dollar_sign_survives_the_way_out_and_in() {
    let text = SERVICE.replace(
        "limits:",
        "permissions: { rules: [{ deny: {}, reason: '$${x} \"q\" # no' }] }\n    limits:",
    );
    let loaded = load_text(&text);
    let yaml = loaded.effective().unwrap().to_yaml();
    let again = load_text(&yaml);
    for loaded in [&loaded, &again] {
        let config = loaded.config.as_ref().unwrap();
        let rule = &config.services.values().next().unwrap().permissions.rules[0];
        assert_eq!(rule.rule_ref.reason.as_deref(), Some("${x} \"q\" # no"));
    }
}

#[test]
fn the_schema_in_conf_is_the_one_in_the_code() {
    let committed = std::fs::read_to_string("conf/buckler.schema.json").unwrap_or_default();
    assert!(committed == schema(), "make it anew: cargo run -- schema > conf/buckler.schema.json");
}

#[test]
fn the_schema_knows_every_key_its_unit_and_its_default() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"][0], "services");
    assert_eq!(schema["additionalProperties"], false);
    let head = &schema["$defs"]["Timeouts"]["properties"]["head"];
    assert!(head["description"].as_str().unwrap().contains("Default 10s"), "{head}");
    assert!(head["pattern"].as_str().unwrap().contains("ms"), "{head}");
}
