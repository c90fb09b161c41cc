//! What a worker does with a request: steps, one after another.

use std::time::Duration;

/// One step of a worker's script. After the last step the connection serves the next request, unless the script
/// closed it or left the body of the request unread.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads the body of the request.
    TakeBody,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Agrees to go on as a WebSocket, in answer to the key that was sent, and sends these bytes behind that.
    Agree(Vec<u8>),
    /// Sends a 200 whose JSON tells what the worker saw.
    Echo,
    /// Sends so many bytes `w`, as far as the other side takes them.
    Fill(u64),
    /// Lets time pass.
    Pause(Duration),
    /// Waits for `worker.open_gate()`, or for one of `worker.let_one_pass()`.
    Gate,
    /// Waits for these bytes, whatever comes before them.
    Await(Vec<u8>),
    /// Sends back whatever comes, as it comes, until the other side ends; then ends too.
    Mirror,
    /// Waits until the other side ends the connection.
    Hang,
    /// Ends the connection by FIN.
    Close,
    /// Ends the connection by RST.
    Reset,
}

impl Step {
    /// Sends this text.
    pub(crate) fn send(text: &str) -> Self {
        Self::Send(text.as_bytes().to_vec())
    }
}

/// Agrees to go on as a WebSocket.
pub(crate) const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// The usual: read everything, tell what was seen.
pub(super) fn polite() -> Vec<Step> {
    vec![Step::TakeBody, Step::Echo]
}

/// What a worker says to a check, unless told otherwise.
pub(super) fn healthy() -> String {
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()
}
