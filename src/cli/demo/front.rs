//! Buckler in the demo: the configuration written for it and its process, started exactly as an operator starts it,
//! `buckler run -c FILE`. Dropping it ends the process and removes its folder.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::dns::SRV_NAME;
use super::traffic::{AGREED_RATE, CAST, DEFAULT_RATE, PATH};
use super::{EXIT_FAILED, Failure};

/// How long Buckler may take until it is ready and its first answer comes through.
const START: Duration = Duration::from_secs(15);
/// How long it may take to end after TERM, more than the 2 s of its `shutdown.grace`; after that it is killed.
const END: Duration = Duration::from_secs(5);
/// How often the start and the end are looked at.
const POLL: Duration = Duration::from_millis(25);
/// So much of the end of its log is shown when something went wrong.
const LOG_TAIL_BYTES: u64 = 4096;

/// Where everything in the demo listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// The one port of the service.
    pub(super) service: SocketAddr,
    /// Where to look at Buckler.
    pub(super) admin: SocketAddr,
    /// The demo's DNS server.
    pub(super) dns: SocketAddr,
}

/// The configuration of the demo, with the keys as hashes.
pub(super) fn configuration(addresses: &Addresses) -> String {
    let mut known = String::new();
    for caller in &CAST {
        // Writing to a String cannot fail.
        let _ =
            writeln!(known, "    {}: {{ api_keys: [\"sha256:{}\"] }}", caller.name, sha256_hex(caller.key));
    }
    let Addresses { service, admin, dns } = addresses;
    format!(
        "# Written by `buckler demo`.
admin:
  listen: {admin}

dns:
  servers: [\"{dns}\"]
  max_ttl: 5s

callers:
  identify: [api_key, address]
  api_key: {{ header: x-api-key }}
  known:
{known}
services:
  playlist:
    listen: {service}
    workers:
      srv: {SRV_NAME}
    permissions:
      default: allow
      rules:
        - {{ deny: {{ callers: [forbidden] }}, reason: \"has no agreement with this service\" }}
        - {{ deny: {{ paths: [\"/admin/**\"] }}, reason: \"staff only\" }}
    limits:
      default: {{ rate: {DEFAULT_RATE}/s, burst: {DEFAULT_RATE} }}
      agreements:
        - caller: batch
          rate: {AGREED_RATE}/s
          burst: {AGREED_RATE}
          owner: playlist-squad
          reason: \"batch import\"

shutdown: {{ grace: 2s }}
"
    )
}

fn sha256_hex(key: &str) -> String {
    digest(&SHA256, key.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A folder of this run's own; removed when dropped, unless something in it is still wanted.
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes it, below the system's folder for temporary files, readable by this user only.
    pub(super) fn create() -> io::Result<Self> {
        let name = format!("buckler-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, keep: false })
    }

    /// The configuration's path.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join("buckler.yaml")
    }

    fn log(&self) -> PathBuf {
        self.path.join("buckler.log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed stays in the folder for temporary files, where it harms nobody.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The running Buckler.
pub(super) struct Front {
    child: Child,
    ended: Option<ExitStatus>,
    folder: Folder,
}

impl Front {
    /// Writes the configuration and starts this very program with it.
    pub(super) fn start(folder: Folder, addresses: &Addresses) -> Result<Self, Failure> {
        let io_failure =
            |what: String| move |error: io::Error| Failure::at_run_time(format!("{what}: {error}."));
        let config = folder.config();
        fs::write(&config, configuration(addresses))
            .map_err(io_failure(format!("The configuration {} could not be written", config.display())))?;
        let log = File::create(folder.log())
            .map_err(io_failure(format!("The log {} could not be opened", folder.log().display())))?;
        let program = std::env::current_exe()
            .map_err(io_failure("The path of this program could not be found out".into()))?;
        let child = Command::new(&program)
            .args(["run".as_ref(), "-c".as_ref(), config.as_os_str()])
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            // The access log: a hundred lines a second for as long as the demo runs would fill the disk.
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C in the terminal is for the demo, which then ends Buckler itself, once.
            .process_group(0)
            .spawn()
            .map_err(io_failure(format!("{} run could not be started", program.display())))?;
        Ok(Self { child, ended: None, folder })
    }

    /// Waits until the admin port says ready and a first request came through to a worker.
    pub(super) async fn ready(&mut self, addresses: &Addresses) -> Result<(), Failure> {
        let mut admin = Client::new(addresses.admin, None);
        let mut service = Client::new(addresses.service, Some(CAST[0].key));
        let mut is_ready = false;
        let mut last = "the admin port did not answer".to_string();
        let polling = async {
            loop {
                if let Some(status) = self.has_ended()? {
                    return Err(self.ended_early(status));
                }
                let answer = if is_ready { service.get(PATH).await } else { admin.get("/readyz").await };
                match answer {
                    Ok(answer) if answer.status == StatusCode::OK && is_ready => return Ok(()),
                    Ok(answer) if answer.status == StatusCode::OK => is_ready = true,
                    Ok(answer) => {
                        let asked = if is_ready { PATH } else { "/readyz" };
                        let reason = answer.reason().unwrap_or_default();
                        last = format!("the last answer to {asked} was {} {reason}", answer.status);
                    }
                    Err(error) => last = format!("the last attempt failed: {}", error.0),
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(START, polling).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.failure(
                EXIT_FAILED,
                &format!("Buckler was not ready within {} s; {}.", START.as_secs(), last.trim_end()),
            )),
        }
    }

    /// An error if the process is no longer there.
    pub(super) fn still_runs(&mut self) -> Result<(), Failure> {
        match self.has_ended()? {
            None => Ok(()),
            Some(status) => Err(self.ended_early(status)),
        }
    }

    /// TERM, then waits for it to drain and end by itself; anything but exit 0 in time is an error.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        self.still_runs()?;
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|error| {
            self.failure(EXIT_FAILED, &format!("TERM could not be sent to Buckler: {error}."))
        })?;
        let ending = async {
            loop {
                if let Some(status) = self.has_ended()? {
                    return Ok(status);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(END, ending).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                Err(self.failure(EXIT_FAILED, &format!("Buckler did not stop cleanly after TERM: {status}.")))
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let text =
                    format!("Buckler did not stop within {} s after TERM and was killed.", END.as_secs());
                Err(self.failure(EXIT_FAILED, &text))
            }
        }
    }

    fn has_ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|error| {
                Failure::at_run_time(format!("Whether Buckler still runs could not be found out: {error}."))
            })?;
        }
        Ok(self.ended)
    }

    /// Exit codes that say what happened (3 cannot bind) are passed on; all others are a failure at run time.
    fn ended_early(&mut self, status: ExitStatus) -> Failure {
        match status.code() {
            Some(3) => self.failure(super::EXIT_CANNOT_BIND, "Buckler could not bind its ports."),
            _ => self.failure(EXIT_FAILED, &format!("Buckler ended before the demo did: {status}.")),
        }
    }

    /// A failure that shows the end of Buckler's log, and keeps the folder so that the rest can be read.
    fn failure(&mut self, code: u8, text: &str) -> Failure {
        self.folder.keep = true;
        let tail = tail_of(&self.folder.log()).unwrap_or_default();
        let log = self.folder.log();
        let text = match tail.trim() {
            "" => {
                format!("{text}\nIts log is empty; its configuration is {}.", self.folder.config().display())
            }
            tail => format!("{text}\nThe end of its log, {}:\n{tail}", log.display()),
        };
        Failure { code, text }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Both fail only if the process is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn tail_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::config;

    #[test]
    fn the_configuration_names_every_caller_by_the_hash_of_its_key_and_never_the_key() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4070));
        let text = configuration(&Addresses { service: address, admin: address, dns: address });
        for caller in &CAST {
            assert!(text.contains(&format!("    {}: {{ api_keys: [\"sha256:", caller.name)), "{text}");
            assert!(!text.contains(caller.key), "{text}");
        }
        // The hash that the contract's one-port.yaml gives for this key.
        assert_eq!(
            sha256_hex("web-secret"),
            "761fed9dbb22427bedbc73c3f0ab93fff41104aa77eb145025d0113be8c035a3"
        );
    }

    #[test]
    fn the_configuration_is_one_that_check_has_nothing_to_say_about() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4070));
        let admin = SocketAddr::from(([127, 0, 0, 1], 9900));
        let text = configuration(&Addresses { service: address, admin, dns: address });
        let loaded = config::load_str("buckler.yaml", &text, &config::NoFiles, Moment::read(), &|_| None);
        assert_eq!(loaded.render(), "");
        let loaded = loaded.config.unwrap();
        assert_eq!(loaded.callers.known.len(), CAST.len());
        assert!(loaded.shutdown_grace < END);
    }

    #[test]
    fn the_folder_goes_away_unless_it_is_kept() {
        let folder = Folder::create().unwrap();
        let path = folder.path.clone();
        fs::write(folder.config(), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
        let mut kept = Folder::create().unwrap();
        kept.keep = true;
        let path = kept.path.clone();
        drop(kept);
        assert!(path.exists());
        fs::remove_dir_all(path).unwrap();
    }
}
