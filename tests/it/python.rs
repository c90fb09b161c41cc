//! Real clients and servers from PyPI, as programs in `tests/python`: started, waited for, and their results read.
//! `tests/python/environment` makes the Python that they run in. What they do is written there, not here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;

/// How long one program may run: a full list of cases takes some seconds on a quiet machine.
const LONGEST_RUN: Duration = Duration::from_secs(240);

/// How long a server may take until it listens.
const LONGEST_START: Duration = Duration::from_secs(30);

/// The results of a list of cases, by name.
pub(crate) type Results = BTreeMap<String, Value>;

/// A server program; stopped when dropped.
pub(crate) struct Server {
    program: Program,
    port: u16,
}

impl Server {
    /// Starts `tests/python/SCRIPT` and waits until it has told its port.
    #[track_caller]
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Self {
        let mut program = Program::start(script, arguments);
        let told: Value = program.line(LONGEST_START);
        let port = told["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Self { port: port.unwrap_or_else(|| panic!("{script} told {told}")), program }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.program.child.id()).unwrap()).unwrap()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }
}

/// Runs a program to its end and returns the JSON that it printed.
#[track_caller]
pub(crate) fn run(script: &str, arguments: &[&str]) -> Value {
    Program::start(script, arguments).line(LONGEST_RUN)
}

/// The same, by this command, which gets the interpreter's command line behind its own arguments.
#[track_caller]
pub(crate) fn run_by(command: &[&str], script: &str, arguments: &[&str]) -> Value {
    Program::start_by(command, script, arguments).line(LONGEST_RUN)
}

/// Runs a list of cases and returns what each saw; panics with all that failed.
#[track_caller]
pub(crate) fn cases(script: &str, arguments: &[&str]) -> Results {
    let Value::Object(results) = run(script, arguments) else { panic!("{script} printed no object") };
    let mut failures = String::new();
    for (name, result) in &results {
        if result["passed"] != true {
            let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
            let _ = writeln!(failures, "{name}: {}\n{}", text("saw"), text("where"));
        }
    }
    assert!(failures.is_empty(), "{script} {}:\n{failures}", arguments.join(" "));
    results.into_iter().map(|(name, result)| (name, result["saw"].clone())).collect()
}

/// Fails unless both lists saw the same, case by case.
#[track_caller]
pub(crate) fn assert_same(direct: &Results, through: &Results) {
    assert!(direct.len() > 10, "only {} cases ran", direct.len());
    assert_eq!(direct.keys().collect::<Vec<_>>(), through.keys().collect::<Vec<_>>());
    for (name, saw) in direct {
        assert_eq!(saw, &through[name], "{name}: left without Buckler, right through it");
    }
}

/// A running program and what it prints.
struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    errors: Arc<Mutex<String>>,
}

impl Program {
    fn start(script: &str, arguments: &[&str]) -> Self {
        Self::start_by(&[], script, arguments)
    }

    fn start_by(command: &[&str], script: &str, arguments: &[&str]) -> Self {
        let line: Vec<_> = command.iter().map(Path::new).chain([interpreter()]).collect();
        let mut child = Command::new(line[0])
            .args(&line[1..])
            .arg(folder().join(script))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        let errors = Arc::default();
        collect(child.stderr.take().unwrap(), Arc::clone(&errors));
        Self { name: script.to_owned(), child, lines, errors }
    }

    /// The next line it prints, which is JSON.
    #[track_caller]
    fn line(&mut self, limit: Duration) -> Value {
        let why = match self.lines.recv_timeout(limit) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(value) => return value,
                Err(error) => format!("printed {line:?}: {error}"),
            },
            Err(RecvTimeoutError::Timeout) => format!("printed nothing within {limit:?}"),
            Err(RecvTimeoutError::Disconnected) => format!("ended with {:?}", self.child.wait()),
        };
        panic!("{} {why}\n--- its standard error:\n{}---", self.name, self.errors.lock().unwrap());
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// The interpreter that has the packages; installed now if it is missing.
fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let output = Command::new(folder().join("environment")).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

fn collect(mut from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..n]));
        }
    });
}
