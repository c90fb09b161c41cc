//! A real BIND with a zone of its own, on loopback and a free port, for the tests that need DNS. Killed, and its
//! files removed, when dropped. Needs Debian's `bind9` and `bind9-dnsutils`, which `tests/run` installs.

#![allow(clippy::unwrap_used, reason = "a test stops where something unexpected happens")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use buckler::config::Dns;

/// The zone that every test has for itself.
pub(crate) const ZONE: &str = "example.test";

/// How long a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// So often is a start tried when the port is taken.
const START_TRIES: usize = 5;

/// A name server, running or not.
pub(crate) struct Bind {
    address: SocketAddr,
    folder: PathBuf,
    options: &'static str,
    child: Option<Child>,
}

impl Bind {
    /// A running server with these records in its zone, one a line, names relative to [`ZONE`]. The TTL of records
    /// without one is 1 s, and so is that of negative answers.
    pub(crate) fn serving(records: &str) -> Self {
        Self::serving_with("", records)
    }

    /// The same, with further lines in BIND's `options`.
    pub(crate) fn serving_with(options: &'static str, records: &str) -> Self {
        let mut bind = Self::stopped_with(options, records);
        // A resolver of another test may have taken the port for a question of its own in between.
        let started = (0..START_TRIES).any(|_| {
            bind.try_start().is_ok() || {
                bind.address = free_port();
                false
            }
        });
        assert!(started, "named does not start on any port");
        bind
    }

    /// A server that is not running yet, with a port that nobody listens on.
    pub(crate) fn stopped(records: &str) -> Self {
        Self::stopped_with("", records)
    }

    fn stopped_with(options: &'static str, records: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("buckler-bind-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bind = Self { address: free_port(), folder, options, child: None };
        bind.write_zone(records);
        bind
    }

    /// Where it listens, by UDP and TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `dns` part of a configuration that asks this server only.
    pub(crate) fn dns(&self) -> Dns {
        Dns {
            servers: vec![self.address],
            max_ttl: Duration::from_secs(30),
            timeout: Duration::from_millis(500),
        }
    }

    /// Starts it, again on the same port, and returns when it answers.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut said = String::new();
        for _ in 0..START_TRIES {
            match self.try_start() {
                Ok(()) => return,
                Err(log) => said = log,
            }
        }
        panic!("named did not start on {}:\n{said}", self.address);
    }

    /// The error is what it logged.
    fn try_start(&mut self) -> Result<(), String> {
        self.write_configuration();
        let mut child = Command::new("/usr/sbin/named")
            .arg("-g")
            .arg("-c")
            .arg(self.folder.join("named.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("named starts (apt-get install bind9)");
        let log = BufReader::new(child.stderr.take().unwrap());
        self.child = Some(child);
        let (running, wait) = mpsc::channel();
        // Reads to the end, so that the server never waits for somebody to take its log.
        std::thread::spawn(move || {
            let mut said = String::new();
            for line in log.lines().map_while(Result::ok) {
                let _ = writeln!(said, "{line}");
                if line.ends_with(" running") || line.contains("address in use") {
                    let _ = running.send(std::mem::take(&mut said));
                }
            }
            let _ = running.send(said);
        });
        let said = wait.recv_timeout(START_LIMIT).unwrap_or_else(|_| "nothing within the limit".to_owned());
        if said.ends_with(" running\n") {
            return Ok(());
        }
        self.kill();
        Err(said)
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Puts a zone in place that BIND cannot load, for the next start: it then answers SERVFAIL.
    pub(crate) fn break_zone(&self) {
        self.write_zone("this is not a record");
    }

    /// Puts another zone in place, for the next start.
    pub(crate) fn write_zone(&self, records: &str) {
        let zone = format!(
            "$TTL 1\n$ORIGIN {ZONE}.\n@ IN SOA ns.{ZONE}. admin.{ZONE}. 1 60 60 600 1\n@ IN NS ns\nns IN A \
             127.0.0.1\n{records}\n"
        );
        let _ = std::fs::remove_file(self.folder.join("zone.jnl"));
        std::fs::write(self.folder.join("zone"), zone).unwrap();
    }

    /// Changes the running zone: lines of `nsupdate`, such as `update add a.example.test. 1 A 127.0.0.1`.
    pub(crate) fn update(&self, lines: &str) {
        let mut nsupdate = Command::new("nsupdate")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsupdate starts (apt-get install bind9-dnsutils)");
        let script =
            format!("server {} {}\nzone {ZONE}\n{lines}\nsend\n", self.address.ip(), self.address.port());
        nsupdate.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let done = nsupdate.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "nsupdate: {said}");
    }

    fn write_configuration(&self) {
        let folder = self.folder.display();
        let (ip, port) = (self.address.ip(), self.address.port());
        let text = format!(
            r#"options {{
                directory "{folder}";
                pid-file none;
                session-keyfile "{folder}/session.key";
                listen-on port {port} {{ {ip}; }};
                listen-on-v6 {{ none; }};
                recursion no;
                dnssec-validation no;
                notify no;
                {}
            }};
            controls {{ }};
            zone "{ZONE}" {{ type primary; file "zone"; allow-update {{ 127.0.0.1; }}; }};
            "#,
            self.options
        );
        std::fs::write(self.folder.join("named.conf"), text).unwrap();
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that is free for UDP and TCP.
fn free_port() -> SocketAddr {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for both UDP and TCP");
}
