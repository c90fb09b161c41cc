//! The commands as a user meets them: the real binary, its exit code, standard output and standard error. `run` and
//! `demo` are tested where traffic flows.

mod explain;
mod reload;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a command did.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?}", self.out))
    }
}

fn buckler(arguments: &[&str]) -> Done {
    buckler_in(Path::new(env!("CARGO_MANIFEST_DIR")), arguments, "")
}

fn buckler_in(folder: &Path, arguments: &[&str], input: &str) -> Done {
    let mut child = Command::new(env!("CARGO_BIN_EXE_buckler"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder of this test's own with `buckler.yaml` in it.
fn folder(name: &str, yaml: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("buckler.yaml"), yaml).unwrap();
    folder
}

const GOOD: &str = r#"callers:
  known:
    web:
      # the key is: web-secret
      api_keys: ["sha256:761fed9dbb22427bedbc73c3f0ab93fff41104aa77eb145025d0113be8c035a3"]
      tier: partner
    office:
      addresses: [127.0.0.9/32]
  tiers:
    partner: { rate: 1000/s, burst: 2000 }
services:
  playlist:
    listen: 127.0.0.1:4070
    workers:
      addresses:
        - { address: 127.0.0.1:9001 }
    permissions:
      rules:
        - { deny: { methods: [DELETE] }, mode: shadow }
        - { allow: { callers: [office], paths: ["/admin/**"] } }
        - { deny: { paths: ["/admin/**"] }, reason: "staff only" }
    limits:
      default: { rate: 20/s, burst: 40, concurrent: 50 }
      total: { rate: 20000/s, burst: 20000 }
      costs:
        - { paths: ["/search/**"], cost: 5 }
"#;

const BAD: &str = "\
services:
  playlist:
    listen: 127.0.0.1:4070
    worker:
      addresses:
        - { address: 127.0.0.1:9001 }
    limits:
      default: { rate: 20 }
";

#[test]
fn help_teaches_and_is_data() {
    let done = buckler(&["--help"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    for taught in
        ["buckler demo", "Exit codes", "78", "TERM, INT, QUIT", "USR1", "USR2", "/etc/buckler/buckler.yaml"]
    {
        assert!(done.out.contains(taught), "{taught} is not in:\n{}", done.out);
    }
    let widest = done.out.lines().map(str::len).max().unwrap();
    assert!(widest <= 110, "{widest} columns");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_old_habits_get_a_hint() {
    let cases = [
        (vec!["-s", "reload"], "hint: use `buckler reload` or send HUP"),
        (vec!["validate", "--config", "x"], "hint: use `buckler check`"),
        (vec!["-c", "buckler.yaml"], "hint: the command comes first"),
        (vec!["chekc"], "'check'"),
        (vec!["explain", "--service", "a"], "--path <PATH>"),
        (vec![], "Usage: buckler"),
    ];
    for (arguments, said) in cases {
        let done = buckler(&arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.err);
        assert!(done.err.contains(said), "{arguments:?}: {}", done.err);
    }
}

#[test]
fn the_version_is_printed_in_three_ways() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(buckler(&["version"]).out, format!("buckler {version}\n"));
    assert_eq!(buckler(&["--version"]).out, format!("buckler {version}\n"));
    assert_eq!(buckler(&["version", "--json"]).json()["version"], version);
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let done = buckler(&["completions", shell]);
        assert_eq!(done.code, 0);
        assert!(done.out.contains("explain") && done.out.contains("key-file"), "{shell}");
    }
    assert_eq!(buckler(&["completions", "cobol"]).code, 2);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_buckler"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn a_made_key_and_its_hash_belong_together() {
    let made = buckler(&["key", "--json"]).json();
    let key = made["key"].as_str().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let hashed = buckler_in(root, &["key", "--stdin", "--json"], &format!("{key}\n"));
    assert_eq!(hashed.code, 0);
    assert_eq!(hashed.json()["hash"], made["hash"]);
    assert_eq!(hashed.json().get("key"), None, "a given key is not shown again");
    let yaml = format!("api_keys: [{}]", made["hash"]);
    assert_eq!(made["yaml"].as_str(), Some(yaml.as_str()));
}

#[test]
fn a_given_key_is_hashed_as_sha256sum_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = buckler_in(root, &["key", "--stdin"], "web-secret");
    assert_eq!(done.code, 0);
    assert!(
        done.out
            .starts_with("hash: sha256:761fed9dbb22427bedbc73c3f0ab93fff41104aa77eb145025d0113be8c035a3\n")
    );
    assert!(!done.out.contains("web-secret"));
    let empty = buckler_in(root, &["key", "--stdin"], "");
    assert_eq!((empty.code, empty.out.as_str()), (1, ""));
    assert!(empty.err.contains("no key on the first line"), "{}", empty.err);
}

#[test]
fn a_sound_file_is_fine_under_each_name_of_check() {
    let folder = folder("sound", GOOD);
    for arguments in [
        &["check"][..],
        &["check", "-c", "buckler.yaml"],
        &["check", "--config", "buckler.yaml", "--strict"],
        &["-t"],
        &["-t", "-c", "buckler.yaml"],
        &["-c", "buckler.yaml", "-t"],
    ] {
        let done = buckler_in(&folder, arguments, "");
        assert_eq!((done.code, done.out.as_str()), (0, ""), "{arguments:?}: {}", done.err);
        assert!(done.err.contains("buckler.yaml: fine"), "{arguments:?}: {}", done.err);
    }
    let json = buckler_in(&folder, &["check", "--json"], "").json();
    assert_eq!(json["valid"], true);
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(0));
}

#[test]
fn every_mistake_is_shown_at_once_with_its_line_and_a_caret() {
    let folder = folder("mistakes", BAD);
    let done = buckler_in(&folder, &["check"], "");
    assert_eq!((done.code, done.out.as_str()), (78, ""));
    assert_eq!(
        done.err,
        "\
error: buckler.yaml:2:3: `workers` is missing [B0012]
  |
2 |   playlist:
  |   ^^^^^^^^
  = write `addresses: [\"127.0.0.1:9001\"]`, or `srv:` with a DNS name

error: buckler.yaml:4:5: unknown key `worker` [B0010]
  |
4 |     worker:
  |     ^^^^^^
  = did you mean `workers`?
  = expected one of `listen`, `socket`, `protocol`, `proxy_protocol`, `tls`, \
`forward_client_certificate`, `upgrades`, `connections`, `workers`, `health`, \
`capacity`, `retries`, `retry`, `fallback`, `permissions`, `limits`, `timeouts`, `bounds`

error: buckler.yaml:8:24: `20` is not a rate: a number alone has no unit [B0014]
  |
8 |       default: { rate: 20 }
  |                        ^^
  = write how many in which time: `100/s`, `6000/min`, `10/h` or `5/d`

buckler.yaml: 3 errors
"
    );
    let json = buckler_in(&folder, &["check", "--json"], "");
    assert_eq!(json.code, 78);
    assert_eq!(json.json()["valid"], false);
    assert_eq!(json.json()["problems"][1]["line"], 4);
    assert_eq!(json.json()["problems"][1]["code"], "B0010");
}

#[test]
fn warnings_are_shown_and_strict_takes_none() {
    let yaml = "services: { a: { listen: 127.0.0.1:4070, workers: { addresses: [127.0.0.1:9001] } } }\n";
    let folder = folder("warning", yaml);
    let done = buckler_in(&folder, &["check"], "");
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("[B0100]") && done.err.contains("fine, with 1 warning"), "{}", done.err);
    assert_eq!(buckler_in(&folder, &["check", "--strict"], "").code, 78);
    let json = buckler_in(&folder, &["check", "--strict", "--json"], "").json();
    assert_eq!((&json["valid"], &json["warnings"]), (&Value::from(false), &Value::from(1)));
}

