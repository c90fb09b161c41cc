//! A worker: a raw HTTP/1.1 server on threads, whose behaviour a test scripts, and which remembers every byte.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use super::script::{SWITCH, Step, healthy, polite};
use super::seen::Seen;
use super::wait::linger;
use super::{ports, raw};

/// A handle on a worker; clones are the same worker.
#[derive(Clone)]
pub(crate) struct Worker(Arc<Shared>);

struct Shared {
    name: String,
    port: u16,
    state: Mutex<State>,
    gate: Condvar,
    stopped: AtomicBool,
    /// Bytes that `Step::Fill` got rid of.
    filled: AtomicU64,
    connections: AtomicU64,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    once: VecDeque<Vec<Step>>,
    always: Vec<Step>,
    /// Checks, which the scripts do not serve, and what they are answered.
    checks: Vec<Seen>,
    check_answer: String,
    gate_open: bool,
    /// So many may pass it while it is closed.
    gate_passes: u32,
    listener: Option<(TcpListener, JoinHandle<()>)>,
    /// A twin of each open connection, by its number, so that `refuses` can end it.
    streams: Vec<(u64, TcpStream)>,
}

impl Worker {
    pub(super) fn start(name: &str) -> Self {
        let worker = Self(Arc::new(Shared {
            name: name.to_owned(),
            port: ports::free(),
            state: Mutex::new(State { always: polite(), check_answer: healthy(), ..State::default() }),
            gate: Condvar::new(),
            stopped: AtomicBool::new(false),
            filled: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }));
        worker.accepts();
        worker
    }

    /// Where it listens, as `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.0.port)
    }

    /// Serves the next request by this script; several of these queue up.
    pub(crate) fn once(&self, script: &[Step]) -> &Self {
        self.0.lock().once.push_back(script.to_vec());
        self
    }

    /// Serves every further request by this script.
    pub(crate) fn always(&self, script: &[Step]) -> &Self {
        self.0.lock().always = script.to_vec();
        self
    }

    /// Answers every request with these bytes, after reading it whole.
    pub(crate) fn answers(&self, bytes: &str) -> &Self {
        self.always(&[Step::TakeBody, Step::send(bytes)])
    }

    /// Answers every check with these bytes and closes. Otherwise a check gets a 200 with the body `ok`.
    pub(crate) fn answers_checks(&self, bytes: &str) -> &Self {
        bytes.clone_into(&mut self.0.lock().check_answer);
        self
    }

    /// Passes checks (again).
    pub(crate) fn passes_checks(&self) -> &Self {
        self.answers_checks(&healthy())
    }

    /// The checks so far, in the order in which their heads arrived. They are no requests: see `seen` for those.
    pub(crate) fn checks(&self) -> Vec<Seen> {
        self.0.lock().checks.clone()
    }

    /// Takes no more connections; those that are open end.
    pub(crate) fn refuses(&self) -> &Self {
        let listener = self.0.lock().listener.take();
        if let Some((listener, thread)) = listener {
            // On Linux this wakes the thread that waits in accept.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
            drop(listener);
            let _ = thread.join();
        }
        for (_, stream) in self.0.lock().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self
    }

    /// Takes connections (again), on the same port.
    pub(crate) fn accepts(&self) -> &Self {
        let listener = TcpListener::bind(("127.0.0.1", self.0.port)).unwrap();
        let twin = listener.try_clone().unwrap();
        let shared = Arc::clone(&self.0);
        let thread = std::thread::spawn(move || accept(&twin, &shared));
        self.0.lock().listener = Some((listener, thread));
        self
    }

    /// Lets every `Step::Gate` pass, from now on.
    pub(crate) fn open_gate(&self) {
        self.0.lock().gate_open = true;
        self.0.gate.notify_all();
    }

    /// Lets one `Step::Gate` pass, one that waits or one to come.
    pub(crate) fn let_one_pass(&self) {
        self.0.lock().gate_passes += 1;
        self.0.gate.notify_all();
    }

    /// The requests so far, in the order in which their heads arrived.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.lock().seen.clone()
    }

    /// How many requests so far.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().seen.len()
    }

    /// The newest request; fails if there is none.
    #[track_caller]
    pub(crate) fn last(&self) -> Seen {
        self.0.lock().seen.last().cloned().expect("the worker saw no request")
    }

    /// How many connections were made to it so far.
    pub(crate) fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::SeqCst)
    }

    /// How many of them are open. The others have ended, as far as their far ends can know.
    pub(crate) fn open(&self) -> usize {
        self.0.lock().streams.len()
    }

    /// How many bytes of `Step::Fill` the other side has taken.
    pub(crate) fn filled(&self) -> u64 {
        self.0.filled.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.gate.notify_all();
        self.refuses();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed while it looked must not fail again while it cleans up.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self) -> Vec<Step> {
        let mut state = self.lock();
        state.once.pop_front().unwrap_or_else(|| state.always.clone())
    }

    fn wait_for_gate(&self) {
        let mut state = self.lock();
        while !state.gate_open && state.gate_passes == 0 && !self.stopped.load(Ordering::SeqCst) {
            state = self.gate.wait_timeout(state, Duration::from_secs(1)).unwrap().0;
        }
        state.gate_passes = state.gate_passes.saturating_sub(1);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        shared.lock().streams.push((number, stream.try_clone().unwrap()));
        let shared = Arc::clone(shared);
        let mut connection = Connection { stream, buffer: Vec::new(), shared: Arc::clone(&shared), number };
        std::thread::spawn(move || {
            while connection.serve().is_some() {}
            drop(connection);
            // With its twin the socket ends: by FIN, or by RST after `Step::Reset`.
            shared.lock().streams.retain(|(twin, _)| *twin != number);
        });
    }
}

