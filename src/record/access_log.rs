//! The access log: each shard fills a buffer of its own and hands it to one thread, which alone writes. A shard never
//! waits: if the thread cannot keep up, lines are dropped and counted. Emptied buffers go back, so that no memory is
//! asked for while lines are written. What a line looks like stands in `line.rs`.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::spelling::Second;
use super::told::Told;
use crate::config::{self, LogFormat};

/// A shard's buffer is handed over once it holds this many bytes, or when the shard calls [`ShardLog::flush`].
const BUFFER_BYTES: usize = 64 * 1024;

/// What a buffer has room for, in bytes, so that a usual last line fits.
const BUFFER_ROOM: usize = BUFFER_BYTES + 4096;

/// Buffers that wait for the writing thread, of all shards together: at most 4.25 MiB and a line each.
const WAITING: usize = 64;

/// Emptied buffers that wait for a shard, of all shards together: at most 2.2 MiB. What is beyond that is given back to
/// the system, as is one of more than twice the usual room.
const SPARE_BUFFERS: usize = 16;

/// What was told of requests is kept for so many to come, on each shard: at most 256 KiB of texts.
const SPARE_TOLD: usize = 64;

/// How long [`AccessLog::finish`] waits for a disk.
const FINISH_WAIT: Duration = Duration::from_secs(5);

/// The access log of the process. Lives until [`AccessLog::finish`] or a reload replaces it.
#[derive(Debug)]
pub struct AccessLog {
    settings: config::AccessLog,
    to_writer: SyncSender<Lines>,
    // Nothing is ever sent on it: its other end goes away with the thread.
    thread: Mutex<Receiver<()>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    reopen: AtomicBool,
    finish: AtomicBool,
    dropped: AtomicU64,
    write_errors: AtomicU64,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl State {
    /// An empty buffer. Never waits.
    fn buffer(&self) -> Vec<u8> {
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_ROOM))
    }

    /// Keeps a buffer for a shard, if it is worth it.
    fn take_back(&self, mut buffer: Vec<u8>) {
        if !(BUFFER_ROOM..=2 * BUFFER_ROOM).contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    }
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

    pub(super) fn into_sink(
        settings: &config::AccessLog,
        sink: Box<dyn Write + Send>,
    ) -> io::Result<Arc<Self>> {
        let (to_writer, lines) = sync_channel(WAITING);
        let (alive, thread) = sync_channel::<()>(1);
        let state = Arc::new(State::default());
        let writer = Writer::new(sink, settings.path.clone(), Arc::clone(&state));
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            writer.run(&lines);
            // In this order: whoever sees the thread gone must see that nothing can be handed over any more.
            drop(lines);
            drop(alive);
        })?;
        Ok(Arc::new(Self { settings: settings.clone(), to_writer, thread: Mutex::new(thread), state }))
    }

    /// A shard's own end of the log.
    pub fn shard(self: &Arc<Self>) -> Rc<ShardLog> {
        let lines = Lines { bytes: self.state.buffer(), count: 0 };
        let page = RefCell::new(Page { lines, second: Second::default() });
        Rc::new(ShardLog { log: Arc::clone(self), page, spare: RefCell::default() })
    }

    /// Opens the file anew before the next lines are written (USR1, after the old one was renamed). Standard output
    /// stays as it is. If the file cannot be opened, the old one is written on, and the operator's log says so.
    pub fn reopen(&self) {
        self.state.reopen.store(true, Release);
        self.wake();
    }

    /// Ends the log: waits, at most 5 s, until everything that was handed over is written. What shards hand over
    /// later is dropped and counted, so let them flush first.
    pub fn finish(&self) {
        self.state.finish.store(true, Release);
        self.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.recv_timeout(FINISH_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the access log could not be written within 5 s; its last lines are lost");
        }
    }

    fn wake(&self) {
        // An empty message. If there is no room for it, the thread has enough to wake it.
        let _ = self.to_writer.try_send(Lines::default());
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
    page: RefCell<Page>,
    #[allow(clippy::vec_box, reason = "the box is what is lent")]
    spare: RefCell<Vec<Box<Told>>>,
}