#[test]
fn a_missing_file_is_a_bad_configuration() {
    let folder = folder("missing", GOOD);
    let explain = ["explain", "--service", "a", "--path", "/"];
    for command in [&["check"][..], &["config"], &["reload"], &explain] {
        let done = buckler_in(&folder, &[command, &["-c", "nowhere.yaml"]].concat(), "");
        assert_eq!((done.code, done.out.as_str()), (78, ""), "{command:?}: {}", done.err);
        assert!(done.err.contains("nowhere.yaml: cannot be read"), "{command:?}: {}", done.err);
    }
}

#[test]
fn the_committed_schema_is_the_printed_one() {
    let printed = buckler(&["schema"]);
    assert_eq!(printed.code, 0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = fs::read_to_string(root.join("conf/buckler.schema.json")).unwrap_or_default();
    assert!(printed.out == committed, "run: buckler schema > conf/buckler.schema.json");
}

#[test]
fn the_effective_configuration_names_where_each_value_comes_from() {
    let folder = folder("effective", GOOD);
    let json = buckler_in(&folder, &["config", "--json"], "").json();
    let value = |path: &str| (json[path]["value"].clone(), json[path]["from"].as_str().unwrap().to_owned());
    assert_eq!(value("services.playlist.listen"), ("127.0.0.1:4070".into(), "buckler.yaml:13".to_owned()));
    assert_eq!(value("services.playlist.timeouts.connect"), ("1s".into(), "default".to_owned()));
}

#[test]
fn the_effective_configuration_can_be_loaded_again_and_means_the_same() {
    let first = folder("effective-first", GOOD);
    let printed = buckler_in(&first, &["config"], "");
    assert_eq!(printed.code, 0, "{}", printed.err);
    let second = folder("effective-second", &printed.out);
    let again = buckler_in(&second, &["config"], "");
    assert_eq!(again.code, 0, "{}", again.err);
    let values = |yaml: &str| {
        yaml.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&again.out), values(&printed.out));
    let bad = folder("effective-bad", BAD);
    let refused = buckler_in(&bad, &["config"], "");
    assert_eq!((refused.code, refused.out.as_str()), (78, ""));
    assert!(refused.err.contains("did you mean `workers`?"), "{}", refused.err);
}
