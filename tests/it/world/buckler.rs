//! The Buckler under test: a process of the real binary, with its ports, its logs, its admin listener and its end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use super::metrics::Metrics;
use super::wait::{eventually, eventually_some};
use super::{Ask, Filled, Raw, Response, get};

/// A running Buckler; killed when dropped.
pub(crate) struct Buckler {
    child: Mutex<Child>,
    name: String,
    config: PathBuf,
    ports: BTreeMap<String, u16>,
    stderr: Arc<Mutex<String>>,
}

impl Buckler {
    pub(super) fn spawn(config: &Path, filled: Filled) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_buckler"))
            .args(["run", "-c"])
            .arg(config)
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Arc::default();
        collect(child.stderr.take().unwrap(), Arc::clone(&stderr));
        let (name, ports) = (filled.name, filled.ports);
        Self { child: Mutex::new(child), name, config: config.to_owned(), ports, stderr }
    }

    /// Waits until `/readyz` says yes; fails at once if the process ends before.
    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        eventually("Buckler ready", || self.probe("/readyz").is_some_and(|answer| answer.status == 200));
    }

    /// Waits until the admin listener answers at all.
    #[track_caller]
    pub(crate) fn wait_alive(&self) {
        eventually("Buckler alive", || self.probe("/livez").is_some_and(|answer| answer.status == 200));
    }

    #[track_caller]
    fn probe(&self, path: &str) -> Option<Response> {
        let ended = self.child.lock().unwrap().try_wait().unwrap();
        if let Some(status) = ended {
            panic!("Buckler ended with {status}:\n{}", self.stderr());
        }
        let mut raw = Raw::try_connect(std::net::Ipv4Addr::LOCALHOST, self.admin()).ok()?;
        Some(raw.answer(&self.of_admin(path)))
    }

    /// The port that stands for `{port}`.
    pub(crate) fn port(&self) -> u16 {
        self.port_of("port")
    }

    /// The port that stands for `{port:NAME}`.
    #[track_caller]
    pub(crate) fn port_of(&self, name: &str) -> u16 {
        *self.ports.get(name).unwrap_or_else(|| panic!("no port {name} in the configuration"))
    }

    /// The port of the admin listener.
    pub(crate) fn admin(&self) -> u16 {
        self.port_of("admin")
    }

    pub(super) fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The configuration it was started with.
    pub(crate) fn config_file(&self) -> &Path {
        &self.config
    }

    /// A connection to the service on `{port}`.
    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.port())
    }

    /// Sends a request on a connection of its own and reads the answer.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "reads as it is said: `answer(get(..))`")]
    pub(crate) fn answer(&self, ask: Ask) -> Response {
        Raw::connect_from(ask.source(), self.port()).answer(&ask)
    }

    /// Sends these bytes on a connection of their own and reads the answer.
    #[track_caller]
    pub(crate) fn answer_to(&self, bytes: impl AsRef<[u8]>) -> Response {
        self.connect().send(bytes).read_response()
    }

    /// Asks the admin listener.
    #[track_caller]
    pub(crate) fn look(&self, path: &str) -> Response {
        Raw::connect(self.admin()).answer(&self.of_admin(path))
    }

    /// A request for the admin listener, which takes no names of hosts that somebody's DNS may point at it.
    pub(crate) fn of_admin(&self, path: &str) -> Ask {
        get(path).header("host", &format!("127.0.0.1:{}", self.admin())).header("connection", "close")
    }

    /// `/metrics`, read.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.look("/metrics").is(200).text())
    }

    /// How many requests were answered for this reason, as `/metrics` has it.
    #[track_caller]
    pub(crate) fn refused(&self, reason: &str) -> f64 {
        self.metrics().sum("buckler_requests_total", &[("reason", reason)])
    }

    /// `/api/v1/status`, read.
    #[track_caller]
    pub(crate) fn status_json(&self) -> serde_json::Value {
        self.look("/api/v1/status").is(200).json()
    }

    /// The access log so far, one JSON object a line.
    #[track_caller]
    pub(crate) fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
        whole.lines().map(line).collect()
    }

    /// Waits for a line in the access log, and returns it.
    #[track_caller]
    pub(crate) fn logged(&self, what: &str, is: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually_some(&format!("a line in the access log: {what}"), || {
            self.access_log().into_iter().find(|line| is(line))
        })
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Sends HUP and waits until the reload is over, whether it succeeded or not.
    #[track_caller]
    pub(crate) fn hup(&self) {
        let newest = || self.status_json()["config"]["last_reload"]["at"].to_string();
        let before = newest();
        self.signal(Signal::HUP);
        eventually("the end of the reload", || newest() != before);
    }

    /// Sends USR1: the logs are opened again.
    pub(crate) fn usr1(&self) {
        self.signal(Signal::USR1);
    }

    /// Sends TERM.
    pub(crate) fn term(&self) {
        self.signal(Signal::TERM);
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.lock().unwrap().id()).unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the process; returns its exit code, -1 if a signal ended it.
    #[track_caller]
    pub(crate) fn wait_exit(&self) -> i32 {
        let ended = || self.child.lock().unwrap().try_wait().unwrap();
        eventually_some("the end of the process", ended).code().unwrap_or(-1)
    }

    /// Whether the process has not ended.
    pub(crate) fn runs(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_none()
    }
}

impl Drop for Buckler {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        let stderr = self.stderr();
        if std::thread::panicking() {
            eprintln!("--- what {} wrote to standard error:\n{stderr}---", self.name);
        }
        assert!(std::thread::panicking() || !stderr.contains("panicked at"), "Buckler panicked:\n{stderr}");
    }
}

fn collect(from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = to.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}
