//! What a request leaves behind: counts, lines, refusals, metrics. Here is the service whose requests they are.

mod callers;
mod lines;
mod metrics;
mod refusals;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::Value;

use super::access_log::AccessLog;
use super::callers::Tally;
use super::counts::ServiceCounts;
use super::{Asker, CallerNote, End, Outcome, Scribe};
use crate::clock::Moment;
use crate::config::{
    self, At, Callers, Credential, KnownCaller, LogFormat, Mode, Quota, ServiceName, Tier, UnknownKey,
};
use crate::message::{RequestHead, Target};
use crate::refusal::{Reason, Refusal, RuleRef};
use crate::shard::ShardId;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A service `playlist` with the caller `web`, whose log can be read.
struct World {
    counts: Arc<ServiceCounts>,
    scribe: Rc<Scribe>,
    log: Arc<AccessLog>,
    written: Written,
}

impl World {
    fn new(format: LogFormat, query: bool) -> Self {
        let settings = config::AccessLog { format, path: None, refusals_per_second: 2, query };
        let written = Written::default();
        let log = AccessLog::into_sink(&settings, Box::new(written.clone())).unwrap();
        let counts = ServiceCounts::new(2);
        let name = ServiceName::new("playlist").unwrap();
        let scribe =
            Scribe::new(&name, Arc::clone(&counts), ShardId(1), &Arc::new(callers()), Some(log.shard()));
        Self { counts, scribe, log, written }
    }

    fn json() -> Self {
        Self::new(LogFormat::Json, false)
    }

    fn begin(&self, uri: &str) -> Outcome {
        let mut outcome = self.scribe.begin(Moment::read(), peer());
        let mut head = RequestHead::new(Method::GET, Target::of(&uri.parse().unwrap()));
        head.fields.add("host", b"playlist.test");
        head.fields.add("user-agent", b"curl/8");
        outcome.request(&head);
        outcome
    }

    /// A request of this caller, which goes well.
    fn serve(&self, uri: &str, who: CallerNote) -> Outcome {
        let mut outcome = self.begin(uri);
        outcome.caller(who);
        good(&mut outcome);
        outcome
    }

    /// What was written to the log; the world ends with it.
    fn text(self) -> String {
        drop(self.scribe);
        self.log.finish();
        let bytes = self.written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn lines(self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn peer() -> SocketAddr {
    "192.0.2.1:4321".parse().unwrap()
}

fn callers() -> Callers {
    let at = At { file: "buckler.yaml".into(), line: 3, column: 1 };
    Callers {
        identify: vec![Credential::ApiKey, Credential::Address],
        api_key_header: HeaderName::from_static("x-api-key"),
        unknown_key: UnknownKey::Refuse,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        trusted_proxies: vec![],
        known: vec![KnownCaller {
            name: "web".into(),
            api_keys: vec![],
            certificates: vec![],
            addresses: vec![],
            tier: None,
            at,
        }],
        tiers: vec![Tier {
            name: "partner".into(),
            quota: Quota { rate: None, concurrent: None, mode: Mode::Enforce, rule_ref: by_default() },
        }],
        max_keys: NonZeroUsize::new(100).unwrap(),
    }
}

fn web() -> CallerNote {
    CallerNote { who: Asker::Known(0), via: "api_key", tier: Some(0) }
}

fn stranger() -> CallerNote {
    CallerNote { who: Asker::Other("address:192.0.2.1".into()), via: "address", tier: None }
}

fn by_default() -> Arc<RuleRef> {
    Arc::new(RuleRef { name: "default".into(), at: "buckler.yaml:34".into(), reason: None })
}

fn good(outcome: &mut Outcome) {
    outcome.attempt(&"127.0.0.1:9001".into(), 10);
    outcome.first_byte(outcome.begun().plus(Duration::from_millis(2)));
    outcome.status(200);
    outcome.bytes_out(5);
    outcome.ended(End::Complete);
}
