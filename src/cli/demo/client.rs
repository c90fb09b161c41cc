//! The demo's HTTP client: one request at a time over one kept connection to a loopback port, opened again when it is
//! gone. Nothing is sent twice.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one request may take, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The longest body that is read; the rest counts as a failure.
const BODY_BYTES: usize = 64 * 1024;

/// A client of one address.
pub(super) struct Client {
    address: SocketAddr,
    key: Option<&'static str>,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

/// What came back.
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body, whole.
    body: Bytes,
}

impl Answer {
    /// The word that says why Buckler refused, from the `application/problem+json` body.
    pub(super) fn reason(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get("reason")?.as_str().map(str::to_owned)
    }
}

/// Why there was no answer; the text is for people.
#[derive(Debug)]
pub(super) struct NoAnswer(pub(super) String);

impl Client {
    /// A client that sends `key` as `x-api-key`, if there is one. Connects at the first request.
    pub(super) fn new(address: SocketAddr, key: Option<&'static str>) -> Self {
        Self { address, key, connection: None }
    }

    /// Sends GET and waits for the whole answer, at most two seconds.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        match tokio::time::timeout(PATIENCE, self.exchange(path)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.connection = None;
                Err(error)
            }
            Err(_) => {
                self.connection = None;
                Err(NoAnswer(format!("no answer within {} s", PATIENCE.as_secs())))
            }
        }
    }

    async fn exchange(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        let kept = match self.connection.take() {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let mut sender = match kept {
            Some(kept) => kept,
            None => connect(self.address).await?,
        };
        let mut request = Request::get(path)
            .header(header::HOST, self.address.to_string())
            .header(header::ACCEPT, "application/problem+json, application/json");
        if let Some(key) = self.key {
            request = request.header("x-api-key", key);
        }
        let request = request.body(Empty::new()).map_err(|error| NoAnswer(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| NoAnswer(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES)
            .collect()
            .await
            .map_err(|error| NoAnswer(error.to_string()))?
            .to_bytes();
        self.connection = Some(sender);
        Ok(Answer { status, body })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, NoAnswer> {
    let stream = TcpStream::connect(address).await.map_err(|error| NoAnswer(error.to_string()))?;
    // Otherwise a request written in two parts would wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true).map_err(|error| NoAnswer(error.to_string()))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| NoAnswer(error.to_string()))?;
    // Ends when the sender is dropped or the peer closes; its error reaches us through the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
