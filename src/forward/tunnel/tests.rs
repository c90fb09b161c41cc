//! The copy itself, over sockets of the file system; what stands around it is tested from outside.

use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::flow::SCRATCH_BYTES;
use super::*;
use crate::record::Scribe;
use crate::record::counts::ServiceCounts;
use crate::shard::ShardId;

/// Both far ends of a tunnel, and what becomes of it.
struct World {
    client: UnixStream,
    worker: UnixStream,
    drain: Rc<Notify>,
    tunnel: tokio::task::JoinHandle<(TunnelEnd, u64, u64)>,
}

impl World {
    /// A tunnel of which this is known in both directions before it begins; `idle` of its patience.
    fn open(first: (&[u8], &[u8]), idle: Duration) -> Self {
        let (client, near_client) = UnixStream::pair().unwrap();
        let (worker, near_worker) = UnixStream::pair().unwrap();
        let (mut up, mut down) = (Flow::new(first.0.to_vec()), Flow::new(first.1.to_vec()));
        (up.fresh, down.fresh) = (first.0.len() as u64, first.1.len() as u64);
        let drain = Rc::new(Notify::new());
        let drains = Rc::clone(&drain);
        let clock = ShardClock::new();
        let ticking = Rc::clone(&clock);
        tokio::task::spawn_local(async move {
            // As a shard does.
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                ticking.refresh();
            }
        });
        let tunnel = tokio::task::spawn_local(async move {
            let mut flows = Flows { up, down, first: None };
            let (counts, mut outcome) = outcome(&clock);
            let (mut client, mut worker) = (Socket::Unix(near_client), Socket::Unix(near_worker));
            let terms = TunnelTerms { idle, clock: &clock, drain: drains.notified() };
            let end = flows.run(&mut client, &mut worker, terms, &mut outcome).await;
            let carried =
                (counts.shards.sum(|shard| &shard.bytes_in), counts.shards.sum(|shard| &shard.bytes_out));
            (end, carried.0, carried.1)
        });
        Self { client, worker, drain, tunnel }
    }
}

fn outcome(clock: &ShardClock) -> (Arc<ServiceCounts>, Outcome) {
    let service = crate::config::plain_service();
    let counts = ServiceCounts::new(1);
    let callers = crate::config::plain_callers();
    let scribe = Scribe::new(&service.name, Arc::clone(&counts), ShardId(0), &callers, None);
    (counts, scribe.begin(clock.now(), ([127, 0, 0, 1], 1).into()))
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "local")]
async fn what_goes_first_goes_first() {
    let mut world = World::open((b"eager", b"101 "), MINUTE);
    world.client.write_all(b" and more").await.unwrap();
    world.worker.write_all(b"hello").await.unwrap();
    let (mut up, mut down) = ([0; 14], [0; 9]);
    world.worker.read_exact(&mut up).await.unwrap();
    world.client.read_exact(&mut down).await.unwrap();
    assert_eq!((&up, &down), (b"eager and more", b"101 hello"));
}

#[tokio::test(flavor = "local")]
async fn a_side_that_ends_may_still_be_answered() {
    let mut world = World::open((b"", b""), MINUTE);
    world.client.write_all(b"question").await.unwrap();
    world.client.shutdown().await.unwrap();
    let mut question = String::new();
    world.worker.read_to_string(&mut question).await.unwrap();
    world.worker.write_all(b"answer").await.unwrap();
    drop(world.worker);
    let mut answer = String::new();
    world.client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((&*question, &*answer), ("question", "answer"));
    assert_eq!(world.tunnel.await.unwrap(), (TunnelEnd::ClientClosed, 8, 6));
}

#[tokio::test(flavor = "local")]
async fn a_side_that_takes_nothing_holds_the_other_back() {
    let mut world = World::open((b"", b""), MINUTE);
    let piece = vec![7; 4 * SCRATCH_BYTES];
    let mut sent = 0;
    // A second without progress means that everything on the way is full: sockets and the tunnel.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), world.client.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 16 * 1024 * 1024, "nothing holds the sender back");
    }
    drop(world.client);
    let mut all = Vec::new();
    world.worker.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), sent);
    drop(world.worker);
    assert_eq!(world.tunnel.await.unwrap(), (TunnelEnd::ClientClosed, sent as u64, 0));
}

#[tokio::test(flavor = "local")]
async fn last_words_arrive_although_the_one_who_said_them_takes_no_more() {
    let mut world = World::open((b"", b""), MINUTE);
    let words = vec![7; 8 * SCRATCH_BYTES];
    let mut near = world.worker;
    let said = tokio::task::spawn_local(async move {
        near.write_all(&words).await.unwrap();
        socket2::SockRef::from(&near).shutdown(std::net::Shutdown::Both).unwrap();
        near
    });
    let mut first = [0; 1];
    world.client.read_exact(&mut first).await.unwrap();
    // Sent to a worker that is gone by the time that its last bytes are read.
    world.client.write_all(b"anyone there?").await.unwrap();
    let mut rest = Vec::new();
    while let Ok(n @ 1..) = world.client.read_buf(&mut rest).await {
        if n > 0 && rest.len() > SCRATCH_BYTES {
            let _ = world.client.write_all(b"?").await;
        }
    }
    let _near = said.await.unwrap();
    assert_eq!(rest.len(), 8 * SCRATCH_BYTES - 1);
    drop(world.client);
    assert_eq!(world.tunnel.await.unwrap().0, TunnelEnd::WorkerClosed);
}

