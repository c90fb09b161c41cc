//! The byte pump: what reads from one side writes to the other, and knows nothing of HTTP. It is the floor of
//! `benches/compare`: what a proxy in user space, one thread a core, must pay before it does anything at all.
//! Not here: limits, rules, balance, or anything else that is a proxy's work.
//!
//! Each thread has a listener of its own (SO_REUSEPORT) and a runtime of its own. A client connection gets one worker
//! connection, and keeps it. With `--by-turns`, for `benches/flat`, each message goes to the next worker instead, over
//! connections that are kept: what a client sends at once is taken for a message, and what the worker says for its
//! answer. With `--refuse` there are no workers: each message is answered with one and the same text, which is the
//! floor of a refusal. Without `--listen` it pumps a few bytes through itself and fails if they do not come back:
//! that is what tests/run does.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use clap::{ArgGroup, Parser};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Bytes that are read at once, each way: as many as Buckler reads of a body. With 16 KiB a MiB costs half as much
/// again, with 256 KiB a fifth less (measured on loopback); for small messages there is no difference.
const PIECE: usize = 64 * 1024;
const BACKLOG: i32 = 1024;
/// What a refusal comes to, head and body: as much as Buckler says of one in `benches/compare`.
const BYTES_OF_429: usize = 781;
const BYTES_OF_403: usize = 662;

/// A pump of bytes between clients and workers; `benches/compare` starts it.
#[derive(Parser)]
#[command(group = ArgGroup::new("work").args(["workers", "refuse"]))]
struct Options {
    /// Where clients connect. Without it: a short run by itself.
    #[arg(long, requires = "work")]
    listen: Option<SocketAddr>,
    /// Where the bytes go, by turns, separated by commas.
    #[arg(long, value_delimiter = ',')]
    workers: Vec<SocketAddr>,
    /// Each message goes to the next worker, over kept connections. For messages that are small and wait for an answer.
    #[arg(long, requires = "workers")]
    by_turns: bool,
    /// Nothing is passed on: whatever comes is answered with this status, always in the same text.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(400..=599))]
    refuse: Option<u16>,
    /// Threads, each with a listener.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// What cargo says to every bench; means nothing here.
    #[arg(long)]
    bench: bool,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let Some(listen) = options.listen else { return smoke() };
    let work = Arc::new(match options.refuse {
        Some(status) => Work::Refuse(refusal(status)),
        None if options.by_turns => Work::ByTurns(Workers::new(options.workers)),
        None => Work::Pump(Workers::new(options.workers)),
    });
    // All are bound before one accepts: a port that is taken ends the program here.
    let listeners = (0..options.threads).map(|_| bind(listen)).collect::<io::Result<Vec<_>>>()?;
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let work = work.clone();
            thread::spawn(move || run(listener, work))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread of the pump panicked")??;
    }
    Ok(())
}

/// What is done for a client.
enum Work {
    /// What it sends goes to one worker.
    Pump(Workers),
    /// Each message goes to the next worker.
    ByTurns(Workers),
    /// Each message is answered with this.
    Refuse(String),
}

/// The workers, and whose turn it is.
struct Workers {
    addresses: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Workers {
    fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, turn: AtomicUsize::new(0) }
    }

    /// The number of the one whose turn it is.
    fn next(&self) -> usize {
        self.turn.fetch_add(1, Relaxed) % self.addresses.len()
    }
}

/// An answer of this status, always the same one.
fn refusal(status: u16) -> String {
    let whole = if status == 403 { BYTES_OF_403 } else { BYTES_OF_429 };
    // The length has three digits, as that of the whole has.
    let head = |length: usize| format!("HTTP/1.1 {status} Refused\r\ncontent-length: {length}\r\n\r\n");
    let length = whole - head(whole).len();
    head(length) + &"x".repeat(length)
}

/// The idle connections of one thread, by worker.
#[derive(Default)]
struct Kept(RefCell<Vec<Vec<TcpStream>>>);

impl Kept {
    async fn take(&self, workers: &Workers, number: usize) -> io::Result<TcpStream> {
        let kept = self.0.borrow_mut().get_mut(number).and_then(Vec::pop);
        match kept {
            Some(stream) => Ok(stream),
            None => connect(workers.addresses[number]).await,
        }
    }

