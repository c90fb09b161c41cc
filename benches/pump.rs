//! The byte pump: what reads from one side writes to the other, and knows nothing of HTTP. It is the floor of
//! `benches/compare`: what a proxy in user space, one thread a core, must pay before it does anything at all.
//! Not here: limits, rules, balance, or anything else that is a proxy's work.
//!
//! Each thread has a listener of its own (SO_REUSEPORT) and a runtime of its own. A client connection gets one worker
//! connection, and keeps it. Without `--listen` it pumps a few bytes through itself and fails if they do not come back:
//! that is what tests/run does.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Bytes that are read at once, each way: as many as Buckler reads of a body. With 16 KiB a MiB costs half as much
/// again, with 256 KiB a fifth less (measured on loopback); for small messages there is no difference.
const PIECE: usize = 64 * 1024;
const BACKLOG: i32 = 1024;

/// A pump of bytes between clients and workers; `benches/compare` starts it.
#[derive(Parser)]
struct Options {
    /// Where clients connect. Without it: a short run by itself.
    #[arg(long, requires = "workers")]
    listen: Option<SocketAddr>,
    /// Where the bytes go, by turns, separated by commas.
    #[arg(long, value_delimiter = ',')]
    workers: Vec<SocketAddr>,
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
    let workers = Arc::new(Workers { addresses: options.workers, turn: AtomicUsize::new(0) });
    // All are bound before one accepts: a port that is taken ends the program here.
    let listeners = (0..options.threads).map(|_| bind(listen)).collect::<io::Result<Vec<_>>>()?;
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let workers = workers.clone();
            thread::spawn(move || run(listener, workers))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread of the pump panicked")??;
    }
    Ok(())
}

/// The workers, and whose turn it is.
struct Workers {
    addresses: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Workers {
    fn next(&self) -> SocketAddr {
        self.addresses[self.turn.fetch_add(1, Relaxed) % self.addresses.len()]
    }
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
fn run(listener: StdListener, workers: Arc<Workers>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let workers = Rc::new(workers);
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            let workers = workers.clone();
            // An end that breaks ends this pair and nothing else; the load counts what it did not get.
            spawn_local(async move { pump(client, workers.next()).await.ok() });
        }
    })
}

/// One client and its worker, until both have ended.
async fn pump(mut client: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut worker = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    worker.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_worker, to_worker) = worker.split();
    tokio::try_join!(carry(from_client, to_worker), carry(from_worker, to_client))?;
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

/// A worker that sends back what it gets, the pump before it, and a client that must get it all.
fn smoke() -> Result<(), Failure> {
    let echo = StdListener::bind("127.0.0.1:0")?;
    let worker = echo.local_addr()?;
    thread::spawn(move || -> io::Result<u64> {
        let (mut stream, _) = echo.accept()?;
        io::copy(&mut stream.try_clone()?, &mut stream)
    });
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let workers = Arc::new(Workers { addresses: vec![worker], turn: AtomicUsize::new(0) });
    thread::spawn(move || run(listener, workers));
    let mut client = StdStream::connect(address)?;
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
