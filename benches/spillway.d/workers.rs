//! The workers: three of A, one of B, each a listener on a port of its own. A worker whose caller leaves stops at once.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::scene::{Illness, Phase, Scene, Service};
use super::wire::Link;

/// Workers of A and of B.
pub(crate) const WORKERS: [usize; 2] = [3, 1];

const NORMAL: Duration = Duration::from_millis(10);
const HUNG: Duration = Duration::from_secs(10);
const SLOW_SHARE: f64 = 0.9;
const QUICK_SHARE: f64 = 0.3;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";
const BROKEN: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 7\r\n\r\nbroken\n";
const UNABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\nunable\n";

/// What one request meets.
enum Fate {
    Normal,
    HungThenBroken,
    /// Answered as ever, but only once the failure is over.
    Held,
    Closed,
    Unable,
}

/// Listens on a free port of the loopback for one worker.
pub(crate) fn bind() -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Which worker it is: the service, and its number within that from 0.
pub(crate) type Place = (Service, usize);

/// Serves one worker, until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, place: Place, scene: Arc<Scene>, seed: u64) {
    let chance = Rc::new(RefCell::new(Rng::with_seed(seed)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(keep(stream, place, scene.clone(), chance.clone()));
            }
            // Out of file descriptors: those in use come back within the time of a hung request.
            Err(_) => sleep(NORMAL).await,
        }
    }
}

/// One connection, request after request. An error ends it, as it would with any server.
async fn keep(stream: TcpStream, place: Place, scene: Arc<Scene>, chance: Rc<RefCell<Rng>>) {
    let Ok(mut link) = Link::new(stream) else { return };
    while let Ok(Some(asked)) = link.request().await {
        let fate = fate(place, &scene, &mut chance.borrow_mut());
        let client = asked.target.rsplit('/').next().and_then(|number| number.parse().ok());
        // A health check of a proxy meets the same fate and counts for nothing.
        let at_worker = client.map(|client| scene.arrived(place.0, client));
        let answer = match fate {
            Fate::Normal => {
                sleep(NORMAL).await;
                OK
            }
            Fate::HungThenBroken => {
                tokio::select! {
                    () = sleep(HUNG) => BROKEN,
                    () = link.gone() => return,
                }
            }
            Fate::Held => {
                tokio::select! {
                    () = scene.failure_over() => OK,
                    () = link.gone() => return,
                }
            }
            Fate::Closed => return,
            Fate::Unable => UNABLE,
        };
        if let Some(at_worker) = &at_worker
            && matches!(fate, Fate::Normal | Fate::Held)
        {
            at_worker.answered();
        }
        if link.send(answer).await.is_err() {
            return;
        }
        if asked.last {
            return;
        }
    }
}

fn fate((service, number): Place, scene: &Scene, chance: &mut Rng) -> Fate {
    if service == Service::B || scene.phase() != Phase::Failure {
        return Fate::Normal;
    }
    match scene.illness {
        Illness::Slow if chance.f64() < SLOW_SHARE => Fate::HungThenBroken,
        Illness::Quick if chance.f64() < QUICK_SHARE => {
            if chance.bool() {
                Fate::Closed
            } else {
                Fate::Unable
            }
        }
        Illness::Hang if number == 0 => Fate::Held,
        _ => Fate::Normal,
    }
}
