//! The demo's workers: real HTTP servers on loopback ports, each with a thread and a runtime of its own, each able to
//! stop and to come back on the same port.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dns::Target;
use super::tally::Place;

/// Connections that one worker serves at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Length of the kernel's queue of connections not yet accepted.
const BACKLOG: i32 = 64;
/// How long a stopping worker lets answers in progress end.
const DRAIN: Duration = Duration::from_millis(300);

/// One worker, running or stopped.
pub(super) struct Worker {
    name: &'static str,
    priority: u16,
    weight: u16,
    address: SocketAddr,
    served: Arc<AtomicU64>,
    running: Option<Running>,
    /// Bound but never listening: keeps the port ours while the worker is stopped, yet connections are refused.
    _port: Socket,
}

struct Running {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts a worker on a free loopback port.
    pub(super) fn start(name: &'static str, priority: u16, weight: u16) -> io::Result<Self> {
        let port = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = port
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the kernel gave no address for a TCP socket"))?;
        let served = Arc::new(AtomicU64::new(0));
        let mut worker = Self { name, priority, weight, address, served, running: None, _port: port };
        worker.resume()?;
        Ok(worker)
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens when it runs.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests answered since it was first started.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// How the DNS server announces it.
    pub(super) fn target(&self) -> Target {
        Target { name: self.name, priority: self.priority, weight: self.weight, port: self.address.port() }
    }

    /// Its place among the others, for the table.
    pub(super) fn place(&self) -> Place {
        Place { name: self.name, priority: self.priority, weight: self.weight, up: self.running.is_some() }
    }

    /// Listens again on the same port; nothing happens if it already runs.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let socket = bind(self.address)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let (name, served) = (self.name, Arc::clone(&self.served));
        let thread = std::thread::Builder::new()
            .name(format!("demo-{name}"))
            .spawn(move || runtime.block_on(serve(listener, name, served, stopped)))?;
        self.running = Some(Running { stop, thread });
        Ok(())
    }

    /// Refuses new connections, ends answers in progress (at most 300 ms) and closes the rest.
    pub(super) fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        // The receiver is gone only if the thread has ended already.
        let _ = running.stop.send(true);
        let _ = running.thread.join();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// SO_REUSEADDR lets the listener share the port with the socket that only keeps it.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn serve(
    listener: TcpListener,
    name: &'static str,
    served: Arc<AtomicU64>,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let for_connections = stopped.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                // A connection that is gone before it was accepted is not the worker's business.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, name, Arc::clone(&served), for_connections.clone()));
                }
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is still open after this is closed when the set is dropped.
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

/// One connection, until either side ends it or the worker stops.
async fn converse(
    stream: TcpStream,
    name: &'static str,
    served: Arc<AtomicU64>,
    mut stopped: watch::Receiver<bool>,
) {
    if stream.set_nodelay(true).is_err() {
        return; // The connection is gone already.
    }
    let service = service_fn(move |request| {
        served.fetch_add(1, Ordering::Relaxed);
        let answer = answer(name, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let stopping = tokio::select! {
        _ = connection.as_mut() => false,
        _ = stopped.wait_for(|stop| *stop) => true,
    };
    if stopping {
        connection.as_mut().graceful_shutdown();
        // A broken connection at this point is no news: it was to be closed.
        let _ = connection.await;
    }
}

fn answer(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let caller =
        request.headers().get("x-buckler-caller").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text =
        serde_json::json!({ "worker": name, "path": request.uri().path(), "caller": caller }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(text + "\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn get(address: SocketAddr) -> io::Result<String> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(
            b"GET /songs/1 HTTP/1.1\r\nhost: a\r\nx-buckler-caller: quiet\r\nconnection: close\r\n\r\n",
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_worker_answers_with_its_name_the_path_and_the_caller() {
        let worker = Worker::start("a", 10, 3).unwrap();
        let text = get(worker.address()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains(r#"{"worker":"a","path":"/songs/1","caller":"quiet"}"#), "{text}");
        assert_eq!(worker.served(), 1);
    }

    #[test]
    fn a_stopped_worker_refuses_connections_and_comes_back_on_the_same_port() {
        let mut worker = Worker::start("b", 10, 1).unwrap();
        let address = worker.address();
        let idle = std::net::TcpStream::connect(address).unwrap();
        worker.stop();
        assert!(!worker.place().up);
        assert_eq!(get(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        worker.resume().unwrap();
        assert_eq!(worker.address(), address);
        assert!(get(address).unwrap().starts_with("HTTP/1.1 200"));
        assert_eq!(worker.served(), 1);
        drop(idle);
    }
}
