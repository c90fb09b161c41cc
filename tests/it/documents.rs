//! That the documents tell the truth: what they show loads, what they list is what there is, and all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use buckler::clock::Moment;
use buckler::config;
use serde_json::Value;

use crate::world::{ONE_PORT, World, eventually, get};

#[path = "documents/keys.rs"]
mod keys;

/// Where the made part of `docs/configuration.md` begins.
const MADE: &str = "<!-- From here on made from `buckler schema`; see HACKING.md. -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of this kind, with the line on which each begins.
fn blocks(text: &str, kind: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    let opening = format!("```{kind}");
    for (number, line) in text.lines().enumerate() {
        match line {
            line if !inside && line == opening => {
                inside = true;
                found.push((number + 2, String::new()));
            }
            "```" => inside = false,
            line if inside => {
                let block = &mut found.last_mut().unwrap().1;
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_configurations_that_documents_show_load_without_a_warning() {
    let mut shown = 0;
    for name in ["README.md", "docs/configuration.md"] {
        for (line, block) in blocks(&read(name), "yaml") {
            let loaded = config::load_str(
                &format!("{name}:{line}"),
                &block,
                &config::NoFiles,
                Moment::read(),
                &|_| None,
            );
            assert_eq!(loaded.render(), "", "the block of {name} from line {line}");
            assert!(loaded.config.is_some());
            shown += 1;
        }
    }
    assert!(shown > 0);
}

#[test]
fn the_configuration_in_twenty_lines_has_twenty_lines() {
    let (_, block) = blocks(&read("README.md"), "yaml").remove(0);
    assert_eq!(block.lines().count(), 20);
}

#[test]
fn every_key_stands_in_the_reference() {
    let made = keys::reference(&serde_json::from_str(&config::schema()).unwrap());
    let text = read("docs/configuration.md");
    let (by_hand, written) = text.split_once(MADE).expect("the line where the made part begins");
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(root().join("docs/configuration.md"), format!("{by_hand}{MADE}{made}")).unwrap();
    } else {
        assert!(written == made, "make it anew: WRITE_DOCS=1 cargo test --test it every_key_stands");
    }
}

/// The rows of `docs/metrics.md`: name, type, labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut rows = BTreeMap::new();
    for line in read("docs/metrics.md").lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let name = cells[1].trim_matches('`').to_owned();
        assert!(rows.insert(name, (cells[2].to_owned(), labels)).is_none(), "twice: {line}");
    }
    rows
}

#[test]
fn every_metric_stands_in_the_list_with_its_labels() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    buckler.answer(get("/").key("web-secret")).is(200);
    buckler.answer(get("/admin")).is(403);
    eventually("both counted", || buckler.metrics().sum("buckler_requests_total", &[]) > 1.5);
    let (rows, metrics) = (documented(), buckler.metrics());
    let mut there = BTreeMap::new();
    for line in metrics.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let ending = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        there.insert(format!("{name}{ending}"), kind.to_owned());
    }
    let listed: BTreeMap<_, _> = rows.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect();
    assert_eq!(listed, there, "left: docs/metrics.md; right: a scrape");
    for (name, labels) in metrics.labels() {
        let base =
            ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let mut labels: BTreeSet<String> = labels.into_iter().map(str::to_owned).collect();
        labels.remove("le");
        assert_eq!(labels, rows[base].1, "the labels of {name}");
    }
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana-dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
    let rows = documented();
    for name in ["deploy/grafana-dashboard.json", "deploy/prometheus-alerts.yaml"] {
        let text = read(name);
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let metric = |word: &&str| {
            ["buckler_", "http_server_", "process_"].iter().any(|start| word.starts_with(start))
        };
        let mut asked = 0;
        for metric in text.split(word).filter(metric) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| metric.strip_suffix(end));
            assert!(rows.contains_key(base.unwrap_or(metric)), "{name} asks for {metric}");
            asked += 1;
        }
        assert!(asked > 5, "{name}");
    }
}