/// What a shard writes on.
#[derive(Debug)]
struct Page {
    lines: Lines,
    second: Second,
}

impl ShardLog {
    /// Hands over what is in the buffer. Never waits. The shard calls it every 100 ms and at its end.
    pub fn flush(&self) {
        let lines = &mut self.page.borrow_mut().lines;
        if lines.count > 0 {
            self.hand_over(lines);
        }
    }

    /// `access_log.refusals_per_second`.
    pub(super) fn refusals_per_second(&self) -> u32 {
        self.log.settings.refusals_per_second
    }

    /// `access_log.query`.
    pub(super) fn tells_query(&self) -> bool {
        self.log.settings.query
    }

    /// Whether lines say where a request came from, as the combined format does.
    pub(super) fn tells_referer(&self) -> bool {
        self.log.settings.format == LogFormat::Combined
    }

    /// Nothing told yet of a new request.
    pub(super) fn told(&self) -> Box<Told> {
        self.spare.borrow_mut().pop().unwrap_or_else(Told::nothing)
    }

    /// Keeps what a request had for the next one, if it is worth it.
    pub(super) fn take_back(&self, mut told: Box<Told>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_TOLD && told.clear() {
            spare.push(told);
        }
    }

    /// Lets `write` add one line to the buffer.
    pub(super) fn write(&self, write: impl FnOnce(LogFormat, &mut Second, &mut Vec<u8>)) {
        let Page { lines, second } = &mut *self.page.borrow_mut();
        write(self.log.settings.format, second, &mut lines.bytes);
        lines.count += 1;
        if lines.bytes.len() >= BUFFER_BYTES {
            self.hand_over(lines);
        }
    }

