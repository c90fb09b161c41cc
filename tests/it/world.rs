//! The harness, in verbs: `World::new()`, `world.worker("a")`, `world.buckler(config)`, `buckler.answer(get("/"))`.
//!
//! A world is one test's own: a directory, workers and Bucklers that end with it. Nothing is shared between tests, so
//! that they run side by side.

mod ask;
mod buckler;
mod certificate;
mod contract;
pub(crate) mod http2;
mod metrics;
mod ports;
mod raw;
mod response;
mod script;
mod seen;
mod wait;
mod worker;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use ask::{Ask, get, request};
pub(crate) use buckler::Buckler;
pub(crate) use certificate::CLIENT;
pub(crate) use contract::{ONE_PORT, callers};
pub(crate) use metrics::Metrics;
pub(crate) use ports::free as free_port;
pub(crate) use raw::{End, Raw};
pub(crate) use response::Response;
pub(crate) use script::{SWITCH, Step};
pub(crate) use wait::{PARKED, PATIENCE, eventually, linger, steady};
pub(crate) use worker::Worker;

/// One test's surroundings.
pub(crate) struct World {
    dir: PathBuf,
    workers: RefCell<BTreeMap<String, Worker>>,
    bucklers: RefCell<u32>,
}

impl World {
    /// An empty world with a directory of its own.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("buckler-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir, workers: RefCell::default(), bucklers: RefCell::default() }
    }

    /// Where this world keeps its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A worker of this name: started when first asked for, listening on a port of its own.
    pub(crate) fn worker(&self, name: &str) -> Worker {
        self.workers.borrow_mut().entry(name.to_owned()).or_insert_with(|| Worker::start(name)).clone()
    }

    /// Writes a file of this world and says where it is.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Buckler with this configuration (see [`World::fill`] for its placeholders), ready for requests.
    pub(crate) fn buckler(&self, config: &str) -> Buckler {
        let buckler = self.buckler_starting(config);
        buckler.wait_ready();
        buckler
    }

    /// The same, not yet waited for.
    pub(crate) fn buckler_starting(&self, config: &str) -> Buckler {
        let number = self.bucklers.replace_with(|n| *n + 1);
        let name = format!("buckler{number}");
        let filled = self.fill(config, &name, BTreeMap::new());
        let file = self.file(&format!("{name}.yaml"), &filled.text);
        Buckler::spawn(&file, filled)
    }

    /// One service `api` on `{port}` with the worker `a`; `more` stands in the service, beside its workers.
    pub(crate) fn one_service(&self, more: &str) -> Buckler {
        self.buckler(&one_service(more))
    }

    /// A request that the worker `a` has and holds until its gate opens.
    #[track_caller]
    pub(crate) fn held(&self, buckler: &Buckler, path: &str) -> Raw {
        let worker = self.worker("a");
        let before = worker.count();
        worker.once(&[Step::TakeBody, Step::Gate, Step::Echo]);
        let mut raw = buckler.connect();
        raw.send(get(path).bytes());
        eventually("the request at the worker", || worker.count() == before + 1);
        raw
    }

    /// Writes a new configuration for this Buckler (same ports, same places) and reloads it by HUP.
    pub(crate) fn reload(&self, buckler: &Buckler, config: &str) {
        let filled = self.fill(config, buckler.name(), buckler.ports().clone());
        std::fs::write(buckler.config_file(), filled.text).unwrap();
        buckler.hup();
    }

    /// What `buckler check` says: its exit code and what it writes to standard error.
    pub(crate) fn check(&self, config: &str) -> (i32, String) {
        let filled = self.fill(config, "check", BTreeMap::new());
        let file = self.file("check.yaml", &filled.text);
        let file = file.to_str().unwrap();
        let (code, _, stderr) = self.command(&["check", "-c", file]);
        (code, stderr)
    }

    /// Runs `buckler` with these arguments to its end: exit code, standard output, standard error.
    pub(crate) fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_buckler"))
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Fills the placeholders: `{port}` and `{port:NAME}` a free port each, `{admin}` the admin listener's,
    /// `{worker:NAME}` the address of that worker (started if need be), `{dir}` the world's directory.
    /// An `admin` and an `access_log` are added at the end if the text has none, so that lines keep their numbers.
    fn fill(&self, config: &str, name: &str, ports: BTreeMap<String, u16>) -> Filled {
        let mut text = config.to_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if !has_key(&text, "admin") {
            text.push_str("admin: { listen: \"127.0.0.1:{admin}\" }\n");
        }
        if !has_key(&text, "access_log") {
            let path = format!("{{dir}}/{name}.log");
            text.push_str(&format!("access_log: {{ path: \"{path}\", refusals_per_second: 100000 }}\n"));
        }
        if !has_key(&text, "threads") {
            text.push_str("threads: 2\n");
        }
        let mut filled = Filled { name: name.to_owned(), text, ports };
        filled.text = filled.text.replace("{dir}", self.dir.to_str().unwrap());
        filled.replace_ports();
        while let Some(worker) = between(&filled.text, "{worker:", "}") {
            let address = self.worker(&worker).address();
            filled.text = filled.text.replace(&format!("{{worker:{worker}}}"), &address);
        }
        filled
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for worker in self.workers.borrow().values() {
            worker.stop();
        }
        if std::thread::panicking() {
            eprintln!("files of this test: {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A configuration whose placeholders are filled.
struct Filled {
    name: String,
    text: String,
    ports: BTreeMap<String, u16>,
}

impl Filled {
    fn replace_ports(&mut self) {
        for plain in ["port", "admin"] {
            let placeholder = format!("{{{plain}}}");
            if self.text.contains(&placeholder) {
                self.replace(&placeholder, plain);
            }
        }
        while let Some(name) = between(&self.text, "{port:", "}") {
            self.replace(&format!("{{port:{name}}}"), &name);
        }
    }

    fn replace(&mut self, placeholder: &str, name: &str) {
        let port = *self.ports.entry(name.to_owned()).or_insert_with(ports::free);
        self.text = self.text.replace(placeholder, &port.to_string());
    }
}

/// The text of a configuration with one service `api` on `{port}` and the worker `a`; `more` stands beside its workers.
pub(crate) fn one_service(more: &str) -> String {
    service(&["a"], more)
}

/// The same with these workers, each as `name` or as `name, priority: 1, weight: 2`.
pub(crate) fn service(workers: &[&str], more: &str) -> String {
    let mut text =
        String::from("services:\n  api:\n    listen: 127.0.0.1:{port}\n    workers:\n      addresses:\n");
    for worker in workers {
        let (name, rest) = worker.split_at(worker.find(',').unwrap_or(worker.len()));
        text.push_str(&format!("        - {{ address: \"{{worker:{name}}}\"{rest} }}\n"));
    }
    for line in more.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

fn has_key(text: &str, key: &str) -> bool {
    text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
}

fn between(text: &str, open: &str, close: &str) -> Option<String> {
    let rest = &text[text.find(open)? + open.len()..];
    Some(rest[..rest.find(close)?].to_owned())
}
