//! Whether a request that failed may be sent once more: a pure rule over what is known of the failure.

/// How far a failed attempt had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No connection was made: the worker saw nothing.
    NoConnection,
    /// The connection took nothing: the request came back whole.
    Unsent,
    /// Some of it may have arrived, and no byte of an answer came.
    MaybeSent,
    /// The time ran out, or an answer had begun.
    TooFar,
}

/// What the rule needs to know of the request.
#[derive(Clone, Copy, Debug)]
pub struct Attempted {
    /// How far it came.
    pub reached: Reached,
    /// Whether the connection had carried a request before: then the worker may have closed it just as we sent.
    pub reused: bool,
    /// Whether the method is idempotent (RFC 9110 section 9.2.2) and the body, if any, is still whole.
    pub repeatable: bool,
}

/// May it be sent again? A request that was never sent, always. One that may have arrived, only if it can be repeated
/// and went out on a connection that was used before: the worker closing an idle connection is the usual cause
/// (RFC 9112 section 9.3.1), while a fresh connection that breaks says something about the worker.
pub fn again(attempted: Attempted) -> bool {
    match attempted.reached {
        Reached::NoConnection | Reached::Unsent => true,
        Reached::MaybeSent => attempted.reused && attempted.repeatable,
        Reached::TooFar => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_may_have_arrived_is_repeated_unless_it_is_idempotent_on_a_used_connection() {
        for reused in [false, true] {
            for repeatable in [false, true] {
                let tried = |reached| again(Attempted { reached, reused, repeatable });
                assert!(tried(Reached::NoConnection));
                assert!(tried(Reached::Unsent));
                assert_eq!(tried(Reached::MaybeSent), reused && repeatable);
                assert!(!tried(Reached::TooFar));
            }
        }
    }
}