    #[cold]
    fn hand_over(&self, lines: &mut Lines) {
        match self.log.to_writer.try_send(std::mem::take(lines)) {
            Ok(()) => lines.bytes = self.log.state.buffer(),
            Err(TrySendError::Full(mut lost) | TrySendError::Disconnected(mut lost)) => {
                self.log.state.dropped.fetch_add(lost.count, Relaxed);
                lost.bytes.clear();
                lines.bytes = lost.bytes;
            }
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
    path: Option<PathBuf>,
    state: Arc<State>,
    failing: bool,
    /// The last byte that was written is not the end of a line.
    torn: bool,
}

impl Writer {
    fn new(sink: Box<dyn Write + Send>, path: Option<PathBuf>, state: Arc<State>) -> Self {
        Self { sink, path, state, failing: false, torn: false }
    }

    fn run(mut self, lines: &Receiver<Lines>) {
        while let Ok(first) = lines.recv() {
            self.write(&first.bytes);
            self.state.take_back(first.bytes);
            if self.state.finish.load(Acquire) {
                lines.try_iter().for_each(|rest| self.write(&rest.bytes));
                return;
            }
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                // It may be the same file, if nobody renamed it.
                self.torn &= file.metadata().is_ok_and(|now| now.len() > 0);
                self.sink = Box::new(file);
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot open the access log anew; writing on to the old file");
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.state.reopen.swap(false, AcqRel) {
            self.reopen();
        }
        match self.write_lines(bytes) {
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

    /// Writes whole lines. If it fails within one, the next ones begin behind its end: one line is lost, not two.
    fn write_lines(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn && !bytes.is_empty() {
            self.sink.write_all(b"\n")?;
            self.torn = false;
        }
        let mut left = bytes;
        while !left.is_empty() {
            match self.sink.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    let (written, rest) = left.split_at(n);
                    self.torn = !written.ends_with(b"\n");
                    left = rest;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sink.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn settings(path: Option<PathBuf>) -> config::AccessLog {
        config::AccessLog { format: LogFormat::Json, path, refusals_per_second: 10, query: false }
    }

    /// Each write waits for a permit; without its sender every write fails.
    struct Gate(Receiver<()>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.recv() {
                Ok(()) => Ok(bytes.len()),
                Err(_) => Err(io::Error::other("the disk is full")),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A disk: what is on it, and for how many bytes more it has room.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(&self, bytes: usize) {
            self.0.lock().unwrap().1 = bytes;
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (held, room) = &mut *self.0.lock().unwrap();
            if *room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let n = bytes.len().min(*room);
            held.extend_from_slice(&bytes[..n]);
            *room -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn hand_over(shard: &ShardLog, line: &str) {
        shard.write(|_, _, out| out.extend_from_slice(line.as_bytes()));
        shard.flush();
    }

    #[test]
    fn a_disk_that_hangs_costs_lines_and_never_time() {
        let (permit, gate) = channel();
        let log = AccessLog::into_sink(&settings(None), Box::new(Gate(gate))).unwrap();
        let shard = log.shard();
        // The writer holds one at most; all beyond the queue must be lost, and none of this may wait.
        let handed = WAITING + 10;
        (0..handed).for_each(|_| hand_over(&shard, "line\n"));
        let lost = log.dropped();
        assert!((9..=10).contains(&lost), "{lost} lost");
        (0..handed).for_each(|_| permit.send(()).unwrap());
        log.finish();
        assert_eq!((log.dropped(), log.write_errors()), (lost, 0));
    }

    #[test]
    fn emptied_buffers_are_used_again_and_bounded() {
        let state = State::default();
        let first = state.buffer();
        let at = first.as_ptr();
        state.take_back(first);
        let again = state.buffer();
        assert_eq!((again.as_ptr(), again.is_empty()), (at, true));
        // What wakes the thread, and what one long line needed.
        state.take_back(Vec::new());
        state.take_back(Vec::with_capacity(3 * BUFFER_ROOM));
        assert!(state.spare.lock().unwrap().is_empty());
        (0..2 * SPARE_BUFFERS).for_each(|_| state.take_back(Vec::with_capacity(BUFFER_ROOM)));
        assert_eq!(state.spare.lock().unwrap().len(), SPARE_BUFFERS);
        let held = state.spare.lock().unwrap();
        assert!(state.buffer().capacity() >= BUFFER_ROOM, "a shard does not wait for who keeps one");
        drop(held);
    }

    #[test]
    fn failed_writes_are_counted() {
        let (permit, gate) = channel();
        drop(permit);
        let log = AccessLog::into_sink(&settings(None), Box::new(Gate(gate))).unwrap();
        hand_over(&log.shard(), "line\n");
        log.finish();
        assert_eq!(log.write_errors(), 1);
        hand_over(&log.shard(), "too late\n");
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn a_line_that_was_cut_off_takes_no_other_with_it() {
        let disk = Disk::default();
        let mut writer = Writer::new(Box::new(disk.clone()), None, Arc::default());
        // The room before each of these is written. What is cut off at the end of a line needs no end of its own.
        for (room, lines) in
            [(9, "one\n"), (5, "two\nlost\n"), (0, "lost\n"), (12, "three\n"), (0, "lost\n"), (9, "four\n")]
        {
            disk.with_room(room);
            writer.write(lines.as_bytes());
        }
        let written = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        assert_eq!(written, "one\ntwo\nl\nthree\nfour\n");
        assert_eq!(writer.state.write_errors.load(Relaxed), 3);
    }

    #[test]
    fn a_renamed_file_is_left_alone_after_reopening() {
        let place = |end: &str| std::env::temp_dir().join(format!("buckler-log-{}{end}", std::process::id()));
        let log = AccessLog::start(&settings(Some(place("")))).unwrap().unwrap();
        let shard = log.shard();
        // The file exists from the start; whether this line was written before the rename does not matter.
        hand_over(&shard, "one\n");
        std::fs::rename(place(""), place(".1")).unwrap();
        log.reopen();
        hand_over(&shard, "two\n");
        log.finish();
        let (old, new) =
            (std::fs::read_to_string(place(".1")).unwrap(), std::fs::read_to_string(place("")).unwrap());
        assert_eq!(format!("{old}{new}"), "one\ntwo\n");
        assert!(new.ends_with("two\n"));
        [place(""), place(".1")].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_at_start() {
        assert!(AccessLog::start(&settings(Some("/nonexistent/access.log".into()))).is_err());
    }
}
