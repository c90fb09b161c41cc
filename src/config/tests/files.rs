//! Several files as one, the environment, and how problems are shown.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// Files that exist only here.
struct Shelf(BTreeMap<&'static str, String>);

impl Files for Shelf {
    fn read(&self, path: &Path) -> Result<String, String> {
        let name = path.to_str().unwrap();
        self.0.get(name).cloned().ok_or_else(|| "cannot be read: not on the shelf".to_owned())
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, String> {
        let folder = format!("{}/", folder.display());
        Ok(self.0.keys().filter_map(|name| name.strip_prefix(&*folder)).map(str::to_owned).collect())
    }
}

fn shelf(main: &str, files: &[(&'static str, &str)]) -> Loaded {
    let files = Shelf(files.iter().map(|(name, text)| (*name, (*text).to_owned())).collect());
    load_str("etc/b.yaml", main, &files, today(), &|_| None)
}

fn agreement(caller: &str, address: &str) -> String {
    format!(
        "callers: {{ known: {{ {caller}: {{ addresses: [{address}] }} }} }}\n\
         services: {{ a: {{ limits: {{ agreements: [{{ caller: {caller}, rate: 9/s }}] }} }} }}\n"
    )
}

#[test]
fn included_files_join_in_the_order_of_their_names() {
    let main = format!("include: [more/*.yaml]\n{SERVICE}");
    let (one, two) = (agreement("zed", "192.0.2.1"), agreement("amy", "192.0.2.2"));
    let hidden = "this: is not read";
    let loaded = shelf(
        &main,
        &[
            ("etc/more/2.yaml", &two),
            ("etc/more/1.yaml", &one),
            ("etc/more/.3.yaml", hidden),
            ("etc/more/x.txt", hidden),
        ],
    );
    assert_eq!(loaded.render(), "");
    let config = loaded.config.unwrap();
    let limits = &config.services.values().next().unwrap().limits;
    let names: Vec<_> = limits.agreements.iter().map(|agreement| &*agreement.quota.rule_ref.name).collect();
    assert_eq!(names, ["agreement zed", "agreement amy"]);
    assert_eq!(limits.agreements[1].quota.rule_ref.at, "etc/more/2.yaml:2");
}

#[test]
fn each_value_in_force_names_the_file_that_it_stands_in() {
    let main = format!("include: [x.yaml, y.yaml]\n{SERVICE}");
    let x = "log: { level: warn }\ncallers: { known: { amy: { addresses: [192.0.2.1] } } }\n";
    let y = "# The second.\n\nservices:\n  a:\n    timeouts:\n      head: 7s\n";
    let loaded = shelf(&main, &[("etc/x.yaml", x), ("etc/y.yaml", y)]);
    assert_eq!(loaded.render(), "");
    let effective = loaded.effective().unwrap();
    let json = effective.to_json();
    for (key, from) in [
        ("services.a.listen", "etc/b.yaml:4"),
        ("log.level", "etc/x.yaml:1"),
        ("callers.known.amy.addresses", "etc/x.yaml:2"),
        ("services.a.timeouts.head", "etc/y.yaml:6"),
        ("services.a.timeouts.body", "default"),
    ] {
        assert_eq!(json[key]["from"], from, "{key}");
    }
    let yaml = effective.to_yaml();
    assert!(yaml.lines().any(|line| line == "      head: 7s  # etc/y.yaml:6"), "{yaml}");
}

#[test]
fn what_two_files_define_names_both() {
    let main = format!(
        "include: [x.yaml]\n{SERVICE}callers: {{ known: {{ amy: {{ addresses: [192.0.2.2] }} }} }}\n"
    );
    let other =
        "callers:\n  known:\n    amy: { addresses: [192.0.2.3] }\nservices:\n  a:\n    listen: 127.0.0.1:1\n";
    assert_eq!(
        told(&shelf(&main, &[("etc/x.yaml", other)])),
        [
            "etc/x.yaml:3:5: `callers.known.amy` is already defined at etc/b.yaml:7:21",
            "etc/x.yaml:6:5: `services.a.listen` is already defined at etc/b.yaml:4:5",
        ]
    );
}

#[test]
fn errors_of_all_files_come_at_once() {
    let main = format!("include: [x.yaml, missing.yaml, '*/y.yaml']\n{SERVICE}lgo: {{}}\n");
    assert_eq!(
        told(&shelf(&main, &[("etc/x.yaml", "include: []\nwieght: 1\n")])),
        [
            "etc/b.yaml:1:19: etc/missing.yaml: cannot be read: not on the shelf",
            "etc/b.yaml:1:33: `*` may stand only in the last part of the path",
            "etc/b.yaml:7:1: unknown key `lgo`",
            "etc/x.yaml:1:1: an included file includes others",
            "etc/x.yaml:2:1: unknown key `wieght`",
        ]
    );
}

#[test]
fn a_file_is_included_once_and_a_broken_one_is_one_error() {
    let main = format!("include: [x.yaml, 'x*']\n{SERVICE}");
    let loaded = shelf(&main, &[("etc/x.yaml", "log: [")]);
    assert_eq!(loaded.problems.len(), 2, "{}", loaded.render());
    assert_eq!(told(&loaded)[0], "etc/b.yaml:1:19: etc/x.yaml is already included at etc/b.yaml:1:11");
    assert!(told(&loaded)[1].starts_with("etc/x.yaml:1:6: not valid YAML: "), "{}", loaded.render());
}

#[test]
fn a_pattern_that_no_file_fits_is_a_warning() {
    let loaded = shelf(&format!("include: ['x*.yml']\n{SERVICE}"), &[("etc/x.yaml", "")]);
    assert_eq!(told(&loaded), ["etc/b.yaml:1:11: no file fits etc/x*.yml"]);
    assert!(loaded.config.is_some());
}

#[test]
fn relative_paths_are_relative_to_the_file_that_names_them() {
    let main = format!("include: [sub/x.yaml]\n{SERVICE}");
    let loaded = shelf(
        &main,
        &[("etc/sub/x.yaml", "access_log: { path: a.log }\nadmin: { listen: 0.0.0.0:1, token_file: t }")],
    );
    let config = loaded.config.unwrap();
    assert_eq!(config.access_log.path.as_deref(), Some(Path::new("etc/sub/a.log")));
    assert_eq!(config.admin.unwrap().token_file.as_deref(), Some(Path::new("etc/sub/t")));
}

#[test]
fn a_missing_file_says_so() {
    let loaded = load(Path::new("/no/such/file.yaml"), today(), &|_| None);
    let text = loaded.render();
    assert!(text.starts_with("error: /no/such/file.yaml: cannot be read: "), "{text}");
    assert!(loaded.config.is_none());
}

#[test]
fn the_environment_fills_in_and_stays_unseen() {
    let env = |name: &str| (name == "RATE").then(|| "hunter2".to_owned());
    let text = SERVICE.replace("10/s", "\"${RATE}\"")
        + "log: { level: '$${x}${NONE}' }\nadmin: { listen: \"${\" }\n";
    let loaded = load_str("t.yaml", &text, &NoFiles, today(), &env);
    let shown = loaded.render();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(
        told(&loaded),
        [
            "t.yaml:5:32: `${RATE}` is not a rate",
            "t.yaml:6:15: the environment variable `NONE` is not set",
            "t.yaml:6:15: `${x}` is not a level",
            "t.yaml:7:18: `${` without a variable's name and `}`",
            "t.yaml:7:18: `` is not an address with a port: the port is missing",
        ]
    );
    let env = |_: &str| Some("25/s".to_owned());
    let loaded = load_str("t.yaml", &SERVICE.replace("10/s", "\"${RATE}\""), &NoFiles, today(), &env);
    assert!(loaded.config.is_some(), "{}", loaded.render());
}

#[test]
fn a_problem_shows_its_line_with_a_caret_and_what_was_meant() {
    let text = SERVICE.replace("[\"127.0.0.1:9001\"]", "[{ address: 127.0.0.1:9001, wieght: 3 }]");
    assert_eq!(
        load_text(&text).render(),
        "\
error: t.yaml:4:55: unknown key `wieght` [B0010]
  |
4 |     workers: { addresses: [{ address: 127.0.0.1:9001, wieght: 3 }] }
  |                                                       ^^^^^^
  = did you mean `weight`?
  = expected one of `address`, `priority`, `weight`
"
    );
}

#[test]
fn problems_are_json_too() {
    let json = load_text("srevices: {}\n").to_json();
    assert_eq!(json[0]["code"], "B0012");
    assert_eq!(json[1]["severity"], "error");
    assert_eq!((&json[1]["line"], &json[1]["column"], &json[1]["length"]), (&1.into(), &1.into(), &8.into()));
    assert_eq!(json[1]["help"].as_str().unwrap().lines().next(), Some("did you mean `services`?"));
}

#[test]
fn a_key_in_clear_is_never_shown() {
    let known = "callers: { known: { web: { api_keys: [\"hunter2\", sha256:77], addresses: [x] } } }\n";
    let loaded = load_text(&format!("{SERVICE}{known}"));
    assert_eq!(
        told(&loaded),
        [
            "t.yaml:6:39: this is not a key's hash, `sha256:` and 64 hex digits",
            "t.yaml:6:50: a key's hash has 64 hex digits after `sha256:`, this has 2 characters",
            "t.yaml:6:74: `x` is not a network",
        ]
    );
    let shown = loaded.render();
    assert!(!shown.contains("hunter2") && shown.contains("[*********, "), "{shown}");
    assert!(shown.contains("buckler key"), "{shown}");
    for misspelled in [
        "api_keys: {hunter2}",
        "api_keys: [hunter2",
        "api_key: hunter2",
        "api_keys: []\n      api_keys: [hunter2]",
        "secret: hunter2",
    ] {
        let text = format!("{SERVICE}callers:\n  known:\n    web:\n      {misspelled}\n");
        let loaded = load_text(&text);
        assert!(!loaded.problems.is_empty());
        assert!(!loaded.render().contains("hunter2"), "{}", loaded.render());
        assert!(!loaded.to_json().to_string().contains("hunter2"));
    }
}
