//! The clients: each asks A or B, by chance, waits for the answer and asks again at once.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::scene::{Phase, SERVICES, Scene};
use super::tally::{Outcome, Tally};
use super::wire::Link;

/// Longer than a hung worker takes, so that it is always the proxy or the worker who ends a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before a further connection where one could not be made: a proxy that is gone must not be stormed.
const RECONNECT: Duration = Duration::from_millis(10);

/// What all clients share.
pub(crate) struct Crowd {
    pub(crate) scene: Arc<Scene>,
    pub(crate) tally: Rc<RefCell<Tally>>,
    /// Of the services A and B.
    pub(crate) addresses: [SocketAddr; 2],
    /// When the first phase after the warm-up begins.
    pub(crate) began: Instant,
    /// Of each phase after the warm-up.
    pub(crate) length: Duration,
}

impl Crowd {
    /// How far into its phase this moment is; nothing in the warm-up.
    fn since(&self, phase: Phase, now: Instant) -> Duration {
        let before = u32::from(phase as u8).saturating_sub(1);
        now.saturating_duration_since(self.began + self.length * before)
    }
}

/// One client, until the runtime ends.
pub(crate) async fn run(number: usize, crowd: Rc<Crowd>, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let mut links = [None, None];
    let requests = SERVICES.map(|service| {
        let name = service.name();
        format!("GET /{name}/{number} HTTP/1.1\r\nHost: {name}.test\r\nUser-Agent: spillway\r\n\r\n")
    });
    loop {
        let service = SERVICES[chance.usize(0..2)];
        let index = service as usize;
        let began = Instant::now();
        let answer =
            timeout(PATIENCE, ask(&mut links[index], crowd.addresses[index], requests[index].as_bytes()))
                .await;
        let ended = Instant::now();
        let outcome = match answer {
            Ok(Ok(200)) => Outcome::Delivered,
            Ok(Ok(status)) => Outcome::Lost(status.to_string()),
            Ok(Err(error)) => Outcome::Lost(error.kind().to_string()),
            Err(_) => Outcome::Lost("no answer within 30 s".to_owned()),
        };
        if matches!(outcome, Outcome::Delivered) {
            crowd.scene.delivered(service, number);
        }
        let phase = crowd.scene.phase();
        let reached = crowd.scene.take_reached(number);
        let since = crowd.since(phase, ended);
        crowd.tally.borrow_mut().count((service, phase), outcome, reached, ended - began, since);
    }
}

/// The status of one answer. The connection stays if it may be used again.
async fn ask(kept: &mut Option<Link>, address: SocketAddr, request: &[u8]) -> io::Result<u16> {
    let mut link = match kept.take() {
        Some(link) => link,
        None => match TcpStream::connect(address).await {
            Ok(stream) => Link::new(stream)?,
            Err(error) => {
                sleep(RECONNECT).await;
                return Err(error);
            }
        },
    };
    link.send(request).await?;
    let answer = link.answer().await?;
    if !answer.last {
        *kept = Some(link);
    }
    Ok(answer.status)
}
