//! The access log: each shard fills a buffer of its own and hands it to one thread, which alone writes. A shard never
//! waits: if the thread cannot keep up, lines are dropped and counted. What a line looks like stands in `line.rs`.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::config::{self, LogFormat};

/// A shard's buffer is handed over once it holds this many bytes, or when the shard calls [`ShardLog::flush`].
const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers that wait for the writing thread, of all shards together: at most 4 MiB and a line each.
const WAITING: usize = 64;

/// The access log of the process. Lives until [`AccessLog::finish`] or a reload replaces it.
#[derive(Debug)]
pub struct AccessLog {
    settings: config::AccessLog,
    // None once the log is finished.
    to_writer: Mutex<Option<SyncSender<Lines>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    reopen: AtomicBool,
    dropped: AtomicU64,
    write_errors: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
}

impl AccessLog {
    /// Opens the file (made if it is not there, appended to if it is), or standard output, and starts the thread that
    /// writes. None if the log is off.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread not started.
    pub fn start(settings: &config::AccessLog) -> io::Result<Option<Arc<Self>>> {
        if settings.format == LogFormat::Off {
            return Ok(None);
        }
        let sink: Box<dyn Write + Send> = match &settings.path {
            Some(path) => Box::new(open(path)?),
            None => Box::new(io::stdout()),
        };
        Self::into_sink(settings, sink).map(Some)
    }

    fn into_sink(settings: &config::AccessLog, sink: Box<dyn Write + Send>) -> io::Result<Arc<Self>> {
        let (to_writer, lines) = sync_channel(WAITING);
        let state = Arc::new(State::default());
        let writer = Writer { sink, path: settings.path.clone(), state: Arc::clone(&state), failing: false };
        let thread =
            std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&lines))?;
        Ok(Arc::new(Self {
            settings: settings.clone(),
            to_writer: Mutex::new(Some(to_writer)),
            writer: Mutex::new(Some(thread)),
            state,
        }))
    }

    /// A shard's own end of the log.
    pub fn shard(self: &Arc<Self>) -> Rc<ShardLog> {
        let to_writer = self.to_writer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Rc::new(ShardLog { log: Arc::clone(self), to_writer, lines: RefCell::default() })
    }

    /// Opens the file anew before the next lines are written (USR1, after the old one was renamed). Standard output
    /// stays as it is. If the file cannot be opened, the old one is written on, and the operator's log says so.
    pub fn reopen(&self) {
        self.state.reopen.store(true, Relaxed);
        // An empty message wakes the thread; if there is no room for it, the thread is awake.
        if let Some(to_writer) = &*self.to_writer.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = to_writer.try_send(Lines::default());
        }
    }

    /// Waits until everything that was handed over is written. Call it when the shards have let go of their
    /// [`ShardLog`]s: it waits for them.
    pub fn finish(&self) {
        self.to_writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the access log's thread panicked; its last lines are lost");
        }
    }

    /// Lines that were lost because the thread could not keep up.
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Relaxed)
    }

    /// Writes that failed; the lines in them are lost.
    pub fn write_errors(&self) -> u64 {
        self.state.write_errors.load(Relaxed)
    }
}

/// A shard's end of the access log.
#[derive(Debug)]
pub struct ShardLog {
    log: Arc<AccessLog>,
    to_writer: Option<SyncSender<Lines>>,
    lines: RefCell<Lines>,
}

impl ShardLog {
    /// Hands over what is in the buffer. Never waits. The shard calls it every 100 ms and at its end.
    pub fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if lines.count > 0 {
            self.hand_over(&mut lines);
        }
    }

    /// `access_log.refusals_per_second`.
    pub(super) fn refusals_per_second(&self) -> u32 {
        self.log.settings.refusals_per_second
    }

    /// Lets `write` add one line to the buffer.
    pub(super) fn write(&self, write: impl FnOnce(&config::AccessLog, &mut Vec<u8>)) {
        let mut lines = self.lines.borrow_mut();
        write(&self.log.settings, &mut lines.bytes);
        lines.count += 1;
        if lines.bytes.len() >= BUFFER_BYTES {
            self.hand_over(&mut lines);
        }
    }

    fn hand_over(&self, lines: &mut Lines) {
        let full = std::mem::take(lines);
        let sent = match &self.to_writer {
            Some(to_writer) => to_writer.try_send(full),
            None => Err(TrySendError::Disconnected(full)),
        };
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = sent {
            self.log.state.dropped.fetch_add(lost.count, Relaxed);
        }
    }
}

impl Drop for ShardLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The thread that writes.
struct Writer {
    sink: Box<dyn Write + Send>,
    path: Option<std::path::PathBuf>,
    state: Arc<State>,
    failing: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Lines>) {
        for lines in lines {
            if self.state.reopen.swap(false, Relaxed) {
                self.reopen();
            }
            self.write(&lines.bytes);
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => self.sink = Box::new(file),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot open the access log anew; writing on to the old file");
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let written = self.sink.write_all(bytes).and_then(|()| self.sink.flush());
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.state.write_errors.fetch_add(1, Relaxed);
                // Once per trouble, not once per buffer: a full disk must not fill the operator's log too.
                if !self.failing {
                    tracing::error!(%error, "cannot write the access log; its lines are lost until this is mended");
                }
                self.failing = true;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