#[tokio::test(flavor = "local")]
async fn silence_ends_it_and_traffic_does_not() {
    // In real time, which the tunnel's timer and its shard's clock go by. Where the machine stands still for so long
    // that there was silence, once more with more patience.
    for idle in [300, 900, 2700].map(Duration::from_millis) {
        let mut world = World::open((b"", b""), idle);
        let (begun, mut said) = (Instant::now(), Instant::now());
        let mut silence = Duration::ZERO;
        for _ in 0..8 {
            tokio::time::sleep(idle / 4).await;
            // Where it has ended, the silence tells why.
            let _ = world.client.write_all(b"x").await;
            let _ = world.worker.read_u8().await;
            silence = silence.max(said.elapsed());
            said = Instant::now();
        }
        if silence < idle / 2 {
            assert!(!world.tunnel.is_finished());
            assert_eq!(world.tunnel.await.unwrap().0, TunnelEnd::Idle);
            assert!(begun.elapsed() >= idle * 3);
            return;
        }
    }
    panic!("no time to say something in time");
}

#[tokio::test(flavor = "local")]
async fn a_tunnel_that_ends_silent_in_a_drain_says_so() {
    let world = World::open((b"", b""), Duration::from_millis(100));
    world.drain.notify_one();
    assert_eq!(world.tunnel.await.unwrap().0, TunnelEnd::Drained);
}

/// A client whose connection tells that it is gone, and not its bytes.
struct Leaver {
    bytes: UnixStream,
    gone: tokio::sync::oneshot::Receiver<()>,
}

impl ClientSide for Leaver {
    fn reset_on_close(&mut self) {}

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.gone).poll(cx).map(|_| ())
    }
}

impl AsyncRead for Leaver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for Leaver {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_is_noticed_although_its_worker_takes_nothing() {
    let (_far_client, bytes) = UnixStream::pair().unwrap();
    let (_far_worker, near_worker) = UnixStream::pair().unwrap();
    let (leave, gone) = tokio::sync::oneshot::channel();
    let clock = ShardClock::new();
    // More than the worker's socket takes.
    let up = Flow::new(vec![7; 16 * 1024 * 1024]);
    let mut flows = Flows { up, down: Flow::new(Vec::new()), first: None };
    let (_, mut outcome) = outcome(&clock);
    let (mut client, mut worker) = (Leaver { bytes, gone }, Socket::Unix(near_worker));
    let terms = TunnelTerms { idle: MINUTE, clock: &clock, drain: std::future::pending() };
    let mut running = pin!(flows.run(&mut client, &mut worker, terms, &mut outcome));
    tokio::select! {
        biased;
        _ = &mut running => panic!("it ended by itself"),
        () = tokio::task::yield_now() => {}
    }
    drop(leave);
    assert_eq!(running.await, TunnelEnd::ClientReset);
}

/// A client whose transport takes everything, and holds back what its socket does not take: like TLS, without a bound.
struct HoldsBack {
    socket: Socket,
    held: Vec<u8>,
    moved: bool,
}

impl AsyncRead for HoldsBack {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for HoldsBack {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.held.is_empty() {
            let taken = std::task::ready!(Pin::new(&mut this.socket).poll_write(cx, &this.held))?;
            this.held.drain(..taken);
            this.moved = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl ClientSide for HoldsBack {
    fn reset_on_close(&mut self) {}

    fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }
}

#[tokio::test(flavor = "local")]
async fn a_tunnel_whose_client_takes_what_was_held_back_is_not_silent() {
    let ((far, near), (_worker, near_worker)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let mut client = HoldsBack { socket: Socket::Unix(near), held: Vec::new(), moved: false };
    let mut worker = Socket::Unix(near_worker);
    // More than its socket holds.
    let first = vec![b'a'; 4 * 1024 * 1024];
    let mut flows = Flows { up: Flow::new(Vec::new()), down: Flow::new(first), first: None };
    let mut moves = |cx: &mut Context<'_>| {
        assert!(flows.poll(cx, &mut client, &mut worker).is_none());
        flows.has_moved(&mut client)
    };
    assert!(poll_fn(|cx| Poll::Ready(moves(cx))).await);
    assert!(!poll_fn(|cx| Poll::Ready(moves(cx))).await, "the client took nothing more");

    let mut far = far.into_std().unwrap();
    let mut piece = [0; 4096];
    while matches!(far.read(&mut piece), Ok(1..)) {}
    let noticed = poll_fn(|cx| if moves(cx) { Poll::Ready(()) } else { Poll::Pending });
    tokio::time::timeout(Duration::from_secs(15), noticed).await.expect("it is seen that some was taken");
    assert!(!client.held.is_empty(), "there is more");
}

#[test]
fn a_tunnel_is_small() {
    let size = |flows: &mut Flows, client: &mut Socket, worker: &mut Socket| {
        let clock = ShardClock::new();
        let (_, mut outcome) = outcome(&clock);
        let terms = TunnelTerms { idle: MINUTE, clock: &clock, drain: std::future::pending() };
        size_of_val(&flows.run(client, worker, terms, &mut outcome))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (a, b) = UnixStream::pair().unwrap();
    let mut flows = Flows { up: Flow::new(Vec::new()), down: Flow::new(Vec::new()), first: None };
    let bytes = size(&mut flows, &mut Socket::Unix(a), &mut Socket::Unix(b)) + size_of::<Flows>();
    assert!(bytes < 1024, "{bytes} bytes");
}
