//! What an answer says of the worker that gave it.

use http::StatusCode;

/// What the end of an attempt says of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does its work, whatever it thinks of the request.
    Good,
    /// It is ill or overloaded.
    Bad,
}

/// What an answer with this status says of the worker: 500, 502, 503 and 504 are bad. 501 and 505 tell what the worker
/// was built for, and 4xx what the client did: both are good, since they were answered.
pub fn verdict(status: StatusCode) -> Verdict {
    match status.as_u16() {
        500 | 502..=504 => Verdict::Bad,
        _ => Verdict::Good,
    }
}