/// One connection of a worker.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
    number: u64,
}

impl Connection {
    /// Serves one request. None: the connection is over.
    fn serve(&mut self) -> Option<()> {
        let seen = self.read_head()?;
        if seen.all("user-agent") == ["buckler-check"] {
            let mut state = self.shared.lock();
            state.checks.push(seen);
            let answer = state.check_answer.clone();
            drop(state);
            let _ = self.stream.write_all(answer.as_bytes());
            return None;
        }
        let index = {
            let mut state = self.shared.lock();
            state.seen.push(seen.clone());
            state.seen.len() - 1
        };
        let mut taken = seen.all("content-length").is_empty() && seen.all("transfer-encoding").is_empty();
        self.shared.lock().seen[index].whole = taken;
        for step in self.shared.script() {
            match step {
                Step::TakeBody => {
                    self.take_body(index)?;
                    taken = true;
                }
                Step::Send(bytes) => self.stream.write_all(&bytes).ok()?,
                Step::Agree(more) => self.agree(&seen, &more)?,
                Step::Echo => self.echo(index)?,
                Step::Fill(bytes) => self.fill(bytes)?,
                Step::Pause(time) => linger(time),
                Step::Gate => self.shared.wait_for_gate(),
                Step::Await(bytes) => {
                    while raw::find(&self.buffer, &bytes).is_none() {
                        self.more()?;
                    }
                    self.buffer.clear();
                }
                Step::Mirror => loop {
                    let piece = std::mem::take(&mut self.buffer);
                    self.stream.write_all(&piece).ok()?;
                    self.more()?;
                },
                Step::Hang => {
                    while self.more().is_some() {}
                    return None;
                }
                Step::Close => return None,
                Step::Reset => {
                    let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                    return None;
                }
            }
        }
        taken.then_some(())
    }

    fn read_head(&mut self) -> Option<Seen> {
        let end = loop {
            if let Some(at) = raw::find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut word = || first.next().unwrap_or_default().to_owned();
        let (method, target) = (word(), word());
        let fields = lines.map(split_field).collect();
        Some(Seen { connection: self.number, head, method, target, fields, ..Seen::default() })
    }

    fn take_body(&mut self, index: usize) -> Option<()> {
        let seen = self.shared.lock().seen[index].clone();
        if !seen.all("transfer-encoding").is_empty() {
            self.take_chunks(index)?;
        } else if let Some(length) = seen.all("content-length").first() {
            let mut left: usize = length.parse().ok()?;
            while left > 0 {
                if self.buffer.is_empty() {
                    self.more()?;
                }
                let piece: Vec<u8> = self.buffer.drain(..left.min(self.buffer.len())).collect();
                left -= piece.len();
                self.shared.lock().seen[index].body.extend(piece);
            }
        }
        self.shared.lock().seen[index].whole = true;
        Some(())
    }

    fn take_chunks(&mut self, index: usize) -> Option<()> {
        loop {
            let line = self.take_line()?;
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.more()?;
            }
            let chunk: Vec<u8> = self.buffer.drain(..size + 2).collect();
            self.shared.lock().seen[index].body.extend(&chunk[..size]);
        }
        loop {
            let line = self.take_line()?;
            if line.is_empty() {
                return Some(());
            }
            self.shared.lock().seen[index].trailers.push(split_field(&line));
        }
    }

    fn take_line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = raw::find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.more()?;
        }
    }

    /// A 200 that tells what was seen, and by whom.
    fn echo(&mut self, index: usize) -> Option<()> {
        let name = &self.shared.name;
        let seen = self.shared.lock().seen[index].clone();
        let body = serde_json::json!({
            "worker": name, "method": seen.method, "target": seen.target, "fields": seen.fields,
            "body_bytes": seen.body.len(),
        });
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-worker: {name}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(head.as_bytes()).ok()?;
        if seen.method != "HEAD" {
            self.stream.write_all(body.as_bytes()).ok()?;
        }
        Some(())
    }

    fn agree(&mut self, seen: &Seen, more: &[u8]) -> Option<()> {
        let key = seen.field("sec-websocket-key").unwrap_or_default();
        let accept = buckler::forward::websocket::accept(key.as_bytes());
        let mut fields = format!("\r\nsec-websocket-accept: {}\r\n", accept.escape_ascii());
        if let Some(protocol) = seen.field("sec-websocket-protocol") {
            fields.push_str(&format!("sec-websocket-protocol: {protocol}\r\n"));
        }
        let accept = fields + "\r\n";
        self.stream.write_all(SWITCH.replace("\r\n\r\n", &accept).as_bytes()).ok()?;
        self.stream.write_all(more).ok()
    }

    fn fill(&mut self, bytes: u64) -> Option<()> {
        let piece = vec![b'w'; 64 * 1024];
        let mut left = bytes;
        while left > 0 {
            let room = usize::try_from(left.min(64 * 1024)).unwrap();
            let sent = self.stream.write(&piece[..room]).ok()? as u64;
            left -= sent;
            self.shared.filled.fetch_add(sent, Ordering::SeqCst);
        }
        Some(())
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 64 * 1024];
        let n = self.stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        self.buffer.extend(&piece[..n]);
        Some(())
    }
}

fn split_field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}