    fn put(&self, number: usize, worker: TcpStream) {
        let mut kept = self.0.borrow_mut();
        if kept.len() <= number {
            kept.resize_with(number + 1, Vec::new);
        }
        kept[number].push(worker);
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A listener that shares its port with those of the other threads.
fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One thread: accepts until its listener fails.
fn run(listener: StdListener, work: Arc<Work>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let kept = Rc::new(Kept::default());
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            let (work, kept) = (work.clone(), kept.clone());
            // An end that breaks ends this pair and nothing else; the load counts what it did not get.
            spawn_local(async move { serve(client, &work, &kept).await.ok() });
        }
    })
}

/// One client, until it or its work ends.
async fn serve(client: TcpStream, work: &Work, kept: &Kept) -> io::Result<()> {
    client.set_nodelay(true)?;
    match work {
        Work::Pump(workers) => pump(client, workers.addresses[workers.next()]).await,
        Work::ByTurns(workers) => pump_by_turns(client, workers, kept).await,
        Work::Refuse(text) => refuse(client, text.as_bytes()).await,
    }
}

/// One client and its worker, until both have ended.
async fn pump(mut client: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut worker = connect(address).await?;
    let (from_client, to_client) = client.split();
    let (from_worker, to_worker) = worker.split();
    tokio::try_join!(carry(from_client, to_worker), carry(from_worker, to_client))?;
    Ok(())
}

/// One client, each of whose messages goes by the next worker, whose answer it waits for.
async fn pump_by_turns(mut client: TcpStream, workers: &Workers, kept: &Kept) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = client.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        let number = workers.next();
        let mut worker = kept.take(workers, number).await?;
        worker.write_all(&piece[..length]).await?;
        let length = worker.read(&mut piece).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        client.write_all(&piece[..length]).await?;
        kept.put(number, worker);
    }
}

/// One client, each of whose messages gets the same answer.
async fn refuse(mut client: TcpStream, text: &[u8]) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    while client.read(&mut piece).await? > 0 {
        client.write_all(text).await?;
    }
    Ok(())
}

/// One direction, until its end, which is passed on.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece).await? {
            0 => return to.shutdown().await,
            length => to.write_all(&piece[..length]).await?,
        }
    }
}

/// The address of a worker that sends back what it gets.
fn echo() -> io::Result<SocketAddr> {
    let echo = StdListener::bind("127.0.0.1:0")?;
    let address = echo.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (mut stream, _) = echo.accept()?;
            thread::spawn(move || io::copy(&mut stream.try_clone()?, &mut stream));
        }
    });
    Ok(address)
}

/// A client of a pump that does this.
fn client_of(work: Work) -> io::Result<StdStream> {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    thread::spawn(move || run(listener, Arc::new(work)));
    StdStream::connect(address)
}

/// Workers that send back what they get, the pump before them, and a client that must get it all; and one that is
/// refused.
fn smoke() -> Result<(), Failure> {
    let mut client = client_of(Work::Refuse(refusal(429)))?;
    for _ in 0..2 {
        let mut came = [0; BYTES_OF_429];
        client.write_all(b"x")?;
        client.read_exact(&mut came)?;
        if !came.starts_with(b"HTTP/1.1 429 ") || !came.ends_with(b"x") {
            return Err(format!("{} came for a refusal", came.escape_ascii()).into());
        }
    }
    let mut client = client_of(Work::ByTurns(Workers::new(vec![echo()?, echo()?])))?;
    for said in 0..5 {
        let mut came = [0];
        client.write_all(&[said])?;
        client.read_exact(&mut came)?;
        if came != [said] {
            return Err(format!("{came:?} came for {said}").into());
        }
    }
    let mut client = client_of(Work::Pump(Workers::new(vec![echo()?])))?;
    let sent: Vec<u8> = (0..=255).cycle().take(3 * PIECE + 1).collect();
    client.write_all(&sent)?;
    client.shutdown(Shutdown::Write)?;
    let mut came = Vec::new();
    client.read_to_end(&mut came)?;
    if came != sent {
        return Err(format!("{} bytes went in and {} came back", sent.len(), came.len()).into());
    }
    println!("pump: {} bytes there and back", came.len());
    Ok(())
}
